"""What ROIs of two contrasts share when rows are reordered: common stimuli, no effect."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import average_units
from neurosae.analysis.contrast_design import Design, contrast_design
from neurosae.analysis.contrast_inference import TESTS, ContrastTest, choose_test, is_alive, t_map
from neurosae.analysis.roi_space import members_of, space_difference
from neurosae.analysis.selection import top_members
from neurosae.arrays.permutation import Relabelings, orders, p_value
from neurosae.errors import DesignError
from neurosae.protocol.contrast import parse_contrast
from neurosae.schema.names import STIMULUS, UNITS_BASIS
from neurosae.schema.recordings import check_responses, stimulus_table
from neurosae.schema.units import unit_column

_RERUN = {"signed_rank": "rank", "paired": "welch"}
"""Tests as results name them, and what asks for them."""


def relocalized(
    first: xr.Dataset, second: xr.Dataset, responses: xr.DataArray, n_permutations: int, seed: int
) -> dict[str, float]:
    """Dice index of ROIs localized anew in reordered responses: its mean, 95th percentile, and p.

    Raises
    ------
    DesignError
        If an ROI cannot be localized anew in ``responses``.
    """
    rows, within = _rows_of(first, second, responses)
    tests = [_test_of(roi, rows) for roi in (first, second)]
    drawn = orders(rows.sizes[STIMULUS], n_permutations, seed=seed, strata=within)
    sizes = [int(roi.attrs["n_selected"]) for roi in (first, second)]
    is_absolute = ["absolute" in str(roi.attrs["rule"]) for roi in (first, second)]
    shared = _shared_under(rows, tests, sizes, is_absolute, drawn)
    observed = float((members_of(first) & members_of(second)).sum())
    dice = 2 * shared / sum(sizes)
    return {
        "dice_null": float(dice.mean()),
        "dice_null_hi": float(np.quantile(dice, 0.95)),
        "p": float(p_value(observed, shared, exact=drawn.exact, alternative="greater")),
    }


def _rows_of(
    first: xr.Dataset, second: xr.Dataset, responses: xr.DataArray
) -> tuple[xr.DataArray, np.ndarray | None]:
    """Rows (unit and cell) that either contrast uses, and the unit of each where units hold several."""
    check_responses(responses)
    if space_difference(first, responses):
        raise DesignError("the responses are of another site, basis, layers or features than the ROIs.")
    units = {str(roi.attrs.get("unit", "auto")) for roi in (first, second)}
    if len(units) > 1:
        raise DesignError(f"the ROIs have different units of inference, {sorted(units)}; localize with one.")
    table, unit = stimulus_table(responses), units.pop()
    contrasts = [parse_contrast(_contrast_of(roi), table) for roi in (first, second)]
    used = np.logical_or.reduce([contrast.cells(table) >= 0 for contrast in contrasts])
    columns = list(dict.fromkeys(column for contrast in contrasts for column in contrast.columns))
    kept = responses.isel({STIMULUS: used})
    column = unit_column(table, unit)
    labels = kept[column].values.astype(str)
    rows = average_units(kept, unit=unit, by=columns) if column != STIMULUS else kept
    own = rows[column].values.astype(str) if column in rows.coords else labels
    return rows, own if len(np.unique(own)) < len(own) else None


def _contrast_of(roi: xr.Dataset) -> str:
    rule, test = str(roi.attrs.get("rule", "")), str(roi.attrs.get("test", ""))
    is_known = bool(roi.attrs.get("contrast")) and "n_selected" in roi.attrs
    if not is_known or "of" in rule.split() or "layer" in rule:
        raise DesignError(
            f"an ROI by the rule {rule!r} cannot be localized anew; with responses each ROI must come from "
            "one contrast, over all layers. Leave responses out to compare with random sets."
        )
    if _RERUN.get(test, test) not in TESTS:
        raise DesignError(
            f"an ROI of test {test!r} has nuisance columns, which reordered responses would mix."
        )
    return str(roi.attrs["contrast"])


def _test_of(roi: xr.Dataset, rows: xr.DataArray) -> ContrastTest:
    name, unit = str(roi.attrs["test"]), str(roi.attrs.get("unit", "auto"))
    unit = unit if unit in rows.coords else STIMULUS
    design: Design = contrast_design(stimulus_table(rows), str(roi.attrs["contrast"]), unit=unit)
    return choose_test(design, _RERUN.get(name, name), str(rows.attrs.get("basis", UNITS_BASIS)))


def _shared_under(
    rows: xr.DataArray,
    tests: Sequence[ContrastTest],
    sizes: Sequence[int],
    is_absolute: Sequence[bool],
    drawn: Relabelings,
) -> np.ndarray:
    """Features that both selections take under each reordering of the rows, (P,)."""
    basis, values = str(rows.attrs.get("basis", UNITS_BASIS)), rows.values.astype(np.float64)
    shared = np.empty(len(drawn))
    for number, order in enumerate(drawn.labels):
        chosen = []
        for test, size, absolute in zip(tests, sizes, is_absolute, strict=True):
            stat = _statistic(values[order][test.design.used], test, basis)
            chosen.append(top_members(np.abs(stat) if absolute else stat, size))
        shared[number] = (chosen[0] & chosen[1]).sum()
    return shared


def _statistic(values: np.ndarray, test: ContrastTest, basis: str) -> np.ndarray:
    layers = np.moveaxis(values, 1, 0)
    return np.stack([t_map(layer, test, is_alive(layer, test.design, basis)) for layer in layers])
