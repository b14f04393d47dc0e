"""F maps of factorial designs: peers agreed with, noise left alone, planted interactions found."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
import xarray as xr
from scipy.stats import f_oneway
from statsmodels.stats.anova import AnovaRM, anova_lm

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.factors import factor_map
from neurosae.analysis.terms import parse_terms
from neurosae.errors import ContrastError, DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import responses_of


def crossed(n=12, n_features=4, seed=0, **columns):
    """A 3 x 2 design between units, n units a cell."""
    rng = np.random.default_rng(seed)
    tone, size = np.repeat(list("xyz"), 2 * n), np.tile(["p", "q"], 3 * n)
    return responses_of(rng.standard_normal((6 * n, n_features)), tone, size=size, **columns)


def within(n=14, n_features=4, seed=0):
    """Each of n items in all cells of 3 x 2, rows in random order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(6 * n)
    item = np.repeat([f"i{k:02d}" for k in range(n)], 6)
    tone, size = np.tile(np.repeat(list("xyz"), 2), n), np.tile(["p", "q"], 3 * n)
    values = rng.standard_normal((6 * n, n_features)) + np.repeat(rng.standard_normal(n), 6)[:, None]
    return responses_of(values[order], tone[order], size=size[order], item=item[order])


def frame(data, feature=0, **columns):
    names = [name for name in ("condition", "size", "item", "length", "group") if name in data.coords]
    return pd.DataFrame({name: data[name].values for name in names} | {"y": data.values[:, 0, feature]})


def flat(result, name, term=0):
    return result[name].values[term, 0]


def test_kat_01_f_of_several_rows_agrees_with_f_test():
    rng = np.random.default_rng(0)
    condition, nuisance = np.repeat(["a", "b", "c"], 20), rng.standard_normal((60, 2))
    cells = (condition[:, None] == np.array(["a", "b", "c"])).astype(float)
    design = np.column_stack([cells, nuisance])
    values = rng.standard_normal((60, 7)) + design @ rng.standard_normal((5, 7))
    data = responses_of(values, condition, length=nuisance[:, 0], frequency=nuisance[:, 1])
    result = factor_map(data, "condition", nuisance=["length", "frequency"], n_permutations=99)
    rows = np.array([[1.0, -1.0, 0.0, 0.0, 0.0], [0.0, 1.0, -1.0, 0.0, 0.0]])
    peer = [sm.OLS(column, design).fit().f_test(rows).fvalue for column in values.T]
    np.testing.assert_allclose(flat(result, "stat"), peer, atol=1e-8)
    assert result["df1"].item() == 2
    assert result["df2"].item() == 55


def test_kat_02_f_of_one_row_is_t_squared_with_the_same_p():
    data = crossed(10, 300)
    two = data.isel(stimulus=np.flatnonzero(data["condition"].values != "z"))
    f = factor_map(two, "condition", n_permutations=199, correct="max_t")
    t = contrast_map(two, "x > y", test="pooled", n_permutations=199, correct="max_t")
    np.testing.assert_allclose(flat(f, "stat"), t["stat"].values[0] ** 2, rtol=1e-10)
    np.testing.assert_array_equal(flat(f, "p_unc"), t["p_unc"].values[0])
    np.testing.assert_array_equal(flat(f, "p_adjusted"), t["p_adjusted"].values[0])
    np.testing.assert_allclose(flat(f, "effect") * 2, np.abs(t["effect"].values[0]), rtol=1e-10)


def test_kat_02_f_of_one_row_within_units_is_the_paired_t_squared():
    data = within(n_features=300)
    two = data.isel(stimulus=np.flatnonzero(data["condition"].values != "z"))
    f = factor_map(two, "condition", n_permutations=199, correct="max_t")
    t = contrast_map(two, "x > y", n_permutations=199, correct="max_t")
    np.testing.assert_allclose(flat(f, "stat"), t["stat"].values[0] ** 2, rtol=1e-9)
    np.testing.assert_array_equal(flat(f, "p_unc"), t["p_unc"].values[0])
    np.testing.assert_array_equal(flat(f, "p_adjusted"), t["p_adjusted"].values[0])


@pytest.mark.parametrize("design", [crossed, within])
def test_an_interaction_of_two_by_two_is_t_squared_of_the_difference_of_differences(design):
    data = design(12, 50)
    two = data.isel(stimulus=np.flatnonzero(data["condition"].values != "z"))
    f = factor_map(two, "condition : size", n_permutations=99)
    t = contrast_map(two, "(x > y) : (p > q)", test="pooled", n_permutations=99)
    np.testing.assert_allclose(flat(f, "stat"), t["stat"].values[0] ** 2, rtol=1e-9)
    np.testing.assert_allclose(flat(f, "effect") * 4, np.abs(t["effect"].values[0]), rtol=1e-9)


def test_one_factor_agrees_with_scipy():
    data = crossed()
    result = factor_map(data, "condition", n_permutations=99)
    groups = [data.values[data["condition"].values == level, 0] for level in "xyz"]
    np.testing.assert_allclose(flat(result, "stat"), f_oneway(*groups).statistic, rtol=1e-10)


def test_unbalanced_factors_agree_with_type_three_sums_of_squares():
    rng = np.random.default_rng(3)
    tone = rng.choice(list("xyz"), 70, p=[0.3, 0.4, 0.3])
    data = responses_of(
        rng.standard_normal((70, 3)), tone, size=rng.choice(["p", "q"], 70), length=rng.standard_normal(70)
    )
    result = factor_map(data, "condition * size", nuisance=["length"], n_permutations=99)
    assert result["term"].values.tolist() == ["condition", "size", "condition:size"]
    for feature in range(3):
        model = smf.ols("y ~ C(condition, Sum) * C(size, Sum) + length", frame(data, feature)).fit()
        table = anova_lm(model, typ=3).iloc[1:4]
        np.testing.assert_allclose(result["stat"].values[:, 0, feature], table["F"], rtol=1e-8)
        eta = table["sum_sq"] / (table["sum_sq"] + model.ssr)
        np.testing.assert_allclose(result["es"].values[:, 0, feature], eta, rtol=1e-8)


def test_factors_within_units_agree_with_repeated_measures():
    data = within()
    result = factor_map(data, "condition * size", n_permutations=99)
    for feature in range(4):
        peer = AnovaRM(frame(data, feature), "y", "item", within=["condition", "size"]).fit().anova_table
        np.testing.assert_allclose(result["stat"].values[:, 0, feature], peer["F Value"], rtol=1e-8)
    assert result["df1"].values.tolist() == [2, 1, 2]
    assert result["df2"].values.tolist() == [26, 13, 26]
    assert set(result["scheme"].values) == {"paired"}


def test_split_plots_test_each_term_against_its_own_error():
    rng = np.random.default_rng(0)
    n = 20
    item, group = np.repeat([f"i{k:02d}" for k in range(n)], 3), np.repeat(np.tile(["g", "h"], n // 2), 3)
    values = rng.standard_normal((3 * n, 3)) + np.repeat(rng.standard_normal(n), 3)[:, None]
    data = responses_of(values, np.tile(list("xyz"), n), group=group, item=item)
    result = factor_map(data, "condition * group", n_permutations=99)
    assert result["df2"].values.tolist() == [36, 18, 36]
    means = values.reshape(n, 3, 3).mean(axis=1)
    between = f_oneway(means[0::2], means[1::2]).statistic
    np.testing.assert_allclose(result["stat"].values[1, 0], between, rtol=1e-9)
    # With the unit as a factor of its own, the unit x condition variation is the residual.
    unit = (item[:, None] == np.unique(item)).astype(float)
    tone = (np.tile(list("xyz"), n)[:, None] == np.array(["x", "y", "z"])).astype(float)
    without = np.column_stack([unit, tone])
    full = np.column_stack([without, tone * (group == "g")[:, None]])
    rss = [((values - x @ np.linalg.lstsq(x, values)[0]) ** 2).sum(axis=0) for x in (without, full)]
    np.testing.assert_allclose(result["stat"].values[2, 0], (rss[0] - rss[1]) / 2 / (rss[1] / 36), rtol=1e-8)
    assert result["scheme"].values.tolist() == ["paired, Freedman-Lane", "between", "between"]


def test_planted_interactions_are_found_with_their_size_and_nothing_else():
    data = crossed(20, 60, seed=2)
    sign = np.where(data["size"].values == "p", 1, -1) * (data["condition"].values == "x")
    data.values[:, 0, :5] += 1.5 * sign[:, None]
    result = factor_map(data, "condition * size", correct="max_t", n_permutations=499)
    found = result["p_adjusted"].sel(term="condition:size").values[0] <= 0.05
    assert found[:5].all()
    assert found.sum() <= 6
    effects = np.array([1.5 - 0.5, -0.5, -0.5])  # the deviations of ±1.5 from the main effect of size
    expected = np.sqrt(np.mean(np.square(effects)))
    size = result["effect"].sel(term="condition:size").values[0, :5].mean()
    assert size == pytest.approx(expected, abs=0.15)  # 3 standard errors
    assert (result["es_lo"] <= result["es"]).all()
    assert (result["es_lo"] <= result["es_hi"]).all()
    assert (result["es"] <= result["es_hi"]).values[result["stat"].values >= 1].all()


@pytest.mark.parametrize(
    ("design", "terms", "term"),
    [
        (crossed, "condition", "condition"),
        (crossed, "condition * size", "condition:size"),
        (within, "condition", "condition"),
        (within, "condition : size", "condition:size"),
    ],
)
def test_noise_gives_uniform_p(design, terms, term):
    p = factor_map(design(n_features=2000, seed=5), terms, n_permutations=199, correct="none")["p_unc"]
    p = p.sel(term=term).values
    assert 0.0345 < (p <= 0.05).mean() < 0.0665
    assert abs(p.mean() - 0.5) < 0.03


def test_other_effects_and_nuisance_do_not_pass_for_the_term():
    data = crossed(10, 2000, seed=1)
    length = np.random.default_rng(0).standard_normal(60) + (data["condition"].values == "x")
    data = data.assign_coords(length=("stimulus", length))
    data.values[:] += 2 * length[:, None, None] + 3 * (data["size"].values == "p")[:, None, None]
    p = factor_map(data, "condition + size", nuisance=["length"], n_permutations=199, correct="none")["p_unc"]
    assert 0.0345 < (p.sel(term="condition") <= 0.05).mean() < 0.0665
    assert (p.sel(term="size") <= 0.01).all()


def test_omega_is_about_zero_without_an_effect():
    result = factor_map(crossed(n_features=3000), "condition", n_permutations=19, correct="none")
    assert abs(result["omega"].mean()) < 0.002
    assert result["es"].mean() > 0.02  # η² is not


def test_order_of_stimuli_features_and_factors_does_not_matter():
    data = crossed(n_features=30)
    base = factor_map(data, "condition * size", n_permutations=99)
    rng = np.random.default_rng(0)
    moved = factor_map(
        data.isel(stimulus=rng.permutation(72), feature=rng.permutation(30)),
        "size * condition",
        n_permutations=99,
    )
    moved = moved.assign_coords(term=["size", "condition", "condition:size"]).sel(
        term=base["term"], feature=base["feature"]
    )
    for name in ("stat", "effect", "es", "omega"):
        np.testing.assert_allclose(moved[name], base[name], atol=1e-10)
    again = factor_map(data, "condition * size", n_permutations=99)
    xr.testing.assert_identical(again, base)


def test_few_units_are_enumerated():
    data = crossed(2, 3).isel(stimulus=slice(0, 8))  # 4 + 4 units in two conditions
    p = factor_map(data, "condition", n_permutations=19, correct="none")
    assert p["n_permutations"].item() == 70
    assert p["exact"].item()


def test_maps_survive_netcdf_and_lazy_responses(tmp_path):
    data = crossed(n_features=5)
    data.values[:, 0, 0] = 1.0
    result = factor_map(data, "condition * size", n_permutations=99)
    assert result["valid"].values[:, 0, 0].tolist() == [False] * 3
    assert np.isnan(result["p_adjusted"].values[:, 0, 0]).all()
    save_netcdf(result, tmp_path / "map.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "map.nc"), result)
    assert all({"long_name", "units"} <= set(result[name].attrs) for name in result.data_vars)
    lazy = factor_map(data.chunk({"feature": 2}), "condition * size", n_permutations=99)
    xr.testing.assert_identical(lazy, result)


@pytest.mark.parametrize(
    ("text", "tested", "modelled"),
    [
        ("a", ["a"], ["a"]),
        ("a + b", ["a", "b"], ["a", "b"]),
        ("a : b", ["a:b"], ["a", "b", "a:b"]),
        ("a * b + b:a", ["a", "b", "a:b"], ["a", "b", "a:b"]),
        ("`a b` * c:d", ["a b", "c:d", "a b:c:d"], ["a b", "c", "d", "c:d", "a b:c", "a b:d", "a b:c:d"]),
    ],
)
def test_terms_of_formulas(text, tested, modelled):
    found = parse_terms(text)
    assert [":".join(term) for term in found[0]] == tested
    assert sorted(":".join(term) for term in found[1]) == sorted(modelled)


@pytest.mark.parametrize("text", ["", "a +", "a ** b", "a > b", "* a", "a b"])
def test_texts_that_are_no_formula_are_refused(text):
    with pytest.raises(ContrastError, match="write factors joined by"):
        parse_terms(text)


@pytest.mark.parametrize(
    ("change", "terms", "settings", "message"),
    [
        ({}, "colour", {}, "no factor 'colour'"),
        ({"size": ["p"] * 72}, "size", {}, "fewer than two levels"),
        ({"item": np.arange(1, 73) // 2}, "size", {}, "2 of 37 units .* lack some of the 2 cells"),
        ({}, "condition * size", {"correct": "tukey"}, "'tukey' is unknown"),
        ({}, "condition", {"nuisance": ["speed"]}, "no nuisance column 'speed'"),
        ({"length": np.repeat([1.0, 2.0, 4.0], 24)}, "condition", {"nuisance": ["length"]}, "explained by"),
        ({"size": ["p"] * 24 + ["q"] * 48}, "condition : size", {}, "every combination of levels; 3 are"),
        ({"size": ["p"] * 70 + ["q"] * 2}, "size", {}, "'q' has 2 units"),
    ],
)
def test_refusals(change, terms, settings, message):
    data = crossed().assign_coords({name: ("stimulus", column) for name, column in change.items()})
    with pytest.raises((DesignError, ContrastError), match=message):
        factor_map(data, terms, **settings)


def test_unequal_cells_are_warned_of():
    data = crossed().assign_coords(size=("stimulus", np.repeat(["p", "q"], [10, 62])))
    with pytest.warns(UserWarning, match="F takes variances as equal"):
        factor_map(data, "size", n_permutations=19)


def test_values_that_are_not_finite_are_refused():
    data = crossed()
    data.values[3, 0, 2] = np.nan
    with pytest.raises(DesignError, match="'s003'"):
        factor_map(data, "condition")


def test_stimuli_without_a_level_are_left_aside():
    data = crossed()
    size = data["size"].values.copy()
    size[data["condition"].values == "z"] = ""
    result = factor_map(data.assign_coords(size=("stimulus", size)), "condition * size", n_permutations=99)
    kept = data.isel(stimulus=np.flatnonzero(size != ""))
    np.testing.assert_array_equal(
        result["stat"], factor_map(kept, "condition * size", n_permutations=99)["stat"]
    )
    assert result["df1"].values.tolist() == [1, 1, 1]


def test_units_without_a_nuisance_value_are_left_out_and_listed():
    length = np.random.default_rng(0).standard_normal(72)
    length[5] = np.nan
    data = crossed().assign_coords(length=("stimulus", length))
    with pytest.warns(UserWarning, match="1 stimuli are left out"):
        result = factor_map(data, "condition", nuisance=["length"], n_permutations=99)
    assert result.attrs["excluded"] == "s005"
    assert result["df2"].item() == 67
