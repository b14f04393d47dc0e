"""Codes written feature by feature, whatever the order and the amount in which they come."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import netCDF4
import numpy as np
import scipy.sparse as sp
import xarray as xr

from neurosae.errors import CorruptFileError
from neurosae.recording.code_shard import code_attrs, index_attrs, make_entry
from neurosae.recording.encoding import encode_attrs
from neurosae.recording.files import writing_netcdf
from neurosae.recording.portable import put_variable

Parts: TypeAlias = Callable[[], Iterable[sp.csr_array]]
"""Gives the codes (row, feature) of a layer from the first row on, in parts; called once a pass."""

CHUNK_ENTRIES = 16_384
"""Entries of a file by feature that are compressed together: little more is read than one feature holds."""

ENTRIES_AT_ONCE = 2**22
"""Entries in memory while codes are written by feature."""


def write_by_feature(path: Path, tables: xr.Dataset, parts: Parts, features: np.ndarray) -> None:
    """Write one file that needs no other: tables of stimuli and tokens, and the codes feature by feature.

    Parameters
    ----------
    path : file to write
    tables : variables over ``stimulus`` and ``row``, and the attributes of the file
    parts : the codes of the rows; their columns are ``features``
    features : their labels

    Raises
    ------
    StorageError
        If the file cannot be written, or something has no portable form.
    """
    with writing_netcdf(path) as file:
        for name, variable in tables.variables.items():
            dims = [str(dim) for dim in variable.dims]
            put_variable(file, str(name), dims, variable.values, dict(variable.attrs))
        put_by_feature(file, parts, tables.sizes["row"], features)
        file.setncatts(encode_attrs(tables.attrs, "the codes"))


def put_by_feature(file: netCDF4.Dataset, parts: Parts, n_rows: int, features: np.ndarray) -> int:
    """Write the codes of a layer feature by feature, and of each feature how often and how strong it is.

    Parameters
    ----------
    file : to write the variables feature, row_count, activation_max, activation_sum, activation_sumsq,
        row_index and activation into
    parts : the codes; their columns are ``features``
    n_rows : number of tokens
    features : their labels

    Returns
    -------
    int
        Number of codes that are not 0.

    Raises
    ------
    StorageError
        If there are more than a portable file counts.
    CorruptFileError
        If the codes change while they are read.
    """
    moments = _moments(parts, len(features))
    for name, (of_each, attrs) in _summaries(moments, features).items():
        put_variable(file, name, ("feature",), of_each, attrs)
    counts = moments["row_count"].astype(np.int64)
    total = int(counts.sum())
    rows = make_entry(file, "row_index", total, "i4", index_attrs("token", n_rows), chunk=CHUNK_ENTRIES)
    values = make_entry(file, "activation", total, "f4", code_attrs(), chunk=CHUNK_ENTRIES)
    first = 0
    for block in by_feature(parts, counts, Path(file.filepath()).parent):
        last = first + block.nnz
        if last > first:
            rows[first:last] = block.indices.astype(np.int32, copy=False)
            values[first:last] = block.data
        first = last
    return total


def by_feature(parts: Parts, counts: np.ndarray, folder: Path) -> Iterator[sp.csc_array]:
    """Codes (row, some features), consecutive features at a time, never many more than `ENTRIES_AT_ONCE`.

    Parameters
    ----------
    parts : the codes; they are read once
    counts : (feature,) how many of each feature are not 0
    folder : where the codes wait meanwhile, 8 bytes each, in a file without a name

    Raises
    ------
    CorruptFileError
        If these are not the counts.
    """
    with tempfile.TemporaryFile(dir=folder) as spool:
        places = [_spooled(spool, part) for part in parts()]
        for start, stop in feature_ranges(counts, ENTRIES_AT_ONCE):
            kept = [_columns(spool, place, start, stop) for place in places]
            shape = (0, stop - start)
            block = sp.csc_array(sp.vstack(kept, format="csc") if kept else sp.csc_array(shape))
            if not np.array_equal(np.diff(block.indptr), counts[start:stop]):
                raise CorruptFileError("the codes changed while they were read. Try again.")
            yield block


@dataclass(frozen=True)
class _Place:
    """Where a part is in the spool: its rows, then its codes, by feature; first of each (feature + 1,)."""

    offset: int
    n_rows: int
    first: np.ndarray


def _spooled(spool: BinaryIO, part: sp.csr_array) -> _Place:
    codes, place = sp.csc_array(part), spool.tell()
    codes.sort_indices()
    spool.write(codes.indices.astype(np.int32, copy=False).data)
    spool.write(codes.data.astype(np.float32, copy=False).data)
    return _Place(place, int(codes.shape[0]), codes.indptr)


def _columns(spool: BinaryIO, place: _Place, start: int, stop: int) -> sp.csc_array:
    first, last, total = (int(place.first[feature]) for feature in (start, stop, -1))
    found = []
    for offset, dtype in ((place.offset, np.int32), (place.offset + 4 * total, np.float32)):
        spool.seek(offset + 4 * first)
        found.append(np.frombuffer(spool.read(4 * (last - first)), dtype=dtype))
    rows, values = found
    pointers = place.first[start : stop + 1] - first
    return sp.csc_array((values, rows, pointers), shape=(place.n_rows, stop - start))


def _moments(parts: Parts, size: int) -> dict[str, np.ndarray]:
    """Of each feature: number of codes, their largest, sum and sum of squares; one pass."""
    found = {"row_count": np.zeros(size), "sum": np.zeros(size), "square": np.zeros(size)}
    largest = np.zeros(size, dtype=np.float32)
    for part in parts():
        indices, values = part.indices, part.data.astype(np.float64)
        found["row_count"] += np.bincount(indices, minlength=size)
        found["sum"] += np.bincount(indices, weights=values, minlength=size)
        found["square"] += np.bincount(indices, weights=values**2, minlength=size)
        np.maximum.at(largest, indices, part.data)
    return {**found, "largest": largest}


def _summaries(
    moments: Mapping[str, np.ndarray], features: np.ndarray
) -> dict[str, tuple[np.ndarray, dict[str, str]]]:
    count = {
        "long_name": "number of tokens with this feature active",
        "units": "1",
        "sample_dimension": "entry",
    }
    return {
        "feature": (features, {"long_name": "feature"}),
        "row_count": (moments["row_count"].astype(np.int64), count),
        "activation_max": (moments["largest"], {"long_name": "largest code", "units": "1"}),
        "activation_sum": (moments["sum"], {"long_name": "sum of codes", "units": "1"}),
        "activation_sumsq": (moments["square"], {"long_name": "sum of squared codes", "units": "1"}),
    }


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
    if len(counts):
        yield start, len(counts)
