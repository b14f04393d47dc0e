"""Single features: how selective they are, and how they respond to each condition."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from neurosae.plotting.style import ACCENT, CONDITIONS, INK, QUIET, axes, label_of, tidy
from neurosae.schema.names import FEATURE, LAYER


def plot_selectivity(selectivity: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw the distribution of a selectivity index over features beside its null, with the threshold.

    Parameters
    ----------
    selectivity : result of ``selectivity_index``

    Returns
    -------
    Axes
    """
    ax = tidy(axes(ax))
    values = selectivity["selectivity"].values
    live = values[np.isfinite(values)]
    bins = np.linspace(min(live.min(), float(selectivity["null"].min())), live.max(), 60).tolist()
    ax.hist(
        live, bins=bins, density=True, color=CONDITIONS[0], alpha=0.75, label=f"{live.size} live features"
    )
    null = selectivity["null"].values
    ax.hist(null, bins=bins, density=True, histtype="step", color=INK, lw=1.2, label="under permutation")
    threshold = selectivity.attrs.get("threshold")
    if threshold is not None:
        share = float((live >= threshold).mean())
        ax.axvline(threshold, color=ACCENT, lw=1, label=f"threshold {threshold:g}: {share:.1%} of features")
    ax.axvline(
        float(np.quantile(null, 0.95)), color=QUIET, ls=":", lw=1, label="95th percentile under permutation"
    )
    ax.set(xlabel=label_of(selectivity["selectivity"]), ylabel="density")
    dead = values.size - live.size
    ax.set_title(f"{dead} dead features left out" if dead else "", loc="left", fontsize="small")
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return ax


def plot_tuning(tuning: xr.Dataset, *, layer: int, feature: int, ax: Axes | None = None) -> Axes:
    """Draw one feature's mean response to each condition, ± one standard error over units.

    Parameters
    ----------
    tuning : result of ``tuning``
    layer, feature : which feature

    Returns
    -------
    Axes
    """
    ax = tidy(axes(ax, size=(5.2, 3.2)))
    one = tuning.sel({LAYER: layer, FEATURE: feature})
    names = one["condition"].values.astype(str)
    colors = [CONDITIONS[index % len(CONDITIONS)] for index in range(len(names))]
    ax.bar(
        names, one["mean"], yerr=one["se"], color=colors, width=0.7, error_kw={"ecolor": INK, "elinewidth": 1}
    )
    ax.axhline(0, color=INK, lw=0.6)
    ax.set(ylabel=label_of(tuning["mean"]))
    ax.tick_params(axis="x", labelrotation=20 if len(names) > 2 else 0)
    ax.set_title(f"layer {layer}, feature {feature}", loc="left", fontsize="medium")
    return ax
