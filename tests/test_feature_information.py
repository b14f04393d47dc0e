"""Information, detection and sparseness of single features: closed forms, sklearn, known biases, refusals."""

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import average_precision_score, f1_score, mutual_info_score, precision_recall_curve

from neurosae.analysis.detectors import feature_detectors
from neurosae.analysis.feature_information import mutual_information, response_sparseness
from neurosae.arrays.class_averages import class_matrices
from neurosae.arrays.detection import (
    average_precision,
    best_threshold,
    detection_counts,
    precision_recall,
    purity,
)
from neurosae.arrays.information import miller_madow_bias, plugin_information, response_bins
from neurosae.arrays.sparseness import sparseness
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import NAMES, families, noise, planted, responses_of


def test_kat_24_sparseness_of_known_responses():
    one_hot = np.eye(4)[:, :1]
    assert sparseness(one_hot).item() == pytest.approx(1.0)
    assert sparseness(np.full((4, 1), 2.0)).item() == pytest.approx(0.0, abs=1e-15)
    assert sparseness(np.array([[1.0], [2.0], [3.0], [4.0]])).item() == pytest.approx(0.222222, abs=1e-6)
    assert np.isnan(sparseness(np.zeros((4, 1)))).all()


def test_kat_24_sparseness_of_exponential_responses_is_one_half():
    values = np.random.default_rng(24).exponential(size=(1_000_000, 1))
    assert sparseness(values).item() == pytest.approx(0.5, abs=0.005)


def test_kat_24_information_in_noise_is_the_bias_of_miller_and_madow():
    rng = np.random.default_rng(0)
    values = rng.exponential(size=(200, 3000)) * (rng.random((200, 3000)) < 0.75)
    bins = response_bins(values)
    found = plugin_information(bins, class_matrices(np.repeat([[0, 1]], 100, axis=1), 2))
    bias = miller_madow_bias(bins, 2)
    assert bias.mean() == pytest.approx(0.0108, abs=1e-4)
    assert found.mean() == pytest.approx(bias.mean(), abs=0.002)


def test_information_is_that_of_sklearn():
    bins = np.random.default_rng(1).integers(0, 4, (60, 8))
    labels = np.random.default_rng(2).integers(0, 3, 60)
    expected = [mutual_info_score(labels, column) / np.log(2) for column in bins.T]
    np.testing.assert_allclose(
        plugin_information(bins, class_matrices(labels[None], 3))[0], expected, atol=1e-12
    )


def test_bins_are_equally_filled_and_keep_silence_apart():
    rng = np.random.default_rng(3)
    values = rng.gamma(2.0, size=(100, 1))
    values[:40] = 0.0
    assert np.bincount(response_bins(values).ravel()).tolist() == [40, 20, 20, 20]
    signed = rng.normal(size=(90, 1))
    assert np.bincount(response_bins(signed).ravel(), minlength=4).tolist() == [0, 30, 30, 30]
    tied = np.array([[1.0], [1.0], [1.0], [2.0]])
    assert len(np.unique(response_bins(tied)[:3])) == 1


def test_a_one_hot_feature_tells_what_there_is_to_tell():
    found = mutual_information(planted(), "condition", n_permutations=199).isel(layer=0)
    # One class of four against the others: H(1/4) = 0.811 bits, less the bias 3 · 3 / (2 · 40 ln 2) = 0.162.
    assert found["information"].values[0] == pytest.approx(0.649, abs=1e-3)
    assert found["p_unc"].values[0] == 1 / 200
    assert found.attrs["class_entropy"] == 2.0
    assert np.isnan(found["information"].values[2:4]).all()


def test_information_of_noise_is_zero_and_p_uniform():
    found = mutual_information(noise(2, 500, seed=4), "condition", n_permutations=199)
    assert float(found["null_mean"].mean()) == pytest.approx(0.0, abs=0.03)
    assert float(found["information"].mean()) == pytest.approx(float(found["null_mean"].mean()), abs=0.005)
    assert 0.029 <= float((found["p_unc"] <= 0.05).mean()) <= 0.074


def test_information_p_holds_its_level_within_families():
    found = mutual_information(families(n=12, n_features=400, seed=3), "condition", n_permutations=99)
    assert found.attrs["scheme"] == "within strata"
    # Information of 24 rows takes few values, and ties make p conservative.
    assert 0.002 <= float((found["p_unc"] <= 0.05).mean()) <= 0.09


def test_average_precision_is_that_of_sklearn_with_ties():
    rng = np.random.default_rng(5)
    values, member = rng.integers(0, 6, (50, 30)).astype(float), rng.random(50) < 0.3
    expected = [average_precision_score(member, column) for column in values.T]
    np.testing.assert_allclose(average_precision(values, member), expected, atol=1e-12)


def test_best_threshold_has_the_largest_f1_of_all_thresholds():
    rng = np.random.default_rng(6)
    values, member = rng.integers(0, 9, (40, 20)).astype(float), rng.random(40) < 0.4
    thresholds = best_threshold(values, member)
    for column, threshold in zip(values.T, thresholds, strict=True):
        precision, recall, _ = precision_recall_curve(member, column)
        best = np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12))
        assert f1_score(member, column >= threshold) == pytest.approx(best)
    counts = detection_counts(values, member, thresholds)
    f1 = [f1_score(member, column >= t) for column, t in zip(values.T, thresholds, strict=True)]
    np.testing.assert_allclose(precision_recall(counts)[2], f1)


def test_purity_counts_the_strongest_units_above_zero():
    values = np.array([[5.0, 0.0], [4.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
    found = purity(values, np.array([True, False, True, True]), 10)
    assert found[0] == pytest.approx(2 / 3)
    assert np.isnan(found[1])


def test_detectors_find_their_class():
    found = feature_detectors(planted(), "condition").isel(layer=0)
    place = found.sel(condition="place")
    assert (place["f1"].values[0], place["pr_auc"].values[0], place["purity"].values[0]) == (1.0, 1.0, 1.0)
    assert float(found["base_rate"].sum()) == 1.0
    assert np.isnan(place["f1"].values[2:4]).all()


def test_detectors_of_noise_stay_at_the_base_rate_on_held_out_units():
    found = feature_detectors(noise(1, 300, seed=8), "condition", n_splits=4)
    assert float(found["precision"].mean()) == pytest.approx(0.25, abs=0.02)
    # Selected and counted on the same units the F1 of noise is far above that of always saying yes, 0.4.
    assert float(found["f1"].mean()) < float(found["f1_everything"].mean())
    assert float(found["pr_auc"].mean()) == pytest.approx(0.313, abs=0.02)


def test_detectors_do_not_depend_on_the_scale_of_a_feature():
    responses = noise(1, 20, seed=9)
    one, other = (feature_detectors(r, "condition", n_splits=3) for r in (responses, 7.0 * responses))
    for name in ("precision", "recall", "f1", "pr_auc"):
        np.testing.assert_allclose(one[name], other[name])
    np.testing.assert_allclose(7.0 * one["threshold"], other["threshold"])


def test_lifetime_and_population_sparseness_look_along_their_own_axis():
    values = np.zeros((5, 1, 4))
    values[2, 0, 1] = 3.0
    values[:, 0, 2] = 1.0
    found = response_sparseness(responses_of(values, list("abcde")))
    np.testing.assert_allclose(found["lifetime"].values[0, 1:3], [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(found["population"].values[[0, 1], 0], 1.0)
    assert found["population"].values[2, 0] < 1.0
    assert np.isnan(found["lifetime"].values[0, 0])


def test_sparseness_does_not_depend_on_order():
    responses = noise(2, 30, seed=1)
    shuffled = responses.isel(stimulus=np.random.default_rng(0).permutation(40))
    one, other = response_sparseness(responses), response_sparseness(shuffled)
    np.testing.assert_allclose(one["lifetime"], other["lifetime"], rtol=1e-12)
    np.testing.assert_allclose(
        one["population"], other["population"].sel(stimulus=one["stimulus"]), rtol=1e-12
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda r: mutual_information(r, "condition", n_permutations=19),
        lambda r: feature_detectors(r, "condition", n_splits=2),
        response_sparseness,
    ],
)
def test_results_survive_a_file_and_lazy_responses_agree(make, tmp_path):
    responses = planted(n_features=8)
    found = make(responses)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())
    assert load_netcdf(save_netcdf(found, tmp_path / "found.nc")).identical(found)
    xr.testing.assert_identical(make(responses.chunk({"layer": 1, "feature": 3})), found)


def test_refusals():
    signed = noise(1, 3, seed=0) - 1
    with pytest.raises(DesignError, match="sparseness needs responses >= 0"):
        response_sparseness(signed)
    with pytest.raises(DesignError, match="at least two values, got 1"):
        response_sparseness(noise(1, 1, seed=0))
    with pytest.raises(DesignError, match="n_bins is 0"):
        mutual_information(signed, "condition", n_bins=0)
    with pytest.raises(DesignError, match="top is 0"):
        feature_detectors(signed, "condition", top=0)
    with pytest.raises(DesignError, match="no column 'task'"):
        feature_detectors(signed, "task")
    with pytest.raises(DesignError, match="one class only"):
        mutual_information(responses_of(np.ones((3, 1)), [NAMES[0]] * 3), "condition")
    with pytest.raises(DesignError, match="NaN or infinite"):
        response_sparseness(signed.where(signed["stimulus"] != "s003"))
