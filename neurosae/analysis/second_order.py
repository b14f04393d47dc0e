"""Do two layers, or two subjects, treat the same stimuli alike? Representations compared with each other."""

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import average_units
from neurosae.analysis.dissimilarities import (
    STIMULUS_2,
    check_same_stimuli,
    layer_values,
    rdm_layers,
    rdm_units,
    silent_rows,
)
from neurosae.analysis.exchangeability import row_orders
from neurosae.arrays.kernel_alignment import biased_cka, linear_kernel, unbiased_cka
from neurosae.arrays.mantel import permuted_similarity, restrict_orders
from neurosae.arrays.pairs import unit_entries
from neurosae.arrays.permutation import p_value
from neurosae.arrays.rdm_comparison import check_method, similarity
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims
from neurosae.schema.units import unit_keys, with_seen

LAYER_2 = "layer_2"
"""The second dim of a comparison of layers."""

_FEWEST = 4
"""Stimuli below which the unbiased alignment is not defined."""


def cka(
    responses: xr.DataArray,
    other: xr.DataArray | None = None,
    *,
    biased: bool = False,
    unit: str = "auto",
) -> xr.DataArray:
    """How similar the representations of two layers are, up to rotation and scale.

    Linear centred kernel alignment of every layer with every layer.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    other : responses of another subject, site or dictionary to the same stimuli, in any order and of any
        number of features; by default ``responses`` itself
    biased : give |X'Y|^2 / (|X'X| |Y'Y|) of centred patterns, which is large by chance if there are fewer
        stimuli than features
    unit : column whose rows are averaged within each condition first, by default the widest of family, pair,
        item, stimulus

    Returns
    -------
    DataArray (layer, layer_2) named ``cka``
        1 for representations that are the same up to rotation and scale, around 0 for independent ones; NaN
        where a layer's similarities are all equal. It is no test. Attribute ``other_provenance``: where
        ``other`` comes from.

    Raises
    ------
    DesignError
        If stimuli differ, or there are fewer than four rows.

    Source
    ------
    Kornblith et al. 2019, ICML; Song et al. 2012, J Mach Learn Res 13:1393 (unbiased).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> cka(planted_responses(n_layers=2)).values.round(2)
    array([[1.  , 0.01],
           [0.01, 1.  ]])
    """
    rows = _rows(responses, unit)
    others = rows if other is None else _rows(other, unit)
    check_same_stimuli(rows[STIMULUS].values, others[STIMULUS].values, "responses")
    others = others.sel({STIMULUS: rows[STIMULUS].values})
    if rows.sizes[STIMULUS] < _FEWEST:
        raise DesignError(f"{rows.sizes[STIMULUS]} rows; the alignment of kernels needs at least {_FEWEST}.")
    measure = biased_cka if biased else unbiased_cka
    name = "biased linear CKA" if biased else "unbiased linear CKA"
    return xr.DataArray(
        measure(_kernels(rows), _kernels(others)),
        dims=(LAYER, LAYER_2),
        coords={LAYER: _labels(rows), LAYER_2: _labels(others)},
        name="cka",
        attrs={
            "long_name": name,
            "units": "1",
            "n_stimuli": rows.sizes[STIMULUS],
            **_origins(responses, responses if other is None else other),
            **with_step(responses, "cka", biased=biased, unit=unit),
        },
    )


def second_order_rsa(
    rdm: xr.DataArray,
    other: xr.DataArray | None = None,
    *,
    method: str = "rho-a",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """How similar the RDMs of two layers are, for every pair of layers.

    Entries of stimuli of one unit do not count. p is one-sided (greater), from permutations of the stimuli
    of one RDM, rows and columns together (Mantel 1967), not corrected for the number of pairs of layers. If
    units have several rows each, rows exchange within their unit: p then asks for agreement beyond what the
    units themselves are like.

    Parameters
    ----------
    rdm : DataArray (layer, stimulus, stimulus_2), see `neurosae.analysis.rsa.rdm`
    other : RDMs of another subject, site or dictionary with the same stimuli in any order; by default ``rdm``
    method : a similarity of `neurosae.arrays.rdm_comparison.similarity`
    n_permutations, seed : as in `neurosae.analysis.rsa.compare_rdms`

    Returns
    -------
    Dataset (layer, layer_2)
        ``similarity`` and ``p``, over the stimuli that have a pattern in every layer.

    Raises
    ------
    DesignError
        If the method is unknown, stimuli differ, or fewer than three have a pattern in every layer.

    Source
    ------
    Kriegeskorte, Mur & Bandettini 2008, Front Syst Neurosci 2:4.

    Examples
    --------
    >>> from neurosae.analysis.rsa import rdm
    >>> from neurosae.testing import planted_responses
    >>> second_order_rsa(rdm(planted_responses(n_layers=2))).similarity.values.round(2)
    array([[ 1.  , -0.01],
           [-0.01,  1.  ]])
    """
    check_method(method)
    others = rdm if other is None else other
    own, theirs = rdm_layers(rdm), rdm_layers(others)
    check_same_stimuli(own[STIMULUS].values, theirs[STIMULUS].values, "RDMs")
    labels = own[STIMULUS].values
    theirs = theirs.sel({STIMULUS: labels, STIMULUS_2: labels})
    silent = np.concatenate([silent_rows(own.values), silent_rows(theirs.values)])
    live = np.asarray(~silent.any(axis=0))
    if live.sum() < 3:
        raise DesignError(f"{live.sum()} stimuli have a pattern in every layer; at least three are needed.")
    units = rdm_units(own)
    levels = own["condition"].values if "condition" in own.coords else labels
    first = theirs.values[0]
    drawn = row_orders(units, levels, np.nan_to_num(first, nan=1.0), n_permutations, seed=seed)
    orders = restrict_orders(drawn.labels, live)
    a, b = (layers.values[:, live][:, :, live] for layers in (own, theirs))
    vectors = unit_entries(a, units[live])
    observed, p = np.full((2, len(a), len(b)), np.nan)
    for column, model in enumerate(b):
        observed[:, column] = similarity(vectors, unit_entries(model, units[live]), method)
        null = permuted_similarity(vectors, model, orders, method, units=units[live])
        p[:, column] = p_value(observed[:, column], null, exact=drawn.exact, alternative="greater")
    settings = {"method": method, "n_permutations": len(drawn), "exact": int(drawn.exact), "seed": seed}
    result = xr.Dataset(
        {
            "similarity": ((LAYER, LAYER_2), observed, {"long_name": f"{method} of RDMs", "units": "1"}),
            "p": ((LAYER, LAYER_2), p, {"long_name": "one-sided permutation p, uncorrected", "units": "1"}),
        },
        coords={LAYER: _labels(own), LAYER_2: _labels(theirs)},
        attrs={
            **settings,
            "alternative": "greater",
            "scheme": drawn.scheme,
            "n_stimuli": int(live.sum()),
            **_origins(rdm, others),
            **with_step(rdm, "second_order_rsa", **settings),
        },
    )
    return with_seen(result, unit_keys(rdm, rdm.attrs.get("unit", STIMULUS)))


def _rows(responses: xr.DataArray, unit: str) -> xr.DataArray:
    check_response_dims(responses)
    return average_units(responses, unit=unit)


def _kernels(rows: xr.DataArray) -> np.ndarray:
    return np.stack([linear_kernel(layer_values(rows, layer)) for layer in range(rows.sizes[LAYER])])


def _labels(layered: xr.DataArray) -> np.ndarray:
    return layered[LAYER].values if LAYER in layered.coords else np.arange(layered.sizes[LAYER])


def _origins(first: xr.DataArray, second: xr.DataArray) -> dict[str, str]:
    """Sites and bases of both, and the provenance of the second, as that of the first is the result's."""
    named = {
        name: str(source.attrs.get(key, ""))
        for name, source, key in (
            ("site", first, "site"),
            ("basis", first, "basis"),
            ("site_2", second, "site"),
            ("basis_2", second, "basis"),
        )
    }
    return named | {"other_provenance": str(second.attrs.get("provenance", ""))}
