"""Whether a held-out effect exceeds chance: the null repeats the whole procedure, selection included.

What one fold selects depends on the labels that another fold is tested with, so the held-out responses of
different folds are correlated, and a test that takes the selection as given finds effects in noise too often.
"""

from collections.abc import Iterator

import numpy as np

from neurosae.analysis.contrast_design import Design
from neurosae.analysis.contrast_inference import ENOUGH, exchangeable, null_form
from neurosae.analysis.held_out import Fold
from neurosae.analysis.selection import SelectionRule
from neurosae.arrays.contrast_null import FEATURES, relabeled_statistics, unit_norm
from neurosae.arrays.permutation import Relabelings, exceedance_p, relabel, sign_flips

_ELEMENTS = 2**25
"""Largest number of t values (relabeling x layer x feature) held at a time."""

_SLACK = 1e-5
"""Relative rounding error of single precision: a relabeling that ties counts as a tie."""


def held_out_p(
    layers: list[np.ndarray],
    design: Design,
    folds: list[Fold],
    weights: list[np.ndarray],
    rule: SelectionRule,
    draws: Relabelings,
) -> float:
    """How often selection and test, repeated with exchanged labels, give as large a held-out |t|.

    Parameters
    ----------
    layers : L arrays (R, F), rows of the design
    folds : what each fold learned from its training rows
    weights : (L, F) for each fold, 0 where the observed labels do not select
    rule : by which features were selected
    draws : from `relabelings_within`

    Returns
    -------
    float
        p, two-sided; NaN if there are fewer than 20 distinct relabelings.
    """
    if draws.exact and len(draws) < ENOUGH:
        return float("nan")
    observed = np.ones(design.n_units, dtype=int) if design.is_paired else design.cells
    rows = np.vstack([observed, draws.labels])
    response = np.empty((len(rows), len(design.cells)))
    for fold, weight in zip(folds, weights, strict=True):
        n_selected = np.count_nonzero(weight, axis=1)
        response[:, ~fold.train] = _null_responses(layers, design, fold, rule, n_selected, rows)
    t = np.abs(_held_out_t(response, design, rows))
    n_exceeding = np.count_nonzero(t[1:] >= t[0] * (1 - _SLACK))
    return float(exceedance_p(np.array(n_exceeding), len(draws), exact=draws.exact))


def relabelings_within(design: Design, folds: np.ndarray, n_permutations: int, *, seed: int) -> Relabelings:
    """Relabelings that keep each fold's cell sizes: labels exchanged within folds, or signs of units."""
    if design.is_paired:
        return sign_flips(design.n_units, n_permutations, seed=seed)
    return relabel(design.cells, n_permutations, seed=seed, strata=folds)


def _null_responses(
    layers: list[np.ndarray],
    design: Design,
    fold: Fold,
    rule: SelectionRule,
    n_selected: np.ndarray,
    rows: np.ndarray,
) -> np.ndarray:
    """Mean held-out response of what each labelling selects: (P, held-out rows)."""
    size = max(1, _ELEMENTS // sum(values.shape[1] for values in layers))
    blocks = []
    for start in range(0, len(rows), size):
        maps = _null_maps(layers, design, fold, rows[start : start + size])
        chosen = rule.columns(maps, n_selected)
        blocks.append(_total_response(layers, fold, chosen, rule.signs(maps, chosen)) / n_selected.sum())
    return np.concatenate(blocks)


def _null_maps(layers: list[np.ndarray], design: Design, fold: Fold, rows: np.ndarray) -> np.ndarray:
    """Training statistics under each labelling, (P, L F) float32, -inf where not tested."""
    own = np.unique(design.units[fold.train]) if design.is_paired else fold.train
    single = np.dtype(np.float32)
    form = null_form(fold.test, rows[:, own], dtype=single)
    n_features = layers[0].shape[1]
    maps = np.full((len(rows), len(layers) * n_features), -np.inf, dtype=single)
    for layer, start in _chunks(layers):
        alive = np.flatnonzero(fold.alive[layer, start : start + FEATURES])
        data = exchangeable(layers[layer][fold.train][:, start + alive], fold.test)
        varies = np.einsum("nf,nf->f", data, data) > 0
        columns = layer * n_features + start + alive[varies]
        maps[:, columns] = relabeled_statistics(form, unit_norm(data[:, varies], single))
    return maps


def _total_response(
    layers: list[np.ndarray], fold: Fold, chosen: np.ndarray, signs: np.ndarray
) -> np.ndarray:
    """Sum over the chosen features of the scaled held-out responses: (relabelings, held-out rows)."""
    n_features = layers[0].shape[1]
    total = np.zeros((len(chosen), int((~fold.train).sum())))
    for layer, values in enumerate(layers):
        first = layer * n_features
        member = np.zeros((len(chosen), n_features), dtype=np.float32)
        rows, columns = np.nonzero((chosen >= first) & (chosen < first + n_features))
        member[rows, chosen[rows, columns] - first] = signs[rows, columns]
        used = member.any(axis=0)
        scaled = (values[~fold.train][:, used] - fold.mean[layer, used]) / fold.sd[layer, used]
        total += member[:, used] @ scaled.T.astype(np.float32)
    return total


def _chunks(layers: list[np.ndarray]) -> Iterator[tuple[int, int]]:
    return ((i, start) for i, values in enumerate(layers) for start in range(0, values.shape[1], FEATURES))


def _held_out_t(response: np.ndarray, design: Design, labels: np.ndarray) -> np.ndarray:
    """Condition effect on held-out responses (P, R) as t, each row with its own labels: (P,).

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
