"""Run a subject over stimuli once and keep what a protocol asks for, as a session on disk."""

import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurosae.protocol.models import Protocol
from neurosae.recording.acquisition import Progress, run_shards
from neurosae.recording.files import sha256, storage_error, write_json
from neurosae.recording.flags import non_finite, sinks
from neurosae.recording.header import file_attrs, now, register, seal
from neurosae.recording.lock import writing_alone
from neurosae.recording.plan import Plan, check_inputs, check_room, make_plan, output_state
from neurosae.recording.session import (
    HEADER,
    PROTOCOL,
    STIMULI,
    Session,
    open_session,
    read_header,
)
from neurosae.recording.shard import Tables, concatenate, read_tables
from neurosae.recording.store import shard_name, write_tables
from neurosae.schema.names import RESIDUAL_SITES
from neurosae.stimulus.load import load_stimuli
from neurosae.subject.interface import Subject


def record(
    subject: Subject,
    protocol: Protocol,
    out: Path | str,
    *,
    overwrite: bool = False,
    stimuli: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> Session:
    """Record what a protocol asks for; a session that was interrupted is continued.

    The protocol's hash, the versions in use and the time are written before the subject runs. Shards that
    are complete on disk are not run again. A finished session of the same recording is returned as it is.

    Parameters
    ----------
    subject : the model under study
    protocol : what `neurosae.load_protocol` gives
    out : folder of the session; its parents are made
    overwrite : record anew; a session in ``out`` stays until the new one is finished, then is replaced
    stimuli : stimulus table, by default that of the protocol
    progress : called as ``progress(n_stimuli_done, n_stimuli)``

    Returns
    -------
    Session

    Raises
    ------
    StorageError
        If ``out`` cannot be written, holds something else, is in use, or the disk is full.
    StimulusError, SubjectError
        If the stimuli, layers or sites cannot be recorded; nothing is run then.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from neurosae.subject.toy import ToySubject
    >>> study = Protocol(name="demo", stimuli="none", subject="toy", recording={"layers": [2]})
    >>> texts = pd.DataFrame({"stimulus": ["a", "b"], "text": ["the keys", "so"], "condition": ["x", "y"]})
    >>> with TemporaryDirectory() as folder:
    ...     session = record(ToySubject(), study, folder, stimuli=texts)
    ...     dict(session["resid_post"].sizes)
    {'stimulus': 2, 'token': 3, 'layer': 1, 'feature': 32}
    """
    out = Path(out)
    stimuli = load_stimuli(protocol.stimuli) if stimuli is None else stimuli
    _restore(out)
    check_inputs(subject, protocol, stimuli, out, overwrite=overwrite)
    plan = make_plan(subject, protocol, stimuli)
    state = output_state(out, plan.config, overwrite=overwrite)
    if state == "done":
        return open_session(out)
    check_room(plan, out)
    folder = _beside(out, "new") if state == "replace" else out
    if state == "replace":
        _clear(folder, plan)
    _record_into(folder, subject, protocol, stimuli, plan, progress)
    if state == "replace":
        _swap(folder, out)
    return open_session(out)


def _beside(out: Path, role: str) -> Path:
    return out.absolute().with_name(f".{out.absolute().name}.{role}")


def _restore(out: Path) -> None:
    """Undo a replacement that was killed between its two renames."""
    old = _beside(out, "old")
    if old.exists() and not out.exists():
        os.rename(old, out)


def _clear(folder: Path, plan: Plan) -> None:
    """Remove what an earlier replacement left, unless it is an unfinished part of this recording."""
    header = read_header(folder) if (folder / HEADER).exists() else {}
    if folder.exists() and header.get("config_sha256") != plan.config_sha256:
        shutil.rmtree(folder)


def _swap(new: Path, out: Path) -> None:
    old = _beside(out, "old")
    try:
        shutil.rmtree(old, ignore_errors=True)
        os.rename(out, old)
        os.rename(new, out)
    except OSError as error:
        raise storage_error(out, error) from error
    shutil.rmtree(old, ignore_errors=True)


def _record_into(
    folder: Path,
    subject: Subject,
    protocol: Protocol,
    stimuli: pd.DataFrame,
    plan: Plan,
    progress: Progress | None,
) -> None:
    with writing_alone(folder):
        header = register(folder, protocol, stimuli, plan)
        run_shards(folder, subject, stimuli, plan, header, progress)
        _finish(folder, plan, header)


def _finish(folder: Path, plan: Plan, header: Mapping[str, Any]) -> None:
    """Flag sinks over the whole recording, write the tables of each store, declare the session complete."""
    tables = {site: _joined(folder / site, len(plan.shards)) for site in plan.sites}
    some = next(iter(tables.values()))
    is_sink = np.zeros(len(some.norm), dtype=bool)
    for site in set(plan.sites) & set(RESIDUAL_SITES):
        is_sink |= sinks(tables[site])
    for site, its in tables.items():
        flagged = Tables(its.stimuli, {**its.rows, "is_sink": is_sink}, its.layers, its.norm)
        write_tables(folder / site, flagged, plan.n_features[site], file_attrs(header, site))
    is_valid = ~(is_sink | some.rows["is_special"])
    is_broken = np.any([non_finite(its) for its in tables.values()], axis=0)
    counts = {
        "stimuli": len(some.stimuli),
        "tokens": len(is_sink),
        "special": int(some.rows["is_special"].sum()),
        "sinks": int((is_sink & ~some.rows["is_special"]).sum()),
        "valid": int(is_valid.sum()),
        "non_finite": int(is_broken.sum()),
    }
    finished = {
        "status": "complete",
        "finished": now(),
        "counts": counts,
        "exclusions": _exclusions(some, plan, is_valid),
        "non_finite": _flagged(some, is_broken),
        "files": {name: sha256(folder / name) for name in (PROTOCOL, STIMULI)},
    }
    write_json(folder / HEADER, seal({**header, **finished}))


def _joined(store: Path, n_shards: int) -> Tables:
    return concatenate([read_tables(store / shard_name(number)) for number in range(n_shards)])


def _flagged(tables: Tables, is_broken: np.ndarray) -> list[tuple[str, int]]:
    """Stimuli with NaN or infinite activations, each with the number of such tokens, and a warning."""
    labels = tables.stimuli["stimulus"].tolist()
    n_broken = np.bincount(tables.rows["stimulus_index"][is_broken], minlength=len(labels))
    flagged = [(label, int(n)) for label, n in zip(labels, n_broken, strict=True) if n]
    if flagged:
        warnings.warn(
            f"{is_broken.sum()} tokens of {len(flagged)} stimuli have NaN or infinite activations, first: "
            f"{flagged[0][0]!r}. They are kept as they are; leave these stimuli out of statistics.",
            stacklevel=5,
        )
    return flagged


def _exclusions(tables: Tables, plan: Plan, is_valid: np.ndarray) -> list[tuple[str, str]]:
    """Stimuli that were cut, or of which no valid token is left."""
    labels = tables.stimuli["stimulus"].tolist()
    n_valid = np.bincount(tables.rows["stimulus_index"][is_valid], minlength=len(labels))
    cut = [
        (label, f"cut from {whole} to {len(kept)} tokens")
        for label, whole, kept in zip(labels, plan.lengths, plan.tokens, strict=True)
        if whole > len(kept)
    ]
    return cut + [(label, "no valid token") for label, n in zip(labels, n_valid, strict=True) if n == 0]
