"""Adjusted p-values against published and hand-made values, and what NaN does to a family."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from neurosae.arrays.correction import CORRECTIONS, adjust
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
