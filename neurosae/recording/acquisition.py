"""Run the subject shard by shard; while one shard is written, the next one is computed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from neurosae.dictionary.interface import Dictionary
from neurosae.recording.plan import Plan
from neurosae.recording.portion import Made, portion, run_portion
from neurosae.recording.stores import complete_shards, enter_made, put_made
from neurosae.subject.interface import Subject

Progress: TypeAlias = Callable[[int, int], object]
Attrs: TypeAlias = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Work:
    """A recording to be made in a folder: who is run over what."""

    folder: Path
    subject: Subject
    dictionaries: Sequence[Dictionary]
    stimuli: pd.DataFrame
    plan: Plan

    def count(self, numbers: Collection[int]) -> int:
        """Number of stimuli in some shards."""
        return sum(self.plan.shards[number][1] - self.plan.shards[number][0] for number in numbers)


def run_shards(
    work: Work,
    attrs: Attrs,
    numbers: Sequence[int],
    progress: Progress | None = None,
    *,
    writer: str = "",
) -> None:
    """Record some shards of a plan unless they are complete on disk; at most two are in memory at a time.

    The fit of dictionaries is judged on the first shard of the plan, where it is kept, and on the first that
    is run here, so that no work is wasted on those that do not fit.

    Parameters
    ----------
    work : the recording
    attrs : of the files of each store, by its folder
    numbers : of the shards
    progress : called with the stimuli of these shards that are done, and all of them
    writer : whose manifests the files are entered into

    Raises
    ------
    StorageError
        If a file cannot be written; shards that are complete stay.
    DictionaryError
        If a dictionary explains nothing of what it is to encode.
    """
    done = complete_shards(work.folder, attrs, numbers)
    judged = {0, *[number for number in numbers if number not in done][:1]}
    total, n_before = work.count(numbers), 0
    writing: Future[None] | None = None
    with ThreadPoolExecutor(max_workers=1) as pool:
        for number in numbers:
            if number not in done:
                report = _shifted(progress, n_before, total)
                made = _run(work, number, judged=number in judged, report=report)
                _settle(writing)
                writing = pool.submit(_write, work.folder, made, attrs, writer)
            n_before += work.count([number])
            _report(progress, n_before, total)
        _settle(writing)


def _run(work: Work, number: int, *, judged: bool, report: Callable[[int], object]) -> Made:
    its = portion(work.stimuli, work.plan, number)
    return run_portion(work.subject, work.dictionaries, work.plan.order, its, judged=judged, report=report)


def _settle(writing: Future[None] | None) -> None:
    """Wait for the shard that is being written; what went wrong there is raised here."""
    if writing is not None:
        writing.result()


def _write(folder: Path, made: Made, attrs: Attrs, writer: str) -> None:
    enter_made(folder, put_made(folder, made, attrs), writer=writer)


def _report(progress: Progress | None, n_done: int, n_stimuli: int) -> None:
    if progress is not None:
        progress(n_done, n_stimuli)


def _shifted(progress: Progress | None, start: int, n_stimuli: int) -> Callable[[int], object]:
    return lambda n_done: _report(progress, start + n_done, n_stimuli)
