"""How much more a feature responds to one class than to another: ratios of means, d' and AUROC.

A ratio of means ignores how much responses vary: means of 0.01 and 0 give 1. It belongs beside an AUROC and a
permutation test. Class 0 is the first of the two, so that its larger response gives positive values.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neurosae.arrays.class_averages import Classes, class_means
from neurosae.arrays.selectivity_measures import class_auroc, class_dprime, ratio

_SILENT = 1e-6
"""Summed means below this share of a feature's largest absolute response are no basis for a ratio."""


def preference_ratio(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Selectivity index of two classes: SI = (a - b) / (a + b), a and b the class means.

    Parameters
    ----------
    values : (n, F); class means must not be negative, or the ratio leaves [-1, 1]
    classes : of two classes, see `neurosae.arrays.class_averages.class_matrices`

    Returns
    -------
    (P, F) in [-1, 1]; NaN for a feature whose a + b is at most 1e-6 of its largest response

    Examples
    --------
    >>> from neurosae.arrays.class_averages import class_matrices
    >>> two = class_matrices(np.array([[0, 0, 1, 1]]), 2)
    >>> preference_ratio(np.array([[4.0], [2.0], [1.0], [1.0]]), two)
    array([[0.5]])
    """
    a, b = _two_means(values, classes)
    return _scaled(a - b, a + b, values)


def absolute_ratio(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Selectivity index for signed responses: SI_abs = (a - b) / (|a| + |b|), in [-1, 1].

    Means of opposite sign give -1 or 1 however small they are: read it with the AUROC.

    Examples
    --------
    >>> from neurosae.arrays.class_averages import class_matrices
    >>> two = class_matrices(np.array([[0, 0, 1, 1]]), 2)
    >>> absolute_ratio(np.array([[-4.0], [-2.0], [-1.0], [-1.0]]), two)
    array([[-0.5]])
    """
    a, b = _two_means(values, classes)
    return _scaled(a - b, np.abs(a) + np.abs(b), values)


def rectified_ratio(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Selectivity index of the positive part of responses: SI of max(x, 0).

    Examples
    --------
    >>> from neurosae.arrays.class_averages import class_matrices
    >>> two = class_matrices(np.array([[0, 0, 1, 1]]), 2)
    >>> rectified_ratio(np.array([[4.0], [2.0], [-1.0], [2.0]]), two)
    array([[0.5]])
    """
    return preference_ratio(np.maximum(values, 0), classes)


def _two_means(values: np.ndarray, classes: Classes) -> tuple[np.ndarray, np.ndarray]:
    means = class_means(values, classes)
    return means[:, 0], means[:, 1]


def _scaled(difference: np.ndarray, total: np.ndarray, values: np.ndarray) -> np.ndarray:
    reference = np.abs(values).max(axis=0)
    return np.where(total > _SILENT * reference, ratio(difference, total), np.nan)


def _dprime(values: np.ndarray, classes: Classes) -> np.ndarray:
    return class_dprime(values, classes)[:, 0]


def _auroc(values: np.ndarray, classes: Classes) -> np.ndarray:
    return class_auroc(values, classes)[:, 0]


@dataclass(frozen=True)
class TwoClassIndex:
    """An index of two classes: measure, name, units, value without preference, and its range."""

    measure: Callable[[np.ndarray, Classes], np.ndarray]
    long_name: str
    units: str
    floor: float
    limits: tuple[float, float]
    is_ratio: bool = False


TWO_CLASS_INDICES = {
    "si": TwoClassIndex(preference_ratio, "selectivity index", "1", 0.0, (-1.0, 1.0), True),
    "si_abs": TwoClassIndex(absolute_ratio, "selectivity index of signed means", "1", 0.0, (-1.0, 1.0)),
    "si_rect": TwoClassIndex(
        rectified_ratio, "selectivity index of positive responses", "1", 0.0, (-1.0, 1.0)
    ),
    "dprime": TwoClassIndex(_dprime, "d'", "SD", 0.0, (-np.inf, np.inf)),
    "auroc": TwoClassIndex(_auroc, "AUROC", "1", 0.5, (0.0, 1.0)),
}
"""Indices of two classes by name; ``is_ratio`` marks the one that needs non-negative class means."""
