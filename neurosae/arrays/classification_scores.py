"""How well scores tell classes apart: area under the ROC curve and balanced accuracy, for many label vectors.

Scores come in C columns: K classes against the rest each, or one column, the second class, where K is 2.
"""

import numpy as np

from neurosae.arrays.class_averages import class_matrices
from neurosae.arrays.effect_size import average_ranks


def members(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Whether row i belongs to the class of column c under labelling p: (n, P, C)."""
    columns = np.array([1]) if n_classes == 2 else np.arange(n_classes)
    return np.asarray(labels).T[:, :, None] == columns


def macro_auroc(scores: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Area under the ROC curve of each label vector, mean over classes of one against the rest; ties 0.5.

    Parameters
    ----------
    scores : (n, P, C), see `fold_scores`
    labels : (P, n) int
    n_classes : K

    Returns
    -------
    (P,) in [0, 1]; NaN where a class is missing

    Examples
    --------
    >>> scores = np.array([-1.0, 2.0, 1.0, 3.0]).reshape(4, 1, 1)
    >>> macro_auroc(scores, np.array([[0, 0, 1, 1]]), 2)
    array([0.75])
    """
    member = members(labels, n_classes)
    inside = member.sum(axis=0)
    ranks = average_ranks(scores.reshape(len(scores), -1)).reshape(scores.shape)
    rank_sum = np.sum(ranks, axis=0, where=member, dtype=float)
    pairs = inside * (len(scores) - inside)
    with np.errstate(divide="ignore", invalid="ignore"):
        area = np.where(pairs > 0, (rank_sum - inside * (inside + 1) / 2) / pairs, np.nan)
    return area.mean(axis=1)


def class_scores(scores: np.ndarray) -> np.ndarray:
    """Scores of every class, (..., K), from those of `fold_scores`, (..., C): -s and s if C = 1."""
    return np.concatenate([-scores, scores], axis=-1) if scores.shape[-1] == 1 else scores


def balanced_accuracy(scores: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Mean over classes of the share of rows whose class has the highest score; chance is 1/K.

    Parameters
    ----------
    scores : (n, P, C), see `fold_scores`
    labels : (P, n) int, every class in every row
    n_classes : K

    Returns
    -------
    (P,) in [0, 1]

    Examples
    --------
    >>> scores = np.array([-1.0, 2.0, 1.0, 3.0]).reshape(4, 1, 1)
    >>> balanced_accuracy(scores, np.array([[0, 0, 1, 1]]), 2)
    array([0.75])
    """
    is_right = labels == class_scores(scores).argmax(axis=2).T
    averaging = class_matrices(labels, n_classes).averaging
    return np.einsum("pkn,pn->pk", averaging, is_right).mean(axis=1)


def resampled_auroc(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray, n_classes: int
) -> np.ndarray:
    """AUROC of one label vector in resamples that count row i weights[b, i] times; as `macro_auroc`.

    Parameters
    ----------
    scores : (n, C)
    labels : (n,) int
    weights : (B, n) counts, e.g. from a bootstrap over groups
    n_classes : K

    Returns
    -------
    (B,); NaN where a resample lacks a class

    Examples
    --------
    >>> scores, labels = np.array([[-1.0], [2.0], [1.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> resampled_auroc(scores, labels, np.array([[1, 1, 1, 1], [2, 0, 1, 1]]), 2)
    array([0.75, 1.  ])
    """
    member = members(labels[None], n_classes)[:, 0]
    areas = [_weighted_auroc(scores[:, k], member[:, k], weights) for k in range(member.shape[1])]
    return np.mean(areas, axis=0)


def _weighted_auroc(scores: np.ndarray, is_positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    above = (np.sign(scores[is_positive][:, None] - scores[~is_positive][None, :]) + 1) / 2
    positive, negative = weights[:, is_positive].astype(float), weights[:, ~is_positive].astype(float)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pairs > 0, ((positive @ above) * negative).sum(axis=1) / pairs, np.nan)
