"""What every step and section of a study shares: the protocol, the session, the shelf of results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import xarray as xr

from neurosae.protocol.models import Protocol as Plan
from neurosae.recording.pooling import pool_tokens
from neurosae.recording.session import Session
from neurosae.recording.sparse import SparseRecording
from neurosae.report.shelf import Shelf
from neurosae.schema.names import UNITS_BASIS

Progress = Callable[[str], Callable[[int, int], None]]
"""Announces a step by name and gives back a function (done, total) that reports its progress."""


def silent(_step: str) -> Callable[[int, int], None]:
    """Announce nothing: the progress of a script."""
    return lambda _done, _total: None


class Basis(Protocol):
    """Which recording an analysis of the protocol is about: a site, or a dictionary."""

    @property
    def site(self) -> str | None:
        """The site, or None for the first."""
        ...

    @property
    def dictionary(self) -> str | None:
        """The dictionary, or None for the units of the model."""
        ...


@dataclass(frozen=True)
class Study:
    """All a step needs: what was asked, what was recorded, and where results are kept."""

    protocol: Plan
    session: Session
    shelf: Shelf
    progress: Progress

    def units(self, basis: Basis | None = None) -> xr.DataArray:
        """The recording of the site that an analysis is about."""
        return self.session[(basis and basis.site) or self.protocol.recording.sites[0]]

    def recording(self, basis: Basis | None = None) -> xr.DataArray | SparseRecording:
        """The recording that an analysis is about: a site's, or its codes in a dictionary."""
        name = basis.dictionary if basis else None
        if not name and self.protocol.recording.sites:
            return self.units(basis)
        its = self._stored(name or self._dictionaries[0])
        return self.session[str(its["site"]), str(its["name"])]

    def responses(self, basis: Basis | None = None) -> xr.DataArray:
        """Responses of that recording, pooled as the protocol says, computed once."""
        settings, recording = self.protocol.responses, self.recording(basis)
        name = "" if recording.attrs["basis"] == UNITS_BASIS else f"-{recording.attrs['basis']}"
        return self.shelf.array(
            f"responses-{recording.attrs['site']}{name.replace('/', '.')}",
            lambda: pool_tokens(recording, window=settings.window, how=settings.how),
        )

    @property
    def _dictionaries(self) -> tuple[str, ...]:
        return self.protocol.recording.dictionaries

    def _stored(self, name: str) -> Mapping[str, Any]:
        """What the session says of the dictionary that the protocol calls ``name``."""
        by_name = dict(zip(self._dictionaries, self.session.dictionaries.values(), strict=False))
        return by_name[name]
