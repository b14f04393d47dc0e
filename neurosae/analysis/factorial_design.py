"""Which factors vary between units and which within, and the test of each term of a factorial model.

Every term gets one table of scores. Its factors that vary within units are contrasted (or averaged) within
each unit, and the scores are regressed on its factors that vary between units. This is analysis of variance
with the unit-by-factor error terms of split-plot and repeated-measures designs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import pandas as pd

from neurosae.analysis.contrast_design import (
    Design,
    averaging,
    check_sizes,
    complete_units,
    nuisance_rows,
    warn_imbalance,
)
from neurosae.analysis.terms import Term, parse_terms
from neurosae.arrays.f_statistics import TermModel, term_model
from neurosae.errors import ContrastError, DesignError
from neurosae.protocol.contrast import factor_levels
from neurosae.schema.spelling import listed, nearest
from neurosae.schema.units import unit_column

_ADVICE = (
    "F takes variances as equal, and with unequal cells a wider spread in one alone makes p too small or too "
    "large: balance the cells, or compare two of them with contrast_map and test='welch'."
)


@dataclass(frozen=True)
class Factorial:
    """Units and cells of a factorial design; U units, C combinations of the levels that vary within them.

    design : rows are units, or unit x cell; tested, modelled : terms, tuples of factor names
    rows : (U, C) row of each unit and cell
    between, within : codes of levels by factor, (U,) and (C,)
    """

    design: Design
    tested: tuple[Term, ...]
    modelled: tuple[Term, ...]
    rows: np.ndarray
    between: dict[str, np.ndarray]
    within: dict[str, np.ndarray]


@dataclass(frozen=True)
class TermTest:
    """The F test of one term on scores (n, F) = ``scores`` @ rows of the design.

    n_stacked : scores of each unit; flips : signs of units are relabeled, else their order
    cells : (U,) cell of each unit in the factors of the term that vary between units
    has_rest : other terms or nuisance share the scores
    scale : root mean square of the cell effects over the root of the summed squares of the coefficients
    """

    name: str
    scores: np.ndarray
    model: TermModel
    n_stacked: int
    flips: bool
    cells: np.ndarray
    has_rest: bool
    scale: float


def factorial_design(
    table: pd.DataFrame, text: str, *, unit: str = "auto", nuisance: Sequence[str] = ()
) -> Factorial:
    """Read a formula against a stimulus table and find units, cells, and what varies within units.

    Raises
    ------
    ContrastError
        If ``text`` is no formula or names an unknown factor.
    DesignError
        If units lack some combinations of the factors that vary within them, an interaction lacks a cell, a
        cell has fewer than 3 units, or a nuisance column is missing or not numeric.
    """
    tested, modelled = parse_terms(text)
    factors = tuple(dict.fromkeys(name for term in modelled for name in term))
    known = _checked_levels(text, factors, table)
    given = np.logical_and.reduce([table[name].astype(str).isin(known[name]) for name in factors])
    column = unit_column(table, unit)
    used, excluded = complete_units(table, np.flatnonzero(given), column, nuisance)
    rows = table.iloc[used].reset_index(drop=True)
    levels = _checked_levels(text, factors, rows)
    averaged, labels = averaging(rows, column, factors)
    first = np.unique(averaged, return_index=True)[1]
    units = pd.factorize(rows[column].astype(str).to_numpy()[first])[0]
    codes = {name: _codes(rows[name].astype(str).to_numpy()[first], levels[name]) for name in factors}
    names = np.array(["|".join(cell) for cell in rows[list(factors)].astype(str).to_numpy()[first]])
    cell_names, cells = np.unique(names, return_inverse=True)
    varying = [name for name in factors if _varies_within(codes[name], units)]
    order, within = _within_cells(text, column, units, {name: codes[name] for name in varying}, levels)
    design = Design(
        text=text,
        unit=column,
        used=used,
        averaged=averaged,
        labels=labels,
        cells=cells,
        units=units,
        groups=rows[unit_column(table)].to_numpy(dtype=str)[first],
        cell_names=tuple(cell_names.tolist()),
        weights=np.zeros(len(cell_names)),
        nuisance=nuisance_rows(rows, nuisance, averaged),
        is_paired=bool(varying),
        excluded=excluded,
    )
    check_sizes(design)
    between = {name: codes[name][order[:, 0]] for name in factors if name not in varying}
    _check_crossed(modelled, between, levels)
    warn_imbalance(design, _ADVICE)
    return Factorial(design, tested, modelled, order, between, within)


def term_test(factorial: Factorial, term: Term) -> TermTest:
    """The F test of one term: its scores, its regressors, and what is regressed out.

    Raises
    ------
    DesignError
        If the other terms or the nuisance explain the term, or no residual degree of freedom is left.
    """
    inside, outside = _parts(term, factorial)
    scores = _scores(factorial, inside)
    n_units = len(factorial.rows)
    stacked = np.eye(scores.shape[0] // n_units)
    same = [_parts(other, factorial) for other in factorial.modelled if set(other) != set(term)]
    others = [out for ins, out in same if set(ins) == set(inside) and out]
    rest = [_product(factorial.between, out, n_units) for out in (*others, *([()] if outside else []))]
    nuisance = scores @ factorial.design.nuisance
    model = term_model(
        np.kron(stacked, _product(factorial.between, outside, n_units)),
        np.column_stack([*(np.kron(stacked, part) for part in rest), _scaled(nuisance)]),
    )
    sizes = [int(codes.max()) + 1 for codes in (factorial.between | factorial.within).values()]
    names = [*factorial.between, *factorial.within]
    n_effects = prod(size for name, size in zip(names, sizes, strict=True) if name in term)
    cells = np.unique(
        np.array([[0] * n_units, *(factorial.between[name] for name in outside)]).T,
        axis=0,
        return_inverse=True,
    )[1].ravel()
    return TermTest(
        name=":".join(term),
        scores=scores,
        model=model,
        n_stacked=len(stacked),
        flips=not outside,
        cells=cells,
        has_rest=bool(others) or nuisance.shape[1] > 0,
        scale=float(n_effects**-0.5),
    )


def _checked_levels(text: str, factors: tuple[str, ...], table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    known = factor_levels(table)
    for name in factors:
        if name not in known:
            raise ContrastError(
                f"terms {text!r}: no factor {name!r}{nearest(name, known)} Factors: {listed(known)}."
            )
        if len(known[name]) < 2:
            raise ContrastError(f"terms {text!r}: factor {name!r} has fewer than two levels.")
    return {name: known[name] for name in factors}


def _codes(values: np.ndarray, levels: tuple[str, ...]) -> np.ndarray:
    return np.searchsorted(np.array(levels), values)


def _varies_within(codes: np.ndarray, units: np.ndarray) -> bool:
    first = codes[np.unique(units, return_index=True)[1]]
    return bool((codes != first[units]).any())


def _within_cells(
    text: str,
    unit: str,
    units: np.ndarray,
    codes: dict[str, np.ndarray],
    levels: dict[str, tuple[str, ...]],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rows (U, C) of each unit and cell within it, and the codes (C,) of each factor in those cells."""
    shape = [len(levels[name]) for name in codes]
    cell = np.ravel_multi_index([*codes.values()], shape) if codes else np.zeros(len(units), dtype=int)
    n_units, n_cells = units.max() + 1, prod(shape)
    filled = np.bincount(units * n_cells + cell, minlength=n_units * n_cells).reshape(n_units, n_cells)
    n_partial = int((filled != 1).any(axis=1).sum())
    if n_partial:
        raise DesignError(
            f"terms {text!r}: {n_partial} of {n_units} units ({unit}) lack some of the {n_cells} cells of "
            f"{listed(codes)}, which vary within units. Give every unit all of them, or each unit one level, "
            "or name another unit."
        )
    order = np.lexsort((cell, units)).reshape(n_units, n_cells)
    grid = np.unravel_index(np.arange(n_cells), shape) if codes else ()
    return order, dict(zip(codes, grid, strict=True))


def _check_crossed(
    modelled: tuple[Term, ...],
    between: dict[str, np.ndarray],
    levels: dict[str, tuple[str, ...]],
) -> None:
    for term in modelled:
        names = [name for name in term if name in between]
        shape = [len(levels[name]) for name in names]
        if len(names) < 2:
            continue
        cells = np.ravel_multi_index([between[name] for name in names], shape)
        missing = np.setdiff1d(np.arange(prod(shape)), cells)
        if len(missing):
            empty = [
                levels[name][k] for name, k in zip(names, np.unravel_index(missing[0], shape), strict=True)
            ]
            raise DesignError(
                f"the interaction {':'.join(term)} needs units in every combination of levels; "
                f"{len(missing)} are empty, first: {' and '.join(empty)}. Add stimuli, or join main effects "
                "with '+'."
            )


def _parts(term: Term, factorial: Factorial) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Factors of a term that vary within units, and those that vary between them."""
    inside = tuple(name for name in term if name in factorial.within)
    return inside, tuple(name for name in term if name in factorial.between)


def _scores(factorial: Factorial, inside: tuple[str, ...]) -> np.ndarray:
    """Matrix (scores x units, R) that contrasts the cells of each unit, score after score."""
    n_units, n_cells = factorial.rows.shape
    averaged = prod(int(codes.max()) + 1 for name, codes in factorial.within.items() if name not in inside)
    weights = _product(factorial.within, inside, n_cells) / averaged
    matrix = np.zeros((weights.shape[1], n_units, factorial.rows.size))
    for number, column in enumerate(weights.T):
        matrix[number, np.arange(n_units)[:, None], factorial.rows] = column
    return matrix.reshape(-1, factorial.rows.size)


def _product(codes: dict[str, np.ndarray], names: tuple[str, ...], n: int) -> np.ndarray:
    """Regressors (n, q) of an interaction: products of orthonormal level codes that sum to 0 over levels."""
    columns = np.ones((n, 1))
    for name in names:
        own = _level_codes(int(codes[name].max()) + 1)[codes[name]]
        columns = (columns[:, :, None] * own[:, None, :]).reshape(n, -1)
    return columns


def _level_codes(n_levels: int) -> np.ndarray:
    """Orthonormal codes (levels, levels - 1), each of which sums to 0 over the levels."""
    return np.linalg.qr(np.column_stack([np.ones(n_levels), np.eye(n_levels)[:, :-1]]))[0][:, 1:]


def _scaled(columns: np.ndarray) -> np.ndarray:
    size = np.sqrt(np.square(columns).mean(axis=0))
    return columns / np.where(size > 0, size, 1.0)
