"""How many items an experiment needs: what a pilot's own items, drawn anew in other numbers, would show.

A pilot's effect is uncertain and, where it is why the experiment is planned, too large on average. So power
stands beside the power for the lower bound of the pilot's interval, and beside the rate of false alarms.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neurosae.analysis.contrast_design import FEWEST_UNITS, averaged_rows, contrast_design
from neurosae.analysis.contrast_inference import choose_test
from neurosae.analysis.localizer import roi_responses
from neurosae.analysis.power_simulation import checked_simulation, described, simulated_power, sized_design
from neurosae.errors import DesignError
from neurosae.schema.names import UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import stimulus_table


def power_contrast(
    pilot: xr.DataArray,
    contrast: str,
    roi: xr.Dataset,
    *,
    n_units: Sequence[int] = (10, 20, 40, 80),
    test: str = "welch",
    unit: str = "auto",
    alpha: float = 0.05,
    n_simulations: int = 400,
    seed: int = 0,
) -> xr.Dataset:
    """How often an experiment with so many units would find the pilot's effect in an ROI.

    Units of the pilot are drawn with replacement, within each cell, or as wholes where units hold all cells.
    Each simulated experiment is tested as a contrast is, by 199 relabelings.

    Parameters
    ----------
    pilot : DataArray (stimulus, layer, feature)
    contrast : such as ``"A > B"``
    roi : features chosen on other stimuli
    n_units : units in each cell; in paired designs units
    test, unit : as in `neurosae.analysis.contrast.contrast_map`
    alpha : level, two-sided, of this one test
    n_simulations : experiments simulated for each number
    seed : root of the random numbers

    Returns
    -------
    Dataset (n_units)
        ``power``; ``safeguard``, the power if the effect is the lower bound of the pilot's 95 % interval;
        ``alpha_kept``, rejections where the cells have equal means, to be near ``alpha``; each with ``_lo``
        and ``_hi`` (95 % interval, given the number of simulations). Scalars ``es`` with ``es_lo``, ``es_hi``
        (Hedges g of the pilot) and ``n_needed``, the smallest of the numbers with a power of .8; NaN if none.

    Raises
    ------
    DesignError
        If the pilot chose the ROI, a number is below 3, or an option is out of range.

    Source
    ------
    Efron & Tibshirani 1993, ch. 25 (bootstrap power); Perugini, Gallucci & Costantini 2014, Perspect Psychol
    Sci 9:319 (safeguard power).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> pilot, other = planted_responses(n_items=12), planted_responses(seed=1)
    >>> member = xr.zeros_like(other[0], dtype=bool).drop_attrs().reset_coords(drop=True)
    >>> member.loc[1, 4] = True
    >>> found = power_contrast(pilot, "A > B", xr.Dataset({"member": member}), n_units=[6, 20])
    >>> found["power"].values.round(1), int(found["n_needed"])
    (array([0.8, 1. ]), 6)
    """
    wanted = checked_simulation(n_units, alpha, n_simulations, seed)
    mean = roi_responses(pilot, roi)
    design = contrast_design(stimulus_table(pilot), contrast, unit=unit)
    rows = averaged_rows(mean.values[design.used][:, None], design)[:, 0]
    basis = str(pilot.attrs.get("basis", UNITS_BASIS))
    settings = {"contrast": contrast, "test": choose_test(design, test, basis).name, "unit": design.unit}
    return simulated_power(rows, design, test, wanted).assign_attrs(
        settings, **described(wanted), **with_step(pilot, "power_contrast", **settings, **described(wanted))
    )


def power_lesion(
    causal: xr.Dataset,
    perturbation: str,
    readout: str,
    *,
    n_units: Sequence[int] = (10, 20, 40, 80),
    alpha: float = 0.05,
    n_simulations: int = 400,
    seed: int = 0,
) -> xr.Dataset:
    """How often a lesion with so many texts would differ from the mean of its shams.

    Units of a finished experiment are drawn with replacement; the difference of lesion and mean sham is
    tested by sign flips over units (``p_unit``). The rank of the lesion among its shams (``p``) depends on
    the number of shams instead: with R shams it is at least 1 / (R + 1).

    Parameters
    ----------
    causal : result of `neurosae.causal.experiment.run_causal`
    perturbation, readout : which of its effects
    n_units, alpha, n_simulations, seed : as in `power_contrast`

    Returns
    -------
    Dataset (n_units), as from `power_contrast`

    Raises
    ------
    DesignError
        If there is no such effect, fewer than 3 units have a score, or an option is out of range.

    Examples
    --------
    >>> dims, rng = ("perturbation", "readout", "unit"), np.random.default_rng(0)
    >>> lesion, sham = 1 + rng.random((1, 1, 20)), rng.random((1, 1, 20))
    >>> scores = {"score": (dims, lesion), "score_sham_unit": (dims, sham)}
    >>> coords = {"perturbation": ["cut"], "readout": ["surprisal"]}
    >>> found = power_lesion(xr.Dataset(scores, coords=coords), "cut", "surprisal", n_units=[10])
    >>> float(found["power"][0])
    1.0
    """
    wanted = checked_simulation(n_units, alpha, n_simulations, seed)
    one = _effect_of(causal, perturbation, readout)
    pairs = np.stack([one["score"].values, one["score_sham_unit"].values], axis=1)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if len(pairs) < FEWEST_UNITS:
        raise DesignError(f"{len(pairs)} units have a score of {perturbation!r} and its shams; 3 are needed.")
    design = sized_design(np.array([1.0, -1.0]), len(pairs), is_paired=True)
    settings = {"perturbation": perturbation, "readout": readout}
    return simulated_power(pairs.ravel(), design, "welch", wanted).assign_attrs(
        settings, **described(wanted), **with_step(causal, "power_lesion", **settings, **described(wanted))
    )


def _effect_of(causal: xr.Dataset, perturbation: str, readout: str) -> xr.Dataset:
    for dim, label in (("perturbation", perturbation), ("readout", readout)):
        if dim not in causal.coords or label not in causal[dim].values:
            known = causal[dim].values.tolist() if dim in causal.coords else []
            raise DesignError(f"the experiment has no {dim} {label!r}; it has {known}.")
    return causal.sel(perturbation=perturbation, readout=readout)
