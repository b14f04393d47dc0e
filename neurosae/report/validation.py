"""What ``neurosae validate`` prints on stimuli, protocols and sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording.files import check_writable
from neurosae.recording.session import HEADER, open_session, read_header
from neurosae.recording.upkeep import damaged
from neurosae.recording.validation import misfits, unportable
from neurosae.report.study import StudyPlan, available_card, check_readable, check_study
from neurosae.stimulus.balance import balance_report, design_report
from neurosae.stimulus.load import load_stimuli
from neurosae.subject.batching import run_all
from neurosae.subject.catalogue import load_subject


@dataclass(frozen=True)
class Validation:
    """What was checked: lines for a reader, key figures for a script."""

    text: str
    summary: Mapping[str, object]


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse a result's file that is there already or could not be written, before anything is computed.

    Raises
    ------
    StorageError
        With the path and what to do.
    """
    if path.exists() and not overwrite:
        raise StorageError(f"{path} exists. Give another name, or --overwrite.")
    check_writable(path.parent)


def validate(
    target: Path | str,
    *,
    subject: str | None = None,
    surprisal: bool = False,
    portable: bool = False,
) -> Validation:
    """Check a protocol, a stimulus set or a session, and describe what is there.

    Parameters
    ----------
    target : protocol (``.toml``), stimulus set (folder or table) or session folder
    subject : whose tokens are counted; by default the protocol's, none for a stimulus set alone
    surprisal : run the subject over the stimuli and report surprisal beside length
    portable : also check that every common NetCDF reader reads the files of a session

    Returns
    -------
    Validation

    Raises
    ------
    NeurosaeError
        With the first rule that is broken.
    """
    path = Path(target)
    if (path / HEADER).is_file():
        return _session(path, portable=portable)
    if path.suffix == ".toml":
        plan = check_study(path, subject=subject)
        return _plan(plan, surprisal=surprisal)
    return _stimuli(load_stimuli(path), subject, surprisal=surprisal)


def _session(path: Path, *, portable: bool) -> Validation:
    bad, is_complete = damaged(path), read_header(path)["status"] == "complete"
    if bad:
        cure = "Restore them, or record again with --overwrite." if is_complete else "Record makes them anew."
        named = ", ".join(bad)
        raise CorruptFileError(f"{path}: {len(bad)} files are not what was written: {named}. {cure}")
    if not is_complete:
        raise StorageError(
            f"{path}: the session is not finished; every shard that it has is what was written. The same "
            "record command goes on with it."
        )
    _refuse(path, misfits(path), "do not fit together", "Record again with --overwrite.")
    if portable:
        _refuse(path, unportable(path), "are not portable", "Consolidate the session anew.")
    session = open_session(path)
    names = {"dictionaries": ", ".join(session.dictionaries)} if session.dictionaries else {}
    summary = {"session": path, "sites": ", ".join(session.sites), **names, **session.counts}
    lines = [f"{key}: {value}" for key, value in summary.items()]
    checked = "every file is what was written, and all fit together"
    return Validation(
        "\n".join([*lines, checked + (", and every file is portable" if portable else "")]), summary
    )


def _refuse(path: Path, problems: Sequence[tuple[str, str]], what: str, cure: str) -> None:
    if problems:
        found = "; ".join(f"{name} {problem}" for name, problem in problems)
        raise CorruptFileError(f"{path}: {len(problems)} files {what}: {found.rstrip('.')}. {cure}")


def _plan(plan: StudyPlan, *, surprisal: bool) -> Validation:
    protocol = plan.protocol
    main = _stimuli(plan.stimuli[protocol.stimuli], protocol.subject, surprisal=surprisal)
    analyses = {
        kind: ", ".join(table.name for table in getattr(protocol, kind)) or "none"
        for kind in ("contrasts", "rsa", "selectivity", "decoding", "causal")
    }
    summary = {"protocol": protocol.name, "sha256": protocol.sha256, **analyses, **main.summary}
    head = [f"{key}: {value}" for key, value in summary.items() if key in ("protocol", "sha256", *analyses)]
    return Validation("\n".join([*head, "", main.text]), summary)


def _stimuli(stimuli: pd.DataFrame, subject: str | None, *, surprisal: bool) -> Validation:
    covariates = {} if subject is None else _covariates(stimuli, subject, surprisal=surprisal)
    balance = balance_report(stimuli, covariates)
    design = design_report(stimuli)
    worst = balance.iloc[int(np.nanargmax(balance["largest_d"].abs().to_numpy()))]
    summary = {
        "stimuli": stimuli.attrs.get("name", ""),
        "n_stimuli": len(stimuli),
        "unit": design.attrs["unit"],
        "largest_d": f"{worst['largest_d']:.2f} ({worst['covariate']}, {worst['pair']})",
    }
    text = "\n".join(
        [
            f"stimuli: {summary['stimuli']}, {len(stimuli)} rows, unit of inference: {summary['unit']}",
            "",
            design.to_string(index=False),
            "",
            balance.to_string(index=False, float_format=lambda value: f"{value:.2f}"),
        ]
    )
    return Validation(text, summary)


def _covariates(stimuli: pd.DataFrame, name: str, *, surprisal: bool) -> dict[str, np.ndarray]:
    n_tokens = check_readable(stimuli, available_card(name), "none")
    if not surprisal:
        return {"n_tokens": n_tokens.astype(float)}
    subject = load_subject(name)
    tokens = subject.tokenize(stimuli["text"].tolist())
    means = np.full(len(tokens), np.nan)
    for indices, readings in run_all(subject, tokens, batch_tokens=1024, surprisal=True):
        lengths = [len(tokens[index]) for index in indices]
        for index, bits in zip(
            indices, np.split(np.asarray(readings.surprisal), np.cumsum(lengths)[:-1]), strict=True
        ):
            means[index] = np.nanmean(bits)
    return {"n_tokens": n_tokens.astype(float), "surprisal": means}
