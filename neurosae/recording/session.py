"""Open what was recorded: a session gives each site as a lazy, labelled recording."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording.shard import Tables, read_tables
from neurosae.recording.store import TABLES, Store, open_store
from neurosae.schema.names import NO_TARGET, NO_WORD, SINK_RATIO
from neurosae.schema.recordings import recording_array
from neurosae.schema.spelling import listed

SCHEMA = "neurosae-recording/1"
HEADER, PROTOCOL, STIMULI = "session.json", "protocol.toml", "stimuli.tsv"

_STAMPED = ("status", "sites", "provenance", "config", "config_sha256")
_NEEDED = {False: _STAMPED, True: (*_STAMPED, "counts", "exclusions")}
"""What a header holds, by whether the session is complete."""

_BLOCK_BYTES = 64 * 2**20
_PADDING = {"token_id": -1, "char_start": -1, "char_end": -1, "word_index": NO_WORD, "rel_target": NO_TARGET}
_PADDING_TEXT = {"token": "", "surprisal": np.nan, "is_special": False, "is_sink": False}


@dataclass(frozen=True, eq=False)
class Session:
    """A finished recording session: ``session["resid_post"]`` is the recording of a site.

    path : folder of the session
    protocol : the protocol it was recorded under, as read from ``protocol.toml``
    protocol_text : the same, as written
    stimuli : stimulus table, in the order of the recordings; attrs ``name`` and ``sha256``
    sites : recorded sites
    provenance : subject, stimuli, protocol and recording, by name and hash
    exclusions : table of stimuli that were cut or hold no valid token, with columns ``stimulus``, ``reason``
    counts : ``stimuli``, ``tokens``, and of these ``special``, ``sinks`` (not special), ``valid`` and
        ``non_finite`` (NaN or infinite activations at any site, kept as they are). Sinks are judged by
        residual norms: where no residual site is recorded, none is found
    """

    path: Path
    protocol: Mapping[str, Any]
    protocol_text: str
    stimuli: pd.DataFrame
    sites: tuple[str, ...]
    provenance: Mapping[str, Any]
    exclusions: pd.DataFrame
    counts: Mapping[str, int]

    def __getitem__(self, site: str) -> xr.DataArray:
        """The recording of ``site``, NaN at padding, special tokens and attention sinks."""
        return self.recording(site)

    def recording(self, site: str, *, mask: bool = True) -> xr.DataArray:
        """The recording of a site, lazy: activations are read when they are used.

        Parameters
        ----------
        site : one of ``sites``
        mask : NaN at special tokens and attention sinks; False keeps them, and ``valid`` then marks every
            token that is no padding

        Returns
        -------
        DataArray (stimulus, token, layer, feature) float32
            Chunked by layer and by stimuli.

        Raises
        ------
        StorageError
            If the site was not recorded.
        """
        if site not in self.sites:
            raise StorageError(f"{self.path}: site {site!r} was not recorded; sites: {listed(self.sites)}.")
        store = open_store(self.path / site)
        tables = read_tables(self.path / site / TABLES)
        tokens = _padded_fields(tables, mask=mask)
        origin = {**self.provenance, "recording": {**self.provenance["recording"], "site": site}}
        return recording_array(
            _lazy(store, tables, tokens["valid"], f"{site}-{origin['recording']['id']}-{mask}"),
            stimuli=tables.stimuli,
            tokens=tokens,
            layers=store.layers,
            site=site,
            origin=origin,
        )


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


def _lazy(store: Store, tables: Tables, keep: np.ndarray, name: str) -> Any:
    """A dask array, though typed as anything: recordings are declared with numpy arrays."""
    first = np.cumsum([0, *np.bincount(tables.rows["stimulus_index"], minlength=len(tables.stimuli))])
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


def _padded_fields(tables: Tables, *, mask: bool) -> dict[str, np.ndarray]:
    rows = tables.rows
    place = (rows["stimulus_index"], rows["token_position"])
    shape = (len(tables.stimuli), int(place[1].max(initial=-1)) + 1)
    fields = {}
    for name, filler in (_PADDING | _PADDING_TEXT).items():
        if name in rows:
            fields[name] = np.full(shape, filler, dtype=rows[name].dtype)
            fields[name][place] = rows[name]
    fields["token_str"] = fields.pop("token")
    valid = np.zeros(shape, dtype=bool)
    valid[place] = True
    return {"valid": valid & ~(fields["is_special"] | fields["is_sink"]) if mask else valid, **fields}


def sinks(tables: Tables) -> np.ndarray:
    """Which tokens are attention sinks, judged by their residual norms.

    is_sink = norm > SINK_RATIO x median norm of the layer over non-special tokens, at any layer. A norm that
    is NaN or infinite makes no sink: such a token stays in sight.

    Returns
    -------
    array (row,) bool

    Source
    ------
    Sun et al. 2024 (massive activations).
    """
    norm = np.where(np.isfinite(tables.norm), tables.norm, np.nan)
    ordinary = norm[~tables.rows["is_special"]]
    is_known = np.isfinite(ordinary).any(axis=0)
    median = np.nanmedian(ordinary[:, is_known], axis=0)
    return (norm[:, is_known] > SINK_RATIO * median).any(axis=1) & np.isfinite(tables.norm).all(axis=1)


def non_finite(tables: Tables) -> np.ndarray:
    """Which tokens have a NaN or infinite activation at any layer: (row,) bool."""
    return ~np.isfinite(tables.norm).all(axis=1)


def open_session(path: Path | str) -> Session:
    """Open a finished session; files are checked by size, activations stay on disk.

    Parameters
    ----------
    path : folder of the session

    Returns
    -------
    Session
        ``session["resid_post"]`` is the recording of a site.

    Raises
    ------
    StorageError
        If ``path`` holds no session, an unfinished one, or one of a newer format.
    CorruptFileError
        If a file is missing, truncated or unreadable.

    Examples
    --------
    >>> open_session("no/such/folder")
    Traceback (most recent call last):
    neurosae.errors.StorageError: no/such/folder holds no session (no session.json). Record one with record().
    """
    path = Path(path)
    header = read_header(path)
    if header["status"] != "complete":
        raise StorageError(f"{path}: the session is not finished. Call record again to continue it.")
    text, protocol = _read_protocol(path / PROTOCOL)
    sites = tuple(header["sites"])
    for site in sites:
        open_store(path / site)
    stimuli = read_tables(path / sites[0] / TABLES).stimuli
    stimuli.attrs = dict(header["provenance"]["stimuli"])
    return Session(
        path=path,
        protocol=protocol,
        protocol_text=text,
        stimuli=stimuli,
        sites=sites,
        provenance=header["provenance"],
        exclusions=pd.DataFrame(header["exclusions"], columns=["stimulus", "reason"]),
        counts=header["counts"],
    )


def read_header(path: Path) -> dict[str, Any]:
    """Content of ``session.json``.

    Raises
    ------
    StorageError
        If there is none, or its format is newer than this version reads.
    CorruptFileError
        If it is no JSON.
    """
    if not (path / HEADER).exists():
        raise StorageError(f"{path} holds no session (no {HEADER}). Record one with record().")
    try:
        header = json.loads((path / HEADER).read_text(encoding="utf-8"))
        schema = str(header["schema"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(f"{path / HEADER}: the file is damaged ({error}). Record again.") from error
    if schema.split(".")[0] != SCHEMA:
        raise StorageError(
            f"{path} has format {schema}, this version reads {SCHEMA}. Install the neurosae that wrote it."
        )
    missing = [name for name in _NEEDED[header.get("status") == "complete"] if name not in header]
    if missing:
        raise CorruptFileError(f"{path / HEADER}: the file is damaged (no {missing[0]!r}). Record again.")
    return dict(header)


def _read_protocol(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path}: the file is missing or damaged ({error}). Restore it.") from error
