"""A text as a strip of tokens, each coloured by the value of one feature."""

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes

from neurosae.plotting.style import DIVERGING, INK, axes, label_of, symmetric_limit
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, TOKEN


def plot_token_strip(
    recording: xr.DataArray,
    *,
    stimuli: list[str],
    layer: int,
    feature: int,
    limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the tokens of some stimuli as boxes coloured by one feature, on one scale for all.

    Tokens that are not valid (special tokens, sinks) are drawn in outline only.

    Parameters
    ----------
    recording : DataArray (stimulus, token, layer, feature)
    stimuli : labels of the stimuli, one strip each
    layer, feature : which feature
    limit : value at which the colour saturates, by default from the values shown

    Returns
    -------
    Axes
    """
    ax = axes(ax, size=(9.0, 0.45 * len(stimuli) + 0.9))
    shown = recording.sel({STIMULUS: stimuli, LAYER: layer, FEATURE: feature}).transpose(STIMULUS, TOKEN)
    values = np.asarray(shown.values)
    limit = symmetric_limit(values) if limit is None else limit
    palette = colormaps[DIVERGING]
    widest = 0.0
    for row in range(values.shape[0]):
        left = 0.0
        for text, value in zip(shown["token_str"].values[row], values[row], strict=True):
            if not text:
                continue
            left = _token_box(
                ax, left, row, str(text), None if np.isnan(value) else palette(0.5 + value / limit / 2)
            )
        widest = max(widest, left)
    ax.set(xlim=(0, widest), ylim=(values.shape[0] - 0.4, -0.6), xticks=[])
    ax.set_yticks(range(len(stimuli)), stimuli)
    ax.spines[:].set_visible(False)
    ax.set_title(
        f"{label_of(recording)}, layer {layer}, feature {feature}; full colour at ±{limit:.3g}",
        loc="left",
        fontsize="small",
    )
    return ax


def _token_box(ax: Axes, left: float, row: int, text: str, color: tuple[float, ...] | None) -> float:
    """Draw one token and return where the next begins; widths are in characters of the fixed font."""
    shown = text.replace("Ġ", "·").replace("Ċ", "↵")
    width = len(shown) + 0.8
    ax.barh(
        row,
        width,
        left=left,
        height=0.8,
        color=color or "white",
        edgecolor=INK if color is None else "none",
        lw=0.4,
    )
    dark = color is not None and sum(color[:3]) < 1.4
    ax.text(
        left + width / 2,
        row,
        shown,
        ha="center",
        va="center",
        family="monospace",
        parse_math=False,
        fontsize=8,
        color="white" if dark else INK,
    )
    return left + width
