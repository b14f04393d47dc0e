"""What every step and section of a study shares: the protocol, the session, the shelf of results."""

from collections.abc import Callable
from dataclasses import dataclass

import xarray as xr

from neurosae.protocol.models import Protocol
from neurosae.recording.pooling import pool_tokens
from neurosae.recording.session import Session
from neurosae.report.shelf import Shelf

Progress = Callable[[str], Callable[[int, int], None]]
"""Announces a step by name and gives back a function (done, total) that reports its progress."""


def silent(_step: str) -> Callable[[int, int], None]:
    """Announce nothing: the progress of a script."""
    return lambda _done, _total: None


@dataclass(frozen=True)
class Study:
    """All a step needs: what was asked, what was recorded, and where results are kept."""

    protocol: Protocol
    session: Session
    shelf: Shelf
    progress: Progress

    def recording(self, site: str | None = None) -> xr.DataArray:
        """The recording of ``site``, by default the first of the protocol."""
        return self.session[site or self.protocol.recording.sites[0]]

    def responses(self, site: str | None = None) -> xr.DataArray:
        """Responses pooled as the protocol says, computed once."""
        settings = self.protocol.responses
        site = site or self.protocol.recording.sites[0]
        return self.shelf.array(
            f"responses-{site}",
            lambda: pool_tokens(self.recording(site), window=settings.window, how=settings.how),
        )
