"""Recording on several processes gives what one process gives, bit for bit, even if one of them is killed."""

import dataclasses
import os
import signal
import warnings
from types import SimpleNamespace

import distributed
import pytest
from typer.testing import CliRunner

from neurosae.cli.app import app
from neurosae.errors import DictionaryError, StorageError, SubjectError
from neurosae.recording import cluster, lock, plan
from neurosae.recording.cluster import connected
from neurosae.recording.runner import record
from neurosae.recording.session import open_session
from neurosae.recording.upkeep import damaged
from neurosae.subject.recipe import make_subject, recipe
from neurosae.subject.toy import ToySubject
from tests.recorded import dictionary, protocol, same, stimuli

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of the event loop that distributed leaves open
]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Two workers, each a process of one thread, as the command line starts them."""
    with connected("local:2") as client:
        yield client


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 3)
    monkeypatch.setattr(lock, "_PATIENCE", 0.1)


def make(folder, table=None, **how):
    table = stimuli(31) if table is None else table
    some = how.pop("dictionaries", [dictionary()])
    return record(ToySubject(seed=2), protocol(), folder, stimuli=table, dictionaries=some, **how)


def test_a_worker_that_is_killed_loses_nothing(tmp_path, client):
    whole = make(tmp_path / "whole")
    killed, seen = [], []

    def kill(done, total):
        seen.append((done, total))
        if not killed:
            pids = client.run(os.getpid)
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], signal.SIGKILL)

    spread = make(tmp_path / "out", client=client, progress=kill)
    same(whole, spread)
    assert damaged(tmp_path / "out") == []
    assert killed
    assert seen[-1] == (31, 31)
    assert seen == sorted(seen)
    files = lambda folder: sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))  # noqa: E731
    assert files(tmp_path / "whole") == files(tmp_path / "out")


def test_the_command_line_takes_the_address_of_a_scheduler(tmp_path, client):
    stimuli().to_csv(tmp_path / "words.tsv", sep="\t", index=False)
    study = tmp_path / "codes.toml"
    study.write_text(
        "name = 'codes'\nstimuli = 'words.tsv'\nsubject = 'toy'\n[recording]\ndictionaries = ['toy']\n"
    )
    for out, options in (("whole", []), ("out", ["--cluster", client.scheduler.address])):
        arguments = ["-q", "record", str(study), "-o", str(tmp_path / out), *options]
        assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    same(open_session(tmp_path / "whole"), open_session(tmp_path / "out"))


def test_what_is_complete_is_not_run_again(tmp_path, client):
    make(tmp_path / "out", shard=(1, 2))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("shard-*.nc")}
    make(tmp_path / "out", client=client)
    assert len(before) == 12
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_what_goes_wrong_on_a_worker_is_told_here(tmp_path, client, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 20)
    wrong = [dictionary(shift=-50.0)]
    with pytest.raises(DictionaryError, match="of the variance unexplained"):
        make(tmp_path / "out", table=stimuli(36), client=client, dictionaries=wrong)
    assert not list((tmp_path / "out").rglob(".writer*"))


def test_stimuli_that_kill_one_worker_after_another_are_named():
    def killed():
        raise distributed.KilledWorker("shard-3-x", SimpleNamespace(address="tcp://127.0.0.1:1"), 4)

    with pytest.raises(SubjectError, match=r"one worker after another was killed .*shard-3"):
        cluster._result(SimpleNamespace(result=killed))


def test_the_subject_of_a_worker_is_the_one_that_was_asked_for():
    ours = ToySubject(n_layers=3, seed=5)
    assert make_subject(recipe(ours)).describe() == ours.describe()
    other = dataclasses.replace(recipe(ours), content=(("weights_sha256", "another"),))
    with pytest.raises(SubjectError, match="differs in weights_sha256 from the one that is recorded"):
        make_subject(other)


@pytest.mark.parametrize("address", ["local", "local:0", "local:x", "nowhere"])
def test_addresses_of_another_form_are_refused(address):
    with pytest.raises(StorageError, match=r"local:N, such as local:4"), connected(address):
        pass


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 0.3)
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(StorageError, match=r"no dask scheduler answers at tcp://127.0.0.1:9"),
        connected("tcp://127.0.0.1:9"),
    ):
        pass
