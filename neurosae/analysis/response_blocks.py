"""Responses a block of features at a time: large ones, of a dictionary, are never in memory as a whole."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from neurosae.arrays.contrast_null import FEATURES
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.recordings import check_responses


def feature_blocks(responses: xr.DataArray, layer: int, used: np.ndarray) -> Iterator[np.ndarray]:
    """Responses of one layer, 1024 features at a time, the same blocks however they are stored.

    A lazy chunk is read once and dropped when its features were given out.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), numpy or lazy
    layer : position of the layer
    used : positions of the stimuli

    Yields
    ------
    array (len(used), at most 1024), finite

    Raises
    ------
    DesignError
        If values are NaN or infinite.
    """
    own = responses.isel({LAYER: [layer]})
    if len(used) < responses.sizes[STIMULUS]:
        own = own.isel({STIMULUS: used})
    held = np.empty((own.sizes[STIMULUS], 0), dtype=own.dtype)
    for part in _parts(own):
        held = np.concatenate([held, part], axis=1) if held.shape[1] else part
        n_full = held.shape[1] // FEATURES * FEATURES
        for start in range(0, n_full, FEATURES):
            yield held[:, start : start + FEATURES]
        held = held[:, n_full:].copy() if n_full else held
    if held.shape[1]:
        yield held


def _parts(own: xr.DataArray) -> Iterator[np.ndarray]:
    """Values (S, f) of one layer, whole lazy chunks of at least 1024 features at a time."""
    for features in _slices(own):
        part = own.isel({FEATURE: features})
        values = part.values[:, 0]
        if not np.isfinite(values).all():
            check_responses(part)
        yield values


def _slices(own: xr.DataArray) -> Iterator[slice]:
    n_features = own.sizes[FEATURE]
    if own.chunks is None:
        yield from (
            slice(start, min(start + FEATURES, n_features)) for start in range(0, n_features, FEATURES)
        )
        return
    start = stop = 0
    for width in own.chunksizes[FEATURE]:
        stop += width
        if stop - start >= FEATURES or stop == n_features:
            yield slice(start, stop)
            start = stop
