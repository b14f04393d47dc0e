"""The results of a study on disk: each is computed once and loaded ever after."""

from collections.abc import Callable
from pathlib import Path

import xarray as xr

from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.schema.provenance import Labelled


class Shelf:
    """Results by name, one NetCDF file each, in the ``derived`` folder of a session.

    A study that was interrupted goes on where it stopped, because what is on the shelf is not computed
    again; files are replaced atomically, so what is there is whole.
    """

    def __init__(self, session: Path) -> None:
        self.folder = session / "derived"

    def path(self, name: str) -> Path:
        """File that holds, or would hold, the result ``name``."""
        return self.folder / f"{name}.nc"

    def dataset(self, name: str, compute: Callable[[], Labelled]) -> xr.Dataset:
        """The Dataset ``name``: loaded if it is there, else computed and stored."""
        result = self._result(name, compute)
        return result if isinstance(result, xr.Dataset) else result.to_dataset(name=name)

    def array(self, name: str, compute: Callable[[], Labelled]) -> xr.DataArray:
        """The DataArray ``name``: loaded if it is there, else computed and stored."""
        result = self._result(name, compute)
        return result if isinstance(result, xr.DataArray) else next(iter(result.values()))

    def _result(self, name: str, compute: Callable[[], Labelled]) -> Labelled:
        path = self.path(name)
        if not path.exists():
            self.folder.mkdir(exist_ok=True)
            save_netcdf(compute(), path)
        return load_netcdf(path)

    def load(self, name: str) -> Labelled:
        """A result that was stored before."""
        return load_netcdf(self.path(name))
