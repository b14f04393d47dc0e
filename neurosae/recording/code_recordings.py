"""Label the codes of a session: the stores of one or several dictionaries become one recording."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neurosae.errors import DesignError
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


def code_folder(site: str, name: str) -> str:
    """Folder of the codes of a dictionary inside its session.

    Examples
    --------
    >>> code_folder("resid_post", "smollm2-135m/l15-btk")
    'resid_post+smollm2-135m.l15-btk'
    """
    return f"{site}+{re.sub(r'[^A-Za-z0-9._-]', '-', name.replace('/', '.'))}"


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
