"""Indices of two conditions: closed forms, legality of ratios, planted effects, uniform p, intervals."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from neurosae.analysis.overlap_of_classes import feature_overlap
from neurosae.analysis.preference import preference_index
from neurosae.analysis.tuning_curves import cell_tuning
from neurosae.arrays.class_averages import class_matrices
from neurosae.arrays.two_class_indices import TWO_CLASS_INDICES, preference_ratio
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import families, planted, responses_of

TWO = ("a", "b")


def two(values, n_first):
    labels = np.repeat(["a", "b"], [n_first, len(values) - n_first])
    return responses_of(values, labels)


def positive(n=40, n_features=300, seed=0):
    return two(np.random.default_rng(seed).gamma(2.0, 0.5, (n, n_features)), n // 2)


@pytest.mark.parametrize(
    ("index", "expected"), [("si", 0.5), ("si_abs", 0.5), ("si_rect", 0.5), ("auroc", 1.0)]
)
def test_three_to_one_is_one_half(index, expected):
    values = np.array([3.0, 2.0, 4.0, 1.0, 0.5, 1.5])[:, None]
    found = preference_index(two(values, 3), "condition", TWO, index=index)
    assert found["index"].item() == pytest.approx(expected)


def test_a_tiny_mean_against_silence_has_si_one_and_an_auroc_that_says_how_rarely():
    values = np.zeros((40, 1))
    values[0] = 0.2
    found = preference_index(two(values, 20), "condition", TWO, n_permutations=199)
    assert found["index"].item() == 1.0
    assert found["auroc"].item() == pytest.approx(0.525)
    assert found["p_unc"].item() == 1.0


def test_kat_24_si_of_a_negative_mean_is_refused_and_alternatives_are_named():
    signed = positive() - 2.0
    with pytest.raises(DesignError, match=r"negative class mean.*'si_abs', 'si_rect'.*'dprime' or 'auroc'"):
        preference_index(signed, "condition", TWO)
    for index in ("si_abs", "si_rect"):
        assert (
            abs(preference_index(signed, "condition", TWO, index=index, n_permutations=9)["index"]).max() <= 1
        )


def test_swapping_the_classes_flips_the_sign():
    responses = positive(n_features=20)
    for index, kind in TWO_CLASS_INDICES.items():
        one = preference_index(responses, "condition", ("a", "b"), index=index, n_permutations=99)
        other = preference_index(responses, "condition", ("b", "a"), index=index, n_permutations=99)
        np.testing.assert_allclose(one["index"] - kind.floor, kind.floor - other["index"], atol=1e-12)
        np.testing.assert_allclose(one["index_lo"] - kind.floor, kind.floor - other["index_hi"], atol=1e-9)


@pytest.mark.parametrize("index", TWO_CLASS_INDICES)
def test_p_is_uniform_in_noise(index):
    responses = two(np.random.default_rng(1).gamma(2.0, 0.5, (30, 1000)), 10)
    p = preference_index(responses, "condition", TWO, index=index, n_permutations=199)["p_unc"].values
    assert 0.029 <= (p <= 0.05).mean() <= 0.074
    assert p.mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("index", ["si", "dprime", "auroc"])
def test_intervals_cover_the_population_value(index):
    rng = np.random.default_rng(2)
    values = rng.normal(5.0, 1.0, (60, 1000))
    values[:30] += 1.0
    truth = {"si": 1 / 11, "dprime": 1.0, "auroc": norm.cdf(1 / np.sqrt(2))}[index]
    found = preference_index(two(values, 30), "condition", TWO, index=index, n_permutations=1)
    covered = (found["index_lo"] <= truth) & (truth <= found["index_hi"])
    # Binomial limits around .95 of 1000; the jackknife of d' and AUROC is a little off at n = 60.
    assert 0.925 <= float(covered.mean()) <= 0.975
    assert float(found["index"].mean()) == pytest.approx(truth, rel=0.04)


def test_auroc_is_that_of_sklearn():
    responses = positive(n_features=5)
    is_first = (responses["condition"] == "a").values
    expected = [roc_auc_score(is_first, column) for column in responses.values[:, 0].T]
    found = preference_index(responses, "condition", TWO, n_permutations=9)
    np.testing.assert_allclose(found["auroc"].values[0], expected, atol=1e-12)


def test_only_the_stimuli_of_the_two_classes_count():
    responses = planted()
    found = preference_index(responses, "condition", ("place", "art"), n_permutations=199).isel(layer=0)
    assert found["index"].values[0] == 1.0
    assert found["p_unc"].values[0] == 1 / 200
    assert found.attrs["n_units"] == 20
    assert np.isnan(found["index"].values[2:4]).all()
    # Silent in both of these classes, though not in a third.
    silent = preference_index(responses, "condition", ("tool", "art"), n_permutations=9).isel(layer=0)
    assert np.isnan(silent["index"].values[0])
    assert not silent["valid"].values[0]


def test_families_that_hold_both_classes_exchange_within_themselves():
    responses = families(n=12, n_features=30, effect=1.5)
    found = preference_index(responses, "condition", TWO, index="dprime", n_permutations=199)
    assert found.attrs["scheme"] == "within strata"
    assert (found["p_unc"] < 0.05).mean() > 0.7
    assert float(found["index"].mean()) == pytest.approx(1.5 / np.sqrt(10), abs=0.15)


def test_order_of_stimuli_does_not_matter_and_lazy_responses_agree():
    responses = positive(n_features=10)
    one = preference_index(responses, "condition", TWO, n_permutations=9)
    other = preference_index(
        responses.isel(stimulus=slice(None, None, -1)), "condition", TWO, n_permutations=9
    )
    np.testing.assert_allclose(one["index"], other["index"], rtol=1e-12)
    lazy = preference_index(responses.chunk({"layer": 1, "feature": 3}), "condition", TWO, n_permutations=9)
    xr.testing.assert_identical(one, lazy)


def test_almost_silent_features_have_no_ratio():
    values = np.array([[1.0], [-1.0 + 1e-9], [0.0], [0.0]])
    assert np.isnan(preference_ratio(values, class_matrices(np.array([[0, 0, 1, 1]]), 2))).all()


def test_result_survives_a_file(tmp_path):
    found = preference_index(positive(n_features=4), "condition", TWO, n_permutations=9)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())
    assert load_netcdf(save_netcdf(found, tmp_path / "found.nc")).identical(found)


def test_designs_without_a_comparison_are_refused():
    responses = positive(n_features=2)
    with pytest.raises(DesignError, match=r"index 'sii' is unknown.*did you mean 'si"):
        preference_index(responses, "condition", TWO, index="sii")
    with pytest.raises(DesignError, match="holds no class 'c'"):
        preference_index(responses, "condition", ("a", "c"))
    with pytest.raises(DesignError, match="both classes are 'a'"):
        preference_index(responses, "condition", ("a", "a"))
    with pytest.raises(DesignError, match="2 units of inference only; each class needs three"):
        preference_index(responses.isel(stimulus=slice(18, 40)), "condition", TWO)


@pytest.mark.parametrize(
    "measure",
    [
        lambda data: preference_index(data, "condition", ("a", "b")),
        lambda data: feature_overlap(data, "condition"),
        lambda data: cell_tuning(data, ("condition", "size")),
    ],
)
def test_an_array_without_labels_is_refused_at_the_door(measure):
    with pytest.raises(DesignError, match="need to be a DataArray, got ndarray"):
        measure(np.ones((6, 1, 3)))
