"""The codes of one dictionary on disk: shards by token, and beside them one file by feature.

The file by feature is made of the shards once these are complete. It answers "where does this feature fire?"
without reading the rest, and can be removed and made again.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording.by_feature import put_by_feature
from neurosae.recording.code_shard import CodeShard, check_origin, read_codes, write_code_shard
from neurosae.recording.files import reading_netcdf, sweep_parts, writing_netcdf
from neurosae.recording.manifest import TABLES, append_entry, check_size, enter, entries, is_intact, sealed
from neurosae.recording.seals import check_content
from neurosae.recording.store import layer_name, shard_name


@dataclass(frozen=True)
class StoredCodes:
    """Codes of one dictionary, read from its store as they are asked for.

    folder : of the store
    layer : block number
    files : shards in their order
    bounds : (n_shards + 1,) first row of each shard, then the number of rows
    index : the file by feature, or "" where there is none yet
    origin : id of the recording; files that were replaced by those of another are refused
    hashes : SHA-256 of each shard
    index_hash : SHA-256 of the file by feature
    """

    folder: Path
    layer: int
    n_features: int
    files: tuple[str, ...]
    bounds: tuple[int, ...]
    index: str
    origin: str = ""
    hashes: tuple[str, ...] = ()
    index_hash: str = ""

    @property
    def n_rows(self) -> int:
        """Number of tokens."""
        return self.bounds[-1]

    def rows(self, start: int, stop: int) -> sp.csr_array:
        """Codes (stop - start, n_features) of consecutive tokens.

        Raises
        ------
        CorruptFileError
            If a file is not what was written.
        """
        parts = [
            read_codes(self._checked(number), max(start - a, 0), min(stop, b) - a, self.origin)
            for number, (a, b) in enumerate(itertools.pairwise(self.bounds))
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
            If a file is not what was written.
        """
        if not self.index:
            parts = [part[:, start:stop] for part in _parts(self)]
            return _by_feature(parts, 0, stop - start)
        check_content(self.folder / self.index, self.index_hash)
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

    def _checked(self, number: int) -> Path:
        path = self.folder / self.files[number]
        check_content(path, self.hashes[number])
        return path


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
    append_entry(folder, put_code_shard(folder, number, shard, attrs), writer=writer)


def put_code_shard(
    folder: Path,
    number: int,
    shard: CodeShard,
    attrs: Mapping[str, object],
    *,
    fit: Mapping[str, float] | None = None,
) -> dict[str, object]:
    """Write one shard of codes and give its entry for a manifest, with the fit measured on it if any.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    name = shard_name(number)
    write_code_shard(folder / name, shard, attrs)
    labels = shard.stimuli["stimulus"].tolist()
    entry = {
        "shard": name,
        "stimuli": labels,
        "rows": int(shard.codes.shape[0]),
        "entries": int(shard.codes.nnz),
        **(fit or {}),
    }
    return sealed(folder, entry, name)


def open_codes(folder: Path) -> StoredCodes:
    """The codes of a finished store, its tables checked by SHA-256 and its other files by size.

    Raises
    ------
    StorageError
        If the store is not finished, or its tables were removed.
    CorruptFileError
        If a file is missing, truncated or longer than it was written, or the tables were altered.
    """
    if not (folder / TABLES).exists():
        raise StorageError(
            f"{folder / TABLES} is missing. Make the codes with encode() again, or, where a session holds "
            "codes alone, restore the folder or record again with overwrite."
        )
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
    hashes = tuple(shards[name]["sha256"] for name in names)
    index_hash = indices[index]["sha256"] if index else ""
    return StoredCodes(folder, layer, n_features, tuple(names), bounds, index, origin, hashes, index_hash)


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
    parts = functools.partial(_parts, codes)
    with writing_netcdf(folder / name) as file:
        n_entries = put_by_feature(file, parts, codes.n_rows, np.arange(codes.n_features))
        file.setncatts(attrs)
    enter(folder, {"layer": name, "rows": codes.n_rows, "entries": n_entries}, name)


def _attrs(codes: StoredCodes) -> dict[str, object]:
    with reading_netcdf(codes.folder / TABLES) as file:
        inherited = {name: file.getncattr(name) for name in file.ncattrs()}
    return {**inherited, "layer": np.int32(codes.layer), "n_rows": np.int32(codes.n_rows)}


def _parts(codes: StoredCodes) -> Iterator[sp.csr_array]:
    return (codes.rows(start, stop) for start, stop in itertools.pairwise(codes.bounds))
