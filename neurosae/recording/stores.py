"""The stores of a session that is being recorded: a folder of shards for each site and each dictionary."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from neurosae.recording.code_header import code_file_attrs
from neurosae.recording.code_store import put_code_shard
from neurosae.recording.files import sweep_parts, write_text
from neurosae.recording.header import file_attrs
from neurosae.recording.manifest import MANIFEST, SCHEMA, append_entry, entries, is_intact
from neurosae.recording.portion import Made
from neurosae.recording.store import put_shard, shard_name


def planned_codes(header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is known of each dictionary whose codes are recorded with the activations."""
    return list(header["config"].get("dictionaries", ()))


def store_attrs(header: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Global attributes of the files of each store, by its folder: sites first, then dictionaries."""
    raw = {site: file_attrs(header, site) for site in header["sites"]}
    return raw | {str(its["folder"]): code_file_attrs(header, its) for its in planned_codes(header)}


def put_made(
    folder: Path, made: Made, attrs: Mapping[str, Mapping[str, object]]
) -> dict[str, dict[str, object]]:
    """Write a shard into each store of a session.

    Parameters
    ----------
    folder : of the session
    made : the shard
    attrs : of the files of each store, see `store_attrs`

    Returns
    -------
    dict of str to dict
        Folder of the store → entry for its manifest.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    put = {
        site: put_shard(folder / site, made.number, shard, attrs[site]) for site, shard in made.raw.items()
    }
    is_first = made.number == 0 and made.fits  # of other shards, the fit depends on who ran them
    fits: list[dict[str, Any]] = [fit._asdict() for fit in made.fits] if is_first else [{}] * len(made.codes)
    for store, shard, fit in zip(list(attrs)[len(made.raw) :], made.codes, fits, strict=True):
        put[store] = put_code_shard(folder / store, made.number, shard, attrs[store], fit=fit)
    return put


def enter_made(folder: Path, put: Mapping[str, Mapping[str, object]], *, writer: str = "") -> None:
    """Enter what `put_made` wrote into the manifests of a writer.

    Raises
    ------
    StorageError
        If a manifest cannot be written.
    """
    for store, entry in put.items():
        append_entry(folder / store, entry, writer=writer)


def complete_shards(folder: Path, stores: Collection[str], numbers: Collection[int]) -> set[int]:
    """Those of some shards that are intact in every store."""
    complete = set(numbers)
    for store in stores:
        known = entries(folder / store, "shard")
        complete = {
            number
            for number in complete
            if (name := shard_name(number)) in known and is_intact(folder / store, name, known[name])
        }
    return complete


def sweep(folder: Path, stores: Collection[str]) -> None:
    """Remove temporary files that killed processes left; nobody else may be writing."""
    for place in (folder, *(folder / store for store in stores)):
        sweep_parts(place)
        sweep_parts(place / "shards")


def fold_manifests(store: Path) -> None:
    """Make one manifest of those of several writers, its entries in the order of the shards."""
    others = list(store.glob("manifest.*.jsonl"))
    if others:
        known = entries(store, "shard")
        lines = [{"schema": SCHEMA}, *(known[name] for name in sorted(known))]
        write_text(store / MANIFEST, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        for path in others:
            path.unlink()
