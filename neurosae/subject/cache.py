"""Folders that are built once and checked by hash at every later use; a damaged one is built again."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_dir

from neurosae.subject.folder import file_sha256

RECORD_FILE = "neurosae.json"


def cache_folder() -> Path:
    """Where converted models are kept: ``NEUROSAE_CACHE`` if it is set, else the user's cache folder."""
    return Path(os.environ.get("NEUROSAE_CACHE") or user_cache_dir("neurosae"))


def cached_conversion(
    source: Path | None, folder: Path, convert: Callable[[Path, Path], None], version: int
) -> dict[str, Any]:
    """Record of ``folder``, built from ``source`` first unless an intact copy of it is there.

    The folder appears whole or not at all: it is built beside its place, under a lock, and moved in.

    Parameters
    ----------
    source : file to convert, or None if it is not at hand; an intact folder then still serves
    folder : where the result is kept
    convert : function of source and an empty folder, which it fills
    version : of the conversion; another version than the recorded one means to convert again

    Returns
    -------
    dict
        ``version``, ``source_sha256`` and ``files`` {name: {"sha256", "bytes"}}.

    Raises
    ------
    FileNotFoundError
        If nothing intact is there and ``source`` is None.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        digest = None if source is None else file_sha256(source)
        record = intact_record(folder, version)
        if record is not None and digest in (None, record["source_sha256"]):
            return record
        if source is None or digest is None:
            raise FileNotFoundError(folder)
        return _build(source, folder, convert, {"version": version, "source_sha256": digest})


def intact_record(folder: Path, version: int, *, hashes: bool = True) -> dict[str, Any] | None:
    """Record of a cached folder, or None if a file of it is missing, altered or of another version.

    Parameters
    ----------
    folder : the cached folder
    version : of the conversion that is wanted
    hashes : False compares sizes only, which takes no time
    """
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        files = dict(record["files"])
        is_wanted = record["version"] == version and isinstance(record["source_sha256"], str) and files
        return (
            record if is_wanted and all(_is_intact(folder, files, name, hashes) for name in files) else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_intact(folder: Path, files: dict[str, Any], name: str, hashes: bool) -> bool:
    path = folder / Path(name).name
    if path.stat().st_size != files[name]["bytes"]:
        return False
    return not hashes or file_sha256(path) == files[name]["sha256"]


def _build(
    source: Path, folder: Path, convert: Callable[[Path, Path], None], record: dict[str, Any]
) -> dict[str, Any]:
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        convert(source, building)
        record = {**record, "files": {path.name: _seal(path) for path in sorted(building.iterdir())}}
        (building / RECORD_FILE).write_text(json.dumps(record, indent=1), encoding="utf-8")
        building.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        building.replace(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return record


def _seal(path: Path) -> dict[str, Any]:
    # safetensors leaves files that only their owner may read; a cache may be shared.
    path.chmod(0o644)
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def folder_bytes(folder: Path) -> int:
    """Total size of the files under a folder, in bytes; 0 if there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
