"""Finish a session once every shard is there: flag sinks, write tables and files by feature, seal it."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurosae.recording.code_store import index_codes
from neurosae.recording.files import sha256, write_json
from neurosae.recording.flags import non_finite, sinks
from neurosae.recording.header import now
from neurosae.recording.manifest import entries
from neurosae.recording.seals import seal
from neurosae.recording.session import HEADER, PROTOCOL, STIMULI
from neurosae.recording.shard import Tables, concatenate, read_tables
from neurosae.recording.store import shard_name, write_tables
from neurosae.recording.stores import fold_manifests, planned_codes, store_attrs
from neurosae.schema.names import RESIDUAL_SITES
from neurosae.schema.spelling import listed

NOT_RUN = "too large for the memory, not run"
"""Why a stimulus is excluded that no batch was small enough for."""


def finish(folder: Path, header: Mapping[str, Any]) -> None:
    """Flag sinks, write the tables of each store and the files by feature, and seal the header.

    Parameters
    ----------
    folder : of the session, every shard of which is complete
    header : of the unfinished session

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    attrs, n_shards = store_attrs(header), len(header["config"]["shards"])
    for store in attrs:
        fold_manifests(folder / store)
    tables = {store: _joined(folder / store, n_shards) for store in attrs}
    some = next(iter(tables.values()))
    is_sink = np.zeros(len(some.norm), dtype=bool)
    for store, its in tables.items():
        if attrs[store]["site"] in RESIDUAL_SITES:
            is_sink |= sinks(its)
    for store, its in tables.items():
        flagged = Tables(its.stimuli, {**its.rows, "is_sink": is_sink}, its.layers, its.norm)
        write_tables(folder / store, flagged, header["n_features"][store], attrs[store])
    for dictionary in planned_codes(header):
        index_codes(folder / dictionary["folder"])
    is_broken = np.any([non_finite(its) for its in tables.values()], axis=0) & ~_missing(some)
    write_json(folder / HEADER, seal(_finished(folder, header, some, is_sink, is_broken)))
    _warn(some, is_broken)


def _finished(
    folder: Path, header: Mapping[str, Any], tables: Tables, is_sink: np.ndarray, is_broken: np.ndarray
) -> dict[str, Any]:
    is_special, is_missing = tables.rows["is_special"], _missing(tables)
    is_valid = ~(is_sink | is_special | is_missing)
    counts = {
        "stimuli": len(tables.stimuli),
        "tokens": len(is_sink),
        "special": is_special.sum(),
        "sinks": (is_sink & ~is_special).sum(),
        "valid": is_valid.sum(),
        "non_finite": is_broken.sum(),
        "missing": is_missing.sum(),
    }
    return {
        **header,
        "status": "complete",
        "finished": now(),
        "counts": {name: int(count) for name, count in counts.items()},
        "exclusions": [*header["exclusions"], *_exclusions(tables, is_missing, is_valid)],
        "non_finite": _counted(tables, is_broken),
        "files": {name: sha256(folder / name) for name in (PROTOCOL, STIMULI)},
        "dictionaries": [_with_fit(folder, its) for its in planned_codes(header)],
    }


def _joined(store: Path, n_shards: int) -> Tables:
    return concatenate([read_tables(store / shard_name(number)) for number in range(n_shards)])


def _with_fit(folder: Path, described: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a dictionary, with its fit on the first shard."""
    entry = entries(folder / described["folder"], "shard")[shard_name(0)]
    return {**described, "fvu": entry["fvu"], "l0": entry["l0"]}


def _missing(tables: Tables) -> np.ndarray:
    return tables.rows.get("is_missing", np.zeros(len(tables.norm), dtype=bool))


def _counted(tables: Tables, is_flagged: np.ndarray) -> list[tuple[str, int]]:
    """Stimuli with flagged tokens, each with their number."""
    labels = tables.stimuli["stimulus"].tolist()
    counts = np.bincount(tables.rows["stimulus_index"][is_flagged], minlength=len(labels))
    return [(label, int(n)) for label, n in zip(labels, counts, strict=True) if n]


def _exclusions(tables: Tables, is_missing: np.ndarray, is_valid: np.ndarray) -> list[tuple[str, str]]:
    """Stimuli that were not run, or of which no valid token is left."""
    labels = tables.stimuli["stimulus"].tolist()
    missing = [label for label, _ in _counted(tables, is_missing)]
    n_valid = np.bincount(tables.rows["stimulus_index"][is_valid], minlength=len(labels))
    without = [label for label, n in zip(labels, n_valid, strict=True) if n == 0]
    not_run = [(label, NOT_RUN) for label in missing]
    return not_run + [(label, "no valid token") for label in without if label not in set(missing)]


def _warn(tables: Tables, is_broken: np.ndarray) -> None:
    broken, missing = _counted(tables, is_broken), _counted(tables, _missing(tables))
    if broken:
        warnings.warn(
            f"{is_broken.sum()} tokens of {len(broken)} stimuli have NaN or infinite activations, first: "
            f"{broken[0][0]!r}. They are kept as they are; leave these stimuli out of statistics.",
            stacklevel=5,
        )
    if missing:
        names: Sequence[str] = [repr(label) for label, _ in missing]
        warnings.warn(
            f"{len(names)} stimuli did not fit into memory, not even alone, and were not run: "
            f"{listed(names, most=5)}. They are excluded. Shorten them, ask for fewer layers or sites, or "
            "load the subject with dtype='bfloat16', and record anew with overwrite.",
            stacklevel=5,
        )
