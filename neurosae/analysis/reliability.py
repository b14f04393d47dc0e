"""How many items a localizer needs: agreement of two maps from separate items, over their number."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neurosae.analysis.contrast_design import FEWEST_UNITS, Design, contrast_design
from neurosae.analysis.held_out import agreement, assign_folds, averaged_layers, fit_fold, fold_map
from neurosae.analysis.selection import SelectionRule, selection_rule
from neurosae.errors import DesignError
from neurosae.schema.names import UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import stimulus_table

_N_SIZES = 6


def localizer_reliability(
    responses: xr.DataArray,
    contrast: str,
    *,
    n_units: Sequence[int] = (),
    fraction: float = 0.01,
    rule: str = "signed",
    n_splits: int = 20,
    unit: str = "auto",
    seed: int = 0,
) -> xr.Dataset:
    """How well two localizers from separate units agree, for growing numbers of units.

    Units are split in two halves, from each of which n units a cell (in paired designs n units) are drawn;
    each half gives a map and an ROI. Agreement of maps is their correlation, of ROIs the Dice index.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    contrast : such as ``"A > B"``
    n_units : numbers of units a cell in each half, at least 3; by default 6 numbers up to half the units
    fraction, rule : as in `neurosae.analysis.localizer.cross_localize`
    n_splits : random splits for each number
    unit : column that defines the unit of inference
    seed : root of the random numbers

    Returns
    -------
    Dataset (n_units)
        ``r`` and ``dice``, means over splits, with ``_lo`` and ``_hi`` (2.5th and 97.5th percentile of
        splits: how much one split may differ, no confidence interval, as splits share units);
        ``dice_chance``; ``r_sb``, 2r/(1+r), the reliability of twice as many units.

    Raises
    ------
    DesignError
        If a number is below 3 or more than half the units, or an option is out of range.

    Source
    ------
    Spearman 1910, Br J Psychol 3:271; Brown 1910, Br J Psychol 3:296.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> curve = localizer_reliability(planted_responses(n_items=40, effect=3.0), "A > B", n_units=[5, 20])
    >>> curve["dice"].values.round(1), curve["dice_chance"].values.round(2)
    (array([0.9, 1. ]), array([0.02, 0.02]))
    """
    chooser = selection_rule(rule)
    basis = str(responses.attrs.get("basis", UNITS_BASIS))
    design = contrast_design(stimulus_table(responses), contrast, unit=unit)
    sizes = _sizes(design, n_units)
    layers = averaged_layers(responses, design)
    children = np.random.SeedSequence(seed).spawn(n_splits)
    found = np.array(
        [[_split(layers, design, basis, chooser, fraction, n, child) for child in children] for n in sizes]
    )
    settings = {"contrast": contrast, "fraction": fraction, "rule": rule, "n_splits": n_splits, "seed": seed}
    attrs = {
        **settings,
        "unit": design.unit,
        "site": str(responses.attrs.get("site", "")),
        "basis": basis,
        **with_step(responses, "localizer_reliability", **settings),
    }
    coords = {"n_units": ("n_units", sizes, {"long_name": f"units ({design.unit}) per cell", "units": "1"})}
    return xr.Dataset(_summary(found), coords=coords, attrs=attrs)


def _sizes(design: Design, wanted: Sequence[int]) -> list[int]:
    largest = _largest_half(design)
    sizes = sorted(set(wanted or np.linspace(FEWEST_UNITS, largest, _N_SIZES).round().astype(int).tolist()))
    if not sizes or sizes[0] < FEWEST_UNITS or sizes[-1] > largest:
        raise DesignError(
            f"n_units is {list(wanted)}; two separate halves of {design.n_units} units ({design.unit}) allow "
            f"{FEWEST_UNITS} to {largest} a cell."
        )
    return sizes


def _largest_half(design: Design) -> int:
    return int(_counts(design, assign_folds(design, 2, seed=0)).min())


def _counts(design: Design, half: np.ndarray) -> np.ndarray:
    """Units of each cell in each half, (2, K)."""
    n_cells = len(design.weights)
    return np.stack([np.bincount(design.cells[half == side], minlength=n_cells) for side in (0, 1)])


def _split(
    layers: list[np.ndarray],
    design: Design,
    basis: str,
    rule: SelectionRule,
    fraction: float,
    n: int,
    child: np.random.SeedSequence,
) -> tuple[float, float, float]:
    rng = np.random.default_rng(child)
    half = assign_folds(design, 2, seed=int(rng.integers(2**32)))
    maps = []
    for side in (0, 1):
        rows = _drawn(design, half == side, n, rng)
        maps.append(fold_map(layers, fit_fold(layers, design, rows, "auto", basis)))
    return agreement(maps[0], maps[1], rule, fraction)


def _drawn(design: Design, own: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of n random units of each cell among the rows ``own``, (R,) bool; if paired, whole units."""
    strata = [np.unique(design.units[own & (design.cells == cell)]) for cell in range(len(design.weights))]
    if design.is_paired:
        strata = strata[:1]
    chosen = [unit for units in strata for unit in rng.permutation(units)[:n]]
    return own & np.isin(design.units, chosen)


def _summary(found: np.ndarray) -> dict[str, tuple]:
    """Variables from agreements (size, split, 3): correlation, Dice, Dice by chance."""
    names = {"r": "correlation of two maps", "dice": "Dice index of two ROIs"}
    variables: dict[str, tuple] = {}
    for index, (name, long_name) in enumerate(names.items()):
        low, high = np.nanquantile(found[:, :, index], [0.025, 0.975], axis=1)
        mean = np.nanmean(found[:, :, index], axis=1)
        for suffix, values, extra in (
            ("", mean, ""),
            ("_lo", low, ", 2.5th percentile of splits"),
            ("_hi", high, ", 97.5th percentile of splits"),
        ):
            variables[name + suffix] = ("n_units", values, {"long_name": long_name + extra, "units": "1"})
    r = variables["r"][1]
    more = {
        "r_sb": (2 * r / (1 + r), "correlation for twice the units (Spearman-Brown)"),
        "dice_chance": (found[:, :, 2].mean(axis=1), "Dice index of random selections"),
    }
    described = {
        name: ("n_units", values, {"long_name": text, "units": "1"}) for name, (values, text) in more.items()
    }
    return variables | described
