"""Curves over a parameter: planted centres and widths recovered, noise stays constant, scipy agrees."""

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import curve_fit

from neurosae.analysis.level_tuning import parametric_tuning
from neurosae.arrays.tuning_models import MODELS, SHAPES, curve, fit_curve, grid_of, held_out_r2
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import responses_of

LEVELS = np.arange(1.0, 10.0)


def tuned(n=8, noise=0.15, n_noise=3, seed=0):
    """Feature 0 prefers level 4 (FWHM 2.355 · 1.5), 1 rises linearly, 2 steps at 6, the others are noise."""
    x = np.tile(LEVELS, n)
    shapes = [np.exp(-((x - 4) ** 2) / (2 * 1.5**2)), 0.2 * x, 1.5 / (1 + np.exp(-(x - 6) / 0.3))]
    values = np.stack(shapes + [0 * x] * n_noise, axis=1)
    values += noise * np.random.default_rng(seed).normal(size=values.shape)
    return responses_of(values, ["a"] * len(x), level=x)


def test_planted_curves_are_recognised_with_their_parameters():
    found = parametric_tuning(tuned(), "level", n_permutations=99).isel(layer=0)
    assert found["model_best"].values[:3].tolist() == ["gaussian", "linear", "logistic"]
    assert float(found["preferred_level"][0]) == pytest.approx(4.0, abs=0.15)
    assert float(found["fwhm"][0]) == pytest.approx(2.355 * 1.5, rel=0.15)
    assert float(found["midpoint"][2]) == pytest.approx(6.0, abs=0.3)
    assert (found["p_unc"].values[:3] == 0.01).all()
    slope = found["amplitude"].sel(model="linear") / found["width"].sel(model="linear")
    assert float(slope[1]) == pytest.approx(0.2, abs=0.02)


def test_preferred_level_is_reported_only_where_the_bell_predicts_best():
    found = parametric_tuning(tuned(n_noise=60), "level", n_permutations=9).isel(layer=0)
    is_bell = (found["model_best"] == "gaussian").values
    assert np.isnan(found["preferred_level"].values[~is_bell]).all()
    assert np.isfinite(found["preferred_level"].values[is_bell]).all()
    # Most noise features are best predicted by their mean.
    assert (found["model_best"].values[3:] == "const").mean() > 0.6


def test_p_is_uniform_in_noise():
    values = np.random.default_rng(1).exponential(size=(45, 300))
    responses = responses_of(values, ["a"] * 45, level=np.tile(LEVELS, 5))
    p = parametric_tuning(responses, "level", n_permutations=59)["p_unc"].values
    # Exact .0005 and .9995 binomial limits of 300 features at .05 are about .013 and .100.
    assert 0.013 <= (p <= 0.05).mean() <= 0.1
    assert p.mean() == pytest.approx(0.5, abs=0.06)


def test_gaussian_fit_is_that_of_scipy():
    responses = tuned(noise=0.1)
    x, y = responses["level"].values, responses.values[:, 0, 0]
    expected, _ = curve_fit(
        lambda x, offset, amplitude, centre, width: (
            offset + amplitude * np.exp(-((x - centre) ** 2) / (2 * width**2))
        ),
        x,
        y,
        p0=[0, 1, 4, 1],
    )
    found = (
        parametric_tuning(responses, "level", n_permutations=1).sel(model="gaussian").isel(layer=0, feature=0)
    )
    for name, value in zip(("offset", "amplitude", "centre", "width"), expected, strict=True):
        # The grid has 97 centres over 8 levels and widths 9 % apart.
        assert float(found[name]) == pytest.approx(value, abs=0.1)


@pytest.mark.parametrize("name", SHAPES)
def test_fit_is_exact_for_a_curve_of_the_grid(name):
    grid = grid_of(name, LEVELS, 17, 6)
    row = len(grid.centre) // 2
    response = 2.0 + 3.0 * grid.values[row]
    counts = np.array([3.0, 1, 2, 2, 2, 5, 1, 1, 2])
    fit = fit_curve(name, grid, (response * counts)[:, None], counts)
    np.testing.assert_allclose(curve(name, LEVELS, fit)[:, 0], response, atol=1e-9)


def test_held_out_r2_is_that_of_explicit_folds():
    rng = np.random.default_rng(2)
    level = np.tile(np.arange(9), 4)
    values, folds = rng.normal(size=(36, 3)) + 0.3 * level[:, None], rng.permutation(36) % 4
    found = held_out_r2(values, level, folds, {name: grid_of(name, LEVELS) for name in SHAPES})
    predicted = np.empty((2, *values.shape))
    for fold in range(4):
        train, test = folds != fold, folds == fold
        predicted[0, test] = values[train].mean(axis=0)
        for f in range(3):
            line = np.polyfit(LEVELS[level[train]], values[train, f], 1)
            predicted[1, test, f] = np.polyval(line, LEVELS[level[test]])
    total = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
    expected = 1 - ((values - predicted) ** 2).sum(axis=1) / total
    np.testing.assert_allclose(found[:2], expected, atol=1e-9)
    assert MODELS[:2] == ("const", "linear")


def test_a_trough_is_no_preferred_level():
    responses = -1.0 * tuned()
    found = parametric_tuning(responses, "level", n_permutations=9).isel(layer=0)
    assert str(found["model_best"].values[0]) != "gaussian"
    assert np.isnan(found["preferred_level"].values[0])


def test_scale_offset_and_order_do_not_matter():
    responses = tuned()
    found = parametric_tuning(responses, "level", n_permutations=9)
    scaled = parametric_tuning(5.0 * responses + 3.0, "level", n_permutations=9)
    np.testing.assert_allclose(found["r2"], scaled["r2"], atol=1e-9)
    np.testing.assert_allclose(5.0 * found["amplitude"], scaled["amplitude"], rtol=1e-9)
    xr.testing.assert_identical(
        found, parametric_tuning(responses.chunk({"layer": 1, "feature": 2}), "level", n_permutations=9)
    )


def test_items_that_hold_all_levels_stay_whole():
    responses = tuned(n=12)
    items = np.repeat([f"i{i:02d}" for i in range(12)], 9)
    found = parametric_tuning(responses.assign_coords(item=("stimulus", items)), "level", n_permutations=19)
    assert (found.attrs["unit"], found.attrs["scheme"], found.attrs["n_units"]) == (
        "item",
        "within strata",
        12,
    )
    assert str(found["model_best"].values[0, 0]) == "gaussian"


def test_dead_features_are_nan_and_the_result_survives_a_file(tmp_path):
    responses = tuned()
    responses.values[:, 0, 3] = 0.0
    found = parametric_tuning(responses, "level", n_permutations=9)
    assert np.isnan(found["r2"].values[:, 0, 3]).all()
    assert str(found["model_best"].values[0, 3]) == ""
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())
    assert load_netcdf(save_netcdf(found, tmp_path / "found.nc")).identical(found)


def test_refusals():
    responses = tuned()
    with pytest.raises(DesignError, match="'condition' does not hold numbers only"):
        parametric_tuning(responses, "condition")
    with pytest.raises(DesignError, match="3 levels over 24 units"):
        parametric_tuning(responses.isel(stimulus=responses["level"].values <= 3), "level")
    with pytest.raises(DesignError, match="9 levels over 9 units"):
        parametric_tuning(responses.isel(stimulus=slice(9)), "level")
    with pytest.raises(DesignError, match=r"no column 'levels'.*did you mean 'level'"):
        parametric_tuning(responses, "levels")
