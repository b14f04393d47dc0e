"""Look after a session on disk: find files that were altered, and make it few, small and portable files."""

from collections.abc import Sequence
from pathlib import Path

from neurosae.recording.code_checks import index_problems
from neurosae.recording.code_store import index_codes
from neurosae.recording.files import sha256
from neurosae.recording.lock import writing_alone
from neurosae.recording.manifest import TABLES, entries, is_intact
from neurosae.recording.seals import is_sealed
from neurosae.recording.session import HEADER, Session, open_session, read_header
from neurosae.recording.store import consolidate_store, damaged_files


def damaged(path: Path | str) -> list[str]:
    """Files of a session that are no longer what was written, by SHA-256; empty if all is well.

    A file by feature that is missing is no damage: it can be made again, see `consolidate`.

    Raises
    ------
    StorageError
        If ``path`` holds no session.
    CorruptFileError
        If its header or a manifest cannot be read at all.
    """
    path = Path(path)
    header = read_header(path)
    altered = [HEADER] if header["status"] == "complete" and not is_sealed(header) else []
    for name, written in header.get("files", {}).items():
        if not (path / name).is_file() or sha256(path / name) != written:
            altered.append(name)
    found = {site: damaged_files(path / site) for site in header["sites"]}
    found |= {its["folder"]: _damaged_codes(path / its["folder"]) for its in header.get("dictionaries", ())}
    if header["status"] == "complete":  # a manifest that is gone as well names none
        found = {store: [*names, *_lost_tables(path / store, names)] for store, names in found.items()}
    return altered + [f"{store}/{name}" for store, names in found.items() for name in names]


def _lost_tables(folder: Path, named: Sequence[str]) -> list[str]:
    return [] if TABLES in named or (folder / TABLES).exists() else [TABLES]


def _damaged_codes(folder: Path) -> list[str]:
    indices = {name: its for name, its in entries(folder, "layer").items() if (folder / name).exists()}
    written = entries(folder, "shard") | entries(folder, "tables") | indices
    return [name for name, entry in written.items() if not is_intact(folder, name, entry)]


def consolidate(path: Path | str) -> Session:
    """Turn a finished session into one compressed, portable file per site and layer.

    The activations, checked as they are written, stay equal bit by bit; the shards are removed once all layer
    files of their site are complete. Codes keep their shards; their file by feature is made again where it is
    missing, altered or made of other shards. An interrupted consolidation is continued by the next one.
    Recordings that were opened before have to be opened again.

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
    >>> consolidate("no/such/folder")
    Traceback (most recent call last):
    neurosae.errors.StorageError: no/such/folder holds no session (no session.json). Record one with record().
    """
    path = Path(path)
    read_header(path)
    with writing_alone(path):
        for its in read_header(path).get("dictionaries", ()):
            _drop_stale_index(path / its["folder"])
        session = open_session(path)
        for site in session.sites:
            consolidate_store(path / site)
        for its in session.dictionaries.values():
            index_codes(path / its["folder"])
    return open_session(path)


def _drop_stale_index(folder: Path) -> None:
    """Remove a file by feature that is altered or made of other shards than those that are there."""
    shards = sorted(entries(folder, "shard"))
    for name, entry in entries(folder, "layer").items():
        is_there = (folder / name).exists()
        if is_there and (not is_intact(folder, name, entry) or any(index_problems(folder, name, shards))):
            (folder / name).unlink()
