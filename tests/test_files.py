"""Files are whole or absent, and errors name the path and the cause."""

import errno
import os
import threading

import netCDF4
import numpy as np
import pytest

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording import files


def test_a_file_appears_only_when_the_block_ends_well(tmp_path):
    path = tmp_path / "a.txt"
    with files.replacing(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as part:
        part.write_text(f"half {1 / 0}")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_the_file_and_then_its_folder_are_synced(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        files.os, "fsync", lambda descriptor: calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    )
    files.write_text(tmp_path / "a.txt", "x")
    assert [os.path.basename(call) for call in calls] == [f".a.txt.part-{os.getpid()}", tmp_path.name]


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match=r"a\.txt: no space left"):
        files.write_text(tmp_path / "a.txt", "x")
    with pytest.raises(StorageError, match=r"log: no space left"):
        files.append_line(tmp_path / "log", "x")
    assert not (tmp_path / "a.txt").exists()


def test_a_bare_netcdf_error_on_a_full_disk_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(StorageError, match=r"x\.nc: no space left"), files.writing_netcdf(tmp_path / "x.nc"):
        raise RuntimeError("NetCDF: HDF error")
    assert list(tmp_path.iterdir()) == []


def test_lack_of_space_is_noticed_beforehand(tmp_path):
    with pytest.raises(StorageError, match="MB are needed"):
        files.check_free_space(tmp_path / "not" / "yet", 10**18)
    files.check_free_space(tmp_path, 1)


def test_a_folder_under_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/session: cannot be written"):
        files.check_writable(tmp_path / "file" / "session")
    with pytest.raises(StorageError, match="cannot be written"):
        files.write_text(tmp_path / "file" / "session" / "x", "")


def test_a_read_only_folder_is_refused_by_name(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(StorageError, match=rf"{tmp_path.name}: cannot be written \(Permission denied\)"):
        files.check_writable(tmp_path)


def test_checking_a_folder_creates_nothing(tmp_path):
    files.check_writable(tmp_path / "new" / "session")
    assert list(tmp_path.iterdir()) == []


def test_appending_drops_a_torn_line_first(tmp_path):
    path = tmp_path / "log"
    files.append_line(path, "one")
    with open(path, "a") as file:
        file.write('{"tor')
    files.append_line(path, "two")
    assert path.read_text() == "one\ntwo\n"


def test_left_over_parts_are_swept(tmp_path):
    (tmp_path / ".shard.nc.part-1").write_text("")
    (tmp_path / "shard.nc").write_text("")
    files.sweep_parts(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["shard.nc"]


@pytest.mark.parametrize("kept", ["0", "7", "100", "half", "all but one"])
def test_a_truncated_file_is_corrupt_never_empty(tmp_path, kept):
    path = tmp_path / "x.nc"
    with files.writing_netcdf(path) as file:
        file.createDimension("x", 2000)
        file.createVariable("x", "f4", ("x",), fletcher32=True)[:] = np.arange(2000)
    data = path.read_bytes()
    size = {"half": len(data) // 2, "all but one": len(data) - 1}.get(kept)
    path.write_bytes(data[: int(kept) if size is None else size])
    with pytest.raises(CorruptFileError, match=r"x\.nc"), files.reading_netcdf(path) as file:
        file["x"][:]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StorageError, match="cannot be read"), files.reading_netcdf(tmp_path / "no.nc"):
        pass


def test_reading_from_many_threads_is_safe(tmp_path):
    path = tmp_path / "x.nc"
    with files.writing_netcdf(path) as file:
        file.createDimension("x", 500)
        file.createVariable("x", "f4", ("x",), zlib=True)[:] = np.arange(500)
    sums = []

    def read():
        for _ in range(20):
            with files.reading_netcdf(path) as file:
                sums.append(float(file["x"][:].sum()))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [124750.0] * 160


def test_files_are_of_the_classic_model(tmp_path):
    with files.writing_netcdf(tmp_path / "x.nc") as file:
        file.title = "naïve"
    with netCDF4.Dataset(tmp_path / "x.nc") as file:
        assert file.data_model == "NETCDF4_CLASSIC"
        assert file.title == "naïve"
