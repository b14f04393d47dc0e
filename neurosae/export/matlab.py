"""A result as one MATLAB file."""

import re
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import xarray as xr
from scipy.io import savemat

from neurosae.errors import StorageError
from neurosae.export.code_tables import code_tables, layers_of, row_pointers
from neurosae.export.flat import SCHEMA, check_fits, check_free, flat, new_file, plain, plain_attrs
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.provenance import Labelled

ABOUT = "neurosae"
_LARGEST = 2**31  # bytes that the format can address
_LONGEST_NAME = 63
_ENTRY_BYTES = 12
_REMEDY = (
    "Select layers or features, pool over tokens, or write NetCDF with to_r, which MATLAB reads with ncread."
)


def to_matlab(result: Labelled | SparseRecording, path: Path | str, *, overwrite: bool = False) -> Path:
    """A ``.mat`` file (version 5, compressed) that MATLAB, Octave and `scipy.io.loadmat` read.

    Every variable and coordinate is a MATLAB variable under its name, with its dims in the order of the
    result: ``response(2, 1, 5)`` is the second stimulus. Numbers over one dim are columns; text is a cell
    array of char, bool is logical, float16 is single. Labels are kept as they are, so that feature 0 is
    the first feature. A sign that MATLAB does not allow in a name becomes ``_``.

    The struct ``neurosae`` says what is what: ``neurosae.dims.response`` is a cell array of dim names,
    ``neurosae.attrs`` holds the attributes of each variable, ``neurosae.global_attrs`` those of the whole,
    ``neurosae.names`` the original name of each variable. Where text goes beyond ASCII, ``NAME_utf8`` holds
    its UTF-8 bytes, for Octave cuts such text in ``.mat`` files: ``char(text_utf8{1})`` is whole.

    Codes are sparse matrices ``layer_N`` (valid token, feature) of double precision, with their tables over
    ``row`` and ``stimulus``; ``stimulus_index`` counts from 0.

    Parameters
    ----------
    result : DataArray, Dataset, or codes of a dictionary; all of it is held in memory, some times over
    path : file to write, by custom ending in ``.mat``
    overwrite : replace a file that exists

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    StorageError
        If ``path`` exists, cannot be written, ``result`` exceeds 2 GB, two names become one in MATLAB, or a
        variable holds neither text, numbers nor bool.

    Notes
    -----
    MATLAB drops dims of length 1 at the end; ``neurosae.dims`` still lists them.

    Examples
    --------
    >>> import tempfile
    >>> from scipy.io import loadmat
    >>> from neurosae.testing import planted_responses
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     content = loadmat(to_matlab(planted_responses(), Path(folder) / "responses.mat"))
    >>> content["response"].shape, content["stimulus"].shape
    ((40, 3, 16), (40, 1))
    """
    path = Path(path)
    dataset = code_tables(result) if isinstance(result, SparseRecording) else flat(result)
    check_free(path, overwrite=overwrite)
    matrices = _matrices(result) if isinstance(result, SparseRecording) else {}
    _check_size(dataset)
    arrays = {str(name): plain(variable, str(name)) for name, variable in dataset.variables.items()}
    names = {name: matlab_name(name) for name in arrays}
    content = {names[name]: _matlab_value(values) for name, values in arrays.items()}
    exact = {f"{names[name]}_utf8": _utf8_cells(v) for name, v in arrays.items() if _is_beyond_ascii(v)}
    _check_names([*names.values(), *exact, *matrices, ABOUT])
    with new_file(path, overwrite=overwrite) as part, open(part, "wb") as file:
        savemat(
            file,
            {**content, **exact, **matrices, ABOUT: _about(dataset, names)},
            do_compression=True,
            long_field_names=True,
            oned_as="column",
        )
    return path


def matlab_name(name: str) -> str:
    """``name`` as MATLAB allows it: ASCII letters, digits and ``_``, a letter first, at most 63 signs.

    Examples
    --------
    >>> matlab_name("2nd layer")
    'x2nd_layer'
    """
    plain_name = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return (plain_name if plain_name[0].isalpha() else f"x{plain_name}")[:_LONGEST_NAME]


def _matrices(codes: SparseRecording) -> dict[str, sp.csc_array]:
    """The codes of each layer as MATLAB keeps sparse matrices: by feature, in double precision."""
    size = sum(_ENTRY_BYTES * int(row_pointers(codes, layer)[-1]) for layer in layers_of(codes))
    check_fits(size, _LARGEST, "a .mat file holds", _REMEDY)
    return {f"layer_{layer}": sp.csc_array(codes.csr(layer), dtype=np.float64) for layer in layers_of(codes)}


def _check_size(dataset: xr.Dataset) -> None:
    size = sum(variable.nbytes for variable in dataset.variables.values())
    check_fits(size, _LARGEST, "a .mat file holds", _REMEDY)


def _check_names(names: list[str]) -> None:
    lower = [name[:_LONGEST_NAME] for name in names]
    twice = sorted({name for name in lower if lower.count(name) > 1})
    if twice:
        raise StorageError(f"two variables would be called {twice[0]!r} in MATLAB. Rename one of them.")


def _matlab_value(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "U":
        return _cells(values)
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _cells(values: np.ndarray) -> np.ndarray:
    cells = values.astype(object)
    return cells[:, None] if cells.ndim == 1 else cells


def _is_beyond_ascii(values: np.ndarray) -> bool:
    return values.dtype.kind == "U" and not all(text.isascii() for text in values.ravel().tolist())


def _utf8_cells(values: np.ndarray) -> np.ndarray:
    cells = _cells(values)
    encoded = np.empty(cells.shape, dtype=object)
    for place, text in np.ndenumerate(cells):
        encoded[place] = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)[None]
    return encoded


def _about(dataset: xr.Dataset, names: dict[str, str]) -> dict[str, object]:
    variables = {names[str(name)]: variable for name, variable in dataset.variables.items()}
    return {
        "schema": SCHEMA,
        "names": _cells(
            np.array([[stored, name] for name, stored in names.items()], dtype=str).reshape(-1, 2)
        ),
        "dims": {name: _cells(np.array(v.dims, dtype=str)) for name, v in variables.items()},
        "attrs": {name: _struct(dict(v.attrs)) for name, v in variables.items()},
        "global_attrs": _struct(dict(dataset.attrs)),
    }


def _struct(attrs: dict[object, object]) -> dict[str, object]:
    return {matlab_name(name): value for name, value in plain_attrs(attrs).items() if name}
