"""How different are two sequences of unequal length? Distances between courses that need no fixed window.

Sequences are (T, P): one row a token. ``cloud`` ignores the order of tokens and does not depend on their
number; the others remain sensitive to length, so that a difference in length belongs into the comparison as
a nuisance. Nothing is padded.
"""

from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from neurosae.arrays.distance import ROUNDING
from neurosae.arrays.feature_index import METRICS
from neurosae.errors import DesignError

BAND = 0.2
"""Share of the longer sequence by which a warping path may leave the diagonal."""


def sequence_distance(a: np.ndarray, b: np.ndarray, method: str) -> float:
    """How different two sequences of tokens are.

    Parameters
    ----------
    a, b : (T, P) and (U, P), finite; of one value a token (P = 1) costs are |a - b|, else 1 - cosine
    method : one of ``ALIGNMENTS``:

        =========  ======================================================================================
        overlap    mean cost over the first min(T, U) tokens
        dtw        cost of the cheapest monotone path of steps (1,0), (0,1), (1,1), over its length; the path
                   keeps within ceil(.2 max(T, U)) of the diagonal, or |T - U| if that is more
        softdtw    soft minimum of the costs of all monotone paths, -log sum exp(-cost), of a with b, less the
                   mean of a with a and b with b, over (T + U) / 2; unlike dtw it changes smoothly
        softalign  1 - (mean_t max_u cos(a_t, b_u) + mean_u max_t cos) / 2, whatever the order
        cloud      energy distance 2 E|a - b| - E|a - a'| - E|b - b'|, without bias from T and U, whatever
                   the order; may be negative
        =========  ======================================================================================

    Returns
    -------
    float; NaN where a token is all zero and costs are cosines, or ``cloud`` has a single token

    Raises
    ------
    DesignError
        If the method is unknown.

    Source
    ------
    Sakoe & Chiba 1978, IEEE Trans Acoust 26:43 (dtw); Cuturi & Blondel 2017, ICML, with smoothing 1, and
    Blondel, Mensch & Vert 2021, AISTATS (softdtw, as a divergence); Zhang et al. 2020, ICLR, BERTScore
    (softalign); Szekely & Rizzo 2013, J Stat Plan Inference 143:1249 (energy distance).

    Examples
    --------
    >>> a = np.array([[0.0], [1.0], [4.0]])
    >>> sequence_distance(a, np.repeat(a, 2, axis=0), "dtw")
    0.0
    """
    if method not in ALIGNMENTS:
        raise DesignError(f"no alignment {method!r}; choose one of {list(ALIGNMENTS)}.")
    return float(ALIGNMENTS[method](np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)))


def overlap_distances(courses: np.ndarray, n_values: np.ndarray, metric: str) -> np.ndarray:
    """RDMs of features over the tokens that both texts of a pair have, from the first on.

    Parameters
    ----------
    courses : (n, W, F); of row i the first ``n_values[i]`` values count
    n_values : (n,) int
    metric : ``"correlation"`` or ``"sqeuclidean"``, see `neurosae.arrays.distance.dissimilarity`

    Returns
    -------
    array (F, n, n), zero diagonal; a row that is constant over the tokens shared with any other is NaN

    Examples
    --------
    >>> courses = np.array([[0.0, 1.0, 9.0], [0.0, 2.0, 0.0]])[:, :, None]
    >>> overlap_distances(courses, np.array([2, 3]), "correlation").round(6)
    array([[[0., 0.],
            [0., 0.]]])
    """
    n, _, n_features = courses.shape
    matrices = np.zeros((n_features, n, n))
    dead = np.zeros((n_features, n), dtype=bool)
    for shared in np.unique(n_values):
        longer, own = np.flatnonzero(n_values >= shared), np.flatnonzero(n_values == shared)
        patterns, live = METRICS[metric](courses[longer, :shared].astype(np.float64))
        across = _squared_distances(patterns, np.isin(longer, own))
        matrices[:, own[:, None], longer] = across
        matrices[:, longer[:, None], own] = across.swapaxes(1, 2)
        dead[:, longer] |= ~np.broadcast_to(live, (len(longer), n_features)).T
    matrices[:, np.arange(n), np.arange(n)] = 0.0
    return np.where(dead[:, :, None] | dead[:, None, :], np.nan, matrices)


def _squared_distances(patterns: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Squared distances (F, m, n) of some rows of patterns (n, W, F) from all rows."""
    by_feature = np.moveaxis(patterns, 2, 0)
    squares = (by_feature**2).sum(axis=2)
    both = squares[:, own, None] + squares[:, None, :]
    distance = both - 2 * by_feature[:, own] @ by_feature.swapaxes(1, 2)
    return np.where(distance <= ROUNDING * both, 0.0, distance)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    return np.divide(a @ b.T, lengths, out=np.full(lengths.shape, np.nan), where=lengths > 0)


def _costs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.shape[1] == 1:
        return np.abs(a - b.T)
    costs = 1 - _cosines(a, b)
    return np.where(costs <= ROUNDING, 0.0, costs)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    n = min(len(a), len(b))
    return float(np.diagonal(_costs(a[:n], b[:n])).mean())


def _dtw(a: np.ndarray, b: np.ndarray) -> float:
    costs = _costs(a, b)
    band = max(int(np.ceil(BAND * max(costs.shape))), abs(len(a) - len(b)))
    total, steps = np.full((2, len(a) + 1, len(b) + 1), np.inf)
    total[0, 0] = steps[0, 0] = 0.0
    # Cells of one anti-diagonal depend on earlier ones only.
    for diagonal in range(costs.shape[0] + costs.shape[1] - 1):
        i = np.arange(max(0, diagonal - len(b) + 1), min(diagonal, len(a) - 1) + 1)
        i = i[np.abs(2 * i - diagonal) <= band]
        j = diagonal - i
        rows, columns = np.stack([i, i, i + 1]), np.stack([j, j + 1, j])
        best = total[rows, columns].argmin(axis=0)
        before = rows[best, np.arange(len(i))], columns[best, np.arange(len(i))]
        total[i + 1, j + 1] = total[before] + costs[i, j]
        steps[i + 1, j + 1] = steps[before] + 1
    return float(total[-1, -1] / steps[-1, -1])


def _softdtw(a: np.ndarray, b: np.ndarray) -> float:
    own = _soft_cost(_costs(a, a)) + _soft_cost(_costs(b, b))
    return (2 * _soft_cost(_costs(a, b)) - own) / (len(a) + len(b))


def _soft_cost(costs: np.ndarray) -> float:
    """Soft minimum over all monotone paths of their summed costs (T, U)."""
    total = np.full((costs.shape[0] + 1, costs.shape[1] + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(costs.shape[0] + costs.shape[1] - 1):
        i = np.arange(max(0, diagonal - costs.shape[1] + 1), min(diagonal, costs.shape[0] - 1) + 1)
        j = diagonal - i
        before = np.stack([total[i, j], total[i, j + 1], total[i + 1, j]])
        total[i + 1, j + 1] = costs[i, j] - logsumexp(-before, axis=0)
    return float(total[-1, -1])


def _softalign(a: np.ndarray, b: np.ndarray) -> float:
    cosines = _cosines(a, b)
    return float(1 - (cosines.max(axis=1).mean() + cosines.max(axis=0).mean()) / 2)


def _cloud(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * cdist(a, b).mean() - _spread(a) - _spread(b))


def _spread(a: np.ndarray) -> float:
    n_pairs = len(a) * (len(a) - 1)
    return float(cdist(a, a).sum() / n_pairs) if n_pairs else np.nan


ALIGNMENTS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "overlap": _overlap,
    "dtw": _dtw,
    "softdtw": _softdtw,
    "softalign": _softalign,
    "cloud": _cloud,
}
"""Distances between sequences by name: (T, P), (U, P) -> float."""

LENGTH_SENSITIVE = ("overlap", "dtw", "softdtw", "softalign")
"""Alignments whose distance depends on the lengths of the sequences, all else equal."""
