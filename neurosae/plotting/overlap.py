"""Skills and pairs of features: how much classes overlap, which features are active together."""

import textwrap

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from neurosae.plotting.style import (
    ACCENT,
    CONDITIONS,
    DIVERGING,
    INK,
    QUIET,
    SEQUENTIAL,
    axes,
    label_of,
    tidy,
)
from neurosae.schema.names import FEATURE, LAYER

_SIGNED = ("adjusted", "centred_cosine", "pearson", "spearman")
_MOST_PAIRS = 30


def plot_overlap(
    overlap: xr.Dataset, *, layer: int, variable: str = "overlap", ax: Axes | None = None
) -> Axes:
    """Draw how much each class overlaps with each in one layer, with the values written in.

    Parameters
    ----------
    overlap : result of ``feature_overlap``
    layer : label of the layer
    variable : ``overlap``, ``adjusted``, ``half_overlap`` (whose diagonal is a class with itself on other
        units), ``corrected`` or ``expected``
    ax : axes to draw on, by default those of a new figure

    Returns
    -------
    Axes
    """
    matrix = overlap[variable].sel({LAYER: layer}).transpose("skill", "skill_2")
    names = matrix["skill"].values.astype(str)
    ax = axes(ax, size=(2.6 + 0.7 * len(names), 1.8 + 0.6 * len(names)))
    values = matrix.values
    finite = np.abs(values[np.isfinite(values)])
    limit = float(finite.max()) if finite.size else 1.0
    is_signed = variable in _SIGNED or overlap.attrs.get("measure") in _SIGNED
    low, colors = (-limit, DIVERGING) if is_signed else (0.0, SEQUENTIAL)
    image = ax.imshow(values, cmap=colors, vmin=low, vmax=limit, interpolation="nearest")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            is_dark = abs(value) > 0.6 * limit if is_signed else value < 0.6 * limit
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if is_dark else INK)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0)
    ax.set_title(f"layer {layer}", loc="left", fontsize="medium")
    ax.figure.colorbar(image, ax=ax, label=textwrap.fill(label_of(matrix), 30), shrink=0.9)
    return ax


def plot_coactivation(coactivation: xr.Dataset, *, alpha: float = 0.05, ax: Axes | None = None) -> Axes:
    """Draw the strongest pairs of features: units in which both are active, beside those expected.

    Pairs whose corrected p is at most ``alpha`` are filled; at most 30 are drawn.

    Parameters
    ----------
    coactivation : result of ``coactivation``

    Returns
    -------
    Axes
    """
    shown = coactivation.isel(pair=slice(_MOST_PAIRS))
    ax = tidy(axes(ax, size=(6.0, 2.4 + 0.24 * shown.sizes["pair"])))
    rows = np.arange(shown.sizes["pair"])
    both, chance = shown["n_both"].values, shown["expected"].values
    ax.hlines(rows, chance, both, color=QUIET, lw=1)
    ax.scatter(chance, rows, marker="|", s=60, color=INK, label=label_of(shown["expected"]), zorder=3)
    passed = (shown["p_adjusted"] <= alpha).values
    for is_drawn, color, label in (
        (passed, ACCENT, f"both active, corrected p ≤ {alpha:g}"),
        (~passed, "white", "both active, not significant"),
    ):
        if is_drawn.any():
            ax.scatter(
                both[is_drawn], rows[is_drawn], s=28, c=color, edgecolors=ACCENT, label=label, zorder=4
            )
    pairs = zip(shown[FEATURE].values, shown["feature_2"].values, strict=True)
    ax.set_yticks(rows, [f"{first} – {second}" for first, second in pairs])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.set(xlabel=f"units of inference, of {coactivation.attrs['n_units']}", ylabel="features")
    ax.set_title(
        f"layer {coactivation.attrs['layer']}, by {coactivation.attrs['measure']}",
        loc="left",
        fontsize="medium",
    )
    below = -0.9 / (2.4 + 0.24 * len(rows))
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.4, below))
    return ax


def plot_criteria(monosemantic: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw how many features meet each criterion of selectivity for one class, and how many meet all.

    Parameters
    ----------
    monosemantic : result of ``monosemantic_features``

    Returns
    -------
    Axes
    """
    names = [str(name) for name in monosemantic.data_vars if str(name).startswith("is_")]
    ax = tidy(axes(ax, size=(6.4, 2.8)))
    labels = [str(monosemantic[name].attrs["long_name"]).removeprefix("criterion: ") for name in names]
    counts = [int(monosemantic[name].sum()) for name in (*names, "monosemantic")]
    colors = [CONDITIONS[0]] * len(names) + [ACCENT]
    bars = ax.barh([*labels, "all of these"], counts, color=colors, height=0.7)
    ax.bar_label(bars, padding=3, fontsize="small")
    ax.invert_yaxis()
    ax.set(xlabel=f"features, of {monosemantic['monosemantic'].size}")
    return ax
