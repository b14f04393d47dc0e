"""A result as one safetensors file."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import dask.array as da
import numpy as np
import xarray as xr
from safetensors.numpy import save_file

from neurosae.errors import StorageError
from neurosae.export.code_rows import ROW_ARRAYS, write_rows
from neurosae.export.code_tables import code_tables, layers_of
from neurosae.export.flat import SCHEMA, check_free, flat, new_file, plain, plain_attrs
from neurosae.export.folders import put_array
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.provenance import Labelled

_LARGEST_METADATA = 90_000_000  # readers refuse files whose header exceeds 100 MB


def to_safetensors(result: Labelled | SparseRecording, path: Path | str, *, overwrite: bool = False) -> Path:
    """One safetensors file: numbers as tensors, text labels and attributes as JSON in its metadata.

    Every numeric variable and coordinate is a tensor under its name, its dims in the order of the result.
    The metadata, whose values are text: ``neurosae_schema``; ``dims``, JSON of the dims of each variable;
    ``labels``, JSON of each text variable as nested lists; ``attrs``, JSON of the attributes of each variable
    and, under the empty name, of the whole.

    Codes are compressed rows, one a valid token: ``layerN.indptr``, ``layerN.indices``, ``layerN.values``,
    which ``scipy.sparse.csr_array((values, indices, indptr))`` takes; their tables are tensors and labels
    over ``row``.

    Parameters
    ----------
    result : DataArray, Dataset, or codes of a dictionary. What is lazy is first written aside in the same
        folder, so that memory is bounded and twice the room is needed
    path : file to write, by custom ending in ``.safetensors``
    overwrite : replace a file that exists

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    StorageError
        If ``path`` exists, cannot be written, the labels exceed 90 MB, or a variable holds neither text,
        numbers nor bool.

    Examples
    --------
    >>> import tempfile
    >>> from safetensors.numpy import load_file
    >>> from neurosae.testing import planted_responses
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_file(to_safetensors(planted_responses(), Path(folder) / "r.safetensors"))["response"].shape
    (40, 3, 16)
    """
    path = Path(path)
    dataset = code_tables(result) if isinstance(result, SparseRecording) else flat(result)
    check_free(path, overwrite=overwrite)
    variables = {str(name): variable for name, variable in dataset.variables.items()}
    text = {name: plain(v, name).tolist() for name, v in variables.items() if v.dtype.kind in "UTO"}
    metadata = {
        "neurosae_schema": SCHEMA,
        "dims": _json({name: list(variable.dims) for name, variable in variables.items()}),
        "labels": _json(text),
        "attrs": _json(
            {"": plain_attrs(dataset.attrs), **{name: plain_attrs(v.attrs) for name, v in variables.items()}}
        ),
    }
    _check_size(metadata)
    with (
        new_file(path, overwrite=overwrite) as part,
        TemporaryDirectory(dir=path.parent, prefix=".") as aside,
    ):
        tensors = {name: _tensor(v, name, Path(aside)) for name, v in variables.items() if name not in text}
        if isinstance(result, SparseRecording):
            tensors |= _code_tensors(result, Path(aside))
        save_file(tensors, part, metadata)
    return path


def _tensor(variable: xr.Variable, name: str, aside: Path) -> np.ndarray:
    """The values: lazy ones are written aside and mapped, so that they are never in memory as a whole."""
    if not isinstance(variable.data, da.Array):
        return np.ascontiguousarray(plain(variable, name))
    put_array(aside / f"{name}.npy", variable, name)
    return np.load(aside / f"{name}.npy", mmap_mode="r")


def _code_tensors(codes: SparseRecording, aside: Path) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for layer in layers_of(codes):
        paths = {name: aside / f"layer{layer}.{name}.npy" for name in ROW_ARRAYS}
        write_rows(codes, layer, paths)
        tensors |= {path.stem: np.load(path, mmap_mode="r") for path in paths.values()}
    return tensors


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False)


def _check_size(metadata: dict[str, str]) -> None:
    size = sum(len(text.encode("utf-8")) for text in metadata.values())
    if size > _LARGEST_METADATA:
        raise StorageError(
            f"the labels take {size / 1e6:,.0f} MB, and the header of a safetensors file holds 90 MB. Pool "
            "over tokens, drop text coordinates with drop_vars, or export for numpy."
        )
