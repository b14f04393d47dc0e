"""How many bits a feature tells about the class of a stimulus: responses in few bins, many labelings."""

import numpy as np

from neurosae.arrays.class_averages import Classes, class_means
from neurosae.arrays.effect_size import average_ranks


def response_bins(values: np.ndarray, n_bins: int = 3) -> np.ndarray:
    """Bin of each response: 0 for silence, 1 … q for equally filled bins of the rest, feature by feature.

    Ties share a bin. A feature with negative values has no silence: all its values fill bins 1 … q. Labels
    are not looked at.

    Parameters
    ----------
    values : (n, F)
    n_bins : q

    Returns
    -------
    (n, F) int8

    Examples
    --------
    >>> response_bins(np.array([[0.0], [0.1], [7.0], [0.0], [0.3]]), 2).ravel()
    array([0, 1, 2, 0, 2], dtype=int8)
    """
    values = np.asarray(values, dtype=float)
    is_silent = (values == 0) & ~(values < 0).any(axis=0)
    n_silent = is_silent.sum(axis=0)
    rank = average_ranks(np.where(is_silent, -np.inf, values)) - n_silent
    n_active = np.maximum(len(values) - n_silent, 1)
    bins = 1 + np.floor((rank - 0.5) * n_bins / n_active)
    return np.where(is_silent, 0, np.minimum(bins, n_bins)).astype(np.int8)


def plugin_information(bins: np.ndarray, classes: Classes) -> np.ndarray:
    """Mutual information of bin and class under each labeling: I = Σ p(b, k) log2(p(b, k) / (p(b) p(k))).

    Biased upwards by about `miller_madow_bias`.

    Parameters
    ----------
    bins : (n, F) int, from `response_bins`
    classes : see `neurosae.arrays.class_averages.class_matrices`

    Returns
    -------
    (P, F) bits

    Source
    ------
    Shannon 1948, Bell Syst Tech J 27:379.

    Examples
    --------
    >>> from neurosae.arrays.class_averages import class_matrices
    >>> two = class_matrices(np.array([[0, 0, 1, 1]]), 2)
    >>> plugin_information(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), two)
    array([[1., 0.]])
    """
    n = len(bins)
    share = classes.counts[:, :, None] / n
    information = np.zeros((len(classes.counts), bins.shape[1]))
    for b in range(int(bins.max(initial=0)) + 1):
        inside = bins == b
        joint = class_means(inside, classes) * share
        independent = inside.mean(axis=0) * share
        with np.errstate(divide="ignore", invalid="ignore"):
            information += np.where(joint > 0, joint * np.log2(joint / independent), 0.0).sum(axis=1)
    return np.maximum(information, 0.0)


def miller_madow_bias(bins: np.ndarray, n_classes: int) -> np.ndarray:
    """Information that noise gives, to first order: (K - 1)(B - 1) / (2 n ln 2) bits, (F,).

    B is the number of bins in use, K that of classes.

    Source
    ------
    Miller 1955, in Information Theory in Psychology (ed. Quastler), p. 95; Panzeri & Treves 1996, Network
    7:87.

    Examples
    --------
    >>> miller_madow_bias(np.array([[0], [1]] * 50), 2).round(5)
    array([0.00721])
    """
    in_use = sum((bins == b).any(axis=0).astype(int) for b in range(int(bins.max(initial=0)) + 1))
    return (n_classes - 1) * (in_use - 1) / (2 * len(bins) * np.log(2))
