"""Run a study from its protocol alone: check everything, record, analyse, lesion, report."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from neurosae.dictionary.catalogue import check_dictionary
from neurosae.errors import ProtocolError, StorageError, SubjectError
from neurosae.protocol.checks import check_protocol
from neurosae.protocol.load import load_protocol
from neurosae.protocol.models import ANALYSES, Protocol, read_document
from neurosae.protocol.tables import CausalPlan
from neurosae.recording.completion import NOT_RUN
from neurosae.recording.plan import check_recordable
from neurosae.recording.runner import CLUSTER, open_dictionaries, record
from neurosae.recording.session import PROTOCOL, Session, open_session
from neurosae.recording.shares import Share, check_share, parse_share
from neurosae.report.context import Progress, Study, silent
from neurosae.report.designs import check_designs
from neurosae.report.page import write_report
from neurosae.report.shelf import Shelf
from neurosae.report.steps import run_steps
from neurosae.stimulus.checks import check_lengths, check_special_strings, check_tokenized
from neurosae.stimulus.load import load_stimuli
from neurosae.subject.catalogue import SubjectCard, load_subject, subject_card
from neurosae.subject.interface import Subject


@dataclass(frozen=True)
class StudyPlan:
    """A study whose protocol, stimuli and subject have been checked; no model is loaded yet.

    stimuli : the tables, by path; causal experiments hold the pairs that will be tested
    """

    protocol: Protocol
    stimuli: Mapping[Path, pd.DataFrame]
    card: SubjectCard


def check_study(
    protocol: Path | str,
    *,
    subject: str | None = None,
    controls: int | None = None,
    max_pairs: int | None = None,
) -> StudyPlan:
    """Read a protocol and all it names, and refuse what could not be run, before a model is loaded.

    Parameters
    ----------
    protocol : TOML file
    subject : another subject than the protocol's
    controls, max_pairs : at most so many shams and tested pairs in each causal experiment

    Returns
    -------
    StudyPlan

    Raises
    ------
    ProtocolError, ContrastError, DesignError, StimulusError, SubjectError
        With what is wrong and what to do.
    """
    plan = _changed(load_protocol(protocol), subject=subject, controls=controls, max_pairs=max_pairs)
    paths = dict.fromkeys([plan.stimuli, *(table.stimuli for table in plan.causal)])
    stimuli = {path: load_stimuli(path) for path in paths}
    check_protocol(plan, stimuli)
    check_designs(plan, stimuli[plan.stimuli])
    _check_sites(plan)
    for name in plan.recording.dictionaries:
        check_dictionary(name, plan.folder)
    card = available_card(plan.subject)
    _check_layers(plan, card)
    for table in stimuli.values():
        check_readable(table, card, plan.recording.truncate)
    return StudyPlan(plan, stimuli, card)


def _changed(
    protocol: Protocol, *, subject: str | None, controls: int | None, max_pairs: int | None
) -> Protocol:
    given = {"controls": controls, "max_pairs": max_pairs}
    changes = {key: value for key, value in given.items() if value is not None}
    if changes:
        protocol = protocol.at(causal=[_capped(table, changes) for table in protocol.causal])
    return protocol if subject is None else protocol.at(subject=subject)


def _capped(table: CausalPlan, most: Mapping[str, int]) -> dict[str, object]:
    """A causal experiment with at most so many shams and pairs."""
    given = table.model_dump(exclude_none=True)
    return {**given, **{key: min(limit, given.get(key, limit)) for key, limit in most.items()}}


def available_card(name: str) -> SubjectCard:
    """What is known of a subject that is at hand.

    Raises
    ------
    SubjectError
        If it is not; the message holds the command that gets it.
    """
    card = subject_card(name)
    if not card.available:
        raise SubjectError(f"subject {name!r} is not on this machine. {card.how_to_get}")
    return card


def _check_sites(protocol: Protocol) -> None:
    analyses = [kind for kind in ANALYSES if getattr(protocol, kind)]
    if analyses and not protocol.recording.sites:
        raise ProtocolError(
            f"recording.sites is empty, and {analyses[0]} need a site. Name one in [recording], or leave the "
            "analyses out and do them on the codes in Python."
        )


def _check_layers(protocol: Protocol, card: SubjectCard) -> None:
    recorded = protocol.recording.layers
    wanted = [*(recorded if recorded != "all" else ())]
    wanted += [table.stimulation.layer for table in protocol.causal if table.stimulation is not None]
    outside = sorted({layer for layer in wanted if not 0 <= layer < card.n_layers})
    if outside:
        raise SubjectError(
            f"{card.name} has layers 0 to {card.n_layers - 1}; the protocol names {outside}. Change "
            "[recording] layers, or the layer of the stimulation."
        )


def check_readable(stimuli: pd.DataFrame, card: SubjectCard, truncate: str) -> np.ndarray:
    """Number of tokens of each text, special ones left out; refuse texts the subject cannot read as they are.

    Raises
    ------
    StimulusError
        If a text has no tokens or more than the context holds, or spells one of the subject's control tokens.
    """
    check_special_strings(stimuli, card.special_strings)
    tokens = card.load_tokenizer().tokenize(stimuli["text"].tolist())
    n_tokens = np.array([int((~text.is_special).sum()) for text in tokens])
    check_tokenized(stimuli, n_tokens)
    check_lengths(stimuli, [len(text) for text in tokens], card.context_length, truncate)
    return n_tokens


def record_study(
    plan: StudyPlan,
    out: Path | str,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
    shard: str | None = None,
    cluster: str | None = None,
) -> Session | None:
    """Record the stimuli of a checked study, see `neurosae.record`.

    Parameters
    ----------
    plan : result of `check_study`
    out : folder of the session
    overwrite : replace a session that is there
    progress : announces the step
    shard : share of the shards that is recorded, as in '3/20'
    cluster : 'local:4', or the address of a dask scheduler

    Returns
    -------
    Session, or None where only a share was recorded
    """
    share = None if shard is None else parse_share(shard)
    check_share(share, overwrite=overwrite, client=cluster)
    if share is not None:
        return _record_share(plan, Path(out), share, progress)
    if cluster is None:
        return _record(plan, Path(out), overwrite, progress)[0]
    with importlib.import_module(CLUSTER).connected(cluster) as client:
        return _record(plan, Path(out), overwrite, progress, client)[0]


def not_run(session: Session) -> list[str]:
    """Stimuli that did not fit into memory when the session was recorded."""
    exclusions = session.exclusions
    return list(exclusions["stimulus"][exclusions["reason"] == NOT_RUN])


def _record(
    plan: StudyPlan, out: Path, overwrite: bool, progress: Progress, client: object = None
) -> tuple[Session, Callable[[], Subject]]:
    stimuli = plan.stimuli[plan.protocol.stimuli]
    check_recordable(plan.card, plan.protocol, stimuli, out, overwrite=overwrite)
    subject = cache(lambda: load_subject(plan.protocol.subject))
    if _is_finished(plan, out) and not overwrite:
        return open_session(out), subject
    dictionaries = open_dictionaries(plan.protocol)
    advance = progress("recording")
    session = record(
        subject(),
        plan.protocol,
        out,
        overwrite=overwrite,
        stimuli=stimuli,
        dictionaries=dictionaries,
        progress=advance,
        client=client,
    )
    return session, subject


def _record_share(plan: StudyPlan, out: Path, share: Share, progress: Progress) -> Session | None:
    stimuli = plan.stimuli[plan.protocol.stimuli]
    check_recordable(plan.card, plan.protocol, stimuli, out)
    dictionaries = open_dictionaries(plan.protocol)
    subject, advance = load_subject(plan.protocol.subject), progress("recording")
    return record(
        subject,
        plan.protocol,
        out,
        stimuli=stimuli,
        dictionaries=dictionaries,
        progress=advance,
        shard=share,
    )


def _is_finished(plan: StudyPlan, out: Path) -> bool:
    try:
        session = open_session(out)
    except StorageError:
        return False
    return session.provenance["protocol"]["sha256"] == plan.protocol.sha256


def run_study(
    plan: StudyPlan, out: Path | str, *, overwrite: bool = False, progress: Progress = silent
) -> Study:
    """Record, analyse, perturb and report a checked study; what is done already is not done again.

    Parameters
    ----------
    plan : result of `check_study`
    out : folder of the session; results go to its ``derived`` folder, the report beside it
    overwrite : replace a session that is there
    progress : announces each step, see `neurosae.report.steps.Progress`

    Returns
    -------
    Study
        Its session is recorded, its results are on the shelf, ``report.html`` is written.

    Raises
    ------
    StorageError
        If ``out`` holds something else, or cannot be written.
    """
    session, subject = _record(plan, Path(out), overwrite, progress)
    study = Study(plan.protocol, session, Shelf(session.path), progress)
    run_steps(study, subject, {table.name: _tested(plan, table) for table in plan.protocol.causal})
    progress("report")
    write_report(study)
    return study


def _tested(plan: StudyPlan, table: CausalPlan) -> pd.DataFrame:
    """The pairs an experiment tests: all, or a random sample of ``max_pairs`` of them."""
    stimuli = plan.stimuli[table.stimuli]
    if table.max_pairs is None or "pair" not in stimuli:
        return stimuli
    pairs = stimuli["pair"].unique()
    n = min(table.max_pairs, len(pairs))
    chosen = np.random.default_rng(plan.protocol.seed).choice(pairs, n, replace=False)
    return stimuli[stimuli["pair"].isin(chosen)].reset_index(drop=True)


def open_study(folder: Path | str) -> Study:
    """A study that was run before, as its session folder holds it."""
    session = open_session(folder)
    protocol = read_document(
        session.protocol, folder=Path(), text=session.protocol_text, label=str(session.path / PROTOCOL)
    )
    return Study(protocol, session, Shelf(session.path), silent)
