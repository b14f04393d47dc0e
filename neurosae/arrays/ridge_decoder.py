"""Ridge classification in closed form, for many label vectors on the same rows at once.

With the penalty fixed, the scores of the test rows are a matrix times the targets, and the matrix does not
depend on the labels: one factorisation a fold serves the observed labels and all permutations. Everything
that is learned, standardisation and selection of features included, is learned from training rows only.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from neurosae.arrays.classification_scores import members
from neurosae.arrays.feature_scores import is_alive, score_features

SHRINKAGE = 1.0
"""Default penalty in units of the mean kernel diagonal, which is the number of features after z-scoring."""

_DECIMALS = 10
"""Scores (of order 1) are rounded to this, so that rows with equal responses tie whatever the rounding."""

_EXPLAINED = 1e-9
"""Share of the SD below which what is left of a feature is rounding."""

_BLOCK_ELEMENTS = 4_000_000
"""Numbers held at a time when each label vector selects its own features."""


class Selection(NamedTuple):
    """Which features a decoder keeps: the ``size`` best by ``selector``, see `feature_scores.SELECTORS`.

    ``is_scaled``: scored on z-scored features, so that units of large variance do not win by that alone.
    """

    selector: str
    size: int
    is_scaled: bool = False
    seed: int = 0


class FoldScores(NamedTuple):
    """Scores of test rows (n_test, P, C), and leave-one-out scores of training rows (n_train, P, C)."""

    test: np.ndarray
    left_out: np.ndarray


def standardise(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Z-scores by the mean and SD of the training rows; features constant in training are dropped.

    Parameters
    ----------
    train, test : (n_train, F), (n_test, F)

    Returns
    -------
    (n_train, G), (n_test, G) float64 with G <= F

    Examples
    --------
    >>> standardise(np.array([[1.0, 7.0], [3.0, 7.0]]), np.array([[4.0, 9.0]]))
    (array([[-1.], [ 1.]]), array([[2.]]))
    """
    train, test = np.asarray(train, dtype=float), np.asarray(test, dtype=float)
    mean, sd = train.mean(axis=0), train.std(axis=0)
    kept = varies(train)
    return (train[:, kept] - mean[kept]) / sd[kept], (test[:, kept] - mean[kept]) / sd[kept]


def varies(train: np.ndarray) -> np.ndarray:
    """Features that are not constant over the training rows: (n, F) -> (F,) bool."""
    # Equal values leave an SD of rounding size, not always exactly 0.
    return train.std(axis=0) > 1e-12 * np.abs(train).max(axis=0)


def without_confounds(
    train: np.ndarray, test: np.ndarray, confounds: np.ndarray, test_confounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Responses without what confounds explain linearly in the training rows.

    x - z b with b from least squares on the training rows (with intercept), applied to the test rows too.

    Parameters
    ----------
    train, test : (n_train, F), (n_test, F)
    confounds, test_confounds : (n_train, Q), (n_test, Q)

    Source
    ------
    Snoek, Miletic & Scholte 2019, NeuroImage 184:741 (inside the folds, not before).

    Examples
    --------
    >>> x, z = np.array([[1.0], [3.0], [4.0]]), np.array([[0.0], [1.0], [2.0]])
    >>> without_confounds(x, np.array([[9.0]]), z, np.array([[3.0]]))[1].round(2)
    array([[3.33]])
    """
    known, new = (np.column_stack([np.ones(len(z)), z]) for z in (confounds, test_confounds))
    train = np.asarray(train, dtype=float)
    slopes = np.linalg.lstsq(known, train, rcond=None)[0]
    rest, new_rest = train - known @ slopes, test - new @ slopes
    # What confounds explain wholly leaves rounding errors, which z-scoring would blow up to a feature.
    explained = rest.std(axis=0) <= _EXPLAINED * train.std(axis=0)
    return np.where(explained, 0.0, rest), np.where(explained, 0.0, new_rest)


def balanced_targets(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Targets of each class against the rest, both sides with the same total weight.

    y = n / (2 n_k) in class k and -n / (2 (n - n_k)) outside it, so that targets sum to 0 and no intercept is
    needed. Two classes need one column, for the second class.

    Parameters
    ----------
    labels : (P, n) int in 0 … n_classes-1, every class in every row
    n_classes : K

    Returns
    -------
    (n, P, C), C = 1 if K = 2, else K

    Examples
    --------
    >>> balanced_targets(np.array([[0, 0, 0, 1]]), 2).ravel().round(3)
    array([-0.667, -0.667, -0.667,  2.   ])
    """
    member = members(labels, n_classes)
    inside = member.sum(axis=0)
    n = len(member)
    return np.where(member, n / (2 * inside), -n / (2 * (n - inside)))


def ridge_scores(
    train: np.ndarray, test: np.ndarray, targets: np.ndarray, *, shrinkage: float = SHRINKAGE
) -> FoldScores:
    """Ridge predictions of test rows for many targets at once, in dual form.

    f(test) = K(test, train) (K + αI)⁻¹ y with K = Z Z' and α = shrinkage · trace(K) / n_train.
    Left out: y_i - (C y)_i / C_ii with C = (K + αI)⁻¹, the prediction of a row by all other training rows.

    Parameters
    ----------
    train, test : (n_train, G), (n_test, G) z-scored features
    targets : (n_train, P, C), see `balanced_targets`
    shrinkage : penalty relative to the mean kernel diagonal, above 0

    Source
    ------
    Saunders, Gammerman & Vovk 1998, ICML (dual form); Golub, Heath & Wahba 1979, Technometrics 21:215
    (leaving one out).

    Examples
    --------
    >>> train = np.array([[-1.0], [-1.0], [1.0], [1.0]])
    >>> targets = balanced_targets(np.array([[0, 0, 1, 1]]), 2)
    >>> ridge_scores(train, np.array([[2.0]]), targets).test.ravel()
    array([1.6])
    """
    n, flat = len(train), targets.reshape(len(targets), -1)
    kernel = train @ train.T
    # Without any feature the kernel is 0; the penalty of 1 then gives scores of 0 rather than a failure.
    penalty = shrinkage * np.trace(kernel) / n or 1.0
    inverse = np.linalg.inv(kernel + penalty * np.eye(n))
    weights = inverse @ flat
    left_out = flat - weights / np.diag(inverse)[:, None]
    scores = test @ (train.T @ weights) if train.shape[1] < n else (test @ train.T) @ weights
    return FoldScores(scores.reshape(-1, *targets.shape[1:]), left_out.reshape(targets.shape))


def selected_scores(
    train: np.ndarray,
    test: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    *,
    select: int,
    score: Callable[[np.ndarray], np.ndarray] | None = None,
) -> FoldScores:
    """Ridge predictions where each label vector first selects its own features on the training rows.

    Exactly ``select`` features are taken, ties in the order of features.

    Parameters
    ----------
    train, test : (n_train, G), (n_test, G) z-scored features
    labels : (P, n_train) int
    n_classes : K
    select : number of features
    score : scores (P, G) of the features under some label vectors (P, n_train); by default eta2, for two
        classes the absolute difference of the standardised means

    Returns
    -------
    FoldScores, as `ridge_scores` gives on the features selected
    """
    score = score or partial(_scored, train, n_classes, "eta2", 0)
    select = min(select, train.shape[1])
    n_block = max(1, _BLOCK_ELEMENTS // max(n_classes * train.shape[1], (len(train) + len(test)) * select, 1))
    blocks = [labels[start : start + n_block] for start in range(0, len(labels), n_block)]
    parts = [
        _selected_block(train, test, block, n_classes, top_columns(score(block), select)) for block in blocks
    ]
    return FoldScores(*(np.concatenate(fields, axis=1) for fields in zip(*parts, strict=True)))


def _scored(values: np.ndarray, n_classes: int, selector: str, seed: int, labels: np.ndarray) -> np.ndarray:
    return score_features(values, labels, n_classes, selector, seed=seed)


def _selected_block(
    train: np.ndarray, test: np.ndarray, labels: np.ndarray, n_classes: int, chosen: np.ndarray
) -> FoldScores:
    select = chosen.shape[1]
    Z, Z_test = (rows[:, chosen].transpose(1, 0, 2) for rows in (train, test))
    y = balanced_targets(labels, n_classes).transpose(1, 0, 2)
    penalty = SHRINKAGE * select * np.eye(select)
    fit = np.linalg.solve(Z.transpose(0, 2, 1) @ Z + penalty, Z.transpose(0, 2, 1))
    weights = fit @ y
    leverage = np.einsum("pnk,pkn->pn", Z, fit)[:, :, None]
    left_out = y - (y - Z @ weights) / (1 - leverage)
    return FoldScores((Z_test @ weights).transpose(1, 0, 2), left_out.transpose(1, 0, 2))


def top_columns(values: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest values in each row, in column order; ties go to the first columns.

    Examples
    --------
    >>> top_columns(np.array([[1.0, 5.0, 3.0, 3.0]]), 2)
    array([[1, 2]])
    """
    if k == 0:
        return np.empty((len(values), 0), dtype=int)
    least = -np.partition(-values, k - 1, axis=1)[:, k - 1 : k]
    above, level = values > least, values == least
    missing = k - above.sum(axis=1, keepdims=True)
    return np.nonzero(above | (level & (level.cumsum(axis=1) <= missing)))[1].reshape(-1, k)


def fold_scores(
    train: np.ndarray,
    test: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    *,
    select: int | Selection | None = None,
) -> np.ndarray:
    """How much test rows look like each class, to a decoder that has seen the training rows only.

    Ridge regression of class-balanced targets on z-scored features. 0 is midway between the mean
    leave-one-out training scores of the class and of the rest: unequal classes do not move the boundary.

    Parameters
    ----------
    train, test : (n_train, F), (n_test, F) responses
    labels : (P, n_train) int, one row a label vector
    n_classes : K
    select : features chosen anew for each label vector, among those alive in the training rows; a number
        stands for that many by eta2; None keeps all

    Returns
    -------
    (n_test, P, C), C = 1 (the second class) if K = 2, else K; a score above 0 says "this class"

    Examples
    --------
    >>> train, labels = np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([[0, 0, 1, 1]])
    >>> fold_scores(train, np.array([[0.5], [4.5]]), labels, 2).ravel().round(2)
    array([-0.75,  0.75])
    """
    select = Selection("eta2", select) if isinstance(select, int | np.integer) else select
    if select is None:
        Z, Z_test = standardise(train, test)
        scores = ridge_scores(Z, Z_test, balanced_targets(labels, n_classes))
    else:
        alive = is_alive(train) & varies(train)
        Z, Z_test = standardise(train[:, alive], test[:, alive])
        values = Z if select.is_scaled else train[:, alive]
        score = partial(_scored, values, n_classes, select.selector, select.seed)
        scores = selected_scores(Z, Z_test, labels, n_classes, select=select.size, score=score)
    member = members(labels, n_classes)
    inside = np.sum(scores.left_out, axis=0, where=member) / member.sum(axis=0)
    outside = np.sum(scores.left_out, axis=0, where=~member) / (~member).sum(axis=0)
    return np.round(scores.test - (inside + outside) / 2, _DECIMALS)
