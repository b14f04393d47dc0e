"""Shares recorded by several processes and merged are one recording, as if a single process had made it."""

import os
import signal
from types import SimpleNamespace

import pytest

from neurosae.errors import StorageError
from neurosae.recording import completion, header, lock, plan
from neurosae.recording.lock import writing_alone, writing_share
from neurosae.recording.manifest import read_manifest
from neurosae.recording.runner import record
from neurosae.recording.session import open_session
from neurosae.recording.shares import merge, parse_share
from neurosae.recording.upkeep import damaged
from neurosae.subject.toy import ToySubject
from tests.recorded import dictionary, protocol, same, shard_bytes, stimuli


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 2)
    monkeypatch.setattr(lock, "_PATIENCE", 0.1)


@pytest.fixture
def frozen(monkeypatch):
    """Sessions that differ in nothing but what was recorded."""
    fixed = SimpleNamespace(uuid4=lambda: "00000000-0000-4000-8000-000000000000")
    monkeypatch.setattr(header, "uuid", fixed)
    for module in (header, completion):
        monkeypatch.setattr(module, "now", lambda: "2000-01-01T00:00:00+00:00")


def make(folder, subject=None, table=None, **how):
    table = stimuli() if table is None else table
    some = [dictionary()]
    return record(subject or ToySubject(), protocol(), folder, stimuli=table, dictionaries=some, **how)


def in_process(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_shares_of_processes_at_once_merge_to_the_bytes_of_a_single_run(tmp_path, frozen):
    whole, out = make(tmp_path / "whole"), tmp_path / "out"
    children = [in_process(lambda i=i: make(out, shard=(i, 3))) for i in (1, 2, 3)]
    assert [ended(child) for child in children] == [0, 0, 0]
    with pytest.raises(StorageError, match="not finished"):
        open_session(out)
    merged = merge(out)
    same(whole, merged)
    assert shard_bytes(whole) == shard_bytes(merged)
    names = lambda folder: sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))  # noqa: E731
    assert names(tmp_path / "whole") == names(out)
    assert (tmp_path / "whole/session.json").read_bytes() == (out / "session.json").read_bytes()
    assert damaged(out) == []


def test_a_share_is_told_that_the_session_is_not_finished_or_gets_it(tmp_path):
    assert make(tmp_path, shard=(1, 2)) is None
    assert make(tmp_path, shard=(2, 2)) is None
    merge(tmp_path)
    assert make(tmp_path, shard=(2, 2)).counts["stimuli"] == 11
    assert merge(tmp_path).counts["stimuli"] == 11


def test_missing_shards_are_named_with_the_command_that_makes_them(tmp_path):
    make(tmp_path, shard=(1, 3))
    make(tmp_path, shard=(3, 3))
    with pytest.raises(StorageError, match=r"2 of 6 shards are missing or damaged: 1, 4.*\n.* --shard 2/3$"):
        merge(tmp_path)
    path = next(tmp_path.rglob("shard-000002.nc"))
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    with pytest.raises(StorageError, match=r"damaged: 1, 2, 4[^@]*--shard 2/3\n[^@]*--shard 3/3$"):
        merge(tmp_path)
    make(tmp_path, shard=(2, 3))
    make(tmp_path, shard=(3, 3))
    assert merge(tmp_path).counts["stimuli"] == 11


def test_a_plain_run_finishes_what_shares_have_left(tmp_path, frozen):
    whole = make(tmp_path / "whole")
    make(tmp_path / "out", shard=(2, 3))
    seen = []
    finished = make(tmp_path / "out", progress=lambda done, _: seen.append(done))
    same(whole, finished)
    assert shard_bytes(whole) == shard_bytes(finished)
    assert not list((tmp_path / "out").rglob("manifest.2-of-3.jsonl"))
    stores = [path.parent for path in (tmp_path / "out").rglob("manifest.jsonl")]
    assert all(len({entry.get("shard") for entry in read_manifest(store)}) >= 6 for store in stores)


def test_a_killed_share_goes_on_where_it_was(tmp_path, frozen):
    whole, out = make(tmp_path / "whole"), tmp_path / "out"
    kill = lambda done, _: os.kill(os.getpid(), signal.SIGKILL) if done >= 5 else None  # noqa: E731
    assert ended(in_process(lambda: make(out, shard=(1, 2), progress=kill))) == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in out.rglob("shard-*.nc")}
    assert before
    make(out, shard=(1, 2))
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    make(out, shard=(2, 2))
    same(whole, merge(out))


def test_progress_of_a_share_counts_its_own_stimuli(tmp_path):
    seen = []
    make(tmp_path, shard=(3, 3), progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (3, 3)  # shards 2 and 5, the last of which holds one stimulus


def test_a_share_of_another_recording_is_refused(tmp_path):
    make(tmp_path, shard=(1, 3))
    with pytest.raises(StorageError, match="another recording: it differs in stimuli"):
        make(tmp_path, shard=(2, 3), table=stimuli(9))


def test_the_second_process_to_register_checks_what_the_first_has_written(tmp_path, monkeypatch):
    """Both saw an empty folder before either had written."""
    from neurosae.recording import runner

    make(tmp_path, shard=(1, 3))
    monkeypatch.setattr(runner, "output_state", lambda *_, **__: "new")
    with pytest.raises(StorageError, match="another recording: it differs in stimuli"):
        make(tmp_path, shard=(2, 3), table=stimuli(9))


def test_locks_keep_a_whole_run_and_shares_apart_but_not_shares(tmp_path):
    with writing_share(tmp_path, "1-of-2"):
        with writing_share(tmp_path, "2-of-2"):
            pass
        held = r"another process \(locked by pid \d+\), share 1-of-2"
        with pytest.raises(StorageError, match=held), writing_alone(tmp_path):
            pass
        with pytest.raises(StorageError, match="share 1-of-2"), writing_share(tmp_path, "1-of-2"):
            pass
    busy = pytest.raises(StorageError, match="another process")
    with writing_alone(tmp_path), busy, writing_share(tmp_path, "1-of-2"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_locks_of_killed_processes_are_in_nobodys_way(tmp_path):
    def die():
        with writing_share(tmp_path, "1-of-2"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert ended(in_process(die)) == -signal.SIGKILL
    with writing_alone(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_merging_waits_for_nobody_and_refuses(tmp_path):
    make(tmp_path, shard=(1, 1))
    with writing_share(tmp_path, "2-of-2"), pytest.raises(StorageError, match=r"share 2-of-2\. Wait"):
        merge(tmp_path)


@pytest.mark.parametrize("text", ["3", "3/", "a/2", "0/2", "3/2", "-1/2", "1/2/3", "٣/٤"])
def test_shares_that_do_not_exist_are_refused(text):
    with pytest.raises(StorageError, match="share"):
        parse_share(text)


def test_a_share_neither_overwrites_nor_uses_a_cluster(tmp_path):
    with pytest.raises(StorageError, match="cannot overwrite"):
        make(tmp_path, shard=(1, 2), overwrite=True)
    with pytest.raises(StorageError, match="a share and a client"):
        make(tmp_path, shard=(1, 2), client=object())
