"""Look after a session on disk: find files that were altered, and make it few, small and portable files."""

from pathlib import Path

from neurosae.recording.files import sha256
from neurosae.recording.header import sealed_sha256
from neurosae.recording.lock import writing_alone
from neurosae.recording.session import HEADER, Session, open_session, read_header
from neurosae.recording.store import consolidate, damaged_files


def damaged(path: Path | str) -> list[str]:
    """Files of a session that are no longer what was written, by SHA-256; empty if all is well.

    Raises
    ------
    StorageError
        If ``path`` holds no session.
    CorruptFileError
        If its header or a manifest cannot be read at all.
    """
    path = Path(path)
    header = read_header(path)
    sealed = header.get("sha256", "")
    altered = [HEADER] if sealed and sealed != sealed_sha256(header) else []
    for name, written in header.get("files", {}).items():
        if not (path / name).is_file() or sha256(path / name) != written:
            altered.append(name)
    return altered + [f"{site}/{name}" for site in header["sites"] for name in damaged_files(path / site)]


def consolidate_session(path: Path | str) -> Session:
    """Turn a finished session into one compressed, portable file per site and layer.

    The activations, checked as they are written, stay equal bit by bit; the shards are removed once all layer
    files of their site are complete. An interrupted consolidation is continued by the next one. Recordings
    that were opened before have to be opened again.

    Parameters
    ----------
    path : folder of the session

    Returns
    -------
    Session
        The session, opened anew.

    Raises
    ------
    StorageError
        If ``path`` holds no finished session, is in use, or a file cannot be written.
    CorruptFileError
        If a file is damaged; no shard of its site is removed then.

    Examples
    --------
    >>> consolidate_session("no/such/folder")
    Traceback (most recent call last):
    neurosae.errors.StorageError: no/such/folder holds no session (no session.json). Record one with record().
    """
    session = open_session(path)
    with writing_alone(session.path):
        for site in session.sites:
            consolidate(session.path / site)
    return open_session(path)
