"""The held-out response of an ROI: every unit of inference as a dot, the mean and its interval beside it."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from neurosae.plotting.style import CONDITIONS, INK, axes, label_of, tidy

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, taken modulo 1, spread dots evenly without chance."""


def plot_held_out(held_out: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw the response of cross-validated ROIs in stimuli that did not choose them.

    Parameters
    ----------
    held_out : result of ``cross_localize``

    Returns
    -------
    Axes
    """
    ax = tidy(axes(ax, size=(5.2, 3.6)))
    names = list(dict.fromkeys(held_out["condition"].values.astype(str)))
    for index, name in enumerate(names):
        values = held_out["response"].values[held_out["condition"].values == name]
        spread = (np.arange(values.size) * GOLDEN % 1 - 0.5) * 0.35
        color = CONDITIONS[index % len(CONDITIONS)]
        ax.scatter(index + spread, np.sort(values), s=9, color=color, alpha=0.55, lw=0)
        error = 1.96 * values.std(ddof=1) / np.sqrt(values.size)
        ax.errorbar(index + 0.3, values.mean(), yerr=error, color=INK, marker="o", ms=5, capsize=3)
    ax.axhline(0, color=INK, lw=0.6)
    ax.set_xticks(range(len(names)), names)
    ax.set_xlim(-0.5, len(names) - 0.3)
    ax.set(ylabel=label_of(held_out["response"]))
    return ax
