"""Label the codes of a session: the stores of one or several dictionaries become one recording."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neurosae.dictionary.interface import Dictionary
from neurosae.errors import DesignError, DictionaryError
from neurosae.recording.code_store import open_codes
from neurosae.recording.codes import Codes
from neurosae.recording.files import reading_netcdf
from neurosae.recording.manifest import TABLES
from neurosae.recording.padded import first_rows, padded_fields
from neurosae.recording.portable import get_variable
from neurosae.recording.shard import Tables, read_tables
from neurosae.recording.sparse import SparseRecording, check_layers
from neurosae.schema.recordings import recording_attrs, recording_coords
from neurosae.schema.spelling import listed

_LONGEST = 200
"""Characters of a folder: file systems allow 255 bytes, and temporary files have longer names."""


def code_folder(site: str, name: str) -> str:
    """Folder of the codes of a dictionary inside its session.

    Examples
    --------
    >>> code_folder("resid_post", "smollm2-135m/l15-btk")
    'resid_post+smollm2-135m.l15-btk'
    """
    return f"{site}+{re.sub(r'[^A-Za-z0-9._-]', '-', name.replace('/', '.'))}"


def check_code_folders(dictionaries: Sequence[Dictionary], known: Iterable[Mapping[str, Any]] = ()) -> None:
    """Refuse dictionaries whose names make no folder, or no folder of their own.

    Parameters
    ----------
    dictionaries : whose codes are to be written
    known : what a session says of the dictionaries whose codes it holds; these may be given again

    Raises
    ------
    DictionaryError
        With the name, and the other that takes its folder. Capitals make no difference, as on some disks.

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> check_code_folders([ToyDictionary(2, 4), ToyDictionary(2, 4)])
    Traceback (most recent call last):
    neurosae.errors.DictionaryError: the dictionary 'toy-resid_post-l0' is given twice, or another ...
    """
    held = {str(its["folder"]).lower(): str(its["name"]) for its in known}
    given: set[str] = set()
    for name, folder in ((its.name, code_folder(its.site, its.name).lower()) for its in dictionaries):
        if not name or len(folder) > _LONGEST or re.search(r"[\x00-\x1f\x7f]", name):
            raise DictionaryError(
                f"no folder can be called after the dictionary {name[:60]!r}. Load it under another name, of "
                "1 to 150 characters without control characters."
            )
        if held.get(folder, name) != name:
            raise DictionaryError(
                f"the codes of {name!r} would lie in the folder of {held[folder]!r}, which the session "
                "holds. Load the dictionary under another name."
            )
        if folder in given:
            raise DictionaryError(
                f"the dictionary {name!r} is given twice, or another has nearly its name. Give each once, "
                "under a name of its own."
            )
        given.add(folder)


def open_code_recording(
    session: Path, described: Sequence[Mapping[str, Any]], origin: Mapping[str, Any], *, mask: bool
) -> SparseRecording:
    """The codes of some stores of a session, one a layer, in the order of their layers.

    Parameters
    ----------
    session : its folder
    described : what the session says of each dictionary
    origin : provenance of the session
    mask : leave out attention sinks

    Raises
    ------
    DesignError
        If two share a layer, or have different numbers of features.
    """
    described = sorted(described, key=lambda its: int(its["layer"]))
    stores = [open_codes(session / str(its["folder"])) for its in described]
    shared = read_tables(session / str(described[0]["folder"]) / TABLES)
    tables = [_own_tables(store.folder / TABLES, shared) for store in stores]
    return label_codes(stores, tables, origin, described, mask=mask)


def _own_tables(path: Path, shared: Tables) -> Tables:
    """Tables of a store whose stimuli and tokens are in memory already: only its layer and norms are read."""
    with reading_netcdf(path) as file:
        layers, norm = (get_variable(file, name)[1] for name in ("layer", "norm"))
    return replace(shared, layers=layers, norm=norm)


def label_codes(
    sources: Sequence[Codes],
    tables: Sequence[Tables],
    origin: Mapping[str, Any],
    described: Sequence[Mapping[str, Any]],
    *,
    mask: bool,
) -> SparseRecording:
    """Codes with the labels of their stimuli and tokens; everything in the order of layers."""
    layers, names = [int(its.layers[0]) for its in tables], [str(its["name"]) for its in described]
    check_layers(layers, names)
    sizes = sorted({source.n_features for source in sources})
    if len(sizes) > 1:
        raise DesignError(f"{listed(names)} have {listed(map(str, sizes))} features. Take each alone.")
    fields = padded_fields(tables[0], mask=mask)
    fields["valid"] = fields["valid"] & ~fields["is_special"]
    coords = recording_coords(tables[0].stimuli, fields, layers, np.arange(sizes[0]))
    attrs = recording_attrs(
        str(described[0]["site"]), "; ".join(names), {**origin, "dictionaries": list(described)}
    )
    return SparseRecording(
        labels=xr.Dataset(coords=coords, attrs=attrs),
        sources=tuple(sources),
        first=first_rows(tables[0]),
        picked=np.arange(len(tables[0].stimuli)),
        unknown=_unknown(tables, fields["valid"].shape),
    )


def _unknown(tables: Sequence[Tables], shape: tuple[int, ...]) -> np.ndarray:
    """Tokens whose activations were NaN or infinite: (stimulus, token, layer) bool."""
    rows = tables[0].rows
    unknown = np.zeros((*shape, len(tables)), dtype=bool)
    for place, its in enumerate(tables):
        unknown[rows["stimulus_index"], rows["token_position"], place] = ~np.isfinite(its.norm[:, 0])
    return unknown
