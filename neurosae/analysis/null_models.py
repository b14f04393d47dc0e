"""Data that keep one thing and lose the rest: what an analysis finds in them is not about the stimuli.

Each goes through the same analysis as the data. Two more null models change the subject or the dictionary
instead: an untrained copy (`neurosae.subject.catalogue.load_subject`) and random weights
(`neurosae.dictionary.random_weights`).
"""

from collections.abc import Callable

import numpy as np
import xarray as xr

from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, TOKEN
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_recording, check_response_dims
from neurosae.schema.spelling import nearest

N_TOKENS = "n_tokens"


def null_model(source: xr.DataArray, null: str, *, seed: int = 0) -> xr.DataArray:
    """A recording or responses that keep one property of the data and lose the rest.

    Parameters
    ----------
    source : recording (stimulus, token, layer, feature) or responses (stimulus, layer, feature)
    null : ``"shuffled_tokens"``, recordings: every valid token gets the activations of a random valid token
        of any stimulus, the same in all layers; lengths and the distribution of activations stay.
        ``"length_only"``, responses: each feature becomes what its regression on 1, n and log n tokens
        predicts; only what the number of tokens gives away stays.
        ``"random_directions"``, either: features become random orthonormal directions of their space, the
        same in all layers; patterns, distances and decoders of all features stay, single features go.
    seed : of the tokens and directions

    Returns
    -------
    DataArray like ``source``, in memory, with attribute ``null``

    Raises
    ------
    DesignError
        If the null model is unknown, or asks for a recording, responses, or a coordinate ``n_tokens``.

    Source
    ------
    Hewitt & Liang 2019, EMNLP (what a method finds by itself); Mezzadri 2007, Not Am Math Soc 54:592
    (random orthonormal matrices).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> responses = planted_responses(n_items=4)
    >>> rotated = null_model(responses, "random_directions")
    >>> same = np.allclose((rotated**2).sum("feature"), (responses**2).sum("feature"), rtol=1e-4)
    >>> same, np.allclose(rotated, responses)
    (True, False)
    """
    if null not in NULL_MODELS:
        known = list(NULL_MODELS)
        raise DesignError(f"no null model {null!r}{nearest(null, known)} Null models: {known}.")
    changed = NULL_MODELS[null](source, np.random.default_rng(seed))
    step = with_step(source, "null_model", null=null, seed=seed)
    return source.copy(data=changed).assign_attrs(null=null, seed=seed, **step)


def _shuffled_tokens(source: xr.DataArray, rng: np.random.Generator) -> np.ndarray:
    if TOKEN not in source.dims:
        raise DesignError("'shuffled_tokens' shuffles the tokens of a recording; responses have none left.")
    check_recording(source)
    places = np.nonzero(source["valid"].values)
    order = rng.permutation(len(places[0]))
    shuffled = []
    for layer in range(source.sizes[LAYER]):
        values = np.array(source.isel({LAYER: layer}).values)
        values[places] = values[places[0][order], places[1][order]]
        shuffled.append(values)
    return np.stack(shuffled, axis=source.dims.index(LAYER))


def _length_only(source: xr.DataArray, rng: np.random.Generator) -> np.ndarray:
    check_response_dims(source)
    if N_TOKENS not in source.coords or source[N_TOKENS].dims != (STIMULUS,):
        raise DesignError(f"'length_only' needs the coordinate {N_TOKENS!r}; pool a recording to get it.")
    n = source[N_TOKENS].values.astype(np.float64)
    length = np.column_stack([np.ones(len(n)), n, np.log(n)])
    layers = [source.isel({LAYER: layer}).values for layer in range(source.sizes[LAYER])]
    fitted = [length @ np.linalg.lstsq(length, values.astype(np.float64), rcond=None)[0] for values in layers]
    return np.stack(fitted, axis=source.dims.index(LAYER)).astype(source.dtype)


def _random_directions(source: xr.DataArray, rng: np.random.Generator) -> np.ndarray:
    n = source.sizes[FEATURE]
    matrix, triangle = np.linalg.qr(rng.standard_normal((n, n)))
    directions = (matrix * np.sign(np.diag(triangle))).astype(source.dtype)
    layers = [source.isel({LAYER: layer}).values @ directions for layer in range(source.sizes[LAYER])]
    return np.stack(layers, axis=source.dims.index(LAYER))


NULL_MODELS: dict[str, Callable[[xr.DataArray, np.random.Generator], np.ndarray]] = {
    "shuffled_tokens": _shuffled_tokens,
    "length_only": _length_only,
    "random_directions": _random_directions,
}
"""Null models of data by name."""
