"""How far apart are the members of classes, on average? Mean distances within and between classes.

From a matrix of distances, or from sums over classes where that gives the same without any matrix.
"""

import numpy as np

from neurosae.arrays.pairs import shared_units


def class_distances(
    dissimilarities: np.ndarray, labels: np.ndarray, n_classes: int, *, units: np.ndarray | None = None
) -> np.ndarray:
    """Mean distance within and between classes for each labeling, over pairs of rows of different units.

    d_kl = sum of d_ij over i in k, j in l, unit(i) != unit(j), divided by the number of these pairs. If units
    are independent draws, squared Euclidean distances then have the expectation |mu_k - mu_l|^2 + v_k + v_l
    whatever the rows of a unit share.

    Parameters
    ----------
    dissimilarities : (n, n) symmetric, finite
    labels : (P, n) int, classes 0 … n_classes - 1; a row with any other label, such as -1, is left out
    n_classes : K
    units : (n,) unit of each row; None if each row is a unit

    Returns
    -------
    array (P, K, K)
        Symmetric, within-class means on the diagonal; NaN where there is no pair.

    Examples
    --------
    >>> class_distances(np.array([[0, 1, 4], [1, 0, 2], [4, 2, 0.0]]), np.array([[0, 0, 1]]), 2)
    array([[[ 1.,  3.],
            [ 3., nan]]])
    """
    members = memberships(labels, n_classes)
    codes = shared_units(units)
    if codes is not None:
        dissimilarities = np.where(codes[:, None] == codes[None, :], 0.0, dissimilarities)
    near = members @ dissimilarities
    sums = np.einsum("kpn,lpn->pkl", near, members, optimize=True)
    return _per_pair(sums, ordered_pairs(members, units))


def class_distances_from_sums(patterns: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """`class_distances` of squared Euclidean distances / P, from class sums: no RDM is formed.

    For rows that are units of their own:

    d_kk = 2 (n_k sum|x|^2 - |sum x|^2) / (n_k (n_k - 1) P),
    d_kl = (mean_k|x|^2 + mean_l|x|^2 - 2 mean_k.mean_l) / P: exact, and cheap where P is small and n large.

    Parameters
    ----------
    patterns : (n, P) finite
    labels, n_classes : as in `class_distances`

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
    members = memberships(labels, n_classes)
    counts = members.sum(axis=2).T
    squares = (members @ np.einsum("ij,ij->i", patterns, patterns)).T
    sums = members @ patterns
    products = np.einsum("kpf,lpf->pkl", sums, sums, optimize=True)
    total = squares[:, :, None] * counts[:, None, :] + squares[:, None, :] * counts[:, :, None] - 2 * products
    return _per_pair(total, ordered_pairs(members)) / patterns.shape[1]


def profile_distances(profiles: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """`class_distances` of correlation distances between profiles, from class sums.

    For rows that are units of their own. With u the centred profiles of length 1 and S_k their class sums,
    the mean correlation within class k is (|S_k|^2 - n_k) / (n_k (n_k - 1)) and between classes
    S_k.S_l / (n_k n_l); averages of r, not of Fisher z, since a permutation test needs no normality.

    Parameters
    ----------
    profiles : (n, T) one value a token or window; constant profiles are left out
    labels, n_classes : as in `class_distances`

    Returns
    -------
    array (P, K, K) of mean 1 - r

    Examples
    --------
    >>> profiles = np.array([[0, 1, 0], [0, 2, 0], [1, 0, 0], [3, 0, 0.0]])
    >>> round(float(profile_distances(profiles, np.array([[0, 0, 1, 1]]), 2)[0, 0, 1]), 3)
    1.5
    """
    profiles = np.asarray(profiles, dtype=np.float64)
    varies = np.ptp(profiles, axis=1) > 0
    centred = profiles[varies] - profiles[varies].mean(axis=1, keepdims=True)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    members = memberships(np.asarray(labels)[:, varies], n_classes)
    sums, counts = members @ units, members.sum(axis=2).T
    products = np.einsum("kpt,lpt->pkl", sums, sums, optimize=True)
    own = counts[:, :, None] * np.eye(n_classes)
    return 1.0 - _per_pair(products - own, ordered_pairs(members))


def memberships(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """1 where a row belongs to a class: (K, P, n)."""
    return (np.asarray(labels)[None, :, :] == np.arange(n_classes)[:, None, None]).astype(np.float64)


def ordered_pairs(members: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """Numbers of ordered pairs of rows of different units, one row in class k, the other in class l.

    n_k n_l - sum over units of n_uk n_ul.

    Parameters
    ----------
    members : (K, P, n), see `memberships`
    units : (n,) unit of each row; None if each row is a unit

    Returns
    -------
    array (P, K, K)

    Examples
    --------
    >>> members = memberships(np.array([[0, 1, 0, 1]]), 2)
    >>> ordered_pairs(members, np.array(["x", "x", "y", "y"]))
    array([[[2., 2.],
            [2., 2.]]])
    """
    counts = members.sum(axis=2).T
    codes = shared_units(units)
    if codes is None:
        within = counts[:, :, None] * np.eye(counts.shape[1])
    else:
        starts = np.unique(np.sort(codes), return_index=True)[1]
        of_unit = np.add.reduceat(members[:, :, np.argsort(codes, kind="stable")], starts, axis=2)
        within = np.einsum("kpu,lpu->pkl", of_unit, of_unit, optimize=True)
    return counts[:, :, None] * counts[:, None, :] - within


def _per_pair(sums: np.ndarray, n_pairs: np.ndarray) -> np.ndarray:
    return sums / np.where(n_pairs > 0, n_pairs, np.nan)
