"""Curves over the number of items: power of an experiment, reliability of a localizer."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from neurosae.plotting.style import ACCENT, CONDITIONS, INK, QUIET, axes, label_of, tidy

_COLORS = {"power": CONDITIONS[0], "safeguard": CONDITIONS[1], "alpha_kept": QUIET}


def plot_power(result: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw power over the number of units, with the rate of false alarms and the level as a line.

    Parameters
    ----------
    result : Dataset of ``power_contrast``, ``power_lesion`` or ``power_decoder``

    Returns
    -------
    Axes
    """
    ax = tidy(axes(ax))
    for name, color in _COLORS.items():
        if name in result:
            _curve(ax, result, name, color)
    alpha, enough = float(result.attrs["alpha"]), 0.8
    for level, text in ((alpha, f"alpha {alpha:g}"), (enough, f"{enough:g}")):
        ax.axhline(level, color=INK, lw=0.6, ls=":")
        ax.annotate(
            text, (1, level), xycoords=("axes fraction", "data"), fontsize="x-small", va="bottom", ha="right"
        )
    ax.set(xlabel=label_of(result["n_units"]), ylabel="share of experiments that reject", ylim=(0, 1.02))
    needed = float(result["n_needed"])
    text = "not reached" if np.isnan(needed) else f"{needed:.0f}"
    ax.set_title(f"needed for a power of {enough:g}: {text}", loc="left", fontsize="medium")
    _legend(ax)
    return ax


def plot_reliability(result: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw how well two localizers from separate units agree, over the number of units.

    Parameters
    ----------
    result : Dataset of ``localizer_reliability``

    Returns
    -------
    Axes
    """
    ax = tidy(axes(ax))
    for name, color in (("dice", CONDITIONS[0]), ("r", CONDITIONS[1])):
        _curve(ax, result, name, color)
    chance = result["dice_chance"]
    ax.plot(result["n_units"], chance, color=ACCENT, ls="--", lw=1, label=label_of(chance))
    ax.axhline(0, color=INK, lw=0.6)
    ax.set(xlabel=label_of(result["n_units"]) + ", in each half", ylabel="agreement of separate units")
    ax.set_title(str(result.attrs.get("contrast", "")), loc="left", fontsize="medium")
    _legend(ax)
    return ax


def _curve(ax: Axes, result: xr.Dataset, name: str, color: str) -> None:
    x = result["n_units"].values
    ax.fill_between(x, result[f"{name}_lo"], result[f"{name}_hi"], color=color, alpha=0.2, lw=0)
    ax.plot(x, result[name], color=color, marker="o", ms=4, label=label_of(result[name]))


def _legend(ax: Axes) -> None:
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
