"""Which condition a feature prefers, and how exclusively.

Selectivity is tested over units of inference by permuting their labels; the preferred class is chosen anew
for each relabeling, because the best of several classes looks selective in noise too. A selective feature
need not be one that the model uses.
"""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from neurosae.analysis.classes import (
    ClassDesign,
    check_class_counts,
    class_design,
    layer_rows,
    map_coords,
    map_variables,
    origin,
)
from neurosae.arrays.class_averages import class_matrices, class_means
from neurosae.arrays.correction import adjust
from neurosae.arrays.permutation import Relabelings, p_value, relabel
from neurosae.arrays.selectivity_measures import (
    INDICES,
    Index,
    class_auroc,
    is_varying,
    preferred_class,
)
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.spelling import nearest
from neurosae.schema.units import unit_keys, with_seen

THRESHOLDS = {"maxshare": 0.6, "auroc": 0.8}
"""Customary cuts; most features that rarely fire exceed that on maxshare by chance, so read it with p."""

NULL_QUANTILES = np.linspace(0, 1, 1001)
"""Evenly spaced, so that a histogram of the quantiles is the histogram of the null."""

DESCRIPTIONS = {
    "selectivity": ("selectivity", "1"),
    "preferred": ("preferred class", "1"),
    "auroc": ("AUROC of the preferred class against the rest", "1"),
    "p_unc": ("p, one-sided, uncorrected", "1"),
    "q_fdr": ("q, false discovery rate over valid features", "1"),
    "null_mean": ("mean selectivity under permuted labels", "1"),
    "valid": ("whether the response varies over units", "1"),
}
"""Long name and units of each map of `selectivity_index`; those of the index replace the first."""

_CHUNK_ELEMENTS = 2_000_000
"""Class means (permutation, class, feature) held at a time, 16 MB in float64."""

_POOLED_ELEMENTS = 2_000_000
"""Null values kept for the pooled quantiles, of the same relabelings for every feature."""


def selectivity_index(
    responses: xr.DataArray,
    by: str,
    *,
    index: str = "maxshare",
    rectify: bool = False,
    unit: str = "auto",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """How selective each feature is for one class, and whether noise would look as selective.

    maxshare = max m / Σ m over class means m; normalised_maxshare = (K maxshare - 1) / (K - 1);
    morcos = (m_max - m_rest) / (m_max + m_rest); auroc, dprime: best class against all other units;
    eta2 = SSB / SST. p is one-sided: labels are permuted over units (within units that hold several classes)
    and the preferred class is chosen anew each time.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    by : stimulus column that holds the classes; at least two units in each
    index : one of `neurosae.arrays.selectivity_measures.INDICES`
    rectify : replace negative responses by 0 first
    unit : column that defines the unit of inference; its rows of one class are averaged
    n_permutations : number of relabelings, all of them if there are fewer
    seed : root of the random numbers

    Returns
    -------
    Dataset (layer, feature)
        selectivity, preferred (label), auroc (preferred class against the rest), p_unc (not corrected),
        q_fdr (Benjamini-Hochberg over all valid features), null_mean, valid; NaN and ``""`` where a feature
        does not vary over units. null (quantile): quantiles of the null pooled over features. Attributes
        ``floor``, the value without selectivity, and for maxshare and auroc ``threshold``.

    Raises
    ------
    DesignError
        If a column or index is unknown, a label is empty, a class has fewer than two units, responses are not
        finite, or class means are negative under an index that is a ratio of means.

    Source
    ------
    Morcos et al. 2018, ICLR; Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39 (p-values).

    Examples
    --------
    >>> values = np.array([[4.0, 1.0], [5.0, 2.0], [6.0, 1.0], [0.0, 2.0], [1.0, 1.0], [0.0, 2.0]])
    >>> responses = xr.DataArray(
    ...     values[:, None], dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": list("abcdef"), "condition": ("stimulus", ["hot"] * 3 + ["cold"] * 3)})
    >>> found = selectivity_index(responses, "condition")
    >>> found["selectivity"].values.round(2), found["preferred"].values, found["p_unc"].values
    (array([[0.94, 0.56]]), array([['hot', 'cold']], dtype='<U4'), array([[0.1, 1. ]]))
    """
    _check_index(index)
    design = class_design(responses, by, unit)
    check_class_counts(design, by)
    used = responses.clip(min=0) if rectify else responses
    if INDICES[index].is_ratio:
        check_sign(used, design, index)
    relabelings = relabel(design.labels, n_permutations, seed=seed, strata=design.strata)
    result = _labelled(used, index, *_map_statistics(used, design, relabelings, INDICES[index]))
    settings = {"by": by, "index": index, "rectify": int(rectify), "unit": design.column}
    settings |= {"n_permutations": len(relabelings), "scheme": relabelings.scheme, "seed": seed}
    result = result.assign_attrs(
        settings,
        **({"threshold": THRESHOLDS[index]} if index in THRESHOLDS else {}),
        floor=INDICES[index].floor(len(design.names)),
        alternative="greater",
        n_units=design.n_units,
        n_classes=len(design.names),
        family_size=int(result["valid"].sum()),
        **origin(responses),
        **with_step(responses, "selectivity_index", **settings),
    )
    return with_seen(result, unit_keys(responses, unit))


def _check_index(index: str) -> None:
    if index not in INDICES:
        raise DesignError(
            f"index {index!r} is unknown{nearest(index, INDICES)} Choose one of {list(INDICES)}."
        )


def check_sign(
    responses: xr.DataArray,
    design: ClassDesign,
    index: str,
    remedy: str = "index='auroc' or index='dprime', or rectify=True to take max(x, 0) first",
) -> None:
    """Refuse a ratio of class means where some are negative.

    Raises
    ------
    DesignError
        If a class mean is negative.
    """
    classes = class_matrices(design.labels[None], len(design.names))
    n_negative = sum(
        int((class_means(values, classes)[0] < 0).any(axis=0).sum())
        for values in layer_rows(responses, design)
    )
    if n_negative:
        raise DesignError(
            f"{n_negative} features have a negative class mean; {index!r} is a ratio of means. Use {remedy}."
        )


def _map_statistics(
    responses: xr.DataArray, design: ClassDesign, relabelings: Relabelings, index: Index
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Maps (layer, feature) by name, and null values of all features, equally many of each."""
    shape = (responses.sizes[LAYER], responses.sizes[FEATURE])
    observed, null = (
        class_matrices(drawn, len(design.names)) for drawn in (design.labels[None], relabelings.labels)
    )
    maps = {name: np.full(shape, np.nan) for name in ("selectivity", "auroc", "p_unc", "null_mean")}
    maps["preferred"] = np.full(shape, "", dtype=design.names.dtype)
    n_kept = min(len(relabelings), max(1, _POOLED_ELEMENTS // (shape[0] * shape[1])))
    # Evenly spaced: enumerated relabelings come in an order, of which the first would be no fair sample.
    kept = np.linspace(0, len(relabelings) - 1, n_kept).astype(int)
    pooled = []
    for place, values in varying_chunks(responses, design, len(relabelings) * len(design.names)):
        (found, strength), null_index = index.measure(values, observed), index.measure(values, null).value
        best = preferred_class(strength[0])
        areas = class_auroc(values, observed)[0]
        maps["selectivity"][place] = found[0]
        maps["preferred"][place] = design.names[best]
        maps["auroc"][place] = np.take_along_axis(areas, best[None], 0)[0]
        maps["p_unc"][place] = p_value(found[0], null_index, exact=relabelings.exact, alternative="greater")
        maps["null_mean"][place] = null_index.mean(axis=0)
        pooled.append(null_index[kept].ravel())
    return maps, np.concatenate(pooled) if pooled else np.array([np.nan])


def varying_chunks(
    responses: xr.DataArray, design: ClassDesign, n_values: int
) -> Iterator[tuple[tuple[int, np.ndarray], np.ndarray]]:
    """Place (layer, features) and rows (n, F) of chunks of varying features, ``n_values`` numbers each."""
    size = max(1, _CHUNK_ELEMENTS // n_values)
    for layer, values in enumerate(layer_rows(responses, design)):
        varying = np.flatnonzero(is_varying(values))
        for start in range(0, len(varying), size):
            features = varying[start : start + size]
            yield (layer, features), values[:, features]


def _labelled(
    responses: xr.DataArray, index: str, maps: dict[str, np.ndarray], pooled: np.ndarray
) -> xr.Dataset:
    maps = maps | {
        "q_fdr": adjust(maps["p_unc"].ravel(), "fdr_bh").reshape(maps["p_unc"].shape),
        "valid": np.isfinite(maps["selectivity"]),
    }
    scale = INDICES[index].units
    described = DESCRIPTIONS | {
        "selectivity": (INDICES[index].long_name, scale),
        "null_mean": (DESCRIPTIONS["null_mean"][0], scale),
    }
    null = {"long_name": "selectivity under permuted labels, all features pooled", "units": scale}
    return xr.Dataset(
        map_variables({name: maps[name] for name in described}, described)
        | {"null": ("quantile", np.quantile(pooled, NULL_QUANTILES), null)},
        coords=map_coords(responses) | {"quantile": NULL_QUANTILES},
    )
