"""Features as detectors of one class: precision and recall at a threshold, and over all thresholds.

A detector says yes where the response reaches its threshold. All features are treated at once: one sort.
"""

from typing import NamedTuple

import numpy as np

from neurosae.arrays.selectivity_measures import ratio


class Counts(NamedTuple):
    """Hits, false alarms and misses of each feature, each (F,) int."""

    hits: np.ndarray
    false_alarms: np.ndarray
    misses: np.ndarray


def best_threshold(values: np.ndarray, is_member: np.ndarray) -> np.ndarray:
    """Threshold of the largest F1: a detector says yes where the value is at least that; (n, F) -> (F,).

    F1 = 2 hits / (yes answers + members). Thresholds lie half-way between neighbouring values; of several
    best ones the highest is taken. The lowest, -inf, says yes to everything, the best an uninformative
    feature can do.

    Parameters
    ----------
    values : (n, F)
    is_member : (n,) bool, at least one True

    Source
    ------
    van Rijsbergen 1979, Information Retrieval, ch. 7.

    Examples
    --------
    >>> best_threshold(np.array([[1.0], [5.0], [3.0], [0.0]]), np.array([False, True, True, False]))
    array([2.])
    """
    ordered, hits = _descending(values, is_member)
    n_yes = np.arange(1, len(values) + 1)[:, None]
    f1 = np.where(_run_ends(ordered), 2 * hits / (n_yes + is_member.sum()), -1.0)
    best = f1.argmax(axis=0)
    following = np.concatenate([ordered[1:], np.full((1, ordered.shape[1]), -np.inf)])
    columns = np.arange(ordered.shape[1])
    return (ordered[best, columns] + following[best, columns]) / 2


def detection_counts(values: np.ndarray, is_member: np.ndarray, threshold: np.ndarray) -> Counts:
    """Hits, false alarms and misses of detectors that say yes where values (n, F) reach a threshold (F,).

    Examples
    --------
    >>> detection_counts(np.array([[1.0], [5.0], [3.0]]), np.array([False, True, True]), np.array([4.0]))
    Counts(hits=array([1]), false_alarms=array([0]), misses=array([1]))
    """
    says_yes = values >= threshold
    hits = says_yes[is_member].sum(axis=0)
    return Counts(hits, says_yes[~is_member].sum(axis=0), is_member.sum() - hits)


def precision_recall(counts: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of counts; precision is NaN where no answer was yes.

    Examples
    --------
    >>> one = np.array([1])
    >>> [float(value[0]) for value in precision_recall(Counts(one, one, 0 * one))]
    [0.5, 1.0, 0.6666666666666666]
    """
    precision = ratio(counts.hits, counts.hits + counts.false_alarms)
    recall = ratio(counts.hits, counts.hits + counts.misses)
    f1 = ratio(2 * counts.hits, 2 * counts.hits + counts.false_alarms + counts.misses)
    return precision, recall, f1


def average_precision(values: np.ndarray, is_member: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve: mean precision at each member's own value; (n, F) -> (F,).

    Ties are one threshold. Without any information it is near the share of members, the base rate.

    Source
    ------
    Davis & Goadrich 2006, ICML, p. 233; computed as in scikit-learn's ``average_precision_score``.

    Examples
    --------
    >>> average_precision(np.array([[4.0], [3.0], [2.0]]), np.array([True, False, True])).round(3)
    array([0.833])
    """
    ordered, hits = _descending(values, is_member)
    precision = hits / np.arange(1, len(values) + 1)[:, None]
    # Precision of a member is that at the end of its run of ties.
    at_end = np.where(_run_ends(ordered), np.arange(len(values))[:, None], len(values))
    end = np.minimum.accumulate(at_end[::-1], axis=0)[::-1]
    gained = np.diff(hits, axis=0, prepend=0)
    return (gained * np.take_along_axis(precision, end, axis=0)).sum(axis=0) / is_member.sum()


def purity(values: np.ndarray, is_member: np.ndarray, top: int) -> np.ndarray:
    """Share of members among the ``top`` rows that drive a feature most, of those above 0; (n, F) -> (F,).

    Ties are broken by position; NaN for a feature without any value above 0.

    Examples
    --------
    >>> purity(np.array([[4.0], [3.0], [0.0]]), np.array([True, False, True]), 3)
    array([0.5])
    """
    ordered, hits = _descending(values, is_member)
    n_shown = np.minimum((ordered > 0).sum(axis=0), top)
    found = hits[np.maximum(n_shown, 1) - 1, np.arange(values.shape[1])]
    return ratio(np.where(n_shown > 0, found, 0), n_shown)


def _descending(values: np.ndarray, is_member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each column from its largest value down, and members up to each row: both (n, F)."""
    order = np.argsort(-values, axis=0, kind="stable")
    return np.take_along_axis(values, order, axis=0), np.cumsum(is_member[order], axis=0)


def _run_ends(ordered: np.ndarray) -> np.ndarray:
    """Whether the next value differs: only there a threshold can lie."""
    return np.concatenate([ordered[1:] != ordered[:-1], np.ones((1, ordered.shape[1]), dtype=bool)])
