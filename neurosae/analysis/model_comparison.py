"""Which model follows a layer's similarity structure best? Models compared over samples of stimuli."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import xarray as xr

from neurosae.analysis.dissimilarities import (
    check_same_stimuli,
    count_units,
    rdm_layers,
    rdm_units,
    silent_rows,
)
from neurosae.analysis.rdm_models import aligned_model
from neurosae.analysis.rdm_partials import MODEL
from neurosae.arrays.distance import live_rows
from neurosae.arrays.pairs import unit_entries
from neurosae.arrays.rdm_bootstrap import (
    FEWEST_RDMS,
    bootstrap_similarity,
    bootstrap_t,
    ceiling,
    draw_units,
    holm_rows,
)
from neurosae.arrays.rdm_comparison import check_method, similarity
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.units import unit_keys, with_seen

COMPARISON = "comparison"
"""Dim of pairs of models."""

_FEWEST_UNITS = 8


def compare_models(
    rdm: xr.DataArray,
    models: Mapping[str, xr.DataArray],
    *,
    method: str = "rho-a",
    n_bootstraps: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """How well each model follows each layer's RDM, and which models do so better than others.

    Units are drawn with replacement, the same samples for all models and layers; pairs of copies of a unit
    do not count. Intervals and p come from the bootstrap standard error and t with n_units - 1 degrees of
    freedom. Whether a single model is better than none is asked of
    `neurosae.analysis.rsa.compare_rdms`: a bootstrap over stimuli is far too conservative for it.

    Parameters
    ----------
    rdm : DataArray ([layer,] stimulus, stimulus_2), see `neurosae.analysis.rsa.rdm`
    models : model RDMs (stimulus, stimulus_2) by name, labels in any order, at least two
    method : a similarity of `neurosae.arrays.rdm_comparison.similarity`
    n_bootstraps : samples of units
    seed : root of the samples

    Returns
    -------
    Dataset
        ``similarity`` (layer, model) with ``similarity_lo`` and ``similarity_hi``, 95 %; ``difference``
        (layer, comparison), of the first model named less the second, with ``difference_lo`` and
        ``difference_hi``; ``p`` of it, two-sided; ``p_holm``, corrected for the pairs of models of a layer;
        ``n_units`` (layer).

    Raises
    ------
    DesignError
        If the method is unknown, there are fewer than two models, one does not fit the stimuli, or fewer
        than 8 units are left.

    Source
    ------
    Nili et al. 2014, PLoS Comput Biol 10:e1003553; Schuett et al. 2023, eLife 12:e82566.

    Examples
    --------
    >>> from neurosae.analysis.rdm_models import model_rdm
    >>> from neurosae.analysis.rsa import rdm
    >>> from neurosae.testing import planted_responses
    >>> responses = planted_responses(planted=[(1, 3), (1, 4), (1, 5)])
    >>> models = {name: model_rdm(responses, name) for name in ("condition", "n_tokens")}
    >>> result = compare_models(rdm(responses), models, n_bootstraps=200)
    >>> result.comparison.item(), result.difference.values[:, 0].round(2)
    ('condition - n_tokens', array([ 0.01,  0.28, -0.03]))
    """
    check_method(method)
    if len(models) < 2:
        raise DesignError(f"{len(models)} model; to compare models takes two. For one, see compare_rdms.")
    layers = rdm_layers(rdm)
    units = rdm_units(layers)
    targets = np.stack([aligned_model(model, layers[STIMULUS].values, units) for model in models.values()])
    n_units = count_units(units, silent_rows(layers.values))
    if n_units.min() < _FEWEST_UNITS:
        raise DesignError(f"{n_units.min()} units; a bootstrap over units needs at least {_FEWEST_UNITS}.")
    counts = draw_units(units, n_bootstraps, seed=seed)
    observed, samples = _similarities(layers.values, targets, counts, units, method)
    pairs = list(combinations(range(len(targets)), 2))
    first, second = np.array(pairs).T
    low, high, _ = _per_layer(observed, samples, n_units)
    difference, drawn = observed[:, first] - observed[:, second], samples[..., first] - samples[..., second]
    difference_low, difference_high, p = _per_layer(difference, drawn, n_units)
    names = list(models)
    variables = {
        "similarity": (MODEL, observed, f"{method} with the model"),
        "similarity_lo": (MODEL, low, "lower bound of the 95 % interval of the similarity (bootstrap)"),
        "similarity_hi": (MODEL, high, "upper bound of the 95 % interval of the similarity (bootstrap)"),
        "difference": (COMPARISON, difference, f"difference of {method}"),
        "difference_lo": (COMPARISON, difference_low, "lower bound of the 95 % interval of the difference"),
        "difference_hi": (COMPARISON, difference_high, "upper bound of the 95 % interval of the difference"),
        "p": (COMPARISON, p, "two-sided bootstrap p of the difference, uncorrected"),
        "p_holm": (COMPARISON, holm_rows(p), "two-sided bootstrap p, Holm over pairs of models"),
    }
    data: dict[str, object] = {
        name: ((LAYER, dim), values, {"long_name": title, "units": "1"})
        for name, (dim, values, title) in variables.items()
    }
    data["n_units"] = (LAYER, n_units, {"long_name": "number of units", "units": "1"})
    coords: dict[str, object] = {MODEL: names, COMPARISON: [f"{names[a]} - {names[b]}" for a, b in pairs]}
    if LAYER in layers.coords:
        coords[LAYER] = layers[LAYER].values
    settings = {"method": method, "n_bootstraps": n_bootstraps, "seed": seed}
    result = xr.Dataset(data, coords=coords)
    result.attrs = {k: layers.attrs[k] for k in ("metric", "unit", "site", "basis") if k in layers.attrs}
    result.attrs |= settings | with_step(rdm, "compare_models", models=names, **settings)
    return with_seen(result, unit_keys(layers, str(layers.attrs.get("unit", STIMULUS))))


def noise_ceiling(rdms: Sequence[xr.DataArray], *, method: str = "rho-a") -> xr.Dataset:
    """How well the best possible model could follow RDMs that differ by chance, in each layer.

    Lower bound: the mean similarity of each RDM with the mean of the others; upper bound: with the mean of
    all, itself included.

    Parameters
    ----------
    rdms : RDMs (layer, stimulus, stimulus_2) of the same stimuli from independent replications: templates,
        paraphrase sets, seeds, subjects
    method : a similarity of `neurosae.arrays.rdm_comparison.similarity`

    Returns
    -------
    Dataset (layer)
        ``lower`` and ``upper``, over the stimuli that have a pattern in every RDM. NaN with fewer than three
        RDMs, and why in the attribute ``reason``: one deterministic subject has no noise to estimate it from.

    Raises
    ------
    DesignError
        If the method is unknown, there is no RDM, or stimuli or layers differ.

    Source
    ------
    Nili et al. 2014, PLoS Comput Biol 10:e1003553.

    Examples
    --------
    >>> from neurosae.analysis.rsa import rdm
    >>> from neurosae.testing import planted_responses
    >>> noise_ceiling([rdm(planted_responses(n_items=4))]).attrs["reason"]
    '1 RDM of a deterministic subject; a ceiling needs 3 or more independent replications'
    """
    check_method(method)
    vectors, layers = aligned_entries(rdms)
    bounds = np.array([ceiling(own, method) for own in vectors])
    settings = {"method": method, "n_rdms": len(rdms)}
    few = f"{len(rdms)} RDM{'s' if len(rdms) > 1 else ''} of a deterministic subject"
    reason = f"{few}; a ceiling needs {FEWEST_RDMS} or more independent replications"
    data = {
        name: (LAYER, bounds[:, side], {"long_name": f"{name} bound of the noise ceiling", "units": "1"})
        for side, name in enumerate(("lower", "upper"))
    }
    coords = {LAYER: layers[LAYER].values} if LAYER in layers.coords else {}
    attrs = settings | {"reason": reason if len(rdms) < FEWEST_RDMS else ""}
    return xr.Dataset(data, coords=coords, attrs=attrs | with_step(layers, "noise_ceiling", **settings))


def aligned_entries(rdms: Sequence[xr.DataArray]) -> tuple[list[np.ndarray], xr.DataArray]:
    """Entries (R, N) of replicated RDMs in each layer, over stimuli with a pattern in all, and the first RDM.

    Raises
    ------
    DesignError
        If there is no RDM, or stimuli or the number of layers differ.
    """
    if isinstance(rdms, xr.DataArray):
        raise DesignError("one array is given; give a list of RDMs, one of each replication.")
    if not rdms:
        raise DesignError("no RDM is given.")
    everyone = [rdm_layers(own) for own in rdms]
    first = everyone[0]
    labels = first[STIMULUS].values
    for own in everyone[1:]:
        check_same_stimuli(labels, own[STIMULUS].values, "RDMs")
        if own.sizes[LAYER] != first.sizes[LAYER]:
            raise DesignError(
                f"RDMs have {first.sizes[LAYER]} and {own.sizes[LAYER]} layers; select the same."
            )
    matrices = np.stack([own.sel({STIMULUS: labels, "stimulus_2": labels}).values for own in everyone])
    units = rdm_units(first)
    entries = []
    for layer in range(first.sizes[LAYER]):
        live = np.asarray(~silent_rows(matrices[:, layer]).any(axis=0))
        entries.append(unit_entries(matrices[:, layer][:, live][:, :, live], units[live]))
    return entries, first


def _similarities(
    matrices: np.ndarray, targets: np.ndarray, counts: np.ndarray, units: np.ndarray, method: str
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities (L, K) with the models, and in bootstrap samples (B, L, K)."""
    observed = np.full((len(matrices), len(targets)), np.nan)
    samples = np.full((len(counts), len(matrices), len(targets)), np.nan)
    for mask, which in live_rows(matrices):
        live, own = matrices[which][:, mask][:, :, mask], targets[:, mask][:, :, mask]
        vectors = unit_entries(live, units[mask])
        models = unit_entries(own, units[mask])
        observed[which] = np.stack([similarity(vectors, model, method) for model in models], axis=1)
        samples[:, which] = bootstrap_similarity(live, own, counts[:, mask], units[mask], method)
    return observed, samples


def _per_layer(estimate: np.ndarray, samples: np.ndarray, n_units: np.ndarray) -> tuple[np.ndarray, ...]:
    parts = [bootstrap_t(estimate[layer], samples[:, layer], n) for layer, n in enumerate(n_units)]
    return tuple(np.stack(values) for values in zip(*parts, strict=True))
