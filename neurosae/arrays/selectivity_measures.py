"""How selective a feature is for one of several classes: indices of tuning, for many labelings at once.

Every index is a function of class means (`neurosae.arrays.class_averages`). It finds the preferred class anew
for each labeling, so that a permutation null repeats the whole procedure. Selectivity of single features does
not show that they matter (Morcos et al. 2018).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neurosae.arrays.class_averages import Classes, class_means
from neurosae.arrays.effect_size import average_ranks

_RELATIVE_SD = 1e-6
"""Least noise that d' assumes, relative to the SD over all units: d' without noise is large, not infinite."""


class Selectivity(NamedTuple):
    """``value`` (P, F), and ``strength`` (P, K, F) whose largest class is the preferred one."""

    value: np.ndarray
    strength: np.ndarray


def preferred_class(strength: np.ndarray) -> np.ndarray:
    """Class of the largest strength: (..., K, F) -> (..., F) int; ties go to the first class.

    Examples
    --------
    >>> preferred_class(np.array([[1.0, 0.3], [2.0, 0.1 + 0.2]]))
    array([1, 0])
    """
    return is_largest(strength).argmax(axis=-2)


def is_largest(strength: np.ndarray) -> np.ndarray:
    """Which classes have the largest strength, equal up to rounding: (..., K, F) -> the same shape, bool.

    Examples
    --------
    >>> is_largest(np.array([[1.0, 0.3], [2.0, 0.1 + 0.2]]))
    array([[False,  True],
           [ True,  True]])
    """
    largest = strength.max(axis=-2, keepdims=True)
    return strength >= largest - 1e-12 * np.abs(largest)


def is_varying(values: np.ndarray) -> np.ndarray:
    """Whether a feature differs between units at all: variance > 1e-12 (1 + mean²); (n, F) -> (F,) bool.

    Examples
    --------
    >>> is_varying(np.array([[0.0, 3.0, 0.0], [0.0, 3.0, 1.0]]))
    array([False, False,  True])
    """
    values = np.asarray(values, dtype=float)
    return values.var(axis=0) > 1e-12 * (1 + values.mean(axis=0) ** 2)


def share_of_largest(means: np.ndarray) -> np.ndarray:
    """Share of the preferred class in the summed class means: s = max m / Σ|m|, in [1/K, 1] for m >= 0.

    Parameters
    ----------
    means : (..., K, F) class means

    Returns
    -------
    (..., F); NaN for a dead feature

    Examples
    --------
    >>> share_of_largest(np.array([[6.0, 0.0], [2.0, 0.0], [2.0, 0.0]]))
    array([0.6, nan])
    """
    return ratio(means.max(axis=-2), np.abs(means).sum(axis=-2))


def normalised_share(means: np.ndarray) -> np.ndarray:
    """Share of the preferred class on a scale that does not depend on K: (K s - 1) / (K - 1), in [0, 1].

    Examples
    --------
    >>> normalised_share(np.array([[6.0], [2.0], [1.0], [1.0]])).round(3)
    array([0.467])
    """
    n_classes = means.shape[-2]
    return (n_classes * share_of_largest(means) - 1) / (n_classes - 1)


def preferred_against_mean_rest(means: np.ndarray) -> np.ndarray:
    """Class selectivity of Morcos: (m_max - m_rest) / (|m_max| + |m_rest|), m_rest the mean of the others.

    Parameters
    ----------
    means : (..., K, F) class means

    Returns
    -------
    (..., F) in [0, 1] for non-negative means; NaN for a dead feature

    Source
    ------
    Morcos et al. 2018, ICLR (On the importance of single directions for generalization).

    Examples
    --------
    >>> preferred_against_mean_rest(np.array([[6.0], [2.0], [1.0], [1.0]])).round(5)
    array([0.63636])
    """
    largest = means.max(axis=-2)
    rest = (means.sum(axis=-2) - largest) / (means.shape[-2] - 1)
    return ratio(largest - rest, np.abs(largest) + np.abs(rest))


def class_auroc(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Probability that a unit of each class exceeds a unit of the others: (n, F) -> (P, K, F), ties 0.5.

    AUROC_k = (R_k - n_k (n_k+1)/2) / (n_k (n - n_k)), R_k the rank sum of class k.

    Examples
    --------
    >>> from neurosae.arrays.class_averages import class_matrices
    >>> two = class_matrices(np.array([[0, 0, 1, 1]]), 2)
    >>> class_auroc(np.array([[1.0], [2.0], [2.0], [3.0]]), two).ravel()
    array([0.125, 0.875])
    """
    counts = classes.counts[:, :, None]
    return (class_means(average_ranks(values), classes) - (counts + 1) / 2) / (len(values) - counts)


def class_dprime(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Distance of each class from all other units: d' = (m_k - m_rest) / √((s_k² + s_rest²) / 2).

    Standard deviations with ddof 1; their root mean square is taken to be at least 1e-6 of the SD over all
    units, so that d' without noise is large but finite.

    Parameters
    ----------
    values : (n, F), at least two units in each class and outside it
    classes : see `neurosae.arrays.class_averages.class_matrices`

    Returns
    -------
    (P, K, F) in SD; NaN for a constant feature

    Source
    ------
    Green & Swets 1966, Signal Detection Theory and Psychophysics.

    Examples
    --------
    >>> from neurosae.arrays.class_averages import class_matrices
    >>> two = class_matrices(np.array([[0, 0, 1, 1]]), 2)
    >>> class_dprime(np.array([[0.0], [2.0], [3.0], [5.0]]), two)[0, 1]
    array([2.12132034])
    """
    n, counts = len(values), classes.counts[:, :, None]
    centred = values - np.mean(values, axis=0, dtype=float)
    mean, square = class_means(centred, classes), class_means(centred**2, classes)
    total = (centred**2).sum(axis=0)
    # Columns are centred: the others' sums are what the class lacks to zero and to the total.
    mean_rest = -counts * mean / (n - counts)
    variance = (square - mean**2) * counts / (counts - 1)
    variance_rest = (total - counts * square - (n - counts) * mean_rest**2) / (n - counts - 1)
    noise = np.sqrt(np.maximum((variance + variance_rest) / 2, _RELATIVE_SD**2 * total / (n - 1)))
    return ratio(mean - mean_rest, noise)


def explained_variance(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Share of the variance over units that lies between classes: eta² = SSB / SST, (n, F) -> (P, F).

    NaN for a constant feature. Biased upwards: about (K-1)/(n-1) without any selectivity.

    Source
    ------
    Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, ch. 8.

    Examples
    --------
    >>> from neurosae.arrays.class_averages import class_matrices
    >>> two = class_matrices(np.array([[0, 0, 1, 1]]), 2)
    >>> explained_variance(np.array([[0.0], [2.0], [3.0], [5.0]]), two)
    array([[0.69230769]])
    """
    centred = values - np.mean(values, axis=0, dtype=float)
    between = (classes.counts[:, :, None] * class_means(centred, classes) ** 2).sum(axis=1)
    return ratio(between, (centred**2).sum(axis=0))


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Numerator / denominator, NaN where the denominator is not above 0.

    Examples
    --------
    >>> ratio(np.array([1.0, 1.0]), np.array([2.0, 0.0]))
    array([0.5, nan])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def _of_means(summary: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, Classes], Selectivity]:
    def measure(values: np.ndarray, classes: Classes) -> Selectivity:
        means = class_means(values, classes)
        return Selectivity(summary(means), means)

    return measure


def _largest(
    strength: Callable[[np.ndarray, Classes], np.ndarray],
) -> Callable[[np.ndarray, Classes], Selectivity]:
    def measure(values: np.ndarray, classes: Classes) -> Selectivity:
        strengths = strength(values, classes)
        return Selectivity(strengths.max(axis=1), strengths)

    return measure


def _eta2(values: np.ndarray, classes: Classes) -> Selectivity:
    return Selectivity(explained_variance(values, classes), class_means(values, classes))


@dataclass(frozen=True)
class Index:
    """An index of selectivity: how it is measured, what it is, and its value without any selectivity."""

    measure: Callable[[np.ndarray, Classes], Selectivity]
    long_name: str
    units: str
    floor: Callable[[int], float]
    is_ratio: bool = False


def _zero(n_classes: int) -> float:
    return 0.0


INDICES = {
    "maxshare": Index(
        _of_means(share_of_largest),
        "share of the preferred class",
        "1",
        lambda n_classes: 1 / n_classes,
        True,
    ),
    "normalised_maxshare": Index(
        _of_means(normalised_share), "share of the preferred class, 0 at 1/K", "1", _zero, True
    ),
    "morcos": Index(_of_means(preferred_against_mean_rest), "class selectivity index", "1", _zero, True),
    "auroc": Index(
        _largest(class_auroc), "AUROC of the preferred class against the rest", "1", lambda n_classes: 0.5
    ),
    "dprime": Index(_largest(class_dprime), "d' of the preferred class against the rest", "SD", _zero),
    "eta2": Index(_eta2, "variance between classes", "1", _zero),
}
"""Indices of selectivity by name; ``is_ratio`` marks those that need non-negative class means."""
