"""Which rows of an RDM may trade places if the classes do not matter, and whether that is enough to test.

Exchangeability follows from the units of inference. Where each unit has one row, all rows exchange. Where
each unit has several (a family that holds all conditions), rows exchange within their unit. A model that is
the same for all rows of a unit is tested by exchanging whole units.
"""

import numpy as np

from neurosae.arrays.permutation import Relabelings, orders
from neurosae.errors import DesignError

FEW_UNITS = 8
"""With fewer units than this the number of distinct relabelings is checked before a test."""

_ENOUGH = 20
"""Distinct relabelings that fewer units need, so that p = .05 can be reached."""

ENUMERATED = 10_000
"""Relabelings up to which a small design is enumerated to count the distinct ones."""

WHOLE_UNITS = "whole units"
"""Scheme in which all rows of a unit move together."""


def unit_strata(units: np.ndarray) -> np.ndarray | None:
    """The units as strata of a permutation, or None if every unit has a single row.

    Raises
    ------
    DesignError
        If some units have one row and others several: then no permutation respects them all.

    Examples
    --------
    >>> unit_strata(np.array(["x", "x", "y", "y"]))
    array([0, 0, 1, 1])
    """
    codes, counts = np.unique(units, return_inverse=True, return_counts=True)[1:]
    if counts.max(initial=1) == 1:
        return None
    n_single = int((counts == 1).sum())
    if n_single:
        raise DesignError(
            f"{n_single} units have one row and {len(counts) - n_single} have several, so rows can be "
            "exchanged neither between units nor within them. Keep only units of one kind, or name another "
            "unit."
        )
    return codes


def row_orders(
    units: np.ndarray, levels: np.ndarray, model: np.ndarray, n_permutations: int, *, seed: int
) -> Relabelings:
    """Orders of the rows of an RDM that are equally likely if the model does not matter.

    Parameters
    ----------
    units : (n,) unit of inference of each row
    levels : (n,) condition of each row
    model : (n, n) model RDM
    n_permutations, seed : as in `neurosae.arrays.permutation.orders`

    Returns
    -------
    Relabelings
        ``labels`` (P, n); scheme ``"between"``, ``"within strata"`` or ``"whole units"``.

    Raises
    ------
    DesignError
        If units have different numbers of rows where only whole units could exchange, or only some units
        have several rows.

    Examples
    --------
    >>> model = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    >>> row_orders(np.array(["x", "y", "z"]), np.array(["a", "b", "a"]), model, 99, seed=0).scheme
    'between'
    """
    strata = unit_strata(units)
    if strata is None or (model[strata[:, None] == strata[None, :]] != 0).any():
        return orders(len(units), n_permutations, seed=seed, strata=strata)
    return _whole_unit_orders(strata, levels, n_permutations, seed=seed)


def check_relabelings(n_units: int, relabelings: Relabelings, unchanged: np.ndarray) -> None:
    """Refuse a test that cannot reach p = .05.

    Parameters
    ----------
    n_units : units of inference; from 8 on nothing is checked
    relabelings : all relabelings, or a sample if there are more than ``ENUMERATED``
    unchanged : (P,) bool, relabelings that leave the statistic as it is

    Raises
    ------
    DesignError
        If fewer than 8 units give fewer than 20 distinct relabelings.
    """
    if n_units >= FEW_UNITS or not relabelings.exact:
        return
    n_distinct = len(relabelings) // max(1, int(unchanged.sum()))
    if n_distinct < _ENOUGH:
        raise DesignError(
            f"{n_units} units give {n_distinct} distinct relabelings, so p cannot fall below "
            f"{1 / n_distinct:.2g}. Fewer than {FEW_UNITS} units need at least {_ENOUGH} relabelings; "
            f"use at least {FEW_UNITS} units."
        )


def _whole_unit_orders(
    strata: np.ndarray, levels: np.ndarray, n_permutations: int, *, seed: int
) -> Relabelings:
    rows = [np.flatnonzero(strata == unit) for unit in range(strata.max() + 1)]
    rows = [own[np.argsort(levels[own], kind="stable")] for own in rows]
    if len({tuple(levels[own].tolist()) for own in rows}) > 1:
        raise DesignError(
            "the model is the same for all rows of a unit, so whole units are exchanged, but the units hold "
            "different conditions. Average to one row a unit, or keep units that hold the same conditions."
        )
    table = np.stack(rows)
    drawn = orders(len(table), n_permutations, seed=seed)
    labels = np.empty((len(drawn), len(strata)), dtype=int)
    labels[:, table] = table[drawn.labels]
    return Relabelings(labels, drawn.exact, WHOLE_UNITS)
