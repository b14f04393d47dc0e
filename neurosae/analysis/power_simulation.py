"""Simulated experiments: a pilot's rows drawn anew in other numbers, tested by relabelings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neurosae.analysis.contrast_design import FEWEST_UNITS, Design
from neurosae.analysis.contrast_inference import (
    choose_test,
    exchangeable,
    null_form,
    relabelings_of,
    with_observed,
)
from neurosae.analysis.held_out import held_out_effect
from neurosae.arrays.contrast_null import relabeled_statistics, unit_norm
from neurosae.arrays.permutation import exceedance_interval, p_value
from neurosae.errors import DesignError
from neurosae.schema.names import STIMULUS, UNITS_BASIS

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


def checked_simulation(n_units: Sequence[int], alpha: float, n_simulations: int, seed: int) -> Simulation:
    """Raise `DesignError` if a number, the level or the count of experiments is out of range."""
    if not len(n_units) or min(n_units) < FEWEST_UNITS:
        raise DesignError(f"n_units is {list(n_units)}; every number must be at least {FEWEST_UNITS}.")
    if not 1 / (N_PERMUTATIONS + 1) <= alpha < 1:
        raise DesignError(f"alpha is {alpha}; with {N_PERMUTATIONS} relabelings it must lie in [.005, 1).")
    if n_simulations < 1:
        raise DesignError(f"n_simulations is {n_simulations}; it must be at least 1.")
    return Simulation(tuple(sorted({int(n) for n in n_units})), alpha, n_simulations, seed)


def described(wanted: Simulation) -> dict[str, int | float]:
    """The settings of a simulation, as attributes."""
    return {
        "alpha": wanted.alpha,
        "n_simulations": wanted.n_simulations,
        "n_permutations": N_PERMUTATIONS,
        "seed": wanted.seed,
    }


def simulated_power(rows: np.ndarray, design: Design, test: str, wanted: Simulation) -> xr.Dataset:
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
    sized = sized_design(design.weights, n, is_paired=design.is_paired)
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


def sized_design(weights: np.ndarray, n: int, *, is_paired: bool) -> Design:
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
