"""Jackknife intervals against closed forms and a published example."""

import numpy as np
import pytest
from scipy.stats import sem, t

from neurosae.arrays.jackknife import jackknife_interval, leaves_class_alone, rows_kept

LSAT = np.array([576, 635, 558, 578, 666, 580, 555, 661, 651, 605, 653, 575, 545, 572, 594])
GPA = np.array(
    [3.39, 3.30, 2.81, 3.03, 3.44, 3.07, 3.00, 3.43, 3.36, 3.13, 3.12, 2.74, 2.76, 2.88, 2.96]
)  # fifteen law schools, Efron & Tibshirani 1993, table 3.1


def test_interval_of_a_mean_is_the_t_interval():
    values = np.random.default_rng(0).gamma(2.0, size=(12, 3))
    low, high = jackknife_interval(values.mean(axis=0), (values.sum(axis=0) - values) / 11)
    expected = t.interval(0.95, 11, values.mean(axis=0), sem(values, axis=0))
    np.testing.assert_allclose([low, high], expected, rtol=1e-12)


def test_kat_law_schools_have_a_standard_error_of_1425():
    left_out = np.array([np.corrcoef(LSAT[kept], GPA[kept])[0, 1] for kept in rows_kept(np.arange(15))])
    observed = np.corrcoef(LSAT, GPA)[0, 1]
    low, high = jackknife_interval(observed, left_out)
    assert observed == pytest.approx(0.776, abs=5e-4)
    assert (high - low) / 2 / t.ppf(0.975, 14) == pytest.approx(0.1425, abs=5e-5)
    assert jackknife_interval(observed, left_out, limits=(0.0, 1.0)) == (low, 1.0)
    assert jackknife_interval(observed, left_out, limits=(0.5, 1.0)) == (0.5, 1.0)


def test_one_estimate_that_is_missing_leaves_no_interval():
    left_out = np.array([[1.0, 1.0], [2.0, np.nan], [3.0, 3.0]])
    low, high = jackknife_interval(np.array([2.0, 2.0]), left_out)
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([low[1], high[1]]).all()


def test_a_single_unit_leaves_no_interval():
    assert np.isnan(jackknife_interval(np.array(1.0), np.array([1.0]))).all()


def test_units_leave_with_all_their_rows():
    kept = rows_kept(np.array(["b", "a", "b", "c"]))
    assert kept.tolist() == [
        [True, False, True, True],
        [False, True, False, True],
        [True, True, True, False],
    ]


def test_classes_of_two_are_left_alone_by_their_own_units_only():
    labels, units = np.array([0, 0, 1, 1, 1, 1]), np.array([0, 1, 2, 2, 3, 4])
    assert leaves_class_alone(labels, units).tolist() == [True, True, False, False, False]


def test_two_rows_of_one_unit_are_no_pair():
    labels, units = np.array([0, 0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 3, 4])
    assert leaves_class_alone(labels, units).tolist() == [True, True, False, False, False]
