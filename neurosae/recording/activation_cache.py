"""Activations that sae-lens cached: a folder of Arrow files, one row a context."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from neurosae.dictionary.hook_names import site_and_layer
from neurosae.errors import CorruptFileError, DictionaryError, StorageError
from neurosae.recording.array_files import ArrayFile
from neurosae.schema.foreign_files import mistaken_for
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, TOKEN
from neurosae.schema.paths import contained

STATE, TOKEN_IDS = "state.json", "token_ids"


def is_cache(path: Path) -> bool:
    """Whether ``path`` is a folder as sae-lens caches activations in."""
    return (path / STATE).is_file()


def cache_files(path: Path) -> list[Path]:
    """The Arrow files of a cache, in their order.

    Raises
    ------
    CorruptFileError
        If the list of files is damaged or names files outside the folder, or one is missing.
    """
    try:
        named = [str(its["filename"]) for its in json.loads((path / STATE).read_text("utf-8"))["_data_files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptFileError(f"{path / STATE} is damaged ({error}). Fetch the cache again.") from None
    files = [contained(name, path, path) for name in named]
    wrong = [name for name, file in zip(named, files, strict=True) if file is None or not file.is_file()]
    if wrong or not files:
        raise CorruptFileError(
            f"{path}: the file {(wrong or ['data'])[0]!r} is missing. Fetch the cache again."
        )
    return [file for file in files if file is not None]


def read_cache(path: Path) -> tuple[ArrayFile, str]:
    """The activations of a cache and their site.

    Raises
    ------
    StorageError
        If pyarrow is not installed, or the cache holds no hook whose site and layer are known, or several.
    CorruptFileError
        If a file is missing or damaged.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise StorageError("an activation cache needs the package pyarrow. Install it: pip install pyarrow.")
    tables = [_table(file) for file in cache_files(path)]
    hooks = [name for name in tables[0].column_names if name != TOKEN_IDS]
    if len(hooks) != 1:
        raise StorageError(f"{path} holds {len(hooks)} hooks, {hooks}; one is read.")
    try:
        site, layer = site_and_layer(hooks[0])
    except DictionaryError as error:
        raise StorageError(f"{path}: {error}") from None
    arrays = [array for table in tables for array in _contexts(path, table, hooks[0])]
    labels = {LAYER: np.array([layer])}
    if TOKEN_IDS in tables[0].column_names:
        ids = [array for table in tables for array in _lists(path, table, TOKEN_IDS)]
        labels["token_id"] = np.concatenate(ids)
    return ArrayFile(da.concatenate(arrays), (STIMULUS, TOKEN, FEATURE), labels), site


def _table(file: Path) -> Any:
    """One Arrow file, mapped and not read."""
    pyarrow = importlib.import_module("pyarrow")
    what = mistaken_for(file)
    if what:
        raise CorruptFileError(f"{file} {what}")
    try:
        return pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all()
    except (pyarrow.ArrowException, OSError) as error:
        raise CorruptFileError(f"{file} is truncated or damaged ({error}). Fetch it again.") from None


def _contexts(path: Path, table: Any, name: str) -> list[da.Array]:
    """Activations (context, token, feature) of each batch of a table, as views of the file."""
    return [
        da.from_array(values, chunks=(max(1, 2**26 // max(1, values[:1].nbytes)), -1, -1), name=False)
        for values in _lists(path, table, name)
    ]


def _lists(path: Path, table: Any, name: str) -> list[np.ndarray]:
    """A column of nested lists as an array a batch; all lists of a depth must be of one length."""
    return [_nested(path, getattr(chunk, "storage", chunk)) for chunk in table.column(name).chunks]


def _nested(path: Path, column: Any) -> np.ndarray:
    pyarrow = importlib.import_module("pyarrow")
    shape = [len(column)]
    while pyarrow.types.is_nested(column.type):
        inner = column.flatten()
        width = len(inner) // max(len(column), 1)
        lengths = np.asarray(column.value_lengths()) if hasattr(column, "value_lengths") else width
        if column.null_count or not np.all(np.asarray(lengths) == width):
            raise CorruptFileError(f"{path}: contexts differ in length or are missing. Cache them again.")
        shape.append(width)
        column = inner
    if column.null_count:
        raise CorruptFileError(f"{path}: values are missing. Cache the activations again.")
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(shape)
