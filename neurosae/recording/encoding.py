"""How values and attributes become types that every NetCDF reader knows, and come back as they were.

R, MATLAB, Octave, ncdump and Panoply share int8, int32, float32, float64 and characters. Other types are
mapped onto these, and the attribute ``dtype`` says what they were.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from neurosae.errors import StorageError

WIDE = "int64_attributes"
"""Attribute that names the whole-number attributes which are stored as float64, being beyond int32."""

_INT32 = np.iinfo(np.int32)
_EXACT = 2**53  # whole numbers up to here are exact in float64


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
            f"the name {name!r} cannot be kept in a NetCDF file: slashes, control characters, outer blanks "
            "and decomposed accents are not allowed. Rename it."
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
    stored: np.ndarray = values.astype(_stored_type(values, what))
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
    if max(high, -low) <= _EXACT:
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


def encode_attrs(attrs: Mapping[Any, object], what: str) -> dict[str, object]:
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
