"""Hashes that show later whether a file or a header is still what was written."""

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording.files import sha256

_MOST_KNOWN = 2**16


def seal(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header of a finished session with the hash of all that it says."""
    return {**header, "sha256": sealed_sha256(header)}


def sealed_sha256(header: Mapping[str, Any]) -> str:
    """Hash of a header without its own hash, the same before it is written and after it is read."""
    content = {name: value for name, value in header.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def is_sealed(header: Mapping[str, Any]) -> bool:
    """Whether a header says what it said when it was sealed."""
    return header.get("sha256") == sealed_sha256(header)


def check_content(path: Path, expected: str) -> None:
    """Refuse a file that is not byte by byte what was written; it is hashed once in a process.

    Checksums inside a NetCDF file cover its data, not what says where the data are. Hashing takes about a
    quarter of the time of reading a raw shard.

    Parameters
    ----------
    path : of the file
    expected : its SHA-256, hexadecimal

    Raises
    ------
    StorageError
        If there is no such file.
    CorruptFileError
        If it was altered or replaced.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be read ({error.strerror}). Open the session again; if that does not help, "
            "restore the file or record again."
        ) from error
    if _hash_of(path, state.st_size, state.st_mtime_ns, state.st_ino) != expected:
        raise CorruptFileError(
            f"{path} was altered, or recorded anew since it was opened. Open the session again; if that does "
            "not help, restore the file or record again."
        )


@functools.lru_cache(maxsize=_MOST_KNOWN)
def _hash_of(path: Path, size: int, changed: int, number: int) -> str:
    """SHA-256 of a file in the state that is named; a file that changes is hashed again."""
    return sha256(path)
