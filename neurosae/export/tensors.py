"""A result as one safetensors file."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from neurosae.errors import StorageError
from neurosae.export.flat import SCHEMA, check_free, flat, new_file, plain, plain_attrs
from neurosae.schema.provenance import Labelled

_LARGEST_METADATA = 90_000_000  # readers refuse files whose header exceeds 100 MB


def to_safetensors(result: Labelled, path: Path | str, *, overwrite: bool = False) -> Path:
    """One safetensors file: numbers as tensors, text labels and attributes as JSON in its metadata.

    Every numeric variable and coordinate is a tensor under its name, its dims in the order of the result.
    The metadata, whose values are text: ``neurosae_schema``; ``dims``, JSON of the dims of each variable;
    ``labels``, JSON of each text variable as nested lists; ``attrs``, JSON of the attributes of each variable
    and, under the empty name, of the whole.

    Parameters
    ----------
    result : DataArray or Dataset; lazy values are computed and held in memory
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
    path, dataset = Path(path), flat(result)
    check_free(path, overwrite=overwrite)
    arrays = {str(name): plain(variable, str(name)) for name, variable in dataset.variables.items()}
    tensors = {name: values for name, values in arrays.items() if values.dtype.kind != "U"}
    attrs = {str(name): plain_attrs(variable.attrs) for name, variable in dataset.variables.items()}
    metadata = {
        "neurosae_schema": SCHEMA,
        "dims": _json({str(name): list(variable.dims) for name, variable in dataset.variables.items()}),
        "labels": _json({name: values.tolist() for name, values in arrays.items() if name not in tensors}),
        "attrs": _json({"": plain_attrs(dataset.attrs), **attrs}),
    }
    _check_size(metadata)
    with new_file(path, overwrite=overwrite) as part:
        save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, part, metadata)
    return path


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False)


def _check_size(metadata: dict[str, str]) -> None:
    size = sum(len(text.encode("utf-8")) for text in metadata.values())
    if size > _LARGEST_METADATA:
        raise StorageError(
            f"the labels take {size / 1e6:,.0f} MB, and the header of a safetensors file holds 90 MB. Pool "
            "over tokens, drop text coordinates with drop_vars, or export for numpy."
        )
