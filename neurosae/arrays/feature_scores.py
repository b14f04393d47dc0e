"""Which features promise to tell classes apart? Scores by which a decoder selects, on training rows only.

The label-aware scores ask for a difference of means (eta2, meandiff, welch, rank, CDI), for similarity within
classes (CMI), or for less dispersion in one class (TDI, COH). max, variance and random do not look at labels:
what they reach, a score that does has to exceed before it says anything about the score.

With one value a stimulus CDI is (v_1/n_1 + v_2/n_2)(t² - 1), t after Welch: a univariate contrast. Category
indices say more than that only of patterns, such as several windows a stimulus.
"""

from collections.abc import Callable
from itertools import combinations
from math import ceil
from typing import NamedTuple

import numpy as np

from neurosae.arrays.class_averages import class_matrices, class_means
from neurosae.arrays.effect_size import average_ranks
from neurosae.arrays.rdm_comparison import rho_a_of_auroc
from neurosae.arrays.selectivity_measures import class_auroc, is_varying
from neurosae.errors import DesignError

PATTERN_SELECTORS = ("CDI", "CMI", "TDI", "COH")
"""Scores that use all windows of a stimulus; the others see the mean over windows."""

DIRECTED_SELECTORS = ("maxpos", "TDI", "COH")
"""Scores of a target (class 0) against the rest (class 1): two classes only."""

LABEL_BLIND = ("max", "variance", "random")

_FEWEST_ACTIVE, _ACTIVE_SHARE = 5, 0.02
_PAIR_ELEMENTS = 4_000_000
"""Numbers of pairs x features ranked at a time."""


class Moments(NamedTuple):
    """Mean and unbiased variance (P, K, F) and number (P, K, 1) of rows of each class."""

    mean: np.ndarray
    variance: np.ndarray
    n_rows: np.ndarray


def is_alive(values: np.ndarray) -> np.ndarray:
    """Features that fire in at least max(5, 2 % of n) rows and vary: (n, F) -> (F,) bool, blind to labels.

    A value other than 0 is firing: values of units always fire, those of sparse features where active.

    Source
    ------
    Bourgon, Gentleman & Huber 2010, PNAS 107:9546 (filters that do not know the labels).

    Examples
    --------
    >>> is_alive(np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 0.0], [0.0, 1.0, 3.0], [0.0, 1.0, 4.0]] * 2))
    array([False, False,  True])
    """
    fewest = max(_FEWEST_ACTIVE, ceil(_ACTIVE_SHARE * len(values)))
    return (np.count_nonzero(values, axis=0) >= fewest) & is_varying(values)


def score_features(
    values: np.ndarray, labels: np.ndarray, n_classes: int, selector: str, *, seed: int = 0
) -> np.ndarray:
    """How much each feature recommends itself under each label vector; the largest scores are selected.

    Parameters
    ----------
    values : (n, F), or (n, W, F) with W windows of each row
    labels : (P, n) int, every class at least twice in every row
    n_classes : K
    selector : one of ``SELECTORS``
    seed : of ``"random"``

    Returns
    -------
    (P, F)

    Raises
    ------
    DesignError
        If the selector is unknown, or compares a target with the rest and K is not 2.

    Source
    ------
    Kantamneni et al. 2025, arXiv 2502.16681 (meandiff); Nili et al. 2020, PLoS ONE 15:e0232551 (exemplar
    and category discriminability).

    Examples
    --------
    >>> values = np.array([[0.0, 5.0], [2.0, 5.0], [4.0, 6.0], [6.0, 6.0]])
    >>> score_features(values, np.array([[0, 0, 1, 1]]), 2, "meandiff")
    array([[4., 1.]])
    """
    check_selector(selector, n_classes)
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 2 else values
    if selector not in PATTERN_SELECTORS:
        values = values.mean(axis=1, keepdims=True)
    if selector == "random":
        scores = np.random.default_rng(seed).random(values.shape[2])
        return np.broadcast_to(scores, (len(labels), values.shape[2]))
    return SELECTORS[selector](values, np.asarray(labels), n_classes)


def check_selector(selector: str, n_classes: int) -> None:
    """Raise `DesignError` unless the selector is known and can compare this many classes."""
    if selector not in SELECTORS:
        raise DesignError(f"no selector {selector!r}; choose one of {list(SELECTORS)}.")
    if selector in DIRECTED_SELECTORS and n_classes != 2:
        raise DesignError(
            f"selector {selector!r} compares a target with the rest, but there are {n_classes} classes; "
            "use 'CDI', 'welch' or another one without direction, or make two classes."
        )


def moments(values: np.ndarray, labels: np.ndarray, n_classes: int) -> Moments:
    """Mean, variance and number of rows of each class under each label vector; values (n, F).

    Examples
    --------
    >>> moments(np.array([[1.0], [3.0], [5.0], [5.0]]), np.array([[0, 0, 1, 1]]), 2).variance.ravel()
    array([2., 0.])
    """
    classes = class_matrices(labels, n_classes)
    count = classes.counts[:, :, None]
    # Centring first keeps the digits that squares of large values would lose.
    centre = values.mean(axis=0)
    mean = class_means(values - centre, classes)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (class_means((values - centre) ** 2, classes) - mean**2) * count / (count - 1)
    # Equal values leave a variance of rounding size.
    variance = np.where(variance > 1e-12 * values.var(axis=0), variance, 0.0)
    return Moments(mean + centre, variance, count)


def _eta2(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    rows = values[:, 0]
    sd = rows.std(axis=0)
    z = np.divide(rows - rows.mean(axis=0), sd, out=np.zeros_like(rows), where=sd > 0)
    classes = class_matrices(labels, n_classes)
    return (classes.counts[:, :, None] * class_means(z, classes) ** 2).sum(axis=1)


def _meandiff(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    mean = class_means(values[:, 0], class_matrices(labels, n_classes))
    return mean.max(axis=1) - mean.min(axis=1)


def _welch(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    mean, variance, count = moments(values[:, 0], labels, n_classes)
    error = variance / count
    t = [
        _ratio(np.abs(mean[:, k] - mean[:, m]), np.sqrt(error[:, k] + error[:, m]))
        for k, m in combinations(range(n_classes), 2)
    ]
    return np.max(t, axis=0)


def _rank(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    return np.abs(class_auroc(values[:, 0], class_matrices(labels, n_classes)) - 0.5).max(axis=1)


def _cdi(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    mean, variance, count = moments(values.reshape(len(values), -1), labels, n_classes)
    between = mean.var(axis=1, ddof=1) * 2
    within = 2 * (variance / count).mean(axis=1)
    return _over_windows(between - within, values)


def _tdi(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    mean, variance, count = moments(values.reshape(len(values), -1), labels, n_classes)
    # d_12 is over all pairs of a row of each class, d_11 without the diagonal.
    share = (count - 1) / count
    between = (mean[:, 0] - mean[:, 1]) ** 2 + (variance * share).sum(axis=1)
    return _over_windows(between - 2 * variance[:, 0], values)


def _coh(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    variance = moments(values.reshape(len(values), -1), labels, n_classes).variance
    return _over_windows(2 * (variance[:, 1] - variance[:, 0]), values)


def _cmi(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    first, second = np.triu_indices(len(values), 1)
    is_within = labels[:, first] == labels[:, second]
    n_within = is_within.sum(axis=1)[:, None]
    n_between = len(first) - n_within
    n_block = max(1, _PAIR_ELEMENTS // (len(first) * values.shape[1]))
    starts = range(0, values.shape[2], n_block)
    parts = []
    for start in starts:
        block = values[:, :, start : start + n_block]
        distances = ((block[first] - block[second]) ** 2).sum(axis=1)
        within = is_within.astype(float) @ average_ranks(distances)
        area = 1 - (within - n_within * (n_within + 1) / 2) / (n_within * n_between)
        parts.append(rho_a_of_auroc(area, n_between, n_within))
    return np.concatenate(parts, axis=1)


def _max(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    return np.broadcast_to(values[:, 0].max(axis=0), (len(labels), values.shape[2]))


def _variance(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    return np.broadcast_to(values[:, 0].var(axis=0), (len(labels), values.shape[2]))


def _maxpos(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    largest = [[values[row == k, 0].max(axis=0) for k in (0, 1)] for row in labels]
    return np.array([target - rest for target, rest in largest])


def _unscored(values: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    return np.zeros((len(labels), values.shape[2]))


def _over_windows(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    return scores.reshape(len(scores), *values.shape[1:]).mean(axis=1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Without any variance an exact difference is infinitely clear, no difference is none."""
    certain = np.where(numerator > 0, np.inf, 0.0)
    return np.divide(numerator, denominator, out=certain, where=denominator > 0)


SELECTORS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "eta2": _eta2,
    "meandiff": _meandiff,
    "welch": _welch,
    "rank": _rank,
    "CDI": _cdi,
    "CMI": _cmi,
    "TDI": _tdi,
    "COH": _coh,
    "maxpos": _maxpos,
    "max": _max,
    "variance": _variance,
    "random": _unscored,
}
"""Score by name: values (n, W, F), labels (P, n), number of classes -> (P, F).

eta2      share of variance between classes            welch     largest |t| of two classes, unequal variances
meandiff  largest difference of class means            rank      largest |AUROC - 1/2| of a class and the rest
CDI       squared distance of class means, unbiased    CMI       rho-a of the distances with the 0/1 model
TDI, COH  dispersion of the target (class 0)           maxpos    largest value in the target minus in the rest
max       largest value    variance    random          blind to labels
"""
