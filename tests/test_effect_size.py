"""Effect sizes against closed forms, sklearn and simulation."""

import numpy as np
import pytest
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_auc_score

from neurosae.arrays.effect_size import (
    auroc,
    auroc_interval,
    average_ranks,
    bootstrap_mean_ci,
    cohen_ci,
    hedges_ci,
    hedges_g,
    noncentrality_ci,
    small_sample_factor,
    standardised_interval,
    wilson_interval,
)


def test_kat_11_small_sample_factor():
    np.testing.assert_allclose(small_sample_factor(np.array([18, 98])), [0.957646427, 0.992324087], atol=1e-8)


def test_kat_11_interval_of_d_from_t():
    assert cohen_ci(2.5, 20, 20) == pytest.approx((0.141150, 1.430376), abs=1e-4)
    assert 2.5 * np.sqrt(1 / 20 + 1 / 20) == pytest.approx(0.790569, abs=1e-6)


def test_kat_11_hedges_g_is_unbiased():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((10, 20_000)) + 0.5, rng.standard_normal((10, 20_000))
    g = hedges_g(a.mean(0), b.mean(0), a.std(0, ddof=1), b.std(0, ddof=1), 10, 10)
    assert 0.49 <= g.mean() <= 0.51


def test_kat_11_auroc_of_two_normals():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.standard_normal(200_000) + 1, rng.standard_normal(200_000)])
    is_positive = np.repeat([True, False], 200_000)
    assert auroc(values[:, None], is_positive)[0] == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.002)


def test_average_ranks_agree_with_scipy_where_values_tie():
    values = np.random.default_rng(0).integers(0, 5, (40, 1500)).astype(float)
    np.testing.assert_array_equal(average_ranks(values), rankdata(values, axis=0))


def test_auroc_agrees_with_sklearn_where_values_tie():
    rng = np.random.default_rng(0)
    values, is_positive = rng.integers(0, 6, (50, 30)), rng.random(50) < 0.4
    expected = [roc_auc_score(is_positive, column) for column in values.T]
    np.testing.assert_allclose(auroc(values, is_positive), expected, atol=1e-12)


def test_auroc_without_a_class_is_nan():
    assert np.isnan(auroc(np.ones((3, 2)), np.zeros(3, dtype=bool))).all()


def test_hedges_g_without_variance_is_nan():
    assert np.isnan(hedges_g(np.array([1.0]), 0.0, 0.0, 0.0, 5, 5)).all()


def test_intervals_of_opposite_t_mirror_each_other_and_survive_extremes():
    low, high = hedges_ci(3.1, 12, 15)
    assert hedges_ci(-3.1, 12, 15) == pytest.approx((-high, -low))
    for t in (0.0, -8.0, 60.0, 500.0):
        bounds = noncentrality_ci(t, 20)
        assert bounds[0] < t < bounds[1]
    assert np.isnan(noncentrality_ci(np.inf, 20)).all()


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((40, 2000)) + 0.5, rng.standard_normal((40, 2000))
    g = hedges_g(a.mean(0), b.mean(0), a.std(0, ddof=1), b.std(0, ddof=1), 40, 40)
    low, high = standardised_interval(g, 2 / 40, 80)
    assert 0.9335 < ((low <= 0.5) & (high >= 0.5)).mean() < 0.9655  # binomial limits around .95
    area = auroc(np.concatenate([a, b]), np.repeat([True, False], 40))
    low, high = auroc_interval(area, 40, 40)
    truth = norm.cdf(0.5 / np.sqrt(2))
    assert ((low <= truth) & (high >= truth)).mean() > 0.92  # a large-sample interval at n = 40
    share = rng.binomial(30, 0.3, 2000) / 30
    low, high = wilson_interval(share, 30)
    assert ((low <= 0.3) & (high >= 0.3)).mean() > 0.92


def test_bootstrap_interval_is_that_of_the_standard_error():
    values = np.random.default_rng(0).standard_normal((100, 3, 2))
    low, high = bootstrap_mean_ci(values, seed=0)
    half = 1.96 * values.std(axis=0) / 10
    np.testing.assert_allclose(high - low, 2 * half, rtol=0.08)
    np.testing.assert_allclose((high + low) / 2, values.mean(axis=0), atol=0.02)
    assert (bootstrap_mean_ci(values, seed=0)[0] == low).all()
