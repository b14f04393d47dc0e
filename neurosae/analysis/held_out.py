"""Select features on some units and measure them on others: folds, held-out responses, split halves."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from neurosae.analysis.contrast_design import Design, averaged_rows, check_sizes, part
from neurosae.analysis.contrast_inference import (
    ContrastTest,
    choose_test,
    estimate,
    exchangeable,
    is_alive,
    t_map,
)
from neurosae.analysis.selection import SelectionRule
from neurosae.arrays.effect_size import noncentrality_ci, small_sample_factor
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS, UNITS_BASIS
from neurosae.schema.recordings import check_responses


@dataclass(frozen=True)
class Fold:
    """Training rows (R,) bool with their test, and for each feature of each layer what training gave.

    alive : (L, F) bool; mean, sd : (L, F) of the training rows, sd NaN where not alive
    """

    train: np.ndarray
    test: ContrastTest
    alive: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def assign_folds(design: Design, n_folds: int, *, seed: int) -> np.ndarray:
    """Fold of each row, (R,) int: widest units stay whole, cells are spread evenly over folds.

    Raises
    ------
    DesignError
        If there are fewer than 2 folds, or some fold lacks a cell.
    """
    if n_folds < 2:
        raise DesignError(f"folds is {n_folds}; at least 2 are needed to hold units out.")
    groups, rows_of = np.unique(design.groups, return_inverse=True)
    kinds = [tuple(np.unique(design.cells[rows_of == group])) for group in range(len(groups))]
    rng = np.random.default_rng(seed)
    fold, dealt = np.empty(len(groups), dtype=int), 0
    for kind in sorted(set(kinds)):
        members = rng.permutation([group for group, own in enumerate(kinds) if own == kind])
        fold[members] = (dealt + np.arange(len(members))) % n_folds
        dealt += len(members)
    return fold[rows_of]


def fit_fold(layers: list[np.ndarray], design: Design, train: np.ndarray, test: str, basis: str) -> Fold:
    """What a fold learns from its training rows without looking at labels: live features and their scale."""
    own = part(design, train)
    check_sizes(own)
    alive = np.stack([is_alive(values[train], own, basis) for values in layers])
    mean = np.stack([values[train].mean(axis=0, dtype=np.float64) for values in layers])
    sd = np.stack([values[train].std(axis=0, ddof=1, dtype=np.float64) for values in layers])
    return Fold(train, choose_test(own, test, basis), alive, mean, np.where(alive, sd, np.nan))


def fold_map(layers: list[np.ndarray], fold: Fold) -> np.ndarray:
    """Statistic of each feature in the training rows of a fold, (L, F), NaN where not tested."""
    return np.stack(
        [
            t_map(values[fold.train].astype(np.float64), fold.test, alive)
            for values, alive in zip(layers, fold.alive, strict=True)
        ]
    )


def roi_response(layers: list[np.ndarray], fold: Fold, weights: np.ndarray) -> np.ndarray:
    """Mean response of a fold's ROI in the rows it did not train on, in training SD: (held-out rows,)."""
    total = np.zeros(int((~fold.train).sum()))
    for values, mean, sd, weight in zip(layers, fold.mean, fold.sd, weights, strict=True):
        chosen = weight != 0
        if chosen.any():
            total += ((values[~fold.train][:, chosen] - mean[chosen]) / sd[chosen]) @ weight[chosen]
    return total / np.count_nonzero(weights)


def averaged_layers(responses: xr.DataArray, design: Design) -> list[np.ndarray]:
    """Rows of the design in each layer: L arrays (R, F) float64."""
    layers = []
    for i in range(responses.sizes[LAYER]):
        layer = responses.isel({LAYER: [i], STIMULUS: design.used})
        check_responses(layer)
        layers.append(averaged_rows(layer.values[:, 0], design))
    return layers


def fold_weights(layers: list[np.ndarray], fold: Fold, rule: SelectionRule, fraction: float) -> np.ndarray:
    """Features a fold selects on its training rows, (L, F) int8: 0, 1, or -1 for effects reversed."""
    return rule.weights(fold_map(layers, fold), fraction)


def split_half(
    layers: list[np.ndarray],
    design: Design,
    *,
    test: str,
    basis: str,
    rule: SelectionRule,
    fraction: float,
    seeds: np.ndarray,
) -> dict[str, float]:
    """Agreement of maps from random halves of the units, averaged over one split for each seed.

    r correlates the two maps; Spearman-Brown 2r/(1+r) is the reliability of a map of all units; Dice is the
    overlap of the selected features, k/m by chance for k of m.
    """
    found = []
    for seed in seeds:
        half = assign_folds(design, 2, seed=int(seed))
        first, second = (fold_map(layers, fit_fold(layers, design, half == h, test, basis)) for h in (0, 1))
        found.append(agreement(first, second, rule, fraction))
    r, dice, chance = np.mean(found, axis=0).tolist()
    return {"split_half_r": r, "split_half_r_sb": 2 * r / (1 + r), "dice": dice, "dice_chance": chance}


def agreement(
    first: np.ndarray, second: np.ndarray, rule: SelectionRule, fraction: float
) -> tuple[float, float, float]:
    """Correlation of two maps (L, F), Dice index of what they select, and that by chance."""
    both = np.isfinite(first) & np.isfinite(second)
    first, second = np.where(both, first, np.nan), np.where(both, second, np.nan)
    return _correlation(first[both], second[both]), *rule.dice(first, second, fraction)


def held_out_effect(response: np.ndarray, design: Design) -> dict[str, float]:
    """Condition effect on a held-out response (R,): effect, Welch or paired t, Hedges g with its interval."""
    values = response[:, None]
    welch, pooled = (choose_test(design, name, UNITS_BASIS) for name in ("welch", "pooled"))
    found = estimate(values, exchangeable(values, welch), welch)
    equal = estimate(values, exchangeable(values, pooled), pooled)
    df = float(equal.df[0])
    inverse_n = design.weights**2 / np.bincount(design.cells)
    leverage = 1 / design.n_units if design.is_paired else float(inverse_n.sum())
    scale = float(small_sample_factor(df) * np.sqrt(leverage))
    lower, upper = noncentrality_ci(float(equal.stat[0]), df)
    return {
        "effect": float(found.effect[0]),
        "stat": float(found.stat[0]),
        "es": float(found.es[0]),
        "es_lo": lower * scale,
        "es_hi": upper * scale,
        "n_units": design.n_units,
    }


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
