"""The codes of one dictionary on disk: shards by token, and beside them one file by feature.

The file by feature is made of the shards once these are complete. It answers "where does this feature fire?"
without reading the rest, and can be removed and made again.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np
import scipy.sparse as sp

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording.code_shard import (
    CodeShard,
    check_origin,
    code_attrs,
    index_attrs,
    make_entry,
    read_codes,
    write_code_shard,
)
from neurosae.recording.files import reading_netcdf, sweep_parts, writing_netcdf
from neurosae.recording.manifest import TABLES, check_size, enter, entries, is_intact
from neurosae.recording.portable import put_variable
from neurosae.recording.store import layer_name, shard_name

CHUNK_ENTRIES = 16_384
"""Entries of a file by feature that are compressed together: little more is read than one feature holds."""

ENTRIES_AT_ONCE = 2**23
"""Entries in memory while the file by feature is written; the shards are read once for each so many."""


@dataclass(frozen=True)
class StoredCodes:
    """Codes of one dictionary, read from its store as they are asked for.

    folder : of the store
    layer : block number
    files : shards in their order
    bounds : (n_shards + 1,) first row of each shard, then the number of rows
    index : the file by feature, or "" where there is none yet
    origin : id of the recording; files that were replaced by those of another are refused
    """

    folder: Path
    layer: int
    n_features: int
    files: tuple[str, ...]
    bounds: tuple[int, ...]
    index: str
    origin: str = ""

    @property
    def n_rows(self) -> int:
        """Number of tokens."""
        return self.bounds[-1]

    def rows(self, start: int, stop: int) -> sp.csr_array:
        """Codes (stop - start, n_features) of consecutive tokens.

        Raises
        ------
        CorruptFileError
            If a file fails its checksum.
        """
        parts = [
            read_codes(self.folder / file, max(start - a, 0), min(stop, b) - a, self.origin)
            for file, a, b in zip(self.files, self.bounds[:-1], self.bounds[1:], strict=True)
            if a < stop and start < b
        ]
        if not parts:
            return sp.csr_array((0, self.n_features), dtype=np.float32)
        return sp.csr_array(sp.vstack(parts, format="csr")) if len(parts) > 1 else parts[0]

    def columns(self, start: int, stop: int) -> sp.csc_array:
        """Codes (n_rows, stop - start) of consecutive features; quick where the file by feature is there.

        Raises
        ------
        CorruptFileError
            If a file fails its checksum.
        """
        if not self.index:
            return _by_feature([self.rows(a, b) for a, b in itertools.pairwise(self.bounds)], start, stop)
        with reading_netcdf(self.folder / self.index) as file:
            check_origin(self.folder / self.index, file, self.origin)
            counts = np.asarray(file["row_count"][:], dtype=np.int64)
            pointers = np.concatenate([[0], np.cumsum(counts)])
            first, last = int(pointers[start]), int(pointers[stop])
            rows = np.asarray(file["row_index"][first:last])
            values = np.asarray(file["activation"][first:last])
        return sp.csc_array(
            (values, rows, pointers[start : stop + 1] - first), shape=(self.n_rows, stop - start)
        )


def _by_feature(parts: list[sp.csr_array], start: int, stop: int) -> sp.csc_array:
    width = stop - start
    kept = [part if width == part.shape[1] else part[:, start:stop] for part in parts]
    return sp.csc_array(sp.vstack(kept, format="csr")) if kept else sp.csc_array((0, width), dtype=np.float32)


def add_code_shard(
    folder: Path, number: int, shard: CodeShard, attrs: Mapping[str, object], *, writer: str = ""
) -> None:
    """Write one shard of codes, then enter it into the manifest of ``writer``.

    Raises
    ------
    StorageError
        If either cannot be written.
    """
    name = shard_name(number)
    write_code_shard(folder / name, shard, attrs)
    labels = shard.stimuli["stimulus"].tolist()
    entry = {
        "shard": name,
        "stimuli": labels,
        "rows": int(shard.codes.shape[0]),
        "entries": int(shard.codes.nnz),
    }
    enter(folder, entry, name, writer=writer)


def open_codes(folder: Path) -> StoredCodes:
    """The codes of a finished store, its tables checked by SHA-256 and its other files by size.

    Raises
    ------
    StorageError
        If the store is not finished.
    CorruptFileError
        If a file is missing, truncated or longer than it was written, or the tables were altered.
    """
    if not (folder / TABLES).exists():
        raise StorageError(f"{folder}: the codes are not finished. Run the same command again to continue.")
    for name, entry in entries(folder, "tables").items():
        if not is_intact(folder, name, entry):
            raise CorruptFileError(f"{folder / name} is not what was written. Restore it or record again.")
    shards, indices = entries(folder, "shard"), entries(folder, "layer")
    for name, entry in (
        shards | {name: its for name, its in indices.items() if (folder / name).exists()}
    ).items():
        check_size(folder / name, entry["bytes"])
    with reading_netcdf(folder / TABLES) as file:
        n_features, origin = int(file.getncattr("n_features")), str(file.getncattr("id"))
        layer, n_rows = int(file["layer"][0]), int(file["token_count"][:].sum())
    names = sorted(shards)
    bounds = tuple(int(bound) for bound in np.cumsum([0, *(shards[name]["rows"] for name in names)]))
    if bounds[-1] != n_rows:
        raise CorruptFileError(f"{folder}: the manifest names {bounds[-1]} of {n_rows} rows. Record again.")
    index = (
        layer_name(layer) if layer_name(layer) in indices and (folder / layer_name(layer)).exists() else ""
    )
    return StoredCodes(folder, layer, n_features, tuple(names), bounds, index, origin)


def index_codes(folder: Path) -> None:
    """Make the file by feature of a finished store, unless it is there and whole; the shards stay.

    Raises
    ------
    StorageError
        If the store is not finished, or the file cannot be written.
    CorruptFileError
        If a shard is damaged.
    """
    codes = open_codes(folder)
    name = layer_name(codes.layer)
    known = entries(folder, "layer")
    if name in known and is_intact(folder, name, known[name]):
        return
    sweep_parts(folder / "layers")
    attrs = _attrs(codes)
    moments = _moments(codes)
    with writing_netcdf(folder / name) as file:
        for variable, (values, its) in _summaries(moments).items():
            put_variable(file, variable, ("feature",), values, its)
        _put_columns(file, codes, moments["row_count"].astype(np.int64))
        file.setncatts(attrs)
    enter(folder, {"layer": name, "rows": codes.n_rows, "entries": int(moments["row_count"].sum())}, name)


def _attrs(codes: StoredCodes) -> dict[str, object]:
    with reading_netcdf(codes.folder / TABLES) as file:
        inherited = {name: file.getncattr(name) for name in file.ncattrs()}
    return {**inherited, "layer": np.int32(codes.layer), "n_rows": np.int32(codes.n_rows)}


def _parts(codes: StoredCodes) -> Iterator[sp.csr_array]:
    return (codes.rows(start, stop) for start, stop in itertools.pairwise(codes.bounds))


def _moments(codes: StoredCodes) -> dict[str, np.ndarray]:
    """Of each feature: number of codes, their largest, sum and sum of squares; one pass over the shards."""
    size = codes.n_features
    found = {"row_count": np.zeros(size), "sum": np.zeros(size), "square": np.zeros(size)}
    largest = np.zeros(size, dtype=np.float32)
    for part in _parts(codes):
        found["row_count"] += np.bincount(part.indices, minlength=size)
        found["sum"] += np.bincount(part.indices, weights=part.data, minlength=size)
        found["square"] += np.bincount(
            part.indices, weights=part.data.astype(np.float64) ** 2, minlength=size
        )
        np.maximum.at(largest, part.indices, part.data)
    return {**found, "largest": largest}


def _summaries(moments: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, dict[str, str]]]:
    count = {
        "long_name": "number of tokens with this feature active",
        "units": "1",
        "sample_dimension": "entry",
    }
    return {
        "feature": (np.arange(len(moments["sum"])), {"long_name": "feature"}),
        "row_count": (moments["row_count"].astype(np.int64), count),
        "activation_max": (moments["largest"], {"long_name": "largest code", "units": "1"}),
        "activation_sum": (moments["sum"], {"long_name": "sum of codes", "units": "1"}),
        "activation_sumsq": (moments["square"], {"long_name": "sum of squared codes", "units": "1"}),
    }


def _put_columns(file: netCDF4.Dataset, codes: StoredCodes, counts: np.ndarray) -> None:
    """Write the entries feature by feature, a range of features at a time."""
    total = int(counts.sum())
    make = functools.partial(make_entry, file, size=total, chunk=CHUNK_ENTRIES)
    rows = make("row_index", dtype="i4", attrs=index_attrs("token", codes.n_rows))
    values = make("activation", dtype="f4", attrs=code_attrs())
    pointers = np.concatenate([[0], np.cumsum(counts)])
    for start, stop in feature_ranges(counts, ENTRIES_AT_ONCE):
        block = _by_feature([part[:, start:stop] for part in _parts(codes)], 0, stop - start)
        first, last = int(pointers[start]), int(pointers[stop])
        if block.nnz != last - first:
            raise CorruptFileError(f"{codes.folder}: a shard changed while it was read. Try again.")
        if last > first:
            rows[first:last] = block.indices.astype(np.int32, copy=False)
            values[first:last] = block.data


def feature_ranges(counts: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Consecutive features, as (first, end), that hold at most ``most`` entries, or are one feature.

    Examples
    --------
    >>> list(feature_ranges(np.array([3, 3, 9, 0, 1]), 6))
    [(0, 2), (2, 3), (3, 5)]
    """
    start, held = 0, 0
    for number, count in enumerate(counts.tolist()):
        if number > start and held + count > most:
            yield start, number
            start, held = number, 0
        held += count
    yield start, len(counts)
