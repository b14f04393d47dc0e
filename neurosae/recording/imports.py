"""Activations that another program computed, as the recording or the responses that they are."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, cast

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import DesignError, StorageError
from neurosae.recording.activation_cache import STATE, cache_files, is_cache, read_cache
from neurosae.recording.array_files import READERS, ArrayFile, read_array
from neurosae.recording.array_fit import (
    arranged,
    array_dims,
    check_finite,
    feature_labels,
    file_order,
    in_order,
    layer_labels,
    valid_tokens,
)
from neurosae.recording.files import sha256
from neurosae.schema.foreign_files import PICKLES
from neurosae.schema.names import (
    FEATURE,
    LAYER,
    RESPONSE_DIMS,
    SITES,
    TOKEN,
    UNITS_BASIS,
)
from neurosae.schema.recordings import recording_array, recording_attrs, stimulus_coords
from neurosae.schema.spelling import listed

Read: TypeAlias = Callable[[Path], np.ndarray]


def load_activations(
    path: Path | str,
    stimuli: pd.DataFrame,
    *,
    site: str | None = None,
    layers: Sequence[int] | None = None,
    dims: Sequence[str] | None = None,
    lengths: Sequence[int] | None = None,
    variable: str | None = None,
    read: Read | None = None,
) -> xr.DataArray:
    """Activations of another program as a recording, or as responses where they have no tokens.

    Files: ``.npy``, ``.mat`` (before version 7.3), ``.safetensors``, and the folder in which sae-lens caches
    activations, one row a context. Nothing that can run code is read. All values are looked at once, for
    NaN; those of tokens then stay on disk until they are used, but for ``.mat``.

    Padding must be NaN at all layers and features of a token, or be told by ``lengths``: zeros are values.

    Parameters
    ----------
    path : file or folder
    stimuli : one row a stimulus, with columns ``stimulus`` and ``text``, in the order of the activations.
        Where the file has labels of stimuli, these decide which is which, and the order is that of the table
    site : where in the block, such as 'resid_post'; a cache of sae-lens says it
    layers : block numbers; needed unless the file has them
    dims : what each dim of the array is, of 'stimulus', 'token', 'layer', 'feature', in any order; by default
        what the file says, else (stimulus, feature), (stimulus, layer, feature) or all four
    lengths : number of tokens of each stimulus, the first ones; the others are padding
    variable : which array of the file, if it has several
    read : reads a file of another kind into an array, such as `neurosae.subject.pt_file.read_pt`

    Returns
    -------
    DataArray (stimulus, token, layer, feature) or (stimulus, layer, feature), float32
        ``valid`` marks the tokens that are no padding. Provenance names the file and its SHA-256.

    Raises
    ------
    StorageError
        If there is no such file, its kind is not read, it can run code, or it holds other arrays.
    CorruptFileError
        If it is truncated, altered, or another thing than its name says.
    DesignError
        If shape, dims, labels or lengths do not fit ``stimuli``; site or layers are missing; or values are
        infinite, NaN in part of a token, or zeros where padding is expected.

    Examples
    --------
    >>> import tempfile
    >>> stimuli = pd.DataFrame({"stimulus": ["a", "b"], "text": ["so", "so be it"]})
    >>> values = np.ones((2, 3, 1, 8), dtype=np.float32)
    >>> values[0, 1:] = 0
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(path := Path(folder) / "x.npy", values)
    ...     recording = load_activations(path, stimuli, site="resid_post", layers=[6], lengths=[1, 3])
    ...     recording.dims, recording["valid"].values.tolist()
    (('stimulus', 'token', 'layer', 'feature'), [[True, False, False], [True, True, True]])
    """
    path = Path(path)
    found, site = _found(path, variable, read, site)
    _check_site(site)
    names = array_dims(found, dims)
    values = arranged(found.values, names)
    values = in_order(values, found.labels, stimuli)
    blocks = layer_labels(found.labels, layers, values.shape[-2])
    features = feature_labels(found.labels, values.shape[-1])
    origin = _origin(path, site, stimuli)
    if TOKEN not in names:
        check_finite(values, stimuli, lengths)
        return _responses(values, stimuli, blocks, features, site, origin)
    valid = valid_tokens(values, stimuli, lengths)
    if lengths is not None:
        values = da.where(valid[:, :, None, None], values, np.float32(np.nan))
    order = file_order(found.labels, stimuli)
    ids = {key: found.labels[key][order] for key in ("token_id",) if key in found.labels}
    return recording_array(
        cast("np.ndarray", values),
        stimuli=stimuli,
        tokens={"valid": valid, **ids},
        layers=blocks,
        site=site,
        origin=origin,
        features=features.tolist(),
    )


def _found(path: Path, variable: str | None, read: Read | None, site: str | None) -> tuple[ArrayFile, str]:
    """The array behind ``path`` and the site: as given, or as the file says."""
    if is_cache(path) and read is None:
        found, its = read_cache(path)
        if site not in (None, its):
            raise DesignError(f"{path} was cached at {its!r}, not {site!r}. Leave site out.")
        return found, its
    if not path.is_file():
        raise StorageError(f"{path}: there is no such file, nor a folder of cached activations ({STATE}).")
    if read is not None:
        return ArrayFile(np.asarray(read(path))), site or ""
    if path.suffix.lower() in PICKLES:
        raise StorageError(
            f"{path} can run code when it is read, and is refused. Save it as .npy or .safetensors; a tensor "
            "in a .pt file is read with read=neurosae.subject.pt_file.read_pt."
        )
    if path.suffix.lower() not in READERS:
        raise StorageError(f"{path} is of no kind that is read: {listed(READERS)}, or a cache of sae-lens.")
    return read_array(path, variable), site or ""


def _check_site(site: str) -> None:
    if site not in SITES:
        raise DesignError(f"site {site!r} is none that is known. Say where it was: {listed(SITES)}.")


def _responses(
    values: da.Array,
    stimuli: pd.DataFrame,
    layers: Sequence[int],
    features: np.ndarray,
    site: str,
    origin: Mapping[str, object],
) -> xr.DataArray:
    coords = {**stimulus_coords(stimuli), LAYER: np.asarray(layers, dtype=np.int64), FEATURE: features}
    attrs = recording_attrs(site, UNITS_BASIS, origin)
    return xr.DataArray(values.compute(), dims=RESPONSE_DIMS, coords=coords, name="response", attrs=attrs)


def _origin(path: Path, site: str, stimuli: pd.DataFrame) -> dict[str, object]:
    """Provenance: the file and its SHA-256, of a folder that of those of its files."""
    files = cache_files(path) if path.is_dir() else [path]
    digests = [sha256(file) for file in files]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    said = f"imported from {path.name}, sha256 {digest}"
    return {
        "subject": {"name": "not stated"},
        "stimuli": dict(stimuli.attrs),
        "recording": {"id": f"import-{digest[:16]}", "site": site},
        "steps": [{"step": "load_activations", "source": said, "file": path.name, "sha256": digest}],
    }
