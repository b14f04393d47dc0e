"""A result as a folder of ``.npy`` files with its labels as tables."""

import json
import os
import shutil
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import StorageError
from neurosae.export.flat import SCHEMA, check_free, flat, plain, plain_attrs
from neurosae.recording.files import replacing
from neurosae.schema.provenance import Labelled

DESCRIPTION = "description.json"


def to_numpy(result: Labelled, path: Path | str, *, overwrite: bool = False) -> Path:
    r"""A folder that plain numpy reads: one ``.npy`` file a variable, its labels beside it.

    ``NAME.npy`` holds a variable with its dims in the order of the result; lazy values are written chunk by
    chunk. ``DIM.tsv`` holds all labels along a dim, one row a position; coordinates over no or several dims
    are ``.npy`` files. ``description.json`` names the dims, dtype and attributes of each variable.

    Parameters
    ----------
    result : DataArray or Dataset
    path : folder to write
    overwrite : replace a folder that this function wrote

    Returns
    -------
    Path
        The folder written.

    Raises
    ------
    StorageError
        If ``path`` exists (with ``overwrite``: and is no such export), cannot be written, or a variable
        holds neither text, numbers nor bool.

    Notes
    -----
    Tables are UTF-8, separated by tabs, quoted where a label holds a tab, a quote or a line break; missing
    numbers are ``NaN``. Read them with ``pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)``,
    or labels such as 'NA' and '001' change.

    Examples
    --------
    >>> import tempfile
    >>> effect = xr.DataArray([[0.5, 1.0]], dims=("layer", "feature"), coords={"layer": [6]}, name="effect")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.load(to_numpy(effect, Path(folder) / "out") / "effect.npy")
    array([[0.5, 1. ]])
    """
    path = Path(path)
    dataset = flat(result)
    check_free(path, overwrite=overwrite)
    if path.exists() and not (path / DESCRIPTION).exists():
        raise StorageError(f"{path} was not written by to_numpy and is not replaced. Choose another name.")
    with replacing(path) as part:
        try:
            part.mkdir()
            _write(dataset, part)
            _sync_files(part)
            _set_aside(path, part)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return path


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


def _write(dataset: xr.Dataset, folder: Path) -> None:
    labels = {str(name): c.variable for name, c in dataset.coords.items() if c.ndim == 1}
    arrays = {str(name): v for name, v in dataset.variables.items() if name not in labels}
    for name, variable in arrays.items():
        _put_array(folder / f"{name}.npy", variable, name)
    for dim in dict.fromkeys(str(variable.dims[0]) for variable in labels.values()):
        columns = {name: plain(v, name) for name, v in labels.items() if v.dims == (dim,)}
        table = pd.DataFrame(columns)
        table.to_csv(folder / f"{dim}.tsv", sep="\t", index=False, na_rep="NaN", lineterminator="\n")
    text = json.dumps(_description(dataset, labels), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def _put_array(path: Path, variable: xr.Variable, name: str) -> None:
    if isinstance(variable.data, da.Array) and variable.size and variable.dtype.kind in "biuf":
        target = np.lib.format.open_memmap(path, "w+", variable.dtype, variable.shape)
        da.store(variable.data, target, scheduler="synchronous")
        target.flush()
    else:
        np.save(path, plain(variable, name), allow_pickle=False)


def _description(dataset: xr.Dataset, labels: dict[str, xr.Variable]) -> dict[str, object]:
    variables = {
        str(name): {
            "file": f"{variable.dims[0]}.tsv" if name in labels else f"{name}.npy",
            "role": "coordinate" if name in dataset.coords else "data",
            "dims": list(variable.dims),
            "shape": list(variable.shape),
            "dtype": "str" if variable.dtype.kind in "UTO" else variable.dtype.name,
            "attrs": plain_attrs(variable.attrs),
        }
        for name, variable in dataset.variables.items()
    }
    return {"schema": SCHEMA, "attrs": plain_attrs(dataset.attrs), "variables": variables}
