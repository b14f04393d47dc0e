"""Adjusted p-values against published and hand-made values, and what NaN does to a family."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from neurosae.arrays.correction import CORRECTIONS, adjust, adjust_hierarchical, simes
from neurosae.errors import DesignError

P = np.array([0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216])
BH = [0.01, 0.04, 0.084, 0.084, 0.084, 0.1, 0.1057, 0.216, 0.216, 0.216]
HOLM = [0.01, 0.072, 0.312, 0.312, 0.312, 0.312, 0.312, 0.615, 0.615, 0.615]


@pytest.mark.parametrize(("method", "expected"), [("fdr_bh", BH), ("holm", HOLM)])
def test_kat_12_ten_p_values(method, expected):
    np.testing.assert_allclose(adjust(P, method), expected, atol=1e-3)


@pytest.mark.parametrize("method", CORRECTIONS)
def test_kat_12_nan_stays_nan_and_does_not_count(method):
    with_nan = np.insert(P, [0, 3, 10], np.nan)
    adjusted = adjust(with_nan, method)
    tested = ~np.isnan(with_nan)
    np.testing.assert_array_equal(adjusted[tested], adjust(P, method))
    assert np.isnan(adjusted[~tested]).all()


@pytest.mark.parametrize(("method", "name"), [("fdr_bh", "bh"), ("fdr_by", "by")])
def test_false_discovery_rates_agree_with_scipy(method, name):
    p = np.random.default_rng(0).random(200) ** 2
    np.testing.assert_allclose(adjust(p, method), false_discovery_control(p, method=name), rtol=1e-12)


def test_order_of_tests_does_not_matter():
    shuffled = np.random.default_rng(0).permutation(len(P))
    for method in CORRECTIONS:
        np.testing.assert_array_equal(adjust(P, method)[shuffled], adjust(P[shuffled], method))


def test_a_family_without_tests_stays_empty():
    assert np.isnan(adjust(np.full(3, np.nan), "holm")).all()


def test_unknown_methods_are_refused():
    with pytest.raises(DesignError, match="'sidak' is unknown"):
        adjust(P, "sidak")


def hierarchical_at(p, q):
    """The two steps at one level, as they are published."""
    layers = np.array([simes(row) for row in p])
    chosen = adjust(layers, "fdr_bh") <= q
    found = np.zeros(p.shape, dtype=bool)
    for layer in np.flatnonzero(chosen):
        found[layer] = adjust(p[layer], "fdr_bh") <= q * chosen.sum() / np.isfinite(layers).sum()
    return found


@pytest.mark.parametrize("q", [0.01, 0.05, 0.1, 0.3, 0.8])
def test_hierarchical_p_finds_what_the_two_steps_find_at_any_level(q):
    rng = np.random.default_rng(0)
    p = rng.random((6, 40)) ** np.array([6, 3, 1, 1, 1.5, 1])[:, None]
    p[0, :5] = p[3, 1] = np.nan
    adjusted = adjust_hierarchical(p)
    np.testing.assert_array_equal(adjusted <= q, hierarchical_at(p, q))
    np.testing.assert_array_equal(np.isnan(adjusted), np.isnan(p))


def test_a_layer_without_tests_does_not_count():
    p = np.array([[0.001, 0.4], [0.5, 0.9]])
    with_empty = np.vstack([p, [np.nan, np.nan]])
    np.testing.assert_array_equal(adjust_hierarchical(with_empty)[:2], adjust_hierarchical(p))


def test_simes_is_uniform_or_less_under_independence():
    p = np.random.default_rng(0).random((4000, 10))
    assert np.mean([simes(row) for row in p] <= np.float64(0.05)) == pytest.approx(0.05, abs=0.012)


def test_hierarchical_correction_keeps_noise_layers_out():
    rng = np.random.default_rng(1)
    n_false = sum((adjust_hierarchical(rng.random((8, 50))) <= 0.05).any() for _ in range(400))
    assert n_false / 400 <= 0.09  # binomial limit of .05
