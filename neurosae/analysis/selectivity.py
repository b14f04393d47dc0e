"""Which condition a feature prefers, and how exclusively.

Selectivity is tested over units of inference by permuting their labels; the preferred class is chosen anew
for each relabeling, because the best of several classes looks selective in noise too. A selective feature
need not be one that the model uses.
"""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from neurosae.analysis.classes import (
    class_labels,
    map_coords,
    origin,
    unit_of,
    units_as_strata,
    units_in_classes,
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
    units = units_in_classes(responses.clip(min=0) if rectify else responses, by, unit)
    names, labels = class_labels(units, by)
    _check_counts(names, labels, by)
    _check_sign(units, labels, index)
    relabelings = relabel(labels, n_permutations, seed=seed, strata=units_as_strata(units, unit))
    result = _labelled(units, index, *_map_statistics(units, names, labels, relabelings, INDICES[index]))
    settings = {"by": by, "index": index, "rectify": int(rectify), "unit": unit_of(units, unit)}
    settings |= {"n_permutations": len(relabelings), "scheme": relabelings.scheme, "seed": seed}
    result = result.assign_attrs(
        settings,
        **({"threshold": THRESHOLDS[index]} if index in THRESHOLDS else {}),
        floor=INDICES[index].floor(len(names)),
        alternative="greater",
        n_units=len(np.unique(units[unit_of(units, unit)])),
        n_classes=len(names),
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


def _check_counts(names: np.ndarray, labels: np.ndarray, by: str) -> None:
    counts = np.bincount(labels)
    if len(names) < 2:
        raise DesignError(
            f"column {by!r} holds one class only, {str(names[0])!r}; selectivity needs two or more."
        )
    if counts.min() < 2:
        few = names[counts < 2].tolist()
        raise DesignError(f"classes {few} of {by!r} have one unit of inference only; each class needs two.")


def _check_sign(units: xr.DataArray, labels: np.ndarray, index: str) -> None:
    if not INDICES[index].is_ratio:
        return
    classes = class_matrices(labels[None], labels.max() + 1)
    n_negative = sum(
        int((class_means(units.values[:, layer], classes)[0] < 0).any(axis=0).sum())
        for layer in range(units.sizes[LAYER])
    )
    if n_negative:
        raise DesignError(
            f"{n_negative} features have a negative class mean; {index!r} is a ratio of means. "
            "Use index='auroc' or index='dprime', or rectify=True to take max(x, 0) first."
        )


def _map_statistics(
    units: xr.DataArray, names: np.ndarray, labels: np.ndarray, relabelings: Relabelings, index: Index
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Maps (layer, feature) by name, and null values of all features, equally many of each."""
    _, n_layers, n_features = units.shape
    observed, null = (class_matrices(drawn, len(names)) for drawn in (labels[None], relabelings.labels))
    maps = {
        name: np.full((n_layers, n_features), np.nan)
        for name in ("selectivity", "auroc", "p_unc", "null_mean")
    }
    maps["preferred"] = np.full((n_layers, n_features), "", dtype=names.dtype)
    n_kept = min(len(relabelings), max(1, _POOLED_ELEMENTS // (n_layers * n_features)))
    # Evenly spaced: enumerated relabelings come in an order, of which the first would be no fair sample.
    kept = np.linspace(0, len(relabelings) - 1, n_kept).astype(int)
    pooled = []
    for layer, features in _chunks(units, len(relabelings) * len(names)):
        values = units.values[:, layer, features].astype(float)
        (found, strength), null_index = index.measure(values, observed), index.measure(values, null).value
        best = preferred_class(strength[0])
        maps["selectivity"][layer, features] = found[0]
        maps["preferred"][layer, features] = names[best]
        maps["auroc"][layer, features] = np.take_along_axis(class_auroc(values, observed)[0], best[None], 0)[
            0
        ]
        maps["p_unc"][layer, features] = p_value(
            found[0], null_index, exact=relabelings.exact, alternative="greater"
        )
        maps["null_mean"][layer, features] = null_index.mean(axis=0)
        pooled.append(null_index[kept].ravel())
    return maps, np.concatenate(pooled) if pooled else np.array([np.nan])


def _chunks(units: xr.DataArray, n_values: int) -> Iterator[tuple[int, np.ndarray]]:
    """Layer and varying features of each chunk that holds ``n_values`` numbers a feature."""
    size = max(1, _CHUNK_ELEMENTS // n_values)
    for layer in range(units.sizes[LAYER]):
        varying = np.flatnonzero(is_varying(units.values[:, layer]))
        for start in range(0, len(varying), size):
            yield layer, varying[start : start + size]


def _labelled(units: xr.DataArray, index: str, maps: dict[str, np.ndarray], pooled: np.ndarray) -> xr.Dataset:
    maps = maps | {
        "q_fdr": adjust(maps["p_unc"].ravel(), "fdr_bh").reshape(maps["p_unc"].shape),
        "valid": np.isfinite(maps["selectivity"]),
    }
    scale = INDICES[index].units
    described = DESCRIPTIONS | {
        "selectivity": (INDICES[index].long_name, scale),
        "null_mean": (DESCRIPTIONS["null_mean"][0], scale),
    }
    null = _described("selectivity under permuted labels, all features pooled", scale)
    return xr.Dataset(
        {name: ((LAYER, FEATURE), maps[name], _described(*described[name])) for name in described}
        | {"null": ("quantile", np.quantile(pooled, NULL_QUANTILES), null)},
        coords=map_coords(units) | {"quantile": NULL_QUANTILES},
    )


def _described(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}
