"""Pool activations over tokens: arrays (stimulus, token, feature) in memory, read a few stimuli at a time."""

import itertools
from collections.abc import Callable, Iterator, Mapping

import dask.array as da
import numpy as np
import xarray as xr

_BLOCK_BYTES = 64 * 2**20


def _mean(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    return _sum(values, window) / window.sum(axis=1)[:, None]


def _sum(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    return np.where(window[..., None], values, 0).sum(axis=1, dtype=np.float64)


def _final(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    last = window.shape[1] - 1 - np.argmax(window[:, ::-1], axis=1)
    return values[np.arange(len(values)), last]


def _max(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    return np.where(window[..., None], values, -np.inf).max(axis=1)


def _rate(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    return _mean(np.where(np.isnan(values), np.nan, values > 0), window)


def _mean_active(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    is_active = ~(values <= 0) & window[..., None]  # NaN counts as active, so that it shows in the result
    total, count = np.where(is_active, values, 0).sum(axis=1, dtype=np.float64), is_active.sum(axis=1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _top(values: np.ndarray, window: np.ndarray, m: int) -> np.ndarray:
    ranked = np.sort(np.where(window[..., None], values, -np.inf), axis=1)[:, ::-1][:, :m]
    is_there = np.arange(ranked.shape[1]) < window.sum(axis=1)[:, None]
    return _mean(ranked, is_there)


POOLINGS: Mapping[str, Callable[..., np.ndarray]] = {
    "mean": _mean,
    "last": _final,
    "target": _final,
    "max": _max,
    "sum": _sum,
    "rate": _rate,
    "mean_active": _mean_active,
    "topm": _top,
}
"""Poolings by name: values (stimulus, token, feature) and window (stimulus, token) to (stimulus, feature)."""


def pool_arrays(
    recording: xr.DataArray, masks: np.ndarray, is_kept: np.ndarray, name: str, m: int | None
) -> np.ndarray:
    """Responses (stimulus, part, layer, feature) of the kept stimuli, read a few stimuli at a time."""
    extra = () if m is None else (m,)
    position = np.cumsum(is_kept) - 1
    values = np.empty((is_kept.sum(), len(masks), *recording.shape[2:]), dtype=recording.dtype)
    for layer, stimuli, block in _blocks(recording, is_kept):
        for part, mask in enumerate(masks):
            values[position[stimuli], part, layer] = POOLINGS[name](block, mask[stimuli], *extra)
    return values


def _blocks(recording: xr.DataArray, is_kept: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Layer, numbers of the kept stimuli and their values; each chunk on disk is read once."""
    data = recording.data
    n_stimuli, n_tokens, n_layers, n_features = data.shape
    at_once = max(1, _BLOCK_BYTES // max(1, n_tokens * n_features * data.dtype.itemsize))
    bounds = np.arange(0, n_stimuli + at_once, at_once).clip(max=n_stimuli)
    if isinstance(data, da.Array):
        bounds = np.cumsum([0, *data.chunks[0]])
    for layer in range(n_layers):
        for start, stop in itertools.pairwise(bounds):
            kept = np.flatnonzero(is_kept[start:stop])
            if len(kept):
                yield layer, kept + start, np.asarray(data[start:stop, :, layer])[kept]
