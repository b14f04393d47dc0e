"""P-values of a map and of its family, whatever the test: every analysis of features goes through here.

A map is read a block of features at a time. What a correction needs beyond the maxima of the null (the order
of features, their p-values, neighbouring layers) takes a second reading.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neurosae.analysis.contrast_inference import ENOUGH
from neurosae.analysis.response_blocks import feature_blocks
from neurosae.arrays.contrast_null import Null, counted
from neurosae.arrays.correction import CORRECTIONS, HIERARCHICAL, adjust, adjust_hierarchical
from neurosae.arrays.family_null import bin_maxima, min_p_values, smallest_p, step_down_bins, step_down_p
from neurosae.arrays.layer_clusters import cluster_mass, tfce
from neurosae.arrays.permutation import exceedance_interval, exceedance_p, max_statistic_p
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, RESIDUAL_SITES, UNITS_BASIS

MAX_T, STEP_DOWN, MIN_P, CLUSTER, TFCE = "max_t", "step_down", "min_p", "cluster", "tfce"

FROM_NULL = {
    MAX_T: "family-wise error, from the largest statistic of each relabeling (Westfall & Young 1993)",
    STEP_DOWN: "as max_t, but features no longer compete with those found before (Westfall & Young 1993)",
    MIN_P: "family-wise error, from the smallest p of each relabeling; at least 9999 relabelings",
    CLUSTER: "family-wise error of the mass of clusters of layers; residual stream only",
    TFCE: "family-wise error after threshold-free enhancement along layers; residual stream only",
}

ALL_CORRECTIONS = {
    **CORRECTIONS,
    HIERARCHICAL: "false discovery rate, layers first (Benjamini & Bogomolov 2014)",
    **FROM_NULL,
}

FAMILY = "valid features of all layers"
"""What a correction corrects over."""

CLUSTER_P = 0.001
"""Two-sided p of a feature at which it joins a cluster, from the statistic's distribution."""

_FEWEST_FOR_MIN_P = 9999
_LATTICE_ROWS = 64
_SLACK = 1e-4
"""Relative rounding error of enhanced statistics, which are sums and cubes of statistics."""


@dataclass(frozen=True)
class Prepared:
    """A block of features, ready to be tested.

    found : statistics by name, (F,), NaN where not valid
    valid : (F,) bool, features that are tested
    null : statistics of labellings (rows, valid features), the observed one as row 0
    """

    found: dict[str, np.ndarray]
    valid: np.ndarray
    null: Null


@dataclass(frozen=True)
class Family:
    """All features of all layers, and how a block of them is tested.

    responses : DataArray (stimulus, layer, feature); used : positions of its stimuli
    prepare : from values (used, F) to `Prepared`
    n_rows, exact : labellings with the observed one, and whether they are all
    threshold : statistic at which a feature joins a cluster
    """

    responses: xr.DataArray
    used: np.ndarray
    prepare: Callable[[np.ndarray], Prepared]
    n_rows: int
    exact: bool
    threshold: float

    @property
    def n_null(self) -> int:
        """Number of labellings that p-values count."""
        return self.n_rows - (not self.exact)


def check_correction(correct: str, responses: xr.DataArray, n_distinct: int, n_permutations: int) -> None:
    """Refuse a correction that is unknown or that the design or the recording cannot carry.

    Raises
    ------
    DesignError
        If it is unknown; if no corrected p could reach .05; if ``"min_p"`` has fewer than 9999 relabelings;
        if ``"cluster"`` or ``"tfce"`` is asked of anything but several layers of the residual stream.
    """
    if correct not in ALL_CORRECTIONS:
        raise DesignError(f"correction {correct!r} is unknown; choose one of {list(ALL_CORRECTIONS)}.")
    if correct in FROM_NULL and n_distinct < ENOUGH:
        raise DesignError(
            f"the design allows {n_distinct} distinct relabelings, so no corrected p can reach .05; "
            f"{correct} needs at least {ENOUGH}. Add units, or describe the effect with correct='none'."
        )
    if correct == MIN_P and n_permutations < min(n_distinct, _FEWEST_FOR_MIN_P):
        raise DesignError(
            f"min_p compares p-values, and {n_permutations} relabelings give too few different ones: pass "
            f"n_permutations={_FEWEST_FOR_MIN_P} or more, or use correct='step_down'."
        )
    if correct in (CLUSTER, TFCE):
        _check_lattice(correct, responses)


def _check_lattice(correct: str, responses: xr.DataArray) -> None:
    basis, site = str(responses.attrs.get("basis", UNITS_BASIS)), str(responses.attrs.get("site", ""))
    if basis != UNITS_BASIS or site not in RESIDUAL_SITES:
        raise DesignError(
            f"{correct} joins feature f of one layer with feature f of the next, which are the same "
            f"coordinate in the residual stream only ({', '.join(RESIDUAL_SITES)}, basis units); these "
            f"responses are of site {site or 'unknown'!r}, basis {basis!r}. Use correct='max_t'."
        )
    if responses.sizes[LAYER] < 2:
        raise DesignError(f"{correct} needs two or more layers, got {responses.sizes[LAYER]}; use max_t.")


def family_statistics(family: Family, correct: str, n_distinct: int) -> dict[str, np.ndarray]:
    """Statistics of all features with their p-values: arrays (layer, feature) by name.

    Besides what ``prepare`` finds: ``valid``, ``p_unc``, ``p_lo`` and ``p_hi`` (95 % bounds of p given that
    relabelings were sampled), ``p_adjusted``, and for ``"cluster"`` and ``"tfce"`` ``enhanced``. With fewer
    than 20 distinct relabelings p-values are NaN.
    """
    found, largest = _first_reading(family)
    n_exceeding, reached = found.pop("n_exceeding"), found.pop("reached")
    if n_distinct < ENOUGH:
        n_exceeding = np.full_like(n_exceeding, np.nan)
    p = exceedance_p(n_exceeding, family.n_null, exact=family.exact)
    low, high = exceedance_interval(n_exceeding, family.n_null, exact=family.exact)
    found |= {"p_unc": p, "p_lo": low, "p_hi": high}
    if correct == MAX_T:
        return found | {
            "p_adjusted": _shaped(max_statistic_p(reached.ravel(), largest, exact=family.exact), p)
        }
    if correct in _SECOND_READING:
        return found | _SECOND_READING[correct](family, reached, p)
    if correct == HIERARCHICAL:
        return found | {"p_adjusted": adjust_hierarchical(p)}
    return found | {"p_adjusted": _shaped(adjust(p.ravel(), correct), p)}


def _first_reading(family: Family) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Statistics and counts of every feature (layer, feature), and the maxima of the null."""
    largest = np.zeros(family.n_null)
    layers = []
    for layer in range(family.responses.sizes[LAYER]):
        blocks = []
        for values in feature_blocks(family.responses, layer, family.used):
            ready = family.prepare(values)
            counts = counted(ready.null, family.n_rows, exact=family.exact)
            np.maximum(largest, counts.maxima, out=largest)
            nulls = {"n_exceeding": counts.n_exceeding, "reached": counts.reached}
            spread = {name: spread_out(array, ready.valid) for name, array in nulls.items()}
            blocks.append(ready.found | {"valid": ready.valid} | spread)
        layers.append({name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]})
    return {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}, largest


def spread_out(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Values of the valid features among all of them, NaN elsewhere."""
    everywhere = np.full(len(valid), np.nan)
    everywhere[valid] = values
    return everywhere


def _shaped(adjusted: np.ndarray, like: np.ndarray) -> np.ndarray:
    return adjusted.reshape(like.shape)


def _step_down(family: Family, reached: np.ndarray, _: np.ndarray) -> dict[str, np.ndarray]:
    flat = reached.ravel()
    bins = step_down_bins(flat, family.n_rows)
    # Maxima keep the precision of their null: ties of an enumerated one would not survive a coarser one.
    maxima = np.zeros((bins.n, family.n_rows), dtype=np.float64 if family.exact else np.float32)
    for layer in range(len(reached)):
        start = layer * reached.shape[1]
        for values in feature_blocks(family.responses, layer, family.used):
            ready = family.prepare(values)
            own = bins.of[start : start + len(ready.valid)][ready.valid]
            start += len(ready.valid)
            if len(own):
                present, block = bin_maxima(ready.null, family.n_rows, own)
                maxima[present] = np.maximum(maxima[present], block)
    return {"p_adjusted": _shaped(step_down_p(flat, bins, maxima, exact=family.exact), reached)}


def _min_p(family: Family, reached: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    smallest = np.ones(family.n_rows)
    for layer in range(len(reached)):
        for values in feature_blocks(family.responses, layer, family.used):
            ready = family.prepare(values)
            np.minimum(smallest, smallest_p(ready.null, family.n_rows), out=smallest)
    return {"p_adjusted": _shaped(min_p_values(p.ravel(), smallest, exact=family.exact), p)}


def _clusters(family: Family, reached: np.ndarray, _: np.ndarray) -> dict[str, np.ndarray]:
    return _enhanced(family, reached, lambda stat: cluster_mass(stat, family.threshold))


def _tfce(family: Family, reached: np.ndarray, _: np.ndarray) -> dict[str, np.ndarray]:
    return _enhanced(family, reached, tfce)


def _enhanced(
    family: Family, reached: np.ndarray, enhance: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Family-wise p of statistics that were enhanced along layers, all layers of a block at once."""
    n_layers = len(reached)
    largest, observed = np.zeros(family.n_rows), []
    by_layer = (feature_blocks(family.responses, layer, family.used) for layer in range(n_layers))
    for blocks in zip(*by_layer, strict=True):
        ready = [family.prepare(values) for values in blocks]
        for start in range(0, family.n_rows, _LATTICE_ROWS):
            rows = slice(start, min(start + _LATTICE_ROWS, family.n_rows))
            stat = np.zeros((n_layers, rows.stop - rows.start, len(ready[0].valid)), dtype=np.float32)
            for layer, block in enumerate(ready):
                stat[layer][:, block.valid] = block.null(rows)
            mass = enhance(stat)
            largest[rows] = np.maximum(largest[rows], np.abs(mass).max(axis=(0, 2)))
            if start == 0:
                observed.append(mass[:, 0])
    found = np.where(np.isnan(reached), np.nan, np.concatenate(observed, axis=1))
    null = largest if family.exact else largest[1:]
    p = max_statistic_p(np.abs(found).ravel() * (1 - _SLACK), null, exact=family.exact)
    return {"p_adjusted": _shaped(p, reached), "enhanced": found}


_SECOND_READING = {STEP_DOWN: _step_down, MIN_P: _min_p, CLUSTER: _clusters, TFCE: _tfce}
