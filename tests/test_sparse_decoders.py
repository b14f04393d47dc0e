"""Decoders of the k best features: planted features found, nothing leaks, the choice is stable or not."""

import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosae.analysis.decoder_comparison import compare_decoders
from neurosae.analysis.decoding import decode
from neurosae.analysis.sparse_decoders import sparse_decoder_curve
from neurosae.analysis.sparse_logistic import (
    direction_scores,
    lasso_scores,
    ranked_features,
    small_decoder,
)
from neurosae.errors import DesignError
from neurosae.testing import noise_responses, planted_responses
from tests.responses import responses_of


def planted(n_planted=8, effect=1.0, n_features=120, n=80, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, 1, n_features))
    values[n // 2 :, 0, 10 : 10 + n_planted] += effect
    return responses_of(values, np.repeat(["a", "b"], n // 2))


def test_the_curve_rises_to_the_number_of_planted_features_and_names_them():
    curve = sparse_decoder_curve(planted(), "condition", sizes=[1, 8, 32], n_repeats=3)
    area = curve["auroc"].isel(layer=0)
    assert float(area.sel(n_selected=8)) > float(area.sel(n_selected=1)) + 0.05
    assert float(area.sel(n_selected=8)) > 0.85
    often = curve["share_selected"].isel(layer=0).sel(n_selected=8)
    assert float(often[10:18].mean()) > 0.7
    assert float(often.sum()) == pytest.approx(8)
    assert (curve["auroc_lo"] < curve["auroc"]).all()
    assert float(curve["stability"].sel(n_selected=8).item()) > 0.6


@pytest.mark.parametrize("selector", ["meandiff", "CDI", "max", "random"])
def test_kat_26_selection_inside_folds_is_at_chance_on_noise(selector):
    rng = np.random.default_rng(26)
    responses = responses_of(rng.standard_normal((50, 8, 1000)), np.repeat(["a", "b"], 25))
    curve = sparse_decoder_curve(responses, "condition", selector=selector, sizes=[8], n_repeats=1)
    # Eight layers of 50 stimuli: the standard error of the mean is .03.
    assert float(curve["auroc"].mean()) == pytest.approx(0.5, abs=0.12)


def test_random_features_are_as_stable_as_chance_and_clear_ones_are_not():
    drawn = sparse_decoder_curve(planted(), "condition", selector="random", sizes=[8], n_repeats=4)
    assert float(drawn["stability"].item()) == pytest.approx(0, abs=0.05)
    clear = sparse_decoder_curve(planted(1, 6.0), "condition", sizes=[1], n_repeats=2)
    assert float(clear["stability"].item()) == 1


def test_one_size_of_the_curve_compares_with_a_decoder_of_all_features():
    responses = planted(1, 4.0)
    curve = sparse_decoder_curve(responses, "condition", sizes=[1, 8])
    everything = decode(responses, "condition", n_permutations=19)
    gain = compare_decoders(curve.sel(n_selected=1), everything)
    assert float(gain["difference"].item()) > 0
    # The ridge of all features is the reference of the curve, too.
    reference = float(curve["reference_auroc"].sel(reference="all").item())
    assert reference == pytest.approx(float(everything["auroc"].item()), abs=1e-12)


def test_three_classes_are_decoded():
    rng = np.random.default_rng(3)
    labels = np.tile(["x", "y", "z"], 15)
    values = rng.standard_normal((45, 1, 40))
    values[:, 0, :3] += 3 * (labels[:, None] == ["x", "y", "z"])
    curve = sparse_decoder_curve(responses_of(values, labels), "condition", sizes=[1, 4], n_repeats=2)
    area = curve["auroc"].isel(layer=0).values
    assert 0.6 < area[0] < area[1]
    assert area[1] > 0.95


def test_too_few_features_alive_are_counted_and_have_no_score():
    responses = planted(1, 4.0, n_features=12)
    values = responses.values.copy()
    values[:, :, 5:10] = 0
    curve = sparse_decoder_curve(responses.copy(data=values), "condition", sizes=[4, 8], n_repeats=1)
    assert curve["n_failed"].values.tolist() == [[0, 5]]
    assert np.isfinite(curve["auroc"].values[0, 0])
    assert np.isnan(curve["auroc"].values[0, 1])
    assert np.isnan(curve["stability"].values[0, 1])


def test_codes_are_ranked_as_they_are_and_units_in_their_sd():
    rng = np.random.default_rng(4)
    values = rng.standard_normal((40, 3)) * [1, 50, 1]
    labels = np.repeat([0, 1], 20)
    values[labels == 1, 0] += 3
    order = {s: ranked_features(values, labels, 2, "meandiff", is_scaled=s).tolist() for s in (True, False)}
    assert order[True][0] == 0
    assert order[False][0] == 1


def test_the_small_decoder_is_that_of_sklearn():
    rng = np.random.default_rng(5)
    train, test, labels = rng.standard_normal((50, 6)), rng.standard_normal((9, 6)), np.arange(50) % 2
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=1)).fit(train[:, [4, 1]], labels)
    found = small_decoder(train, test, labels, np.array([4, 1]))
    # The default solver of sklearn stops at a gradient of 1e-4.
    np.testing.assert_allclose(found.score[:, 0], expected.decision_function(test[:, [4, 1]]), atol=1e-4)
    np.testing.assert_allclose(found.probability, expected.predict_proba(test[:, [4, 1]]), atol=1e-4)


def test_a_decoder_that_does_not_converge_is_none(monkeypatch):
    monkeypatch.setattr("neurosae.analysis.sparse_logistic._MAX_ITERATIONS", 1)
    rng = np.random.default_rng(6)
    assert (
        small_decoder(rng.standard_normal((30, 4)), np.zeros((2, 4)), np.arange(30) % 2, np.arange(4)) is None
    )


def test_the_lasso_with_one_feature_is_that_feature_and_none_beyond_what_there_are():
    rng = np.random.default_rng(7)
    train, labels = rng.standard_normal((60, 5)), np.arange(60) % 2
    train[labels == 1, 3] += 2
    test = rng.standard_normal((10, 5))
    scores = lasso_scores(train, test, labels, 2, (1, 6))
    assert abs(np.corrcoef(scores[0, :, 0], test[:, 3])[0, 1]) == pytest.approx(1)
    assert np.isnan(scores[1]).all()


def test_direction_scores_are_zero_midway_between_the_class_means():
    rng = np.random.default_rng(8)
    train, labels = rng.standard_normal((40, 5)), np.arange(40) % 2
    middle = (train[labels == 0].mean(axis=0) + train[labels == 1].mean(axis=0)) / 2
    assert direction_scores(train, middle[None], labels, 2).item() == pytest.approx(0, abs=1e-12)
    ends = np.stack([train[labels == k].mean(axis=0) for k in (0, 1)])
    low, high = direction_scores(train, ends, labels, 2).ravel()
    assert low == pytest.approx(-high)
    assert high > 0


def test_order_of_stimuli_and_dead_features_change_nothing():
    responses = planted(2, 2.0)
    one = sparse_decoder_curve(responses, "condition", sizes=[2], n_repeats=1)
    dead = xr.zeros_like(responses).assign_coords(feature=responses["feature"] + 500)
    longer = xr.concat([responses, dead], "feature")
    other = sparse_decoder_curve(longer, "condition", sizes=[2], n_repeats=1)
    for name in ("auroc", "fold_auroc", "lasso_auroc", "reference_auroc"):
        xr.testing.assert_allclose(one[name], other[name])


def test_curve_survives_a_file_and_describes_itself(tmp_path):
    curve = sparse_decoder_curve(noise_responses(n_layers=1), "condition", sizes=[2], n_repeats=1)
    curve.to_netcdf(tmp_path / "curve.nc")
    with xr.open_dataset(tmp_path / "curve.nc") as read:
        xr.testing.assert_identical(read.load(), curve)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in curve.data_vars.values())
    assert all(isinstance(value, str | int | float) for value in curve.attrs.values())
    again = sparse_decoder_curve(noise_responses(n_layers=1), "condition", sizes=[2], n_repeats=1)
    xr.testing.assert_identical(again, curve)


def test_curves_that_make_no_sense_are_refused():
    responses = planted_responses().isel(layer=[1])
    for sizes in ([], [0], [17], [4, 4]):
        with pytest.raises(DesignError, match="give different numbers from 1 to 16"):
            sparse_decoder_curve(responses, "condition", sizes=sizes)
    with pytest.raises(DesignError, match="no selector 'best'"):
        sparse_decoder_curve(responses, "condition", selector="best")
    with pytest.raises(DesignError, match="one class only"):
        sparse_decoder_curve(responses.isel(stimulus=slice(20)), "condition")
