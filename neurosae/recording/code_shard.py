"""One file of codes: the active features of each token, one token after another, with the tables inside."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import scipy.sparse as sp

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording.codes import DIGITS
from neurosae.recording.files import reading_netcdf, writing_netcdf
from neurosae.recording.portable import DEFLATE, make_variable, put_variable
from neurosae.recording.shard import Tables, put_tables

CHUNK_ENTRIES = 65_536


@dataclass(frozen=True)
class CodeShard:
    """Codes of some stimuli in one dictionary.

    stimuli : their rows of the stimulus table
    rows : arrays over tokens, one stimulus after another; see `neurosae.recording.shard.token_rows`
    layer : block number of the dictionary
    norm : (row,) float32, norm of what was encoded; NaN or infinite where that was
    codes : csr_array (row, feature) float32
    """

    stimuli: pd.DataFrame
    rows: Mapping[str, np.ndarray]
    layer: int
    norm: np.ndarray
    codes: sp.csr_array


def write_code_shard(path: Path, shard: CodeShard, attrs: Mapping[str, object]) -> None:
    """Write one shard: compressed, and closed with checksums.

    Raises
    ------
    StorageError
        If the file cannot be written; nothing is left behind then.
    """
    tables = Tables(shard.stimuli, shard.rows, np.array([shard.layer]), shard.norm[:, None])
    with writing_netcdf(path) as file:
        put_tables(file, tables)
        put_entries(file, shard.codes)
        file.setncatts({**attrs, "n_features": np.int32(shard.codes.shape[1])})


def put_entries(file: netCDF4.Dataset, codes: sp.csr_array) -> None:
    """Write how many features are active in each row, which, and how much."""
    counts = {
        "long_name": "number of active features of the token",
        "units": "1",
        "sample_dimension": "entry",
    }
    put_variable(file, "active_count", ("row",), np.diff(codes.indptr).astype(np.int32), counts)
    put_entry(file, "feature_index", codes.indices, index_attrs("active feature", int(codes.shape[1])))
    put_entry(file, "activation", codes.data, code_attrs())


def index_attrs(what: str, size: int) -> dict[str, object]:
    """Attributes of a variable that counts from 0 to below ``size``."""
    return {
        "long_name": what,
        "start_index": np.int32(0),
        "valid_range": np.array([0, max(size - 1, 0)], np.int32),
    }


def code_attrs() -> dict[str, object]:
    """Attributes of the codes themselves."""
    return {"long_name": "code", "units": "1", "comment": f"rounded to {DIGITS + 1} binary digits"}


def put_entry(
    file: netCDF4.Dataset,
    name: str,
    values: np.ndarray,
    attrs: Mapping[str, object],
    *,
    chunk: int = CHUNK_ENTRIES,
) -> None:
    """Write a variable over ``entry``, int32 or float32."""
    dtype = "i4" if np.issubdtype(values.dtype, np.integer) else "f4"
    variable = make_entry(file, name, len(values), dtype, attrs, chunk=chunk)
    if len(values):
        variable[:] = values.astype(dtype, copy=False)


def make_entry(
    file: netCDF4.Dataset, name: str, size: int, dtype: str, attrs: Mapping[str, object], *, chunk: int
) -> netCDF4.Variable:
    """An empty variable over ``entry``, compressed."""
    if size >= 2**31:
        raise StorageError(
            f"{size:,} active features are more than a portable file counts (2**31). Record the stimuli in "
            "several sessions."
        )
    chunks = (min(max(size, 1), chunk),)
    variable = make_variable(file, name, ("entry",), (size,), dtype, chunksizes=chunks, **DEFLATE)
    variable.setncatts(dict(attrs))
    variable.set_auto_maskandscale(False)
    return variable


def read_codes(path: Path, start: int, stop: int, origin: str = "") -> sp.csr_array:
    """Codes (row, feature) of rows ``start`` to ``stop`` of a shard.

    Raises
    ------
    StorageError
        If ``origin`` is given and the file belongs to another recording than the one of that id.
    CorruptFileError
        If the file fails its checksum, or counts other entries than it holds.
    """
    with reading_netcdf(path) as file:
        check_origin(path, file, origin)
        n_features = int(file.getncattr("n_features"))
        counts = np.asarray(file["active_count"][:], dtype=np.int64)
        pointers = np.concatenate([[0], np.cumsum(counts)])
        first, last = int(pointers[start]), int(pointers[stop])
        indices = np.asarray(file["feature_index"][first:last])
        values = np.asarray(file["activation"][first:last])
    if len(values) != last - first or (len(indices) and not 0 <= indices.min() <= indices.max() < n_features):
        raise CorruptFileError(
            f"{path}: the codes do not fit their counts. Restore the file or record again."
        )
    return sp.csr_array(
        (values, indices, pointers[start : stop + 1] - first), shape=(stop - start, n_features)
    )


def check_origin(path: Path, file: netCDF4.Dataset, origin: str) -> None:
    """Refuse a file of another recording than the one that was opened.

    Raises
    ------
    StorageError
        If the ids differ.
    """
    if origin and file.getncattr("id") != origin:
        raise StorageError(f"{path} was recorded anew since it was opened. Open the session again.")
