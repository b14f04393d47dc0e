"""Co-activation: counts against brute force, planted pairs, calibrated nulls, totals kept, many features."""

import numpy as np
import pytest
import scipy.sparse as sp
import xarray as xr
from scipy.stats import fisher_exact
from statsmodels.stats.multitest import multipletests

from neurosae.analysis.coactive_pairs import coactivation
from neurosae.arrays.pair_counts import (
    ASSOCIATIONS,
    coactive_pairs,
    expected,
    family_size,
    strongest_pairs,
    traded,
)
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import responses_of


def activity(n=40, n_features=30, density=0.3, seed=0):
    return np.random.default_rng(seed).random((n, n_features)) < density


def responses_from(active, **columns):
    return responses_of(active.astype(float), ["a"] * len(active), **columns)


def every_pair(active):
    n = len(active)
    count = active.sum(axis=0)
    for i in range(active.shape[1]):
        for j in range(i + 1, active.shape[1]):
            if count[i] * count[j] >= n and max(count[i], count[j]) < n:
                yield i, j, int((active[:, i] & active[:, j]).sum())


def test_counts_and_family_are_those_of_brute_force():
    active = activity(density=0.2, seed=1)
    active[:, 3], active[:, 4] = True, False
    table = {(i, j): both for i, j, both in every_pair(active)}
    found = {}
    for block in coactive_pairs(sp.csc_array(active)):
        found |= dict(
            zip(zip(block.first.tolist(), block.second.tolist(), strict=True), block.both, strict=True)
        )
        assert (expected(block) >= 1).all()
    assert found == {pair: both for pair, both in table.items() if both > 0}
    assert family_size(active.sum(axis=0), 40) == len(table)
    assert family_size(active.sum(axis=0), 40, 7) == sum(7 in pair for pair in table)


def test_phi_is_the_correlation_of_activity_and_the_others_their_formulas():
    active = activity(seed=2)
    found = coactivation(responses_from(active), layer=0, n=1000)
    for row in range(0, found.sizes["pair"], 37):
        i, j = int(found["feature"][row]), int(found["feature_2"][row])
        x, y = active[:, i], active[:, j]
        assert float(found["phi"][row]) == pytest.approx(np.corrcoef(x, y)[0, 1])
        assert float(found["lift"][row]) == pytest.approx((x & y).mean() / (x.mean() * y.mean()))
        assert float(found["conditional"][row]) == pytest.approx(y[x].mean())
        assert float(found["conditional_2"][row]) == pytest.approx(x[y].mean())
        table = np.array([[(x & y).sum(), (x & ~y).sum()], [(~x & y).sum(), (~x & ~y).sum()]]) + 0.5
        odds = table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0])
        assert float(found["odds_ratio"][row]) == pytest.approx(odds)


def test_fisher_p_and_q_are_those_of_scipy_and_statsmodels_over_the_whole_family():
    active = activity(n=30, n_features=14, seed=3)
    active[:, 1] |= active[:, 0]
    pairs = list(every_pair(active))
    tables = [
        [
            [b, active[:, i].sum() - b],
            [active[:, j].sum() - b, 30 - active[:, i].sum() - active[:, j].sum() + b],
        ]
        for i, j, b in pairs
    ]
    p = np.array([fisher_exact(table, alternative="greater").pvalue for table in tables])
    q = multipletests(p, method="fdr_bh")[1]
    found = coactivation(responses_from(active), layer=0, n=1000)
    assert found.attrs["family_size"] == len(pairs)
    place = {(i, j): row for row, (i, j, _) in enumerate(pairs)}
    rows = [place[int(i), int(j)] for i, j in zip(found["feature"], found["feature_2"], strict=True)]
    np.testing.assert_allclose(found["p_unc"], p[rows], rtol=1e-9)
    np.testing.assert_allclose(found["p_adjusted"], q[rows], rtol=1e-9)


@pytest.mark.parametrize("measure", ASSOCIATIONS)
def test_the_strongest_pairs_come_first(measure):
    active = activity(n_features=300, density=0.25, seed=4)  # more than one block
    best, _ = strongest_pairs(sp.csc_array(active), measure, 25)
    everything, _ = strongest_pairs(sp.csc_array(active), measure, 10**6)
    values = ASSOCIATIONS[measure](everything)
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(ASSOCIATIONS[measure](best), values[:25])


def test_a_planted_pair_is_found_among_all_and_as_a_partner():
    active = activity(n=80, n_features=200, density=0.2, seed=5)
    active[:, 150] = active[:, 20] & (np.random.default_rng(0).random(80) < 0.9)
    best = coactivation(responses_from(active), layer=0, n=3)
    assert (int(best["feature"][0]), int(best["feature_2"][0])) == (20, 150)
    assert float(best["p_adjusted"][0]) < 1e-6
    partner = coactivation(responses_from(active), layer=0, feature=150, n=5)
    assert (partner["feature"] == 150).all()
    assert int(partner["feature_2"][0]) == 20
    assert float(partner["conditional"][0]) == 1.0


def test_false_discoveries_are_rare_among_independent_features():
    n_found = [
        int(
            (
                coactivation(responses_from(activity(60, 60, 0.3, seed)), layer=0, n=50)["p_adjusted"] < 0.05
            ).sum()
        )
        for seed in range(40)
    ]
    # Any discovery is false: at q = .05 at most about 2 of 40 data sets have one; 7 is beyond .9995.
    assert np.count_nonzero(n_found) <= 6


def unequal_totals(seed, n=60, n_features=50):
    """Independent features, but some units drive many and some few."""
    rng = np.random.default_rng(seed)
    rate = np.where(np.arange(n) < n // 2, 0.08, 0.5)[:, None]
    return rng.random((n, n_features)) < rate


def test_units_that_drive_many_features_mislead_fisher_and_not_fixed_totals():
    active = responses_from(unequal_totals(0))
    fisher = coactivation(active, layer=0, n=2000)
    fixed = coactivation(active, layer=0, n=2000, null="fixed_totals", n_permutations=99)
    assert float((fisher["p_unc"] < 0.05).mean()) > 0.3
    # Expected counts hold the mean over all pairs.
    assert float(fixed["expected"].mean()) == pytest.approx(float(fixed["n_both"].mean()), rel=0.05)
    assert float((fixed["p_unc"] <= 0.05).mean()) < 0.09
    assert float(fixed["p_adjusted"].min()) > 0.01


def test_fixed_totals_find_a_planted_pair():
    active = unequal_totals(1)
    active[:, 9] = active[:, 4]
    found = coactivation(responses_from(active), layer=0, n=3, null="fixed_totals", n_permutations=99)
    assert (int(found["feature"][0]), int(found["feature_2"][0])) == (4, 9)
    assert float(found["p_adjusted"][0]) == 0.01


def test_trading_keeps_totals_and_moves_most_entries():
    before = activity(20, 50, 0.3, seed=6)
    copy = before.copy()
    after = traded(before, np.random.default_rng(0))
    np.testing.assert_array_equal(before, copy)
    np.testing.assert_array_equal(after.sum(axis=0), before.sum(axis=0))
    np.testing.assert_array_equal(after.sum(axis=1), before.sum(axis=1))
    assert (after != before).mean() > 0.25


def test_units_not_stimuli_are_counted():
    active = activity(20, 12, 0.4, seed=7)
    once = coactivation(responses_from(active), layer=0, n=20)
    doubled = responses_from(
        np.repeat(active, 2, axis=0), item=[f"i{i:02d}" for i in np.repeat(np.arange(20), 2)]
    )
    twice = coactivation(doubled, layer=0, n=20)
    np.testing.assert_allclose(once["p_unc"], twice["p_unc"])
    assert twice.attrs["n_units"] == 20


def test_order_of_units_does_not_matter_and_lazy_responses_agree():
    responses = responses_from(activity(seed=8))
    found = coactivation(responses, layer=0)
    xr.testing.assert_identical(found, coactivation(responses.isel(stimulus=slice(None, None, -1)), layer=0))
    xr.testing.assert_identical(found, coactivation(responses.chunk({"layer": 1, "feature": 7}), layer=0))


def test_sixteen_thousand_features_need_no_square_matrix():
    rng = np.random.default_rng(9)
    n, n_features = 100, 16_384
    columns = rng.integers(0, n_features, (n, 150))
    active = sp.csc_array(
        (np.ones(n * 150), (np.repeat(np.arange(n), 150), columns.ravel())), (n, n_features)
    )
    shared = rng.choice(n, 15, replace=False)
    active = sp.lil_array(active)
    active[shared[:, None], [5, 16_000]] = 1.0
    active = sp.csc_array(active)
    active.data[:] = 1.0
    best, _ = strongest_pairs(active, "phi", 10)
    assert (best.first[0], best.second[0]) == (5, 16_000)


def test_result_survives_a_file(tmp_path):
    found = coactivation(responses_from(activity()), layer=0, feature=3, n=5)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())
    assert load_netcdf(save_netcdf(found, tmp_path / "found.nc")).identical(found)


def test_refusals():
    responses = responses_from(activity())
    with pytest.raises(DesignError, match="layer 3 is not in the responses"):
        coactivation(responses, layer=3)
    with pytest.raises(DesignError, match="feature 99 is not in the responses"):
        coactivation(responses, layer=0, feature=99)
    with pytest.raises(DesignError, match=r"measure 'lifts' is unknown.*did you mean 'lift'"):
        coactivation(responses, layer=0, measure="lifts")
    with pytest.raises(DesignError, match="null 'chance' is unknown"):
        coactivation(responses, layer=0, null="chance")
    with pytest.raises(DesignError, match="n is 0"):
        coactivation(responses, layer=0, n=0)
    with pytest.raises(DesignError, match="either silent or active"):
        coactivation(responses - 0.5, layer=0)
    with pytest.raises(DesignError, match="no pair of features is expected"):
        coactivation(responses * 0, layer=0)
