"""Compare what the files of a session say, each with itself and with the others.

What the files hold is read in parts, so that memory does not grow with the recording. Whether their bytes are
those that were written is another question, see `neurosae.recording.upkeep.damaged`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neurosae.errors import StorageError
from neurosae.recording.code_checks import code_problems, index_problems
from neurosae.recording.files import reading_netcdf
from neurosae.recording.manifest import TABLES, entries, is_consolidated
from neurosae.recording.portable import check_portable
from neurosae.recording.session import read_header
from neurosae.recording.shard import Tables, read_tables
from neurosae.recording.store import layer_name

Problem = tuple[str, str]
"""A file, relative to its store or session, and what is wrong with it."""

_SHARED = ("id", "config_sha256")
_WHOLE_STORE = ("is_sink", "stimulus_index")
"""Fields that shards lack, or count from their own first stimulus."""


def misfits(path: Path | str) -> list[Problem]:
    """What in a session contradicts itself: files, each with the first thing that is wrong with it.

    Parameters
    ----------
    path : folder of the session

    Returns
    -------
    list of (str, str)
        File, relative to the session, and a phrase; empty if all fits.

    Raises
    ------
    StorageError
        If ``path`` holds no session.
    CorruptFileError
        If its header or a manifest cannot be read at all.
    """
    path = Path(path)
    header = read_header(path)
    own = {"id": header["provenance"]["recording"]["id"], "config_sha256": header["config_sha256"]}
    found = [(site, problem) for site in header["sites"] for problem in _raw(path / site, own)]
    for its in header.get("dictionaries", ()):
        found += [(its["folder"], problem) for problem in _codes(path / its["folder"], own, its)]
    first: dict[str, str] = {}
    for store, (name, problem) in found:
        first.setdefault(f"{store}/{name}", problem)
    return list(first.items())


def unportable(path: Path | str) -> list[Problem]:
    """Files of a session that some common NetCDF reader cannot read, each with what hinders it."""
    path = Path(path)
    files = sorted(path.rglob("*.nc"))
    return [(str(file.relative_to(path)), problem) for file in files for problem in check_portable(file)[:1]]


def _raw(folder: Path, own: Mapping[str, Any]) -> Iterator[Problem]:
    consolidated = is_consolidated(folder)
    shards = {} if consolidated else entries(folder, "shard")
    yield from _tables_against_shards(folder, own, shards, codes=False)
    if consolidated:
        for layer in read_tables(folder / TABLES).layers:
            yield from _guarded(layer_name(int(layer)), _layer_problems, folder, layer_name(int(layer)), own)


def _codes(folder: Path, own: Mapping[str, Any], described: Mapping[str, Any]) -> Iterator[Problem]:
    shards = entries(folder, "shard")
    yield from _tables_against_shards(folder, own, shards, codes=True)
    name = layer_name(int(described["layer"]))
    if (folder / name).exists():
        yield from _guarded(name, _origin_problems, folder / name, own)
        yield from _guarded(name, index_problems, folder, name, sorted(shards))


def _guarded(name: str, check: Any, *arguments: object) -> Iterator[Problem]:
    """Problems that a check yields; a file that cannot be read is one as well."""
    try:
        for problem in check(*arguments):
            yield name, problem
    except StorageError as error:
        yield name, str(error)
    except (KeyError, IndexError, ValueError) as error:
        yield name, f"lacks what such a file holds ({error})"


def _tables_against_shards(
    folder: Path, own: Mapping[str, Any], shards: Mapping[str, Mapping[str, Any]], *, codes: bool
) -> Iterator[Problem]:
    """Each shard alone, then all together against the tables of the store."""
    yield from _guarded(TABLES, _file_problems, folder / TABLES, own)
    try:
        whole = read_tables(folder / TABLES)
    except StorageError as error:
        yield TABLES, str(error)
        return
    first, row = 0, 0
    for name in sorted(shards):
        entry = shards[name]
        yield from _guarded(name, _file_problems, folder / name, own)
        yield from _guarded(name, _shard_problems, folder / name, entry, whole, first, row)
        yield from _guarded(name, code_problems if codes else _shape_problems, folder / name, entry)
        first, row = first + len(entry["stimuli"]), row + int(entry["rows"])
    if shards and (first, row) != (len(whole.stimuli), len(whole.norm)):
        held = f"{len(whole.stimuli)} stimuli and {len(whole.norm)} rows"
        yield TABLES, f"has {held}, the shards {first} and {row}"


def _file_problems(path: Path, own: Mapping[str, Any]) -> Iterator[str]:
    """Problems of any file with tables: what it belongs to, and whether its counts and spans add up."""
    yield from _origin_problems(path, own)
    with reading_netcdf(path) as file:
        counts = np.asarray(file["token_count"][:], dtype=np.int64)
    yield from table_problems(read_tables(path), counts)


def _origin_problems(path: Path, own: Mapping[str, Any]) -> Iterator[str]:
    with reading_netcdf(path) as file:
        attrs = {key: file.getncattr(key) for key in _SHARED if key in file.ncattrs()}
    for key in _SHARED:
        if attrs.get(key) != own[key]:
            yield f"has {key} {attrs.get(key)!r}, the session {own[key]!r}"


def table_problems(tables: Tables, counts: np.ndarray) -> Iterator[str]:
    """What in the tables of a file contradicts itself.

    Parameters
    ----------
    tables : of the file
    counts : (stimulus,) int, number of tokens of each stimulus
    """
    labels = tables.stimuli["stimulus"].tolist()
    n_rows = len(tables.norm)
    if len(set(labels)) < len(labels):
        yield "names a stimulus twice"
    if (counts < 0).any() or counts.sum() != n_rows:
        yield f"counts {counts.sum()} tokens and holds {n_rows}"
        return
    if not np.array_equal(tables.rows["stimulus_index"], np.repeat(np.arange(len(counts)), counts)):
        yield "has rows that belong to other stimuli than counted"
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    if not np.array_equal(tables.rows["token_position"], np.arange(n_rows) - starts):
        yield "has token positions that do not count from 0 in each stimulus"
    yield from _span_problems(tables)


def _span_problems(tables: Tables) -> Iterator[str]:
    if not {"target_start", "target_end"} <= set(tables.stimuli):
        return
    start = tables.stimuli["target_start"].to_numpy(dtype=np.int64)
    end = tables.stimuli["target_end"].to_numpy(dtype=np.int64)
    length = tables.stimuli["text"].str.len().to_numpy()
    is_none = (start == -1) & (end == -1)
    if not (is_none | ((start >= 0) & (start < end) & (end <= length))).all():
        yield "has a target outside of its text"


def _shard_problems(
    path: Path, entry: Mapping[str, Any], whole: Tables, first: int, row: int
) -> Iterator[str]:
    """A shard against its line in the manifest, and against its part of the tables of the store."""
    part = read_tables(path)
    labels, n_rows = part.stimuli["stimulus"].tolist(), len(part.norm)
    if labels != entry["stimuli"] or n_rows != entry["rows"]:
        yield "holds other stimuli or rows than the manifest says"
    if labels != whole.stimuli["stimulus"].iloc[first : first + len(labels)].tolist():
        yield f"holds other stimuli than {TABLES}"
    if part.layers.tolist() != whole.layers.tolist():
        yield f"holds layers {part.layers.tolist()}, {TABLES} {whole.layers.tolist()}"
        return
    for name in set(part.rows) & set(whole.rows) - set(_WHOLE_STORE):
        if not _same(part.rows[name], whole.rows[name][row : row + n_rows]):
            yield f"differs from {TABLES} in {name}"
    if not _same(part.norm, whole.norm[row : row + n_rows]):
        yield f"differs from {TABLES} in norm"


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _shape_problems(path: Path, _entry: Mapping[str, Any]) -> Iterator[str]:
    with reading_netcdf(path) as file:
        shape, n_rows = file["activation"].shape, int(file["token_count"][:].sum())
        n_layers = file["layer"].size
    if shape[:2] != (n_rows, n_layers):
        yield f"has activations {shape} for {n_rows} rows and {n_layers} layers"


def _layer_problems(folder: Path, name: str, own: Mapping[str, Any]) -> Iterator[str]:
    """A file of one layer against the tables of its store."""
    with reading_netcdf(folder / TABLES) as file:
        needed = (int(file["token_count"][:].sum()), int(file.getncattr("n_features")))
    with reading_netcdf(folder / name) as file:
        shape = file["activation"].shape
    if shape != needed:
        yield f"has activations {shape}, {TABLES} {needed}"
    yield from _origin_problems(folder / name, own)
