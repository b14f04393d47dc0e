"""Class means of many features under many labelings at once: one matrix product."""

from typing import NamedTuple

import numpy as np


class Classes(NamedTuple):
    """Labelings as matrices: ``averaging`` (P, K, n) has rows that average one class; ``counts`` (P, K)."""

    averaging: np.ndarray
    counts: np.ndarray


def class_matrices(labels: np.ndarray, n_classes: int) -> Classes:
    """Matrices that average each class under each labeling.

    Parameters
    ----------
    labels : (P, n) int in 0 … n_classes-1; every class occurs in every row
    n_classes : K

    Examples
    --------
    >>> class_matrices(np.array([[0, 0, 1]]), 2).averaging
    array([[[0.5, 0.5, 0. ],
            [0. , 0. , 1. ]]])
    """
    is_member = np.asarray(labels)[:, None, :] == np.arange(n_classes)[None, :, None]
    counts = is_member.sum(axis=2)
    return Classes(is_member / counts[:, :, None], counts)


def class_means(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Mean of each class under each labeling: values (n, F) -> (P, K, F), in float64.

    Examples
    --------
    >>> class_means(np.array([[1.0], [3.0], [8.0]]), class_matrices(np.array([[0, 0, 1]]), 2)).ravel()
    array([2., 8.])
    """
    n_labelings, n_classes, n = classes.averaging.shape
    means = classes.averaging.reshape(-1, n) @ np.asarray(values, dtype=float)
    return means.reshape(n_labelings, n_classes, -1)
