"""Published localizers are what their papers say, and reliability grows with the number of items."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import ttest_ind

from neurosae.analysis.localizer_variants import (
    LOCALIZER_VARIANTS,
    cross_localize_as,
    localize_as,
    variant_responses,
)
from neurosae.analysis.reliability import localizer_reliability
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.recording.pooling import pool_tokens
from neurosae.testing import noise_responses, planted_recording, planted_responses
from tests.responses import labelled


def test_alkhamissi_2025_is_welch_t_of_sizes_at_the_last_token():
    recording = planted_recording(n_items=15, n_features=50, seed=3)
    sizes = np.abs(pool_tokens(recording, "last:1").values).astype(float)
    is_a = recording["condition"].values == "A"
    t = ttest_ind(sizes[is_a], sizes[~is_a], equal_var=False).statistic
    roi = localize_as(recording, "A > B", "alkhamissi_2025")
    assert roi["member"].values.sum() == 2
    np.testing.assert_allclose(roi["stat"], t, rtol=1e-5)
    np.testing.assert_array_equal(roi["member"].values, t >= np.sort(t, axis=None)[-2])


@pytest.mark.parametrize("variant", ["signed", "absolute", "per_layer", "fedorenko_2010"])
def test_planted_features_are_found_by_every_rule(variant):
    responses = planted_responses(effect=4.0)
    assert bool(localize_as(responses, "A > B", variant)["member"].sel(layer=1, feature=4))
    found = cross_localize_as(responses, "A > B", variant)
    assert found["member"].sel(layer=1, feature=4).all()
    assert found.attrs["variant"] == variant


def test_truncated_uses_the_first_tokens_alone():
    recording = planted_recording(n_items=10, seed=1)
    expected = pool_tokens(recording, "first:5")
    truncated = variant_responses(recording, "truncated")
    xr.testing.assert_identical(truncated, expected)
    xr.testing.assert_identical(variant_responses(expected, "truncated"), expected)


def test_responses_of_another_window_and_unknown_variants_are_refused():
    with pytest.raises(DesignError, match="needs window 'first:5', the responses have"):
        localize_as(planted_responses(), "A > B", "truncated")
    with pytest.raises(DesignError, match="no localizer variant 'sigend'"):
        localize_as(planted_responses(), "A > B", "sigend")


def test_every_variant_names_its_rule_and_size():
    for variant in LOCALIZER_VARIANTS.values():
        assert f"top {variant.fraction:.0%}".replace("%", " %") in variant.text


def test_reliability_of_a_planted_localizer_grows_and_that_of_noise_stays_at_chance():
    planted = [(1, feature) for feature in range(8)]
    signal = planted_responses(n_items=40, n_features=80, planted=planted, effect=1.0)
    curve = localizer_reliability(signal, "A > B", fraction=8 / 240, n_splits=10)
    assert (np.diff(curve["n_units"]) > 0).all()
    assert float(curve["dice"][-1]) > float(curve["dice"][0]) + 0.2
    noise = noise_responses(n_items=40, n_features=80)
    flat = localizer_reliability(noise, "A > B", fraction=8 / 240, n_splits=10)
    # 10 splits of 8 features each: one standard error of a mean Dice is about .02
    np.testing.assert_allclose(flat["dice"], flat["dice_chance"], atol=0.07)
    assert np.abs(flat["r"]).max() < 0.15


def test_spearman_brown_foretells_the_reliability_of_twice_the_units():
    values = np.random.default_rng(0).standard_normal((160, 1, 400))
    values[:80] += 0.5 * np.random.default_rng(1).standard_normal(400)
    responses = labelled(values, condition=np.repeat(["a", "b"], 80))
    curve = localizer_reliability(responses, "a > b", n_units=[10, 20, 40], n_splits=10)
    # r over 400 features has a standard error of .05
    np.testing.assert_allclose(curve["r_sb"][:2], curve["r"][1:], atol=0.06)


def test_reliability_draws_whole_units_in_paired_designs_and_survives_storage(tmp_path):
    values = np.random.default_rng(0).standard_normal((40, 1, 30))
    values[::2, 0, :3] += 3
    items = np.repeat([f"i{k}" for k in range(20)], 2)
    responses = labelled(values, condition=np.tile(["a", "b"], 20), item=items)
    curve = localizer_reliability(responses, "a > b", n_units=[4, 10], fraction=0.1, n_splits=5)
    assert float(curve["dice"][-1]) == 1.0
    save_netcdf(curve, tmp_path / "curve.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "curve.nc"), curve)
    xr.testing.assert_identical(
        curve, localizer_reliability(responses, "a > b", n_units=[10, 4], fraction=0.1, n_splits=5)
    )


@pytest.mark.parametrize("n_units", [[2], [21], [10, 400]])
def test_more_units_than_half_or_too_few_are_refused(n_units):
    with pytest.raises(DesignError, match="allow 3 to 20 a cell"):
        localizer_reliability(noise_responses(n_items=40), "A > B", n_units=n_units)
