"""Who may write into a folder: one process alone, or several that share the work; the dead hold no lock."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from neurosae.errors import StorageError
from neurosae.recording.files import storage_error

LOCK, WRITER = ".writer.lock", ".writer.pid"

_PATIENCE = 5.0
"""Seconds that a process which shares the work waits for another to see that nobody writes alone."""


@contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into ``folder``, which is made if it is missing.

    Raises
    ------
    StorageError
        If another process writes there, naming it, or the folder cannot be written.
    """
    with _holding(folder, LOCK, WRITER, patience=0.2):
        for path in sorted(folder.glob(".writer.*.lock")):
            _check_free(folder, path.name, 0.0)
        yield


@contextmanager
def writing_share(folder: Path, share: str) -> Iterator[None]:
    """Write into ``folder`` beside the processes of other shares, but of no other process.

    Raises
    ------
    StorageError
        If another process writes there alone or the same share, or the folder cannot be written.
    """
    with _holding(folder, f".writer.{share}.lock", f".writer.{share}.pid", patience=0.0):
        _check_free(folder, LOCK, _PATIENCE)
        yield


def is_lock(name: str) -> bool:
    """Whether a file is one that writers leave while they work, or when they are killed."""
    return name.startswith(".writer.")


@contextmanager
def _holding(folder: Path, name: str, pid: str, *, patience: float) -> Iterator[None]:
    lock = filelock.FileLock(folder / name, timeout=patience, poll_interval=0.02)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise _busy(folder, name) from error
    except OSError as error:
        raise storage_error(folder, error) from error
    try:
        _say_who(folder / pid)
        yield
    finally:
        # removed while it is held: afterwards it could be the lock of the next process
        for left in (pid, name):
            (folder / left).unlink(missing_ok=True)
        lock.release()


def _check_free(folder: Path, name: str, patience: float) -> None:
    """Refuse to go on where another process holds a lock; one that a killed process left is removed."""
    lock = filelock.FileLock(folder / name, timeout=patience, poll_interval=0.02)
    try:
        with lock:
            (folder / name).unlink(missing_ok=True)
            (folder / name).with_suffix(".pid").unlink(missing_ok=True)
    except filelock.Timeout as error:
        raise _busy(folder, name) from error
    except OSError as error:
        raise storage_error(folder, error) from error


def _busy(folder: Path, name: str) -> StorageError:
    holder = _holder((folder / name).with_suffix(".pid"))
    share = name.removeprefix(".writer").removesuffix(".lock").strip(".")
    more = f", share {share}" if share else ""
    return StorageError(f"{folder} is being recorded by another process{holder}{more}. Wait for it to end.")


def _say_who(path: Path) -> None:
    try:
        path.write_text(str(os.getpid()), encoding="ascii")
    except OSError as error:
        raise storage_error(path.parent, error) from error


def _holder(path: Path) -> str:
    try:
        return f" (locked by pid {int(path.read_text(encoding='ascii'))})"
    except (OSError, ValueError):  # the other process has not written it yet
        return ""
