"""Rows of activations to train a dictionary on, from whatever holds them, with what is known of them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neurosae.dictionary.hook_names import hook_name
from neurosae.dictionary.produce import TrainingRows
from neurosae.errors import DesignError, DictionaryError
from neurosae.recording.files import check_free_space, replacing
from neurosae.recording.harvest import Harvest
from neurosae.recording.session import Session
from neurosae.schema.names import LAYER, STIMULUS
from neurosae.schema.spelling import listed

STIMULI_AT_ONCE = 64
MOST_SPECIAL = 256


def of_harvest(
    harvest: Harvest, site: str, layer: int, subject: Mapping[str, Any] | None = None
) -> TrainingRows:
    """Rows of a place of a harvest.

    ``subject`` is what the subject says of itself, its name at least; it counts only where the harvest keeps
    none of it.

    Raises
    ------
    DictionaryError
        If the place was not harvested, or nobody says which subject it was.
    """
    if (site, layer) not in harvest.places:
        places = listed(f"{its} {number}" for its, number in harvest.places)
        raise DictionaryError(f"{harvest.folder} holds no activations of {site} {layer}, but of {places}.")
    described: Mapping[str, Any] = harvest.asked.get("described") or subject or {}
    name = described.get("name")
    if name is None:
        raise DictionaryError(f"{harvest.folder} does not say which subject was run. Tell it: subject=...")
    known = {
        **_place(str(name), site, layer, described),
        "context_size": harvest.asked.get("context"),
        "dtype_of_subject": harvest.asked.get("dtype"),
        "subject_sha256": harvest.asked.get("subject"),
        "corpus_sha256": harvest.asked.get("texts"),
    }
    metadata = {key: value for key, value in known.items() if value is not None}
    return TrainingRows(harvest.rows(site, layer), harvest.special(site, layer), metadata)


def of_session(session: Session, site: str, layer: int, folder: Path) -> TrainingRows:
    """Rows of the valid tokens of a session, written to ``folder`` a few stimuli at a time.

    Raises
    ------
    DictionaryError
        If the layer was not recorded.
    """
    recording = session.recording(site, mask=False)
    if layer not in recording[LAYER]:
        layers = listed(str(its) for its in recording[LAYER].values)
        raise DictionaryError(f"{session.path}: layer {layer} of {site} was not recorded, but {layers}.")
    chosen = recording.sel({LAYER: layer})
    is_special = chosen["is_special"].values.astype(bool)
    is_sink = chosen["is_sink"].values.astype(bool)
    is_real = chosen["valid"].values.astype(bool)
    rows = _written(_session_rows(chosen, is_real & ~is_special & ~is_sink), folder / "rows.f32")
    aside = is_real & (is_special | is_sink)
    some = np.flatnonzero(aside.any(axis=1))[:MOST_SPECIAL]
    special = np.concatenate(
        [np.empty((0, chosen.shape[-1]), dtype=np.float32), *_session_rows(chosen[some], aside[some])]
    )
    subject = dict(session.provenance.get("subject", {}))
    known = {
        **_place(str(subject["name"]), site, layer, subject),
        "subject_sha256": subject.get("weights_sha256"),
        "corpus_sha256": session.stimuli.attrs.get("sha256"),
    }
    return TrainingRows(rows, special, {key: value for key, value in known.items() if value is not None})


def of_arrays(
    source: np.ndarray | Iterable[np.ndarray], subject: str, site: str, layer: int, folder: Path
) -> TrainingRows:
    """Rows given as an array, or by an iterator of arrays (row, d) that is written to ``folder`` first.

    Raises
    ------
    DesignError
        If an array is not (row, d), or their widths differ.
    """
    metadata = _place(subject, site, layer, {})
    if isinstance(source, np.ndarray):
        _check_block(source, source.shape[-1] if source.ndim else 0)
        return TrainingRows(source, np.empty((0, source.shape[1]), dtype=np.float32), metadata)
    rows = _written(source, folder / "rows.f32")
    return TrainingRows(rows, np.empty((0, rows.shape[1]), dtype=np.float32), metadata)


def _place(subject: str, site: str, layer: int, described: Mapping[str, object]) -> dict[str, object]:
    """Metadata as sae-lens keeps them; the toy states its BOS policy in other words."""
    bos = described.get("prepend_bos", {"prepended": True}.get(str(described.get("bos"))))
    known = {"model_name": subject, "hook_name": hook_name(site, layer), "prepend_bos": bos}
    return {key: value for key, value in known.items() if value is not None}


def _session_rows(recording: xr.DataArray, chosen: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, recording.sizes[STIMULUS], STIMULI_AT_ONCE):
        part = slice(start, start + STIMULI_AT_ONCE)
        yield np.asarray(recording[part].values[chosen[part]], dtype=np.float32)


def _written(blocks: Iterable[np.ndarray], path: Path) -> np.ndarray:
    """Blocks of rows in one file, mapped; it replaces an earlier one as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (0, 0)
    with replacing(path) as part, open(part, "wb") as file:
        for block in blocks:
            values = np.ascontiguousarray(block, dtype="<f4")
            _check_block(values, shape[1] or values.shape[-1])
            check_free_space(path.parent, values.nbytes)
            file.write(values.tobytes())
            shape = (shape[0] + len(values), values.shape[1])
    if not shape[0]:
        raise DesignError("the source gave no rows of activations. Check what is iterated over.")
    return np.memmap(path, dtype="<f4", mode="r", shape=shape)


def _check_block(block: np.ndarray, width: int) -> None:
    if block.ndim != 2 or block.shape[1] != width or not width:
        raise DesignError(f"activations of shape {block.shape} are given; (row, {width or 'd'}) is needed.")
