"""Do stimuli of one class resemble each other more than those of other classes? Four indices of it.

They answer different questions. With class means mu, total class variances v and squared Euclidean distances
(Expectations times the number of channels):

=====  =================================  ==========================================================
CDI    d_between - (d_11 + d_22) / 2      |mu_1 - mu_2|^2: do the means differ?
CMI    rho-a with the 0/1 category model  mixes means and dispersion, by rank
TDI    d_between - d_11                   |mu_1 - mu_2|^2 + v_2 - v_1: is the target coherent?
COH    d_22 - d_11                        2 (v_2 - v_1): which class is tighter? says nothing of the means
=====  =================================  ==========================================================

Responses of sparse features vary more where they are larger, so TDI is often negative for the very features
that prefer the target: TDI and COH describe dispersion and do not select features.

All means and ranks are over pairs of rows of different units of inference, see `neurosae.arrays.pairs`.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from neurosae.arrays.distance import triangle
from neurosae.arrays.mean_distances import class_distances, memberships, ordered_pairs
from neurosae.arrays.pairs import unit_pairs
from neurosae.arrays.rdm_comparison import rho_a_of_auroc
from neurosae.errors import DesignError

DIRECTED = ("TDI", "COH")
"""Indices that compare a target (class 0) with the rest (class 1): the two are not interchangeable."""


def category_index(
    dissimilarities: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    index: str,
    *,
    units: np.ndarray | None = None,
) -> np.ndarray:
    """How strongly an RDM is organised by classes, for each of many labelings.

    Parameters
    ----------
    dissimilarities : (n, n) symmetric, finite
    labels : (P, n) int, classes 0 … n_classes - 1, at least two rows each; for CDI, TDI and COH a row with
        the label -1 is left out
    n_classes : K; exactly 2 for TDI and COH, where class 0 is the target and class 1 the rest
    index : one of ``INDICES``; CDI with K > 2 is the mean over the pairs of classes
    units : (n,) unit of each row, pairs within which do not count; None if each row is a unit

    Returns
    -------
    array (P,)
        Larger means more category structure; in the unit of the distances (CMI: rho-a).

    Raises
    ------
    DesignError
        If ``index`` is unknown.

    Source
    ------
    Kriegeskorte, Mur & Bandettini 2008 (CMI); expectations by the algebra of U-statistics.

    Examples
    --------
    >>> distances = np.array([[0, 1, 5, 5], [1, 0, 5, 5], [5, 5, 0, 3], [5, 5, 3, 0.0]])
    >>> category_index(distances, np.array([[0, 0, 1, 1]]), 2, "CDI")
    array([3.])
    """
    if index not in INDICES:
        raise DesignError(f"no category index {index!r}; choose one of {list(INDICES)}.")
    return INDICES[index](dissimilarities, labels, n_classes, units)


def cdi(distances: np.ndarray) -> np.ndarray:
    """Class discriminability: d_kl - (d_kk + d_ll) / 2, averaged over the pairs of classes k < l.

    Parameters
    ----------
    distances : (P, K, K) mean distances, see `neurosae.arrays.mean_distances.class_distances`

    Examples
    --------
    >>> cdi(np.array([[[1.0, 5.0], [5.0, 3.0]]]))
    array([3.])
    """
    within = np.diagonal(distances, axis1=1, axis2=2)
    contrast = distances - (within[:, :, None] + within[:, None, :]) / 2
    return triangle(contrast).mean(axis=1)


def tdi(distances: np.ndarray) -> np.ndarray:
    """Coherence of the target (class 0) against the rest (class 1): d_01 - d_00.

    Examples
    --------
    >>> tdi(np.array([[[1.0, 5.0], [5.0, 3.0]]]))
    array([4.])
    """
    return distances[:, 0, 1] - distances[:, 0, 0]


def coh(distances: np.ndarray) -> np.ndarray:
    """How much tighter the target (class 0) is than the rest (class 1): d_11 - d_00.

    Examples
    --------
    >>> coh(np.array([[[1.0, 5.0], [5.0, 3.0]]]))
    array([2.])
    """
    return distances[:, 1, 1] - distances[:, 0, 0]


def labeling_auroc(
    dissimilarities: np.ndarray, labels: np.ndarray, n_classes: int, *, units: np.ndarray | None = None
) -> np.ndarray:
    """P(d_between > d_within), ties counted half, for each labeling: (P,).

    Over pairs of rows of different units; NaN without a between-class or a within-class pair. The distances
    are ranked once; each labeling then costs a product with the matrix of ranks.

    Parameters
    ----------
    dissimilarities, labels, n_classes, units : as in `category_index`; all rows have a class

    Examples
    --------
    >>> distances = np.array([[0, 1, 5, 5], [1, 0, 5, 5], [5, 5, 0, 3], [5, 5, 3, 0.0]])
    >>> labeling_auroc(distances, np.array([[0, 0, 1, 1], [0, 1, 0, 1]]), 2)
    array([1.  , 0.25])
    """
    return _auroc_and_pairs(dissimilarities, labels, n_classes, units)[0]


def pair_counts(labels: np.ndarray, units: np.ndarray | None = None) -> tuple[int, int]:
    """Numbers of between-class and within-class pairs of one labeling (n,), both rows of different units.

    Examples
    --------
    >>> pair_counts(np.array([0, 0, 1, 1]))
    (4, 2)
    >>> pair_counts(np.array([0, 0, 1, 1]), np.array(["x", "y", "x", "y"]))
    (2, 2)
    """
    rows, columns = unit_pairs(len(labels), units)
    n_between = int((labels[rows] != labels[columns]).sum())
    return n_between, len(rows) - n_between


def _auroc_and_pairs(
    dissimilarities: np.ndarray, labels: np.ndarray, n_classes: int, units: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUROC, number of between-class and of within-class pairs of each labeling, (P,) each."""
    pairs = unit_pairs(len(dissimilarities), units)
    ranks = np.zeros(np.shape(dissimilarities))
    ranks[pairs] = rankdata(np.asarray(dissimilarities)[pairs])
    n_pairs = len(pairs[0])
    members = memberships(labels, n_classes)
    within_sum = np.einsum("kpn,kpn->p", members @ ranks, members, optimize=True)
    n_within = np.trace(ordered_pairs(members, units), axis1=1, axis2=2) / 2
    n_between = n_pairs - n_within
    wins = n_pairs * (n_pairs + 1) / 2 - within_sum - n_between * (n_between + 1) / 2
    n_compared = n_between * n_within
    return wins / np.where(n_compared > 0, n_compared, np.nan), n_between, n_within


def _cmi(
    dissimilarities: np.ndarray, labels: np.ndarray, n_classes: int, units: np.ndarray | None
) -> np.ndarray:
    return np.asarray(rho_a_of_auroc(*_auroc_and_pairs(dissimilarities, labels, n_classes, units)))


def _of_distances(index: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    def from_labels(
        dissimilarities: np.ndarray, labels: np.ndarray, n_classes: int, units: np.ndarray | None
    ) -> np.ndarray:
        return index(class_distances(dissimilarities, labels, n_classes, units=units))

    return from_labels


INDICES: dict[str, Callable[[np.ndarray, np.ndarray, int, np.ndarray | None], np.ndarray]] = {
    "CDI": _of_distances(cdi),
    "CMI": _cmi,
    "TDI": _of_distances(tdi),
    "COH": _of_distances(coh),
}
"""Category index by name: dissimilarities (n, n), labels (P, n), number of classes, units (n,) -> (P,)."""
