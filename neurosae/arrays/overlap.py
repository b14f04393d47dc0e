"""How much do two classes use the same features? Overlap of their strongest features, similarity of profiles.

A profile is the mean response of every feature to a class. Features that answer to everything make all
classes look alike, so that a value says little without what permuted labels give.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom, rankdata

from neurosae.arrays.class_averages import class_matrices, class_means
from neurosae.arrays.held_out_selectivity import half_means

_ELEMENTS = 4_000_000
"""Profile values held at a time, 32 MB in float64."""

_ROUNDING = 1e-12


def strongest(profiles: np.ndarray, k: int) -> np.ndarray:
    """The ``k`` largest values above 0 of each profile: (..., F) -> (..., F) bool.

    Ties go to the first features; fewer are members where fewer lie above 0.

    Examples
    --------
    >>> strongest(np.array([[3.0, 1.0, 1.0, 0.0], [0.0, 0.0, 2.0, 0.0]]), 2).astype(int)
    array([[1, 1, 0, 0],
           [0, 0, 1, 0]])
    """
    cut = np.partition(profiles, -k, axis=-1)[..., -k][..., None]
    above, level = profiles > cut, profiles == cut
    n_left = k - above.sum(axis=-1, keepdims=True)
    return (above | (level & (np.cumsum(level, axis=-1) <= n_left))) & (profiles > 0)


def expected_jaccard(n_features: int, k: int) -> float:
    """Jaccard index that two random sets of ``k`` of the features have on average.

    E[i / (2 k - i)], i hypergeometric. Too weak a reference for features, a few of which respond to all.

    Examples
    --------
    >>> round(expected_jaccard(16384, 50), 5)
    0.00154
    """
    shared = np.arange(k + 1)
    return float((hypergeom(n_features, k, k).pmf(shared) * shared / (2 * k - shared)).sum())


def quotient(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Numerator / denominator; NaN where the denominator is 0 up to rounding.

    Examples
    --------
    >>> quotient(np.array([1.0, 1.0]), np.array([-2.0, 1e-16]))
    array([-0.5,  nan])
    """
    defined = np.abs(denominator) > _ROUNDING
    return np.where(defined, numerator / np.where(defined, denominator, 1.0), np.nan)


def _shared(profiles: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that pairs of sets share (P, K, K), and the sizes of rows and columns."""
    member = strongest(profiles, k).astype(np.float32)
    size = member.sum(axis=-1)
    return (member @ member.swapaxes(-1, -2)).astype(float), size[..., :, None], size[..., None, :]


def _jaccard(profiles: np.ndarray, k: int) -> np.ndarray:
    both, row, column = _shared(profiles, k)
    return quotient(both, row + column - both)


def _dice(profiles: np.ndarray, k: int) -> np.ndarray:
    both, row, column = _shared(profiles, k)
    return quotient(2 * both, row + column)


def _overlap(profiles: np.ndarray, k: int) -> np.ndarray:
    both, row, column = _shared(profiles, k)
    return quotient(both, np.minimum(row, column))


def _containment(profiles: np.ndarray, k: int) -> np.ndarray:
    both, row, _ = _shared(profiles, k)
    return quotient(both, row)


def _coactive(profiles: np.ndarray, k: int) -> np.ndarray:
    return _shared(profiles, k)[0] / profiles.shape[-1]


def _dot(profiles: np.ndarray, k: int = 0) -> np.ndarray:
    return profiles @ profiles.swapaxes(-1, -2)


def _cosine(profiles: np.ndarray, k: int = 0) -> np.ndarray:
    length = np.linalg.norm(profiles, axis=-1, keepdims=True)
    return np.clip(_dot(quotient(profiles, length)), -1, 1)


def _pearson(profiles: np.ndarray, k: int = 0) -> np.ndarray:
    return _cosine(profiles - profiles.mean(axis=-1, keepdims=True))


def _spearman(profiles: np.ndarray, k: int = 0) -> np.ndarray:
    """On the features that respond to one of the two classes: shared zeros are no agreement."""
    flat = profiles.reshape(-1, *profiles.shape[-2:])
    found = np.ones((len(flat), flat.shape[1], flat.shape[1]))
    for i, j in zip(*np.triu_indices(flat.shape[1], 1), strict=True):
        for row, one in enumerate(flat):
            pair = one[[i, j]]
            ranks = rankdata(pair[:, pair.any(axis=0)], axis=1)
            found[row, i, j] = found[row, j, i] = _pearson(ranks)[0, 1] if ranks.shape[1] > 1 else np.nan
    return found.reshape(*profiles.shape[:-1], profiles.shape[-2])


@dataclass(frozen=True)
class OverlapMeasure:
    """Profiles (P, K, F) and size of set -> (P, K, K); ``ceiling`` the value of equal profiles, if fixed."""

    measure: Callable[[np.ndarray, int], np.ndarray]
    long_name: str
    ceiling: float | None = 1.0
    of_sets: bool = False
    units: str = "1"


OVERLAPS = {
    "jaccard": OverlapMeasure(_jaccard, "Jaccard index of the strongest features", of_sets=True),
    "overlap": OverlapMeasure(_overlap, "overlap coefficient of the strongest features", of_sets=True),
    "dice": OverlapMeasure(_dice, "Dice index of the strongest features", of_sets=True),
    "containment": OverlapMeasure(_containment, "share of a set that lies in the other", of_sets=True),
    "coactive": OverlapMeasure(_coactive, "features in both sets over all", None, of_sets=True),
    "cosine": OverlapMeasure(_cosine, "cosine of mean profiles"),
    "centred_cosine": OverlapMeasure(_cosine, "cosine of profiles less their mean over classes"),
    "pearson": OverlapMeasure(_pearson, "Pearson r of mean profiles"),
    "spearman": OverlapMeasure(_spearman, "Spearman rho of mean profiles"),
    "dot": OverlapMeasure(_dot, "dot product of mean profiles", None, units="a.u.²"),
}
"""Measures of overlap by name; `overlap_of` removes the mean over classes before ``centred_cosine``."""


def overlap_of(profiles: np.ndarray, measure: str, k: int) -> np.ndarray:
    """Overlap of each class with each: profiles (..., K, F) -> (..., K, K); NaN for a silent class.

    Sets A and B of the ``k`` strongest features: jaccard = |A n B| / |A u B|; overlap = |A n B| / min(|A|,
    |B|); dice = 2 |A n B| / (|A| + |B|); containment = |A n B| / |A|, A the row; coactive = |A n B| / F.
    Profiles: cosine, centred_cosine (the mean over classes removed first), pearson, spearman (on features
    that respond to one of the two), dot.

    Examples
    --------
    >>> profiles = np.array([[3.0, 2.0, 1.0, 0.0], [0.0, 3.0, 2.0, 0.0]])
    >>> overlap_of(profiles, "jaccard", 2)
    array([[1.        , 0.33333333],
           [0.33333333, 1.        ]])
    """
    silent = np.asarray(~profiles.any(axis=-1))
    if measure == "centred_cosine":
        profiles = profiles - profiles.mean(axis=-2, keepdims=True)
    found = OVERLAPS[measure].measure(profiles, k)
    return np.where(silent[..., :, None] | silent[..., None, :], np.nan, found)


def half_overlap(
    values: np.ndarray, labels: np.ndarray, halves: np.ndarray, measure: str, k: int
) -> np.ndarray:
    """Overlap of a class in one half of the units with a class in the other half, mean over splits: (K, K).

    The diagonal is a class with itself on other units, the value that other classes can be compared with. A
    silent half shares nothing: it counts as 0.

    Parameters
    ----------
    values : (n, F)
    labels : (n,) int
    halves : (H, n) bool, see `neurosae.arrays.held_out_selectivity.split_halves`
    measure, k : as in `overlap_of`

    Examples
    --------
    >>> values = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> half_overlap(values, np.array([0, 0, 1, 1]), np.array([[True, False, True, False]]), "cosine", 1)
    array([[1., 0.],
           [0., 1.]])
    """
    means = half_means(values, labels, halves)
    n_classes = means.shape[1]
    if measure == "centred_cosine":
        means = means - means.mean(axis=1, keepdims=True)
    both = np.concatenate([means[: len(halves)], means[len(halves) :]], axis=1)
    found = np.nan_to_num(OVERLAPS[measure].measure(both, k))
    across = found[:, :n_classes, n_classes:], found[:, n_classes:, :n_classes]
    return np.stack(across).mean(axis=(0, 1))


def within_minus_between(matrix: np.ndarray) -> np.ndarray:
    """Mean of the diagonal minus mean of the rest: (..., K, K) -> (...).

    Examples
    --------
    >>> within_minus_between(np.array([[0.9, 0.2], [0.4, 0.7]]))
    array(0.5)
    """
    n = matrix.shape[-1]
    diagonal = np.trace(matrix, axis1=-2, axis2=-1)
    return np.asarray(diagonal / n - (matrix.sum(axis=(-2, -1)) - diagonal) / (n * (n - 1)))


def relabeled_overlaps(
    values: np.ndarray, labels: np.ndarray, measure: str, k: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Overlaps under many labelings, some at a time: rows of ``labels`` (P, n), and their (rows, K, K).

    Examples
    --------
    >>> values, labels = np.eye(4), np.array([[0, 0, 1, 1], [0, 1, 0, 1]])
    >>> [found.shape for _, found in relabeled_overlaps(values, labels, "jaccard", 2)]
    [(2, 2, 2)]
    """
    n_classes = int(labels.max()) + 1
    at_once = max(1, _ELEMENTS // (n_classes * values.shape[1]))
    for start in range(0, len(labels), at_once):
        rows = slice(start, start + at_once)
        yield rows, overlap_of(class_means(values, class_matrices(labels[rows], n_classes)), measure, k)
