"""Does a model explain a layer's RDM beyond other models? Partial RSA, unique and shared variance."""

import warnings
from collections.abc import Mapping

import numpy as np
import xarray as xr

from neurosae.analysis.dissimilarities import count_units, rdm_layers, rdm_units, silent_rows
from neurosae.analysis.exchangeability import row_orders
from neurosae.analysis.rdm_models import aligned_model
from neurosae.arrays.distance import live_rows
from neurosae.arrays.pairs import unit_entries
from neurosae.arrays.permutation import p_value
from neurosae.arrays.rdm_partialling import (
    rdm_regression_null,
    shared_variance,
    standardised,
    variance_inflation,
)
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.units import unit_keys, with_seen

MODEL, COMPONENT = "model", "component"
"""Dims of results with several models, and of what sets of models explain."""

INFLATED = 5.0
"""Variance inflation from which a coefficient is too uncertain to be read."""

_MOST_SHARED = 3
"""Models up to which what they share is taken apart."""


def rdm_regression(
    rdm: xr.DataArray,
    models: Mapping[str, xr.DataArray],
    *,
    ranks: bool = True,
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """What each model explains of the similarity structure of each layer that the other models do not.

    With nuisance models among the models (`neurosae.analysis.nuisance_rdms.nuisance_models`) this is
    partial RSA. The entries d = b_0 + sum b_k m_k + e, over pairs of stimuli of different units, are replaced
    by their ranks first.

    p is one-sided (greater), by double semi-partialling: the part of a model that the others do not explain
    is permuted, rows and columns together, and regressed with them again. Not corrected for layers or models.

    Parameters
    ----------
    rdm : DataArray ([layer,] stimulus, stimulus_2), see `neurosae.analysis.rsa.rdm`
    models : model RDMs (stimulus, stimulus_2) by name, labels in any order, at least one
    ranks : False to regress the distances themselves
    n_permutations, seed : as in `neurosae.analysis.rsa.compare_rdms`

    Returns
    -------
    Dataset (layer, model)
        ``partial``, the correlation with the model given all others; ``p`` of it; ``coefficient``, b_k of
        standardised entries; ``unique``, R^2 less R^2 without the model; ``vif`` (model), the variance
        inflation over stimuli that have a pattern in every layer; ``r2`` (layer). With up to three models
        ``share`` (layer, component): what the models named in the component, joined by '+', explain together
        and no other does; the shares add up to r2, and shares of several models can be negative.

    Raises
    ------
    DesignError
        If there is no model, one does not fit the stimuli or is constant, or others determine a model.

    Warns
    -----
    UserWarning
        If the variance inflation of a model exceeds 5.

    Notes
    -----
    Others are taken out as far as d follows them linearly (in ranks). Distances that follow a nuisance in
    another way leave something that a model correlated with it can still explain: with two sizes of stimuli
    that correlate .6, of which patterns follow one only, the other was significant in 16 % of simulations.

    Source
    ------
    Dekker, Krackhardt & Snijders 2007, Psychometrika 72:563 (test); Seibold & McPhee 1979, Hum Commun Res
    5:355 (shares).

    Examples
    --------
    >>> from neurosae.analysis.rdm_models import model_rdm
    >>> from neurosae.analysis.rsa import rdm
    >>> from neurosae.testing import planted_responses
    >>> responses = planted_responses(planted=[(1, 3), (1, 4), (1, 5)])
    >>> models = {name: model_rdm(responses, name) for name in ("condition", "n_tokens")}
    >>> fit = rdm_regression(rdm(responses), models)
    >>> fit.partial.sel(layer=1).values.round(2), fit.p.sel(layer=1).values.round(3)
    (array([ 0.28, -0.04]), array([0.001, 0.891]))
    """
    if not models:
        raise DesignError("no model is given; a regression needs at least one.")
    layers = rdm_layers(rdm)
    units = rdm_units(layers)
    labels = layers[STIMULUS].values
    targets = np.stack([aligned_model(model, labels, units) for model in models.values()])
    levels = layers["condition"].values if "condition" in layers.coords else labels
    drawn = [row_orders(units, levels, target, n_permutations, seed=seed) for target in targets]
    inflation = _inflation(layers.values, targets, units, list(models), ranks=ranks)
    orders = [own.labels for own in drawn]
    fit = rdm_regression_null(layers.values, targets, orders, units=units, ranks=ranks)
    p = [
        p_value(fit.partial[:, k], null, exact=drawn[k].exact, alternative="greater")
        for k, null in enumerate(fit.null)
    ]
    shares = _shares(layers.values, targets, units, ranks=ranks)
    unique = np.stack([shares[(k,)] for k in range(len(targets))], axis=1)
    by_model = {
        "partial": (fit.partial, "correlation with the model given the others"),
        "p": (np.stack(p, axis=1), "one-sided permutation p of the partial correlation, uncorrected"),
        "coefficient": (fit.coefficient, "standardised coefficient"),
        "unique": (unique, "variance that only this model explains"),
    }
    data: dict[str, object] = {
        name: ((LAYER, MODEL), values, {"long_name": title, "units": "1"})
        for name, (values, title) in by_model.items()
    }
    n_units = count_units(units, silent_rows(layers.values))
    data |= {
        "vif": (MODEL, inflation, {"long_name": "variance inflation factor", "units": "1"}),
        "r2": (LAYER, fit.r2, {"long_name": "variance that all models explain", "units": "1"}),
        "n_units": (LAYER, n_units, {"long_name": "number of units", "units": "1"}),
    }
    coords: dict[str, object] = {MODEL: list(models)}
    if LAYER in layers.coords:
        coords[LAYER] = layers[LAYER].values
    result = xr.Dataset(data, coords=coords)
    if len(targets) <= _MOST_SHARED:
        result = result.assign(share=_share_array(shares, list(models)))
    settings = {
        "ranks": int(ranks),
        "alternative": "greater",
        "scheme": ", ".join(own.scheme for own in drawn),
        "n_permutations": ", ".join(str(len(own)) for own in drawn),
        "seed": seed,
    }
    result.attrs = {k: layers.attrs[k] for k in ("metric", "unit", "site", "basis") if k in layers.attrs}
    result.attrs |= settings | with_step(rdm, "rdm_regression", models=list(models), **settings)
    return with_seen(result, unit_keys(layers, str(layers.attrs.get("unit", STIMULUS))))


def _inflation(
    matrices: np.ndarray, targets: np.ndarray, units: np.ndarray, names: list[str], *, ranks: bool
) -> np.ndarray:
    live = ~silent_rows(matrices).any(axis=0)
    own = targets[:, live][:, :, live]
    design = standardised(unit_entries(own, units[live]), ranks=ranks)
    inflation = variance_inflation(design)
    fixed = [name for name, value in zip(names, inflation, strict=True) if np.isinf(value)]
    if fixed:
        raise DesignError(
            f"models {fixed} are determined by the other models, so nothing can be told of them alone; leave "
            "one of them out."
        )
    high = [f"{name} {value:.1f}" for name, value in zip(names, inflation, strict=True) if value > INFLATED]
    if high:
        warnings.warn(
            f"models overlap: variance inflation of {', '.join(high)} (above {INFLATED:g}). What each "
            "explains alone is uncertain; use fewer models or a design that separates them.",
            stacklevel=3,
        )
    return inflation


def _shares(
    matrices: np.ndarray, targets: np.ndarray, units: np.ndarray, *, ranks: bool
) -> dict[tuple[int, ...], np.ndarray]:
    """What sets of models explain alone, (layer,) each; of more than three models the single ones only."""
    shares: dict[tuple[int, ...], np.ndarray] = {}
    for mask, which in live_rows(matrices):
        data = standardised(unit_entries(matrices[which][:, mask][:, :, mask], units[mask]), ranks=ranks)
        design = standardised(unit_entries(targets[:, mask][:, :, mask], units[mask]), ranks=ranks)
        parts = shared_variance(data, design, most=1 if len(design) > _MOST_SHARED else len(design))
        for chosen, values in parts.items():
            shares.setdefault(chosen, np.full(len(matrices), np.nan))[which] = values
    return shares


def _share_array(shares: dict[tuple[int, ...], np.ndarray], names: list[str]) -> xr.DataArray:
    labels = ["+".join(names[k] for k in chosen) for chosen in shares]
    return xr.DataArray(
        np.stack(list(shares.values()), axis=1),
        dims=(LAYER, COMPONENT),
        coords={COMPONENT: labels},
        attrs={"long_name": "variance that these models explain together and no other does", "units": "1"},
    )
