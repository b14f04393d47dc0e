"""What a contrast compares, over which units, and which relabelings that design allows.

A unit that belongs to one cell is compared with other units; if every unit holds all cells, its own cells
are compared (paired). Anything in between has no exchangeable labels and is refused.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from neurosae.analysis.averaging import group_means, unit_rows
from neurosae.errors import DesignError
from neurosae.protocol.contrast import parse_contrast
from neurosae.schema.names import STIMULUS
from neurosae.schema.units import unit_column

FEWEST_UNITS = 3
"""Units a cell needs."""

_IMBALANCE = 3
_INSEPARABLE, _SAME = 0.9, 1 - 1e-6

_ADVICE = (
    "use test='welch', which compares means: pooled and rank test equality of distributions, so that unequal "
    "variances alone can make p too small or too large."
)
_ADVICE_NUISANCE = (
    "the least-squares t with nuisance columns takes variances as equal, and unequal ones make p too small "
    "or too large: balance the cells, or leave the nuisance out and use test='welch'."
)


@dataclass(frozen=True)
class Design:
    """Rows are units of inference, or unit x cell if ``is_paired``; R rows, K cells, U units.

    used : (S,) positions of the stimuli in the contrast; averaged : (S,) the row each contributes to
    labels : (R,) str; cells : (R,) int; units : (R,) int; groups : (R,) str, the widest unit of each row
    cell_names : K names; weights : (K,); nuisance : (R, q), means over the stimuli of a row
    excluded : stimuli of units that lack a nuisance value
    """

    text: str
    unit: str
    used: np.ndarray
    averaged: np.ndarray
    labels: np.ndarray
    cells: np.ndarray
    units: np.ndarray
    groups: np.ndarray
    cell_names: tuple[str, ...]
    weights: np.ndarray
    nuisance: np.ndarray
    is_paired: bool
    excluded: tuple[str, ...] = ()

    @property
    def n_units(self) -> int:
        """Number of units of inference."""
        return len(np.unique(self.units))

    @property
    def differences(self) -> np.ndarray:
        """Matrix (U, R) that turns rows into one weighted difference for each unit of a paired design."""
        member = self.units == np.unique(self.units)[:, None]
        return member * self.weights[self.cells]


def contrast_design(
    table: pd.DataFrame, text: str, *, unit: str = "auto", nuisance: Sequence[str] = ()
) -> Design:
    """Read a contrast against a stimulus table and find its units, cells and pairing.

    Raises
    ------
    ContrastError
        If ``text`` is no contrast of the conditions in ``table``.
    DesignError
        If units hold some but not all cells, a cell has fewer than 3 units, or a nuisance column is missing,
        not numeric or incomplete.
    """
    contrast = parse_contrast(text, table)
    # Cells in alphabetical order, so that 'A > B' and 'B > A' draw the same relabelings.
    order = sorted(range(len(contrast.weights)), key=list(contrast.weights).__getitem__)
    cell = np.array([*np.argsort(order), -1])[contrast.cells(table)]
    column = unit_column(table, unit)
    used, excluded = complete_units(table, np.flatnonzero(cell >= 0), column, nuisance)
    rows = table.iloc[used].reset_index(drop=True)
    averaged, labels = averaging(rows, column, contrast.columns)
    first = np.unique(averaged, return_index=True)[1]
    cells, units = cell[used][first], pd.factorize(rows[column].astype(str).to_numpy()[first])[0]
    design = Design(
        text=text,
        unit=column,
        used=used,
        averaged=averaged,
        labels=labels,
        cells=cells,
        units=units,
        groups=rows[unit_column(table)].to_numpy(dtype=str)[first],
        cell_names=tuple("|".join(list(contrast.weights)[k]) for k in order),
        weights=contrast.vector[order],
        nuisance=nuisance_rows(rows, nuisance, averaged),
        is_paired=_is_paired(text, column, cells, units, len(order)),
        excluded=excluded,
    )
    check_sizes(design)
    warn_imbalance(design, _ADVICE_NUISANCE if nuisance else _ADVICE)
    _warn_inseparable(design, nuisance)
    return design


def averaging(rows: pd.DataFrame, unit: str, by: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """For each stimulus the number of its row after averaging within ``unit``, and the label of each row."""
    if unit == STIMULUS:
        return np.arange(len(rows)), rows[STIMULUS].to_numpy(dtype=str)
    return unit_rows(rows, unit=unit, by=by)


def complete_units(
    table: pd.DataFrame, used: np.ndarray, unit: str, nuisance: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Positions of the stimuli whose units lack no nuisance value, and the labels of the others.

    Raises
    ------
    DesignError
        If a nuisance column is missing, not numeric, or holds no value at all.

    Warns
    -----
    UserWarning
        If units are left out.
    """
    rows = table.iloc[used]
    missing = np.zeros(len(rows), dtype=bool)
    for name in nuisance:
        missing |= ~np.isfinite(_numbers(table, rows, name))
    if not missing.any():
        return used, ()
    units = rows[unit].astype(str).to_numpy()
    left_out = np.isin(units, units[missing])
    labels = tuple(rows[STIMULUS].astype(str).to_numpy()[left_out].tolist()) if STIMULUS in rows else ()
    warnings.warn(
        f"{int(left_out.sum())} stimuli are left out, because their units ({unit}) have no value in "
        f"{', '.join(nuisance)}; first: {list(labels[:5])}.",
        stacklevel=4,
    )
    return used[~left_out], labels


def _numbers(table: pd.DataFrame, rows: pd.DataFrame, name: str) -> np.ndarray:
    if name not in table:
        raise DesignError(f"no nuisance column {name!r} in the stimuli; columns: {list(table.columns)}.")
    if not pd.api.types.is_numeric_dtype(table[name]):
        raise DesignError(f"nuisance column {name!r} is not numeric.")
    values = rows[name].to_numpy(dtype=float)
    if not np.isfinite(values).any():
        raise DesignError(
            f"nuisance column {name!r} has no finite value for {len(values)} stimuli; fill it or drop it."
        )
    return values


def _is_paired(text: str, unit: str, cells: np.ndarray, units: np.ndarray, n_cells: int) -> bool:
    per_unit = np.bincount(units)
    if (per_unit == 1).all():
        return False
    if (per_unit == n_cells).all() and len(np.unique(units * n_cells + cells)) == len(units):
        return True
    n_partial = int((per_unit < n_cells).sum())
    raise DesignError(
        f"contrast {text!r}: {n_partial} of {len(per_unit)} units ({unit}) lack some of the {n_cells} cells "
        "while others hold several, so labels can be exchanged neither between units nor within them. Give "
        "every unit one cell or all cells, or name another unit."
    )


def nuisance_rows(rows: pd.DataFrame, names: Sequence[str], averaged: np.ndarray) -> np.ndarray:
    """Nuisance values (R, q) of averaged rows: means over the stimuli of each."""
    return group_means(rows[list(names)].to_numpy(dtype=float).reshape(len(rows), -1), averaged)


def check_sizes(design: Design) -> None:
    """Raise `DesignError` if a cell has fewer than 3 units."""
    n = np.bincount(design.cells, minlength=len(design.weights))
    if n.min() < FEWEST_UNITS:
        small = design.cell_names[int(n.argmin())]
        raise DesignError(
            f"{design.text!r}: {small!r} has {n.min()} units ({design.unit}); every cell needs "
            f"at least {FEWEST_UNITS}. Add stimuli, or name another unit."
        )


def warn_imbalance(design: Design, advice: str) -> None:
    """Warn where permutation does not protect: with unequal cells, a wider spread in one alone moves p."""
    n = np.bincount(design.cells)
    if n.max() > _IMBALANCE * n.min():
        warnings.warn(
            f"contrast {design.text!r}: cells of {n.min()} to {n.max()} units differ by more than 1 to "
            f"{_IMBALANCE}; {advice}",
            stacklevel=4,
        )
    _warn_spread(design)


def _warn_spread(design: Design) -> None:
    """Warn of units of one cell that average more stimuli: their means scatter less and do not exchange."""
    n_stimuli = np.bincount(design.cells, weights=np.bincount(design.averaged)) / np.bincount(design.cells)
    few, many = int(n_stimuli.argmin()), int(n_stimuli.argmax())
    if not design.is_paired and n_stimuli[many] > _IMBALANCE * n_stimuli[few]:
        warnings.warn(
            f"contrast {design.text!r}: units ({design.unit}) hold {n_stimuli[few]:.1f} stimuli on average "
            f"in {design.cell_names[few]!r} and {n_stimuli[many]:.1f} in {design.cell_names[many]!r}, so "
            "that their means differ in spread and p, corrected p above all, can be too small. Take as many "
            "stimuli of every unit.",
            stacklevel=5,
        )


def _warn_inseparable(design: Design, names: Sequence[str]) -> None:
    """Warn of nuisance that nearly follows the contrast; what follows it exactly is refused later."""
    for name, r in zip(names, nuisance_correlations(design), strict=True):
        if _INSEPARABLE < abs(r) < _SAME:
            warnings.warn(
                f"contrast {design.text!r}: nuisance {name!r} correlates {r:.2f} with the contrast, so their "
                "effects are hardly separable and little is left to test. Balance the stimuli, or report the "
                "contrast with and without it.",
                stacklevel=4,
            )


def nuisance_correlations(design: Design) -> np.ndarray:
    """Correlation of each nuisance column with the contrast, (q,); within units of its differences with 1."""
    if design.is_paired:
        code, columns = np.ones(design.n_units), design.differences @ design.nuisance
    else:
        code, columns = design.weights[design.cells], design.nuisance
        code, columns = code - code.mean(), columns - columns.mean(axis=0)
    size = np.linalg.norm(code) * np.linalg.norm(columns, axis=0)
    return np.divide(code @ columns, size, out=np.zeros(columns.shape[1]), where=size > 0)


def part(design: Design, keep: np.ndarray) -> Design:
    """The design of the rows ``keep`` (R,) bool, for data that are averaged already."""
    return replace(
        design,
        used=np.flatnonzero(keep),
        averaged=np.arange(int(keep.sum())),
        labels=design.labels[keep],
        cells=design.cells[keep],
        units=design.units[keep],
        groups=design.groups[keep],
        nuisance=design.nuisance[keep],
    )


def averaged_rows(values: np.ndarray, design: Design) -> np.ndarray:
    """Rows of the design from values of its stimuli: (S, F) -> (R, F), float64."""
    if len(design.labels) == len(design.used):
        return values.astype(np.float64)
    return group_means(values, design.averaged)
