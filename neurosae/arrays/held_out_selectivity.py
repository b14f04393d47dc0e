"""How selective a feature is on units that did not choose its preferred class: indices over half splits.

The largest of several class means is large in noise too. Here one half of the units chooses the class and the
other half is measured, so that noise gives the value of no selectivity.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neurosae.arrays.class_averages import class_matrices
from neurosae.arrays.selectivity_measures import class_auroc, is_largest, preferred_class, ratio
from neurosae.errors import DesignError

_ELEMENTS = 4_000_000
"""Class means (half, class, feature) held at a time, 32 MB in float64."""


def split_halves(labels: np.ndarray, units: np.ndarray, n_splits: int, *, seed: int) -> np.ndarray:
    """Random halves of the rows: units stay whole, and each class is spread evenly over both halves.

    Parameters
    ----------
    labels : (n,) int, class of each row
    units : (n,) unit of inference of each row
    n_splits : H
    seed : root of the random numbers

    Returns
    -------
    (H, n) bool, whether a row is in the first half

    Raises
    ------
    DesignError
        If ``n_splits`` is below 1, or some half lacks a class.

    Examples
    --------
    >>> split_halves(np.array([0, 0, 1, 1]), np.arange(4), 2, seed=0).sum(axis=1)
    array([2, 2])
    """
    if n_splits < 1:
        raise DesignError(f"n_splits is {n_splits}; it must be at least 1.")
    names, unit = np.unique(units, return_inverse=True)
    holds = np.zeros((len(names), labels.max() + 1), dtype=bool)
    holds[unit, labels] = True
    kind = np.unique(holds, axis=0, return_inverse=True)[1].ravel()
    rng = np.random.default_rng(seed)
    halves = np.stack([_deal(kind, rng)[unit] for _ in range(n_splits)])
    _check_halves(halves, labels)
    return halves


def _deal(kind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Side of each unit: units of one kind alternate in random order, the odd one out goes on alternating."""
    side = np.empty(len(kind), dtype=bool)
    dealt = 0
    for value in range(kind.max() + 1):
        members = rng.permutation(np.flatnonzero(kind == value))
        side[members] = (dealt + np.arange(len(members))) % 2 == 0
        dealt += len(members)
    return side


def _check_halves(halves: np.ndarray, labels: np.ndarray) -> None:
    for k in range(labels.max() + 1):
        inside = halves[:, labels == k]
        if inside.all(axis=1).any() or not inside.any(axis=1).all():
            raise DesignError(
                "some half lacks a class: units that hold several classes stay whole, and too few units hold "
                "this one. Add units, or keep those that hold the same classes."
            )


def _rest(means: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return (means.sum(axis=-2) - chosen) / (means.shape[-2] - 1)


def _share(means: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return ratio(chosen, np.abs(means).sum(axis=-2))


def _normalised(means: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    n_classes = means.shape[-2]
    return (n_classes * _share(means, chosen) - 1) / (n_classes - 1)


def _morcos(means: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    rest = _rest(means, chosen)
    return ratio(chosen - rest, np.abs(chosen) + np.abs(rest))


def _difference(means: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return chosen - _rest(means, chosen)


@dataclass(frozen=True)
class HeldOutIndex:
    """An index of one half, given the class that the other half chose; ``floor`` without selectivity."""

    measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
    long_name: str
    units: str
    floor: Callable[[int], float]
    is_ratio: bool = True


def _zero(n_classes: int) -> float:
    return 0.0


HELD_OUT_INDICES = {
    "morcos": HeldOutIndex(_morcos, "held-out class selectivity index", "1", _zero),
    "maxshare": HeldOutIndex(_share, "held-out share of the preferred class", "1", lambda k: 1 / k),
    "normalised_maxshare": HeldOutIndex(
        _normalised, "held-out share of the preferred class, 0 at 1/K", "1", _zero
    ),
    "difference": HeldOutIndex(
        _difference, "held-out preferred class minus the mean of the others", "SD", _zero, is_ratio=False
    ),
}
"""Measures by name, (..., K, F) class means and (..., F) mean of the chosen class -> (..., F)."""


def half_means(values: np.ndarray, labels: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Class means in each half and, behind these, in each other half: (n, F) -> (2 H, K, F).

    Examples
    --------
    >>> half_means(np.array([[1.0], [3.0], [5.0], [6.0]]), np.array([0, 0, 1, 1]),
    ...            np.array([[True, False, True, False]])).squeeze()
    array([[1., 5.],
           [3., 6.]])
    """
    sides = np.concatenate([halves, ~halves])
    member = labels == np.arange(labels.max() + 1)[:, None]
    weights = sides[:, None] & member
    weights = weights / weights.sum(axis=2, keepdims=True)
    means = weights.reshape(-1, len(labels)) @ values
    return means.reshape(len(sides), len(member), -1)


def held_out_index(
    values: np.ndarray, labels: np.ndarray, halves: np.ndarray, index: str, *, orders: np.ndarray
) -> np.ndarray:
    """Index of one half for the class that the other half prefers, mean over halves, for each relabeling.

    A half in which all class means are equal (a silent one, say) prefers nothing, and one without any
    response shows nothing: both count as the floor, the value without selectivity.

    Parameters
    ----------
    values : (n, F) float64; in SD over units for ``"difference"``
    labels : (n,) int
    halves : (H, n) bool, see `split_halves`
    index : one of ``HELD_OUT_INDICES``
    orders : (P, n) int; labels and halves move together, so that each relabeling keeps the halves balanced

    Returns
    -------
    (P, F)

    Source
    ------
    Kriegeskorte et al. 2009, Nat Neurosci 12:535 (selection and measurement on different data).

    Examples
    --------
    >>> values = np.array([[4.0], [5.0], [0.0], [1.0]])
    >>> held_out_index(values, np.array([0, 0, 1, 1]), np.array([[True, False, True, False]]), "morcos",
    ...                orders=np.arange(4)[None]).round(3)
    array([[0.833]])
    """
    found = np.empty((len(orders), values.shape[1]))
    size = max(1, _ELEMENTS // (2 * len(halves) * (labels.max() + 1)))
    for start in range(0, values.shape[1], size):
        chunk = slice(start, start + size)
        part = np.ascontiguousarray(values[:, chunk])
        for row, order in enumerate(orders):
            means = half_means(part, labels[order], halves[:, order])
            found[row, chunk] = _of_halves(means, HELD_OUT_INDICES[index]).mean(axis=0)
    return found


def _of_halves(means: np.ndarray, index: HeldOutIndex) -> np.ndarray:
    """Index of each half for the class that its other half prefers: (2 H, K, F) -> (2 H, F)."""
    one, other = np.split(means, 2)
    return np.concatenate([_tested(one, other, index), _tested(other, one, index)])


def _tested(chooser: np.ndarray, tested: np.ndarray, index: HeldOutIndex) -> np.ndarray:
    largest = is_largest(chooser)
    # From the last class to the first, so that ties go to the first, as in `preferred_class`; several times
    # as fast as an argmax over this axis.
    chosen = tested[:, -1]
    for k in reversed(range(tested.shape[1] - 1)):
        chosen = np.where(largest[:, k], tested[:, k], chosen)
    value = index.measure(tested, chosen)
    undecided = has_no_preference(chooser) | np.isnan(value)
    return np.where(undecided, index.floor(tested.shape[1]), value)


def has_no_preference(means: np.ndarray) -> np.ndarray:
    """Whether all class means are equal: (..., K, F) -> (..., F) bool."""
    return means.max(axis=-2) == means.min(axis=-2)


def votes(values: np.ndarray, labels: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Share of the 2 H halves that prefer each class: (n, F) -> (K, F); halves without preference abstain.

    Examples
    --------
    >>> votes(np.array([[1.0], [3.0], [5.0], [2.0]]), np.array([0, 0, 1, 1]),
    ...       np.array([[True, False, True, False]])).ravel()
    array([0.5, 0.5])
    """
    means = half_means(values, labels, halves)
    best = np.where(has_no_preference(means), -1, preferred_class(means))
    return np.stack([(best == k).mean(axis=0) for k in range(means.shape[1])])


def held_out_auroc(values: np.ndarray, labels: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """AUROC in one half of the class that the other half prefers, against the rest: (n, F) -> (F,).

    Mean over the 2 H halves; 0.5 where the other half prefers nothing.

    Examples
    --------
    >>> held_out_auroc(np.array([[4.0], [5.0], [0.0], [1.0]]), np.array([0, 0, 1, 1]),
    ...                np.array([[True, False, True, False]]))
    array([1.])
    """
    n_classes = int(labels.max()) + 1
    total = np.zeros(values.shape[1])
    for half in halves:
        means = half_means(values, labels, half[None])
        for chooser, tested in ((0, ~half), (1, half)):
            areas = class_auroc(values[tested], class_matrices(labels[None, tested], n_classes))[0]
            own = np.take_along_axis(areas, preferred_class(means[chooser])[None], axis=0)[0]
            total += np.where(has_no_preference(means[chooser]), 0.5, own)
    return total / (2 * len(halves))
