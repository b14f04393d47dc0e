"""Which single features carry class structure? Category indices of many features under many labelings.

A feature's pattern may be one number a stimulus, its course over tokens, or the values of a set of features.
CDI, TDI and COH are weighted sums of mean distances between classes, and those of squared distances follow
from sums over classes: one matrix product serves a block of features and all labelings, and no RDM is formed.
"""

from collections.abc import Callable

import numpy as np

from neurosae.arrays.mean_distances import memberships
from neurosae.arrays.pairs import shared_units
from neurosae.errors import DesignError

FEWEST_LIVE = 5
"""Rows of a class that must have a pattern, or half of the class if that is more."""

_SILENT = 1e-6
"""Relative length under which what is left of a profile is rounding of float32 data."""


def index_weights(index: str, n_classes: int) -> np.ndarray:
    """Weights (K, K) of the mean distances d_kl, k <= l, that add up to a category index.

    CDI is the mean over pairs of classes less the mean over classes; TDI is d_01 - d_00, COH d_11 - d_00.

    Raises
    ------
    DesignError
        If the index is no weighted sum of mean distances, as CMI.

    Examples
    --------
    >>> index_weights("CDI", 2)
    array([[-0.5,  1. ],
           [ 0. , -0.5]])
    """
    if index not in WEIGHTS:
        raise DesignError(f"{index!r} is no weighted sum of mean distances; these are {list(WEIGHTS)}.")
    return WEIGHTS[index](n_classes)


def feature_indices(
    patterns: np.ndarray,
    live: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    index: str,
    *,
    units: np.ndarray | None = None,
) -> np.ndarray:
    """A category index of each feature for each labeling, from squared Euclidean distances of its patterns.

    With x the patterns, N_k, Q_k and S_k the number, the sum of |x|^2 and the sum of x in class k, the
    distances of all pairs of rows in classes k and l add up to Q_k N_l + N_k Q_l - 2 S_k.S_l. Pairs of rows
    of one unit are taken off again.

    Parameters
    ----------
    patterns : (n, W, F) finite; F features, each with W values a row
    live : (n, F) or (n, 1) bool; rows without a pattern are left out of the feature
    labels : (P, n) int, classes 0 … n_classes - 1; a row with the label -1 is left out
    n_classes : K
    index : ``"CDI"``, ``"TDI"`` or ``"COH"``, see `neurosae.arrays.category_index`
    units : (n,) unit of each row, pairs within which do not count; None if each row is a unit

    Returns
    -------
    array (P, F), of the dtype of the patterns; NaN where a class has no pair

    Source
    ------
    Closed forms of U-statistics; the index is that of `neurosae.arrays.category_index.category_index`.

    Examples
    --------
    >>> patterns = np.array([0.0, 2.0, 3.0, 5.0]).reshape(4, 1, 1)
    >>> live = np.ones((4, 1), dtype=bool)
    >>> feature_indices(patterns, live, np.array([[0, 0, 1, 1]]), 2, "CDI")
    array([[7.]])
    """
    weights, dtype = index_weights(index, n_classes), patterns.dtype
    mask = live.astype(dtype)
    centred = _centred(patterns, mask)
    members = memberships(labels, n_classes).astype(dtype)
    counts = members @ mask
    squares = members @ np.einsum("nwf,nwf->nf", centred, centred)
    product = _two_class_products if n_classes == 2 and np.min(labels) >= 0 else _class_products
    products = product(centred, members)
    shared = _within_units(centred, mask, members, units)
    result = np.zeros((len(labels), centred.shape[2]), dtype=dtype)
    for k, other in np.argwhere(weights != 0):
        total = squares[k] * counts[other] + squares[other] * counts[k]
        total -= 2 * products(k, other)
        n_pairs = counts[k] * counts[other] - (counts[k] if k == other else 0)
        own_total, own_pairs = shared(k, other)
        n_pairs = n_pairs - own_pairs
        result += weights[k, other] * (total - own_total) / np.where(n_pairs > 0, n_pairs, np.nan)
    return result


def correlation_patterns(patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patterns whose squared distances are 1 - r, and which rows have one.

    Each row's W values less their mean, scaled to length sqrt(1/2): |x - y|^2 = 1 - r. A constant row has
    no correlation with anything: it becomes 0 and is not live.

    Parameters
    ----------
    patterns : (n, W, F) finite

    Returns
    -------
    patterns (n, W, F), live (n, F) bool

    Examples
    --------
    >>> x, live = correlation_patterns(np.array([[0.0, 1.0], [3.0, 1.0], [2.0, 2.0]])[:, :, None])
    >>> round(float(((x[0] - x[1]) ** 2).sum()), 6), live.ravel()
    (2.0, array([ True,  True, False]))
    """
    centred = patterns - patterns.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("nwf,nwf->nf", centred, centred))
    live = length > _SILENT * np.sqrt(np.einsum("nwf,nwf->nf", patterns, patterns))
    scale = np.divide(np.sqrt(0.5), length, out=np.zeros_like(length), where=live)
    return centred * scale[:, None, :], live


def channel_patterns(patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patterns whose squared distances are |x - y|^2 / W; every row has one, as silence is a value too.

    Examples
    --------
    >>> channel_patterns(np.ones((2, 4, 1)))[0].ravel()
    array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    """
    return patterns / np.sqrt(patterns.dtype.type(patterns.shape[1])), np.ones((len(patterns), 1), dtype=bool)


def enough_live(live: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Whether each class has 5 rows with a pattern, or half of the class if that is more: (n, F) -> (F,).

    A class of fewer than 5 rows needs all of them.

    Examples
    --------
    >>> live = np.array([[True, True], [True, True], [True, True], [True, False]])
    >>> enough_live(live, np.array([0, 0, 1, 1]), 2)
    array([ True, False])
    """
    members = memberships(labels[None], n_classes)[:, 0]
    size = members.sum(axis=1, keepdims=True)
    needed = np.minimum(size, np.maximum(FEWEST_LIVE, size / 2))
    return np.asarray((members @ live >= needed).all(axis=0))


def varies(patterns: np.ndarray) -> np.ndarray:
    """Whether a feature's patterns differ between any two rows: (n, W, F) -> (F,).

    Examples
    --------
    >>> varies(np.array([[[0.0, 3.0]], [[1.0, 3.0]]]))
    array([ True, False])
    """
    return np.asarray((np.ptp(patterns, axis=0) > 0).any(axis=0))


METRICS: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "correlation": correlation_patterns,
    "sqeuclidean": channel_patterns,
}
"""Measure by name: patterns (n, W, F) to those whose squared distances it is, and the rows that have one."""


def _centred(patterns: np.ndarray, mask: np.ndarray) -> np.ndarray:
    # Distances ignore a common shift; without it less is lost when the sums cancel.
    n_live = np.maximum(mask.sum(axis=0), 1)
    mean = (patterns * mask[:, None, :]).sum(axis=0) / n_live
    return np.ascontiguousarray((patterns - mean) * mask[:, None, :])


_Products = Callable[[int, int], np.ndarray]


def _class_products(patterns: np.ndarray, members: np.ndarray) -> _Products:
    """For classes k and l, the products S_k.S_l of their sums, (P, F)."""
    sums = _class_sums(patterns, members)
    return lambda k, other: np.einsum("pwf,pwf->pf", sums[k], sums[other])


def _two_class_products(patterns: np.ndarray, members: np.ndarray) -> _Products:
    # The patterns add up to 0, so that the two classes have opposite sums.
    (first,) = _class_sums(patterns, members[:1])
    square = np.einsum("pwf,pwf->pf", first, first)
    return lambda k, other: square if k == other else -square


def _class_sums(patterns: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Sums over classes: patterns (n, W, F), members (K, P, n) -> (K, P, W, F)."""
    n, width, n_features = patterns.shape
    sums = members.reshape(-1, n) @ patterns.reshape(n, -1)
    return sums.reshape(*members.shape[:2], width, n_features)


def _within_units(
    patterns: np.ndarray, mask: np.ndarray, members: np.ndarray, units: np.ndarray | None
) -> Callable[[int, int], tuple[np.ndarray | float, np.ndarray | float]]:
    """For classes k and l, the summed distances (P, F) and the numbers of pairs of rows of one unit."""
    codes = shared_units(units)
    if codes is None:
        return lambda k, other: (0.0, 0.0)
    first, second = np.nonzero(np.triu(codes[:, None] == codes[None, :], 1))
    both = mask[first] * mask[second]
    distances = ((patterns[first] - patterns[second]) ** 2).sum(axis=1) * both

    def of_classes(k: int, other: int) -> tuple[np.ndarray, np.ndarray]:
        pairs = members[k][:, first] * members[other][:, second]
        pairs = pairs + members[other][:, first] * members[k][:, second]
        return pairs @ distances, pairs @ both

    return of_classes


def _cdi_weights(n_classes: int) -> np.ndarray:
    n_pairs = n_classes * (n_classes - 1) / 2
    return np.triu(np.ones((n_classes, n_classes)), 1) / n_pairs - np.eye(n_classes) / n_classes


WEIGHTS: dict[str, Callable[[int], np.ndarray]] = {
    "CDI": _cdi_weights,
    "TDI": lambda n_classes: np.array([[-1.0, 1.0], [0.0, 0.0]]),
    "COH": lambda n_classes: np.array([[-1.0, 0.0], [0.0, 1.0]]),
}
"""Weights of the mean distances in an index, by its name: number of classes -> (K, K)."""
