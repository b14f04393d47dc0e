"""Write the codes of a session beside its activations, shard by shard, so that a kill loses little."""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from neurosae.dictionary.guards import check_fits, check_site
from neurosae.dictionary.interface import Dictionary
from neurosae.errors import StorageError
from neurosae.recording.code_header import IDENTITY, code_file_attrs, described
from neurosae.recording.code_recordings import check_code_folders
from neurosae.recording.code_shard import CodeShard
from neurosae.recording.code_store import add_code_shard, index_codes
from neurosae.recording.codes import encoded
from neurosae.recording.files import check_free_space, check_writable, reading_netcdf, sweep_parts, write_json
from neurosae.recording.fit import Fit, check_fit
from neurosae.recording.lock import writing_alone
from neurosae.recording.manifest import TABLES, entries, is_intact
from neurosae.recording.padded import first_rows
from neurosae.recording.seals import seal
from neurosae.recording.session import HEADER, Session, open_session, read_header
from neurosae.recording.shard import Tables, read_tables
from neurosae.recording.sparse import SparseRecording
from neurosae.recording.store import Store, open_store, shard_name, write_tables

Progress: TypeAlias = Callable[[int, int], object]

SAMPLED = 64
"""Stimuli, spread over the recording, that the fit of a dictionary is judged on."""

STIMULI_AT_ONCE = 256

CODE_BYTES = 15
"""Room for one code: in its shard, in the file by feature, and while that is written."""


def encode_session(
    session: Session, dictionaries: Sequence[Dictionary], progress: Progress | None
) -> SparseRecording:
    """Codes of a session, made where its folder lacks them; see `neurosae.encode`."""
    check_code_folders(dictionaries, session.dictionaries.values())
    for dictionary in dictionaries:
        check_site(dictionary, session.sites)
        check_fits(dictionary, session.recording(dictionary.site))
        _check_known(session, dictionary)
    missing = [its for its in dictionaries if not _is_stored(session, its)]
    if missing:
        check_writable(session.path)
        with writing_alone(session.path):
            for dictionary in missing:
                _write(session, dictionary, progress)
    return open_session(session.path).codes(dictionaries[0].site, *(its.name for its in dictionaries))


def _is_stored(session: Session, dictionary: Dictionary) -> bool:
    """Whether the codes are there; a folder that was removed is written again."""
    known = session.dictionaries.get(dictionary.name)
    return known is not None and (session.path / str(known["folder"]) / TABLES).exists()


def _check_known(session: Session, dictionary: Dictionary) -> None:
    """Refuse a dictionary under whose name the session holds the codes of another."""
    known, given = session.dictionaries.get(dictionary.name, {}), dictionary.describe()
    for key in IDENTITY:
        if key in known and key in given and known[key] != given[key]:
            raise StorageError(
                f"{session.path} holds codes of another {dictionary.name}: {key} {known[key]!r}, not "
                f"{given[key]!r}. Load the dictionary under another name."
            )


def _write(session: Session, dictionary: Dictionary, progress: Progress | None) -> None:
    """Write the codes of a session shard by shard, then its tables and file by feature, then enter them."""
    store = open_store(session.path / dictionary.site)
    tables = read_tables(session.path / dictionary.site / TABLES)
    layer = store.layers.index(dictionary.layer)
    entry = described(dictionary, _stored_fit(store, tables, layer, dictionary))
    header = read_header(session.path)
    folder, attrs = session.path / entry["folder"], code_file_attrs(header, entry)
    check_free_space(folder, int(CODE_BYTES * entry["l0"] * store.bounds[-1]) if entry["l0"] > 0 else 0)
    _check_same(folder, attrs)
    for place in (folder, folder / "shards"):
        sweep_parts(place)
    bounds = list(_stimulus_bounds(store, tables))
    done = _begun(folder, [tables.stimuli["stimulus"].iloc[start:stop].tolist() for start, stop in bounds])
    for number, (start, stop) in enumerate(bounds):
        name = shard_name(number)
        if name not in done or not is_intact(folder, name, done[name]):
            shard = _shard(store, tables, layer, start, stop, dictionary)
            add_code_shard(folder, number, shard, attrs)
        if progress is not None:
            progress(stop, len(tables.stimuli))
    own = replace(tables, layers=np.array([dictionary.layer]), norm=tables.norm[:, [layer]])
    write_tables(folder, own, dictionary.n_features, attrs)
    index_codes(folder)
    others = [its for its in header.get("dictionaries", ()) if its["name"] != dictionary.name]
    write_json(session.path / HEADER, seal({**header, "dictionaries": [*others, entry]}))


def _check_same(folder: Path, attrs: Mapping[str, str]) -> None:
    """Refuse to go on with codes that another dictionary began."""
    begun = [folder / name for name in entries(folder, "shard") if (folder / name).exists()]
    if not begun:
        return
    with reading_netcdf(begun[0]) as file:
        other = [key for key in ("id", "basis", "dictionary_sha256") if file.getncattr(key) != attrs[key]]
        if other:
            raise StorageError(
                f"{folder} holds codes of another dictionary or recording: {other[0]} "
                f"{file.getncattr(other[0])!r}, not {attrs[other[0]]!r}. Remove the folder, or load the "
                "dictionary under another name."
            )


def _begun(folder: Path, stimuli: Sequence[Sequence[str]]) -> Mapping[str, Mapping[str, Any]]:
    """Entries of the shards that an interrupted run left, if they hold these stimuli each.

    Shards of other stimuli, from before the activations were consolidated, are removed with their manifest.
    """
    done = entries(folder, "shard")
    wanted = {shard_name(number): list(labels) for number, labels in enumerate(stimuli)}
    if all(entry["stimuli"] == wanted.get(name) for name, entry in done.items()):
        return done
    shutil.rmtree(folder)
    return {}


def _stored_fit(store: Store, tables: Tables, layer: int, dictionary: Dictionary) -> Fit:
    first = first_rows(tables)
    is_ordinary = ~(tables.rows["is_special"] | tables.rows["is_sink"])
    chosen = np.unique(np.linspace(0, len(first) - 2, min(SAMPLED, len(first) - 1)).astype(int))
    spans = [slice(int(first[i]), int(first[i + 1])) for i in chosen]
    rows = [store.read(layer, span.start, span.stop)[is_ordinary[span]] for span in spans]
    return check_fit(dictionary, np.concatenate(rows))


def _stimulus_bounds(store: Store, tables: Tables) -> Iterator[tuple[int, int]]:
    """Stimuli of each shard of codes: those of the raw shards, or equally many where these are gone."""
    first = first_rows(tables)
    if store.has_layers:
        bounds = [*range(0, len(tables.stimuli), STIMULI_AT_ONCE), len(tables.stimuli)]
    else:
        bounds = np.searchsorted(first, store.bounds, side="left").tolist()
    return itertools.pairwise(bounds)


def _shard(
    store: Store, tables: Tables, layer: int, start: int, stop: int, dictionary: Dictionary
) -> CodeShard:
    first = first_rows(tables)
    low, high = int(first[start]), int(first[stop])
    rows = {name: values[low:high] for name, values in tables.rows.items() if name != "is_sink"}
    rows["stimulus_index"] = rows["stimulus_index"] - start
    activation = store.read(layer, low, high)
    return CodeShard(
        stimuli=tables.stimuli.iloc[start:stop].reset_index(drop=True),
        rows=rows,
        layer=dictionary.layer,
        norm=tables.norm[low:high, layer],
        codes=encoded(dictionary, activation, ~rows["is_special"]),
    )
