"""Which stimuli a contrast compares, and with what weights: 'emotion > neutral' against a stimulus table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TypeAlias

import numpy as np
import pandas as pd

from neurosae.errors import ContrastError
from neurosae.protocol.grammar import Comparison, Reference, Weights, interaction_parts, parse_comparison
from neurosae.schema.spelling import listed, nearest

CONDITION = "condition"

NOT_FACTORS = ("stimulus", "text", "item", "pair", "family", "target_start", "target_end")
"""Columns whose values are never read as levels."""

_NEGLIGIBLE = 1e-9  # rounding of decimal weights such as 1/3 written as 0.333333333

Factors: TypeAlias = Mapping[str, tuple[str, ...]]
Cell: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Contrast:
    """A weighted comparison of cells of a stimulus table.

    text : as written
    columns : columns of the table that define the cells
    weights : weight of each cell, a tuple of levels in the order of ``columns``; they sum to 0. Cells of
        weight 0 are left out. In 'A > B' the positive weights sum to 1 and the negative ones to -1, so that
        the effect is a difference of means in units of the response.
    """

    text: str
    columns: tuple[str, ...]
    weights: Mapping[Cell, float]

    @property
    def vector(self) -> np.ndarray:
        """Weights (n_cells,) float64, in the order of ``weights``."""
        return np.array(list(self.weights.values()), dtype=np.float64)

    def cells(self, table: pd.DataFrame) -> np.ndarray:
        """Cell of each row of ``table``: (n_rows,) int64, index into ``weights``, -1 for rows in no cell.

        Raises
        ------
        ContrastError
            If ``table`` lacks one of ``columns``.
        """
        missing = [name for name in self.columns if name not in table]
        if missing:
            raise ContrastError(f"contrast {self.text!r}: the table has no column {missing[0]!r}.")
        index = {cell: number for number, cell in enumerate(self.weights)}
        return np.array([index.get(cell, -1) for cell in _row_cells(table, self.columns)], dtype=np.int64)


def parse_contrast(text: str, table: pd.DataFrame) -> Contrast:
    """The cells of ``table`` that ``text`` compares, and their weights.

    'A > B' is mean(A) - mean(B); 'A < B' is 'B > A'; several conditions on a side are averaged, as in
    '(A + B) > C', with weights where given, '(2*A + B) > C'. Without '>' weights are taken as written:
    'a - 0.5*b - 0.5*c'. linear(A, B, C) is a rising trend and quad(A, B, C) one that falls and rises, with
    positive weights that sum to 1. ':' joins contrasts of different columns to their interaction:
    '(A > B) : (C > D)' is the difference A - B in C less that in D. The sign fixes what a positive effect
    means; it does not make a test one-sided.

    Parameters
    ----------
    text : str
        The contrast. Names that are no plain words go in `backticks`.
    table : DataFrame
        The stimuli. A name is a level of ``condition``; else a level of exactly one other column; else a
        column, meaning all its levels with equal weight. column[level] is always exact. Columns that
        identify stimuli (item, pair, family, text, target spans) hold no levels.

    Returns
    -------
    Contrast
        Over one column as a rule. If names come from several columns, cells are combinations of levels that
        occur, and a level stands for the unweighted mean of its cells.

    Raises
    ------
    ContrastError
        If the text is no contrast, a name is unknown or ambiguous, the sides overlap, the weights are all
        zero or do not sum to zero, or an interaction joins contrasts of one column or lacks a cell.

    Examples
    --------
    >>> table = pd.DataFrame({"condition": ["joy", "fear", "neutral"]})
    >>> parse_contrast("(joy + fear) > neutral", table).weights
    {('joy',): 0.5, ('fear',): 0.5, ('neutral',): -1.0}
    """
    if not isinstance(text, str):
        raise ContrastError(f"a contrast is text such as 'A > B', not {text!r}.")
    parts = interaction_parts(text)
    if len(parts) > 1:
        return _interaction(text, [parse_contrast(part, table) for part in parts], table)
    comparison = parse_comparison(text)
    factors = factor_levels(table)
    left, right = (_levels(text, side, factors) for side in (comparison.left, comparison.right))
    columns = tuple(dict.fromkeys(column for column, _ in [*left, *right]))
    sides = tuple(_cells(text, side, columns, table) for side in (left, right))
    weights = _combined(text, comparison, *sides)
    return Contrast(text, columns, weights)


def factor_levels(table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Levels of every factor of a stimulus table, sorted; an empty or missing cell is no level.

    Examples
    --------
    >>> factor_levels(pd.DataFrame({"condition": ["b", "a"], "item": ["1", "2"], "size": ["big", ""]}))
    {'condition': ('a', 'b'), 'size': ('big',)}
    """
    names = [str(name) for name in table.columns if name not in NOT_FACTORS]
    return {name: tuple(sorted(set(table[name].dropna().astype(str)) - {""})) for name in names}


def _interaction(text: str, parts: Sequence[Contrast], table: pd.DataFrame) -> Contrast:
    """The product of contrasts over different columns: a difference of differences."""
    columns = tuple(name for part in parts for name in part.columns)
    twice = [name for name in dict.fromkeys(columns) if columns.count(name) > 1]
    if twice:
        raise ContrastError(
            f"contrast {text!r}: both sides of ':' compare levels of {twice[0]!r}. An interaction joins "
            "contrasts of different columns."
        )
    weights = {
        sum((cell for cell, _ in chosen), ()): prod(weight for _, weight in chosen)
        for chosen in product(*(part.weights.items() for part in parts))
    }
    occurring = set(_row_cells(table, columns))
    missing = [cell for cell in weights if cell not in occurring]
    if missing:
        raise ContrastError(
            f"contrast {text!r}: no stimulus is {' and '.join(missing[0])}; an interaction needs every "
            "combination."
        )
    return Contrast(text, columns, weights)


def _levels(text: str, side: Weights, factors: Factors) -> dict[tuple[str, str], float]:
    """Weights of (column, level) pairs; a bare factor spreads its weight evenly over its levels."""
    total: dict[tuple[str, str], float] = {}
    for reference, weight in side.items():
        column, levels = _resolve(text, reference, factors)
        for level in levels:
            total[column, level] = total.get((column, level), 0.0) + weight / len(levels)
    return total


def _resolve(text: str, reference: Reference, factors: Factors) -> tuple[str, tuple[str, ...]]:
    name, column = reference.name, reference.column
    if column is not None:
        return _exact_level(text, name, column, factors)
    if name in factors.get(CONDITION, ()):
        return CONDITION, (name,)
    owners = [factor for factor, levels in factors.items() if name in levels]
    if len(owners) > 1:
        raise ContrastError(
            f"contrast {text!r}: {name!r} is a level of several columns ({', '.join(owners)}); "
            f"write {owners[0]}[{name}]."
        )
    if owners:
        return owners[0], (name,)
    if factors.get(name):
        return name, factors[name]
    raise ContrastError(
        f"contrast {text!r}: no condition {name!r}{_meant(name, factors)} {_existing(factors)}"
    )


def _exact_level(text: str, level: str, column: str, factors: Factors) -> tuple[str, tuple[str, ...]]:
    if column not in factors:
        raise ContrastError(
            f"contrast {text!r}: no factor {column!r}{nearest(column, factors)} Factors: {listed(factors)}."
        )
    if level not in factors[column]:
        raise ContrastError(
            f"contrast {text!r}: factor {column!r} has no level {level!r}{nearest(level, factors[column])} "
            f"Levels: {listed(factors[column])}."
        )
    return column, (level,)


def _meant(name: str, factors: Factors) -> str:
    known = [*factors, *(level for levels in factors.values() for level in levels)]
    unquoted = [other for other in known if other.startswith(name) and not other.isidentifier()]
    return f"; did you mean `{unquoted[0]}`, in backticks?" if unquoted else nearest(name, known)


def _existing(factors: Factors) -> str:
    conditions = f"Conditions: {listed(factors[CONDITION])}." if factors.get(CONDITION) else ""
    others = [factor for factor in factors if factor != CONDITION]
    return f"{conditions} Other factors: {listed(others)}.".strip() if others else conditions


def _row_cells(table: pd.DataFrame, columns: tuple[str, ...]) -> list[Cell]:
    return list(zip(*(table[name].astype(str) for name in columns), strict=True))


def _cells(
    text: str, levels: Mapping[tuple[str, str], float], columns: tuple[str, ...], table: pd.DataFrame
) -> dict[Cell, float]:
    """Weights of cells over ``columns``; a level is the unweighted mean of its cells."""
    occurring = sorted({cell for cell in _row_cells(table, columns) if "" not in cell})
    total: dict[Cell, float] = {}
    for (column, level), weight in levels.items():
        own = [cell for cell in occurring if cell[columns.index(column)] == level]
        if not own:
            raise ContrastError(
                f"contrast {text!r}: no stimulus of {level!r} has a value in all of {', '.join(columns)}."
            )
        for cell in own:
            total[cell] = total.get(cell, 0.0) + weight / len(own)
    return total


def _combined(
    text: str, comparison: Comparison, left: Mapping[Cell, float], right: Mapping[Cell, float]
) -> dict[Cell, float]:
    if not comparison.sign:
        return _checked(text, left)
    shared = [cell for cell in left if cell in right]
    if shared:
        raise ContrastError(
            f"contrast {text!r}: both sides hold {', '.join(shared[0])}. Name a condition on one side only."
        )
    sign = 1.0 if comparison.sign == ">" else -1.0
    sides = ((sign, _average(text, left)), (-sign, _average(text, right)))
    return _checked(text, {cell: way * weight for way, side in sides for cell, weight in side.items()})


def _average(text: str, side: Mapping[Cell, float]) -> dict[Cell, float]:
    total = sum(side.values())
    if min(side.values()) < 0 or total <= 0:
        raise ContrastError(
            f"contrast {text!r}: a side of '>' is an average and takes no negative or zero weights. Write "
            "the whole contrast with + and - instead, as in 'A - 0.5*B - 0.5*C'."
        )
    return {cell: weight / total for cell, weight in side.items()}


def _checked(text: str, weights: Mapping[Cell, float]) -> dict[Cell, float]:
    scale = max(abs(weight) for weight in weights.values())
    kept = {cell: weight for cell, weight in weights.items() if abs(weight) > _NEGLIGIBLE * scale}
    if not kept:
        raise ContrastError(f"contrast {text!r}: every weight is zero, so that nothing is compared.")
    total = sum(kept.values())
    if abs(total) > len(kept) * _NEGLIGIBLE * scale:
        raise ContrastError(
            f"contrast {text!r}: the weights sum to {total:g}, not 0. Name what is compared, as in 'A > B', "
            "or let the weights cancel, as in 'A - 0.5*B - 0.5*C'."
        )
    return kept
