"""Units like the chosen ones in everything but the choice: nearest neighbours within a caliper."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neurosae.errors import DesignError

CALIPER = 0.25
"""Largest difference, in SD of each measure, between a unit and its match."""


def magnitude_measures(values: np.ndarray) -> np.ndarray:
    """How strongly and how variably each unit responds: log mean |x| and log SD over stimuli.

    Parameters
    ----------
    values : (n_stimuli, n_units)

    Returns
    -------
    (n_units, 2) float64; NaN for a unit that never responds or never varies

    Examples
    --------
    >>> magnitude_measures(np.array([[1.0, 0.0, 2.0], [3.0, 0.0, 2.0]])).round(2)
    array([[0.69, 0.  ],
           [ nan,  nan],
           [ nan,  nan]])
    """
    values = np.asarray(values, dtype=np.float64)
    measures = np.column_stack([np.abs(values).mean(axis=0), values.std(axis=0)])
    measures[(measures <= 0).any(axis=1)] = np.nan
    return np.log(measures)


@dataclass(frozen=True)
class Neighbours:
    """Candidates of each target, the nearest first, and how many of them one draws from.

    order (k, c) int: candidates by distance; n_drawn (k,) int: the first so many are drawn from;
    n_within (k,) int: the first so many lie within the caliper
    """

    order: np.ndarray
    n_drawn: np.ndarray
    n_within: np.ndarray


def neighbours(
    targets: np.ndarray,
    measures: np.ndarray,
    allowed: np.ndarray,
    *,
    at_least: int = 1,
    caliper: float = CALIPER,
) -> Neighbours:
    """Which units could stand in for each target.

    The distance is the largest difference over measures, each in SD over targets and allowed units. One draws
    from all units within the caliper; where these are fewer than ``at_least``, from that many nearest ones.

    Parameters
    ----------
    targets : (k,) int, units to be matched
    measures : (n, m) of all n units; NaN marks a unit that cannot be matched
    allowed : (n,) bool, units that may stand in
    at_least : size of the smallest set to draw from
    caliper : in SD

    Raises
    ------
    DesignError
        If a target has no measures, or there are fewer candidates than targets.

    Source
    ------
    Rosenbaum & Rubin 1985, Am Stat 39:33 (nearest neighbours within calipers of 0.25 SD).

    Examples
    --------
    >>> found = neighbours(np.array([0]), np.array([[0.0], [0.1], [5.0]]), np.array([False, True, True]))
    >>> found.order.tolist(), found.n_drawn.tolist()
    ([[1, 2]], [1])
    """
    candidates = np.flatnonzero(allowed & np.isfinite(measures).all(axis=1))
    _check_candidates(targets, measures, candidates)
    spread = measures[np.union1d(targets, candidates)].std(axis=0)
    scaled = measures / np.where(spread > 0, spread, 1.0)
    distance = np.abs(scaled[targets][:, None] - scaled[candidates]).max(axis=2)
    nearest = np.argsort(distance, axis=1, kind="stable")
    n_within = (distance <= caliper).sum(axis=1)
    n_drawn = np.clip(n_within, min(at_least, len(candidates)), None)
    return Neighbours(candidates[nearest], n_drawn, n_within)


def _check_candidates(targets: np.ndarray, measures: np.ndarray, candidates: np.ndarray) -> None:
    n_silent = int((~np.isfinite(measures[targets]).all(axis=1)).sum())
    if n_silent:
        raise DesignError(
            f"{n_silent} of {len(targets)} units to be matched never respond or never vary in the responses; "
            "match on responses in which they do, or leave them out."
        )
    if len(candidates) < len(targets):
        raise DesignError(
            f"{len(candidates)} candidates cannot match {len(targets)} units without replacement; "
            "choose a smaller region, or exclude fewer units."
        )


def draw_match(found: Neighbours, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """One set of stand-ins, one for each target, without replacement.

    Targets choose in random order among their neighbours that are still free, or else take the nearest free
    candidate.

    Returns
    -------
    units : (k,) int, in the order of the targets
    n_outside : how many of them lie beyond the caliper

    Examples
    --------
    >>> found = Neighbours(np.array([[3, 5], [3, 5]]), np.array([1, 1]), np.array([1, 1]))
    >>> units, n_outside = draw_match(found, np.random.default_rng(0))
    >>> sorted(units.tolist()), n_outside
    ([3, 5], 1)
    """
    units = np.full(len(found.order), -1)
    taken: set[int] = set()
    n_outside = 0
    for target in rng.permutation(len(units)):
        place = _free_place(found.order[target], int(found.n_drawn[target]), taken, rng)
        units[target] = found.order[target, place]
        taken.add(int(units[target]))
        n_outside += int(place >= found.n_within[target])
    return units, n_outside


def _free_place(order: Sequence[int], n_drawn: int, taken: set[int], rng: np.random.Generator) -> int:
    free = [place for place in range(n_drawn) if int(order[place]) not in taken]
    if free:
        return int(free[rng.integers(len(free))])
    return next(place for place in range(n_drawn, len(order)) if int(order[place]) not in taken)
