"""Faults 1 to 3 and 9: killed and interrupted runs lose no finished shard and go on to the same values."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest

from neurosae.errors import StorageError
from neurosae.recording import acquisition, completion, manifest, store
from neurosae.recording.session import open_session
from neurosae.recording.upkeep import consolidate, damaged
from neurosae.subject.toy import ToySubject
from tests.faults.recordings import Never, command, die, killed, make, parts, stimuli, values
from tests.studies import write_study

N_KILLS = int(os.environ.get("NEUROSAE_KILLS", "4"))


def check_no_partial_shard(folder):
    for path in folder.rglob("shard-*.nc"):
        tables = store.read_tables(path)
        assert store.read_activation(path, 0, 0, len(tables.norm), slice(None)).shape[0] == len(tables.norm)


def test_fault_01_a_run_killed_at_any_moment_goes_on_to_the_same_values(tmp_path):
    table = stimuli(16)
    whole = values(make(tmp_path / "whole", table=table))
    started = time.perf_counter()
    make(tmp_path / "again", table=table)  # the first run is slower than those to be killed
    duration = time.perf_counter() - started
    rng = np.random.default_rng(0)
    ends = []
    for number in range(N_KILLS):
        out = tmp_path / f"out{number}"
        delay = 0.9 * duration * (number + rng.random()) / N_KILLS
        ends.append(killed(lambda out=out: make(out, table=table), delay))
        check_no_partial_shard(out)
        resumed = make(out, table=table)
        assert values(resumed) == whole
        assert damaged(out) == []
        assert parts(out) == []
    assert ends.count(-signal.SIGKILL) >= N_KILLS // 4  # how many depends on the load


MOMENTS = [
    (manifest, "append_line"),
    (acquisition, "put_made"),
    (completion, "write_tables"),
    (completion, "write_json"),
]


@pytest.mark.parametrize(("module", "name"), MOMENTS)
def test_fault_02_a_kill_between_two_steps_repeats_no_shard_and_loses_none(
    recorded, tmp_path, monkeypatch, module, name
):
    with monkeypatch.context() as patch:
        patch.setattr(module, name, die)
        assert killed(lambda: make(tmp_path / "out")) == -signal.SIGKILL
    check_no_partial_shard(tmp_path / "out")
    assert values(make(tmp_path / "out")) == recorded
    for site in ("resid_post", "mlp_post"):
        entries = manifest.read_manifest(tmp_path / "out" / site)
        named = [entry["shard"] for entry in entries if "shard" in entry]
        assert sorted(set(named)) == [store.shard_name(number) for number in range(4)]
    assert damaged(tmp_path / "out") == []


def test_fault_02_a_killed_consolidation_is_finished_by_the_next(tmp_path, monkeypatch):
    before = values(make(tmp_path / "out"))
    with monkeypatch.context() as patch:
        patch.setattr(store.shutil, "rmtree", die)
        assert killed(lambda: consolidate(tmp_path / "out")) == -signal.SIGKILL
    assert values(open_session(tmp_path / "out")) == before
    assert values(consolidate(tmp_path / "out")) == before
    assert not list(tmp_path.rglob("shard-*.nc"))


SLOW = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
from neurosae.recording import manifest, plan
from neurosae.subject import toy
plan.SHARD_STIMULI = 2
run = toy.ToySubject.run
def slow(self, *args, **kwargs):
    time.sleep(0.2)
    return run(self, *args, **kwargs)
toy.ToySubject.run = slow
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_fault_03_an_interrupt_ends_with_130_and_leaves_a_valid_manifest(tmp_path, number):
    path = write_study(tmp_path)
    out = tmp_path / "out"
    python, flag, code, *arguments = command("record", path, "-o", out)
    process = subprocess.Popen(
        [python, flag, SLOW + code, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    begun = out / "resid_post" / "manifest.jsonl"
    deadline = time.monotonic() + 60
    while not begun.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on where it stopped" in said
    assert "Traceback" not in said
    n_done = len(manifest.entries(out / "resid_post", "shard"))
    assert 0 < n_done < 12
    assert parts(out) == []
    check_no_partial_shard(out)
    with pytest.raises(StorageError, match="not finished"):
        open_session(out)


def test_fault_09_a_second_process_is_refused_by_the_pid_of_the_first(tmp_path):
    class Asking(ToySubject):
        def run(self, tokens, **kwargs):
            with pytest.raises(StorageError) as refused:
                make(tmp_path / "out", Never())
            said.append(str(refused.value))
            return super().run(tokens, **kwargs)

    said = []
    make(tmp_path / "out", Asking())
    assert f"being recorded by another process (locked by pid {os.getpid()})" in said[0]
    assert parts(tmp_path / "out") == []


def test_fault_09_the_lock_of_a_dead_process_is_taken_over(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(acquisition, "put_made", die)
        assert killed(lambda: make(tmp_path / "out")) == -signal.SIGKILL
    assert sorted(parts(tmp_path / "out")) == [".writer.lock", ".writer.pid"]
    make(tmp_path / "out")
    assert parts(tmp_path / "out") == []
