"""Select features on some units and measure them on others, for the observed labels and for relabeled ones.

The selection of one fold depends on the labels that another fold is tested with, so the folds' responses are
correlated. The null therefore repeats the whole procedure, selection included, for every relabeling.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from neurosae.analysis.contrast_design import Design, check_sizes, part
from neurosae.analysis.contrast_inference import (
    ContrastTest,
    choose_test,
    exchangeable,
    is_alive,
    null_form,
    t_map,
)
from neurosae.arrays.contrast_null import FEATURES, relabeled_statistics, unit_norm
from neurosae.arrays.permutation import Relabelings, relabel, sign_flips
from neurosae.errors import DesignError

_ELEMENTS = 2**25
"""Largest number of t values (relabeling x layer x feature) held at a time."""


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


def top_members(stat: np.ndarray, n: int) -> np.ndarray:
    """The n largest statistics, NaN last, ties by position: bool of the same shape."""
    order = np.argsort(np.where(np.isnan(stat), np.inf, -stat), axis=None, kind="stable")
    member = np.zeros(stat.size, dtype=bool)
    member[order[:n]] = True
    return member.reshape(stat.shape)


def n_of_fraction(fraction: float, n_tested: int) -> int:
    """Number of features in a share of those tested, at least one.

    Raises
    ------
    DesignError
        If ``fraction`` is not in (0, 1], or no feature was tested.
    """
    if not 0 < fraction <= 1:
        raise DesignError(f"fraction is {fraction}; it must lie above 0 and at most at 1.")
    if n_tested == 0:
        raise DesignError("no feature is valid, so none can be selected; are the responses constant?")
    return max(1, round(fraction * n_tested))


def roi_response(layers: list[np.ndarray], fold: Fold, member: np.ndarray) -> np.ndarray:
    """Mean response of a fold's ROI in the rows it did not train on, in training SD: (held-out rows,)."""
    total = np.zeros(int((~fold.train).sum()))
    for values, mean, sd, chosen in zip(layers, fold.mean, fold.sd, member, strict=True):
        if chosen.any():
            total += ((values[~fold.train][:, chosen] - mean[chosen]) / sd[chosen]).sum(axis=1)
    return total / member.sum()


def relabelings_within(design: Design, folds: np.ndarray, n_permutations: int, *, seed: int) -> Relabelings:
    """Relabelings that keep each fold's cell sizes: labels exchanged within folds, or signs of units."""
    if design.is_paired:
        return sign_flips(design.n_units, n_permutations, seed=seed)
    return relabel(design.cells, n_permutations, seed=seed, strata=folds)


def null_responses(
    layers: list[np.ndarray], design: Design, folds: list[Fold], n_selected: list[int], draws: Relabelings
) -> np.ndarray:
    """Held-out ROI response of each row under each relabeling, the selection repeated: (rows of draws, R)."""
    response = np.empty((len(draws), len(design.cells)))
    size = max(1, _ELEMENTS // sum(values.shape[1] for values in layers))
    for fold, n in zip(folds, n_selected, strict=True):
        for start in range(0, len(draws), size):
            block = slice(start, start + size)
            maps = _null_maps(layers, design, fold, draws, block)
            chosen = np.argpartition(maps, -n, axis=1)[:, -n:]
            response[block, ~fold.train] = _mean_response(layers, fold, chosen) / n
    return response


def _null_maps(
    layers: list[np.ndarray], design: Design, fold: Fold, draws: Relabelings, block: slice
) -> np.ndarray:
    """Training statistics under each relabeling of a block, (rows, L F) float32, -inf where not tested."""
    columns = np.unique(design.units[fold.train]) if design.is_paired else fold.train
    form = null_form(fold.test, Relabelings(draws.labels[block][:, columns], True, draws.scheme))
    n_features = layers[0].shape[1]
    maps = np.full((form.n_rows, len(layers) * n_features), -np.inf, dtype=np.float32)
    for layer, start in _chunks(layers):
        alive = np.flatnonzero(fold.alive[layer, start : start + FEATURES])
        data = exchangeable(layers[layer][fold.train][:, start + alive].astype(np.float64), fold.test)
        varies = np.einsum("nf,nf->f", data, data) > 0
        normed = unit_norm(data[:, varies], form.sums[0].dtype)
        maps[:, layer * n_features + start + alive[varies]] = relabeled_statistics(form, normed)
    return maps


def _mean_response(layers: list[np.ndarray], fold: Fold, chosen: np.ndarray) -> np.ndarray:
    """Sum over the chosen features of the scaled held-out responses: (relabelings, held-out rows)."""
    n_features = layers[0].shape[1]
    total = np.zeros((len(chosen), int((~fold.train).sum())))
    for layer, values in enumerate(layers):
        first = layer * n_features
        member = np.zeros((len(chosen), n_features), dtype=np.float32)
        rows, columns = np.nonzero((chosen >= first) & (chosen < first + n_features))
        member[rows, chosen[rows, columns] - first] = 1
        used = member.any(axis=0)
        scaled = (values[~fold.train][:, used] - fold.mean[layer, used]) / fold.sd[layer, used]
        total += member[:, used] @ scaled.T.astype(np.float32)
    return total


def _chunks(layers: list[np.ndarray]) -> Iterator[tuple[int, int]]:
    return ((i, start) for i, values in enumerate(layers) for start in range(0, values.shape[1], FEATURES))


def held_out_t(response: np.ndarray, design: Design, labels: np.ndarray) -> np.ndarray:
    """t of the condition effect on a held-out response, each row of (P, R) with its own labels: (P,).

    Between units Welch's t of the cells in ``labels`` (P, R); within units the paired t of differences with
    the signs in ``labels`` (P, U).
    """
    if design.is_paired:
        differences = labels * (response @ design.differences.T)
        error = differences.std(axis=1, ddof=1) / np.sqrt(design.n_units)
        return differences.mean(axis=1) / error
    effect, variance = np.zeros(len(response)), np.zeros(len(response))
    for cell, (weight, n) in enumerate(zip(design.weights, np.bincount(design.cells), strict=True)):
        own = labels == cell
        mean = np.where(own, response, 0).sum(axis=1) / n
        squares = np.where(own, np.square(response - mean[:, None]), 0).sum(axis=1)
        effect += weight * mean
        variance += weight**2 * squares / (n * (n - 1))
    return effect / np.sqrt(variance)


def split_half(
    layers: list[np.ndarray],
    design: Design,
    *,
    test: str,
    basis: str,
    fraction: float,
    n_splits: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Agreement of maps from random halves of the units: correlation, Dice of the top share, its chance.

    Returns
    -------
    r, dice, chance : each (n_splits,)
    """
    found = []
    for child in np.random.SeedSequence(seed).generate_state(n_splits):
        half = assign_folds(design, 2, seed=int(child))
        maps = [fold_map(layers, fit_fold(layers, design, half == h, test, basis)) for h in (0, 1)]
        both = np.isfinite(maps[0]) & np.isfinite(maps[1])
        first, second = maps[0][both], maps[1][both]
        n = n_of_fraction(fraction, len(first))
        shared = (top_members(first, n) & top_members(second, n)).sum()
        found.append((np.corrcoef(first, second)[0, 1], shared / n, n / len(first)))
    r, dice, chance = np.array(found).T
    return r, dice, chance
