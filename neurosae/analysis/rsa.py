"""Which stimuli does a layer treat alike? RDMs of responses, model RDMs, and how well they agree.

Class structure within one set of stimuli has its own indices, see `neurosae.analysis.category`.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import average_units
from neurosae.analysis.dissimilarities import (
    STIMULUS_2,
    UNITS_OF_METRIC,
    count_units,
    layer_dataset,
    layer_dissimilarities,
    resolve_metric,
    silent_rows,
)
from neurosae.analysis.exchangeability import (
    ENUMERATED,
    FEW_UNITS,
    WHOLE_UNITS,
    check_relabelings,
    row_orders,
)
from neurosae.analysis.rdm_models import aligned_model, model_classes
from neurosae.arrays.mantel import mantel
from neurosae.arrays.pairs import unit_entries, unit_pairs
from neurosae.arrays.permutation import Relabelings, p_value
from neurosae.arrays.rdm_comparison import check_method, is_binary, rho_a_of_auroc
from neurosae.arrays.rdm_intervals import auroc_interval, similarity_interval
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, stimulus_table
from neurosae.schema.units import unit_column, unit_keys, with_seen


def rdm(responses: xr.DataArray, *, metric: str = "auto", unit: str = "auto") -> xr.DataArray:
    """How differently each layer responds to each pair of stimuli.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    metric : a measure of `neurosae.arrays.distance.dissimilarity`, taken of the responses as they are.
        ``"auto"``: of units, 1 - Pearson r after scaling each unit to SD over the stimuli (a few units of
        huge variance decide unscaled distances); of the features of a dictionary, 1 - cosine.
    unit : column whose rows are averaged within each condition first, by default the widest of family, pair,
        item, stimulus

    Returns
    -------
    DataArray (layer, stimulus, stimulus_2) named ``dissimilarity``
        Float64, zero diagonal. Coordinates: those of the stimuli; ``silent`` (layer, stimulus), True where a
        pattern is all zero (correlation: constant), whose row and column are NaN; ``n_units`` (layer),
        the units that are left.

    Raises
    ------
    DesignError
        If the metric is unknown or needs values >= 0, fewer than two rows are left, or more than 10 % of the
        patterns of a layer are silent.

    Notes
    -----
    Warns if stimuli are at distance 0 in every layer: duplicates pass for similarity.

    Source
    ------
    Kriegeskorte, Mur & Bandettini 2008, Front Syst Neurosci 2:4.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> rdm(planted_responses(n_items=2)).sel(layer=1, stimulus="A00").values.round(2)
    array([0.  , 0.98, 1.51, 1.3 ])
    """
    check_response_dims(responses)
    column = unit_column(stimulus_table(responses), unit)
    rows = average_units(responses, unit=unit)
    name, scaling = resolve_metric(metric, responses)
    matrices = layer_dissimilarities(rows, metric)
    silent = silent_rows(matrices)
    attrs = {
        "long_name": f"{name} dissimilarity",
        "units": UNITS_OF_METRIC.get(name, "1"),
        "metric": name,
        "scaling": scaling,
        "unit": column,
        "site": str(responses.attrs.get("site", "")),
        "basis": str(responses.attrs.get("basis", UNITS_BASIS)),
    }
    coords = {label: c for label, c in rows.coords.items() if FEATURE not in c.dims}
    n_units = count_units(rows[column].values, silent)
    marks = {"silent": ((LAYER, STIMULUS), silent), "n_units": (LAYER, n_units)}
    return xr.DataArray(
        matrices,
        dims=(LAYER, STIMULUS, STIMULUS_2),
        coords={**coords, **marks, STIMULUS_2: rows[STIMULUS].values},
        name="dissimilarity",
        attrs=attrs | with_step(responses, "rdm", metric=name, scaling=scaling, unit=column),
    )


def compare_rdms(
    rdm: xr.DataArray,
    model: xr.DataArray,
    *,
    method: str = "rho-a",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """How well the similarity structure of each layer follows the model.

    Similarities, AUROC, null and intervals are over the entries d_ij with unit(i) != unit(j): rows of one
    unit (the conditions of a family) share what is the unit's own, so their distance lacks that part.

    p is one-sided (greater), from permutations of the stimuli, rows and columns together (Mantel 1967), the
    same in all layers; it is not corrected for the number of layers. If units have several rows each, rows
    exchange within their unit; if the model does not differ within units, whole units exchange.

    Parameters
    ----------
    rdm : DataArray ([layer,] stimulus, stimulus_2), see `rdm`
    model : DataArray (stimulus, stimulus_2) with the same labels in any order, see `model_rdm`
    method : a similarity of `neurosae.arrays.rdm_comparison.similarity`
    n_permutations : number of permutations; all are enumerated if they are no more
    seed : root of the random permutations

    Returns
    -------
    Dataset (layer)
        ``similarity`` with ``similarity_lo`` and ``similarity_hi``, its 95 % interval (jackknife over units,
        see `neurosae.arrays.jackknife`; t with n_units - 1 df, for each layer alone; NaN if a category has
        two units only); ``auroc`` P(d_between > d_within) of a binary model with ``auroc_lo`` and
        ``auroc_hi`` in the same way, else NaN; ``p``; ``null_mean`` and ``null_hi`` (95th percentile) of the
        permutations; ``n_units``. Attribute ``maximum``: the largest rho-a that the design allows, for a
        binary model.

    Raises
    ------
    DesignError
        If the method is unknown, labels differ, the model is constant over pairs of different units or has a
        category of one unit, or fewer than 8 units give fewer than 20 distinct relabelings.

    Source
    ------
    Kriegeskorte, Mur & Bandettini 2008; Schuett et al. 2023, eLife 12:e82566; Efron & Tibshirani 1993, An
    Introduction to the Bootstrap, ch. 11, and Arvesen 1969, Ann Math Stat 40:2076 (jackknife).

    Examples
    --------
    >>> from neurosae.analysis.rdm_models import model_rdm
    >>> from neurosae.testing import planted_responses
    >>> responses = planted_responses(planted=[(1, 3), (1, 4), (1, 5)])
    >>> fit = compare_rdms(rdm(responses), model_rdm(responses, "condition"))
    >>> fit.auroc.values.round(2), fit.p.values.round(3)
    (array([0.51, 0.66, 0.46]), array([0.29 , 0.001, 0.99 ]))
    """
    check_method(method)
    layers = rdm.transpose(..., STIMULUS, STIMULUS_2) if LAYER in rdm.dims else rdm.expand_dims(LAYER)
    units = layers[_unit_of(layers)].values
    target = aligned_model(model, layers[STIMULUS].values, units)
    relabelings = _orders(layers, target, n_permutations, seed=seed)
    matrices = _without_split_units(layers, relabelings.scheme)
    observed, auroc, null = mantel(matrices, target, relabelings.labels, method, units=units)
    p = p_value(observed, null, exact=relabelings.exact, alternative="greater")
    classes = model_classes(model, target)
    low, high = similarity_interval(matrices, target, units, observed, method, classes=classes)
    auroc_low, auroc_high = auroc_interval(matrices, target, units, auroc, classes=classes)
    variables = {
        "similarity": (observed, f"{method} with {model.attrs.get('long_name', 'the model')}"),
        "similarity_lo": (low, "lower bound of the 95 % interval of the similarity (jackknife over units)"),
        "similarity_hi": (high, "upper bound of the 95 % interval of the similarity (jackknife over units)"),
        "auroc": (auroc, "P(between-category distance > within-category distance)"),
        "auroc_lo": (auroc_low, "lower bound of the 95 % interval of the AUROC (jackknife over units)"),
        "auroc_hi": (auroc_high, "upper bound of the 95 % interval of the AUROC (jackknife over units)"),
        "p": (p, "one-sided permutation p, uncorrected"),
        "null_mean": (null.mean(axis=0), "mean under permutation"),
        "null_hi": (np.quantile(null, 0.95, axis=0), "95th percentile under permutation"),
        "n_units": (count_units(units, silent_rows(matrices)), "number of units"),
    }
    result = layer_dataset(variables, layers)
    settings = {
        "method": method,
        "alternative": "greater",
        "scheme": relabelings.scheme,
        "n_permutations": len(relabelings),
        "exact": int(relabelings.exact),
        "seed": seed,
    }
    result.attrs = {k: layers.attrs[k] for k in ("metric", "unit", "site", "basis") if k in layers.attrs}
    result.attrs |= settings | _maximum(target, units, method) | with_step(rdm, "compare_rdms", **settings)
    return with_seen(result, unit_keys(layers, _unit_of(layers)))


def _unit_of(layers: xr.DataArray) -> str:
    unit = layers.attrs.get("unit", STIMULUS)
    return unit if unit in layers.coords else STIMULUS


def _orders(layers: xr.DataArray, target: np.ndarray, n_permutations: int, *, seed: int) -> Relabelings:
    units = layers[_unit_of(layers)].values
    levels = layers["condition"].values if "condition" in layers.coords else layers[STIMULUS].values
    n_units = len(np.unique(units))
    if n_units < FEW_UNITS:
        everything = row_orders(units, levels, target, ENUMERATED, seed=0)
        rows, columns = unit_pairs(len(units), units)
        moved = target[everything.labels[:, rows], everything.labels[:, columns]]
        check_relabelings(n_units, everything, (moved == target[rows, columns]).all(axis=1))
    return row_orders(units, levels, target, n_permutations, seed=seed)


def _without_split_units(layers: xr.DataArray, scheme: str) -> np.ndarray:
    """The RDMs; where whole units exchange, a unit with a silent row is left out as a whole."""
    if scheme != WHOLE_UNITS:
        return layers.values
    codes = np.unique(layers[_unit_of(layers)].values, return_inverse=True)[1]
    silent = silent_rows(layers.values)
    split = np.stack([np.bincount(codes, weights=row)[codes] > 0 for row in silent])
    return np.where(split[:, :, None] | split[:, None, :], np.nan, layers.values)


def _maximum(target: np.ndarray, units: np.ndarray, method: str) -> dict[str, float]:
    entries = unit_entries(target, units)
    if method != "rho-a" or not is_binary(entries):
        return {}
    n_between = int((entries > entries.min()).sum())
    return {"maximum": float(rho_a_of_auroc(1.0, n_between, len(entries) - n_between))}
