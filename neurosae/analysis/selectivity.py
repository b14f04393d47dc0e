"""Which condition a feature prefers, how exclusively, and which stimuli drive it.

Selectivity is tested over units of inference by permuting their labels; the preferred class is chosen anew
for each relabeling, because the best of several classes looks selective in noise too. A selective feature
need not be one that the model uses.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import average_units
from neurosae.arrays.correction import adjust
from neurosae.arrays.permutation import Relabelings, p_value, relabel
from neurosae.arrays.selectivity_measures import (
    INDICES,
    Classes,
    Index,
    class_auroc,
    class_matrices,
    class_means,
    is_varying,
)
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses, stimulus_table
from neurosae.schema.units import unit_column, unit_keys, with_seen

THRESHOLD = 0.6
"""Customary cut on maxshare; most features that rarely fire exceed it by chance, so read it with p."""

NULL_QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)

_CHUNK_ELEMENTS = 2_000_000
"""Class means (permutation, class, feature) held at a time, 16 MB in float64."""

_POOLED_ELEMENTS = 2_000_000
"""Null values kept for the pooled quantiles: the first permutations of every feature, equally many."""


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
    chosen = _lookup(index)
    check_responses(responses)
    units = average_units(_rectified(responses, rectify), unit=unit, by=(by,))
    names, labels = _class_labels(units, by)
    _check_class_sizes(names, labels, by)
    _check_sign(units, labels, len(names), index)
    relabelings = relabel(labels, n_permutations, seed=seed, strata=_unit_strata(units, unit))
    variables = _assemble(units, names, labels, relabelings, chosen)
    settings = {"by": by, "index": index, "rectify": int(rectify), "unit": _unit_name(units, unit)}
    settings |= {"n_permutations": len(relabelings), "scheme": relabelings.scheme, "seed": seed}
    result = _labelled(variables, units, chosen).assign_attrs(
        **settings,
        **({"threshold": THRESHOLD} if index == "maxshare" else {}),
        floor=chosen.floor(len(names)),
        alternative="greater",
        n_units=_n_units(units, unit),
        n_classes=len(names),
        family_size=int(variables["valid"].sum()),
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
    check_responses(responses)
    units = average_units(responses, unit=unit, by=(by,))
    names, labels = _class_labels(units, by)
    groups = [units.values[labels == k].astype(float) for k in _by_first_appearance(labels)]
    mean = np.stack([group.mean(axis=0) for group in groups])
    se = np.stack([_standard_error(group) for group in groups])
    dims = ("condition", LAYER, FEATURE)
    amount = {"units": responses.attrs.get("units", "a.u.")}
    settings = {"by": by, "unit": _unit_name(units, unit)}
    return xr.Dataset(
        {
            "mean": (dims, mean, {"long_name": "mean response"} | amount),
            "se": (dims, se, {"long_name": "standard error over units"} | amount),
            "n": ("condition", [len(group) for group in groups], {"long_name": "units", "units": "1"}),
        },
        coords=_map_coords(units) | {"condition": names[_by_first_appearance(labels)]},
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


def _map_statistics(
    units: xr.DataArray, names: np.ndarray, labels: np.ndarray, relabelings: Relabelings, chosen: Index
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Maps (layer, feature) by name, and a sample of the null pooled over features."""
    _, n_layers, n_features = units.shape
    observed, null = (class_matrices(drawn, len(names)) for drawn in (labels[None], relabelings.labels))
    maps = {name: np.full((n_layers, n_features), np.nan) for name in ("selectivity", "auroc", "p_unc", "null_mean")}
    maps["preferred"] = np.full((n_layers, n_features), "", dtype=names.dtype)
    n_kept = max(1, _POOLED_ELEMENTS // (n_layers * n_features))
    n_chunk = max(1, _CHUNK_ELEMENTS // (len(relabelings) * len(names)))
    pooled = [np.empty(0)]
    for layer in range(n_layers):
        values = units.values[:, layer].astype(float)
        varying = np.flatnonzero(is_varying(values))
        for start in range(0, len(varying), n_chunk):
            features = varying[start : start + n_chunk]
            found, null_index = _chunk_statistics(values[:, features], observed, null, relabelings.exact, chosen)
            best = found.pop("best").astype(int)
            maps["preferred"][layer, features] = names[best]
            for name, statistic in found.items():
                maps[name][layer, features] = statistic
            pooled.append(null_index[:n_kept].ravel())
    return maps, np.concatenate(pooled)


def _chunk_statistics(
    values: np.ndarray, observed: Classes, null: Classes, exact: bool, chosen: Index
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    index, strength = chosen.measure(values, observed)
    null_index = chosen.measure(values, null).index
    best = strength[0].argmax(axis=0)
    area = np.take_along_axis(class_auroc(values, observed)[0], best[None], axis=0)[0]
    p = p_value(index[0], null_index, exact=exact, alternative="greater")
    found = {"selectivity": index[0], "auroc": area, "p_unc": p, "null_mean": null_index.mean(axis=0), "best": best}
    return found, null_index
