"""Compare codes on disk with their counts, and the file by feature with the shards it is made of."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from neurosae.recording.files import reading_netcdf

_ENTRIES_AT_ONCE = 2**20


def code_problems(path: Path, entry: Mapping[str, Any]) -> Iterator[str]:
    """What in a shard of codes contradicts itself or its line in the manifest."""
    with reading_netcdf(path) as file:
        n_features = int(file.getncattr("n_features"))
        counts = np.asarray(file["active_count"][:], dtype=np.int64)
        special = np.asarray(file["is_special"][:]).astype(bool)
        n_rows = int(file["token_count"][:].sum())
        yield from _count_problems(counts, n_rows, _n_entries(file), int(entry["entries"]))
        if len(counts) == len(special) and counts[special].any():
            yield "has codes of special tokens"
        yield from _run_problems(file, "feature_index", counts, n_features)


def index_problems(folder: Path, name: str, shards: Sequence[str]) -> Iterator[str]:
    """What in a file by feature contradicts itself or the shards beside it.

    Codes are compared by a sum over (row, feature, code) that does not depend on their order.
    """
    with reading_netcdf(folder / name) as file:
        n_features = int(file.getncattr("n_features"))
        counts = np.asarray(file["row_count"][:], dtype=np.int64)
        if np.asarray(file["feature"][:]).tolist() != list(range(n_features)):
            yield "names other features than it holds"
        yield from _count_problems(counts, n_features, _n_entries(file), None)
        yield from _run_problems(file, "row_index", counts, int(file.getncattr("n_rows")))
    if by_feature(folder / name) != by_row(folder, shards):
        yield "is made of other shards than those beside it"


def by_feature(path: Path) -> tuple[int, int]:
    """Number of codes in a file by feature, and their sum that does not depend on order."""
    with reading_netcdf(path) as file:
        pointers = _pointers(file["row_count"])
        total = [
            _sum(_part(file, "row_index", a, b), _owners(pointers, a, b), _part(file, "activation", a, b))
            for a, b in _parts(int(pointers[-1]))
        ]
    return int(pointers[-1]), sum(total) % 2**64


def by_row(folder: Path, shards: Sequence[str]) -> tuple[int, int]:
    """The same of all shards together."""
    row, n, total = 0, 0, 0
    for name in shards:
        with reading_netcdf(folder / name) as file:
            pointers = _pointers(file["active_count"])
            for a, b in _parts(int(pointers[-1])):
                feature, value = _part(file, "feature_index", a, b), _part(file, "activation", a, b)
                total += _sum(_owners(pointers, a, b) + row, feature, value)
        row, n = row + len(pointers) - 1, n + int(pointers[-1])
    return n, total % 2**64


def _n_entries(file: netCDF4.Dataset) -> int:
    """Entries that were written: a dim of length 0 is stored with length 1."""
    is_empty = "entry" in str(getattr(file, "empty_dimensions", "")).split("; ")
    return 0 if is_empty else int(file.dimensions["entry"].size)


def _count_problems(counts: np.ndarray, n: int, held: int, entered: int | None) -> Iterator[str]:
    if len(counts) != n:
        yield f"counts the codes of {len(counts)} instead of {n}"
    if (counts < 0).any() or counts.sum() != held:
        yield f"counts {counts.sum()} codes and holds {held}"
    elif entered is not None and held != entered:
        yield f"holds {held} codes, the manifest says {entered}"


def _run_problems(file: netCDF4.Dataset, name: str, counts: np.ndarray, size: int) -> Iterator[str]:
    """Whether indices are in range and rise strictly within each run, and codes are finite and not 0."""
    pointers = np.concatenate([[0], np.cumsum(counts)])
    before = -1
    for a, b in _parts(min(int(pointers[-1]), _n_entries(file))):
        index, values = _part(file, name, a, b), _part(file, "activation", a, b)
        if index.min() < 0 or index.max() >= size:
            yield f"has {name} beyond {size - 1}"
        is_first = np.zeros(b - a, dtype=bool)
        inside = pointers[(pointers >= a) & (pointers < b)] - a
        is_first[inside] = True
        if not (is_first | (np.diff(index, prepend=before) > 0)).all():
            yield f"has {name} that does not rise"
        if not np.isfinite(values).all() or not values.all():
            yield "has codes that are 0, NaN or infinite"
        before = int(index[-1])


def _pointers(counts: netCDF4.Variable) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.asarray(counts[:], dtype=np.int64))])


def _owners(pointers: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Which run each entry belongs to."""
    return np.searchsorted(pointers, np.arange(start, stop), side="right") - 1


def _part(file: netCDF4.Dataset, name: str, start: int, stop: int) -> np.ndarray:
    return np.asarray(file[name][start:stop])


def _parts(n: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, _ENTRIES_AT_ONCE):
        yield start, min(start + _ENTRIES_AT_ONCE, n)


def _sum(rows: np.ndarray, features: np.ndarray, values: np.ndarray) -> int:
    """Sum of a well-mixed number of each (row, feature, code); the mixing is that of SplitMix64.

    Source
    ------
    Steele, Lea & Flood 2014, Fast splittable pseudorandom number generators, OOPSLA.
    """
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    mixed = _mix(_mix(rows.astype(np.uint64)) + features.astype(np.uint64))
    return int(_mix(mixed + bits).sum(dtype=np.uint64))


def _mix(number: np.ndarray) -> np.ndarray:
    number = number + np.uint64(0x9E3779B97F4A7C15)
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))
