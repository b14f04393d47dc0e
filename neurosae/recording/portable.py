"""What every NetCDF reader can read: the few types and filters used, and a check that a file keeps to them.

R, MATLAB, Octave, ncdump and Panoply share int8, int32, float32, float64 and characters under shuffle and
deflate. Other types are mapped onto these, and the attribute ``dtype`` says what they were.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import netCDF4
import numpy as np

from neurosae.errors import StorageError
from neurosae.recording.files import reading_netcdf

EMPTY = "empty_dimensions"
"""File attribute that names the dimensions of length 0: NetCDF gives them length 1, as 0 means unlimited."""

WIDE = "int64_attributes"
"""Attribute that names the whole-number attributes which are stored as float64, being beyond int32."""

_STORED = {"i1": np.int8, "i4": np.int32, "f4": np.float32, "f8": np.float64}
_SMALL = 64  # arrays up to this size are not worth a deflate chunk
_INT32 = np.iinfo(np.int32)
_EXACT = 2**53  # whole numbers up to here are exact in float64
_READABLE_FILTERS = {"zlib", "shuffle", "fletcher32", "complevel"}
_LONGEST_COORDINATE = 10_000_000  # R reads coordinate variables whole when it opens a file
_DEFLATE = {"compression": "zlib", "complevel": 1, "shuffle": True}


def check_name(name: object) -> str:
    """``name`` if a variable, dimension or attribute may carry it in a NetCDF file.

    Raises
    ------
    StorageError
        If it is no text, empty, has a slash, a control character or outer blanks, or is not in Unicode
        normal form C (NetCDF would rename it).
    """
    if not isinstance(name, str):
        raise StorageError(f"the name {name!r} is a {type(name).__name__}; NetCDF needs text. Rename it.")
    ugly = not name or name != name.strip() or "/" in name or any(ord(sign) < 32 for sign in name)
    if ugly or unicodedata.normalize("NFC", name) != name:
        raise StorageError(
            f"the name {name!r} cannot be kept in a NetCDF file: slashes, control characters, outer blanks and "
            "decomposed accents are not allowed. Rename it."
        )
    return name


def encode(values: np.ndarray, what: str) -> tuple[np.ndarray, dict[str, str]]:
    """``values`` in a portable type, with the attributes that `decode` needs to undo it.

    Text becomes UTF-8 characters along one more dimension, bool int8, other whole numbers int32 or, where
    they do not fit, float64.

    Parameters
    ----------
    values : array of bool, whole numbers, float16, float32, float64 or text
    what : name for the error message

    Returns
    -------
    (array of int8, int32, float32, float64 or S1, attributes)

    Raises
    ------
    StorageError
        If a value has no portable form: objects, complex numbers, dates, text with NUL.

    Examples
    --------
    >>> encode(np.array([True, False]), "valid")
    (array([1, 0], dtype=int8), {'dtype': 'bool'})
    """
    values = np.asarray(values)
    if values.dtype.kind in "UTO":
        return _characters(values, what), {"dtype": "str", "_Encoding": "utf-8"}
    stored = values.astype(_stored_type(values, what))
    native = values.dtype.newbyteorder("=")
    return stored, {} if stored.dtype == native else {"dtype": native.name}


def _stored_type(values: np.ndarray, what: str) -> type:
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "b":
        return np.int8
    if kind == "f" and size <= 8:
        return np.float64 if size == 8 else np.float32
    if kind in "iu":
        return _whole_type(values, what)
    raise StorageError(
        f"{what!r} holds {values.dtype} values, which NetCDF cannot keep. Store text, numbers or bool."
    )


def _whole_type(values: np.ndarray, what: str) -> type:
    if values.dtype == np.int8:
        return np.int8
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if _INT32.min <= low and high <= _INT32.max:
        return np.int32
    if -_EXACT <= low and high <= _EXACT:
        return np.float64
    raise StorageError(
        f"{what!r} holds whole numbers up to {max(high, -low)}, beyond 2**53, which no portable type keeps "
        "exactly. Store them as text."
    )


def _characters(values: np.ndarray, what: str) -> np.ndarray:
    encoded = [_utf8(text, what) for text in values.ravel().tolist()]
    width = max(map(len, encoded), default=1) or 1
    return np.array(encoded, dtype=f"S{width}").view("S1").reshape(*values.shape, width)


def _utf8(text: object, what: str) -> bytes:
    if not isinstance(text, str):
        raise StorageError(f"{what!r} mixes text with {type(text).__name__} {text!r}. Store one type.")
    if "\0" in text:
        raise StorageError(f"{what!r} holds a NUL character in {text[:40]!r}, where NetCDF would cut it off.")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StorageError(f"{what!r} holds {text[:40]!r}, which is no valid Unicode text.") from error


def decode(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Undo `encode`: ``dtype`` is its attribute, empty if the type was portable as it was.

    Examples
    --------
    >>> decode(*(part if i == 0 else part["dtype"] for i, part in enumerate(encode(np.array(["é "]), "x"))))
    array(['é '], dtype='<U2')
    """
    if dtype != "str":
        return stored.astype(dtype) if dtype else stored
    width = stored.shape[-1]
    joined = np.ascontiguousarray(stored).view(f"S{width}").reshape(stored.shape[:-1])
    texts = [text.decode("utf-8") for text in joined.ravel().tolist()]
    return np.array(texts, dtype=str).reshape(joined.shape)


def encode_attrs(attrs: Mapping[object, object], what: str) -> dict[str, object]:
    """Flat attributes in portable types.

    Raises
    ------
    StorageError
        If a value is not text or a number, naming the attribute.
    """
    encoded: dict[str, object] = {}
    wide = []
    for name, value in attrs.items():
        label = f"attribute {check_name(name)!r} of {what}"
        encoded[str(name)] = _attribute(value, label)
        if isinstance(value, (int, np.integer)) and isinstance(encoded[str(name)], float):
            wide.append(str(name))
    return encoded | ({WIDE: "; ".join(wide)} if wide else {})


def _attribute(value: object, label: str) -> object:
    if isinstance(value, str):
        return _utf8(value, label).decode("utf-8")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise StorageError(
            f"{label} is {value!r} ({type(value).__name__}). Attributes are text or numbers; write lists as "
            "'a; b', yes and no as text, and leave out what is None."
        )
    whole = isinstance(value, (int, np.integer))
    if whole and abs(int(value)) > _EXACT:
        raise StorageError(f"{label} is {value}, beyond 2**53. Store it as text.")
    return np.int32(value) if whole and _INT32.min <= value <= _INT32.max else float(value)


def decode_attrs(attrs: Mapping[str, object]) -> dict[str, object]:
    """Undo `encode_attrs`."""
    wide = str(attrs.get(WIDE, "")).split("; ")
    return {name: _plain(value, name in wide) for name, value in attrs.items() if name != WIDE}


def _plain(value: object, is_whole: bool) -> object:
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if is_whole and isinstance(value, float) else value


def put_variable(
    file: netCDF4.Dataset,
    name: str,
    dims: Sequence[str],
    values: np.ndarray,
    attrs: Mapping[object, object] | None = None,
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
    **filters: object,
) -> netCDF4.Variable:
    """An empty variable, deflated by default if it is large, under checksum if it is not."""
    for dim, size in zip(dims, shape, strict=True):
        _make_dimension(file, dim, size)
    if not filters and dims:
        filters = _DEFLATE if np.prod(shape) > _SMALL else {"fletcher32": True}
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
        problems += [f"user-defined type {name!r}" for name in (*file.vltypes, *file.enumtypes, *file.cmptypes)]
        problems += [problem for dim in file.dimensions.values() for problem in _dimension_problems(dim)]
        problems += [problem for var in file.variables.values() for problem in _variable_problems(var)]
        problems += _attribute_problems("the file", file)
    return problems + _superblock_problems(Path(path))


def _dimension_problems(dim: netCDF4.Dimension) -> list[str]:
    problems = [f"dimension {dim.name!r} is unlimited"] if dim.isunlimited() else []
    return problems + ([f"dimension {dim.name!r} exceeds 2**31"] if dim.size >= 2**31 else [])


def _variable_problems(variable: netCDF4.Variable) -> list[str]:
    name, dtype = variable.name, variable.dtype
    known = isinstance(dtype, np.dtype) and (dtype == "S1" or dtype.str[1:] in _STORED)
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
        if dtype.str[1:] not in _STORED
    ]


def _superblock_problems(path: Path) -> list[str]:
    with open(path, "rb") as file:
        version = file.read(9)[8]
    return [f"HDF5 superblock version {version} is too new for older readers"] if version > 2 else []
