"""Pool codes over tokens from their entries alone: silence counts and is never written out.

The same poolings as of arrays (stimulus, token, feature), for sparse codes whose entries come by feature.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from neurosae.recording.by_feature import feature_ranges

ENTRIES_AT_ONCE = 2**21
"""Entries whose pooling is worked out together, about 60 bytes each; a feature with more is one step."""


@dataclass(frozen=True)
class Runs:
    """Codes of several responses, those of one response side by side, in the order of its tokens.

    values : (entry,) float32
    starts : (run,) first entry of each response
    n_tokens : (run,) tokens in the window of each, silent ones included
    """

    values: np.ndarray
    starts: np.ndarray
    n_tokens: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """(run,) entries of each response."""
        return np.diff(self.starts, append=len(self.values))

    def total(self, values: np.ndarray) -> np.ndarray:
        """(run,) float64, sums of ``values`` (entry,)."""
        return np.add.reduceat(values, self.starts, dtype=np.float64)


def _sum(runs: Runs) -> np.ndarray:
    return runs.total(runs.values)


def _mean(runs: Runs) -> np.ndarray:
    return runs.total(runs.values) / runs.n_tokens


def _max(runs: Runs) -> np.ndarray:
    largest = np.maximum.reduceat(runs.values, runs.starts)
    return np.where(runs.counts < runs.n_tokens, np.maximum(largest, 0), largest)


def _rate(runs: Runs) -> np.ndarray:
    return runs.total(np.where(np.isnan(runs.values), np.nan, runs.values > 0)) / runs.n_tokens


def _mean_active(runs: Runs) -> np.ndarray:
    is_active = ~(runs.values <= 0)  # NaN counts as active, so that it shows in the result
    total, count = runs.total(np.where(is_active, runs.values, 0)), runs.total(is_active)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _top(runs: Runs, m: int) -> np.ndarray:
    of_run = np.repeat(np.arange(len(runs.starts)), runs.counts)
    falling = np.where(np.isnan(runs.values), -np.inf, -runs.values)
    ranked = runs.values[np.lexsort((falling, of_run))]
    silent = runs.n_tokens - runs.counts  # these rank behind what is above 0 and before what is below
    rank = np.arange(len(ranked)) - runs.starts[of_run] + np.where(ranked < 0, silent[of_run], 0)
    return runs.total(np.where(rank < m, ranked, 0)) / np.minimum(runs.n_tokens, m)


ENTRY_POOLINGS: Mapping[str, Callable[..., np.ndarray]] = {
    "mean": _mean,
    "last": _sum,
    "target": _sum,
    "max": _max,
    "sum": _sum,
    "rate": _rate,
    "mean_active": _mean_active,
    "topm": _top,
}
"""Poolings by name: runs to (run,)."""

SINGLE = ("last", "target")
"""Poolings of the last token of a window alone."""

SILENT: Mapping[str, float] = {"mean_active": np.nan}
"""Response of a feature that is silent in the whole window, where it is not 0."""


def pooled_entries(
    codes: sp.csc_array,
    response: np.ndarray,
    n_tokens: np.ndarray,
    pooling: Callable[[Runs], np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Responses that are not silent, some features at a time.

    Parameters
    ----------
    codes : (row, feature), the rows of a feature rising
    response : (row,) int, the response that a row belongs to, -1 for none; between two rows of one response
        lies no row of another
    n_tokens : (n_responses,) tokens in the window of each
    pooling : one of `ENTRY_POOLINGS`

    Yields
    ------
    response, feature, value : (n,) each

    Examples
    --------
    >>> codes = sp.csc_array(np.array([[1, 0], [3, 0], [0, 5]], dtype=np.float32))
    >>> (found,) = pooled_entries(codes, np.array([0, 0, 1]), np.array([2, 1]), ENTRY_POOLINGS["mean"])
    >>> [part.tolist() for part in found]
    [[0, 1], [0, 1], [2.0, 5.0]]
    """
    for first, last in feature_ranges(np.diff(codes.indptr), ENTRIES_AT_ONCE):
        entries = slice(int(codes.indptr[first]), int(codes.indptr[last]))
        of = response[codes.indices[entries]]
        feature = np.repeat(np.arange(first, last), np.diff(codes.indptr[first : last + 1]))
        values, is_counted = codes.data[entries], of >= 0
        if not is_counted.all():
            of, feature, values = of[is_counted], feature[is_counted], values[is_counted]
        if len(of):
            is_first = (np.diff(of, prepend=-1) != 0) | (np.diff(feature, prepend=-1) != 0)
            starts = np.flatnonzero(is_first)
            yield of[starts], feature[starts], pooling(Runs(values, starts, n_tokens[of[starts]]))
