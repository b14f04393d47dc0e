"""Tuning to a parameter or to two factors: means with standard errors, and the curves that describe them."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from neurosae.arrays.tuning_models import Fit, curve
from neurosae.plotting.style import ACCENT, CONDITIONS, INK, QUIET, axes, label_of, p_text, tidy
from neurosae.schema.names import FEATURE, LAYER


def plot_parametric_tuning(tuning: xr.Dataset, *, layer: int, feature: int, ax: Axes | None = None) -> Axes:
    """Draw one feature's mean response at each level ± one standard error, and the fitted curves.

    The model that predicts held-out units best is drawn in colour, the others thin; the title holds its
    held-out variance explained and p.

    Parameters
    ----------
    tuning : result of ``parametric_tuning``
    layer, feature : which feature

    Returns
    -------
    Axes
    """
    ax = tidy(axes(ax, size=(5.6, 3.4)))
    one = tuning.sel({LAYER: layer, FEATURE: feature})
    levels = one["level"].values
    ax.errorbar(levels, one["mean"], yerr=one["se"], fmt="o", ms=4, color=INK, elinewidth=1, zorder=3)
    fine = np.linspace(levels.min(), levels.max(), 200)
    best = str(one["model_best"].values)
    for name in one["model"].values.astype(str):
        parameters = one.sel(model=name)
        fit = Fit(*(np.atleast_1d(parameters[field].values) for field in Fit._fields))
        is_best = name == best
        ax.plot(
            fine,
            curve(name, fine, fit)[:, 0],
            color=ACCENT if is_best else QUIET,
            lw=2 if is_best else 0.8,
            label=f"{name}: held-out R² {float(parameters['r2']):.2f}",
        )
    preferred = float(one["preferred_level"])
    if np.isfinite(preferred):
        ax.axvline(preferred, color=ACCENT, ls=":", lw=1, label=f"preferred level {preferred:.3g}")
    ax.set(xlabel=str(tuning.attrs["by"]), ylabel=label_of(tuning["mean"]))
    p = p_text(float(one["p_unc"]), int(tuning.attrs["n_permutations"]))
    ax.set_title(f"layer {layer}, feature {feature}: {best}, {p}", loc="left", fontsize="medium")
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return ax


def plot_cell_tuning(tuning: xr.Dataset, *, layer: int, feature: int, ax: Axes | None = None) -> Axes:
    """Draw one feature's mean response in each cell of two factors ± one standard error over units.

    Parallel lines are two main effects; whether they cross for a reason is tested by ``factor_map``.

    Parameters
    ----------
    tuning : result of ``cell_tuning``
    layer, feature : which feature

    Returns
    -------
    Axes
    """
    ax = tidy(axes(ax, size=(5.0, 3.4)))
    one = tuning.sel({LAYER: layer, FEATURE: feature})
    levels = one["second"].values.astype(str)
    for row, name in enumerate(one["first"].values.astype(str)):
        line = one.sel(first=name)
        color = CONDITIONS[row % len(CONDITIONS)]
        ax.errorbar(levels, line["mean"], yerr=line["se"], marker="o", ms=5, color=color, label=name)
    ax.margins(x=0.2)
    ax.set(xlabel=str(tuning.attrs["factor_second"]), ylabel=label_of(tuning["mean"]))
    ax.set_title(f"layer {layer}, feature {feature}", loc="left", fontsize="medium")
    ax.legend(frameon=False, title=str(tuning.attrs["factor_first"]), fontsize="small")
    return ax
