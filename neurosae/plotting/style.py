"""Colours and furniture that all figures share; nothing global is changed."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"
INK, QUIET, ACCENT = "#22303c", "#8a97a3", "#c8452f"
CONDITIONS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f7f7f")
"""Colour-blind safe (Okabe & Ito 2008); the order is fixed, so a condition keeps its colour."""


def axes(ax: Axes | None, *, size: tuple[float, float] = (6.0, 3.6)) -> Axes:
    """``ax``, or the axes of a new figure that no global registry holds."""
    if ax is not None:
        return ax
    return Figure(figsize=size, layout="constrained").subplots()


def tidy(ax: Axes) -> Axes:
    """Remove the frame's upper and right side."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def label_of(variable: xr.DataArray) -> str:
    """Axis label from the variable's own attributes, with its units unless it is a plain number."""
    name = str(variable.attrs.get("long_name", variable.name))
    units = str(variable.attrs.get("units", "1"))
    return name if units in ("1", "") else f"{name} ({units})"


def symmetric_limit(values: np.ndarray) -> float:
    """The limit that centres a signed map on 0 and lets 0.1 % of the values saturate."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.quantile(finite, 0.999)) if finite.size else 1.0


def p_text(p: float, n_null: int) -> str:
    """A permutation p as text; the smallest value possible is written as a bound.

    Examples
    --------
    >>> p_text(0.01, 99), p_text(0.034, 999)
    ('p ≤ 0.01', 'p = 0.034')
    """
    floor = 1 / (n_null + 1)
    return f"p ≤ {floor:.2g}" if p <= floor * (1 + 1e-9) else f"p = {p:.2g}"
