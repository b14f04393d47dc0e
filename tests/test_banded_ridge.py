"""Banded ridge on arrays: agreement with sklearn, bands that are shrunk apart, penalties chosen inside."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosae.arrays.banded_ridge import band_weights, banded_predictions, explained_share


def rows(n=60, p=6, n_targets=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p)) * np.arange(1, p + 1)
    return x, x @ rng.standard_normal((p, n_targets)) + rng.standard_normal((n, n_targets)) + 5


@pytest.mark.parametrize("alpha", [0.1, 30.0])
def test_one_penalty_is_the_ridge_of_sklearn(alpha):
    x, y = rows()
    known = make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit(x[:40], y[:40])
    found = banded_predictions(
        x[:40],
        y[:40],
        x[40:],
        np.zeros(6, dtype=int),
        np.arange(40) % 4,
        weights=np.ones((1, 1)),
        alphas=np.array([alpha]),
    )
    np.testing.assert_allclose(found, known.predict(x[40:]), atol=1e-8)


def test_a_band_of_noise_is_shrunk_and_one_of_signal_kept():
    rng = np.random.default_rng(1)
    signal, noise = rng.standard_normal((80, 2)), rng.standard_normal((80, 60))
    y = signal @ rng.standard_normal((2, 4)) + rng.standard_normal((80, 4))
    x, bands = np.column_stack([signal, noise]), np.repeat([0, 1], [2, 60])
    share = {}
    for n_draws in (1, 60):
        weights = band_weights(2, n_draws, seed=0)
        found = banded_predictions(x[:60], y[:60], x[60:], bands, np.arange(60) % 4, weights=weights)
        share[n_draws] = explained_share(found, y[60:], np.tile(y[:60].mean(axis=0), (20, 1))).mean()
    assert share[60] > share[1] + 0.1


def test_each_response_has_penalties_of_its_own():
    x, y = rows(n_targets=1)
    noise = np.random.default_rng(2).standard_normal((60, 1))
    arguments = (np.zeros(6, dtype=int), np.arange(40) % 4)
    together = banded_predictions(
        x[:40], np.column_stack([y, noise])[:40], x[40:], *arguments, weights=np.ones((1, 1))
    )
    for column, target in enumerate((y, noise)):
        alone = banded_predictions(x[:40], target[:40], x[40:], *arguments, weights=np.ones((1, 1)))
        np.testing.assert_allclose(together[:, [column]], alone, atol=1e-10)


def test_constant_predictors_and_no_predictors_predict_the_mean():
    x, y = rows()
    flat = banded_predictions(
        np.ones((40, 1)), y[:40], np.ones((20, 1)), np.array([0]), np.arange(40) % 4, weights=np.ones((1, 1))
    )
    none = banded_predictions(
        x[:40, :0], y[:40], x[40:, :0], np.array([], dtype=int), np.arange(40) % 4, weights=np.ones((1, 1))
    )
    for found in (flat, none):
        np.testing.assert_allclose(found, np.tile(y[:40].mean(axis=0), (20, 1)), atol=1e-9)


def test_explained_share_is_that_of_sklearn_with_its_own_mean_and_nan_for_constants():
    x, y = rows()
    predicted = y + np.random.default_rng(3).standard_normal(y.shape)
    expected = r2_score(y, predicted, multioutput="raw_values")
    np.testing.assert_allclose(explained_share(predicted, y, np.tile(y.mean(axis=0), (60, 1))), expected)
    assert np.isnan(explained_share(x[:, :1], np.full((60, 1), 3.0), np.full((60, 1), 3.0))).all()


def test_weights_are_on_the_simplex_and_start_with_equal_ones():
    weights = band_weights(3, 50, seed=0)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights[0], 1 / 3)
    assert (weights >= 0).all()
