"""One process at a time writes into a folder; a process that was killed holds no lock."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from neurosae.errors import StorageError
from neurosae.recording.files import storage_error

LOCK, WRITER = ".writer.lock", ".writer.pid"


@contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into ``folder``, which is made if it is missing.

    Raises
    ------
    StorageError
        If another process writes there, naming it, or the folder cannot be written.
    """
    lock = filelock.FileLock(folder / LOCK, blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise StorageError(
            f"{folder} is being recorded by another process{_holder(folder)}. Wait for it to end."
        ) from error
    except OSError as error:
        raise storage_error(folder, error) from error
    try:
        _say_who(folder)
        yield
    finally:
        # removed while it is held: afterwards it could be the lock of the next process
        for name in (WRITER, LOCK):
            (folder / name).unlink(missing_ok=True)
        lock.release()


def _say_who(folder: Path) -> None:
    try:
        (folder / WRITER).write_text(str(os.getpid()), encoding="ascii")
    except OSError as error:
        raise storage_error(folder, error) from error


def _holder(folder: Path) -> str:
    try:
        return f" (locked by pid {int((folder / WRITER).read_text(encoding='ascii'))})"
    except (OSError, ValueError):  # the other process has not written it yet
        return ""
