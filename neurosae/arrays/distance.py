"""How different are two response patterns? Dissimilarity matrices of patterns, one row a stimulus.

A pattern for which a measure is undefined (all zero, or constant for the correlation) gets NaN in its row
and column, never 0 or 1: an SAE that stays silent for a stimulus says nothing about its similarity.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.spatial.distance import pdist, squareform

from neurosae.errors import DesignError

ROUNDING = 1e-13
"""Squared distances below this share of the squared lengths are below the resolution of float32 data: 0."""

_SILENT = 1e-12
"""Relative length under which what is left of a pattern is rounding."""


_PRIOR = 0.1
"""Weight of the prior rate 1 in Poisson rates, so that a rate of 0 has a logarithm."""


def dissimilarity(patterns: np.ndarray, metric: str) -> np.ndarray:
    """How different each pattern is from each other one.

    Parameters
    ----------
    patterns : (n, F) finite values, one row a stimulus
    metric : one of ``MEASURES``, with P = F channels:

        ========================  =====================================================
        correlation               1 - Pearson r over the channels; constant pattern NaN
        cosine                    1 - x.y / (|x| |y|), not centred; all-zero pattern NaN
        euclidean                 sqrt(|x - y|^2 / P)
        sqeuclidean               |x - y|^2 / P
        jaccard                   1 - |A n B| / |A u B| of the sets of active (> 0) features
        braycurtis                sum |x - y| / sum (x + y)
        poisson                   sum (a - b) (log a - log b) / P of the rates a = (x + .1) / 1.1,
                                  shrunk towards 1 with weight .1: symmetrised KL divergence
        ========================  =====================================================

    Returns
    -------
    array (n, n)
        Float64, symmetric, zero diagonal; rows and columns of silent patterns are NaN, all of them if there
        is no feature.

    Raises
    ------
    DesignError
        If ``metric`` is unknown, or a value is negative where activations must not be (jaccard, braycurtis,
        poisson).

    Source
    ------
    Kriegeskorte, Mur & Bandettini 2008, Front Syst Neurosci 2:4; Nili et al. 2014, PLoS Comput Biol
    10:e1003553; Schuett et al. 2023, eLife 12:e82566 (poisson).

    Examples
    --------
    >>> dissimilarity(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), "cosine")
    array([[ 0.,  1., nan],
           [ 1.,  0., nan],
           [nan, nan, nan]])
    """
    if metric not in MEASURES:
        raise DesignError(f"no RDM measure {metric!r}; choose one of {list(MEASURES)}.")
    patterns = np.asarray(patterns, dtype=np.float64)
    if patterns.shape[1] == 0:
        return np.full((len(patterns), len(patterns)), np.nan)
    matrix = MEASURES[metric](patterns)
    np.fill_diagonal(matrix, np.where(np.isnan(matrix.diagonal()), np.nan, 0.0))
    return matrix


def z_score(patterns: np.ndarray) -> np.ndarray:
    """Patterns in SD of each feature over the stimuli, without the features that are constant.

    z = (x - mean) / sd (n - 1). Keeps the few features of largest variance from deciding every distance
    (Timkey & van Schijndel 2021).

    Parameters
    ----------
    patterns : (n, F)

    Returns
    -------
    array (n, G), G <= F, the features that vary

    Examples
    --------
    >>> z_score(np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]]))
    array([[-1.],
           [ 0.],
           [ 1.]])
    """
    patterns = np.asarray(patterns, dtype=np.float64)
    mean, sd = patterns.mean(axis=0), patterns.std(axis=0, ddof=1)
    varies = sd > _SILENT * np.abs(mean)
    return (patterns[:, varies] - mean[varies]) / sd[varies]


def unit_profiles(patterns: np.ndarray) -> np.ndarray:
    """Each pattern minus its own mean, scaled to length 1: their products are Pearson correlations.

    Constant patterns become NaN.

    Examples
    --------
    >>> unit_profiles(np.array([[0.0, 2.0]])).round(3)
    array([[-0.707,  0.707]])
    """
    centred = patterns - patterns.mean(axis=1, keepdims=True)
    return _unit_length(centred, np.linalg.norm(patterns, axis=1))


def triangle(matrices: np.ndarray) -> np.ndarray:
    """The entries above the diagonal, row by row: (..., n, n) -> (..., n (n - 1) / 2).

    Examples
    --------
    >>> triangle(np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0]]))
    array([1, 2, 3])
    """
    rows, columns = np.triu_indices(matrices.shape[-1], 1)
    return matrices[..., rows, columns]


def live_rows(matrices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Matrices (L, n, n) that have the same rows: the rows (n,) bool that are not NaN, and which matrices.

    Examples
    --------
    >>> for rows, which in live_rows(np.array([[[0.0]], [[np.nan]], [[0.0]]])):
    ...     rows, which
    (array([False]), array([1]))
    (array([ True]), array([0, 2]))
    """
    live = ~np.isnan(np.diagonal(matrices, axis1=1, axis2=2))
    for rows in np.unique(live, axis=0):
        yield rows, np.flatnonzero((live == rows).all(axis=1))


def _unit_length(patterns: np.ndarray, scale: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(patterns, axis=1)
    silent = length <= _SILENT * scale
    return patterns / np.where(silent, np.nan, length)[:, None]


def _one_minus_product(units: np.ndarray) -> np.ndarray:
    distance = 1.0 - units @ units.T
    return np.where(distance <= ROUNDING, 0.0, distance)


def _correlation(patterns: np.ndarray) -> np.ndarray:
    return _one_minus_product(unit_profiles(patterns))


def _cosine(patterns: np.ndarray) -> np.ndarray:
    return _one_minus_product(_unit_length(patterns, np.zeros(len(patterns))))


def sqeuclidean_sums(patterns: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances |x - y|^2 of rows, summed over the channels: (n, P) -> (n, n).

    Examples
    --------
    >>> sqeuclidean_sums(np.array([[0.0, 0.0], [3.0, 4.0]]))
    array([[ 0., 25.],
           [25.,  0.]])
    """
    # Distances ignore a common shift; without it less is lost when the products cancel.
    centred = patterns - patterns.mean(axis=0)
    squares = np.einsum("ij,ij->i", centred, centred)
    both = squares[:, None] + squares[None, :]
    distance = both - 2.0 * (centred @ centred.T)
    return np.where(distance <= ROUNDING * both, 0.0, distance)


def poisson_kernel_distance(rates: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of pairs of rows, sum (a_i - a_j) (log b_i - log b_j) / P, a and b the shrunk rates: (n, P) -> (n, n).

    Raises
    ------
    DesignError
        If a rate is negative.

    Examples
    --------
    >>> poisson_kernel_distance(np.array([[0.0], [1.1]]), np.array([[0.0], [1.0]])).round(3)
    array([[0.   , 2.398],
           [2.398, 0.   ]])
    """
    for values in (rates, other):
        _check_not_negative(values, "poisson")
    shrunk, logarithm = (rates + _PRIOR) / (1 + _PRIOR), np.log((other + _PRIOR) / (1 + _PRIOR))
    kernel = shrunk @ logarithm.T
    own = np.diag(kernel)
    return (own[:, None] + own[None, :] - (kernel + kernel.T)) / rates.shape[1]


def _sqeuclidean(patterns: np.ndarray) -> np.ndarray:
    return sqeuclidean_sums(patterns) / patterns.shape[1]


def _poisson(patterns: np.ndarray) -> np.ndarray:
    distance = poisson_kernel_distance(patterns, patterns)
    return np.where(distance <= ROUNDING, 0.0, distance)


def _euclidean(patterns: np.ndarray) -> np.ndarray:
    return np.sqrt(_sqeuclidean(patterns))


def _jaccard(patterns: np.ndarray) -> np.ndarray:
    _check_not_negative(patterns, "jaccard")
    active = (patterns > 0).astype(np.float64)
    count = active.sum(axis=1)
    count[count == 0] = np.nan
    shared = active @ active.T
    return 1.0 - shared / (count[:, None] + count[None, :] - shared)


def _braycurtis(patterns: np.ndarray) -> np.ndarray:
    _check_not_negative(patterns, "braycurtis")
    silent = ~patterns.any(axis=1)
    distance = np.full((len(patterns), len(patterns)), np.nan)
    distance[np.ix_(~silent, ~silent)] = squareform(pdist(patterns[~silent], "braycurtis"))
    return distance


def _check_not_negative(patterns: np.ndarray, metric: str) -> None:
    if (patterns < 0).any():
        raise DesignError(
            f"{metric} needs activations >= 0, got {patterns.min():.3g}; it is meant for the codes of a "
            "dictionary. Use correlation, cosine or sqeuclidean for signed values."
        )


MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "correlation": _correlation,
    "cosine": _cosine,
    "euclidean": _euclidean,
    "sqeuclidean": _sqeuclidean,
    "jaccard": _jaccard,
    "braycurtis": _braycurtis,
    "poisson": _poisson,
}
"""Measure of dissimilarity by name: (n, F) -> (n, n)."""
