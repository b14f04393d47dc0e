"""Responses in the shape of a Brain-Score assembly."""

import numpy as np
import xarray as xr

from neurosae.errors import DesignError
from neurosae.export.flat import plain_attrs
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.provenance import stimulus_set
from neurosae.schema.recordings import check_response_dims

PRESENTATION, NEUROID = "presentation", "neuroid"
_NEUROID_LEVELS = ("neuroid_id", "neuroid_num", LAYER)


def to_brainscore(responses: xr.DataArray) -> xr.DataArray:
    """Responses as presentations by neuroids, labelled the way Brain-Score labels model activations.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature)

    Returns
    -------
    DataArray (presentation, neuroid)
        Neuroids are all features of the first layer, then of the next. Levels of ``presentation``:
        ``stimulus_id`` and every other coordinate over stimuli; of ``neuroid``: ``neuroid_id``
        (``layer.feature``), ``neuroid_num`` (the feature) and ``layer``. Attributes: those of ``responses``,
        ``identifier`` and ``stimulus_set_identifier``.

    Raises
    ------
    DesignError
        If ``responses`` has other dims, or a column of the stimuli has the name of a level.

    Notes
    -----
    NetCDF keeps no such levels: call ``reset_index(["presentation", "neuroid"])`` before saving.

    Source
    ------
    Schrimpf et al. 2020, Neuron 108:413.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> assembly = to_brainscore(planted_responses(n_items=2))
    >>> dict(assembly.sizes)
    {'presentation': 4, 'neuroid': 48}
    >>> assembly["stimulus_id"].values.tolist()
    ['A00_0', 'A01_0', 'B00_0', 'B01_0']
    """
    check_response_dims(responses)
    n_stimuli, n_layers, n_features = responses.shape
    layers, features = (_labels(responses, dim) for dim in (LAYER, FEATURE))
    columns = {
        str(n): c.values for n, c in responses.coords.items() if c.dims == (STIMULUS,) and n != STIMULUS
    }
    _check_columns(list(columns))
    presentations = {"stimulus_id": _labels(responses, STIMULUS), **columns}
    neuroids = {
        "neuroid_id": np.array([f"{layer}.{feature}" for layer in layers for feature in features], dtype=str),
        "neuroid_num": np.tile(features, n_layers),
        LAYER: np.repeat(layers, n_features),
    }
    name = stimulus_set(responses)
    site = str(responses.attrs.get("site", ""))
    attrs = {"identifier": "-".join(filter(None, (name, site))), "stimulus_set_identifier": name}
    coords = {key: (PRESENTATION, values) for key, values in presentations.items()}
    assembly = xr.DataArray(
        responses.values.reshape(n_stimuli, n_layers * n_features),
        dims=(PRESENTATION, NEUROID),
        coords=coords | {key: (NEUROID, values) for key, values in neuroids.items()},
        name=responses.name,
        attrs=plain_attrs(responses.attrs) | attrs,
    )
    return assembly.set_index(presentation=list(presentations), neuroid=list(neuroids))


def _labels(responses: xr.DataArray, dim: str) -> np.ndarray:
    return responses[dim].values if dim in responses.coords else np.arange(responses.sizes[dim])


def _check_columns(columns: list[str]) -> None:
    taken = [name for name in columns if name in (*_NEUROID_LEVELS, "stimulus_id", PRESENTATION, NEUROID)]
    if taken:
        raise DesignError(
            f"the stimuli have a column {taken[0]!r}, which is the name of a level of the assembly. Rename "
            f"it, as in responses.rename({taken[0]}=...)."
        )
