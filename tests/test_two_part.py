"""Two-part maps: how often features fire and how strongly, each against its peer."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import chi2_contingency, mannwhitneyu, norm, wilcoxon
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.two_part import two_part_map
from neurosae.arrays.two_part import between_data, between_parts, log_odds_ratio, newcombe_interval
from neurosae.errors import ContrastError, DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import responses_of

HALVES = np.repeat(["a", "b"], 50)
ITEMS = np.tile([f"i{k:02d}" for k in range(50)], 2)


def firing(share, n=100, n_features=2000, shape=2.0, seed=0):
    """Codes that fire in a share of units, with gamma magnitudes."""
    rng = np.random.default_rng(seed)
    return rng.gamma(shape, size=(n, n_features)) * (rng.random((n, n_features)) < share)


def codes(values, condition=HALVES, **columns):
    data = responses_of(values, condition, **columns)
    return data.assign_attrs(data.attrs | {"basis": "toy"})


def flat(result, name):
    return result[name].values[0]


def rate(result, name="p_unc"):
    return np.nanmean(flat(result, name) <= 0.05)


def test_kat_13_two_part_null_keeps_the_error_rate():
    result = two_part_map(codes(firing(0.3)), "a > b", n_permutations=199, correct="none")
    assert 0.0345 < rate(result) < 0.0665
    for part in ("p_firing", "p_strength"):
        assert 0.02 < rate(result, part) < 0.0665  # ties of counts make p conservative


def test_kat_13_a_change_of_strength_alone_is_seen_by_two_parts_and_not_by_ranks():
    values = firing(0.3)
    values[:50] *= 2
    two = two_part_map(codes(values), "a > b", n_permutations=199, correct="none")
    ranks = contrast_map(codes(values), "a > b", n_permutations=199, correct="none")
    assert rate(two) > 0.4
    assert rate(ranks) < 0.15


def test_frequent_and_weak_against_rare_and_strong_is_seen_by_two_parts():
    values = np.concatenate([firing(0.2, 50) * 3, firing(0.45, 50, seed=1)])
    two = two_part_map(codes(values), "a > b", n_permutations=199, correct="none")
    ranks = contrast_map(codes(values), "a > b", n_permutations=199, correct="none")
    assert rate(two) > 0.85
    assert rate(two) > rate(ranks) + 0.3
    assert flat(two, "effect").mean() == pytest.approx(-0.25, abs=0.01)
    share = 3 / 4  # of gammas of shape 2 and scales 3 and 1 the first is larger with share² (3 - 2 share)
    assert np.nanmean(flat(two, "es")) == pytest.approx(share**2 * (3 - 2 * share), abs=0.01)


def test_parts_agree_with_scipy_ties_included():
    values = np.round(firing(0.6, n_features=30), 1)
    result = two_part_map(codes(values), "a > b", n_permutations=99)
    for f, column in enumerate(values.T):
        a, b = column[:50], column[50:]
        table = [[(a > 0).sum(), (a <= 0).sum()], [(b > 0).sum(), (b <= 0).sum()]]
        chi2 = chi2_contingency(table, correction=False).statistic
        assert flat(result, "z_firing")[f] ** 2 == pytest.approx(chi2, rel=1e-5)
        p = mannwhitneyu(a[a > 0], b[b > 0], use_continuity=False, method="asymptotic").pvalue
        assert abs(flat(result, "z_strength")[f]) == pytest.approx(norm.isf(p / 2), rel=1e-4, abs=1e-5)
        both = column[column > 0]
        assert flat(result, "es")[f] == pytest.approx(roc_auc_score((HALVES == "a")[column > 0], both))
        bounds = confint_proportions_2indep(
            table[0][0], 50, table[1][0], 50, method="newcomb", compare="diff"
        )
        assert (flat(result, "effect_lo")[f], flat(result, "effect_hi")[f]) == pytest.approx(bounds)
        odds = (table[0][0] + 0.5) * (table[1][1] + 0.5) / ((table[0][1] + 0.5) * (table[1][0] + 0.5))
        assert flat(result, "log_odds")[f] == pytest.approx(np.log(odds))
    total = flat(result, "z_firing") ** 2 + flat(result, "z_strength") ** 2
    np.testing.assert_allclose(flat(result, "stat"), total, rtol=1e-5)


def test_pairs_agree_with_mcnemar_and_signed_ranks():
    values = firing(0.7, n_features=20)
    result = two_part_map(codes(values, item=ITEMS), "a > b", n_permutations=99)
    for f, column in enumerate(values.T):
        a, b = column[:50], column[50:]
        table = [[((a > 0) == x)[(b > 0) == y].sum() for y in (True, False)] for x in (True, False)]
        peer = mcnemar(np.array(table), exact=False, correction=False).statistic
        assert flat(result, "z_firing")[f] ** 2 == pytest.approx(peer, rel=1e-5)
        both = (a > 0) & (b > 0)
        p = wilcoxon(a[both], b[both], correction=False, method="approx").pvalue
        assert abs(flat(result, "z_strength")[f]) == pytest.approx(norm.isf(p / 2), rel=1e-4, abs=1e-5)
        assert flat(result, "es")[f] == pytest.approx((a > b)[both].mean())
    assert result.attrs["scheme"] == "paired"


def test_pairs_of_noise_keep_the_error_rate():
    result = two_part_map(codes(firing(0.5), item=ITEMS), "a > b", n_permutations=199, correct="none")
    assert 0.0345 < rate(result) < 0.0665
    assert (flat(result, "effect_lo") <= flat(result, "effect")).all()
    covered = (flat(result, "effect_lo") <= 0) & (flat(result, "effect_hi") >= 0)
    assert covered.mean() == pytest.approx(0.95, abs=0.015)  # 3 standard errors


def test_max_t_finds_planted_features_only():
    values = firing(0.4, n_features=300)
    values[:50, :10] = firing(0.95, 50, 10, seed=3)
    result = two_part_map(codes(values), "a > b", correct="max_t", n_permutations=499)
    found = flat(result, "p_adjusted") <= 0.05
    assert found[:10].all()
    assert found.sum() <= 11


def test_swapping_conditions_and_moving_rows_changes_signs_only():
    data = codes(firing(0.5, n_features=40))
    base = two_part_map(data, "a > b", n_permutations=99)
    order = np.random.default_rng(0).permutation(100)
    swapped = two_part_map(data, "b > a", n_permutations=99)
    moved = two_part_map(data.isel(stimulus=order), "a > b", n_permutations=99)
    for name in ("z_firing", "z_strength", "effect", "log_odds"):
        np.testing.assert_allclose(swapped[name], -base[name], atol=1e-6)
        np.testing.assert_allclose(moved[name], base[name], atol=1e-6)
    np.testing.assert_allclose(swapped["es"], 1 - base["es"], atol=1e-6)
    np.testing.assert_allclose(swapped["p_unc"], base["p_unc"])


def test_a_feature_silent_in_one_condition_has_finite_firing_and_no_strength():
    values = firing(0.5, n_features=3)
    values[50:, 0] = 0
    values[:, 1] = 0
    result = two_part_map(codes(values), "a > b", n_permutations=99)
    assert flat(result, "valid").tolist() == [True, False, True]
    assert flat(result, "p_unc")[0] <= 0.02
    assert np.isfinite(flat(result, "log_odds")[0])
    assert np.isnan(flat(result, "es")[0])
    assert np.isnan(flat(result, "p_strength")[0])
    assert np.isnan(flat(result, "stat")[1])


def test_strength_needs_five_firing_units_in_each_condition():
    values = np.zeros((20, 2))
    values[:5, 0] = values[10:15, 0] = values[:4, 1] = values[10:15, 1] = np.arange(1, 10)[:4].sum()
    values += np.random.default_rng(0).random((20, 2)) * (values > 0)
    rows = np.repeat([1, 0], 10)[None]
    z = between_parts(between_data(values, 0.0), rows)[1]
    assert z[0, 0] != 0
    assert z[0, 1] == 0


def test_a_threshold_above_zero_moves_what_counts_as_firing():
    values = firing(1.0, n_features=10)
    low, high = (two_part_map(codes(values), "a > b", theta=theta, n_permutations=99) for theta in (0, 1.5))
    assert (low["rate_a"] == 1).all()
    assert (high["rate_a"] < 1).all()
    np.testing.assert_allclose(flat(high, "rate_a"), (values[:50] > 1.5).mean(axis=0))


def test_maps_survive_netcdf(tmp_path):
    result = two_part_map(codes(firing(0.3, n_features=5)), "a > b", n_permutations=99)
    save_netcdf(result, tmp_path / "map.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "map.nc"), result)
    assert all({"long_name", "units"} <= set(result[name].attrs) for name in result.data_vars)


def test_published_intervals_and_odds():
    low, high = newcombe_interval(np.array(9 / 10), 10, np.array(3 / 10), 10)
    assert (round(float(low), 4), round(float(high), 4)) == (0.1705, 0.8090)  # Newcombe 1998, table II, (c)
    assert log_odds_ratio(np.array(0), 10, np.array(5), 10) == pytest.approx(np.log(0.5 / 10.5))


@pytest.mark.parametrize(
    ("contrast", "settings", "message"),
    [
        ("(a + c) > b", {}, "weighs 3 cells; a two-part map compares two"),
        ("a > d", {}, "no condition 'd'"),
        ("a > b", {"correct": "tukey"}, "'tukey' is unknown"),
        ("a > b", {"correct": "tfce"}, "residual stream only"),
        ("a > b", {"unit": "speaker"}, "'speaker' is not a column"),
    ],
)
def test_refusals(contrast, settings, message):
    data = codes(firing(0.5, 90, 3), np.repeat(["a", "b", "c"], 30))
    with pytest.raises((DesignError, ContrastError), match=message):
        two_part_map(data, contrast, **settings)


def test_few_relabelings_are_described_only():
    values = firing(1.0, 8, 3)
    result = two_part_map(codes(values, np.repeat(["a", "b"], 4), item=np.tile(list("wxyz"), 2)), "a > b")
    assert "16 distinct relabelings" in result.attrs["note"]
    assert np.isnan(result["p_unc"]).all()
    assert np.isnan(result["p_firing"]).all()
