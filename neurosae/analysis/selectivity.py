"""Which condition a feature prefers, how exclusively, and which stimuli drive it.

Selectivity is tested over units of inference by permuting their labels; the preferred class is chosen anew
for each relabeling, because the best of several classes looks selective in noise too. A selective feature
need not be one that the model uses.
"""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import average_units
from neurosae.arrays.correction import adjust
from neurosae.arrays.permutation import Relabelings, p_value, relabel
from neurosae.arrays.selectivity_measures import (
    INDICES,
    Index,
    class_auroc,
    class_matrices,
    class_means,
    is_varying,
    preferred_class,
)
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses, stimulus_table
from neurosae.schema.spelling import nearest
from neurosae.schema.units import unit_column, unit_keys, with_seen

THRESHOLD = 0.6
"""Customary cut on maxshare; most features that rarely fire exceed it by chance, so read it with p."""

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
        ``floor``, the value without selectivity, and for maxshare ``threshold``.

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
    units = _units_in_classes(responses.clip(min=0) if rectify else responses, by, unit)
    names, labels = class_labels(units, by)
    _check_counts(names, labels, by)
    _check_sign(units, labels, index)
    relabelings = relabel(labels, n_permutations, seed=seed, strata=_strata(units, unit))
    result = _labelled(units, index, *_map_statistics(units, names, labels, relabelings, INDICES[index]))
    settings = {"by": by, "index": index, "rectify": int(rectify), "unit": _unit_of(units, unit)}
    settings |= {"n_permutations": len(relabelings), "scheme": relabelings.scheme, "seed": seed}
    result = result.assign_attrs(
        settings,
        **({"threshold": THRESHOLD} if index == "maxshare" else {}),
        floor=INDICES[index].floor(len(names)),
        alternative="greater",
        n_units=len(np.unique(units[_unit_of(units, unit)])),
        n_classes=len(names),
        family_size=int(result["valid"].sum()),
        **_origin(responses),
        **with_step(responses, "selectivity_index", **settings),
    )
    return with_seen(result, unit_keys(responses, unit))


def tuning(responses: xr.DataArray, by: str, *, unit: str = "auto") -> xr.Dataset:
    """Mean response of each feature to each class, with its standard error over units of inference.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    by : stimulus column that holds the classes
    unit : column that defines the unit of inference; its rows of one class are averaged first

    Returns
    -------
    Dataset (condition, layer, feature)
        mean, se (SD with ddof 1 over √n; NaN if n is 1); n (condition), the number of units. Conditions in
        order of first appearance.

    Raises
    ------
    DesignError
        If a column is unknown, a label is empty or responses are not finite.

    Examples
    --------
    >>> responses = xr.DataArray(
    ...     np.array([1.0, 3.0, 5.0, 5.0])[:, None, None], dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": list("abcd"), "condition": ("stimulus", ["low", "low", "high", "high"])})
    >>> curve = tuning(responses, "condition")
    >>> curve["mean"].values.ravel(), curve["se"].values.ravel()
    (array([2., 5.]), array([1., 0.]))
    """
    units = _units_in_classes(responses, by, unit)
    names, labels = class_labels(units, by)
    order = labels[np.sort(np.unique(labels, return_index=True)[1])]
    groups = [units.values[labels == k].astype(float) for k in order]
    mean = np.stack([group.mean(axis=0) for group in groups])
    se = np.stack([_standard_error(group) for group in groups])
    dims = ("condition", LAYER, FEATURE)
    amount = {"units": responses.attrs.get("units", "a.u.")}
    settings = {"by": by, "unit": _unit_of(units, unit)}
    return xr.Dataset(
        {
            "mean": (dims, mean, {"long_name": "mean response"} | amount),
            "se": (dims, se, {"long_name": "standard error over units"} | amount),
            "n": ("condition", [len(group) for group in groups], {"long_name": "units", "units": "1"}),
        },
        coords=_map_coords(units) | {"condition": names[order]},
        attrs={**settings, **_origin(responses), **with_step(responses, "tuning", **settings)},
    )


def top_stimuli(responses: xr.DataArray, *, layer: int, feature: int, n: int = 10) -> xr.Dataset:
    """The stimuli that drive one feature most, strongest first, ties in the order of the stimuli.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; stimuli are not averaged
    layer, feature : labels of the feature
    n : number of stimuli, all of them if there are fewer

    Returns
    -------
    Dataset (rank_order), counted from 1
        stimulus, text, condition (``""`` where the stimuli have none), response

    Raises
    ------
    DesignError
        If the layer or feature is not there, ``n`` is below 1 or responses are not finite.

    Examples
    --------
    >>> responses = xr.DataArray(
    ...     np.array([1.0, 3.0, 2.0])[:, None, None], dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": ["s1", "s2", "s3"], "text": ("stimulus", ["cold", "hot", "warm"]),
    ...             "layer": [6], "feature": [0]})
    >>> top_stimuli(responses, layer=6, feature=0, n=2)["text"].values
    array(['hot', 'warm'], dtype='<U4')
    """
    if n < 1:
        raise DesignError(f"n is {n}; ask for at least one stimulus.")
    check_responses(responses)
    for dim, label in ((LAYER, layer), (FEATURE, feature)):
        _check_label(responses, dim, label)
    response = responses.sel({LAYER: layer, FEATURE: feature}).values
    order = np.argsort(-response, kind="stable")[:n]
    shown = {name: ("rank_order", _text(responses, name)[order]) for name in (STIMULUS, "text", "condition")}
    described = {name: (*column, {"long_name": name, "units": "1"}) for name, column in shown.items()}
    amount = {"long_name": "response", "units": responses.attrs.get("units", "a.u.")}
    settings = {"layer": int(layer), "feature": int(feature), "n": len(order)}
    return xr.Dataset(
        {**described, "response": ("rank_order", response[order], amount)},
        coords={"rank_order": np.arange(1, len(order) + 1)},
        attrs={**settings, **_origin(responses), **with_step(responses, "top_stimuli", **settings)},
    )


def class_labels(labelled: xr.DataArray, by: str) -> tuple[np.ndarray, np.ndarray]:
    """The classes in column ``by`` of the stimuli, sorted, and the number of each stimulus's class.

    Raises
    ------
    DesignError
        If there is no such column, or a stimulus has no class.

    Examples
    --------
    >>> class_labels(xr.DataArray([1, 2], dims="stimulus", coords={"task": ("stimulus", ["b", "a"])}), "task")
    (array(['a', 'b'], dtype='<U1'), array([1, 0]))
    """
    table = stimulus_table(labelled)
    if by not in table:
        raise DesignError(
            f"no column {by!r} in the stimuli{nearest(by, table.columns)} Columns: {list(table.columns)}."
        )
    n_empty = int((table[by].isna() | (table[by].astype(str) == "")).sum())
    if n_empty:
        raise DesignError(f"{n_empty} stimuli have no {by!r}. Fill the column, or leave these stimuli out.")
    return np.unique(table[by].to_numpy(dtype=str), return_inverse=True)


def _units_in_classes(responses: xr.DataArray, by: str, unit: str) -> xr.DataArray:
    check_responses(responses)
    class_labels(responses, by)
    return average_units(responses, unit=unit, by=(by,))


def _unit_of(units: xr.DataArray, unit: str) -> str:
    return unit_column(stimulus_table(units), unit)


def _strata(units: xr.DataArray, unit: str) -> np.ndarray | None:
    """Units as strata if some hold several classes: their own level is no evidence for any class."""
    labels = units[_unit_of(units, unit)].values
    return labels if len(np.unique(labels)) < len(labels) else None


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
        coords=_map_coords(units) | {"quantile": NULL_QUANTILES},
    )


def _described(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}


def _map_coords(labelled: xr.DataArray) -> dict[str, xr.DataArray]:
    return {name: labelled[name] for name in (LAYER, FEATURE) if name in labelled.coords}


def _origin(responses: xr.DataArray) -> dict[str, str]:
    return {name: str(responses.attrs[name]) for name in ("site", "basis") if name in responses.attrs}


def _standard_error(group: np.ndarray) -> np.ndarray:
    if len(group) < 2:
        return np.full(group.shape[1:], np.nan)
    return group.std(axis=0, ddof=1) / np.sqrt(len(group))


def _check_label(responses: xr.DataArray, dim: str, label: int) -> None:
    known = responses[dim].values.tolist()
    if label not in known:
        shown = known if len(known) <= 40 else f"{known[0]} to {known[-1]}"
        raise DesignError(f"{dim} {label!r} is not in the responses, which hold {shown}.")


def _text(responses: xr.DataArray, name: str) -> np.ndarray:
    if name not in responses.coords:
        return np.full(responses.sizes[STIMULUS], "")
    return responses[name].values.astype(str)
