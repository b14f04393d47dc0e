"""What a store says of its files: one line each, entered once the file is whole, with its size and SHA-256.

Every process that writes keeps a manifest of its own, so that none waits for another; together they count.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording.files import append_line, sha256

MANIFEST, TABLES = "manifest.jsonl", "stimuli.nc"
CONSOLIDATED = "consolidated"
SCHEMA = "neurosae-recording/1"


def manifest_name(writer: str = "") -> str:
    """File of a writer's manifest: the name of a process among several, or "" for the only one."""
    return f"manifest.{writer}.jsonl" if writer else MANIFEST


def enter(folder: Path, entry: Mapping[str, object], name: str, *, writer: str = "") -> None:
    """Enter a file that is whole on disk, with its size and SHA-256.

    Parameters
    ----------
    folder : of the store
    entry : what the file holds; ``{"shard": name, ...}``, ``{"layer": name, ...}`` or ``{"tables": name}``
    name : of the file, relative to the folder
    writer : of the manifest, see `manifest_name`

    Raises
    ------
    StorageError
        If the manifest cannot be written.
    """
    append_entry(folder, sealed(folder, entry, name), writer=writer)


def sealed(folder: Path, entry: Mapping[str, object], name: str) -> dict[str, object]:
    """The entry of a file that is whole on disk: what it holds, its size and its SHA-256."""
    path = folder / name
    return {**entry, "bytes": path.stat().st_size, "sha256": sha256(path), "status": "complete"}


def append_entry(folder: Path, entry: Mapping[str, object], *, writer: str = "") -> None:
    """Append a line to a manifest, which starts with the format it is written in."""
    path, line = folder / manifest_name(writer), json.dumps(dict(entry), ensure_ascii=False)
    append_line(path, line if path.exists() else json.dumps({"schema": SCHEMA}) + "\n" + line)


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """Entries of all manifests of a store, each oldest first; a torn last line is left out, with a warning.

    Raises
    ------
    StorageError
        If a newer neurosae wrote one.
    CorruptFileError
        If another line is no entry, naming it.
    """
    return [entry for path in sorted(folder.glob("manifest*.jsonl")) for entry in _entries(path)]


def _entries(path: Path) -> list[dict[str, Any]]:
    *lines, torn = path.read_text(encoding="utf-8", errors="replace").split("\n")
    if torn:
        warnings.warn(f"{path}: the last line is incomplete and is ignored; a run was killed.", stacklevel=4)
    found = [_entry(path, number, line) for number, line in enumerate(lines, start=1)]
    return [entry for entry in found if "schema" not in entry]


def _entry(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise CorruptFileError(f"{path}: line {number} is no JSON ({error}). Record again.") from error
    if not isinstance(entry, dict):
        raise CorruptFileError(f"{path}: line {number} is no entry of a manifest. Record again.")
    if "schema" in entry and str(entry["schema"]).split(".")[0] != SCHEMA:
        raise StorageError(
            f"{path} has format {entry['schema']}, this version reads {SCHEMA}. Install the neurosae that "
            "wrote it."
        )
    if not ("schema" in entry or entry.get("status") == CONSOLIDATED or _needed(entry) <= entry.keys()):
        raise CorruptFileError(f"{path}: line {number} is no entry of a manifest. Record again.")
    return entry


def _needed(entry: Mapping[str, object]) -> set[str]:
    """What the entry of a file says at least."""
    return {"bytes", "sha256"} | ({"rows", "stimuli"} if "shard" in entry else set())


def entries(folder: Path, kind: str) -> dict[str, dict[str, Any]]:
    """Last manifest entry of each file of a ``kind``, 'shard', 'layer' or 'tables', by file name."""
    return {entry[kind]: entry for entry in read_manifest(folder) if kind in entry}


def is_consolidated(folder: Path) -> bool:
    """Whether the layer files of a store are complete."""
    return any(entry.get("status") == CONSOLIDATED for entry in read_manifest(folder))


def is_intact(folder: Path, name: str, entry: Mapping[str, Any]) -> bool:
    """Whether a file is there, as long and with the same SHA-256 as when it was entered."""
    path = folder / name
    if not path.exists() or path.stat().st_size != entry["bytes"]:
        return False
    return sha256(path) == entry["sha256"]


def check_size(path: Path, expected: int) -> None:
    """Refuse a file that is missing, shorter or longer than it was written.

    Raises
    ------
    CorruptFileError
        Naming the file and both lengths.
    """
    found = path.stat().st_size if path.exists() else None
    if found != expected:
        was = "missing" if found is None else f"{found} bytes long"
        raise CorruptFileError(f"{path} is {was}; {expected} bytes were written. Restore it or record again.")
