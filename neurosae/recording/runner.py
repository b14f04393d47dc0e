"""Run a subject over stimuli once and keep what a protocol asks for, as a session on disk."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd

from neurosae.errors import StorageError
from neurosae.protocol.models import Protocol
from neurosae.recording.acquisition import Progress, run_shards
from neurosae.recording.files import storage_error, write_json
from neurosae.recording.header import file_attrs, now, register
from neurosae.recording.plan import LOCK, Plan, check_inputs, check_room, make_plan, output_state
from neurosae.recording.session import (
    HEADER,
    Session,
    open_session,
    read_header,
    sinks,
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
    with _locked(folder):
        header = register(folder, protocol, stimuli, plan)
        run_shards(folder, subject, stimuli, plan, header, progress)
        _finish(folder, plan, header)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from recording into ``folder``; a killed process holds no lock."""
    lock = filelock.FileLock(folder / LOCK, blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise StorageError(f"{folder} is being recorded by another process. Wait for it to end.") from error
    except OSError as error:
        raise storage_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()
        (folder / LOCK).unlink(missing_ok=True)


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
    counts = {
        "stimuli": len(some.stimuli),
        "tokens": len(is_sink),
        "special": int(some.rows["is_special"].sum()),
        "sinks": int((is_sink & ~some.rows["is_special"]).sum()),
        "valid": int(is_valid.sum()),
    }
    finished = {
        "status": "complete",
        "finished": now(),
        "counts": counts,
        "exclusions": _exclusions(some, plan, is_valid),
    }
    write_json(folder / HEADER, {**header, **finished})


def _joined(store: Path, n_shards: int) -> Tables:
    return concatenate([read_tables(store / shard_name(number)) for number in range(n_shards)])


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
