"""Family-wise p-values that need more of the null than its maximum: step-down max-T and min-P.

Both read the null a block of features at a time, so that it is never held for a whole map.
"""

import numpy as np

from neurosae.arrays.contrast_null import Null, row_blocks
from neurosae.arrays.permutation import exceedance_p

_ELEMENTS = 2**24
"""Largest number of maxima (labelling x bin) held at a time."""

_SLACK = 1e-5
"""Relative difference of two statistics that counts as rounding."""


class StepDown:
    """Running maxima of a null over features that are ordered by their observed statistic.

    The k-th largest observed statistic is compared with the maximum over itself and all smaller ones only, so
    that a feature no longer competes with those found before it. Features are put in bins by their place in
    that order; the first half of the bins hold one feature each, where p is exact, the later ones may hold
    several, where p is at most too large.

    Parameters
    ----------
    reached : (m,) observed statistics on the scale on which large is extreme; NaN takes no part
    n_rows : number of labellings
    """

    def __init__(self, reached: np.ndarray, n_rows: int) -> None:
        self._reached = np.asarray(reached, dtype=float)
        self._order = np.argsort(-self._reached, kind="stable")[: int(np.isfinite(self._reached).sum())]
        place = np.arange(len(self._order))
        n_bins = max(2, min(len(place), _ELEMENTS // n_rows))
        single = n_bins // 2 if n_bins < len(place) else len(place)
        later = single + (place - single) * (n_bins - single) // max(1, len(place) - single)
        self._bins = np.full(len(self._reached), -1)
        self._bins[self._order] = np.where(place < single, place, later)
        self._maxima = np.zeros((n_rows, int(self._bins.max(initial=-1)) + 1), dtype=np.float32)

    def add(self, null: Null, features: np.ndarray) -> None:
        """Take in the null of ``features`` (positions in ``reached``), those with a statistic only."""
        if not len(features):
            return
        order = np.argsort(self._bins[features], kind="stable")
        bins, starts = np.unique(self._bins[features][order], return_index=True)
        for rows in row_blocks(len(self._maxima)):
            largest = np.maximum.reduceat(np.abs(null(rows))[:, order], starts, axis=1)
            self._maxima[rows, bins] = np.maximum(self._maxima[rows, bins], largest)

    def p_values(self, *, exact: bool) -> np.ndarray:
        """Family-wise p (m,), never falling along the order; NaN where ``reached`` is."""
        maxima = np.maximum.accumulate(self._maxima[:, ::-1], axis=1)[:, ::-1]
        maxima = np.sort(maxima if exact else maxima[1:], axis=0)
        threshold = self._reached[self._order]
        p = np.empty(len(self._order))
        first = np.searchsorted(self._bins[self._order], np.arange(maxima.shape[1] + 1))
        for bin_, (start, stop) in enumerate(zip(first[:-1], first[1:], strict=True)):
            n_exceeding = len(maxima) - np.searchsorted(maxima[:, bin_], threshold[start:stop], side="left")
            p[start:stop] = exceedance_p(n_exceeding, len(maxima), exact=exact)
        everywhere = np.full(len(self._reached), np.nan)
        everywhere[self._order] = np.maximum.accumulate(p)
        return everywhere


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
