"""Record on the workers of dask.distributed, one shard a task; needs the extra ``distributed``.

The process that asks keeps the lock, the manifests and the header; workers only run stimuli and write shards.
So a worker that is killed costs the shard it was at, which another one makes.
"""

import functools
import itertools
import logging
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed

from neurosae.dictionary.catalogue import DictionaryRecipe, dictionary_recipe, make_dictionary
from neurosae.dictionary.interface import Dictionary
from neurosae.errors import StorageError, SubjectError
from neurosae.recording.acquisition import Attrs, Progress, Work
from neurosae.recording.plan import Order
from neurosae.recording.portion import Portion, portion, run_portion
from neurosae.recording.stores import complete_shards, enter_made, put_made
from neurosae.subject.interface import Subject
from neurosae.subject.recipe import Recipe, make_subject, recipe

TASKS_A_THREAD = 2
"""Tasks that are handed out: one that runs, one that waits; more would only take the scheduler's memory."""

TIMEOUT = 30.0
"""Seconds to wait for a scheduler to answer."""

_LOADING = threading.Lock()
"""Held while a subject is loaded, so that the threads of a worker share one."""


@dataclass(frozen=True)
class Job:
    """What is the same for every shard of a recording."""

    subject: Recipe
    dictionaries: tuple[DictionaryRecipe | Dictionary, ...]
    folder: Path
    order: Order
    attrs: Attrs


@contextmanager
def connected(address: str) -> Iterator[distributed.Client]:
    """A client of the scheduler at an address, or of N worker processes on this machine (``local:N``).

    Raises
    ------
    StorageError
        If no scheduler answers, or the address has another form.
    """
    local = re.fullmatch(r"local:([1-9]\d{0,3})", address)
    if local is None and (":" not in address or address.startswith("local")):
        raise StorageError(
            f"cluster {address!r} is given; it must be local:N, such as local:4, or the address of a dask "
            "scheduler, such as tcp://node1:8786."
        )
    if local is not None:
        logging.getLogger("distributed").setLevel(logging.getLogger().level)  # else it tells all it does
        options: dict[str, Any] = {"processes": True, "threads_per_worker": 1, "dashboard_address": None}
        with (
            distributed.LocalCluster(n_workers=int(local[1]), **options) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(address, timeout=TIMEOUT)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"no dask scheduler answers at {address} ({error}). Start one, or use local:N."
        ) from error
    with client:
        yield client


def run_on_cluster(
    work: Work, attrs: Attrs, client: distributed.Client, progress: Progress | None = None
) -> None:
    """Record the shards of a plan that are not complete on disk, on the workers of a client.

    Parameters
    ----------
    work : the recording; its folder must have the same path on every worker
    attrs : of the files of each store, by its folder
    client : of the cluster
    progress : called with the stimuli that are done, and all of them

    Raises
    ------
    SubjectError
        If a shard killed one worker after another.
    NeurosaeError
        What went wrong on a worker; shards that are complete stay.
    """
    every = range(len(work.plan.shards))
    done = complete_shards(work.folder, attrs, every)
    job = _job(work, attrs)
    submit = functools.partial(_submit, client, job, work)
    left = iter([number for number in every if number not in done])
    at_once = TASKS_A_THREAD * max(1, sum(client.nthreads().values()))
    ready = distributed.as_completed(map(submit, itertools.islice(left, at_once)))
    for future in ready:
        number, put = _result(future)
        enter_made(work.folder, put)
        done.add(number)
        if progress is not None:
            progress(work.count(done), len(work.stimuli))
        for following in itertools.islice(left, 1):
            ready.add(submit(following))


def _job(work: Work, attrs: Attrs) -> Job:
    dictionaries = tuple(dictionary_recipe(its) or its for its in work.dictionaries)
    return Job(recipe(work.subject), dictionaries, work.folder.absolute(), work.plan.order, attrs)


def _submit(client: distributed.Client, job: Job, work: Work, number: int) -> distributed.Future:
    return client.submit(
        _record_portion, job, portion(work.stimuli, work.plan, number), key=f"shard-{number}-{uuid.uuid4()}"
    )


def _result(future: distributed.Future) -> tuple[int, dict[str, dict[str, object]]]:
    try:
        number, put = future.result()
    except distributed.KilledWorker as error:
        raise SubjectError(
            f"one worker after another was killed at the same stimuli ({error}). Most likely their memory is "
            "too small: give workers more, or lower batch_tokens."
        ) from error
    return int(number), dict(put)


def _record_portion(job: Job, its: Portion) -> tuple[int, dict[str, dict[str, object]]]:
    """What a worker does: run the stimuli of a shard, write it, hand back the entries for the manifests."""
    with _LOADING:
        subject = _subject(job.subject)
        dictionaries = [
            _dictionary(each) if isinstance(each, DictionaryRecipe) else each for each in job.dictionaries
        ]
    made = run_portion(subject, dictionaries, job.order, its, judged=its.number == 0)
    return its.number, put_made(job.folder, made, job.attrs)


@functools.lru_cache(maxsize=1)
def _subject(its: Recipe) -> Subject:
    return make_subject(its)


@functools.lru_cache(maxsize=64)
def _dictionary(its: DictionaryRecipe) -> Dictionary:
    return make_dictionary(its)
