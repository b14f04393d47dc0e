"""Patterns of decoders in units of the responses, and probabilities that mean what they say."""

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import brier_score_loss

from neurosae.analysis.decoder_patterns import decoder_pattern
from neurosae.analysis.decoder_probabilities import decoder_calibration
from neurosae.errors import DesignError
from neurosae.testing import noise_responses, planted_responses
from tests.responses import responses_of


def signal_and_noise(n=400, seed=28, scale=1.0):
    """Feature 0 is signal plus noise, feature 1 the noise alone, feature 2 something else."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    noise = 2 * rng.standard_normal(n)
    signal = labels + 0.3 * rng.standard_normal(n)
    values = np.column_stack([signal + noise, noise, rng.standard_normal(n)]) * scale
    return responses_of(values, np.where(labels == 1, "b", "a"))


def test_kat_28_the_pattern_is_in_the_signal_and_not_in_the_noise_that_is_subtracted():
    found = decoder_pattern(signal_and_noise(), "condition")
    pattern = found["pattern"].squeeze().values
    assert pattern[0] > 0.2
    assert abs(pattern[1]) < 0.15 * pattern[0]
    assert abs(pattern[2]) < 0.15 * pattern[0]
    assert float(found["stability"].item()) > 0.95


def test_kat_28_the_pattern_is_in_the_units_of_the_responses():
    one = decoder_pattern(signal_and_noise(), "condition")["pattern"].squeeze().values
    scale = np.array([1.0, 10.0, 0.1])
    other = decoder_pattern(signal_and_noise(scale=scale), "condition")["pattern"].squeeze().values
    np.testing.assert_allclose(other, one * scale, rtol=1e-6, atol=1e-9)


def test_patterns_of_noise_are_less_stable_and_three_classes_have_one_each():
    noise = decoder_pattern(noise_responses(n_features=60), "condition")
    planted = decoder_pattern(planted_responses(n_features=60, effect=5.0), "condition")
    assert float(planted["stability"].sel(layer=1).item()) > float(noise["stability"].max()) + 0.1
    rng = np.random.default_rng(1)
    labels = np.tile(["x", "y", "z"], 20)
    values = rng.standard_normal((60, 1, 3)) + 4 * (labels[:, None, None] == np.array(["x", "y", "z"]))
    three = decoder_pattern(responses_of(values, labels), "condition")
    assert three["class"].values.tolist() == ["x", "y", "z"]
    assert three["pattern"].values[0].argmax(axis=1).tolist() == [0, 1, 2]


def test_swapping_the_names_of_two_classes_flips_the_pattern():
    responses = signal_and_noise(60)
    swapped = responses.assign_coords(
        condition=("stimulus", np.where(responses["condition"].values == "a", "b", "a"))
    )
    one, other = (decoder_pattern(r, "condition", seed=3) for r in (responses, swapped))
    assert one["class"].values.tolist() == ["b"]
    # Folds of swapped classes are others, so the two agree in sign and about in size.
    assert np.sign(one["pattern"].values[0, 0, 0]) == -np.sign(other["pattern"].values[0, 0, 0])


@pytest.mark.parametrize("function", [decoder_pattern, decoder_calibration])
def test_results_survive_a_file_and_describe_themselves(function, tmp_path):
    found = function(planted_responses(n_features=6), "condition")
    found.to_netcdf(tmp_path / "result.nc")
    with xr.open_dataset(tmp_path / "result.nc") as read:
        xr.testing.assert_identical(read.load(), found)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())
    assert all(isinstance(value, str | int | float) for value in found.attrs.values())
    xr.testing.assert_identical(function(planted_responses(n_features=6), "condition"), found)
    with pytest.raises(DesignError, match="one class only"):
        function(planted_responses().isel(stimulus=slice(20)), "condition")


def test_held_out_probabilities_are_calibrated_and_resolve_where_the_effect_is():
    rng = np.random.default_rng(2)
    labels = np.repeat(["a", "b"], 150)
    values = rng.standard_normal((300, 2, 20))
    values[labels == "b", 1, 0] += 1.5
    found = decoder_calibration(responses_of(values, labels), "condition")
    assert (found["ece"] < 0.12).all()
    assert (found["resolution"].sel(layer=1) > found["resolution"].sel(layer=0) + 0.05).all()
    assert (found["brier"].sel(layer=1) < 0.21).all()
    assert found["uncertainty"].values.ravel().tolist() == [0.25] * 4
    probability = found["probability"].isel(layer=1).sel({"class": "b"}).values
    assert float(found["brier"].sel(layer=1, **{"class": "b"})) == pytest.approx(
        brier_score_loss(labels == "b", probability)
    )
    np.testing.assert_allclose(found["probability"].sum("class"), 1)
    assert found.attrs["method"] == "sigmoid"


def test_probabilities_of_noise_stay_near_the_base_rate():
    found = decoder_calibration(noise_responses(n_items=40), "condition")
    assert float(np.abs(found["probability"] - 0.5).mean()) < 0.15
    assert (found["brier"] < 0.32).all()


def test_unknown_calibrations_are_refused():
    with pytest.raises(DesignError, match="no calibration 'platt'"):
        decoder_calibration(planted_responses(), "condition", method="platt")


def test_isotonic_calibration_is_there_for_those_who_name_it():
    found = decoder_calibration(planted_responses(n_items=30, effect=4.0), "condition", method="isotonic")
    assert float(found["brier"].sel(layer=1, **{"class": "A"})) < 0.2
