"""Category structure of labelled responses, through the public function."""

import itertools
import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kstest, t, ttest_ind

import neurosae as ns
from neurosae.arrays.category_index import cdi
from neurosae.arrays.distance import dissimilarity, triangle
from neurosae.arrays.mean_distances import class_distances
from neurosae.errors import DesignError
from neurosae.schema.units import SEEN
from neurosae.testing import noise_responses, planted_responses
from tests.responses import families, labelled, two_classes

EXACT = 1e-10  # float64 sums in another order


def test_planted_classes_are_found_with_their_size():
    responses = two_classes(60, 60, n_layers=40, seed=1)
    responses.values[:60, :20] += 1.0
    result = ns.category_rsa(responses, "condition")
    index = result["index"].values
    # One layer's CDI has SD .12 where classes differ by 1 SD, .014 where they do not.
    assert index[:20].mean() == pytest.approx(1.0, abs=0.1)
    assert index[20:].mean() == pytest.approx(0.0, abs=0.01)
    assert result.p_adjusted.values[:20].max() == pytest.approx(0.001)
    assert result.p_adjusted.values[20:].min() > 0.05
    assert result.attrs["metric"] == "sqeuclidean"


@pytest.mark.parametrize("index", ["CDI", "CMI", "TDI", "COH"])
def test_indices_are_uniform_and_finite_without_classes(index):
    responses = noise_responses(n_layers=60, n_items=8, seed=1)
    result = ns.category_rsa(responses, "condition", index=index, n_permutations=199)
    assert kstest(result.p.values, "uniform").pvalue > 0.001
    assert np.isfinite(result.drop_vars(SEEN).to_array()).all()
    assert (result.p_adjusted >= result.p).all()
    assert result.p_adjusted.values.min() > 0.05


def test_familywise_p_holds_over_layers_of_very_different_scale():
    rates = []
    for seed in range(60):
        responses = two_classes(n_layers=8, n_features=4, seed=seed)
        responses.values[:] *= 10.0 ** np.arange(8)[None, :, None]
        rates.append((ns.category_rsa(responses, "condition", n_permutations=99).p_adjusted <= 0.05).any())
    # .05 with 60 sets: the binomial probability of more than 9 is below .001
    assert np.sum(rates) <= 9


def test_layers_of_small_scale_can_still_be_significant():
    responses = two_classes(n_layers=3, seed=5)
    responses.values[:, 2] *= 1e4
    responses.values[:8, 0] += 1.5
    assert ns.category_rsa(responses, "condition").p_adjusted.values[0] <= 0.005


def profiles_of(strengths, *, seed=0, n=50, n_tokens=50):
    """Profiles over tokens of 50 + 50 stimuli; class a shares a profile, one strength a layer."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n_tokens)
    values = rng.normal(size=(2 * n, len(strengths), n_tokens))
    values[:n] += np.asarray(strengths)[None, :, None] * common
    return labelled(values, condition=np.repeat(["a", "b"], n))


@pytest.mark.parametrize("index", ["CDI", "TDI"])
def test_kat_19_more_coherent_classes_score_higher(index):
    result = ns.category_rsa(
        profiles_of([0.0, 0.3, 1.0]), "condition", index=index, metric="correlation", n_permutations=199
    )
    values = result["index"].values
    assert 0 < values[1] < values[2]
    assert abs(values[0]) < 0.02
    assert result.p.values[1:].tolist() == [0.005, 0.005]


def test_kat_19_without_structure_p_is_uniform():
    result = ns.category_rsa(
        profiles_of(np.zeros(200)), "condition", metric="correlation", n_permutations=199
    )
    assert kstest(result.p.values, "uniform").pvalue > 0.001


def test_kat_19_gains_of_items_mislead_pairwise_t_but_not_relabeling():
    rng = np.random.default_rng(19)
    n_sets, n, n_tokens = 400, 30, 30
    gain = rng.gamma(1.0, 1.0, size=(2 * n, n_sets, 1))
    values = gain * rng.normal(size=(1, n_sets, n_tokens)) + rng.normal(size=(2 * n, n_sets, n_tokens))
    responses = labelled(values, condition=np.repeat(["a", "b"], n))
    result = ns.category_rsa(responses, "condition", metric="correlation", n_permutations=199)
    assert 0.0175 <= (result.p.values <= 0.05).mean() <= 0.090

    def pairwise_p(layer):
        z = np.arctanh(np.clip(np.corrcoef(values[:, layer]), -0.999, 0.999))
        return ttest_ind(triangle(z[:n, :n]), z[:n, n:].ravel()).pvalue

    assert np.mean([pairwise_p(layer) <= 0.05 for layer in range(n_sets)]) > 0.3


def test_coh_and_tdi_follow_dispersion_and_name_their_target():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 10))
    values[:20] *= 0.3
    tight = labelled(values, condition=np.repeat(["a", "b"], 20))
    coh = ns.category_rsa(tight, "condition", index="COH")
    assert coh["index"].values[0] == pytest.approx(2 * (1 - 0.09), abs=0.3)
    assert coh.attrs["target"] == "a"
    assert coh["index"].attrs["long_name"] == "COH of a against b"
    swapped = tight.assign_coords(condition=("stimulus", np.repeat(["b", "a"], 20)))
    other = ns.category_rsa(swapped, "condition", index="COH")
    assert np.allclose(other["index"], -coh["index"], atol=EXACT)
    assert ns.category_rsa(tight, "condition", index="CDI").p.values[0] > 0.05


def test_few_units_are_enumerated_and_p_equals_brute_force():
    responses = two_classes(4, 4, effect=0.6, seed=2)
    result = ns.category_rsa(responses, "condition")
    matrix = dissimilarity(responses.values[:, 0], "sqeuclidean")
    labelings = np.ones((70, 8), dtype=int)
    for row, chosen in zip(labelings, itertools.combinations(range(8), 4), strict=True):
        row[list(chosen)] = 0
    everything = cdi(class_distances(matrix, labelings, 2))
    assert result.attrs["exact"] == 1
    assert result.p.values[0] == pytest.approx((everything >= everything[0] - 1e-12).mean(), abs=1e-12)


@pytest.mark.parametrize("index", ["CDI", "CMI"])
def test_labels_are_permuted_within_units_that_hold_all_classes(index):
    responses = families(n_layers=300)
    result = ns.category_rsa(responses, "condition", index=index, n_permutations=199)
    assert result.attrs["scheme"] == "within strata"
    assert result.n_units.values[0] == 10
    assert 0.01 <= (result.p.values <= 0.05).mean() <= 0.105
    # A difference that families repeat is found although families differ far more.
    found = ns.category_rsa(families(effect=1.5), "condition", index=index, metric="sqeuclidean")
    assert found.p.values[0] <= 0.005


@pytest.mark.parametrize(
    ("n_families", "effect"), [(10, 1.0), (10, 0.0), (8, 2.0)], ids=["planted", "none", "strong"]
)
def test_cdi_is_unbiased_whatever_the_classes_of_a_family_share(n_families, effect):
    # Layers are simulations; families differ by 3 SD, classes by ``effect`` in each feature.
    result = ns.category_rsa(families(n_families, n_layers=600, effect=effect), "condition", n_permutations=1)
    found = result["index"].values
    assert abs(found.mean() - effect**2) < 3 * found.std(ddof=1) / np.sqrt(600)
    assert result.auroc.values.mean() > (0.5 if effect else 0.49)


@pytest.mark.parametrize("index", ["CDI", "CMI", "TDI", "COH"])
def test_families_of_one_row_are_units_like_any_other(index):
    responses = two_classes(9, 7, effect=0.5)
    named = responses.assign_coords(family=("stimulus", [f"f{i}" for i in range(16)]))
    one = ns.category_rsa(responses, "condition", index=index, n_permutations=49)
    two = ns.category_rsa(named, "condition", index=index, n_permutations=49)
    assert all(np.array_equal(one[name], two[name]) for name in one.data_vars)


def test_classes_nested_in_templates_are_permuted_within_them():
    responses = families(12, effect=1.5).rename(family="template")
    result = ns.category_rsa(responses, "condition", unit="template", n_permutations=199)
    assert result.attrs["scheme"] == "within strata"
    assert result.p.values[0] == 0.005
    # Between stimuli, what templates share hides the same difference.
    blurred = ns.category_rsa(responses, "condition", unit="stimulus", n_permutations=199)
    assert blurred.attrs["scheme"] == "between"
    assert blurred.p.values[0] > result.p.values[0]


def test_order_of_stimuli_and_features_changes_no_index():
    responses = planted_responses(n_items=8)
    order = np.random.default_rng(0).permutation(16)
    for index in ("CDI", "CMI", "TDI", "COH"):
        one = ns.category_rsa(responses, "condition", index=index, n_permutations=9)
        two = ns.category_rsa(
            responses.isel(stimulus=order, feature=slice(None, None, -1)),
            "condition",
            index=index,
            n_permutations=9,
        )
        assert np.allclose(one["index"], two["index"], atol=1e-6)  # responses are float32
        assert np.allclose(one["auroc"], two["auroc"], atol=EXACT)


def test_same_seed_same_result_other_seed_other_null():
    responses = two_classes(12, 12)
    one, two, other = (ns.category_rsa(responses, "condition", seed=seed) for seed in (4, 4, 5))
    xr.testing.assert_identical(one, two)
    assert not np.array_equal(one.null_mean, other.null_mean)


def test_silent_stimuli_are_left_out_of_their_layer_only():
    responses = two_classes(10, 10, n_layers=2, effect=2.0, basis="sae")
    holed = responses.copy(deep=True)
    holed.values[3, 1] = 0.0
    full = ns.category_rsa(responses, "condition", index="CMI")
    result = ns.category_rsa(holed, "condition", index="CMI")
    without = ns.category_rsa(responses.isel(stimulus=np.arange(20) != 3), "condition", index="CMI")
    assert result.n_units.values.tolist() == [20, 19]
    assert result["index"].values[0] == full["index"].values[0]
    assert result["index"].values[1] == pytest.approx(without["index"].values[1], abs=EXACT)
    assert result.p.values.max() <= 0.005


def test_several_classes_are_averaged_over_their_pairs():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(36, 4))
    values[12:24, 0] += 3.0
    result = ns.category_rsa(labelled(values, condition=np.repeat(list("abc"), 12)), "condition")
    assert result["index"].values[0] == pytest.approx((9 + 9 + 0) / 3 / 4, abs=0.5)
    assert result.attrs["classes"] == "a, b, c"


def test_category_rsa_announces_duplicates():
    responses = two_classes()
    responses.values[7] = responses.values[2]
    with pytest.warns(UserWarning, match="Duplicates pass for similarity"):
        ns.category_rsa(responses, "condition", n_permutations=9)


def test_category_rsa_refuses_designs_without_an_answer():
    responses = two_classes()
    with pytest.raises(DesignError, match="'colour' is not a column"):
        ns.category_rsa(responses, "colour")
    with pytest.raises(DesignError, match="no category index 'LDC'"):
        ns.category_rsa(responses, "condition", index="LDC")
    with pytest.raises(DesignError, match="has one class"):
        ns.category_rsa(responses.isel(stimulus=slice(8)), "condition")
    with pytest.raises(DesignError, match=r"classes \['a'\] of 'condition' have fewer than 2 units"):
        ns.category_rsa(responses.isel(stimulus=slice(7, None)), "condition")
    with pytest.raises(DesignError, match=r"2 stimuli have no 'kind' \(first: 's0'\)"):
        ns.category_rsa(responses.assign_coords(kind=("stimulus", ["", "", *"xy" * 7])), "kind")
    with pytest.raises(DesignError, match="TDI compares a target with the rest, but 'kind' has 4 classes"):
        ns.category_rsa(responses.assign_coords(kind=("stimulus", list("wxyz" * 4))), "kind", index="TDI")


def test_a_class_with_one_unit_is_refused_however_many_stimuli_the_unit_has():
    responses = two_classes(4, 12, item=["x"] * 4 + [f"y{i}" for i in range(12)])
    with pytest.raises(DesignError, match="fewer than 2 units"):
        ns.category_rsa(responses, "condition")


@pytest.mark.parametrize(("sizes", "index", "distinct"), [((3, 3), "CDI", 10), ((2, 3), "TDI", 10)])
def test_category_rsa_refuses_too_few_relabelings(sizes, index, distinct):
    with pytest.raises(DesignError, match=f"give {distinct} distinct relabelings.*at least 20"):
        ns.category_rsa(two_classes(*sizes), "condition", index=index)


def test_seven_units_suffice_if_enough_relabelings_differ():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ns.category_rsa(two_classes(3, 4, effect=3.0), "condition").p.values[0] == pytest.approx(
            1 / 35
        )
    assert ns.category_rsa(two_classes(3, 3), "condition", index="TDI").attrs["exact"] == 1


def test_a_class_that_silence_leaves_with_one_unit_is_refused():
    responses = two_classes(2, 18, basis="sae")
    responses.values[0] = 0.0
    with pytest.raises(DesignError, match=r"class 'a' has 1 units, but 2 are needed"):
        ns.category_rsa(responses, "condition", metric="cosine")


def covers(low, high, truth):
    return ((low <= truth) & (truth <= high)).mean()


# Exact .0005 and .9995 binomial limits of 400 simulations at .95 are .91 and .9825; a little more is granted
# above because the expectation of a jackknife variance is never too small (Efron & Stein 1981).
NOMINAL = (0.91, 0.985)


@pytest.mark.parametrize(
    ("index", "spread", "effect", "truth"),
    [("CDI", 1.0, 1.0, 1.0), ("TDI", 0.5, 0.5, 1.0), ("COH", 0.5, 0.5, 1.5)],
)
def test_intervals_cover_the_expectation_of_the_index(index, spread, effect, truth):
    # Class a: mean ``effect`` and SD ``spread``, class b: 0 and 1, in each feature; layers are simulations.
    rng = np.random.default_rng(10)
    values = rng.normal(size=(40, 400, 10))
    values[:20] = effect + spread * values[:20]
    result = ns.category_rsa(
        labelled(values, condition=np.repeat(["a", "b"], 20)), "condition", index=index, n_permutations=9
    )
    assert result["index"].values.mean() == pytest.approx(truth, abs=0.04)
    assert NOMINAL[0] <= covers(result.index_lo.values, result.index_hi.values, truth) <= NOMINAL[1]


def test_intervals_over_families_cover_the_planted_distance():
    result = ns.category_rsa(families(20, n_layers=400, effect=2.0, seed=4), "condition", n_permutations=9)
    assert NOMINAL[0] <= covers(result.index_lo.values, result.index_hi.values, 4.0) <= NOMINAL[1]
    # Standard error of the mean of 400 sets: a twentieth of the SD of one.
    mean = result.auroc.values.mean()
    assert NOMINAL[0] <= covers(result.auroc_lo.values, result.auroc_hi.values, mean) <= NOMINAL[1]


@pytest.mark.parametrize("index", ["CDI", "CMI"])
def test_without_structure_intervals_are_wide_and_not_narrow(index):
    result = ns.category_rsa(
        noise_responses(n_layers=200, n_items=10), "condition", index=index, n_permutations=9
    )
    assert covers(result.index_lo.values, result.index_hi.values, 0.0) >= NOMINAL[0]
    assert np.isfinite(result.index_lo).all()


@pytest.mark.parametrize("index", ["CDI", "CMI", "TDI", "COH"])
@pytest.mark.parametrize("make", [lambda: two_classes(9, 7, effect=1.0), lambda: families(8, effect=1.0)])
def test_intervals_equal_leaving_out_each_unit_and_starting_over(make, index):
    responses = make()
    result = ns.category_rsa(responses, "condition", index=index, metric="euclidean", n_permutations=9)
    units = responses[result.attrs["unit"]].values
    left_out = [
        ns.category_rsa(
            responses.isel(stimulus=units != unit),
            "condition",
            index=index,
            metric="euclidean",
            n_permutations=1,
        )
        for unit in np.unique(units)
    ]
    n = len(left_out)
    for name in ("index", "auroc"):
        values = [part[name].values[0] for part in left_out]
        half = t.ppf(0.975, n - 1) * np.sqrt((n - 1) * np.var(values))
        observed = result[name].values[0]
        assert result[f"{name}_lo"].values[0] == pytest.approx(observed - half, abs=EXACT)
        assert result[f"{name}_hi"].values[0] == pytest.approx(min(observed + half, 1.0), abs=EXACT)


def test_order_of_stimuli_changes_no_interval():
    responses = two_classes(9, 7, n_layers=2, effect=1.0)
    order = np.random.default_rng(0).permutation(16)
    for index in ("CDI", "CMI", "TDI", "COH"):
        one, two = (
            ns.category_rsa(r, "condition", index=index, n_permutations=9)
            for r in (responses, responses.isel(stimulus=order))
        )
        assert np.allclose(one.index_lo, two.index_lo, atol=EXACT)
        assert np.allclose(one.index_hi, two.index_hi, atol=EXACT)


@pytest.mark.parametrize("index", ["CDI", "CMI", "TDI", "COH"])
def test_a_class_of_two_units_has_an_index_but_no_interval(index):
    result = ns.category_rsa(two_classes(2, 14), "condition", index=index, n_permutations=9)
    assert np.isfinite(result["index"]).all()
    assert np.isnan(result.index_lo).all()
    assert np.isnan(result.index_hi).all()


def test_silent_stimuli_leave_the_interval_of_their_layer_to_the_others():
    responses = two_classes(10, 3, n_layers=2, effect=2.0, basis="sae")
    holed = responses.copy(deep=True)
    holed.values[3, 1] = 0.0
    result = ns.category_rsa(holed, "condition", index="CMI")
    without = ns.category_rsa(responses.isel(stimulus=np.arange(13) != 3), "condition", index="CMI")
    assert np.allclose(result.index_lo[1], without.index_lo[1], atol=EXACT)
    assert np.isfinite(result.index_lo).all()
    holed.values[3] = responses.values[3]
    holed.values[12, 1] = 0.0
    # Layer 1 is left with two units of class b.
    assert np.isnan(ns.category_rsa(holed, "condition", index="CMI").index_hi).values.tolist() == [
        False,
        True,
    ]


def test_intervals_survive_a_file(tmp_path):
    result = ns.category_rsa(two_classes(10, 10, n_layers=2), "condition", n_permutations=9)
    ns.save_netcdf(result, tmp_path / "category.nc")
    read = ns.load_netcdf(tmp_path / "category.nc")
    xr.testing.assert_identical(read.index_lo, result.index_lo)
    xr.testing.assert_identical(read.index_hi, result.index_hi)
    assert read.index_lo.attrs["units"] == read["index"].attrs["units"] == "a.u.^2"
