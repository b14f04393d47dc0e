"""Turn recorded activations into the codes of a dictionary, in memory or beside them on disk."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
import scipy.sparse as sp
import xarray as xr

from neurosae.dictionary.guards import check_fits
from neurosae.dictionary.interface import Dictionary
from neurosae.errors import DesignError
from neurosae.recording.code_header import described
from neurosae.recording.codes import HeldCodes, encoded
from neurosae.recording.encode_session import SAMPLED, Progress, encode_session
from neurosae.recording.fit import Fit, check_fit
from neurosae.recording.session import Session
from neurosae.recording.sparse import SparseRecording, check_layers
from neurosae.schema.names import LAYER
from neurosae.schema.provenance import provenance
from neurosae.schema.recordings import recording_attrs

_BLOCK_BYTES = 64 * 2**20


def encode(
    source: xr.DataArray | Session,
    dictionary: Dictionary | Sequence[Dictionary],
    *,
    progress: Progress | None = None,
) -> SparseRecording:
    """Which features of a dictionary are active in each token, and how strongly.

    Codes are rounded to 11 significant binary digits, as files hold them. Special tokens have none.

    Parameters
    ----------
    source : a recording (stimulus, token, layer, feature) of raw activations, whose codes are held in memory;
        or a session, in whose folder they are written: a run that was interrupted is continued by the next,
        and codes that are there already are opened
    dictionary : one, or several of different layers of one site and the same number of features
    progress : called as ``progress(n_stimuli_done, n_stimuli)`` for each dictionary

    Returns
    -------
    SparseRecording (stimulus, token, layer, feature) float32
        The layers of the dictionaries only; labels as those of the recording.

    Raises
    ------
    DictionaryError
        If a dictionary is of another subject, site, layer, width or BOS policy than the recording, or leaves
        all of its variance unexplained (judged on a sample of at least 32 tokens).
    DesignError
        If two dictionaries share a layer, none is given, or the source is neither recording nor session.
    StorageError
        If the session holds codes of another dictionary of that name, is in use, or cannot be written.

    Warns
    -----
    UserWarning
        If a dictionary leaves more than half of the variance unexplained.

    Examples
    --------
    >>> import pandas as pd
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> from neurosae.schema.recordings import recording_array
    >>> toy = ToyDictionary(3, 8)
    >>> planted = toy.decode(sp.csr_array(np.array([[0, 2, 0], [1, 0, 3]], dtype=np.float32)))
    >>> recording = recording_array(
    ...     planted.reshape(1, 2, 1, 8), stimuli=pd.DataFrame({"stimulus": ["a"], "text": ["so it"]}),
    ...     tokens={"valid": np.ones((1, 2), dtype=bool)}, layers=[0], site="resid_post", origin={})
    >>> encode(recording, toy).to_xarray().values.squeeze().round(2).tolist()
    [[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]
    """
    wanted = list(dictionary) if isinstance(dictionary, Sequence) else [dictionary]
    if not wanted:
        raise DesignError("no dictionary is given. Load one, as in load_dictionary(FOLDER).")
    wanted.sort(key=lambda its: its.layer)
    check_layers([its.layer for its in wanted], [its.name for its in wanted])
    if isinstance(source, Session):
        return encode_session(source, wanted, progress)
    return _held(source, wanted, progress)


def _held(
    recording: xr.DataArray, dictionaries: Sequence[Dictionary], progress: Progress | None
) -> SparseRecording:
    for dictionary in dictionaries:
        check_fits(dictionary, recording)
    valid = _encodable(recording)
    n_stimuli, n_tokens = valid.shape
    known = [described(its, _fit(recording, its, valid)) for its in dictionaries]
    unknown = np.zeros((n_stimuli, n_tokens, len(dictionaries)), dtype=bool)
    sources = []
    for place, dictionary in enumerate(dictionaries):
        parts = []
        for start, stop, rows in _blocks(recording, dictionary.layer):
            parts.append(encoded(dictionary, rows, valid[start:stop].ravel()))
            broken = ~np.isfinite(rows).all(axis=1).reshape(stop - start, n_tokens)
            unknown[start:stop, :, place] = broken & valid[start:stop]
            if progress is not None:
                progress(stop, n_stimuli)
        sources.append(HeldCodes(sp.csr_array(sp.vstack(parts, format="csr"))))
    return SparseRecording(
        labels=_labels(recording, dictionaries, valid, known),
        sources=tuple(sources),
        first=np.arange(n_stimuli + 1) * n_tokens,
        picked=np.arange(n_stimuli),
        unknown=unknown,
    )


def _encodable(recording: xr.DataArray) -> np.ndarray:
    valid = recording["valid"].values
    return valid & ~recording["is_special"].values if "is_special" in recording.coords else valid


def _labels(
    recording: xr.DataArray,
    dictionaries: Sequence[Dictionary],
    valid: np.ndarray,
    known: Sequence[Mapping[str, Any]],
) -> xr.Dataset:
    coords = {name: its for name, its in recording.coords.items() if not {"layer", "feature"} & set(its.dims)}
    coords["valid"] = recording["valid"].copy(data=valid)
    coords |= {
        "layer": ("layer", np.array([its.layer for its in dictionaries], dtype=np.int64)),
        "feature": ("feature", np.arange(dictionaries[0].n_features)),
    }
    names = "; ".join(its.name for its in dictionaries)
    origin = {**provenance(recording), "dictionaries": list(known)}
    return xr.Dataset(coords=coords, attrs=recording_attrs(dictionaries[0].site, names, origin))


def _fit(recording: xr.DataArray, dictionary: Dictionary, valid: np.ndarray) -> Fit:
    """The fit on some stimuli, spread evenly over the recording."""
    place = _layer_place(recording, dictionary.layer)
    chosen = np.unique(np.linspace(0, len(valid) - 1, min(SAMPLED, len(valid))).astype(int))
    sampled = np.asarray(recording.data[:, :, place][chosen])  # at once, so that no chunk is read twice
    return check_fit(dictionary, sampled[valid[chosen]])


def _layer_place(recording: xr.DataArray, layer: int) -> int:
    return int(np.flatnonzero(recording[LAYER].values == layer)[0])


def _blocks(recording: xr.DataArray, layer: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """First stimulus, end, and activations (stimulus x token, feature) of a layer, some stimuli at a time."""
    place, data = _layer_place(recording, layer), recording.data
    n_stimuli, n_tokens, _, width = data.shape
    at_once = max(1, _BLOCK_BYTES // max(1, 4 * n_tokens * width))
    bounds = [*range(0, n_stimuli, at_once), n_stimuli]
    if isinstance(data, da.Array):
        bounds = np.cumsum([0, *data.chunks[0]]).tolist()
    for start, stop in itertools.pairwise(bounds):
        yield start, stop, np.asarray(data[start:stop, :, place]).reshape(-1, width)
