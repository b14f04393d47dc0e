"""Faults 4 and 5: full and read-only disks are named, and what is finished stays."""

import contextlib
import ctypes
import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from neurosae.errors import StorageError
from neurosae.recording import acquisition, completion, files, manifest, store
from neurosae.recording.upkeep import consolidate, damaged
from tests.faults.recordings import Never, command, make, parts, stimuli, values
from tests.studies import write_study

LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def mounted(flags=0, options=b"size=4m"):
    """A small file system in memory; skips where this user may not mount one."""
    folder = Path(tempfile.mkdtemp())
    if LIBC.mount(b"tmpfs", str(folder).encode(), b"tmpfs", flags, options):
        folder.rmdir()
        pytest.skip(f"cannot mount a small disk here: {os.strerror(ctypes.get_errno())}")
    try:
        yield folder
    finally:
        LIBC.umount2(str(folder).encode(), 2)
        folder.rmdir()


def fill(folder, left=0):
    """Use up a file system but for some bytes."""
    with contextlib.suppress(OSError), open(folder / "ballast", "wb", buffering=0) as file:
        while shutil.disk_usage(folder).free > left:
            file.write(bytes(4096))


STEPS = [(acquisition, "put_made", 2), (manifest, "append_line", 3), (completion, "write_tables", 0)]


@pytest.mark.parametrize(("module", "name", "after"), [*STEPS, (completion, "write_json", 0)])
def test_fault_04_a_disk_that_fills_up_is_named_and_the_run_goes_on_later(
    recorded, monkeypatch, module, name, after
):
    step, calls = getattr(module, name), []

    def filling(*args, **kwargs):
        calls.append(None)
        if len(calls) > after:
            fill(disk)
        return step(*args, **kwargs)

    with mounted() as disk:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, filling)
            with pytest.raises(StorageError, match=r"disk|device") as caught:
                make(disk / "out")
        assert str(disk / "out") in str(caught.value)
        assert "no space left on the device" in str(caught.value)
        assert parts(disk / "out") == []
        kept = sum(len(manifest.entries(disk / "out" / site, "shard")) for site in ("resid_post", "mlp_post"))
        assert kept >= min(after, 8)
        (disk / "ballast").unlink()
        assert values(make(disk / "out")) == recorded
        assert damaged(disk / "out") == []


def test_fault_04_a_disk_that_fills_up_while_consolidating_costs_no_data(monkeypatch):
    put = store.put_activation

    def filling(*args, **kwargs):
        fill(disk)
        return put(*args, **kwargs)

    with mounted() as disk:
        before = values(make(disk / "out"))
        with monkeypatch.context() as patch:
            patch.setattr(store, "put_activation", filling)
            with pytest.raises(StorageError, match="no space left"):
                consolidate(disk / "out")
        (disk / "ballast").unlink()
        assert values(consolidate(disk / "out")) == before


@pytest.mark.parametrize(("module", "name"), [(store, "write_shard"), (manifest, "append_line")])
def test_fault_04_without_a_small_disk_the_error_of_a_full_one_is_named(tmp_path, monkeypatch, module, name):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    step = getattr(module, name)

    def failing(*args):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "fsync", full)
            return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, failing)
        with pytest.raises(StorageError, match="no space left on the device"):
            make(tmp_path / "out")
    assert parts(tmp_path / "out") == []
    assert len(make(tmp_path / "out").stimuli) == len(stimuli())


def test_fault_05_a_read_only_disk_is_named_before_the_subject_runs():
    with mounted(flags=1) as disk, pytest.raises(StorageError, match=f"{disk}/out: cannot be written"):
        make(disk / "out", Never())


def test_fault_05_a_folder_below_a_file_is_named_before_a_model_is_loaded(tmp_path):
    (tmp_path / "file").write_text("")
    path = write_study(tmp_path)
    spy = (
        "from neurosae.report import study\n"
        "def load(name): raise AssertionError('the model was loaded')\n"
        "study.load_subject = load\n"
    )
    python, flag, code, *arguments = command("record", path, "-o", tmp_path / "file" / "out")
    done = subprocess.run([python, flag, spy + code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "file/out: cannot be written" in done.stderr
