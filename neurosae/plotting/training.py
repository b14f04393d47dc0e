"""Curves of dictionaries in training."""

import xarray as xr
from matplotlib.axes import Axes

from neurosae.plotting.style import CONDITIONS, axes, label_of, tidy


def plot_training(
    result: xr.Dataset, *, variable: str = "explained_variance", ax: Axes | None = None
) -> Axes:
    """Draw how a quantity went in the course of training, one line a run of a sweep.

    Parameters
    ----------
    result : Dataset (run, step) of ``sweep_dictionaries``
    variable : 'loss', 'explained_variance', 'l0' or 'dead'

    Returns
    -------
    Axes
    """
    ax = tidy(axes(ax))
    curves = result[f"{variable}_curve"]
    for number, run in enumerate(curves["run"].values):
        line = curves.sel(run=run).dropna("step")
        style = ("-", "--", ":", "-.")[number // len(CONDITIONS) % 4]
        ax.plot(
            line["step"],
            line,
            color=CONDITIONS[number % len(CONDITIONS)],
            ls=style,
            label=str(run).replace(",", ", ").replace("_", " "),
        )
    ax.set(xlabel=label_of(result["step"]), ylabel=label_of(curves))
    ax.legend(frameon=False, fontsize="x-small")
    return ax
