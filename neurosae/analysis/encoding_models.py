"""How much of a response properties of the stimuli predict, and which of them alone.

The reverse of a decoder: from stimulus columns to each feature. What predicts a response need not cause it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import xarray as xr
from sklearn.model_selection import GroupKFold

from neurosae.analysis.classes import map_coords, origin
from neurosae.analysis.decoding_design import N_FOLDS, group_column
from neurosae.analysis.decoding_rows import confound_matrix, layer_rows
from neurosae.arrays.banded_ridge import N_DRAWS, band_weights, banded_predictions, explained_share
from neurosae.arrays.permutation import Relabelings, max_statistic_p, orders, p_value
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses

SOLVERS = {"ridge": 1, "banded": N_DRAWS}
"""Weightings of the bands that are tried: one penalty for all, or one a band."""

_FEWEST_ORDERS = 20

DESCRIPTIONS = {
    "r2": "cross-validated share of variance explained",
    "r": "correlation of predicted and observed responses, held out",
    "p": "p of the variance explained, one-sided, uncorrected",
    "p_adjusted": "p of the variance explained, one-sided, corrected over layers and features (maximum)",
    "unique": "cross-validated share of variance that this band alone explains",
    "unique_p": "p of the unique variance, one-sided, uncorrected",
    "unique_p_adjusted": "p of the unique variance, one-sided, corrected over layers and features (maximum)",
}


class _Design(NamedTuple):
    """Predictors (n, p), the band of each, names of bands, fold and inner-fold number of each row."""

    predictors: np.ndarray
    bands: np.ndarray
    names: tuple[str, ...]
    group: np.ndarray
    fold: np.ndarray


def encoding_model(
    responses: xr.DataArray,
    bands: Mapping[str, Sequence[str]],
    *,
    groups: str = "item",
    solver: str = "ridge",
    n_permutations: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """How well stimulus columns predict each feature in stimuli of groups never seen in training.

    R² = 1 - SSE/SST over held-out rows of 5 folds that keep groups whole, SST about the mean of the training
    rows. The unique variance of a band is R² of all bands minus R² of the others. Penalties are chosen for
    each feature by leaving out one of the other four folds at a time.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    bands : columns of each band by the band's name, such as ``{"length": ["n_tokens"], "topic": ["topic"]}``;
        columns of names become one 0/1 predictor for each level but the first
    groups : column whose stimuli stay in one fold, see `neurosae.analysis.decoding.decode`
    solver : ``"ridge"``, one penalty for all bands, or ``"banded"``, one a band (100 weightings tried, and as
        many times slower)
    n_permutations : relabelings, with penalties chosen anew in each; 0 leaves p NaN
    seed : root of the random numbers

    Returns
    -------
    Dataset
        (layer, feature): r2, r, p, p_adjusted. (band, layer, feature): unique, unique_p, unique_p_adjusted.
        Constant features are NaN and no part of the family.

    Raises
    ------
    DesignError
        If a column is missing, empty or constant, a column is in two bands, the solver is unknown, there are
        fewer groups than folds, or groups cannot exchange their predictors.

    Notes
    -----
    For r2 whole groups exchange their rows of predictors, with groups of as many rows. For the unique
    variance of a band only what the other bands do not explain of it (linearly) is exchanged. Both keep the
    correlations between features; the same exchanges serve all layers.

    Source
    ------
    Naselaris et al. 2011, NeuroImage 56:400; Nunez-Elizalde, Huth & Gallant 2019, NeuroImage 197:482;
    Freedman & Lane 1983, J Bus Econ Stat 1:292.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> responses = planted_responses(n_features=6, effect=4.0)
    >>> found = encoding_model(
    ...     responses, {"class": ["condition"], "length": ["n_tokens"]}, n_permutations=19
    ... )
    >>> found["unique"].sel(layer=1, feature=4).values.round(1)
    array([ 0.8, -0. ])
    """
    check_responses(responses)
    if solver not in SOLVERS:
        raise DesignError(f"no solver {solver!r}; choose one of {list(SOLVERS)}.")
    column = group_column(responses, groups)
    design = _design(responses, bands, column, seed)
    weights = partial(band_weights, n_draws=SOLVERS[solver], seed=seed)
    drawn = _row_orders(design, n_permutations, seed) if n_permutations else None
    variants = _null_predictors(design, drawn) if drawn is not None else {}
    layers = [
        _layer(layer_rows(responses, layer).astype(float), design, variants, weights)
        for layer in range(responses.sizes[LAYER])
    ]
    variables = _variables(layers, design, drawn)
    settings = {
        "bands": "; ".join(f"{name}: {', '.join(columns)}" for name, columns in bands.items()),
        "groups": column,
        "solver": solver,
        "n_permutations": len(drawn) if drawn is not None else 0,
        "seed": seed,
    }
    coords = {**map_coords(responses), "band": list(design.names)}
    return xr.Dataset(variables, coords=coords).assign_attrs(
        settings,
        alternative="greater",
        n_folds=N_FOLDS,
        n_units=int(design.group.max() + 1),
        **origin(responses),
        **with_step(responses, "encoding_model", **settings),
    )


def _design(responses: xr.DataArray, bands: Mapping[str, Sequence[str]], column: str, seed: int) -> _Design:
    named = [name for columns in bands.values() for name in columns]
    if not named or len(set(named)) < len(named) or not all(len(columns) for columns in bands.values()):
        raise DesignError(f"bands {dict(bands)}: give each band columns of its own, at least one.")
    parts = [confound_matrix(responses, columns) for columns in bands.values()]
    predictors = np.concatenate(parts, axis=1)
    flat = [name for name in named if np.ptp(confound_matrix(responses, [name]), axis=0).sum() == 0]
    if flat:
        raise DesignError(
            f"column {flat[0]!r} is the same for all stimuli and predicts nothing; leave it out."
        )
    group = np.unique(responses[column].values.astype(str), return_inverse=True)[1]
    if group.max() + 1 < N_FOLDS:
        raise DesignError(
            f"{column!r} has {group.max() + 1} groups; {N_FOLDS} folds need at least {N_FOLDS}. Add stimuli, "
            "or name a finer column with groups=."
        )
    band = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])
    return _Design(predictors, band, tuple(bands), group, _folds(group, N_FOLDS, seed))


def _folds(group: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    fold = np.empty(len(group), dtype=int)
    splitter = GroupKFold(n_folds, shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(splitter.split(group[:, None], groups=group)):
        fold[test] = number
    return fold


def _row_orders(design: _Design, n_permutations: int, seed: int) -> Relabelings:
    """Orders of the rows that exchange whole groups of equal size, rows of a group in the order given."""
    members = [np.flatnonzero(design.group == g) for g in range(design.group.max() + 1)]
    sizes = np.array([len(rows) for rows in members])
    drawn = orders(len(members), n_permutations, seed=seed, strata=sizes)
    rows = np.empty((len(drawn), len(design.group)), dtype=int)
    for g, own in enumerate(members):
        rows[:, own] = np.stack([members[other] for other in drawn.labels[:, g]])
    n_distinct = len(np.unique(design.predictors[rows].reshape(len(rows), -1), axis=0))
    if len(drawn) >= _FEWEST_ORDERS > n_distinct or len(drawn) < min(_FEWEST_ORDERS, n_permutations):
        raise DesignError(
            f"exchanging whole groups gives {n_distinct} different designs only; p = .05 needs "
            f"{_FEWEST_ORDERS}. Groups exchange with others of as many rows, and must differ in their "
            "columns: name another column with groups=, or set n_permutations=0."
        )
    return Relabelings(rows, drawn.exact, "whole groups")


def _null_predictors(design: _Design, drawn: Relabelings) -> dict[int, np.ndarray]:
    """Predictors (P, n, p) under each exchange: of all bands (key -1), and of each band's own part."""
    everything = design.predictors[drawn.labels]
    variants = {-1: everything}
    for band in range(len(design.names)):
        mine = design.bands == band
        others = np.column_stack([np.ones(len(design.group)), design.predictors[:, ~mine]])
        own = design.predictors[:, mine]
        fitted = others @ np.linalg.lstsq(others, own, rcond=None)[0]
        moved = np.broadcast_to(design.predictors, everything.shape).copy()
        moved[:, :, mine] = fitted + (own - fitted)[drawn.labels]
        variants[band] = moved
    return variants


def _layer(
    values: np.ndarray,
    design: _Design,
    variants: Mapping[int, np.ndarray],
    weights: Callable[[int], np.ndarray],
) -> dict[str, np.ndarray]:
    n_bands = len(design.names)
    predicted, baseline = _held_out(values, design, design.predictors, design.bands, weights)
    r2 = explained_share(predicted, values, baseline)
    found = {"r2": r2, "r": _correlation(predicted, values)}
    without = [_without(values, design, band, weights) for band in range(n_bands)]
    found["unique"] = np.stack([r2 - rest for rest in without])
    if variants:
        null = {
            key: np.stack([_share(values, design, predictors, weights) for predictors in drawn])
            for key, drawn in variants.items()
        }
        found["null"] = null[-1]
        found["unique_null"] = np.stack([null[band] - without[band] for band in range(n_bands)])
    return found


def _share(
    values: np.ndarray, design: _Design, predictors: np.ndarray, weights: Callable[[int], np.ndarray]
) -> np.ndarray:
    predicted, baseline = _held_out(values, design, predictors, design.bands, weights)
    return explained_share(predicted, values, baseline)


def _without(
    values: np.ndarray, design: _Design, band: int, weights: Callable[[int], np.ndarray]
) -> np.ndarray:
    kept = design.bands != band
    bands = np.unique(design.bands[kept], return_inverse=True)[1]
    predicted, baseline = _held_out(values, design, design.predictors[:, kept], bands, weights)
    return explained_share(predicted, values, baseline)


def _held_out(
    values: np.ndarray,
    design: _Design,
    predictors: np.ndarray,
    bands: np.ndarray,
    weights: Callable[[int], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of held-out rows (n, F), and the training mean of the fold of each."""
    predicted, baseline = np.empty(values.shape), np.empty(values.shape)
    tried = weights(max(int(bands.max(initial=0)) + 1, 1))
    for fold in range(N_FOLDS):
        test = design.fold == fold
        # The other outer folds serve as inner folds: they keep groups whole already.
        inner = design.fold[~test]
        predicted[test] = banded_predictions(
            predictors[~test], values[~test], predictors[test], bands, inner, weights=tried
        )
        baseline[test] = values[~test].mean(axis=0)
    return predicted, baseline


def _correlation(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    one, other = (values - values.mean(axis=0) for values in (predicted, observed))
    scale = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    return np.divide((one * other).sum(axis=0), scale, out=np.full(scale.shape, np.nan), where=scale > 0)


def _variables(
    layers: list[dict[str, np.ndarray]], design: _Design, drawn: Relabelings | None
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
    found = {name: np.stack([layer[name] for layer in layers], axis=-2) for name in ("r2", "r", "unique")}
    found["p"], found["p_adjusted"] = _tested(found["r2"][None], layers, "null", drawn)[:, 0]
    found["unique_p"], found["unique_p_adjusted"] = _tested(found["unique"], layers, "unique_null", drawn)
    return {
        name: (
            ("band", LAYER, FEATURE) if name.startswith("unique") else (LAYER, FEATURE),
            found[name],
            {"long_name": text, "units": "1"},
        )
        for name, text in DESCRIPTIONS.items()
    }


def _tested(
    observed: np.ndarray, layers: list[dict[str, np.ndarray]], name: str, drawn: Relabelings | None
) -> np.ndarray:
    """Uncorrected and corrected p, (2, K, layer, feature), of K measures (K, layer, feature)."""
    if drawn is None:
        return np.full((2, *observed.shape), np.nan)
    # (P, feature) or (K, P, feature) in each layer -> (P, K, layer, feature).
    null = np.stack([np.atleast_3d(layer[name].T).T for layer in layers], axis=2).swapaxes(0, 1)
    p = p_value(observed, null, exact=drawn.exact, alternative="greater")
    largest = np.fmax.reduce(null.reshape(*null.shape[:2], -1), axis=2, initial=-np.inf)
    adjusted = [
        max_statistic_p(one, top, exact=drawn.exact) for one, top in zip(observed, largest.T, strict=True)
    ]
    return np.stack([p, np.stack(adjusted)])
