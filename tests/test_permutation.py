"""Relabelings: which there are, that they are exact where they can be, and that their p-values are right."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import permutation_test
from statsmodels.stats.proportion import proportion_confint

from neurosae.arrays.permutation import (
    count_relabelings,
    exceedance_interval,
    max_statistic_p,
    orders,
    p_value,
    relabel,
    sign_flips,
)
from neurosae.errors import DesignError

FOUR_AND_FOUR = np.repeat([0, 1], 4)


def difference(labels, values):
    return values[labels == 1].mean() - values[labels == 0].mean()


def test_kat_07_four_and_four_are_enumerated_and_p_is_exact():
    values = np.random.default_rng(0).standard_normal(8)
    found = relabel(FOUR_AND_FOUR, 999, seed=0)
    null = np.array([difference(labels, values) for labels in found.labels])
    p = p_value(difference(FOUR_AND_FOUR, values), null, exact=found.exact)
    chosen = [np.isin(np.arange(8), rows).astype(int) for rows in combinations(range(8), 4)]
    brute = np.abs([difference(labels, values) for labels in chosen])
    oracle = permutation_test(
        (values[4:], values[:4]), lambda x, y: x.mean() - y.mean(), n_resamples=np.inf, vectorized=False
    )
    assert found.exact
    assert len(found) == len(np.unique(found.labels, axis=0)) == 70
    assert (found.labels[0] == FOUR_AND_FOUR).all()
    assert p == pytest.approx((brute >= abs(null[0]) - 1e-12).mean(), abs=1e-12)
    assert p == pytest.approx(oracle.pvalue, abs=1e-12)


def test_kat_07_six_pairs_give_at_best_two_of_64():
    flips = sign_flips(6, 999, seed=0)
    differences = np.arange(1.0, 7.0)
    p = p_value(differences.mean(), (flips.labels * differences).mean(axis=1), exact=flips.exact)
    assert len(flips) == 64
    assert p == 2 / 64


def test_kat_07_p_is_never_zero_and_moves_in_steps_of_one_over_b_plus_one():
    rng = np.random.default_rng(0)
    p = p_value(np.append(rng.standard_normal(50), 1e9), rng.standard_normal((99, 51)), exact=False)
    assert p.min() == 0.01
    np.testing.assert_allclose(p * 100, np.round(p * 100), atol=1e-9)


def test_random_relabelings_keep_counts_and_leave_out_the_observed():
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    found = relabel(labels, 200, seed=1)
    assert not found.exact
    assert found.labels.shape == (200, 60)
    assert (np.sort(found.labels, axis=1) == labels).all()


def test_a_longer_run_begins_with_the_shorter_one():
    labels = np.repeat([0, 1], 30)
    few, more = relabel(labels, 100, seed=5), relabel(labels, 300, seed=5)
    assert (more.labels[:100] == few.labels).all()
    assert (relabel(labels, 100, seed=6).labels != few.labels).any()


def test_strata_keep_their_own_labels():
    labels, strata = np.array([0, 1, 1, 0, 0, 1]), np.array(["x", "x", "x", "y", "y", "y"])
    found = relabel(labels, 99, seed=0, strata=strata)
    assert len(found) == count_relabelings(labels, strata=strata) == 9
    assert (found.labels[:, :3].sum(axis=1) == 2).all()


def test_blocks_move_together_and_only_within_their_size():
    labels = np.array([0, 0, 1, 1, 0, 0, 1])
    blocks = np.array([0, 0, 1, 1, 2, 2, 3])
    found = relabel(labels, 99, seed=0, blocks=blocks)
    assert found.exact
    assert len(found) == 3
    assert (found.labels[:, 6] == 1).all()
    for block in range(3):
        rows = found.labels[:, blocks == block]
        assert (rows[:, 0] == rows[:, 1]).all()


def test_orders_are_permutations():
    found = orders(50, 20, seed=0)
    assert (np.sort(found.labels, axis=1) == np.arange(50)).all()
    assert orders(4, 24, seed=0).exact


def test_sign_flips_of_many_pairs_are_sampled_evenly():
    flips = sign_flips(40, 999, seed=0)
    assert not flips.exact
    assert set(np.unique(flips.labels)) == {-1, 1}
    assert abs(flips.labels.mean()) < 0.02  # 5 standard errors of 999 x 40 signs


def test_null_p_values_are_uniform():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 15)
    weights = np.where(relabel(labels, 199, seed=0).labels == 1, 1, -1)
    values = rng.standard_normal((30, 2000))
    p = p_value(np.where(labels == 1, 1, -1) @ values, weights @ values, exact=False)
    assert 0.0345 < (p <= 0.05).mean() < 0.0665  # binomial limits for 2000 features
    assert abs(p.mean() - 0.5) < 0.03


def test_one_sided_p_goes_by_sign_and_nan_stays_nan():
    null = np.array([[-2.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    p = p_value(np.array([1.5, np.nan]), null, exact=False, alternative="greater")
    assert p[0] == 0.25
    assert np.isnan(p[1])
    assert p_value(1.5, null[:, 0], exact=False) == 0.5


def test_max_statistic_p_counts_the_largest_of_each_relabeling():
    p = max_statistic_p(np.array([5.0, 3.0, np.nan]), np.array([5.0, 3.0, 2.0, 1.0]), exact=True)
    np.testing.assert_array_equal(p, [0.25, 0.5, np.nan])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relabel(np.array([0, 1]), 9, seed=0, blocks=np.array([0, 0])), "more than one label"),
        (lambda: relabel(np.array([0, 1]), 0, seed=0), "n_permutations is 0"),
        (lambda: p_value(0.0, np.zeros(3), exact=False, alternative="less"), "'two-sided' or 'greater'"),
        (
            lambda: relabel(np.array([0, 0]), 9, seed=0, blocks=np.array([0, 0]), strata=np.array([0, 1])),
            "more than one stratum",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(DesignError, match=message):
        call()


def test_the_interval_of_a_sampled_p_is_clopper_pearsons():
    counts = np.array([0, 1, 49, 998, 999])
    found = exceedance_interval(counts, 999, exact=False)
    np.testing.assert_allclose(found, proportion_confint(counts, 999, method="beta"), rtol=1e-9)


def test_an_exact_p_has_no_interval_and_nan_has_none_to_give():
    low, high = exceedance_interval(np.array([5.0, np.nan]), 100, exact=True)
    assert low[0] == high[0] == 0.05
    assert np.isnan(exceedance_interval(np.array([np.nan]), 100, exact=False)).all()


def test_the_interval_of_a_sampled_p_covers_the_true_one():
    n_exceeding = np.random.default_rng(0).binomial(199, 0.03, 4000)
    low, high = exceedance_interval(n_exceeding, 199, exact=False)
    assert 0.95 <= ((low <= 0.03) & (high >= 0.03)).mean() <= 0.99  # Clopper-Pearson covers at least 95 %
