"""Which skills share features: overlap of what two classes of stimuli drive, corrected for common features.

A few features respond to almost everything and are among the strongest of every class, so that raw overlap is
high between any two. It stands here beside its value under permuted labels, which keeps what is common, and
beside the overlap of a class with itself on other stimuli, which is the most that could be found.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import (
    ClassDesign,
    check_class_counts,
    class_design,
    layer_rows,
    map_variables,
    origin,
)
from neurosae.arrays.correction import adjust
from neurosae.arrays.held_out_selectivity import split_halves
from neurosae.arrays.overlap import (
    OVERLAPS,
    OverlapMeasure,
    expected_jaccard,
    half_overlap,
    overlap_of,
    quotient,
    relabeled_overlaps,
    within_minus_between,
)
from neurosae.arrays.permutation import Relabelings, max_statistic_p, orders, p_value
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims
from neurosae.schema.spelling import nearest
from neurosae.schema.units import unit_keys, with_seen

_N_SPLITS = 10
"""Half splits of the reference within classes."""

PAIRS = (LAYER, "skill", "skill_2")

_PAIR_MAPS = ("overlap", "expected", "adjusted", "p_unc", "q_fdr", "half_overlap", "corrected")
_LAYER_MAPS = ("index", "null_mean", "null_hi", "p", "p_adjusted", "n_features")


def feature_overlap(
    responses: xr.DataArray,
    by: str,
    *,
    measure: str = "jaccard",
    k: int = 50,
    unit: str = "auto",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """How much the classes of stimuli (skills, say) drive the same features, beyond what all classes share.

    Of sets A, B of the ``k`` features of largest mean response above 0: jaccard = |A n B| / |A u B|, overlap
    = |A n B| / min(|A|, |B|), dice = 2 |A n B| / (|A| + |B|), containment = |A n B| / |A| (A the row),
    coactive = |A n B| / F. Of profiles, the mean responses of all features that respond at all: cosine,
    centred_cosine (less the mean over classes), pearson, spearman (features that respond to one of the two;
    slow, as every pair is ranked anew), dot.

    The null permutes labels over units (within units that hold several classes), so that features common to
    all classes stay common: adjusted = (overlap - expected) / (1 - expected), 0 for classes drawn from one
    population and below 0, without a bound, for classes that differ; for coactive and dot, which have no
    ceiling, overlap / expected - 1.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; may be lazy. Pool with ``how="rate"`` for
        profiles of firing instead of magnitude
    by : stimulus column that holds the classes; at least two units in each
    measure : one of `neurosae.arrays.overlap.OVERLAPS`
    k : size of the sets
    unit : column that defines the unit of inference; its rows of one class are averaged
    n_permutations : number of relabelings
    seed : root of the random numbers

    Returns
    -------
    Dataset
        (layer, skill, skill_2): overlap; expected, its mean under permuted labels; adjusted, NaN where
        expected is 1 already; p_unc, two-sided about expected (not corrected), and q_fdr (Benjamini-Hochberg
        over pairs and layers), NaN on the diagonal and for a silent class; half_overlap, of one half of the
        units with the other, whose diagonal is a class with itself on other units; corrected = half_overlap /
        √(product of the two diagonal values), 1 if classes are as alike as their own halves. (layer): index,
        mean half_overlap within classes minus between; null_mean and null_hi (95th percentile) under permuted
        labels and halves; p, one-sided, and p_adjusted (maximum over layers); n_features that respond at all.
        For jaccard, attribute ``chance``: of random sets among all features.

    Raises
    ------
    DesignError
        If a column or measure is unknown, a label is empty, a class has fewer than two units, ``k`` is not
        between 1 and the number of features, or responses are not finite.

    Source
    ------
    Real & Vargas 1996, Syst Biol 45:380 (probabilistic Jaccard); Spearman 1904, Am J Psychol 15:72
    (correction for attenuation).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["math", "prose"], 12)
    >>> values = rng.exponential(size=(24, 1, 40)) * 0.1
    >>> values[:, 0, :5] += 1.0
    >>> values[:12, 0, 5:10] += 1.0
    >>> values[12:, 0, 10:15] += 1.0
    >>> responses = xr.DataArray(values, dims=("stimulus", "layer", "feature"),
    ...                          coords={"stimulus": np.arange(24), "task": ("stimulus", labels)})
    >>> found = feature_overlap(responses, "task", k=10, n_permutations=99)
    >>> pair = found.sel(skill="math", skill_2="prose")
    >>> pair["overlap"].values.round(2), pair["expected"].values.round(2), found["index"].values.round(2)
    (array([0.33]), array([0.42]), array([0.67]))
    """
    kind = _kind(measure)
    _check_size(responses, kind, k)
    design = class_design(responses, by, unit)
    check_class_counts(design, by)
    of_splits, of_orders = (int(state) for state in np.random.SeedSequence(seed).generate_state(2))
    halves = split_halves(design.labels, design.units, _N_SPLITS, seed=of_splits)
    moves = orders(len(design.labels), n_permutations, seed=of_orders, strata=design.strata)
    maps = _maps(responses, design, halves, moves, (measure, k))
    settings = {"by": by, "measure": measure, "unit": design.column} | ({"k": k} if kind.of_sets else {})
    settings |= {"n_permutations": len(moves), "scheme": moves.scheme, "seed": seed}
    described = _described(kind)
    result = xr.Dataset(
        map_variables({name: maps[name] for name in _PAIR_MAPS}, described, PAIRS)
        | map_variables({name: maps[name] for name in _LAYER_MAPS}, described, (LAYER,)),
        coords={"skill": design.names, "skill_2": design.names}
        | {name: responses[name] for name in (LAYER,) if name in responses.coords},
        attrs={
            **settings,
            "n_units": design.n_units,
            "n_splits": _N_SPLITS,
            **({"chance": expected_jaccard(responses.sizes[FEATURE], k)} if measure == "jaccard" else {}),
            **origin(responses),
            **with_step(responses, "feature_overlap", **settings),
        },
    )
    return with_seen(result, unit_keys(responses, unit))


def _kind(measure: str) -> OverlapMeasure:
    if measure not in OVERLAPS:
        raise DesignError(
            f"measure {measure!r} is unknown{nearest(measure, OVERLAPS)} Choose one of {list(OVERLAPS)}."
        )
    return OVERLAPS[measure]


def _check_size(responses: xr.DataArray, kind: OverlapMeasure, k: int) -> None:
    check_response_dims(responses)
    n_features = responses.sizes[FEATURE]
    if kind.of_sets and not 1 <= k < n_features:
        raise DesignError(
            f"k is {k} and there are {n_features} features; sets need at least 1 and fewer than all."
        )


def _maps(
    responses: xr.DataArray,
    design: ClassDesign,
    halves: np.ndarray,
    moves: Relabelings,
    chosen: tuple[str, int],
) -> dict[str, np.ndarray]:
    layers = []
    null_index = np.empty((len(moves), responses.sizes[LAYER]))
    for layer, values in enumerate(layer_rows(responses, design)):
        responds = (values != 0).any(axis=0)
        # All features keep their place for sets; profiles are those of features that respond at all.
        used = values if OVERLAPS[chosen[0]].of_sets else values[:, responds]
        found = _pair_maps(used, design, moves, chosen)
        found["half_overlap"] = half_overlap(used, design.labels, halves, *chosen)
        null_index[:, layer] = [
            within_minus_between(half_overlap(used, design.labels[order], halves[:, order], *chosen))
            for order in moves.labels
        ]
        layers.append(found | {"n_features": np.array(int(responds.sum()))})
    maps = {name: np.stack([found[name] for found in layers]) for name in layers[0]}
    maps["q_fdr"] = adjust(maps["p_unc"].ravel(), "fdr_bh").reshape(maps["p_unc"].shape)
    return maps | _attenuation(maps["half_overlap"]) | _index(maps["half_overlap"], null_index, moves)


def _pair_maps(
    values: np.ndarray, design: ClassDesign, moves: Relabelings, chosen: tuple[str, int]
) -> dict[str, np.ndarray]:
    """Overlap of each pair with its null; the observed labels take part in the centre of the null."""
    measure, k = chosen
    n_classes = len(design.names)
    own = np.stack([values[design.labels == label].mean(axis=0) for label in range(n_classes)])
    found = overlap_of(own, measure, k)
    null = np.empty((len(moves), n_classes, n_classes))
    for rows, drawn in relabeled_overlaps(values, design.labels[moves.labels], measure, k):
        null[rows] = np.nan_to_num(drawn)  # a class that the labels leave silent shares nothing
    everything = null if moves.exact else np.concatenate([found[None], null])
    expected = everything.mean(axis=0)
    p = p_value(found - expected, null - expected, exact=moves.exact)
    ceiling = OVERLAPS[measure].ceiling
    room = expected if ceiling is None else ceiling - expected
    off_diagonal = ~np.eye(n_classes, dtype=bool)
    return {
        "overlap": found,
        "expected": expected,
        "adjusted": np.where(off_diagonal, quotient(found - expected, room), np.nan),
        "p_unc": np.where(off_diagonal, p, np.nan),
    }


def _attenuation(halves: np.ndarray) -> dict[str, np.ndarray]:
    own = np.diagonal(halves, axis1=1, axis2=2)
    product = own[:, :, None] * own[:, None, :]
    usable = (own[:, :, None] > 0) & (own[:, None, :] > 0)
    return {"corrected": np.where(usable, halves / np.sqrt(np.where(usable, product, 1.0)), np.nan)}


def _index(halves: np.ndarray, null: np.ndarray, moves: Relabelings) -> dict[str, np.ndarray]:
    index = within_minus_between(halves)
    return {
        "index": index,
        "null_mean": null.mean(axis=0),
        "null_hi": np.quantile(null, 0.95, axis=0),
        "p": p_value(index, null, exact=moves.exact, alternative="greater"),
        "p_adjusted": max_statistic_p(index, null.max(axis=1), exact=moves.exact),
    }


def _described(kind: OverlapMeasure) -> dict[str, tuple[str, str]]:
    unitless = {
        "adjusted": "overlap beyond that under permuted labels",
        "p_unc": "p, two-sided, uncorrected",
        "q_fdr": "q, false discovery rate over pairs and layers",
        "corrected": "overlap of halves, corrected for their own reliability",
        "p": "p of the index, one-sided, uncorrected",
        "p_adjusted": "p of the index, one-sided, maximum over layers",
        "n_features": "features that respond at all",
    }
    scaled = {
        "overlap": kind.long_name,
        "expected": "overlap under permuted labels",
        "half_overlap": "overlap of one half of the units with the other",
        "index": "overlap within classes minus between",
        "null_mean": "index under permuted labels",
        "null_hi": "95th percentile of the index under permuted labels",
    }
    return {name: (text, "1") for name, text in unitless.items()} | {
        name: (text, kind.units) for name, text in scaled.items()
    }
