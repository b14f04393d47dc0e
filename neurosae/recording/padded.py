"""Ragged rows of tokens as padded arrays (stimulus, token), read no further than they are used."""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np

from neurosae.recording.shard import Tables
from neurosae.recording.store import Store
from neurosae.schema.names import NO_TARGET, NO_WORD

_BLOCK_BYTES = 64 * 2**20
_PADDING = {"token_id": -1, "char_start": -1, "char_end": -1, "word_index": NO_WORD, "rel_target": NO_TARGET}
_PADDING_TEXT = {"token": "", "surprisal": np.nan, "is_special": False, "is_sink": False}


@dataclass(frozen=True)
class PaddedRows:
    """Ragged rows of a store as an array (stimulus, token, layer, feature) that reads only what is indexed.

    keep : (stimulus, token) bool, where values are given; NaN elsewhere
    first : (n_stimuli + 1,) first row of each stimulus
    """

    store: Store
    first: np.ndarray
    keep: np.ndarray

    dtype = np.dtype(np.float32)
    ndim = 4

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the four dims."""
        return (*self.keep.shape, len(self.store.layers), self.store.n_features)

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        """Values at slices or positions along each dim."""
        places = [np.arange(size)[part] for size, part in zip(self.shape, key, strict=True)]
        stimuli, tokens, layers, features = (np.atleast_1d(place) for place in places)
        out = np.full((len(stimuli), len(tokens), len(layers), len(features)), np.nan, dtype=np.float32)
        if out.size:
            for index, layer in enumerate(layers):
                out[:, :, index] = self._layer(stimuli, tokens, int(layer), features)
        return out.reshape([place.size for place in places if place.ndim])

    def _layer(self, stimuli: np.ndarray, tokens: np.ndarray, layer: int, features: np.ndarray) -> np.ndarray:
        low, high = int(stimuli.min()), int(stimuli.max()) + 1
        start, stop = int(self.first[low]), int(self.first[high])
        span = slice(int(features.min()), int(features.max()) + 1)
        values = self.store.read(layer, start, stop, span)
        count = np.diff(self.first[low : high + 1])
        of_row = np.repeat(np.arange(low, high), count)
        position = np.arange(start, stop) - np.repeat(self.first[low:high], count)
        is_kept = self.keep[of_row, position]
        padded = np.full((high - low, self.keep.shape[1], values.shape[1]), np.nan, dtype=np.float32)
        padded[of_row[is_kept] - low, position[is_kept]] = values[is_kept]
        return padded[np.ix_(stimuli - low, tokens, features - span.start)]


def lazy_rows(store: Store, tables: Tables, keep: np.ndarray, name: str) -> Any:
    """A dask array, though typed as anything: recordings are declared with numpy arrays."""
    first = first_rows(tables)
    rows = PaddedRows(store, first, keep)
    n_stimuli, n_tokens, n_layers, n_features = rows.shape
    at_once = max(1, _BLOCK_BYTES // max(1, n_tokens * n_features * 4))
    chunks = (_chunks(store, first, n_stimuli, at_once), (n_tokens,), (1,) * n_layers, (n_features,))
    return da.from_array(rows, chunks=chunks, name=name, fancy=False)


def _chunks(store: Store, first: np.ndarray, n_stimuli: int, at_once: int) -> tuple[int, ...]:
    """Stimuli a chunk: as many as fit a block, never across two shards."""
    ends = np.searchsorted(first, store.bounds[1:], side="left")
    starts = [start for a, b in zip((0, *ends[:-1]), ends, strict=True) for start in range(a, b, at_once)]
    return tuple(np.diff([*starts, n_stimuli]).tolist())


def padded_fields(tables: Tables, *, mask: bool) -> dict[str, np.ndarray]:
    """Token fields (stimulus, token); with ``mask``, special tokens and sinks are not valid."""
    rows = tables.rows
    place = (rows["stimulus_index"], rows["token_position"])
    shape = (len(tables.stimuli), int(place[1].max(initial=-1)) + 1)
    fields = {}
    for name, filler in (_PADDING | _PADDING_TEXT).items():
        if name in rows:
            dtype = np.int32 if rows[name].dtype.kind == "i" else rows[name].dtype
            fields[name] = np.full(shape, filler, dtype=dtype)
            fields[name][place] = rows[name]
    fields["token_str"] = fields.pop("token")
    valid = np.zeros(shape, dtype=bool)
    valid[place] = ~rows["is_missing"] if "is_missing" in rows else True
    return {"valid": valid & ~(fields["is_special"] | fields["is_sink"]) if mask else valid, **fields}


def first_rows(tables: Tables) -> np.ndarray:
    """First row of each stimulus, then the number of rows: (n_stimuli + 1,)."""
    counts = np.bincount(tables.rows["stimulus_index"], minlength=len(tables.stimuli))
    return np.concatenate([[0], np.cumsum(counts)])
