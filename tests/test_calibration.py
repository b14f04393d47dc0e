"""Calibration of forecasts: agreement with sklearn, decomposition, degenerate forecasts."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from neurosae.arrays.calibration import measure_calibration

RNG = np.random.default_rng(0)
FORECAST = RNG.beta(2, 2, 500)
EVENT = RNG.random(500) < FORECAST


def test_scores_and_curve_are_those_of_sklearn():
    found = measure_calibration(FORECAST, EVENT)
    assert found.brier == pytest.approx(brier_score_loss(EVENT, FORECAST))
    assert found.log_loss == pytest.approx(log_loss(EVENT, FORECAST))
    observed, forecast = calibration_curve(EVENT, FORECAST, n_bins=10, strategy="quantile")
    # Bins of sklearn are cut at interpolated quantiles; a row may fall on the other side.
    np.testing.assert_allclose(found.forecast, forecast, atol=0.01)
    np.testing.assert_allclose(found.observed, observed, atol=0.03)
    assert found.n_rows.tolist() == [50] * 10


def test_brier_score_falls_into_its_parts_where_bins_hold_equal_forecasts():
    forecast = RNG.choice([0.1, 0.4, 0.8], 300)
    event = RNG.random(300) < forecast
    found = measure_calibration(forecast, event, n_bins=300)
    assert len(found.n_rows) == 3
    assert found.brier == pytest.approx(found.reliability - found.resolution + found.uncertainty, abs=1e-12)


def test_true_probabilities_are_calibrated_and_overconfident_ones_are_not():
    assert measure_calibration(FORECAST, EVENT).ece < 0.06
    overconfident = np.where(FORECAST > 0.5, 0.99, 0.01)
    assert measure_calibration(overconfident, EVENT).ece > 0.15


def test_the_base_rate_is_calibrated_and_resolves_nothing():
    found = measure_calibration(np.full(40, 0.25), np.arange(40) % 4 == 0)
    assert (found.ece, found.reliability, found.resolution) == (0, 0, 0)
    assert found.brier == pytest.approx(found.uncertainty)


def test_sure_and_wrong_forecasts_cost_a_finite_log_loss():
    assert measure_calibration(np.array([1.0, 0.0]), np.array([False, True])).log_loss < 40


def test_order_of_rows_changes_nothing():
    order = RNG.permutation(500)
    one, other = measure_calibration(FORECAST, EVENT), measure_calibration(FORECAST[order], EVENT[order])
    for name in ("ece", "brier", "resolution"):
        assert getattr(one, name) == pytest.approx(getattr(other, name))
