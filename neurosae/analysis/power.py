"""How many items an experiment needs: what a pilot's own items, drawn anew in other numbers, would show.

A pilot's effect is uncertain and, where it is why the experiment is planned, too large on average. So power
stands beside the power for the lower bound of the pilot's interval, and beside the rate of false alarms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neurosae.analysis.contrast_design import FEWEST_UNITS, Design, averaged_rows, contrast_design
from neurosae.analysis.contrast_inference import (
    choose_test,
    exchangeable,
    null_form,
    relabelings_of,
    with_observed,
)
from neurosae.analysis.held_out import held_out_effect
from neurosae.analysis.localizer import roi_responses
from neurosae.arrays.contrast_null import relabeled_statistics, unit_norm
from neurosae.arrays.permutation import exceedance_interval, p_value
from neurosae.errors import DesignError
from neurosae.schema.names import STIMULUS, UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import stimulus_table

N_PERMUTATIONS = 199
ENOUGH_POWER = 0.8

_NAMES = {
    "power": "power for the pilot's effect",
    "safeguard": "power for the lower bound of the pilot's effect",
    "alpha_kept": "rejections without an effect",
}


@dataclass(frozen=True)
class Simulation:
    """How experiments are simulated: numbers of units, level, number of experiments, seed."""

    n_units: tuple[int, ...]
    alpha: float
    n_simulations: int
    seed: int


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
    (array([0.7, 1. ]), 20)
    """
    wanted = _checked(n_units, alpha, n_simulations, seed)
    mean = roi_responses(pilot, roi)
    design = contrast_design(stimulus_table(pilot), contrast, unit=unit)
    rows = averaged_rows(mean.values[design.used][:, None], design)[:, 0]
    basis = str(pilot.attrs.get("basis", UNITS_BASIS))
    settings = {"contrast": contrast, "test": choose_test(design, test, basis).name, "unit": design.unit}
    return _power(rows, design, test, wanted).assign_attrs(
        settings, **_described(wanted), **with_step(pilot, "power_contrast", **settings, **_described(wanted))
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
    >>> scores = {"score": (dims, 1 + rng.random((1, 1, 20))), "score_sham_unit": (dims, rng.random((1, 1, 20)))}
    >>> coords = {"perturbation": ["cut"], "readout": ["surprisal"]}
    >>> found = power_lesion(xr.Dataset(scores, coords=coords), "cut", "surprisal", n_units=[10])
    >>> float(found["power"][0])
    1.0
    """
    wanted = _checked(n_units, alpha, n_simulations, seed)
    one = _effect_of(causal, perturbation, readout)
    pairs = np.stack([one["score"].values, one["score_sham_unit"].values], axis=1)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if len(pairs) < FEWEST_UNITS:
        raise DesignError(f"{len(pairs)} units have a score of {perturbation!r} and its shams; 3 are needed.")
    design = _sized(np.array([1.0, -1.0]), len(pairs), is_paired=True)
    settings = {"perturbation": perturbation, "readout": readout}
    return _power(pairs.ravel(), design, "welch", wanted).assign_attrs(
        settings, **_described(wanted), **with_step(causal, "power_lesion", **settings, **_described(wanted))
    )


def _effect_of(causal: xr.Dataset, perturbation: str, readout: str) -> xr.Dataset:
    for dim, label in (("perturbation", perturbation), ("readout", readout)):
        if dim not in causal.coords or label not in causal[dim].values:
            known = causal[dim].values.tolist() if dim in causal.coords else []
            raise DesignError(f"the experiment has no {dim} {label!r}; it has {known}.")
    return causal.sel(perturbation=perturbation, readout=readout)


def _checked(n_units: Sequence[int], alpha: float, n_simulations: int, seed: int) -> Simulation:
    if not len(n_units) or min(n_units) < FEWEST_UNITS:
        raise DesignError(f"n_units is {list(n_units)}; every number must be at least {FEWEST_UNITS}.")
    if not 1 / (N_PERMUTATIONS + 1) <= alpha < 1:
        raise DesignError(f"alpha is {alpha}; with {N_PERMUTATIONS} relabelings it must lie in [.005, 1).")
    if n_simulations < 1:
        raise DesignError(f"n_simulations is {n_simulations}; it must be at least 1.")
    return Simulation(tuple(sorted({int(n) for n in n_units})), alpha, n_simulations, seed)


def _described(wanted: Simulation) -> dict[str, int | float]:
    return {
        "alpha": wanted.alpha,
        "n_simulations": wanted.n_simulations,
        "n_permutations": N_PERMUTATIONS,
        "seed": wanted.seed,
    }


def _power(rows: np.ndarray, design: Design, test: str, wanted: Simulation) -> xr.Dataset:
    """Power curves from the rows (R,) of a pilot's design."""
    pilot = held_out_effect(rows, design)
    scales = {"power": 1.0, "safeguard": _lower(pilot), "alpha_kept": 0.0}
    children = np.random.SeedSequence(wanted.seed).spawn(len(wanted.n_units))
    rates = np.array(
        [
            _rejections(rows, design, test, n, list(scales.values()), wanted, np.random.default_rng(child))
            for n, child in zip(wanted.n_units, children, strict=True)
        ]
    )
    result = power_curves(dict(zip(scales, rates.T, strict=True)), _NAMES, wanted)
    for name, text in (("es", "Hedges g of the pilot"), ("es_lo", "lower bound"), ("es_hi", "upper bound")):
        long_name = text if name == "es" else f"Hedges g of the pilot, {text}"
        result[name] = ((), pilot[name], {"long_name": long_name, "units": "SD"})
    return result


def _lower(pilot: dict[str, float]) -> float:
    """Share of the pilot's effect that is left at the bound nearer to 0; none if the interval holds 0."""
    bound = pilot["es_lo"] if pilot["es"] > 0 else pilot["es_hi"]
    return max(bound / pilot["es"], 0.0) if pilot["es"] else 0.0


def power_curves(
    counts: dict[str, np.ndarray], names: dict[str, str], wanted: Simulation, unit: str = "units per cell"
) -> xr.Dataset:
    """Curves over the number of units from counts of rejections, with binomial intervals and `n_needed`."""
    variables: dict[str, tuple] = {}
    for name, count in counts.items():
        low, high = exceedance_interval(count, wanted.n_simulations, exact=False)
        for suffix, values, more in (
            ("", count / wanted.n_simulations, ""),
            ("_lo", low, ", lower 95 % bound"),
            ("_hi", high, ", upper 95 % bound"),
        ):
            variables[name + suffix] = ("n_units", values, {"long_name": names[name] + more, "units": "1"})
    enough = np.flatnonzero(counts["power"] >= ENOUGH_POWER * wanted.n_simulations)
    needed = float(wanted.n_units[enough[0]]) if enough.size else np.nan
    described = {"long_name": f"smallest number with power {ENOUGH_POWER:g}", "units": "1"}
    variables["n_needed"] = ((), needed, described)
    axis = ("n_units", list(wanted.n_units), {"long_name": unit, "units": "1"})
    return xr.Dataset(variables, coords={"n_units": axis})


def _rejections(
    rows: np.ndarray,
    design: Design,
    test: str,
    n: int,
    scales: Sequence[float],
    wanted: Simulation,
    rng: np.random.Generator,
) -> list[int]:
    """Simulated experiments of n units that reject, for each share of the pilot's effect."""
    sized = _sized(design.weights, n, is_paired=design.is_paired)
    chosen = choose_test(sized, test, UNITS_BASIS)
    relabelings = relabelings_of(chosen, N_PERMUTATIONS, seed=wanted.seed)
    form = null_form(chosen, with_observed(chosen, relabelings), dtype=np.dtype(np.float64))
    noise, means = _drawn(rows, design, n, wanted.n_simulations, rng)
    found = []
    for scale in scales:
        data = exchangeable(noise + scale * means[sized.cells][:, None], chosen)
        t = relabeled_statistics(form, unit_norm(data, np.dtype(np.float64)))
        null = t if relabelings.exact else t[1:]
        found.append(int((p_value(t[0], null, exact=relabelings.exact) <= wanted.alpha).sum()))
    return found


def _sized(weights: np.ndarray, n: int, *, is_paired: bool) -> Design:
    """The design of an experiment with n units a cell, or n units that hold all cells: rows unit by cell."""
    n_cells = len(weights)
    cells = np.tile(np.arange(n_cells), n)
    units = np.repeat(np.arange(n), n_cells) if is_paired else np.arange(n * n_cells)
    return Design(
        text="simulated",
        unit=STIMULUS,
        used=np.arange(len(cells)),
        averaged=np.arange(len(cells)),
        labels=np.arange(len(cells)).astype(str),
        cells=cells,
        units=units,
        groups=units.astype(str),
        cell_names=tuple(str(cell) for cell in range(n_cells)),
        weights=weights,
        nuisance=np.empty((len(cells), 0)),
        is_paired=is_paired,
    )


def _drawn(
    rows: np.ndarray, design: Design, n: int, n_simulations: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Noise of simulated rows (n K, simulations), and the pilot's cell means (K,), centred.

    Residuals are stretched by √(n / (n - 1)), as their variance is that of the pilot about its own mean.
    """
    order = np.argsort(design.units, kind="stable")
    own = [order[design.cells[order] == cell] for cell in range(len(design.weights))]
    means = np.array([rows[members].mean() for members in own])
    sizes = [len(members) for members in own]
    residuals = [
        (rows[members] - mean) * np.sqrt(size / (size - 1))
        for members, mean, size in zip(own, means, sizes, strict=True)
    ]
    draws = [rng.integers(size, size=(n, n_simulations)) for size in sizes]
    draws = [draws[0]] * len(sizes) if design.is_paired else draws
    noise = np.stack([values[draw] for values, draw in zip(residuals, draws, strict=True)], axis=1)
    return noise.reshape(n * len(sizes), n_simulations), means - means.mean()
