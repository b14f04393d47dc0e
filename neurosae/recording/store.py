"""The recording of one site on disk: immutable shards under a manifest, later one compressed file per layer.

A shard counts from the moment the manifest names it. Consolidation writes the layer files beside the shards,
checks them, and only then removes the shards; it can be interrupted and started again.
"""

import hashlib
import itertools
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording.files import reading_netcdf, sweep_parts, writing_netcdf
from neurosae.recording.manifest import (
    CONSOLIDATED,
    TABLES,
    append_entry,
    check_size,
    enter,
    entries,
    is_consolidated,
    is_intact,
    sealed,
)
from neurosae.recording.portable import DEFLATE
from neurosae.recording.seals import check_content
from neurosae.recording.shard import (
    Shard,
    Tables,
    put_activation,
    put_tables,
    read_activation,
    read_tables,
    write_shard,
)

CHUNK_ROWS = 1600
"""Rows of a layer file that are compressed together: 3.7 MB at 576 features."""


@dataclass(frozen=True)
class Store:
    """Where the rows of one recording are.

    folder : of the store
    layers : block numbers, in the order of the files
    n_features : length of the last dim
    files : shards in their order, or one file per layer
    bounds : (n_shards + 1,) first row of each shard, then the number of rows; (0, n_rows) for layer files
    origin : id of the recording; files that were replaced by those of another are refused
    hashes : SHA-256 of each file
    """

    folder: Path
    layers: tuple[int, ...]
    n_features: int
    files: tuple[str, ...]
    bounds: tuple[int, ...]
    has_layers: bool
    origin: str = ""
    hashes: tuple[str, ...] = ()

    def read(self, layer: int, start: int, stop: int, features: slice = slice(None)) -> np.ndarray:
        """Activations of rows ``start`` to ``stop`` at the ``layer``-th layer: (row, feature) float32.

        Raises
        ------
        CorruptFileError
            If a file is not what was written.
        """
        if self.has_layers:
            return read_activation(self._checked(layer), None, start, stop, features, self.origin)
        parts = [
            read_activation(
                self._checked(number), layer, max(start - a, 0), min(stop, b) - a, features, self.origin
            )
            for number, (a, b) in enumerate(itertools.pairwise(self.bounds))
            if a < stop and start < b
        ]
        width = len(range(*features.indices(self.n_features)))
        return np.concatenate(parts) if parts else np.empty((0, width), dtype=np.float32)

    def _checked(self, number: int) -> Path:
        path = self.folder / self.files[number]
        check_content(path, self.hashes[number])
        return path


def shard_name(number: int) -> str:
    """File of a shard inside its store."""
    return f"shards/shard-{number:06d}.nc"


def layer_name(layer: int) -> str:
    """File of a layer inside its store."""
    return f"layers/layer-{layer:02d}.nc"


def add_shard(
    folder: Path, number: int, shard: Shard, attrs: Mapping[str, object], *, writer: str = ""
) -> None:
    """Write one shard, then enter it into the manifest of ``writer``.

    Raises
    ------
    StorageError
        If either cannot be written.
    """
    append_entry(folder, put_shard(folder, number, shard, attrs), writer=writer)


def put_shard(folder: Path, number: int, shard: Shard, attrs: Mapping[str, object]) -> dict[str, object]:
    """Write one shard and give its entry, which is for the manifest of whoever keeps that.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    name = shard_name(number)
    write_shard(folder / name, shard, attrs)
    entry = {"shard": name, "stimuli": shard.stimuli["stimulus"].tolist(), "rows": len(shard.activation)}
    return sealed(folder, entry, name)


def damaged_files(folder: Path) -> list[str]:
    """Files of a store that are missing or no longer what was written; reads every byte."""
    written = entries(folder, "layer" if is_consolidated(folder) else "shard") | entries(folder, "tables")
    return [name for name, entry in written.items() if not is_intact(folder, name, entry)]


def write_tables(folder: Path, tables: Tables, n_features: int, attrs: Mapping[str, object]) -> None:
    """Write the tables of the whole store, which is then finished."""
    with writing_netcdf(folder / TABLES) as file:
        put_tables(file, tables)
        file.setncatts({**attrs, "n_features": np.int32(n_features)})
    enter(folder, {"tables": TABLES}, TABLES)


def open_store(folder: Path) -> Store:
    """A finished store, its tables checked by SHA-256 and its other files by size.

    Raises
    ------
    StorageError
        If the store is not finished.
    CorruptFileError
        If a file is missing, truncated or longer than it was written, or the tables were altered.
    """
    if not (folder / TABLES).exists():
        raise StorageError(f"{folder}: the recording is not finished. Call record again to continue it.")
    for name, entry in entries(folder, "tables").items():
        if not is_intact(folder, name, entry):
            raise CorruptFileError(f"{folder / name} is not what was written. Restore it or record again.")
    tables = read_tables(folder / TABLES)
    has_layers = is_consolidated(folder)
    files = entries(folder, "layer" if has_layers else "shard")
    for name, entry in files.items():
        check_size(folder / name, entry["bytes"])
    names = sorted(files) if not has_layers else [layer_name(int(layer)) for layer in tables.layers]
    n_rows = len(tables.norm)
    counts = [n_rows] if has_layers else [files[name]["rows"] for name in names]
    if sum(counts) != n_rows or not set(names) <= set(files):
        raise CorruptFileError(f"{folder}: the manifest names {sum(counts)} of {n_rows} rows. Record again.")
    bounds = tuple(int(bound) for bound in np.cumsum([0, *counts]))
    layers = tuple(int(layer) for layer in tables.layers)
    n_features, origin = _identity(folder)
    hashes = tuple(files[name]["sha256"] for name in names)
    return Store(folder, layers, n_features, tuple(names), bounds, has_layers, origin, hashes)


def _identity(folder: Path) -> tuple[int, str]:
    with reading_netcdf(folder / TABLES) as file:
        return int(file.getncattr("n_features")), str(file.getncattr("id"))


def consolidate_store(folder: Path) -> None:
    """Turn the shards of a finished store into one compressed file per layer, then remove the shards.

    Parameters
    ----------
    folder : of the store, ``SESSION/SITE``

    Raises
    ------
    StorageError
        If the store is not finished or a file cannot be written.
    CorruptFileError
        If a shard is damaged, or a layer file does not read back as it was written; no shard is removed then.
    """
    store = open_store(folder)
    if not store.has_layers:
        sweep_parts(folder / "layers")
        known = entries(folder, "layer")
        for index, layer in enumerate(store.layers):
            name = layer_name(layer)
            if name not in known or not is_intact(folder, name, known[name]):
                _write_layer(store, index, folder / name)
                enter(folder, {"layer": name, "rows": store.bounds[-1]}, name)
        append_entry(folder, {"status": CONSOLIDATED})
    if (folder / "shards").exists():
        shutil.rmtree(folder / "shards")


def _write_layer(store: Store, index: int, path: Path) -> None:
    n_rows, n_features = store.bounds[-1], store.n_features
    written = hashlib.sha256()
    with writing_netcdf(path) as file:
        chunks = (min(max(n_rows, 1), CHUNK_ROWS), n_features)
        variable = put_activation(file, ("row", "feature"), (n_rows, n_features), chunks, **DEFLATE)
        file.setncatts(_layer_attrs(store, index))
        for start, stop in _blocks(n_rows):
            block = store.read(index, start, stop)
            variable[start:stop] = block
            written.update(block.tobytes())
    read = hashlib.sha256()
    for start, stop in _blocks(n_rows):
        read.update(read_activation(path, None, start, stop, slice(None)).tobytes())
    if read.digest() != written.digest():
        raise CorruptFileError(f"{path} does not read back as it was written. Check the disk and try again.")


def _blocks(n_rows: int) -> Iterator[tuple[int, int]]:
    """Whole chunks, so that none is compressed twice."""
    for start in range(0, n_rows, CHUNK_ROWS):
        yield start, min(start + CHUNK_ROWS, n_rows)


def _layer_attrs(store: Store, index: int) -> dict[str, object]:
    with reading_netcdf(store.folder / TABLES) as file:
        inherited = {name: file.getncattr(name) for name in file.ncattrs()}
    return {**inherited, "layer": np.int32(store.layers[index])}
