"""What a session says of itself: the stamp written before the subject runs, attributes of its files."""

import hashlib
import json
import platform
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from neurosae.protocol.models import Protocol
from neurosae.recording.files import write_json, write_text
from neurosae.recording.manifest import SCHEMA
from neurosae.recording.plan import Plan, table_sha256, table_text
from neurosae.recording.session import HEADER, PROTOCOL, STIMULI, read_header
from neurosae.schema.names import UNITS_BASIS

_PACKAGES = ("neurosae", "numpy", "xarray", "netCDF4", "torch", "transformers", "transformer-lens")


def register(folder: Path, protocol: Protocol, stimuli: pd.DataFrame, plan: Plan) -> dict[str, Any]:
    """Write what was planned, before anything is run; a session that is continued keeps its first stamp."""
    header = read_header(folder) if (folder / HEADER).exists() else _stamp(protocol, stimuli, plan)
    write_json(folder / HEADER, header)
    write_text(folder / PROTOCOL, protocol.source)
    write_text(folder / STIMULI, table_text(stimuli))
    return header


def _stamp(protocol: Protocol, stimuli: pd.DataFrame, plan: Plan) -> dict[str, Any]:
    created = now()
    versions = _versions()
    return {
        "schema": SCHEMA,
        "status": "recording",
        "registered": {"time": created, "protocol_sha256": protocol.sha256, "versions": versions},
        "sites": list(plan.sites),
        "layers": list(plan.layers),
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


def seal(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header of a finished session with the hash of all that it says."""
    return {**header, "sha256": sealed_sha256(header)}


def sealed_sha256(header: Mapping[str, Any]) -> str:
    """Hash of a header without its own hash, the same before it is written and after it is read."""
    content = {name: value for name, value in header.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


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
