"""Save any result as one portable NetCDF file, load it back identical, or turn it into a tidy table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import netCDF4
import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import CorruptFileError, DesignError, StorageError
from neurosae.recording.encoding import check_name, decode_attrs, encode_attrs
from neurosae.recording.files import check_writable, reading_netcdf, writing_netcdf
from neurosae.recording.portable import EMPTY, get_variable, make_variable, put_variable
from neurosae.schema.provenance import Labelled
from neurosae.schema.spelling import listed

SCHEMA = "neurosae-result/1"
CONVENTIONS = "CF-1.12"

_SCHEMA, _ARRAY, _NAME, _ROLE = "neurosae_schema", "neurosae_array", "neurosae_name", "neurosae_role"
_OWN = (_SCHEMA, _ARRAY, _NAME, EMPTY, "Conventions", "coordinates")
_OWN_VARIABLE = ("dtype", "_Encoding", "_FillValue", _ROLE)


def save_netcdf(result: Labelled, path: Path | str, *, overwrite: bool = False) -> Path:
    """Save a result so that `load_netcdf` gives it back identical.

    The file keeps to what R, MATLAB, Octave, ncdump and Panoply read: text as UTF-8 characters, bool as
    bytes, whole numbers as int32 or, where they do not fit, float64; absent values are NaN. It appears under
    its name only when it is complete. Those programs show dimensions in reverse order, and indices count
    from 0.

    Parameters
    ----------
    result : DataArray or Dataset; lazy values are computed and written chunk by chunk
    path : file to write, by custom ending in ``.nc``
    overwrite : replace a file that exists

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    StorageError
        If ``path`` exists, cannot be written, or something in ``result`` has no portable form: an attribute
        that is None, bool, a list or a dict, a multi-index, a date, text with a NUL character.

    Examples
    --------
    >>> import tempfile
    >>> effect = xr.DataArray([0.5, 1.0], dims="layer", name="effect", attrs={"units": "SD"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_netcdf(save_netcdf(effect, Path(folder) / "effect.nc")).identical(effect)
    True
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise StorageError(f"{path} exists. Write overwrite=True to replace it, or choose another name.")
    check_writable(path.parent)
    variables, attrs = _parts(result)
    with writing_netcdf(path) as file:
        for name, (variable, is_coordinate) in variables.items():
            _put(file, name, variable, {_ROLE: "coordinate"} if is_coordinate else {})
        file.setncatts(encode_attrs(attrs, "the result"))
    return path


def _parts(result: Labelled) -> tuple[dict[str, tuple[xr.Variable, bool]], dict[Any, object]]:
    """Variables by name, each with whether it is a coordinate, and the attributes of the file."""
    own: dict[Any, object] = {_SCHEMA: SCHEMA, "Conventions": CONVENTIONS}
    if isinstance(result, xr.DataArray):
        stored = "values" if result.name is None or result.name in result.coords else check_name(result.name)
        own |= {_ARRAY: stored} | ({} if result.name is None else {_NAME: str(result.name)})
        data, attrs = {stored: result.variable}, {}
    else:
        data, attrs = (
            {check_name(name): result.variables[name] for name in result.data_vars},
            dict(result.attrs),
        )
        _check_reserved(attrs, _OWN, "the result")
    coordinates = {check_name(name): _coordinate(result, name) for name in result.coords}
    names = [name for name in coordinates if name not in result.dims and " " not in name]
    own |= {"coordinates": " ".join(names)} if names else {}
    every = {n: (v, True) for n, v in coordinates.items()} | {n: (v, False) for n, v in data.items()}
    return every, {**attrs, **own}


def _coordinate(result: Labelled, name: object) -> xr.Variable:
    variable = result.coords[name].variable
    if isinstance(result.indexes.get(name), pd.MultiIndex):
        raise StorageError(f"coordinate {name!r} is a multi-index. Call reset_index({name!r}) first.")
    return variable


def _check_reserved(attrs: Mapping[Any, object], reserved: Sequence[str], what: str) -> None:
    taken = [name for name in attrs if name in reserved]
    if taken:
        raise StorageError(f"the attribute {taken[0]!r} of {what} is one that neurosae writes. Remove it.")


def _put(file: netCDF4.Dataset, name: str, variable: xr.Variable, own: Mapping[str, str]) -> None:
    _check_reserved(variable.attrs, _OWN_VARIABLE, repr(name))
    attrs = {**variable.attrs, **own}
    dims = [check_name(dim) for dim in variable.dims]
    lazy = isinstance(variable.data, da.Array) and variable.dtype in (np.float32, np.float64)
    if not lazy or not variable.size:
        put_variable(file, name, dims, np.asarray(variable.values), attrs)
        return
    target = make_variable(file, name, dims, variable.shape, variable.dtype.str[1:])
    target.setncatts(encode_attrs(attrs, name))
    target.set_auto_maskandscale(False)
    for place in da.core.slices_from_chunks(variable.data.chunks):
        # this thread holds the NetCDF lock, so that other threads could not read what is computed here
        target[place] = variable.data[place].compute(scheduler="synchronous")


def load_netcdf(path: Path | str) -> Labelled:
    """Load a result that `save_netcdf` wrote, identical to what was saved and entirely in memory.

    Parameters
    ----------
    path : file

    Returns
    -------
    DataArray or Dataset, whichever was saved

    Raises
    ------
    StorageError
        If there is no such file, another program or a newer neurosae wrote it.
    CorruptFileError
        If it is truncated, altered or no NetCDF-4 file.

    Examples
    --------
    >>> load_netcdf("no/such/file.nc")
    Traceback (most recent call last):
    neurosae.errors.StorageError: ...
    """
    path = Path(path)
    with reading_netcdf(path) as file:
        attrs = decode_attrs({name: file.getncattr(name) for name in file.ncattrs()})
        _check_schema(path, str(attrs.get(_SCHEMA, "")))
        parts = {name: get_variable(file, name) for name in file.variables}
    return _assemble(path, parts, attrs)


def _check_schema(path: Path, schema: str) -> None:
    if not schema:
        raise StorageError(
            f"{path} is a NetCDF file of another program. Open it with xarray.open_dataset; load_netcdf "
            "reads what save_netcdf wrote."
        )
    if schema.split(".")[0] != SCHEMA:
        raise StorageError(
            f"{path} has format {schema}, this version reads {SCHEMA}. Install the neurosae that wrote it."
        )


def _assemble(
    path: Path,
    parts: Mapping[str, tuple[tuple[str, ...], np.ndarray, dict[str, object]]],
    attrs: Mapping[str, object],
) -> Labelled:
    data: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, (dims, values, own) in parts.items():
        is_coordinate = own.pop(_ROLE, "") == "coordinate"
        (coords if is_coordinate else data)[name] = (dims, values, own)
    array = str(attrs.get(_ARRAY, ""))
    if array:
        if array not in data:
            raise CorruptFileError(f"{path}: the variable {array!r} is missing. Write the file again.")
        dims, values, own = data[array]
        return xr.DataArray(values, dims=dims, coords=coords, name=attrs.get(_NAME), attrs=own)
    return xr.Dataset(data, coords, {name: value for name, value in attrs.items() if name not in _OWN})


def to_table(result: Labelled, *, dims: Sequence[str] | None = None) -> pd.DataFrame:
    """A result as a tidy table: one row a combination of labels, one column a quantity.

    Parameters
    ----------
    result : DataArray or Dataset
    dims : what a row is, by default the dims of the first variable. Variables and coordinates over a part of
        these dims are repeated; those over other dims are left out and listed in ``attrs["left_out"]``.

    Returns
    -------
    DataFrame
        One column per dim, then coordinates, then variables, in their order.

    Raises
    ------
    DesignError
        If ``dims`` names a dim that ``result`` lacks.

    Examples
    --------
    >>> effect = xr.DataArray([[0.5, 1.0]], dims=("layer", "feature"), coords={"layer": [6]}, name="effect")
    >>> to_table(effect)
       layer  feature  effect
    0      6        0     0.5
    1      6        1     1.0
    """
    dataset = _as_dataset(result)
    first = next(iter(dataset.data_vars.values()), None)
    rows = list(dims) if dims is not None else ([] if first is None else [str(dim) for dim in first.dims])
    missing = [dim for dim in rows if dim not in dataset.dims]
    if missing:
        raise DesignError(f"the result has no dim {missing[0]!r}; dims: {listed(map(str, dataset.dims))}.")
    fitting = [name for name in dataset.variables if set(dataset[name].dims) <= set(rows)]
    coords = [name for name in dataset.coords if name in fitting and name not in rows]
    columns = [*coords, *(name for name in dataset.data_vars if name in fitting)]
    table = _broadcast(dataset, rows, columns)
    table.attrs["left_out"] = [str(name) for name in dataset.variables if name not in fitting]
    return table


def _as_dataset(result: Labelled) -> xr.Dataset:
    if isinstance(result, xr.Dataset):
        return result
    name = "values" if result.name is None or result.name in result.coords else result.name
    return result.to_dataset(name=name)


def _broadcast(dataset: xr.Dataset, rows: Sequence[str], columns: Sequence[object]) -> pd.DataFrame:
    shape = tuple(dataset.sizes[dim] for dim in rows)
    grid = np.indices(shape).reshape(len(rows), int(np.prod(shape)))
    labels = {dim: dataset[dim].values[index] for dim, index in zip(rows, grid, strict=True)}
    sizes = dict(zip(rows, shape, strict=True))
    values = {str(name): dataset[name].variable.set_dims(sizes).values.ravel() for name in columns}
    return pd.DataFrame({**labels, **values})
