"""Profiles over layers: any value per layer with its interval, its null and where it is significant."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from neurosae.plotting.style import ACCENT, CONDITIONS, INK, QUIET, axes, label_of, tidy
from neurosae.schema.names import LAYER


def plot_layer_profile(
    result: xr.Dataset,
    variable: str,
    *,
    alpha: float = 0.05,
    color: str = CONDITIONS[0],
    ax: Axes | None = None,
) -> Axes:
    """Draw one value per layer.

    The band is ``<variable>_lo`` to ``<variable>_hi`` where the result has them; the dashed line is the
    mean under permutation (``null_mean`` or ``chance``), the dotted one its 95th percentile (``null_hi``);
    bars below mark layers with ``p_adjusted`` (else ``p``) at most ``alpha``.

    Parameters
    ----------
    result : Dataset with dim ``layer``
    variable : name of the variable to draw

    Returns
    -------
    Axes

    Examples
    --------
    >>> index = xr.DataArray([0.1, 0.4], dims="layer", coords={"layer": [0, 1]}, attrs={"long_name": "CDI"})
    >>> plot_layer_profile(xr.Dataset({"index": index}), "index").get_ylabel()
    'CDI'
    """
    ax = tidy(axes(ax))
    values = result[variable]
    layers = result[LAYER].values
    if f"{variable}_lo" in result:
        ax.fill_between(
            layers,
            result[f"{variable}_lo"],
            result[f"{variable}_hi"],
            color=color,
            alpha=0.2,
            lw=0,
            label="95 % interval",
        )
    ax.plot(layers, values, color=color, marker="o", ms=3, label=str(values.attrs.get("long_name", variable)))
    if len(layers) == 1:
        _single_layer(ax, result, variable, color)
    _null_lines(ax, result, layers)
    _mark_significant(ax, result, layers, alpha)
    ax.set(xlabel="layer", ylabel=label_of(values))
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return ax


def _single_layer(ax: Axes, result: xr.Dataset, variable: str, color: str) -> None:
    """A band over one layer has no width: a bar in its place, and the layer alone on the axis."""
    layer = result[LAYER].values[0]
    if f"{variable}_lo" in result:
        ax.vlines(layer, result[f"{variable}_lo"], result[f"{variable}_hi"], color=color, lw=4, alpha=0.3)
    ax.set_xticks([layer])
    ax.set_xlim(layer - 1, layer + 1)


def _null_lines(ax: Axes, result: xr.Dataset, layers: np.ndarray) -> None:
    mean = next(
        (name for name in ("chance", "null_mean") if name in result and result[name].dims == (LAYER,)), None
    )
    if mean is not None:
        ax.plot(
            layers,
            result[mean],
            color=QUIET,
            ls="--",
            lw=1,
            marker=_dash(layers),
            label="mean under permutation",
        )
    if "null_hi" in result and result["null_hi"].dims == (LAYER,):
        ax.plot(
            layers,
            result["null_hi"],
            color=QUIET,
            ls=":",
            lw=1,
            marker=_dash(layers),
            label="95th percentile under permutation",
        )


def _dash(layers: np.ndarray) -> str:
    """A marker for lines through a single layer, which would not be seen."""
    return "_" if len(layers) == 1 else ""


def _mark_significant(ax: Axes, result: xr.Dataset, layers: np.ndarray, alpha: float) -> None:
    name = next((n for n in ("p_adjusted", "p") if n in result), None)
    if name is None:
        return
    passed = layers[(result[name] <= alpha).values]
    corrected = " (corrected over layers)" if name == "p_adjusted" else ""
    if passed.size:
        ax.plot(
            passed,
            np.full(passed.size, 0.015),
            transform=ax.get_xaxis_transform(),
            ls="",
            marker="s",
            ms=3,
            color=ACCENT,
            label=f"p ≤ {alpha:g}{corrected}",
        )


def plot_decoding(decoding: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw out-of-fold AUROC by layer with its interval, chance and significance.

    Parameters
    ----------
    decoding : result of ``decode``

    Returns
    -------
    Axes
    """
    ax = plot_layer_profile(decoding, "auroc", ax=ax)
    low = min(0.4, float(decoding["auroc"].min()) - 0.05)
    ax.set_ylim(low, 1.02)
    ax.axhline(1.0, color=INK, lw=0.4)
    return ax
