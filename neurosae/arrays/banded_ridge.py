"""Ridge regression of many responses on bands of predictors, each response with the penalties that suit it.

A band (length, frequency, topic) has its own penalty: predictors of one band may be shrunk to nothing while
those of another are kept. Penalties are chosen on inner folds of the training rows.
"""

import numpy as np

ALPHAS = np.logspace(-2, 6, 9)
N_DRAWS = 100


def band_weights(n_bands: int, n_draws: int, *, seed: int) -> np.ndarray:
    """Weights of the bands to try, (D, B), rows summing to 1: equal ones first, then uniform on the simplex.

    Examples
    --------
    >>> band_weights(2, 3, seed=0).sum(axis=1).round(6).tolist(), band_weights(1, 3, seed=0).tolist()
    ([1.0, 1.0, 1.0], [[1.0]])
    """
    equal = np.full((1, n_bands), 1 / n_bands)
    if n_bands == 1 or n_draws == 1:
        return equal
    drawn = np.random.default_rng(seed).dirichlet(np.ones(n_bands), n_draws - 1)
    return np.concatenate([equal, drawn])


def banded_predictions(
    train: np.ndarray,
    targets: np.ndarray,
    test: np.ndarray,
    bands: np.ndarray,
    inner: np.ndarray,
    *,
    weights: np.ndarray,
    alphas: np.ndarray = ALPHAS,
) -> np.ndarray:
    """Predicted responses of test rows, by ridge with penalty alpha / weight of the band.

    min |y - mean - Z b|² + alpha sum_m |b_m|² / w_m, Z the predictors z-scored on the training rows. For each
    response that pair of weights and alpha is taken that has the smallest squared error on the inner folds.

    Parameters
    ----------
    train, test : (n_train, p), (n_test, p) predictors
    targets : (n_train, F) responses
    bands : (p,) int, band 0 … B-1 of each predictor
    inner : (n_train,) int, inner fold of each training row
    weights : (D, B), see `band_weights`; one row of equal weights is ordinary ridge
    alphas : penalties to try

    Returns
    -------
    (n_test, F)

    Source
    ------
    Nunez-Elizalde, Huth & Gallant 2019, NeuroImage 197:482; Dupré la Tour et al. 2022, NeuroImage 264:119728.

    Examples
    --------
    >>> x = np.arange(8.0)[:, None]
    >>> found = banded_predictions(
    ...     x, 2 * x, np.array([[10.0]]), np.array([0]), np.arange(8) % 2, weights=np.ones((1, 1))
    ... )
    >>> found.round(1)
    array([[20.]])
    """
    if train.shape[1] == 0:
        return np.tile(targets.mean(axis=0), (len(test), 1))
    errors = np.array([_inner_errors(train, targets, inner, row[bands], alphas) for row in weights])
    best = errors.reshape(-1, targets.shape[1]).argmin(axis=0)
    predicted = np.empty((len(test), targets.shape[1]))
    for choice in np.unique(best):
        row, column = divmod(int(choice), len(alphas))
        mine = best == choice
        predicted[:, mine] = _predictions(
            train, targets[:, mine], test, weights[row][bands], float(alphas[column])
        )
    return predicted


def _inner_errors(
    train: np.ndarray, targets: np.ndarray, inner: np.ndarray, weight: np.ndarray, alphas: np.ndarray
) -> np.ndarray:
    """Squared error on held-out inner folds for each alpha and response, (A, F)."""
    errors = np.zeros((len(alphas), targets.shape[1]))
    for fold in np.unique(inner):
        held = inner == fold
        s, projected, loadings, centre = _decompose(train[~held], targets[~held], train[held], weight)
        rest = targets[held] - centre
        # |y - L m|² = |y|² - 2 m'L'y + m'L'L m: with few predictors no prediction need be written out.
        total, cross, square = (rest**2).sum(axis=0), loadings.T @ rest, loadings.T @ loadings
        for row, alpha in enumerate(alphas):
            shrunk = (s / (s**2 + alpha))[:, None] * projected
            errors[row] += total + (shrunk * (square @ shrunk - 2 * cross)).sum(axis=0)
    return errors


def _predictions(
    train: np.ndarray, targets: np.ndarray, test: np.ndarray, weight: np.ndarray, alpha: float
) -> np.ndarray:
    """Predictions of test rows, (n_test, F)."""
    s, projected, loadings, centre = _decompose(train, targets, test, weight)
    return np.asarray((loadings * (s / (s**2 + alpha))) @ projected + centre)


def _decompose(
    train: np.ndarray, targets: np.ndarray, test: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Singular values of weighted predictors, targets and test rows in their axes, mean of the targets."""
    mean, sd = train.mean(axis=0), train.std(axis=0)
    scale = np.divide(
        np.sqrt(weight), sd, out=np.zeros_like(sd), where=sd > 1e-12 * np.abs(train).max(axis=0)
    )
    centre = targets.mean(axis=0)
    U, s, Vt = np.linalg.svd((train - mean) * scale, full_matrices=False)
    return s, U.T @ (targets - centre), ((test - mean) * scale) @ Vt.T, centre


def explained_share(predicted: np.ndarray, observed: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Cross-validated R² = 1 - SSE / SST of each response, SST about the mean of the training rows.

    Parameters
    ----------
    predicted, observed : (n, F) of held-out rows
    baseline : (n, F) mean of the training rows by which each row was predicted

    Returns
    -------
    (F,) at most 1, below 0 where predictions are worse than the mean; NaN for constant responses

    Examples
    --------
    >>> y = np.array([[1.0], [3.0]])
    >>> explained_share(np.array([[1.5], [2.5]]), y, np.full((2, 1), 2.0))
    array([0.75])
    """
    error = ((observed - predicted) ** 2).sum(axis=0)
    total = ((observed - baseline) ** 2).sum(axis=0)
    is_flat = np.ptp(observed, axis=0) == 0
    return 1 - np.divide(error, total, out=np.full(len(total), np.nan), where=~is_flat & (total > 0))
