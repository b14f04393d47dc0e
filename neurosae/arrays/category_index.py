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
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from neurosae.arrays.distance import triangle
from neurosae.arrays.rdm_comparison import rho_a_of_auroc
from neurosae.errors import DesignError

DIRECTED = ("TDI", "COH")
"""Indices that compare a target (class 0) with the rest (class 1): the two are not interchangeable."""


def category_index(dissimilarities: np.ndarray, labels: np.ndarray, n_classes: int, index: str) -> np.ndarray:
    """How strongly an RDM is organised by classes, for each of many labelings.

    Parameters
    ----------
    dissimilarities : (n, n) symmetric, finite
    labels : (P, n) int, classes 0 … n_classes - 1, at least two rows each
    n_classes : K; exactly 2 for TDI and COH, where class 0 is the target and class 1 the rest
    index : one of ``INDICES``; CDI with K > 2 is the mean over the pairs of classes

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
    return INDICES[index](dissimilarities, labels, n_classes)


def class_distances(dissimilarities: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Mean distance within and between classes for each labeling; a stimulus is not paired with itself.

    Parameters
    ----------
    dissimilarities, labels, n_classes : as in `category_index`

    Returns
    -------
    array (P, K, K)
        Symmetric, within-class means on the diagonal; NaN where a class has no pair.

    Examples
    --------
    >>> class_distances(np.array([[0, 1, 4], [1, 0, 2], [4, 2, 0.0]]), np.array([[0, 0, 1]]), 2)
    array([[[ 1.,  3.],
            [ 3., nan]]])
    """
    members = _memberships(labels, n_classes)
    near = members @ dissimilarities
    return _per_pair(np.einsum("kpn,lpn->pkl", near, members, optimize=True), members.sum(axis=2).T)


def class_distances_from_sums(patterns: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """`class_distances` of squared Euclidean distances / P, from class sums: no RDM is formed.

    d_kk = 2 (n_k sum|x|^2 - |sum x|^2) / (n_k (n_k - 1) P),
    d_kl = (mean_k|x|^2 + mean_l|x|^2 - 2 mean_k.mean_l) / P: exact, and cheap where P is small and n large.

    Parameters
    ----------
    patterns : (n, P) finite
    labels, n_classes : as in `category_index`

    Returns
    -------
    array (P, K, K)

    Examples
    --------
    >>> class_distances_from_sums(np.array([[0.0], [2.0], [3.0], [5.0]]), np.array([[0, 0, 1, 1]]), 2)
    array([[[ 4., 11.],
            [11.,  4.]]])
    """
    # Distances ignore a common shift; without it less is lost when the sums cancel.
    patterns = np.asarray(patterns, dtype=np.float64)
    patterns = patterns - patterns.mean(axis=0)
    members = _memberships(labels, n_classes)
    counts = members.sum(axis=2).T
    squares = (members @ np.einsum("ij,ij->i", patterns, patterns)).T
    sums = members @ patterns
    products = np.einsum("kpf,lpf->pkl", sums, sums, optimize=True)
    total = squares[:, :, None] * counts[:, None, :] + squares[:, None, :] * counts[:, :, None] - 2 * products
    return _per_pair(total, counts) / patterns.shape[1]


def profile_distances(profiles: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """`class_distances` of correlation distances between profiles, from class sums.

    With u the centred profiles of length 1 and S_k their class sums, the mean correlation within class k is
    (|S_k|^2 - n_k) / (n_k (n_k - 1)) and between classes S_k.S_l / (n_k n_l); averages of r, not of Fisher z,
    since a permutation test needs no normality.

    Parameters
    ----------
    profiles : (n, T) one value a token or window; constant profiles are left out
    labels, n_classes : as in `category_index`

    Returns
    -------
    array (P, K, K) of mean 1 - r

    Examples
    --------
    >>> profiles = np.array([[0, 1, 0], [0, 2, 0], [1, 0, 0], [3, 0, 0.0]])
    >>> cdi(profile_distances(profiles, np.array([[0, 0, 1, 1]]), 2)).round(3)
    array([1.5])
    """
    profiles = np.asarray(profiles, dtype=np.float64)
    varies = np.ptp(profiles, axis=1) > 0
    centred = profiles[varies] - profiles[varies].mean(axis=1, keepdims=True)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    members = _memberships(np.asarray(labels)[:, varies], n_classes)
    sums, counts = members @ units, members.sum(axis=2).T
    products = np.einsum("kpt,lpt->pkl", sums, sums, optimize=True)
    own = counts[:, :, None] * np.eye(n_classes)
    return 1.0 - _per_pair(products - own, counts)


def cdi(distances: np.ndarray) -> np.ndarray:
    """Class discriminability: d_kl - (d_kk + d_ll) / 2, averaged over the pairs of classes k < l.

    Parameters
    ----------
    distances : (P, K, K) mean distances, see `class_distances`

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


def labeling_auroc(dissimilarities: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """P(d_between > d_within), ties counted half, for each labeling: (P,).

    The distances are ranked once; each labeling then costs a product with the matrix of ranks.

    Parameters
    ----------
    dissimilarities, labels, n_classes : as in `category_index`

    Examples
    --------
    >>> distances = np.array([[0, 1, 5, 5], [1, 0, 5, 5], [5, 5, 0, 3], [5, 5, 3, 0.0]])
    >>> labeling_auroc(distances, np.array([[0, 0, 1, 1], [0, 1, 0, 1]]), 2)
    array([1.  , 0.25])
    """
    n = len(dissimilarities)
    ranks = np.zeros((n, n))
    ranks[np.triu_indices(n, 1)] = rankdata(triangle(np.asarray(dissimilarities)))
    n_pairs = n * (n - 1) / 2
    members = _memberships(labels, n_classes)
    within_sum = np.einsum("kpn,kpn->p", members @ ranks, members, optimize=True)
    n_within = (members.sum(axis=2) * (members.sum(axis=2) - 1) / 2).sum(axis=0)
    n_between = n_pairs - n_within
    between_sum = n_pairs * (n_pairs + 1) / 2 - within_sum
    return (between_sum - n_between * (n_between + 1) / 2) / (n_between * n_within)


def pair_counts(labels: np.ndarray) -> tuple[int, int]:
    """Numbers of between-class and within-class pairs of one labeling (n,).

    Examples
    --------
    >>> pair_counts(np.array([0, 0, 1, 1]))
    (4, 2)
    """
    counts = np.unique(labels, return_counts=True)[1]
    n_within = int((counts * (counts - 1) // 2).sum())
    return len(labels) * (len(labels) - 1) // 2 - n_within, n_within


def _cmi(dissimilarities: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    auroc = labeling_auroc(dissimilarities, labels, n_classes)
    return np.asarray(rho_a_of_auroc(auroc, *pair_counts(labels[0])))


def _of_distances(index: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    def from_labels(dissimilarities: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
        return index(class_distances(dissimilarities, labels, n_classes))

    return from_labels


INDICES: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "CDI": _of_distances(cdi),
    "CMI": _cmi,
    "TDI": _of_distances(tdi),
    "COH": _of_distances(coh),
}
"""Category index by name: dissimilarities (n, n), labels (P, n), number of classes -> (P,)."""


def _memberships(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """1 where a row belongs to a class: (K, P, n)."""
    return (np.asarray(labels)[None, :, :] == np.arange(n_classes)[:, None, None]).astype(np.float64)


def _per_pair(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums over ordered pairs (P, K, K), divided by the number of pairs of different rows."""
    n_pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    return sums / np.where(n_pairs > 0, n_pairs, np.nan)
