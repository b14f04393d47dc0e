"""Small logistic decoders: the best features by a selector, z-scored, and what few other ways would reach.

Everything is learned from training rows. Labels are 0 … K-1; scores come in C columns, as in
`neurosae.arrays.classification_scores`: the second class if K = 2, else one a class.
"""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, lars_path

from neurosae.arrays.class_averages import class_matrices, class_means
from neurosae.arrays.feature_scores import is_alive, score_features
from neurosae.arrays.ridge_decoder import balanced_targets, standardise, varies

_MAX_ITERATIONS = 1000
_LARS_STEPS = 4
"""Steps of the lasso path per feature wanted: some steps drop a feature again."""


class SmallDecoder(NamedTuple):
    """Scores (n_test, C) and probabilities (n_test, K) of test rows, coefficients (C, k) of z-scores."""

    score: np.ndarray
    probability: np.ndarray
    coefficient: np.ndarray


def ranked_features(
    values: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    selector: str,
    *,
    is_scaled: bool,
    seed: int = 0,
) -> np.ndarray:
    """Features alive in the training rows, the best by a selector first, ties in the order of features.

    Parameters
    ----------
    values : (n, F), or (n, W, F) with W windows of each row, training rows only
    labels : (n,) int
    is_scaled : score z-scored features; the variance selector always sees values as they are

    Returns
    -------
    (G,) int, G <= F
    """
    pooled = values if values.ndim == 2 else values.mean(axis=1)
    alive = np.flatnonzero(is_alive(pooled) & varies(pooled))
    candidates = np.asarray(values[..., alive], dtype=float)
    if is_scaled and selector != "variance":
        candidates = (candidates - candidates.mean(axis=0)) / _spread(candidates, pooled[:, alive])
    scores = score_features(candidates, labels[None], n_classes, selector, seed=seed)[0]
    return alive[np.argsort(-scores, kind="stable")]


def _spread(values: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """SD by which features are divided: of the rows, or over rows and windows where there are several."""
    return pooled.std(axis=0) if values.ndim == 2 else np.sqrt(values.var(axis=0).mean(axis=0))


def small_decoder(
    train: np.ndarray, test: np.ndarray, labels: np.ndarray, chosen: np.ndarray
) -> SmallDecoder | None:
    """Logistic regression (L2, C = 1) on a few z-scored features; None if it does not converge.

    Parameters
    ----------
    train, test : (n_train, F), (n_test, F)
    labels : (n_train,) int
    chosen : (k,) columns
    """
    z, z_test = standardise(train[:, chosen], test[:, chosen])
    # Newton steps are the quickest for so few features.
    model = LogisticRegression(C=1.0, max_iter=_MAX_ITERATIONS, solver="newton-cholesky")
    # What is fitted was checked at the door; thousands of fits need not check it again.
    with config_context(assume_finite=True, skip_parameter_validation=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(z, labels)
    if model.n_iter_.max() >= _MAX_ITERATIONS:
        return None
    score = model.decision_function(z_test).reshape(len(z_test), -1)
    return SmallDecoder(score, model.predict_proba(z_test), model.coef_)


def direction_scores(train: np.ndarray, test: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Scores of test rows along the difference of class means of z-scored features, (n_test, C).

    For more than two classes the mean of each class minus the mean of all. 0 is midway for two classes.
    """
    z, z_test = standardise(train, test)
    mean = class_means(z, class_matrices(labels[None], n_classes))[0]
    if n_classes == 2:
        return ((z_test - mean.mean(axis=0)) @ (mean[1] - mean[0]))[:, None]
    return np.asarray((z_test - mean.mean(axis=0)) @ (mean - mean.mean(axis=0)).T)


def lasso_scores(
    train: np.ndarray, test: np.ndarray, labels: np.ndarray, n_classes: int, sizes: tuple[int, ...]
) -> np.ndarray:
    """Scores of test rows by the lasso that first has so many features, for each size: (sizes, n_test, C).

    Least squares of class-balanced targets on z-scored features along the lasso path; for more than two
    classes the number counts for each class. NaN where the path never has that many.

    Source
    ------
    Efron et al. 2004, Ann Stat 32:407.
    """
    z, z_test = standardise(train, test)
    targets = balanced_targets(labels[None], n_classes)[:, 0]
    scores = np.full((len(sizes), len(z_test), targets.shape[1]), np.nan)
    for column in range(targets.shape[1]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            path = lars_path(z, targets[:, column], method="lasso", max_iter=_LARS_STEPS * max(sizes))[2]
        n_active = np.count_nonzero(path, axis=0)
        for row, size in enumerate(sizes):
            reached = np.flatnonzero(n_active == size)
            if len(reached):
                # The last point with so many features is the least shrunk.
                scores[row, :, column] = z_test @ path[:, reached[-1]]
    return scores
