"""Responses of codes that stay sparse: pooled at once if they are small, as they are used if they are not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import scipy.sparse as sp

from neurosae.recording.codes import Codes
from neurosae.recording.entry_pooling import ENTRY_POOLINGS, SILENT, SINGLE, Runs, pooled_entries
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.names import FEATURE, LAYER

LARGE = 2**28
"""Bytes above which responses of codes are lazy."""

FEATURES_AT_ONCE = 1024
"""Features of a lazy chunk, and the most that are read together."""


@dataclass(frozen=True)
class PooledCodes:
    """Responses (stimulus, part, layer, feature) float32 of codes, made when they are indexed.

    The codes are read by feature: 8 bytes for each entry of the features that are read together.

    sources : codes of each layer
    first : (n_recorded + 1,) first row of each recorded stimulus
    picked : (stimulus,) place of each stimulus among those recorded
    features : (feature,) column of each
    part : (row,) part of the window that a token is in, -1 for none
    n_tokens : (stimulus, part) tokens in it
    unknown : (stimulus, part, layer) bool, where a token of it has no codes that are known
    pooling, silent : how runs are pooled, and the response of silence
    """

    sources: tuple[Codes, ...]
    first: np.ndarray
    picked: np.ndarray
    features: np.ndarray
    part: np.ndarray
    n_tokens: np.ndarray
    unknown: np.ndarray
    pooling: Callable[[Runs], np.ndarray]
    silent: float

    dtype = np.dtype(np.float32)
    ndim = 4

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the four dims."""
        return (*self.unknown.shape, len(self.features))

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        """Responses at slices or positions along each dim."""
        places = [np.arange(size)[its] for size, its in zip(self.shape, key, strict=True)]
        stimuli, parts, layers, features = (np.atleast_1d(place) for place in places)
        position = np.full(len(self.first) - 1, -1, dtype=np.int32)
        position[self.picked[stimuli]] = np.arange(len(stimuli))
        response = self._response(position, parts)
        n_tokens = self.n_tokens[np.ix_(stimuli, parts)].ravel()
        shape = (len(stimuli), len(parts), len(layers), len(features))
        out = np.full(shape, self.silent, dtype=np.float32)
        for place, layer in enumerate(layers):
            for columns, codes in _by_feature(self.sources[layer], self.features[features]):
                for of, feature, value in pooled_entries(codes, response, n_tokens, self.pooling):
                    out[(*np.divmod(of, len(parts)), place, columns[feature])] = value
        holder = position[self.picked[stimuli]]  # another row only where a stimulus was picked twice
        out = out if (holder == np.arange(len(stimuli))).all() else out[holder]
        out[self.unknown[np.ix_(stimuli, parts, layers)]] = np.nan
        return out.reshape([place.size for place in places if place.ndim])

    def _response(self, position: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Of each row, the number of its response among these parts of the stimuli, -1 for none.

        position : (n_recorded,) place of a recorded stimulus among those asked for, -1 for none
        """
        part = np.full(self.n_tokens.shape[1] + 1, -1, dtype=np.int32)  # the last for no part at all
        part[parts] = np.arange(len(parts))
        of_stimulus, of_part = np.repeat(position, np.diff(self.first)), part[self.part]
        return np.where((of_stimulus < 0) | (of_part < 0), -1, of_stimulus * len(parts) + of_part)


def _by_feature(source: Codes, features: np.ndarray) -> Iterator[tuple[np.ndarray, sp.csc_array]]:
    """Positions in ``features`` and their codes, neighbouring columns together."""
    order = np.argsort(features, kind="stable")
    column = features[order]
    start = 0
    while start < len(column):
        stop = int(np.searchsorted(column, column[start] + FEATURES_AT_ONCE))
        low, high = int(column[start]), int(column[stop - 1]) + 1
        codes, wanted = source.columns(low, high), column[start:stop] - low
        is_whole = len(wanted) == high - low
        yield order[start:stop], codes if is_whole else sp.csc_array(codes[:, wanted])
        start = stop


def pool_codes(
    recording: SparseRecording, masks: np.ndarray, is_kept: np.ndarray, how: str, m: int | None
) -> Any:
    """Responses of codes, pooled over windows; a dask array, though typed as anything, if they are large.

    A chunk of it is all stimuli, one part of the window, one layer and 1024 features. To make one takes the
    room of the chunk twice, 8 bytes for each code of these features, and about 200 MB.

    Parameters
    ----------
    recording : SparseRecording
    masks : (part, stimulus, token) bool, valid tokens of each part of the window; no token is in two parts
    is_kept : (stimulus,) bool
    how : one of `ENTRY_POOLINGS`
    m : for 'topm', how many

    Returns
    -------
    array (stimulus, part, layer, feature) float32, of the kept stimuli
    """
    counted = (_last_of(masks) if how in SINGLE else masks) & is_kept[:, None]
    pooled = _pooled_codes(recording, counted, is_kept, how, m)
    n_stimuli, n_parts, n_layers, n_features = pooled.shape
    if 4 * n_stimuli * n_parts * n_layers * n_features > LARGE:
        widths = np.diff([*range(0, n_features, FEATURES_AT_ONCE), n_features]).tolist()
        chunks = ((n_stimuli,), (1,) * n_parts, (1,) * n_layers, tuple(widths))
        return da.from_array(pooled, chunks=chunks, name=False, fancy=False)
    return (
        pooled[(slice(None),) * 4]
        if _is_narrow(pooled)
        else _by_stimulus(recording, counted, is_kept, pooled)
    )


def _is_narrow(pooled: PooledCodes) -> bool:
    """Whether less is read by feature than by stimulus."""
    if not len(pooled.features):
        return False
    span = int(np.ptp(pooled.features)) + 1
    share = len(pooled.picked) / (len(pooled.first) - 1)
    return span <= FEATURES_AT_ONCE and span < share * pooled.sources[0].n_features


def _last_of(masks: np.ndarray) -> np.ndarray:
    """The last token of each mask (part, stimulus, token)."""
    after = np.cumsum(masks[:, :, ::-1], axis=2)[:, :, ::-1]
    return masks & (after == 1)


def _pooled_codes(
    recording: SparseRecording, masks: np.ndarray, is_kept: np.ndarray, how: str, m: int | None
) -> PooledCodes:
    part = _part_of(masks)
    of_row = np.full(recording.first[-1], -1, dtype=np.int32)
    stimulus, token = np.nonzero(part >= 0)
    of_row[recording.first[recording.picked[stimulus]] + token] = part[stimulus, token]
    unknown = [(recording.unknown & mask[:, :, None]).any(axis=1)[is_kept] for mask in masks]
    pooling = ENTRY_POOLINGS[how]
    return PooledCodes(
        sources=recording.sources,
        first=recording.first,
        picked=recording.picked[is_kept],
        features=recording[FEATURE].values,
        part=of_row,
        n_tokens=masks.sum(axis=2)[:, is_kept].T,
        unknown=np.stack(unknown, axis=1),
        pooling=pooling if m is None else partial(pooling, m=m),
        silent=SILENT.get(how, 0.0),
    )


def _part_of(masks: np.ndarray) -> np.ndarray:
    """(stimulus, token) int32, the part that holds a token, -1 for none."""
    part = np.full(masks.shape[1:], -1, dtype=np.int32)
    for number, mask in enumerate(masks):
        part[mask] = number
    return part


def _by_stimulus(
    recording: SparseRecording, masks: np.ndarray, is_kept: np.ndarray, pooled: PooledCodes
) -> np.ndarray:
    """All responses at once, the codes read by stimulus."""
    n_parts, part, position = len(masks), _part_of(masks), np.cumsum(is_kept)[:, None] - 1
    response = np.where(part < 0, -1, position * n_parts + part)
    valid, n_tokens = recording["valid"].values, pooled.n_tokens.ravel()
    out = np.full(pooled.shape, pooled.silent, dtype=np.float32)
    for place, layer in enumerate(recording[LAYER].values):
        for stimuli, codes in recording.blocks(int(layer)):
            rows = response[stimuli][valid[stimuli]]
            for of, feature, value in pooled_entries(sp.csc_array(codes), rows, n_tokens, pooled.pooling):
                out[(*np.divmod(of, n_parts), place, feature)] = value
    out[pooled.unknown] = np.nan
    return out
