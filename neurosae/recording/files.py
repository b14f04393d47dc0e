"""Write files so that they are whole or absent, and say plainly why one cannot be written or read."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import netCDF4

from neurosae.errors import CorruptFileError, StorageError

NETCDF_LOCK = threading.RLock()
"""Held around every call into netCDF-C, which is not safe to call from two threads."""

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FULL_DISK_BYTES = 2**20  # below this a bare "HDF error" of netCDF-C most likely means a full disk


def check_writable(folder: Path) -> None:
    """Refuse a folder in which no file can be written, before any work is spent on its content.

    A folder that does not exist is judged by its nearest existing parent and is not created.

    Raises
    ------
    StorageError
        Naming the folder and the reason.
    """
    parent = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise storage_error(folder, error) from error


def check_free_space(folder: Path, needed: int) -> None:
    """Refuse to start writing ``needed`` bytes into a file system that has less room.

    Raises
    ------
    StorageError
        Naming the folder, the bytes needed and the bytes free.
    """
    parent = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise StorageError(
            f"{folder}: {needed / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free. Free some "
            "space, record fewer layers or sites, or write elsewhere."
        )


def storage_error(path: Path, error: BaseException) -> StorageError:
    """``error`` as a `StorageError` that names the path and the likely cause."""
    if _is_full(path, error):
        return StorageError(f"{path}: no space left on the device. Free some space and start again.")
    reason = getattr(error, "strerror", None) or str(error)
    return StorageError(f"{path}: cannot be written ({reason}). Choose a folder you may write to.")


def _is_full(path: Path, error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    parent = next(place for place in path.absolute().parents if place.exists())
    is_vague = isinstance(error, (RuntimeError, PermissionError))  # what netCDF-C says of a full disk
    return is_vague and shutil.disk_usage(parent).free < _FULL_DISK_BYTES


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    The file is synced to disk before it is renamed, so that ``path`` never exists in part, not even after a
    power cut. If the block raises, the temporary file is removed and ``path`` stays as it was.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _sync(part)
        os.replace(part, path)
        _sync(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):  # where the folder itself is missing, there is nothing to remove
            part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with replacing(path) as part:
        part.write_bytes(text.encode("utf-8"))


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write ``content`` as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append one line and sync it to disk; a torn line that an earlier crash left behind is dropped first.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line.encode("utf-8") + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(path, error) from error


def sweep_parts(folder: Path) -> None:
    """Remove temporary files that a killed process left in ``folder``."""
    for part in folder.glob(".*.part-*"):
        part.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing_netcdf(path: Path) -> Iterator[netCDF4.Dataset]:
    """A new NetCDF-4 classic-model file that appears under ``path`` only when it is complete.

    Raises
    ------
    StorageError
        If the file cannot be written; a full disk is named as such.
    """
    with replacing(path) as part, NETCDF_LOCK:
        try:
            with netCDF4.Dataset(part, "w", format="NETCDF4_CLASSIC") as file:
                file.set_fill_off()
                yield file
        except (RuntimeError, PermissionError) as error:
            raise storage_error(path, error) from error


@contextmanager
def reading_netcdf(path: Path) -> Iterator[netCDF4.Dataset]:
    """An open NetCDF file whose values come as they are stored, without masks, scaling or joined characters.

    Raises
    ------
    StorageError
        If there is no such file.
    CorruptFileError
        If the file is no NetCDF-4 file, is truncated, or fails its checksums while it is read.
    """
    _check_signature(path)
    with NETCDF_LOCK:
        try:
            with netCDF4.Dataset(path, "r") as file:
                file.set_auto_mask(False)
                file.set_auto_scale(False)
                file.set_auto_chartostring(False)
                yield file
        except (OSError, RuntimeError, KeyError, IndexError, ValueError, AttributeError) as error:
            raise CorruptFileError(
                f"{path}: the file is truncated, altered or of another kind ({error}). Write it again."
            ) from error


def _check_signature(path: Path) -> None:
    try:
        with open(path, "rb") as file:
            signature = file.read(len(_HDF5_SIGNATURE))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}).") from error
    if signature != _HDF5_SIGNATURE:
        raise CorruptFileError(f"{path}: this is no NetCDF-4 file, or its beginning is lost.")
