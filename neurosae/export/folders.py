"""A result as a folder of ``.npy`` files with its labels as tables."""

import json
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from neurosae.export.code_rows import ROW_ARRAYS, write_rows
from neurosae.export.code_tables import code_tables, layers_of
from neurosae.export.flat import SCHEMA, flat, new_folder, plain, plain_attrs
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.names import FEATURE
from neurosae.schema.provenance import Labelled

DESCRIPTION = "description.json"


def to_numpy(result: Labelled | SparseRecording, path: Path | str, *, overwrite: bool = False) -> Path:
    r"""A folder that plain numpy reads: one ``.npy`` file a variable, its labels beside it.

    ``NAME.npy`` holds a variable with its dims in the order of the result; lazy values are written chunk by
    chunk. ``DIM.tsv`` holds all labels along a dim, one row a position; coordinates over no or several dims
    are ``.npy`` files. ``description.json`` names the dims, dtype and attributes of each variable.

    Codes are written as compressed rows, ``layerN.indptr.npy``, ``.indices`` and ``.values``, one row a
    valid token, with ``row.tsv`` and ``stimulus.tsv`` as tables; ``scipy.sparse.csr_array((values, indices,
    indptr), shape)`` takes them, memory-mapped too.

    Parameters
    ----------
    result : DataArray, Dataset, or codes of a dictionary
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
    tables = code_tables(result) if isinstance(result, SparseRecording) else flat(result)
    with new_folder(path, DESCRIPTION, overwrite=overwrite) as part:
        labels = _write(tables, part)
        described = _description(tables, labels)
        if isinstance(result, SparseRecording):
            described["codes"] = _write_codes(result, part)
        text = json.dumps(described, indent=1, ensure_ascii=False, allow_nan=False)
        (part / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    return path


def _write_codes(codes: SparseRecording, folder: Path) -> dict[str, object]:
    """Write the codes of each layer as compressed rows, and give their names and shapes."""
    shape = [int(codes["valid"].sum()), codes.sizes[FEATURE]]
    described: dict[str, object] = {}
    for layer in layers_of(codes):
        names = {name: f"layer{layer}.{name}.npy" for name in ROW_ARRAYS}
        write_rows(codes, layer, {name: folder / file for name, file in names.items()})
        described[f"layer{layer}"] = {"shape": shape, **names}
    return described


def _write(dataset: xr.Dataset, folder: Path) -> dict[str, xr.Variable]:
    """Write arrays and tables of labels; the labels are given back."""
    labels = {str(name): c.variable for name, c in dataset.coords.items() if c.ndim == 1}
    arrays = {str(name): v for name, v in dataset.variables.items() if name not in labels}
    for name, variable in arrays.items():
        put_array(folder / f"{name}.npy", variable, name)
    for dim in dict.fromkeys(str(variable.dims[0]) for variable in labels.values()):
        columns = {name: plain(v, name) for name, v in labels.items() if v.dims == (dim,)}
        table = pd.DataFrame(columns)
        table.to_csv(folder / f"{dim}.tsv", sep="\t", index=False, na_rep="NaN", lineterminator="\n")
    return labels


def put_array(path: Path, variable: xr.Variable, name: str) -> None:
    """Write a variable as ``.npy``, chunk by chunk where it is lazy."""
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
