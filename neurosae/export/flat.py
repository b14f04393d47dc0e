"""What every exporter starts from: plain variables with checked names, and a path that is free."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import StorageError
from neurosae.recording.encoding import check_name, encode
from neurosae.recording.files import check_writable, replacing
from neurosae.schema.provenance import Labelled

SCHEMA = "neurosae-export/1"


def flat(result: Labelled) -> xr.Dataset:
    """``result`` as a dataset; an array without a name of its own is called ``values``.

    Raises
    ------
    StorageError
        If a name cannot be a file or variable name, or a coordinate is a multi-index.
    """
    if isinstance(result, xr.DataArray):
        name = "values" if result.name is None or result.name in result.coords else result.name
        dataset = result.to_dataset(name=name)
    else:
        dataset = result
    for name in (*dataset.variables, *dataset.dims):
        check_name(name)
        if isinstance(dataset.indexes.get(name), pd.MultiIndex):
            raise StorageError(f"coordinate {name!r} is a multi-index. Call reset_index({name!r}) first.")
    return dataset


def plain(variable: xr.Variable, name: str) -> np.ndarray:
    """The values in memory, in native byte order, text as ``str``.

    Raises
    ------
    StorageError
        If they are objects, complex numbers, dates, or text that has a NUL character.
    """
    values = np.asarray(variable.values)
    if values.dtype.kind in "UTO":
        encode(values, name)  # refuses what is no text, as NetCDF files do
        return values.astype(str)
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise StorageError(
            f"{name!r} holds {values.dtype} values, which cannot be exported. Store text, numbers or bool."
        )
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("=")).reshape(values.shape)


def plain_attrs(attrs: Mapping[object, object]) -> dict[str, object]:
    """Attributes that JSON and MATLAB can hold: text, whole numbers, finite floats; the rest as text."""
    plain_types = (str, int, float)
    values = {str(key): v.item() if isinstance(v, np.generic) else v for key, v in attrs.items()}
    return {
        key: value if isinstance(value, plain_types) and not _is_endless(value) else str(value)
        for key, value in values.items()
    }


def _is_endless(value: object) -> bool:
    return isinstance(value, float) and not np.isfinite(value)


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when the block ends well.

    Raises
    ------
    StorageError
        If ``path`` exists and may not be replaced, is a folder, or cannot be written.
    """
    check_free(path, overwrite=overwrite)
    if path.is_dir():
        raise StorageError(f"{path} is a folder, and a file is to be written. Choose another name.")
    with replacing(path) as part:
        yield part


@contextmanager
def new_folder(path: Path, mark: str, *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the block ends well.

    Raises
    ------
    StorageError
        If ``path`` exists and may not be replaced, which without a file called ``mark`` inside it never may;
        or cannot be written.
    """
    check_free(path, overwrite=overwrite)
    if path.exists() and not (path / mark).exists():
        raise StorageError(
            f"{path} is no earlier export of this kind (it has no {mark}) and is not replaced. Choose "
            "another name."
        )
    with replacing(path) as part:
        try:
            part.mkdir()
            yield part
            _sync_files(part)
            _set_aside(path, part)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def _sync_files(folder: Path) -> None:
    """Force the files to disk, so that a power cut after the rename loses none of them."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _set_aside(path: Path, part: Path) -> None:
    """Remove the folder that is replaced, which a rename alone cannot do; first its name, then its files."""
    if path.exists():
        aside = part.with_name(f"{part.name}-old")
        os.replace(path, aside)
        shutil.rmtree(aside)


def check_fits(size: float, limit: int, what: str, remedy: str) -> None:
    """Refuse what takes more than ``limit`` bytes, before anything is computed.

    Raises
    ------
    StorageError
        With both sizes and the remedy.
    """
    if size >= limit:
        raise StorageError(
            f"the result takes {size / 1e9:,.1f} GB, and {what} {limit / 1e9:,.0f} GB. {remedy}"
        )


def check_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a path that exists, unless it may be replaced, and a folder that cannot be written to."""
    if path.exists() and not overwrite:
        raise StorageError(f"{path} exists. Write overwrite=True to replace it, or choose another name.")
    check_writable(path.parent)
