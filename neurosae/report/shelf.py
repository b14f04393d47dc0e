"""The results of a study on disk: each is computed once and loaded ever after."""

from collections.abc import Callable
from pathlib import Path

import xarray as xr

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.schema.provenance import Labelled


class Shelf:
    """Results by name, one NetCDF file each, in the ``derived`` folder of a session.

    A study that was interrupted goes on where it stopped, because what is on the shelf is not computed
    again; files are replaced atomically, so what is there is whole.
    """

    def __init__(self, session: Path) -> None:
        self.folder = session / "derived"

    def dataset(self, name: str, compute: Callable[[], xr.Dataset] | None = None) -> xr.Dataset:
        """The Dataset ``name``: loaded if it is there, else computed and stored.

        Raises
        ------
        StorageError
            If it is not there and nothing computes it.
        """
        result = self._result(name, compute)
        return result if isinstance(result, xr.Dataset) else result.to_dataset(name=name)

    def array(self, name: str, compute: Callable[[], xr.DataArray] | None = None) -> xr.DataArray:
        """The DataArray ``name``, as `dataset`."""
        result = self._result(name, compute)
        return result if isinstance(result, xr.DataArray) else next(iter(result.values()))

    def _result(self, name: str, compute: Callable[[], Labelled] | None) -> Labelled:
        path = self.folder / f"{name}.nc"
        if not path.exists():
            if compute is None:
                raise StorageError(f"{path} is missing: the study is not finished. Run it again.")
            self.folder.mkdir(exist_ok=True)
            save_netcdf(compute(), path)
        try:
            return load_netcdf(path)
        except CorruptFileError as error:
            raise CorruptFileError(f"{error} Delete it and run again: it will be computed anew.") from error
