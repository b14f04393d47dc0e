"""Arrays in files of other programs, read with suspicion and no further than they are used."""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from safetensors import SafetensorError, safe_open
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from neurosae.errors import CorruptFileError, StorageError
from neurosae.schema.foreign_files import mistaken_for
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.spelling import listed, nearest

LARGEST_INFLATED = 2**32
"""Bytes that a compressed file may grow to when it is read."""

MOST_TENSORS = 10_000

_USUAL = ("activation", "activations", "response", "responses")
_LABELS = (STIMULUS, LAYER, FEATURE)
_NUMERIC = ("double", "single", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_COMPRESSED, _MAT_HEADER_BYTES = 15, 128


@dataclass(frozen=True)
class ArrayFile:
    """An array with whatever the file says of it.

    values : anything with shape, dtype, ndim that is indexed by slices
    dims : names of its dims, or none
    labels : of stimuli, layers and features, and token fields, as far as the file has them
    """

    values: Any
    dims: tuple[str, ...] = ()
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)


def read_array(path: Path, variable: str | None) -> ArrayFile:
    """The array in a ``.npy``, ``.mat`` or ``.safetensors`` file.

    Parameters
    ----------
    path : file
    variable : its name, where the file holds several arrays

    Raises
    ------
    StorageError
        If there is no such file, its ending is unknown, it can run code, or it does not hold the variable.
    CorruptFileError
        If it is truncated, altered, or something else than its name says.
    """
    reader = READERS[path.suffix.lower()]
    what = mistaken_for(path)
    if what:
        raise CorruptFileError(f"{path} {what}")
    return reader(path, variable)


def _npy(path: Path, variable: str | None) -> ArrayFile:
    if variable is not None:
        raise StorageError(f"{path}: a .npy file holds one array without a name; leave variable out.")
    with path.open("rb") as file:
        if file.read(len(MAGIC_PREFIX)) != MAGIC_PREFIX:
            raise CorruptFileError(f"{path} is truncated or damaged (it is no .npy file). Fetch it again.")
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "object" in str(error).lower() or "pickle" in str(error).lower():
            raise StorageError(
                f"{path} holds Python objects, which can run code when they are read, and is refused. Save "
                "an array of numbers."
            ) from None
        raise CorruptFileError(f"{path} is truncated or damaged ({error}). Fetch it again.") from None
    if values.offset + values.nbytes != path.stat().st_size:
        raise CorruptFileError(f"{path} goes on after its array. Fetch it again, or save one array a file.")
    return ArrayFile(values)


def _mat(path: Path, variable: str | None) -> ArrayFile:
    _check_inflated(path)
    try:
        shapes = {name: kind for name, _, kind in whosmat(path)}
        name = _chosen(path, [n for n, kind in shapes.items() if kind in _NUMERIC], variable)
        content = loadmat(path, variable_names=[name, *_LABELS])
    except NotImplementedError:
        raise StorageError(
            f"{path} is a MATLAB file of version 7.3. Save it with save(..., '-v7')."
        ) from None
    except (MatReadError, ValueError, TypeError, OSError, KeyError, zlib.error) as error:
        raise CorruptFileError(f"{path} is truncated or damaged ({error}). Fetch it again.") from None
    labels = {key: _mat_labels(content[key]) for key in _LABELS if key in content}
    return ArrayFile(content[name], (), labels)


def _mat_labels(values: np.ndarray) -> np.ndarray:
    """A column of numbers, or a cell array of texts, as labels."""
    if values.dtype != object:
        return np.char.rstrip(values) if values.dtype.kind == "U" else values.ravel()
    return np.array([str(cell.item()) if np.size(cell) else "" for cell in values.ravel()], dtype=str)


def _check_inflated(path: Path) -> None:
    """Refuse a file whose compressed parts grow beyond bounds; they are inflated a megabyte at a time."""
    total = 0
    with path.open("rb") as file:
        file.seek(_MAT_HEADER_BYTES)
        while len(tag := file.read(8)) == 8:
            kind, size = np.frombuffer(tag, dtype="<u4").tolist()
            if kind != _COMPRESSED:
                file.seek(size, 1)
                continue
            total += _inflated(file.read(size), LARGEST_INFLATED - total)
            if total > LARGEST_INFLATED:
                raise StorageError(
                    f"{path} grows beyond {LARGEST_INFLATED / 1e9:,.1f} GB when it is read, and is refused. "
                    "Save the activations as .npy."
                )


def _inflated(data: bytes, most: int) -> int:
    """Size of ``data`` once inflated, or something above ``most``."""
    inflate, size = zlib.decompressobj(), 0
    try:
        while data and size <= most:
            size += len(inflate.decompress(data, 2**20))
            data = inflate.unconsumed_tail
    except zlib.error:
        return size  # what is damaged is reported by who reads it
    return size


@dataclass(frozen=True)
class TensorSlices:
    """A tensor of a safetensors file that reads only the slices that are asked for."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        """Values at slices along each dim."""
        with safe_open(self.path, "numpy") as file:
            return np.asarray(file.get_slice(self.name)[key])


def _safetensors(path: Path, variable: str | None) -> ArrayFile:
    try:
        with safe_open(path, "numpy") as file:
            return _tensor_of(path, file, variable)
    except (SafetensorError, OSError) as error:
        raise CorruptFileError(f"{path} is truncated or damaged ({error}). Fetch it again.") from None


def _tensor_of(path: Path, file: Any, variable: str | None) -> ArrayFile:
    names = list(file.keys())
    if len(names) > MOST_TENSORS:
        raise StorageError(f"{path} holds {len(names):,} tensors; activations are one. Save them alone.")
    name = _chosen(path, [n for n in names if len(file.get_slice(n).get_shape()) > 1], variable)
    part = file.get_slice(name)
    dtypes = {"F16": "f2", "F32": "f4", "F64": "f8"}
    if part.get_dtype() not in dtypes:
        raise StorageError(f"{path}: {name!r} holds {part.get_dtype()} values. Save float16 or float32.")
    metadata = file.metadata() or {}
    texts, dims = _from_json(metadata, "labels"), _from_json(metadata, "dims")
    labels = {key: np.array(texts[key]) for key in _LABELS if _is_flat(texts.get(key))}
    labels |= {key: file.get_tensor(key) for key in _LABELS if key in names}
    values = TensorSlices(path, name, tuple(part.get_shape()), np.dtype(dtypes[part.get_dtype()]))
    return ArrayFile(values, tuple(dims[name]) if _is_flat(dims.get(name)) else (), labels)


def _is_flat(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(its, str | int) for its in found)


def _from_json(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        found = json.loads(metadata.get(key, "{}"))
    except (ValueError, RecursionError):
        return {}  # another program's metadata, which says nothing to us
    return found if isinstance(found, dict) else {}


def _chosen(path: Path, names: list[str], variable: str | None) -> str:
    """The variable asked for, or the only one that activations can be."""
    wanted = [name for name in names if name not in _LABELS]
    if variable is not None and variable not in names:
        raise StorageError(
            f"{path} has no array {variable!r}{nearest(variable, wanted)} Arrays: {listed(wanted) or 'none'}."
        )
    usual = [name for name in _USUAL if name in wanted]
    choice = [variable] if variable is not None else usual or wanted
    if len(choice) != 1:
        raise StorageError(
            f"{path} holds {len(choice)} arrays ({listed(choice)}). Say which: variable='...'."
            if choice
            else f"{path} holds no array of numbers with two or more dims."
        )
    return choice[0]


READERS: Mapping[str, Callable[[Path, str | None], ArrayFile]] = {
    ".npy": _npy,
    ".mat": _mat,
    ".safetensors": _safetensors,
}
"""Readers by ending of the file."""
