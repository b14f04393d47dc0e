"""Variables in the types and filters that every NetCDF reader has, and a check that files keep to them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from neurosae.recording.encoding import check_name, decode, decode_attrs, encode, encode_attrs
from neurosae.recording.files import reading_netcdf

EMPTY = "empty_dimensions"
"""File attribute that names the dimensions of length 0: NetCDF gives them length 1, as 0 means unlimited."""

DEFLATE: Mapping[str, Any] = {"compression": "zlib", "complevel": 1, "shuffle": True}
CHECKSUM: Mapping[str, Any] = {"fletcher32": True}
"""Filters: deflated data is checked by zlib itself, plain data needs a checksum."""

_TYPES = ("i1", "i4", "f4", "f8")
_SMALL = 64  # arrays up to this size are not worth a deflate chunk
_READABLE_FILTERS = {"zlib", "shuffle", "fletcher32", "complevel"}
_LONGEST_COORDINATE = 10_000_000  # R reads coordinate variables whole when it opens a file


def put_variable(
    file: netCDF4.Dataset,
    name: str,
    dims: Sequence[str],
    values: np.ndarray,
    attrs: Mapping[Any, object] | None = None,
) -> netCDF4.Variable:
    """Write an array of any supported type as the variable ``name``, making its dimensions where needed."""
    stored, own = encode(values, name)
    if own.get("dtype") == "str":
        dims = (*dims, f"strlen_{name}")
    variable = make_variable(file, name, dims, stored.shape, stored.dtype.str[1:])
    _write(variable, encode_attrs({**(attrs or {}), **own}, name), stored)
    return variable


def _write(variable: netCDF4.Variable, attrs: Mapping[str, object], stored: np.ndarray) -> None:
    variable.setncatts(dict(attrs))
    variable.set_auto_maskandscale(False)
    variable.set_auto_chartostring(False)
    variable[...] = stored if stored.size else np.zeros(variable.shape, dtype=stored.dtype)


def make_variable(
    file: netCDF4.Dataset,
    name: str,
    dims: Sequence[str],
    shape: Sequence[int],
    dtype: str,
    **filters: Any,
) -> netCDF4.Variable:
    """An empty variable, deflated by default if it is large, under checksum if it is not."""
    for dim, size in zip(dims, shape, strict=True):
        _make_dimension(file, dim, size)
    if not filters and dims:
        filters = dict(DEFLATE if np.prod(shape) > _SMALL else CHECKSUM)
    return file.createVariable(check_name(name), dtype, tuple(dims), fill_value=False, **filters)


def _make_dimension(file: netCDF4.Dataset, dim: str, size: int) -> None:
    if dim in file.dimensions:
        return
    file.createDimension(check_name(dim), size or 1)
    if not size:
        known = getattr(file, EMPTY, "")
        file.setncattr(EMPTY, f"{known}; {dim}" if known else dim)


def get_variable(file: netCDF4.Dataset, name: str) -> tuple[tuple[str, ...], np.ndarray, dict[str, object]]:
    """Dims, values in their original type, and attributes of a variable that `put_variable` wrote."""
    variable = file.variables[name]
    attrs = decode_attrs({key: variable.getncattr(key) for key in variable.ncattrs()})
    dtype = str(attrs.pop("dtype", ""))
    attrs.pop("_Encoding", None)
    empty = str(getattr(file, EMPTY, "")).split("; ")
    inside = tuple(slice(0) if dim in empty else slice(None) for dim in variable.dimensions)
    values = decode(np.asarray(variable[...])[inside], dtype)
    return tuple(variable.dimensions[: values.ndim]), values, attrs


def check_portable(path: Path | str) -> list[str]:
    """What in a NetCDF file some common reader cannot read, or reads wrongly.

    Looks at types, filters and structure only; no values are read.

    Returns
    -------
    list of str
        One sentence a problem; empty if R, MATLAB, Octave, ncdump and Panoply can all read the file.

    Raises
    ------
    CorruptFileError
        If the file cannot be opened at all.
    """
    with reading_netcdf(Path(path)) as file:
        problems = [] if file.data_model == "NETCDF4_CLASSIC" else [f"data model is {file.data_model}"]
        problems += [f"group {name!r}" for name in file.groups]
        problems += [
            f"user-defined type {name!r}" for name in (*file.vltypes, *file.enumtypes, *file.cmptypes)
        ]
        problems += [problem for dim in file.dimensions.values() for problem in _dimension_problems(dim)]
        problems += [problem for var in file.variables.values() for problem in _variable_problems(var)]
        problems += _attribute_problems("the file", file)
    return problems + _superblock_problems(Path(path))


def _dimension_problems(dim: netCDF4.Dimension) -> list[str]:
    problems = [f"dimension {dim.name!r} is unlimited"] if dim.isunlimited() else []
    return problems + ([f"dimension {dim.name!r} exceeds 2**31"] if dim.size >= 2**31 else [])


def _variable_problems(variable: netCDF4.Variable) -> list[str]:
    name, dtype = variable.name, variable.dtype
    known = isinstance(dtype, np.dtype) and (dtype == "S1" or dtype.str[1:] in _TYPES)
    problems = [] if known else [f"variable {name!r} has type {dtype}"]
    filters = {key for key, used in (variable.filters() or {}).items() if used} - _READABLE_FILTERS
    problems += [f"variable {name!r} uses the filter {used}" for used in sorted(filters)]
    if variable.dimensions == (name,) and variable.size > _LONGEST_COORDINATE:
        problems.append(f"coordinate variable {name!r} has {variable.size} values")
    return problems + _attribute_problems(f"variable {name!r}", variable)


def _attribute_problems(owner: str, holder: netCDF4.Dataset | netCDF4.Variable) -> list[str]:
    values = {name: holder.getncattr(name) for name in holder.ncattrs()}
    types = {name: np.asarray(value).dtype for name, value in values.items() if not isinstance(value, str)}
    return [
        f"attribute {name!r} of {owner} has type {dtype}"
        for name, dtype in types.items()
        if dtype.str[1:] not in _TYPES
    ]


def _superblock_problems(path: Path) -> list[str]:
    with open(path, "rb") as file:
        version = file.read(9)[8]
    return [f"HDF5 superblock version {version} is too new for older readers"] if version > 2 else []
