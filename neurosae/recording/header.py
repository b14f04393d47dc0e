"""What a session says of itself: the stamp written before the subject runs, attributes of its files."""

import json
import os
import platform
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from neurosae.protocol.models import Protocol
from neurosae.recording.files import storage_error, write_json, write_text
from neurosae.recording.manifest import SCHEMA
from neurosae.recording.output import check_same
from neurosae.recording.plan import Plan, table_sha256, table_text
from neurosae.recording.session import HEADER, PROTOCOL, STIMULI, read_header
from neurosae.schema.names import UNITS_BASIS

_PACKAGES = ("neurosae", "numpy", "xarray", "netCDF4", "torch", "transformers", "transformer-lens")


def register(folder: Path, protocol: Protocol, stimuli: pd.DataFrame, plan: Plan) -> dict[str, Any]:
    """Write what was planned, before anything is run; a session that is continued keeps its first stamp."""
    stamp = _stamp(protocol, stimuli, plan)
    header = {**stamp, **read_header(folder)} if (folder / HEADER).exists() else stamp
    write_json(folder / HEADER, header)
    write_text(folder / PROTOCOL, protocol.source)
    write_text(folder / STIMULI, table_text(stimuli))
    return header


def register_shared(folder: Path, protocol: Protocol, stimuli: pd.DataFrame, plan: Plan) -> dict[str, Any]:
    """`register` for several processes at once: the first one's stamp counts, the others read it.

    Raises
    ------
    StorageError
        If another process was quicker with another recording, or a file cannot be written.
    """
    stamp = _stamp(protocol, stimuli, plan)
    _create_once(folder / HEADER, json.dumps(stamp, indent=1, ensure_ascii=False, default=str) + "\n")
    header = read_header(folder)
    check_same(folder, header, plan.config)
    _create_once(folder / PROTOCOL, protocol.source)
    _create_once(folder / STIMULI, table_text(stimuli))
    return header


def _create_once(path: Path, text: str) -> None:
    """Write a file that appears whole, unless it is there already: of several processes one wins."""
    try:
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.part-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.chmod(part, 0o644)
            with suppress(FileExistsError):
                os.link(part, path)
        finally:
            os.unlink(part)
    except OSError as error:
        raise storage_error(path, error) from error


def _stamp(protocol: Protocol, stimuli: pd.DataFrame, plan: Plan) -> dict[str, Any]:
    created = now()
    versions = _versions()
    return {
        "schema": SCHEMA,
        "status": "recording",
        "registered": {"time": created, "protocol_sha256": protocol.sha256, "versions": versions},
        "sites": list(plan.order.sites),
        "layers": list(plan.order.layers),
        "n_features": dict(plan.n_features),
        "exclusions": _cut(stimuli, plan),
        "provenance": {
            "subject": plan.config["environment"],
            "stimuli": {
                "name": stimuli.attrs.get("name", "stimuli"),
                "sha256": stimuli.attrs.get("sha256", table_sha256(stimuli)),
            },
            "protocol": {"name": protocol.name, "sha256": protocol.sha256},
            "recording": {
                "id": str(uuid.uuid4()),
                "created": created,
                "neurosae": versions.get("neurosae", "not installed"),
            },
        },
        "config": dict(plan.config),
        "config_sha256": plan.config_sha256,
    }


def _cut(stimuli: pd.DataFrame, plan: Plan) -> list[list[str]]:
    """Stimuli that were cut, and by how much."""
    texts = zip(stimuli["stimulus"].tolist(), plan.lengths, plan.tokens, strict=True)
    return [
        [label, f"cut from {whole} to {len(kept)} tokens"]
        for label, whole, kept in texts
        if whole > len(kept)
    ]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def file_attrs(header: Mapping[str, Any], site: str) -> dict[str, str]:
    """Global attributes of every file of a store, after the CF and ACDD conventions."""
    origin = header["provenance"]
    subject, recording = str(origin["subject"].get("name", "not stated")), origin["recording"]
    return {
        "Conventions": "CF-1.12 ACDD-1.3",
        "title": f"{origin['protocol']['name']}: activations of {subject} at {site}",
        "institution": "not stated",
        "source": f"{subject}, forward pass",
        "history": f"{recording['created']} recorded by neurosae {recording['neurosae']}",
        "references": "not stated",
        "comment": "Indices count from 0. R, MATLAB and Octave show dimensions in reverse order.",
        "id": recording["id"],
        "date_created": recording["created"],
        "product_version": recording["neurosae"],
        "processing_level": "raw",
        "neurosae_schema": SCHEMA,
        "config_sha256": header["config_sha256"],
        "model_id": subject,
        "stimulus_set_id": str(origin["stimuli"]["name"]),
        "stimulus_set_sha256": str(origin["stimuli"]["sha256"]),
        "protocol_sha256": str(origin["protocol"]["sha256"]),
        "site": site,
        "basis": UNITS_BASIS,
    }
