"""Open what was recorded: a session gives each site as a lazy, labelled recording."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import pandas as pd
import xarray as xr

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording.code_recordings import open_code_recording
from neurosae.recording.code_store import open_codes
from neurosae.recording.manifest import SCHEMA, TABLES
from neurosae.recording.padded import lazy_rows, padded_fields
from neurosae.recording.seals import check_content, is_sealed
from neurosae.recording.shard import read_tables
from neurosae.recording.sparse import SparseRecording
from neurosae.recording.store import open_store
from neurosae.schema.recordings import recording_array
from neurosae.schema.spelling import listed

HEADER, PROTOCOL, STIMULI = "session.json", "protocol.toml", "stimuli.tsv"

_STAMPED = ("status", "sites", "provenance", "config", "config_sha256")
_NEEDED = {False: _STAMPED, True: (*_STAMPED, "counts", "exclusions", "files")}
"""What a header holds, by whether the session is complete."""


@dataclass(frozen=True, eq=False)
class Session:
    """A finished recording session: ``session["resid_post"]`` is the recording of a site.

    path : folder of the session
    protocol : the protocol it was recorded under, as read from ``protocol.toml``
    protocol_text : the same, as written
    stimuli : stimulus table, in the order of the recordings; attrs ``name`` and ``sha256``
    sites : recorded sites
    dictionaries : what is known of each dictionary whose codes are stored, by name
    provenance : subject, stimuli, protocol and recording, by name and hash
    exclusions : table of stimuli that were cut or hold no valid token, with columns ``stimulus``, ``reason``
    counts : ``stimuli``, ``tokens``, and of these ``special``, ``sinks`` (not special), ``valid`` and
        ``non_finite`` (NaN or infinite activations at any site, kept as they are). Sinks are judged by
        residual norms: where no residual site is recorded, none is found
    """

    path: Path
    protocol: Mapping[str, Any]
    protocol_text: str
    stimuli: pd.DataFrame
    sites: tuple[str, ...]
    provenance: Mapping[str, Any]
    exclusions: pd.DataFrame
    counts: Mapping[str, int]
    dictionaries: Mapping[str, Mapping[str, Any]]

    @overload
    def __getitem__(self, key: str) -> xr.DataArray: ...

    @overload
    def __getitem__(self, key: tuple[str, ...]) -> SparseRecording: ...

    def __getitem__(self, key: str | tuple[str, ...]) -> xr.DataArray | SparseRecording:
        """``session[site]`` is the recording of a site, ``session[site, name]`` its codes in a dictionary.

        Special tokens and attention sinks are left out of both; several names give several layers.
        """
        return self.recording(key) if isinstance(key, str) else self.codes(*key)

    def recording(self, site: str | None = None, *, mask: bool = True) -> xr.DataArray:
        """The recording of a site, lazy: activations are read when they are used.

        Parameters
        ----------
        site : one of ``sites``, by default the first
        mask : NaN at special tokens and attention sinks; False keeps them, and ``valid`` then marks every
            token that is no padding

        Returns
        -------
        DataArray (stimulus, token, layer, feature) float32
            Chunked by layer and by stimuli.

        Raises
        ------
        StorageError
            If the site was not recorded, or the session holds codes alone.
        """
        site = self._recorded(site)
        store = open_store(self.path / site)
        tables = read_tables(self.path / site / TABLES)
        tokens = padded_fields(tables, mask=mask)
        origin = {**self.provenance, "recording": {**self.provenance["recording"], "site": site}}
        return recording_array(
            lazy_rows(store, tables, tokens["valid"], f"{site}-{origin['recording']['id']}-{mask}"),
            stimuli=tables.stimuli,
            tokens=tokens,
            layers=store.layers,
            site=site,
            origin=origin,
        )

    def codes(self, site: str, *names: str, mask: bool = True) -> SparseRecording:
        """The codes of a site in one dictionary, or in several of different layers; read when they are used.

        Parameters
        ----------
        site : where the dictionaries belong
        names : of dictionaries, see ``dictionaries``
        mask : leave out attention sinks; special tokens have no codes

        Returns
        -------
        SparseRecording (stimulus, token, layer, feature) float32

        Raises
        ------
        StorageError
            If there are no codes of that name at that site, or no name is given.
        DesignError
            If two of the dictionaries share a layer, or have different numbers of features.
        """
        known = {name for name, its in self.dictionaries.items() if its["site"] == site}
        missing = sorted(set(names) - known)
        if missing or not names:
            asked = f"in {listed(map(repr, missing))} " if missing else ""
            raise StorageError(
                f"{self.path}: there are no codes of {site!r} {asked}to open. The session holds codes in: "
                f"{self._dictionary_names() or 'no dictionary'}. Make codes with encode()."
            )
        origin = {**self.provenance, "recording": {**self.provenance["recording"], "site": site}}
        return open_code_recording(self.path, [self.dictionaries[name] for name in names], origin, mask=mask)

    def _recorded(self, site: str | None) -> str:
        """``site`` if it was recorded, or the first site."""
        if site in self.sites or (site is None and self.sites):
            return site or self.sites[0]
        asked = "no activations were recorded" if site is None else f"site {site!r} was not recorded"
        if self.sites:
            raise StorageError(f"{self.path}: {asked}; sites: {listed(self.sites)}.")
        raise StorageError(
            f"{self.path}: {asked}; it holds codes alone, in: {self._dictionary_names()}. Name a dictionary, "
            'as in session["resid_post", "NAME"] or export --dictionary NAME, or record again with sites.'
        )

    def _dictionary_names(self) -> str:
        return listed(f"{name} ({its['site']})" for name, its in self.dictionaries.items())


def open_session(path: Path | str) -> Session:
    """Open a finished session; files are checked by size, activations stay on disk.

    Parameters
    ----------
    path : folder of the session

    Returns
    -------
    Session
        ``session["resid_post"]`` is the recording of a site.

    Raises
    ------
    StorageError
        If ``path`` holds no session, an unfinished one, or one of a newer format.
    CorruptFileError
        If a file is missing, truncated or unreadable, or the header or the protocol were altered.

    Examples
    --------
    >>> open_session("no/such/folder")
    Traceback (most recent call last):
    neurosae.errors.StorageError: no/such/folder holds no session (no session.json). Record one with record().
    """
    path = Path(path)
    header = read_header(path)
    if header["status"] != "complete":
        raise StorageError(f"{path}: the session is not finished. Call record again to continue it.")
    if not is_sealed(header):
        raise CorruptFileError(f"{path / HEADER} is not what was written. Restore it or record again.")
    check_content(path / PROTOCOL, header["files"][PROTOCOL])
    text, protocol = _read_protocol(path / PROTOCOL)
    sites = tuple(header["sites"])
    stores = [*sites, *(its["folder"] for its in header.get("dictionaries", ()))]
    for site in sites or stores[:1]:
        _check_there(path / site / TABLES)
    for site in sites:
        open_store(path / site)
    if not sites:
        open_codes(path / stores[0])
    stimuli = read_tables(path / stores[0] / TABLES).stimuli
    stimuli.attrs = dict(header["provenance"]["stimuli"])
    return Session(
        path=path,
        protocol=protocol,
        protocol_text=text,
        stimuli=stimuli,
        sites=sites,
        provenance=header["provenance"],
        exclusions=pd.DataFrame(header["exclusions"], columns=["stimulus", "reason"]),
        counts=header["counts"],
        dictionaries={str(its["name"]): its for its in header.get("dictionaries", ())},
    )


def _check_there(tables: Path) -> None:
    """Refuse a finished session that lost the tables of a store, which `record` would not write again."""
    if not tables.exists():
        raise CorruptFileError(f"{tables} is missing. Restore its folder, or record again with overwrite.")


def read_header(path: Path) -> dict[str, Any]:
    """Content of ``session.json``.

    Raises
    ------
    StorageError
        If there is none, or its format is newer than this version reads.
    CorruptFileError
        If it is no JSON.
    """
    if not (path / HEADER).exists():
        raise StorageError(f"{path} holds no session (no {HEADER}). Record one with record().")
    try:
        header = json.loads((path / HEADER).read_text(encoding="utf-8"))
        schema = str(header["schema"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(f"{path / HEADER}: the file is damaged ({error}). Record again.") from error
    if schema.split(".")[0] != SCHEMA:
        raise StorageError(
            f"{path} has format {schema}, this version reads {SCHEMA}. Install the neurosae that wrote it."
        )
    missing = [name for name in _NEEDED[header.get("status") == "complete"] if name not in header]
    if missing:
        raise CorruptFileError(f"{path / HEADER}: the file is damaged (no {missing[0]!r}). Record again.")
    return dict(header)


def _read_protocol(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path}: the file is missing or damaged ({error}). Restore it.") from error
