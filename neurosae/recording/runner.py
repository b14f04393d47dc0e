"""Run a subject over stimuli once and keep what a protocol asks for, as a session on disk."""

import importlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

import pandas as pd

from neurosae.dictionary.catalogue import open_dictionary
from neurosae.dictionary.interface import Dictionary
from neurosae.protocol.models import Protocol
from neurosae.recording.acquisition import Progress, Work, run_shards
from neurosae.recording.code_store import open_codes
from neurosae.recording.completion import finish
from neurosae.recording.files import storage_error
from neurosae.recording.header import register, register_shared
from neurosae.recording.lock import writing_alone, writing_share
from neurosae.recording.output import output_state
from neurosae.recording.plan import Plan, check_inputs, check_room, make_plan
from neurosae.recording.session import HEADER, Session, open_session, read_header
from neurosae.recording.shares import Share, check_share, share_name, share_numbers
from neurosae.recording.stores import store_attrs, sweep
from neurosae.stimulus.load import load_stimuli
from neurosae.subject.interface import Subject

CLUSTER = "neurosae.recording.cluster"

Client: TypeAlias = Any
"""A `distributed.Client`; the package is loaded only by those who have one."""


@overload
def record(
    subject: Subject,
    protocol: Protocol,
    out: Path | str,
    *,
    overwrite: bool = ...,
    stimuli: pd.DataFrame | None = ...,
    dictionaries: Sequence[Dictionary] | None = ...,
    progress: Progress | None = ...,
    client: Client | None = ...,
    shard: None = ...,
) -> Session: ...


@overload
def record(
    subject: Subject,
    protocol: Protocol,
    out: Path | str,
    *,
    overwrite: bool = ...,
    stimuli: pd.DataFrame | None = ...,
    dictionaries: Sequence[Dictionary] | None = ...,
    progress: Progress | None = ...,
    client: Client | None = ...,
    shard: Share | None = ...,
) -> Session | None: ...


def record(
    subject: Subject,
    protocol: Protocol,
    out: Path | str,
    *,
    overwrite: bool = False,
    stimuli: pd.DataFrame | None = None,
    dictionaries: Sequence[Dictionary] | None = None,
    progress: Progress | None = None,
    client: Client | None = None,
    shard: Share | None = None,
) -> Session | None:
    """Record what a protocol asks for; a session that was interrupted is continued.

    The protocol's hash, the versions in use and the time are written before the subject runs. Activations of
    all sites and codes in all dictionaries come from one pass. Shards that are complete on disk are not run
    again. A finished session of the same recording is returned as it is. A text that does not fit into memory
    even alone is excluded, with a warning.

    Parameters
    ----------
    subject : the model under study
    protocol : what `neurosae.load_protocol` gives
    out : folder of the session; its parents are made
    overwrite : record anew; a session in ``out`` stays until the new one is finished, then is replaced
    stimuli : stimulus table, by default that of the protocol
    dictionaries : in place of those that the protocol names
    progress : called as ``progress(n_stimuli_done, n_stimuli)``
    client : a `distributed.Client` whose workers run the subject, one shard a task; they must see ``out``
    shard : (i, n) records the i-th of n shares of the shards, i from 1; several processes may do so at once,
        and `neurosae.merge` then finishes the session

    Returns
    -------
    Session, or None where ``shard`` is given and the session is not finished

    Raises
    ------
    StorageError
        If ``out`` cannot be written, holds something else, is in use, or the disk is full.
    StimulusError, SubjectError
        If the stimuli, layers or sites cannot be recorded; nothing is run then.
    DictionaryError
        If a dictionary is of another subject, layer, width or BOS policy, which is seen before anything is
        run; or explains nothing of the activations of the first shard.

    Warns
    -----
    UserWarning
        If activations are NaN or infinite, stimuli had to be left out, or a dictionary leaves more than half
        of the variance unexplained.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from neurosae.subject.toy import ToySubject
    >>> study = Protocol(name="demo", stimuli="none", subject="toy",
    ...     recording={"layers": [2], "dictionaries": ["toy"]})
    >>> texts = pd.DataFrame({"stimulus": ["a", "b"], "text": ["the keys", "so"], "condition": ["x", "y"]})
    >>> with TemporaryDirectory() as folder:
    ...     session = record(ToySubject(), study, folder, stimuli=texts)
    ...     dict(session["resid_post"].sizes), session["resid_post", "toy-resid_post-l2"].sizes["feature"]
    ({'stimulus': 2, 'token': 3, 'layer': 1, 'feature': 32}, 32)
    """
    out = Path(out)
    check_share(shard, overwrite=overwrite, client=client)
    stimuli = load_stimuli(protocol.stimuli) if stimuli is None else stimuli
    _restore(out)
    check_inputs(subject, protocol, stimuli, out, overwrite=overwrite)
    dictionaries = open_dictionaries(protocol) if dictionaries is None else dictionaries
    plan = make_plan(subject, protocol, stimuli, dictionaries)
    state = output_state(out, plan.config, overwrite=overwrite)
    if state == "done":
        return _complete(out)
    check_room(plan, out)
    folder = _beside(out, "new") if state == "replace" else out
    work = Work(folder, subject, dictionaries, stimuli, plan)
    if shard is not None:
        _record_share(work, protocol, shard, progress)
        return None
    if state == "replace":
        _clear(folder, plan)
    _record_whole(work, protocol, client, progress)
    if state == "replace":
        _swap(folder, out)
    return open_session(out)


def open_dictionaries(protocol: Protocol) -> list[Dictionary]:
    """The dictionaries that a protocol names.

    Raises
    ------
    DictionaryError
        If one is not there, or cannot be read.
    """
    return [open_dictionary(name, protocol.folder) for name in protocol.recording.dictionaries]


def _complete(out: Path) -> Session:
    """A session that is finished, every store of codes in it as well."""
    session = open_session(out)
    for its in session.dictionaries.values():
        open_codes(out / str(its["folder"]))
    return session


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


def _record_whole(work: Work, protocol: Protocol, client: Client | None, progress: Progress | None) -> None:
    """Record every shard that is missing, here or on the workers of a client, and finish the session."""
    with writing_alone(work.folder):
        header = register(work.folder, protocol, work.stimuli, work.plan)
        attrs = store_attrs(header)
        sweep(work.folder, attrs)
        if client is None:
            run_shards(work, attrs, range(len(work.plan.shards)), progress)
        else:
            _cluster().run_on_cluster(work, attrs, client, progress)
            sweep(work.folder, attrs)
        finish(work.folder, header)


def _record_share(work: Work, protocol: Protocol, share: Share, progress: Progress | None) -> None:
    writer = share_name(share)
    with writing_share(work.folder, writer):
        header = register_shared(work.folder, protocol, work.stimuli, work.plan)
        numbers = share_numbers(share, len(work.plan.shards))
        run_shards(work, store_attrs(header), numbers, progress, writer=writer)


def _cluster() -> Any:
    """The module that knows dask.distributed, which few have and which is slow to load."""
    return importlib.import_module(CLUSTER)
