"""Specification curve: one effect a specification, sorted, above the options that gave it."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from neurosae.errors import DesignError
from neurosae.plotting.style import ACCENT, INK, QUIET, axes, label_of, p_text, tidy

_ROW = 0.16
"""Height of one row of dots, in inches of a figure of 5.4 inches."""


def plot_multiverse(result: xr.Dataset, *, alpha: float = 0.05, ax: Axes | None = None) -> Axes:
    """Draw the effects of all specifications by size with their intervals, and beneath them which options.

    Effects with p of at most ``alpha`` are filled; the band holds 95 % of the median effects of curves with
    exchanged labels, where there are such. Specifications without an answer are left out and counted.

    Parameters
    ----------
    result : Dataset of ``multiverse``
    alpha : level at which effects are filled
    ax : axes of a grid of subplots, by default those of a new figure

    Returns
    -------
    Axes of the effects; the options are drawn in axes beneath, for which they make room

    Raises
    ------
    DesignError
        If ``ax`` is no part of a grid of subplots.

    Examples
    --------
    >>> values = xr.DataArray([0.4, 0.1], dims="specification", attrs={"long_name": "g", "units": "SD"})
    >>> missing = xr.full_like(values, np.nan)
    >>> result = xr.Dataset(
    ...     {"effect": values, "lo": missing, "hi": missing, "p": values / 10, "median": 0.25, "share": 0.5},
    ...     coords={"rule": ("specification", ["signed", "absolute"])}, attrs={"options": "rule"},
    ... )
    >>> plot_multiverse(result).get_ylabel()
    'g (SD)'
    """
    ax = tidy(axes(ax, size=(7.2, 5.4)))
    answered = np.flatnonzero(np.isfinite(result["effect"].values))
    shown = result.isel(specification=answered[np.argsort(result["effect"].values[answered], kind="stable")])
    _effects(ax, result, shown, alpha)
    names = [name.strip() for name in str(result.attrs["options"]).split(",")]
    rows = [(name, value) for name in names for value in dict.fromkeys(result[name].values.tolist())]
    _options(ax, shown, rows)
    return ax


def _effects(ax: Axes, result: xr.Dataset, shown: xr.Dataset, alpha: float) -> None:
    place, effect = np.arange(shown.sizes["specification"]), shown["effect"].values
    passed = shown["p"].values <= alpha
    if "median_lo" in result and np.isfinite(result["median_lo"]):
        low, high = float(result["median_lo"]), float(result["median_hi"])
        ax.axhspan(low, high, color=QUIET, alpha=0.2, lw=0)
        ax.text(
            place[-1] + 0.6,
            low,
            "medians with exchanged labels (95 %)",
            ha="right",
            va="bottom",
            fontsize="x-small",
            color=QUIET,
        )
    ax.axhline(float(result.attrs.get("null_value", 0.0)), color=INK, lw=0.6)
    ax.vlines(place, shown["lo"].values, shown["hi"].values, color=QUIET, lw=1)
    ax.scatter(place[passed], effect[passed], s=18, color=ACCENT, zorder=3, label=f"p ≤ {alpha:g}")
    ax.scatter(
        place[~passed],
        effect[~passed],
        s=18,
        facecolors="white",
        edgecolors=QUIET,
        zorder=3,
        label=f"p > {alpha:g}",
    )
    ax.set(ylabel=label_of(shown["effect"]), xlim=(-0.7, len(place) - 0.3), xticks=[])
    ax.set_title(_title(result, len(place)), loc="left", fontsize="medium")
    ax.legend(frameon=False, fontsize="small", loc="upper left")


def _title(result: xr.Dataset, n_answered: int) -> str:
    n_all = result.sizes["specification"]
    count = f"{n_all} specifications" if n_answered == n_all else f"{n_answered} of {n_all} specifications"
    text = f"{result.attrs.get('question', '')}: {count}, median {float(result['median']):.2g}".lstrip(": ")
    n_curves = int(result.attrs.get("n_curves", 0))
    return f"{text}, {p_text(float(result['median_p']), n_curves)}" if n_curves else text


def _options(ax: Axes, shown: xr.Dataset, rows: list[tuple[str, str]]) -> None:
    """A dot for each option that a specification takes; options that vary together stand in one block."""
    share = min(_ROW * (len(rows) + 1) / 5.4, 0.6)
    place_of_both = ax.get_subplotspec()
    if place_of_both is None:
        raise DesignError("the curve needs axes of a grid of subplots, to make room for the options beneath.")
    spec = place_of_both.subgridspec(2, 1, height_ratios=[1 - share, share], hspace=0.02)
    ax.set_subplotspec(spec[0])
    grid = ax.figure.add_subplot(spec[1], sharex=ax)
    for row, (name, value) in enumerate(rows):
        place = np.flatnonzero(shown[name].values == value)
        grid.scatter(place, np.full(place.size, row), s=12, color=INK, marker="s", lw=0)
        if row and rows[row - 1][0] != name:
            grid.axhline(row - 0.5, color=QUIET, lw=0.5)
    grid.set_yticks(range(len(rows)), [f"{name}: {value}" for name, value in rows], fontsize="small")
    grid.set_ylim(len(rows) - 0.4, -0.6)
    grid.tick_params(length=0)
    grid.set(xlabel="specifications, by size of the effect")
    grid.spines[["top", "right", "bottom"]].set_visible(False)
