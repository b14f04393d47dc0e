"""Family-wise p-values that need more of the null than its maximum: step-down max-T and min-P.

Both read the null a block of features at a time, so that it is never held for a whole map.
"""

from dataclasses import dataclass

import numpy as np

from neurosae.arrays.contrast_null import Null, row_blocks
from neurosae.arrays.permutation import exceedance_p

_ELEMENTS = 2**24
"""Largest number of maxima (labelling x bin) held at a time."""

_FEATURES = 1024
"""Features whose exceedances are counted at a time."""

_SLACK = 1e-5
"""Relative difference of two statistics that counts as rounding."""


@dataclass(frozen=True)
class Bins:
    """Features put in bins by the place of their observed statistic, the largest first.

    of : (m,) bin of each feature, -1 for those that take no part
    order : features that take part, the largest statistic first
    n : number of bins
    """

    of: np.ndarray
    order: np.ndarray
    n: int


def step_down_bins(reached: np.ndarray, n_rows: int) -> Bins:
    """Bins in which a null is kept for step-down p-values: one feature each as long as memory allows.

    The first half of the bins hold one feature each; the later ones hold several if there are more features
    than bins.

    Parameters
    ----------
    reached : (m,) observed statistics on the scale on which large is extreme; NaN takes no part
    n_rows : number of labellings

    Examples
    --------
    >>> step_down_bins(np.array([1.0, np.nan, 3.0]), 100).of
    array([ 1, -1,  0])
    """
    order = np.argsort(-reached, kind="stable")[: int(np.isfinite(reached).sum())]
    place = np.arange(len(order))
    n_bins = min(len(order), max(2, _ELEMENTS // n_rows))
    single = n_bins if n_bins == len(order) else n_bins // 2
    shared = single + (place - single) * (n_bins - single) // max(1, len(order) - single)
    of = np.full(len(reached), -1)
    of[order] = np.where(place < single, place, shared)
    return Bins(of, order, n_bins)


def bin_maxima(null: Null, n_rows: int, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest statistic in each bin of a block of features: the bins (B,) and their maxima (B, rows).

    Parameters
    ----------
    null : statistics of labellings (rows, F)
    n_rows : number of labellings
    bins : (F,) bin of each feature of the block
    """
    order = np.argsort(bins, kind="stable")
    present, starts = np.unique(bins[order], return_index=True)
    parts = [np.maximum.reduceat(np.abs(null(rows)).T[order], starts) for rows in row_blocks(n_rows)]
    return present, np.concatenate(parts, axis=1)


def step_down_p(reached: np.ndarray, bins: Bins, maxima: np.ndarray, *, exact: bool) -> np.ndarray:
    """Family-wise p in which a feature no longer competes with those found before it.

    The k-th largest statistic is compared with the maxima over itself and all smaller ones; p never falls
    along that order. In bins of several features p is at most too large.

    Parameters
    ----------
    reached : (m,) observed statistics; NaN takes no part
    bins : from `step_down_bins`
    maxima : (bins.n, rows) largest statistic in each bin of each labelling, the observed one first
    exact : True if the rows are all relabelings

    Returns
    -------
    (m,) p, at most that of `neurosae.arrays.permutation.max_statistic_p`

    Source
    ------
    Westfall & Young 1993, Resampling-Based Multiple Testing, p. 66.

    Examples
    --------
    >>> reached = np.array([3.0, 2.0])
    >>> null = np.array([[3.0, 2.5, 0.0, 3.0], [2.0, 1.0, 1.0, 0.0]])
    >>> step_down_p(reached, step_down_bins(reached, 4), null, exact=True)
    array([0.5, 0.5])
    """
    left = np.maximum.accumulate(maxima[::-1], axis=0)[::-1]
    left = left if exact else left[:, 1:]
    n_exceeding = np.empty(len(bins.order))
    for start in range(0, len(bins.order), _FEATURES):
        chunk = slice(start, start + _FEATURES)
        features = bins.order[chunk]
        n_exceeding[chunk] = (left[bins.of[features]] >= reached[features, None]).sum(axis=1)
    p = np.full(len(reached), np.nan)
    p[bins.order] = np.maximum.accumulate(exceedance_p(n_exceeding, left.shape[1], exact=exact))
    return p


def smallest_p(null: Null, n_rows: int) -> np.ndarray:
    """Smallest p over a block of features that each labelling would have had, had it been observed: (rows,).

    p of a labelling in one feature is the share of all labellings whose statistic is at least as large there.
    The maximum over p of 1 where the block is empty.

    Source
    ------
    Westfall & Young 1993, Resampling-Based Multiple Testing, p. 66; Ge, Dudoit & Speed 2003, Test 12:1.

    Examples
    --------
    >>> smallest_p(lambda rows: np.array([[3.0, 0.1], [1.0, 0.2], [2.0, 0.3]])[rows], 3).round(2)
    array([0.33, 0.67, 0.33])
    """
    size = np.abs(np.concatenate([null(rows) for rows in row_blocks(n_rows)])).T
    order = np.argsort(-size, axis=1)
    ordered = np.take_along_axis(size, order, axis=1)
    falls = ordered[:, :-1] - ordered[:, 1:] > _SLACK * (1 + ordered[:, 1:])
    # A tie takes the last place of its run: all of the run are at least as large.
    place = np.broadcast_to(np.arange(1, n_rows + 1), size.shape).copy()
    place[:, :-1][~falls] = n_rows
    place = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1]
    least = np.full(n_rows, n_rows)
    np.minimum.at(least, order, place)
    return least / n_rows


def min_p_values(p: np.ndarray, smallest: np.ndarray, *, exact: bool) -> np.ndarray:
    """Family-wise p of p-values: how often a labelling's smallest p is at most as large.

    Parameters
    ----------
    p : (m,) p-values from the same labellings; NaN takes no part
    smallest : (rows,) smallest p of each labelling over the family, the observed one as row 0
    exact : True if the rows are all relabelings

    Examples
    --------
    >>> min_p_values(np.array([0.01, 0.5]), np.array([0.01, 0.2, 0.04, 0.6]), exact=True)
    array([0.25, 0.75])
    """
    null = np.sort(smallest if exact else smallest[1:])
    n_exceeding = np.searchsorted(null, np.asarray(p) * (1 + 1e-9), side="right").astype(float)
    n_exceeding[np.isnan(p)] = np.nan
    return exceedance_p(n_exceeding, len(null), exact=exact)
