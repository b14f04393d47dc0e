"""Indices of a block of features with their intervals and permutation p, by sums or feature by feature."""

from dataclasses import dataclass

import numpy as np

from neurosae.analysis.category_design import CategoryDesign
from neurosae.analysis.feature_patterns import PatternSource
from neurosae.arrays.alignment import overlap_distances
from neurosae.arrays.category_index import category_index
from neurosae.arrays.feature_index import METRICS, enough_live, feature_indices, varies
from neurosae.arrays.jackknife import jackknife_interval, leaves_class_alone, rows_kept
from neurosae.arrays.permutation import Relabelings, p_value
from neurosae.arrays.rdm_intervals import index_interval


@dataclass(frozen=True)
class Found:
    """Of F features: index observed and relabeled (P + 1, F), bounds (2, F), rows with a pattern (n, F)."""

    values: np.ndarray
    bounds: np.ndarray
    live: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class Block:
    """Maps (F,) of a block of features by name, and the largest z of each relabeling (P,)."""

    maps: dict[str, np.ndarray]
    largest: np.ndarray


def with_p(found: Found, *, exact: bool) -> Block:
    """Index, interval and p of each feature; those without an index are NaN and no part of the family."""
    valid = found.valid & np.isfinite(found.values[0])
    maps = {
        "index": np.where(valid, found.values[0], np.nan),
        "index_lo": np.where(valid, found.bounds[0], np.nan),
        "index_hi": np.where(valid, found.bounds[1], np.nan),
        "p": np.full(len(valid), np.nan),
        "z": np.full(len(valid), np.nan),
        "n_live": found.live.sum(axis=0),
        "valid": valid,
    }
    largest = np.full(len(found.values) - 1, -np.inf)
    if valid.any():
        maps["p"][valid], maps["z"][valid], z = _tests(found.values[:, valid], exact=exact)
        largest = np.fmax.reduce(z, axis=1, initial=-np.inf)
    return Block(maps, largest)


def _tests(values: np.ndarray, *, exact: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of indices (P + 1, F), the observed first: p (F,), and z observed (F,) and relabeled (P, F)."""
    everything = values[1:] if exact else values
    # A relabeling that leaves a class without a pair has no index.
    mean, deviation = (np.nanmean, np.nanstd) if np.isnan(everything).any() else (np.mean, np.std)
    sd = np.asarray(deviation(everything, axis=0))
    # Relabelings that only swap the names of the classes tie; rounding must not break the tie.
    observed = values[0] - np.sqrt(np.finfo(values.dtype).eps) * sd
    centre, scale = np.asarray(mean(everything, axis=0)), np.where(sd > 0, sd, np.nan)
    null = np.where(np.isnan(values[1:]), np.inf, values[1:])
    p = p_value(observed, null, exact=exact, alternative="greater")
    return p, (observed - centre) / scale, (values[1:] - centre) / scale


def by_sums(
    patterns: np.ndarray,
    source: PatternSource,
    design: CategoryDesign,
    drawn: Relabelings,
    index: str,
    metric: str,
) -> Found:
    """Indices of features from sums over classes, without any RDM: CDI, TDI and COH."""
    prepared, live = METRICS[metric](patterns)
    n_classes = len(design.classes)
    left_out = np.where(rows_kept(design.units), design.codes, -1)
    labels = np.vstack([design.codes, drawn.labels])
    mask = live[:, :1] if live.all() else live
    values, parts = (
        feature_indices(prepared, mask, own, n_classes, index, units=design.units)
        for own in (labels, left_out)
    )
    parts = parts.astype(np.float64)
    parts[leaves_class_alone(design.codes, design.units)] = np.nan
    bounds = np.stack(jackknife_interval(values[0].astype(np.float64), parts))
    live = np.broadcast_to(live, (len(live), patterns.shape[2]))
    valid = enough_live(live, design.codes, n_classes) & varies(patterns)
    return Found(values, bounds, live, valid)


def by_pairs(
    patterns: np.ndarray,
    source: PatternSource,
    design: CategoryDesign,
    drawn: Relabelings,
    index: str,
    metric: str,
) -> Found:
    """Indices of features from the RDM of each: any index, and courses of unequal length."""
    n, width, n_features = patterns.shape
    n_values = np.full(n, width) if source.n_values is None else source.n_values
    matrices = overlap_distances(patterns, n_values, metric)
    live = ~np.isnan(np.diagonal(matrices, axis1=1, axis2=2)).T
    n_classes = len(design.classes)
    valid = enough_live(live, design.codes, n_classes) & varies(patterns)
    values, bounds = np.full((len(drawn) + 1, n_features), np.nan), np.full((2, n_features), np.nan)
    labels = np.vstack([design.codes, drawn.labels])
    for feature in np.flatnonzero(valid):
        mask = live[:, feature]
        matrix = matrices[feature][np.ix_(mask, mask)]
        units = design.units[mask]
        values[:, feature] = category_index(matrix, labels[:, mask], n_classes, index, units=units)
    if valid.any():
        bounds[:, valid] = index_interval(
            matrices[valid], design.codes, design.units, values[0, valid], index
        )
    return Found(values, bounds, live, valid)
