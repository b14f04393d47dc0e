"""What a verb reads from a session: the recording of a site, or the codes of dictionaries."""

from pathlib import Path
from typing import TYPE_CHECKING

import neurosae as ns

if TYPE_CHECKING:  # xarray takes longer to import than the help to print
    import xarray as xr

    from neurosae.recording.sparse import SparseRecording


def recorded(session: Path, site: str | None, dictionaries: list[str]) -> "xr.DataArray | SparseRecording":
    """Codes in ``dictionaries`` if there are any, at the site of the first; else activations."""
    opened = ns.open_session(session)
    if not dictionaries:
        return opened.recording(site)
    known = opened.dictionaries.get(dictionaries[0], {}).get("site")
    return opened.codes(site or known or "any site", *dictionaries)
