"""Responses and RDMs as objects of rsatoolbox."""

import numpy as np
import xarray as xr
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import RDMs

from neurosae.errors import DesignError
from neurosae.export.flat import plain, plain_attrs
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.recordings import check_response_dims
from neurosae.schema.spelling import listed

_PAIR = f"{STIMULUS}_2"


def to_rsatoolbox(responses: xr.DataArray, layer: int) -> Dataset:
    """The responses of one layer as an rsatoolbox dataset: observations are stimuli, channels are features.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature)
    layer : label of the layer

    Returns
    -------
    rsatoolbox.data.Dataset
        ``measurements`` (stimulus, feature) float64; ``obs_descriptors`` every coordinate over stimuli;
        ``channel_descriptors`` every one over features; ``descriptors`` the layer and the attributes.

    Raises
    ------
    DesignError
        If ``responses`` has other dims or no such layer.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> dataset = to_rsatoolbox(planted_responses(n_items=2), layer=1)
    >>> dataset.measurements.shape, list(dataset.obs_descriptors["condition"])
    ((4, 16), ['A', 'A', 'B', 'B'])
    """
    check_response_dims(responses)
    chosen = _with_labels(responses, LAYER, FEATURE)
    if layer not in chosen[LAYER].values:
        raise DesignError(f"no layer {layer!r}; layers: {listed(map(str, chosen[LAYER].values))}.")
    one = chosen.sel({LAYER: layer})
    return Dataset(
        one.values.astype(np.float64),
        descriptors={**plain_attrs(responses.attrs), LAYER: int(layer)},
        obs_descriptors=_over(one, STIMULUS),
        channel_descriptors=_over(one, FEATURE),
    )


def to_rsatoolbox_rdms(rdm: xr.DataArray) -> RDMs:
    """The result of `neurosae.rdm`, or one model RDM, as rsatoolbox RDMs, one a layer.

    Parameters
    ----------
    rdm : DataArray (layer, stimulus, stimulus_2) or (stimulus, stimulus_2)

    Returns
    -------
    rsatoolbox.rdm.RDMs
        ``pattern_descriptors`` every coordinate over stimuli; ``rdm_descriptors`` the layer; ``descriptors``
        the attributes. Pairs of a silent pattern are NaN, as in ``rdm``.

    Raises
    ------
    DesignError
        If ``rdm`` has other dims.

    Examples
    --------
    >>> from neurosae.analysis.rsa import rdm
    >>> from neurosae.testing import planted_responses
    >>> to_rsatoolbox_rdms(rdm(planted_responses(n_items=2))).dissimilarities.shape
    (3, 6)
    """
    dims = tuple(rdm.dims)
    if dims not in ((LAYER, STIMULUS, _PAIR), (STIMULUS, _PAIR)):
        raise DesignError(
            f"an RDM needs dims ({LAYER}, {STIMULUS}, {_PAIR}), got {dims}; compute it with rdm."
        )
    layers = _over(_with_labels(rdm, LAYER), LAYER) if LAYER in dims else {}
    matrices = rdm.values if LAYER in dims else rdm.values[None]
    return RDMs(
        matrices.astype(np.float64),
        dissimilarity_measure=str(rdm.attrs.get("metric", "")) or None,
        descriptors=plain_attrs(rdm.attrs),
        rdm_descriptors=layers,
        pattern_descriptors=_over(rdm, STIMULUS),
    )


def _with_labels(array: xr.DataArray, *dims: str) -> xr.DataArray:
    """``array`` with labels 0, 1, … along each of ``dims`` that has none."""
    return array.assign_coords({d: np.arange(array.sizes[d]) for d in dims if d not in array.coords})


def _over(array: xr.DataArray, dim: str) -> dict[str, list]:
    """The coordinates over ``dim`` alone, as rsatoolbox keeps descriptors."""
    columns = {str(name): c.variable for name, c in array.coords.items() if c.dims == (dim,)}
    return {name: plain(variable, name).tolist() for name, variable in columns.items()}
