"""Run the subject shard by shard; while one shard is written, the next one is computed."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from neurosae.errors import SubjectError
from neurosae.recording.files import sweep_parts
from neurosae.recording.header import file_attrs
from neurosae.recording.manifest import entries, is_intact
from neurosae.recording.plan import Plan
from neurosae.recording.shard import Shard, token_rows
from neurosae.recording.store import add_shard, shard_name
from neurosae.subject.batching import TooLargeError, run_all
from neurosae.subject.interface import Subject

Progress: TypeAlias = Callable[[int, int], object]


def run_shards(
    folder: Path,
    subject: Subject,
    stimuli: pd.DataFrame,
    plan: Plan,
    header: Mapping[str, Any],
    progress: Progress | None,
) -> None:
    """Record every shard of ``plan`` that is not complete on disk; at most two are in memory at a time.

    Raises
    ------
    StorageError
        If a file cannot be written; shards that are complete stay.
    """
    for place in (folder, *(folder / site for site in plan.sites)):
        sweep_parts(place)
        sweep_parts(place / "shards")
    done = _complete_shards(folder, plan)
    writing: Future[None] | None = None
    with ThreadPoolExecutor(max_workers=1) as writer:
        for number, (start, stop) in enumerate(plan.shards):
            if number not in done:
                report = _shifted(progress, start, len(stimuli))
                shards = _run_named(subject, stimuli.iloc[start:stop], plan, start, report)
                _settle(writing)
                writing = writer.submit(_write, folder, number, shards, header)
            _report(progress, stop, len(stimuli))
        _settle(writing)


def _settle(writing: Future[None] | None) -> None:
    """Wait for the shard that is being written; what went wrong there is raised here."""
    if writing is not None:
        writing.result()


def _write(folder: Path, number: int, shards: Mapping[str, Shard], header: Mapping[str, Any]) -> None:
    for site, shard in shards.items():
        add_shard(folder / site, number, shard, file_attrs(header, site))


def _report(progress: Progress | None, n_done: int, n_stimuli: int) -> None:
    if progress is not None:
        progress(n_done, n_stimuli)


def _shifted(progress: Progress | None, start: int, n_stimuli: int) -> Callable[[int], object]:
    return lambda n_done: _report(progress, start + n_done, n_stimuli)


def _complete_shards(folder: Path, plan: Plan) -> set[int]:
    """Numbers of the shards that are intact at every site."""
    numbers = set(range(len(plan.shards)))
    for site in plan.sites:
        known = entries(folder / site, "shard")
        numbers &= {
            number
            for number in numbers
            if (name := shard_name(number)) in known and is_intact(folder / site, name, known[name])
        }
    return numbers


def _run_named(
    subject: Subject, stimuli: pd.DataFrame, plan: Plan, start: int, report: Callable[[int], object]
) -> dict[str, Shard]:
    """A shard; a text too large for the memory is named by its stimulus."""
    try:
        return _run_shard(subject, stimuli, plan, start, report)
    except TooLargeError as error:
        label = stimuli["stimulus"].iloc[error.position]
        raise SubjectError(
            f"stimulus {label!r}: {error} The same call goes on where it stopped if only memory was short."
        ) from error


def _run_shard(
    subject: Subject, stimuli: pd.DataFrame, plan: Plan, start: int, report: Callable[[int], object]
) -> dict[str, Shard]:
    tokens = plan.tokens[start : start + len(stimuli)]
    first = np.cumsum([0, *(len(text) for text in tokens)])
    asked: dict[str, Any] = {"sites": dict.fromkeys(plan.sites, plan.layers), "surprisal": plan.surprisal}
    shape = (int(first[-1]), len(plan.layers))
    values: dict[str, np.ndarray] = {}
    bits = np.full(first[-1], np.nan)
    n_done = 0
    for indices, readings in run_all(subject, tokens, batch_tokens=plan.batch_tokens, **asked):
        place = _rows_of(first, indices)
        if len(indices) == len(tokens) and isinstance(place, slice):
            values = dict(readings.activations)
        values = values or {site: np.empty((*shape, n), np.float32) for site, n in plan.n_features.items()}
        for site, array in values.items():
            if array is not readings.activations[site]:
                array[place] = readings.activations[site]
        if readings.surprisal is not None:
            bits[place] = readings.surprisal
        n_done += len(indices)
        report(n_done)
    table = stimuli.reset_index(drop=True)
    rows = token_rows(table, tokens) | ({"surprisal": bits} if plan.surprisal else {})
    return {site: Shard(table, rows, plan.layers, array) for site, array in values.items()}


def _rows_of(first: np.ndarray, indices: Sequence[int] | np.ndarray) -> slice | np.ndarray:
    """Rows of some texts, as a slice where they are consecutive: no index, and no copy of a whole shard."""
    if (np.diff(indices) == 1).all():
        return slice(int(first[indices[0]]), int(first[indices[-1] + 1]))
    return np.concatenate([np.arange(first[index], first[index + 1]) for index in indices])
