"""Contrast maps: planted effects found, noise left alone, peers agreed with, bad designs refused."""

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
import xarray as xr
from nilearn.glm.contrasts import compute_contrast
from nilearn.glm.first_level import run_glm
from scipy.stats import mannwhitneyu, ttest_1samp, ttest_ind, ttest_rel, wilcoxon
from sklearn.metrics import roc_auc_score

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.localizer import cross_localize
from neurosae.arrays.contrast_null import cell_form, null_counts, relabeled_statistics, unit_norm
from neurosae.arrays.contrast_statistics import centred_ranks, rank_estimate
from neurosae.arrays.permutation import relabel
from neurosae.errors import ContrastError, DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def responses(values, condition, basis="units", **columns):
    """Responses from (stimulus, feature) or (stimulus, layer, feature) values."""
    values = np.asarray(values)
    values = values[:, None] if values.ndim == 2 else values
    n, n_layers, n_features = values.shape
    coords = {"stimulus": [f"s{i}" for i in range(n)], "condition": ("stimulus", np.asarray(condition))}
    coords |= {name: ("stimulus", np.asarray(column)) for name, column in columns.items()}
    coords |= {"layer": np.arange(n_layers), "feature": np.arange(n_features)}
    attrs = {"site": "resid_post", "basis": basis, "units": "a.u."}
    return xr.DataArray(
        values, dims=("stimulus", "layer", "feature"), coords=coords, name="response", attrs=attrs
    )


def two_conditions(n_a=20, n_b=20, n_features=30, seed=0, shape=None, **kwargs):
    values = np.random.default_rng(seed).standard_normal(shape or (n_a + n_b, n_features))
    return responses(values, np.repeat(["a", "b"], [n_a, n_b]), **kwargs)


def sparse(n, n_features, firing, seed=0):
    rng = np.random.default_rng(seed)
    return rng.gamma(1, size=(n, n_features)) * (rng.random((n, n_features)) < firing)


def flat(result, name):
    return result[name].values[0]


def test_planted_effects_are_found_with_their_size():
    data = two_conditions(40, 40, shape=(80, 3, 200), seed=1)
    data.values[:40, 1, :10] += 1.5
    result = contrast_map(data, "a > b", correct="max_t")
    found = result["p_adjusted"].values <= 0.05
    assert found[1, :10].all()
    assert found.sum() <= 11
    assert result["effect"].values[1, :10].mean() == pytest.approx(1.5, abs=0.25)  # 3.5 standard errors
    assert result["es"].values[1, :10].mean() == pytest.approx(1.5, abs=0.3)


@pytest.mark.parametrize("test", ["welch", "pooled", "rank"])
def test_noise_gives_uniform_p(test):
    result = contrast_map(
        two_conditions(15, 25, 2000, seed=3), "a > b", test=test, n_permutations=199, correct="none"
    )
    p = flat(result, "p_unc")
    assert 0.0345 < (p <= 0.05).mean() < 0.0665
    assert abs(p.mean() - 0.5) < 0.03
    assert np.isfinite(p).all()


@pytest.mark.parametrize(("test", "equal"), [("welch", False), ("pooled", True)])
def test_two_cells_agree_with_scipy(test, equal):
    data = two_conditions(12, 30, 40)
    result = contrast_map(data, "a > b", test=test, n_permutations=99)
    oracle = ttest_ind(data.values[:12, 0], data.values[12:, 0], equal_var=equal)
    np.testing.assert_allclose(flat(result, "stat"), oracle.statistic, atol=1e-10)
    np.testing.assert_allclose(flat(result, "df"), oracle.df, rtol=1e-10)
    np.testing.assert_allclose(flat(result, "effect") / flat(result, "se"), oracle.statistic, atol=1e-10)


def test_three_cells_agree_with_the_regression():
    rng = np.random.default_rng(0)
    condition = np.repeat(["joy", "fear", "neutral"], [10, 15, 20])
    data = responses(rng.standard_normal((45, 6)) + 3, condition)
    result = contrast_map(data, "(joy + fear) > neutral", test="pooled", n_permutations=99)
    design = (condition[:, None] == np.array(["joy", "fear", "neutral"])).astype(float)
    for feature in range(6):
        oracle = sm.OLS(data.values[:, 0, feature], design).fit().t_test([0.5, 0.5, -1])
        assert flat(result, "stat")[feature] == pytest.approx(oracle.tvalue.item(), abs=1e-9)
        assert flat(result, "effect")[feature] == pytest.approx(oracle.effect.item(), abs=1e-9)


def test_three_unequal_cells_weigh_their_own_variances():
    rng = np.random.default_rng(0)
    n, weights = np.array([8, 12, 20]), np.array([0.5, 0.5, -1.0])
    cells = [rng.standard_normal((k, 5)) * scale for k, scale in zip(n, (1, 3, 0.5), strict=True)]
    data = responses(np.concatenate(cells), np.repeat(["a", "b", "c"], n))
    result = contrast_map(data, "(a + b) > c", test="welch", n_permutations=99)
    parts = np.stack(
        [w**2 * cell.var(axis=0, ddof=1) / len(cell) for w, cell in zip(weights, cells, strict=True)]
    )
    effect = sum(w * cell.mean(axis=0) for w, cell in zip(weights, cells, strict=True))
    np.testing.assert_allclose(flat(result, "stat"), effect / np.sqrt(parts.sum(axis=0)), atol=1e-10)
    df = parts.sum(axis=0) ** 2 / (parts**2 / (n[:, None] - 1)).sum(axis=0)
    np.testing.assert_allclose(flat(result, "df"), df, rtol=1e-10)


def test_p_agrees_with_relabeling_by_hand():
    data = two_conditions(6, 9, 25, seed=2)
    labels = np.repeat([0, 1], [6, 9])
    draws = relabel(labels, 300, seed=7)
    for test, equal in (("welch", False), ("pooled", True)):
        result = contrast_map(data, "a > b", test=test, n_permutations=300, seed=7, correct="max_t")
        t = np.array(
            [
                ttest_ind(data.values[row == 0, 0], data.values[row == 1, 0], equal_var=equal).statistic
                for row in draws.labels
            ]
        )
        # In single precision, draws within 1e-5 of the observed t count as ties.
        observed = np.abs(flat(result, "stat")) * (1 - 1e-5) - 1e-5
        np.testing.assert_allclose(flat(result, "p_unc"), (1 + (np.abs(t) >= observed).sum(0)) / 301)
        reached = np.abs(t).max(axis=1)[:, None] >= observed
        np.testing.assert_allclose(flat(result, "p_adjusted"), (1 + reached.sum(0)) / 301)


def test_paired_units_use_sign_flips_and_agree_with_scipy():
    data = two_conditions(12, 12, 30, item=np.tile([f"i{k}" for k in range(12)], 2))
    data.values[:12, 0, 0] += 5
    result = contrast_map(data, "a > b", n_permutations=999)
    oracle = ttest_rel(data.values[:12, 0], data.values[12:, 0])
    np.testing.assert_allclose(flat(result, "stat"), oracle.statistic, atol=1e-10)
    assert result.attrs["scheme"] == "paired"
    assert result.attrs["test"] == "paired"
    assert result.attrs["n_units"] == 12
    assert flat(result, "p_unc")[0] <= 0.005  # all signs alike come up a few times in 999 draws


def test_paired_units_with_nuisance_agree_with_the_regression_of_differences():
    rng = np.random.default_rng(0)
    lengths = rng.standard_normal(60)
    values = rng.standard_normal((60, 2000)) + 2 * lengths[:, None]
    items = np.tile([f"i{k:02d}" for k in range(30)], 2)
    data = responses(values, np.repeat(["a", "b"], 30), item=items, length=lengths)
    result = contrast_map(data, "a > b", nuisance=["length"], n_permutations=199, correct="none")
    design = np.column_stack([np.ones(30), lengths[:30] - lengths[30:]])
    for feature in range(5):
        oracle = sm.OLS(values[:30, feature] - values[30:, feature], design).fit()
        assert flat(result, "stat")[feature] == pytest.approx(oracle.tvalues[0], abs=1e-9)
    assert 0.0345 < (flat(result, "p_unc") <= 0.05).mean() < 0.0665
    assert result.attrs["scheme"] == "paired, Freedman-Lane"


def test_paired_ranks_order_like_wilcoxon():
    data = two_conditions(8, 8, 20, item=np.tile(np.arange(8).astype(str), 2))
    result = contrast_map(data, "a > b", test="rank", n_permutations=999)
    differences = data.values[:8, 0] - data.values[8:, 0]
    np.testing.assert_allclose(
        flat(result, "p_unc"), wilcoxon(differences, method="exact").pvalue, atol=1e-12
    )
    np.testing.assert_allclose(flat(result, "es"), (differences > 0).mean(axis=0))


def test_stimuli_of_one_item_count_once():
    values = np.random.default_rng(0).standard_normal((40, 10))
    items = np.repeat([f"i{k}" for k in range(20)], 2)
    condition = np.repeat(["a", "b"], 20)
    doubled = contrast_map(responses(values, condition, item=items), "a > b", n_permutations=99)
    means = values.reshape(20, 2, 10).mean(axis=1)
    once = contrast_map(responses(means, condition[::2]), "a > b", n_permutations=99)
    np.testing.assert_allclose(doubled["stat"], once["stat"], atol=1e-12)
    assert doubled.attrs["n_units"] == 20


def test_kat_01_nuisance_t_agrees_with_statsmodels_and_nilearn():
    rng = np.random.default_rng(0)
    condition = np.repeat(["a", "b"], 30)
    nuisance = rng.standard_normal((60, 2))
    design = np.column_stack([condition == "a", condition == "b", nuisance]).astype(float)
    values = rng.standard_normal((60, 7)) + design @ rng.standard_normal((4, 7))
    data = responses(values, condition, length=nuisance[:, 0], frequency=nuisance[:, 1])
    result = contrast_map(data, "a > b", nuisance=["length", "frequency"], n_permutations=99)
    weights = np.array([1.0, -1.0, 0.0, 0.0])
    peer = [sm.OLS(column, design).fit().t_test(weights).tvalue.item() for column in values.T]
    labels, fits = run_glm(values, design, noise_model="ols")
    other = compute_contrast(labels, fits, weights, stat_type="t").stat()
    np.testing.assert_allclose(flat(result, "stat"), peer, atol=1e-8)
    np.testing.assert_allclose(flat(result, "stat"), other, atol=1e-8)
    assert result.attrs["test"] == "ols"


def test_kat_02_residualised_regression_gives_the_full_t():
    rng = np.random.default_rng(1)
    condition = np.repeat(["a", "b"], 15)
    covariate = rng.standard_normal(30) + (condition == "a")
    values = rng.standard_normal((30, 8))
    result = contrast_map(
        responses(values, condition, z=covariate), "a > b", nuisance=["z"], n_permutations=99
    )
    basis = np.column_stack([np.ones(30), covariate])

    def residual(y):
        return y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]

    x, y = residual((condition == "a").astype(float)), residual(values)
    slope = x @ y / (x @ x)
    error = np.sqrt(((y - np.outer(x, slope)) ** 2).sum(axis=0) / 27 / (x @ x))
    np.testing.assert_allclose(flat(result, "stat"), slope / error, atol=1e-10)


@pytest.mark.parametrize("test", ["welch", "pooled", "rank"])
def test_kat_02_swapping_the_sides_flips_the_sign_only(test):
    data = two_conditions(10, 14, 50)
    forward = contrast_map(data, "a > b", test=test, n_permutations=199)
    backward = contrast_map(data, "b > a", test=test, n_permutations=199)
    np.testing.assert_array_equal(forward["stat"], -backward["stat"])
    np.testing.assert_array_equal(forward["p_unc"], backward["p_unc"])


def test_kat_02_paired_t_is_the_one_sample_t_of_differences():
    data = two_conditions(10, 10, 5, item=np.tile(np.arange(10).astype(str), 2))
    result = contrast_map(data, "a > b", n_permutations=99)
    oracle = ttest_1samp(data.values[:10, 0] - data.values[10:, 0], 0)
    np.testing.assert_allclose(flat(result, "stat"), oracle.statistic, atol=1e-10)


@pytest.mark.parametrize("test", ["welch", "pooled", "rank"])
def test_kat_02_offset_scale_and_order_do_not_matter(test):
    data = two_conditions(12, 12, 40)
    base = contrast_map(data, "a > b", test=test, n_permutations=99)
    moved = contrast_map(data * 7 + 100, "a > b", test=test, n_permutations=99)
    np.testing.assert_allclose(moved["stat"], base["stat"], atol=1e-8)
    order = np.random.default_rng(0).permutation(24)
    shuffled = contrast_map(data.isel(stimulus=order), "a > b", test=test, n_permutations=99)
    np.testing.assert_allclose(shuffled["stat"], base["stat"], atol=1e-10)
    np.testing.assert_allclose(shuffled["effect"], base["effect"], atol=1e-10)


def test_order_of_features_and_layers_does_not_matter():
    data = two_conditions(shape=(40, 3, 50))
    base = contrast_map(data, "a > b", correct="max_t", n_permutations=199)
    order = np.random.default_rng(0).permutation(50)
    moved = contrast_map(
        data.isel(feature=order, layer=[2, 0, 1]), "a > b", correct="max_t", n_permutations=199
    )
    np.testing.assert_array_equal(
        moved.sel(layer=base.layer, feature=base.feature)["p_adjusted"], base["p_adjusted"]
    )


@pytest.mark.parametrize("test", ["welch", "pooled", "rank"])
@pytest.mark.parametrize("correct", ["fdr_bh", "max_t"])
def test_kat_04_dead_and_constant_features_are_no_part_of_the_family(test, correct):
    values = np.random.default_rng(0).standard_normal((40, 12))
    dead = np.column_stack([np.zeros(40), np.full(40, 3.0), np.r_[1.0, np.zeros(39)], values])
    condition = np.repeat(["a", "b"], 20)
    full = contrast_map(responses(dead, condition), "a > b", test=test, correct=correct, n_permutations=199)
    live = contrast_map(
        responses(dead[:, 2:], condition), "a > b", test=test, correct=correct, n_permutations=199
    )
    for name in ("stat", "se", "p_unc", "p_adjusted", "es"):
        assert np.isnan(flat(full, name)[:2]).all()
        assert not np.isinf(full[name]).any()
        np.testing.assert_allclose(flat(full, name)[2:], flat(live, name), rtol=1e-12)
    np.testing.assert_array_equal(flat(full, "p_adjusted")[2:], flat(live, "p_adjusted"))
    assert flat(full, "valid").tolist() == [False] * 2 + [True] * 13
    assert full.attrs["family_size"] == live.attrs["family_size"] == 13


def test_features_of_a_dictionary_must_fire_often_enough():
    values = np.random.default_rng(0).random((40, 3))
    values[4:, 0] = 0
    values[5:, 1] = 0
    result = contrast_map(responses(values, np.tile(["a", "b"], 20), basis="toy"), "a > b", n_permutations=99)
    assert flat(result, "valid").tolist() == [False, True, True]
    assert flat(result, "n_active").tolist() == [4, 5, 40]
    assert result.attrs["test"] == "rank"


@pytest.mark.parametrize("test", ["pooled", "rank"])
def test_kat_05_max_t_controls_the_family_on_correlated_noise(test):
    rng = np.random.default_rng(5)
    condition = np.repeat(["a", "b"], 20)
    n_false = 0
    for seed in range(400):
        values = rng.standard_normal((40, 20)) @ rng.standard_normal((20, 200))
        result = contrast_map(
            responses(values, condition), "a > b", test=test, correct="max_t", n_permutations=199, seed=seed
        )
        n_false += bool(result["p_adjusted"].min() <= 0.05)
    assert 0.0175 < n_false / 400 < 0.090


def test_kat_07_eight_units_are_enumerated():
    data = two_conditions(4, 4, 200)
    for test in ("welch", "pooled", "rank"):
        p = flat(contrast_map(data, "a > b", test=test), "p_unc")
        assert p.min() >= 2 / 70 - 1e-12
        np.testing.assert_allclose(p * 35, np.round(p * 35), atol=1e-9)
    oracle = mannwhitneyu(data.values[:4, 0], data.values[4:, 0], method="exact").pvalue
    np.testing.assert_allclose(p, oracle, atol=1e-12)


def test_kat_08_freedman_lane_holds_under_a_strong_correlated_nuisance():
    rng = np.random.default_rng(8)
    q = rng.standard_normal(40)
    condition = np.where(q + rng.standard_normal(40) > 0, "a", "b")
    data = responses(2 * q[:, None] + rng.standard_normal((40, 2000)), condition, q=q)
    settings = {"n_permutations": 199, "correct": "none", "test": "welch"}
    with_q = contrast_map(data, "a > b", nuisance=["q"], **settings)
    without = contrast_map(data, "a > b", **settings)
    assert 0.0345 < (flat(with_q, "p_unc") <= 0.05).mean() < 0.0665
    assert (flat(without, "p_unc") <= 0.05).mean() > 0.5


def test_kat_09_items_not_tokens_are_the_unit():
    rng = np.random.default_rng(9)
    item = rng.standard_normal((16, 2000)) * 0.5
    values = np.repeat(item, 20, axis=0) + rng.standard_normal((320, 2000))
    items = np.repeat([f"i{k:02d}" for k in range(16)], 20)
    data = responses(values, np.repeat(["a", "b"], 160), item=items)
    settings = {"n_permutations": 199, "correct": "none"}
    by_token = contrast_map(data, "a > b", unit="stimulus", **settings)
    by_item = contrast_map(data, "a > b", **settings)
    assert (flat(by_token, "p_unc") <= 0.05).mean() > 0.25
    assert 0.0345 < (flat(by_item, "p_unc") <= 0.05).mean() < 0.0665
    assert by_item.attrs["unit"] == "item"


def test_kat_13_rank_statistic_is_mann_whitney_and_auroc_is_u():
    values = np.round(sparse(40, 60, 0.5), 1)
    condition = np.repeat(["a", "b"], [25, 15])
    result = contrast_map(responses(values, condition, basis="toy"), "a > b", n_permutations=99)
    u = mannwhitneyu(values[:25], values[25:]).statistic
    np.testing.assert_allclose(flat(result, "es"), u / (25 * 15), atol=1e-12)
    expected = [roc_auc_score(condition == "a", column) for column in values.T]
    np.testing.assert_allclose(flat(result, "es"), expected, atol=1e-12)
    assert ((flat(result, "stat") > 0) == (u > 25 * 15 / 2)).all()


def test_kat_13_rare_firing_in_unequal_cells_keeps_the_error_rate():
    condition = np.repeat(["a", "b"], [20, 180])
    data = responses(sparse(200, 2000, 0.2, seed=13), condition, basis="toy")
    with pytest.warns(UserWarning, match="20 to 180 units.*use test='welch'.*equality of distributions"):
        result = contrast_map(data, "a > b", n_permutations=199, correct="none")
    assert 0.03 < (flat(result, "p_unc") <= 0.05).mean() < 0.0665  # ties make p conservative


def test_auroc_of_several_cells_averages_over_pairs():
    rng = np.random.default_rng(0)
    cells = np.repeat([0, 1, 2], [10, 12, 14])
    condition = np.array(["a", "b", "c"])[cells]
    values = rng.integers(0, 4, (36, 5)).astype(float)
    centred, weights = values - values.mean(axis=0), np.array([0.5, 0.5, -1.0])
    result = rank_estimate(centred, centred_ranks(values), cells, weights)

    def area(x, y):
        rows = np.isin(condition, (x, y))
        return np.array([roc_auc_score(condition[rows] == x, column) for column in values[rows].T])

    np.testing.assert_allclose(result.es, (area("a", "c") + area("b", "c")) / 2, atol=1e-12)


THREE = np.repeat(["a", "b", "c"], 20)
ITEMS = np.tile([f"i{k:02d}" for k in range(20)], 3)


@pytest.mark.parametrize(("columns", "test"), [({}, "welch"), ({"item": ITEMS}, "paired")])
def test_more_than_two_cells_of_codes_are_compared_by_their_means(columns, test):
    data = responses(sparse(60, 5, 0.8), THREE, basis="toy", **columns)
    assert contrast_map(data, "(a + b) > c", n_permutations=99).attrs["test"] == test
    assert cross_localize(data, "(a + b) > c", fraction=0.4).attrs["test"] == test


@pytest.mark.parametrize("columns", [{}, {"item": ITEMS}])
@pytest.mark.parametrize("analysis", [contrast_map, cross_localize])
def test_ranks_of_more_than_two_cells_are_refused(analysis, columns):
    data = responses(sparse(60, 5, 0.8), THREE, basis="toy", **columns)
    with pytest.raises(DesignError, match=r"weighs 3 cells.*Use test='welch'"):
        analysis(data, "(a + b) > c", test="rank")


@pytest.mark.parametrize("n", [(20, 20, 20), (30, 15, 15), (15, 15, 30)])
def test_cells_that_differ_but_cancel_keep_the_error_rate(n):
    condition = np.repeat(["a", "b", "c"], n)
    values = np.random.default_rng(0).standard_normal((60, 2000))
    values += np.select([condition == "a", condition == "b"], [3.0, -3.0], 0.0)[:, None]
    data = responses(values + 10, condition, basis="toy")  # every code fires everywhere
    p = flat(contrast_map(data, "(a + b) > c", n_permutations=199, correct="none"), "p_unc")
    assert 0.03 < (p <= 0.05).mean() < 0.0665


def test_weighted_differences_of_skewed_cells_keep_the_error_rate():
    # Half of a and b less c has mean 0 but is not symmetric, which signed ranks would call an effect.
    rng = np.random.default_rng(0)
    condition, item = np.repeat(["a", "b", "c"], 60), np.tile([f"i{k}" for k in range(60)], 3)
    data = responses(rng.exponential(size=(180, 2000)), condition, basis="toy", item=item)
    p = flat(contrast_map(data, "(a + b) > c", n_permutations=199, correct="none"), "p_unc")
    assert 0.0345 < (p <= 0.05).mean() < 0.0665


def test_welch_alone_keeps_the_error_rate_under_unequal_sizes_and_variances():
    condition = np.repeat(["a", "b"], [10, 50])
    values = np.random.default_rng(1).standard_normal((60, 2000)) * np.repeat([3.0, 1.0], [10, 50])[:, None]
    rate = {}
    for test in ("welch", "pooled", "rank"):
        with pytest.warns(UserWarning, match=r"10 to 50 units.*use test='welch', which compares means"):
            result = contrast_map(
                responses(values, condition), "a > b", test=test, n_permutations=199, correct="none"
            )
        rate[test] = (flat(result, "p_unc") <= 0.05).mean()
    assert 0.0345 < rate["welch"] < 0.0665
    assert min(rate["pooled"], rate["rank"]) > 0.1


def test_imbalance_with_nuisance_is_warned_of_in_its_own_words():
    data = two_conditions(10, 40, 3, length=np.arange(50.0) % 7)
    with pytest.warns(UserWarning, match=r"least-squares t.*leave the nuisance out and use test='welch'"):
        contrast_map(data, "a > b", nuisance=["length"], n_permutations=99)


def test_results_do_not_depend_on_chunk_size():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [20, 25, 15])
    rows = np.vstack([labels, relabel(labels, 500, seed=0).labels])
    data = rng.standard_normal((60, 700))
    data -= data.mean(axis=0)
    form = cell_form(rows, np.array([0.5, 0.5, -1.0]), equal_variance=False, dtype=SINGLE)
    results = [null_counts(form, data, exact=False, features=size) for size in (64, 333, 700)]
    for other in results[1:]:
        np.testing.assert_array_equal(other.n_exceeding, results[0].n_exceeding)
        np.testing.assert_allclose(other.maxima, results[0].maxima, rtol=1e-5)


@pytest.mark.parametrize("equal_variance", [True, False])
def test_single_precision_is_precise_enough(equal_variance):
    labels = np.repeat([0, 1], [60, 100])
    rows = np.vstack([labels, relabel(labels, 200, seed=0).labels])
    data = sparse(160, 300, 0.1)
    data -= data.mean(axis=0)
    t = [
        relabeled_statistics(
            cell_form(rows, np.array([1.0, -1.0]), equal_variance=equal_variance, dtype=dtype),
            unit_norm(data, dtype),
        )
        for dtype in (SINGLE, DOUBLE)
    ]
    np.testing.assert_allclose(t[0], t[1], atol=1e-3)


def test_same_seed_same_result_other_seed_other_p():
    data = two_conditions()
    first, again = (contrast_map(data, "a > b", n_permutations=99, seed=4) for _ in range(2))
    xr.testing.assert_identical(first, again)
    other = contrast_map(data, "a > b", n_permutations=99, seed=5)
    assert (other["p_unc"] != first["p_unc"]).any()


def test_the_argument_is_left_alone_and_unused_rows_do_not_matter():
    data = two_conditions(shape=(60, 2, 20), n_a=30, n_b=30)
    before = data.copy(deep=True)
    data["condition"] = ("stimulus", np.repeat(["a", "b", "other"], 20))
    before["condition"] = data["condition"]
    result = contrast_map(data, "a > b", n_permutations=99)
    xr.testing.assert_identical(data, before)
    kept = contrast_map(data.isel(stimulus=slice(0, 40)), "a > b", n_permutations=99)
    np.testing.assert_array_equal(result["p_unc"], kept["p_unc"])
    assert not any("s45" in key for key in result["seen_unit"].values)


def test_lazy_responses_give_the_same_map():
    data = two_conditions(shape=(40, 3, 20))
    lazy = data.chunk({"layer": 1})
    xr.testing.assert_identical(
        contrast_map(lazy, "a > b", n_permutations=99), contrast_map(data, "a > b", n_permutations=99)
    )


def test_maps_survive_netcdf(tmp_path):
    data = two_conditions(n_features=5)
    data.values[:, 0, 0] = 1
    result = contrast_map(data, "a > b", n_permutations=99)
    save_netcdf(result, tmp_path / "map.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "map.nc"), result)
    assert all({"long_name", "units"} <= set(result[name].attrs) for name in result.data_vars)


def test_few_relabelings_are_described_only():
    data = two_conditions(4, 4, 3, item=np.tile(list("wxyz"), 2))
    result = contrast_map(data, "a > b")
    assert "16 distinct relabelings" in result.attrs["note"]
    assert np.isnan(result["p_unc"]).all()
    assert np.isfinite(result["stat"]).all()
    with pytest.raises(DesignError, match="16 distinct relabelings"):
        contrast_map(data, "a > b", correct="max_t")


def test_perfect_separation_without_variance_is_not_valid():
    data = two_conditions(10, 10, 3)
    data.values[:, 0, 0] = np.repeat([1.0, 0.0], 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = contrast_map(data, "a > b", n_permutations=99)
    assert flat(result, "valid").tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"test": "median"}, "'median' is unknown"),
        ({}, {"correct": "tukey"}, "'tukey' is unknown"),
        ({}, {"nuisance": ["length"]}, "no nuisance column 'length'"),
        ({"length": ["long"] * 10}, {"nuisance": ["length"]}, "not numeric"),
        ({"length": [np.nan] * 10}, {"nuisance": ["length"]}, "no finite value for 10"),
        ({"length": [1.0] * 5 + [2.0] * 5}, {"nuisance": ["length"]}, "cannot be told apart"),
        ({"condition": ["a"] * 2 + ["b"] * 8}, {}, "'a' has 2 units"),
        ({"item": list("vwxyzvwabc")}, {}, "lack some of the 2 cells"),
        ({"item": [""] * 10}, {}, "10 stimuli have no 'item'"),
        ({}, {"unit": "speaker"}, "'speaker' is not a column"),
        ({}, {"n_permutations": 0}, "n_permutations is 0"),
    ],
)
def test_refusals(change, settings, message):
    columns = {"condition": ["a"] * 5 + ["b"] * 5} | change
    values = np.random.default_rng(0).standard_normal((10, 4))
    with pytest.raises(DesignError, match=message):
        contrast_map(responses(values, **columns), "a > b", **settings)


def test_units_of_unequal_numbers_of_stimuli_are_warned_of():
    item = np.repeat(np.arange(12), [1] * 6 + [4] * 6).astype(str)
    values = np.random.default_rng(0).standard_normal((len(item), 4))
    data = responses(values, condition=["a"] * 6 + ["b"] * 24, item=item)
    with pytest.warns(UserWarning, match="hold 1.0 stimuli on average in 'a' and 4.0 in 'b'"):
        contrast_map(data, "a > b", n_permutations=19)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.to_dataset(name="response"), "need to be a DataArray, got Dataset"),
        (lambda data: data.astype(complex), "need real numbers, got dtype complex128"),
        (lambda data: data.isel(feature=[]), "responses are empty"),
        (lambda data: data.assign_coords(stimulus=["s"] * data.sizes["stimulus"]), "there more than once"),
    ],
)
def test_what_is_no_response_is_refused(change, message):
    with pytest.raises(DesignError, match=message):
        contrast_map(change(two_conditions()), "a > b")


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_values_that_are_not_finite_are_refused(bad):
    data = two_conditions()
    data.values[3, 0, 2] = bad
    with pytest.raises(DesignError, match="'s3'"):
        contrast_map(data, "a > b")


def test_unknown_conditions_are_refused():
    with pytest.raises(ContrastError, match="no condition 'c'"):
        contrast_map(two_conditions(), "a > c")


def test_units_without_a_nuisance_value_are_left_out_and_listed():
    length = np.random.default_rng(0).standard_normal(40)
    length[[3, 25]] = np.nan
    data = two_conditions(length=length)
    with pytest.warns(UserWarning, match=r"2 stimuli are left out.*length; first: \['s3', 's25'\]"):
        result = contrast_map(data, "a > b", nuisance=["length"], n_permutations=99)
    assert result.attrs["excluded"] == "s3;s25"
    kept = data.isel(stimulus=np.flatnonzero(np.isfinite(length)))
    whole = contrast_map(kept, "a > b", nuisance=["length"], n_permutations=99)
    np.testing.assert_array_equal(result["stat"], whole["stat"])
    assert not any(key.endswith("/s3") for key in result["seen_unit"].values)
    assert "excluded" not in whole.attrs


def test_the_whole_unit_is_left_out_if_one_of_its_stimuli_lacks_a_value():
    length = np.arange(24.0) % 7
    length[2] = np.nan
    data = two_conditions(12, 12, 3, item=np.tile([f"i{k}" for k in range(12)], 2), length=length)
    with pytest.warns(UserWarning, match="2 stimuli are left out"):
        result = contrast_map(data, "a > b", nuisance=["length"], n_permutations=99)
    assert result.attrs["n_units"] == 11
    assert result.attrs["excluded"] == "s2;s14"


@pytest.mark.parametrize("is_paired", [False, True])
def test_nuisance_that_nearly_follows_the_contrast_is_warned_of(is_paired):
    noise = np.random.default_rng(0).standard_normal(40)
    columns = {"item": np.tile(np.arange(20), 2)} if is_paired else {}
    data = two_conditions(n_features=3, length=np.repeat([5.0, 0.0], 20) + noise, **columns)
    with pytest.warns(UserWarning, match=r"'length' correlates 0\.9\d with the contrast.*hardly separable"):
        contrast_map(data, "a > b", nuisance=["length"], n_permutations=99)


@pytest.mark.parametrize(("n_a", "n_b", "n_distinct"), [(3, 5, 56), (5, 5, 252), (3, 9, 220), (4, 30, 46376)])
def test_cells_of_up_to_five_units_are_enumerated_if_that_is_possible(n_a, n_b, n_distinct):
    data = two_conditions(n_a, n_b, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = contrast_map(data, "a > b", n_permutations=30)
    assert result.attrs["exact"] == (n_distinct <= 10_000)
    assert result.attrs["n_permutations"] == (n_distinct if n_distinct <= 10_000 else 30)


def test_a_feature_that_is_silent_in_one_cell_is_tested():
    data = two_conditions(20, 20, 3)
    data.values[20:, 0, 0] = 0
    data.values[:20, 0, 0] = np.random.default_rng(0).gamma(2, size=20)
    result = contrast_map(data, "a > b", test="welch", n_permutations=199)
    oracle = ttest_1samp(data.values[:20, 0, 0], 0)
    assert flat(result, "stat")[0] == pytest.approx(oracle.statistic)
    assert flat(result, "df")[0] == pytest.approx(19)
    assert flat(result, "p_unc")[0] == 0.005


def test_half_precision_is_computed_in_double():
    data = two_conditions().astype(np.float16)
    xr.testing.assert_equal(
        contrast_map(data, "a > b", n_permutations=99),
        contrast_map(data.astype(np.float64), "a > b", n_permutations=99),
    )
    data.values[3, 0, 2] = np.inf
    with pytest.raises(DesignError, match="'s3'"):
        contrast_map(data, "a > b")


def test_p_lies_within_its_own_bounds_and_exact_p_has_none():
    result = contrast_map(two_conditions(n_features=200), "a > b", n_permutations=99)
    assert (result["p_lo"] < result["p_unc"]).all()
    assert (result["p_unc"] <= result["p_hi"]).all()
    exact = contrast_map(two_conditions(4, 4), "a > b")
    np.testing.assert_array_equal(exact["p_lo"], exact["p_unc"])
    np.testing.assert_array_equal(exact["p_hi"], exact["p_unc"])


def test_an_interaction_is_a_difference_of_differences():
    condition, size = np.repeat(["a", "b"], 20), np.tile(["big", "small"], 20)
    data = two_conditions(20, 20, 6, size=size)
    data.values[(condition == "a") & (size == "big"), 0, 0] += 4
    result = contrast_map(data, "(a > b) : (big > small)", n_permutations=199)
    means = {
        (c, s): data.values[(condition == c) & (size == s), 0].mean(axis=0) for c in "ab" for s in size[:2]
    }
    expected = means["a", "big"] - means["a", "small"] - means["b", "big"] + means["b", "small"]
    np.testing.assert_allclose(flat(result, "effect"), expected, atol=1e-12)
    assert flat(result, "p_unc")[0] <= 0.01


def test_an_interaction_of_noise_keeps_the_error_rate_beside_main_effects():
    size = np.tile(["big", "small"], 30)
    data = two_conditions(30, 30, 2000, size=size)
    data.values[:30] += 2
    data.values[size == "big"] -= 3
    p = flat(contrast_map(data, "(a > b) : (big > small)", n_permutations=199, correct="none"), "p_unc")
    assert 0.0345 < (p <= 0.05).mean() < 0.0665


def test_the_effect_in_sd_of_cells_does_not_grow_with_their_correlation():
    rng = np.random.default_rng(0)
    shared = 3 * rng.standard_normal((40, 50))
    values = np.concatenate(
        [shared + rng.standard_normal((40, 50)) + 1, shared + rng.standard_normal((40, 50))]
    )
    items = np.tile(np.arange(40), 2)
    result = contrast_map(
        responses(values, np.repeat(["a", "b"], 40), item=items), "a > b", n_permutations=99
    )
    first, second = values[:40], values[40:]
    spread = np.sqrt((first.var(axis=0, ddof=1) + second.var(axis=0, ddof=1)) / 2)
    np.testing.assert_allclose(flat(result, "es_av"), (first - second).mean(axis=0) / spread, rtol=1e-10)
    assert flat(result, "es").mean() > 2 * flat(result, "es_av").mean()
    assert "es_av" not in contrast_map(two_conditions(), "a > b", n_permutations=99)
