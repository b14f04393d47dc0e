"""Items and templates as random factors: minF' per feature, mixed models of one response."""

import warnings

import numpy as np
import pytest
import statsmodels.formula.api as smf
import xarray as xr
from scipy.stats import ttest_ind, ttest_rel

from neurosae.analysis import mixed_effects
from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.mixed_effects import mixed_model
from neurosae.analysis.random_factors import min_f_map
from neurosae.arrays.random_factors import min_f_prime
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.schema.provenance import provenance
from tests.responses import responses_of


def design(n_items=16, n_templates=8, is_paired=True):
    """Cell, item and template of each stimulus; unpaired items hold one cell each."""
    grid = np.meshgrid(np.arange(2), np.arange(n_items), np.arange(n_templates), indexing="ij")
    cell, item, template = (axis.ravel() for axis in grid)
    keep = np.full(len(cell), True) if is_paired else cell == item % 2
    return cell[keep], item[keep], template[keep]


def responses(n_features=5, seed=0, effect=0.0, slopes=(1.0, 1.0), **kwargs):
    rng = np.random.default_rng(seed)
    cell, item, template = design(**kwargs)
    code = 0.5 - cell[:, None]
    values = effect * code + rng.standard_normal((len(cell), n_features))
    for factor, slope in ((item, slopes[0]), (template, slopes[1])):
        size = factor.max() + 1, n_features
        values += rng.standard_normal(size)[factor] + slope * rng.standard_normal(size)[factor] * code
    columns = {"item": item.astype(str), "template": template.astype(str)}
    return responses_of(values, np.array(["a", "b"])[cell], **columns)


def one(seed=0, **kwargs):
    return responses(1, seed, **kwargs)[:, 0, 0]


def test_kat_12_min_f_prime():
    stat, df = min_f_prime(9.2, 15, 7.1, 23)
    assert stat == pytest.approx(4.00736, abs=1e-5)
    assert df == pytest.approx(37.736, abs=1e-3)
    assert min_f_prime(np.array(0.0), 15, np.array(0.0), 23)[0] == 0


def test_a_min_f_map_says_how_it_was_made_and_why_p_is_missing():
    result = min_f_map(responses(n_items=4), "a > b", correct="holm", n_permutations=19)
    step = provenance(result)["steps"][-1]
    assert (step["correct"], step["n_permutations"]) == ("holm", 19)
    assert result.attrs["family_size"] == 5
    assert np.isnan(result["p_both"]).all()
    assert "16 distinct relabelings" in result.attrs["note"]


@pytest.mark.parametrize("is_paired", [True, False])
def test_f1_and_f2_agree_with_scipy(is_paired):
    data = responses(is_paired=is_paired, effect=1.0)
    result = min_f_map(data, "a > b", n_permutations=199)
    cell, item, template = design(is_paired=is_paired)
    values = data.values[:, 0]

    def means(factor, k):
        levels = np.unique(factor[cell == k])
        return np.stack([values[(factor == level) & (cell == k)].mean(axis=0) for level in levels])

    over_items = (ttest_rel if is_paired else ttest_ind)(means(item, 0), means(item, 1))
    over_templates = ttest_rel(means(template, 0), means(template, 1))
    np.testing.assert_allclose(result["f1"].values[0], over_items.statistic**2, rtol=1e-9)
    np.testing.assert_allclose(result["f2"].values[0], over_templates.statistic**2, rtol=1e-9)
    assert set(result["df1"].values.ravel()) == {15.0 if is_paired else 14.0}
    assert set(result["df2"].values.ravel()) == {7.0}
    expected = min_f_prime(over_items.statistic**2, over_items.df, over_templates.statistic**2, 7)
    np.testing.assert_allclose(result["stat"].values[0], expected[0], rtol=1e-9)
    larger = np.maximum(result["p_items"], result["p_templates"])
    np.testing.assert_array_equal(result["p_both"], larger)


def test_templates_that_differ_in_the_effect_mislead_items_but_not_min_f():
    data = responses(2000, slopes=(0.5, 1.0))
    result = min_f_map(data, "a > b", n_permutations=199, correct="none")
    assert (result["p_items"] <= 0.05).mean() > 0.15
    assert (result["p_min_f"] <= 0.05).mean() < 0.0665
    assert (result["p_templates"] <= 0.05).mean() < 0.0665
    assert (result["p_both"] <= result["p_adjusted"]).all()


def test_planted_effects_are_found_over_both_factors():
    result = min_f_map(responses(40, effect=3.0, slopes=(0.5, 0.5)), "a > b", correct="holm")
    assert (result["p_min_f"] <= 0.001).mean() > 0.9
    assert result["effect"].mean() == pytest.approx(3.0, abs=0.2)
    assert (result["stat"] <= np.minimum(result["f1"], result["f2"])).all()


def test_maps_of_both_factors_survive_netcdf_and_moved_rows(tmp_path):
    data = responses()
    result = min_f_map(data, "a > b", n_permutations=99)
    save_netcdf(result, tmp_path / "map.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "map.nc"), result)
    order = np.random.default_rng(0).permutation(data.sizes["stimulus"])
    moved = min_f_map(data.isel(stimulus=order), "a > b", n_permutations=99)
    np.testing.assert_allclose(moved["stat"], result["stat"], rtol=1e-9)
    assert all({"long_name", "units"} <= set(result[name].attrs) for name in result.data_vars)


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (responses(n_templates=7), {}, "7 templates .* needs at least 8"),
        (responses().isel(stimulus=slice(1, None)), {}, "not fully crossed: 1 of 256 combinations"),
        (responses(), {"templates": "frame"}, "no column 'frame'"),
        (responses(), {"correct": "max_t"}, "'max_t' is unknown here"),
    ],
)
def test_refusals_of_min_f(data, settings, message):
    with pytest.raises(DesignError, match=message):
        min_f_map(data, "a > b", **settings)


def test_a_mixed_model_of_balanced_data_agrees_with_its_closed_form():
    # With every variance above 0 the REML error of balanced paired data is that of the mean squares.
    data = one(effect=1.0, slopes=(1.5, 1.5))
    result = mixed_model(data, "a > b")
    difference = data.values[: 16 * 8].reshape(16, 8) - data.values[16 * 8 :].reshape(16, 8)
    mean = difference.mean()
    by_item, by_template = difference.mean(axis=1) - mean, difference.mean(axis=0) - mean
    rest = difference - mean - by_item[:, None] - by_template
    ms_item, ms_template = 8 * (by_item**2).sum() / 15, 16 * (by_template**2).sum() / 7
    ms_rest = (rest**2).sum() / 105
    assert result["effect"].item() == pytest.approx(mean, abs=1e-6)
    expected = np.sqrt((ms_item + ms_template - ms_rest) / 128)
    assert result["se"].item() == pytest.approx(expected, rel=0.01)  # REML stops at a relative step
    assert result.attrs["method"] == "REML"
    assert result.attrs["boundary"] == ""
    assert result["df"].item() == 7
    assert result["effect_lo"] < result["effect"] < result["effect_hi"]


def test_a_mixed_model_of_items_alone_agrees_with_random_slopes_of_statsmodels():
    data = one(effect=1.0, slopes=(1.0, 0.0))
    result = mixed_model(data, "a > b", templates=None)
    table = data.to_dataframe(name="y").reset_index()
    table["code"] = np.where(table["condition"] == "a", 0.5, -0.5)
    parts = {"item": "1", "slope": "0 + code"}
    peer = smf.mixedlm("y ~ code", table, groups="item", re_formula="0", vc_formula=parts).fit()
    assert result["effect"].item() == pytest.approx(peer.fe_params["code"], abs=1e-4)
    assert result["se"].item() == pytest.approx(peer.bse_fe["code"], rel=1e-2)
    assert result["component"].values.tolist() == ["item", "item slope", "residual"]


def test_items_that_hold_one_condition_get_no_slope():
    result = mixed_model(one(is_paired=False, effect=2.0), "a > b")
    assert result["component"].values.tolist() == ["item", "template", "template slope", "residual"]
    assert abs(result["effect"].item() - 2.0) < 4 * result["se"].item()


def test_variances_of_zero_are_named():
    results = [mixed_model(one(seed, slopes=(0.0, 0.0)), "a > b") for seed in range(6)]
    boundary = [result.attrs["boundary"] for result in results]
    assert any("slope" in names for names in boundary)
    for result, names in zip(results, boundary, strict=True):
        zero = [name for name in names.split(";") if name]
        assert (result["variance"].sel(component=zero) < 1e-3 * result["variance"][-1]).all()
        assert ("on the boundary" in result.attrs["note"]) == bool(zero)


def test_mixed_models_of_noise_find_effects_at_most_at_the_level():
    n_false = sum(mixed_model(one(seed, n_items=8), "a > b")["p"].item() <= 0.05 for seed in range(25))
    assert n_false <= 6  # .9995 binomial limit of .05


@pytest.mark.parametrize("templates", ["template", None])
def test_a_model_that_does_not_converge_gives_way_to_min_f_and_says_so(monkeypatch, templates):
    fit = mixed_effects.MixedLM.fit

    def stopped(self, **settings):
        result = fit(self, **settings)
        result.converged = False
        return result

    monkeypatch.setattr(mixed_effects.MixedLM, "fit", stopped)
    data = one(effect=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = mixed_model(data, "a > b", templates=templates)
    whole = data.expand_dims({"layer": [0], "feature": [0]}, axis=(1, 2))
    if templates:
        peer = min_f_map(whole, "a > b", n_permutations=99)
        assert result["stat"].item() ** 2 == pytest.approx(peer["stat"].item())
        assert result["df"].item() == pytest.approx(peer["df"].item())
        assert result.attrs["method"] == "minF'"
    else:
        peer = contrast_map(whole, "a > b", test="pooled", unit="item", n_permutations=99)
        assert result["stat"].item() == pytest.approx(peer["stat"].item())
        assert result.attrs["method"] == "F over items"
    assert result.attrs["converged"] == 0
    assert "instead of the mixed model: REML did not converge" in result.attrs["note"]
    assert np.isnan(result["variance"]).all()


def test_a_singular_fit_gives_way_to_min_f_and_says_so(monkeypatch):
    def singular(self, **settings):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(mixed_effects.MixedLM, "fit", singular)
    assert "REML failed: Singular matrix" in mixed_model(one(), "a > b").attrs["note"]


def test_mixed_models_survive_netcdf_and_moved_rows(tmp_path):
    data = one(effect=1.0)
    result = mixed_model(data, "a > b")
    save_netcdf(result, tmp_path / "model.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "model.nc"), result)
    moved = mixed_model(data.isel(stimulus=np.random.default_rng(0).permutation(256)), "a > b")
    assert moved["effect"].item() == pytest.approx(result["effect"].item(), abs=1e-6)
    assert all({"long_name", "units"} <= set(result[name].attrs) for name in result.data_vars)


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (responses(), {}, "takes one value a stimulus"),
        (one().where(one()["item"] != "3"), {}, "NaN or infinite"),
        (one(), {"items": "word"}, "no column 'word'"),
        (one(n_templates=2), {}, "2 units of 'template' are too few"),
    ],
)
def test_refusals_of_mixed_models(data, settings, message):
    with pytest.raises(DesignError, match=message):
        mixed_model(data, "a > b", **settings)
