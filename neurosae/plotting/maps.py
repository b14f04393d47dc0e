"""Maps: layer × feature of a contrast with its ROI, stimulus × stimulus of an RDM."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from neurosae.plotting.style import ACCENT, DIVERGING, SEQUENTIAL, axes, label_of, symmetric_limit
from neurosae.schema.names import FEATURE, LAYER, STIMULUS


def plot_contrast_map(
    cmap: xr.Dataset, *, roi: xr.Dataset | None = None, variable: str = "stat", ax: Axes | None = None
) -> Axes:
    """Draw one value per layer and feature, centred on 0, with the ROI's members as open circles.

    Parameters
    ----------
    cmap : result of ``contrast_map``
    roi : result of ``localize``; none is drawn if left out
    variable : which variable of the map, for example ``stat``, ``effect`` or ``es``
    ax : axes to draw on, by default those of a new figure

    Returns
    -------
    Axes

    Examples
    --------
    >>> values = xr.DataArray([[1.0, -2.0]], dims=("layer", "feature"),
    ...                       coords={"layer": [3], "feature": [0, 1]}, attrs={"long_name": "t"})
    >>> plot_contrast_map(xr.Dataset({"stat": values}, attrs={"contrast": "A > B"})).get_title(loc="left")
    'A > B'
    """
    ax = axes(ax, size=(9.0, 4.2))
    values = cmap[variable].transpose(LAYER, FEATURE)
    limit = symmetric_limit(values.values)
    image = ax.pcolormesh(
        np.arange(values.sizes[FEATURE] + 1) - 0.5,
        np.arange(values.sizes[LAYER] + 1) - 0.5,
        values.values,
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        rasterized=True,
    )
    if roi is not None:
        rows, columns = np.nonzero(roi["member"].transpose(LAYER, FEATURE).values)
        ax.scatter(columns, rows, s=12, facecolors="none", edgecolors="black", linewidths=0.6)
        ax.text(
            1,
            1.01,
            f"○ ROI: {len(rows)} of {values.size} features",
            transform=ax.transAxes,
            ha="right",
            va="bottom",
        )
    _layer_ticks(ax, values[LAYER].values)
    ax.set(xlabel="feature", ylabel="layer")
    ax.set_title(str(cmap.attrs.get("contrast", "")), loc="left")
    ax.figure.colorbar(image, ax=ax, label=label_of(values), pad=0.01)
    return ax


def _layer_ticks(ax: Axes, layers: np.ndarray) -> None:
    step = max(1, int(np.ceil(len(layers) / 10)))
    ax.set_yticks(np.arange(len(layers))[::step], [str(layer) for layer in layers[::step]])


def plot_rdm(rdm: xr.DataArray, *, by: str = "condition", ax: Axes | None = None) -> Axes:
    """Draw a dissimilarity matrix, its rows grouped by a stimulus coordinate.

    Parameters
    ----------
    rdm : DataArray (stimulus, stimulus_2), one layer of the result of ``rdm``
    by : coordinate over ``stimulus`` that groups and labels the rows

    Returns
    -------
    Axes
    """
    ax = axes(ax, size=(5.2, 4.4))
    order = np.argsort(rdm[by].values, kind="stable") if by in rdm.coords else np.arange(rdm.sizes[STIMULUS])
    values = rdm.values[np.ix_(order, order)]
    off_diagonal = values[~np.eye(len(values), dtype=bool)]
    low, high = np.nanquantile(off_diagonal, [0.01, 0.99])
    image = ax.imshow(values, cmap=SEQUENTIAL, vmin=low, vmax=high, interpolation="nearest")
    if by in rdm.coords:
        _group_labels(ax, rdm[by].values[order])
    ax.figure.colorbar(image, ax=ax, label=label_of(rdm), shrink=0.85)
    layer = f" at layer {int(rdm[LAYER])}" if LAYER in rdm.coords else ""
    ax.set_title(f"dissimilarity of {len(order)} units of inference{layer}", loc="left", fontsize="medium")
    return ax


def _group_labels(ax: Axes, groups: np.ndarray) -> None:
    names, starts, counts = np.unique(groups, return_index=True, return_counts=True)
    middles = starts + counts / 2 - 0.5
    ax.set_xticks(middles, names)
    ax.set_yticks(middles, names, rotation=90, va="center")
    ax.tick_params(length=0)
    for start in starts[starts > 0]:
        ax.axhline(start - 0.5, color=ACCENT, lw=0.8)
        ax.axvline(start - 0.5, color=ACCENT, lw=0.8)
