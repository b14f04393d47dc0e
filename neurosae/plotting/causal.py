"""Causal effects: a lesion against its matched shams, a stimulation over its doses."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from neurosae.plotting.style import ACCENT, CONDITIONS, INK, QUIET, axes, label_of, p_text, tidy


def plot_lesion(causal: xr.Dataset, *, perturbation: str, readout: str, ax: Axes | None = None) -> Axes:
    """Draw the effect of one perturbation as a line over the distribution of its matched shams.

    Parameters
    ----------
    causal : result of ``run_causal``
    perturbation, readout : which effect

    Returns
    -------
    Axes
    """
    ax = tidy(axes(ax, size=(5.2, 3.0)))
    one = causal.sel(perturbation=perturbation, readout=readout)
    shams = one["effect_sham"].values
    effect, low, high = (float(one[name]) for name in ("effect", "effect_lo", "effect_hi"))
    bins = np.histogram_bin_edges(np.append(shams, 0.0), bins=max(8, min(25, shams.size))).tolist()
    ax.hist(shams, bins=bins, color=QUIET, alpha=0.6, label=f"{shams.size} shams")
    ax.axvspan(low, high, color=ACCENT, alpha=0.15, lw=0)
    ax.axvline(effect, color=ACCENT, lw=2, label=f"{perturbation}: {effect:+.2g} [{low:.2g}, {high:.2g}]")
    ax.axvline(0, color=INK, lw=0.8, ls="--", label="intact")
    ax.set(
        xlabel=f"change of {readout.replace('_', ' ')} ({_units(causal, readout)})", ylabel="number of shams"
    )
    ax.set_title(
        f"{p_text(float(one['p']), shams.size)}, z = {float(one['z']):+.2f}", loc="left", fontsize="medium"
    )
    _legend_below(ax)
    return ax


def _legend_below(ax: Axes) -> None:
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)


def _units(causal: xr.Dataset, readout: str) -> str:
    return {"log_odds": "bits", "surprisal": "bits/token"}.get(readout, "proportion")


def plot_dose_response(causal: xr.Dataset, *, act: str, readout: str, ax: Axes | None = None) -> Axes:
    """Draw the effect of a stimulation over its doses beside random directions of equal norm.

    Parameters
    ----------
    causal : result of ``run_causal`` with a stimulation
    act : name of the stimulation
    readout : which read-out

    Returns
    -------
    Axes
    """
    ax = tidy(axes(ax, size=(5.2, 3.4)))
    chosen = causal.isel(perturbation=np.flatnonzero(causal["act"].values == act)).sel(readout=readout)
    chosen = chosen.sortby("dose")
    doses = chosen["dose"].values
    shams = chosen["effect_sham"].transpose("perturbation", "sham").values
    ax.fill_between(
        doses,
        np.nanquantile(shams, 0.025, axis=1),
        np.nanquantile(shams, 0.975, axis=1),
        color=QUIET,
        alpha=0.35,
        lw=0,
        label=f"{shams.shape[1]} random directions (95 %)",
    )
    effect = chosen["effect"].values
    error = np.abs(np.stack([effect - chosen["effect_lo"].values, chosen["effect_hi"].values - effect]))
    ax.errorbar(doses, effect, yerr=error, color=CONDITIONS[0], marker="o", ms=4, capsize=2, label=act)
    ax.axhline(0, color=INK, lw=0.6)
    ax.set(
        xlabel=label_of(causal["dose"]),
        ylabel=f"change of {readout.replace('_', ' ')} ({_units(causal, readout)})",
    )
    _legend_below(ax)
    return ax
