"""A result as NetCDF for R and every other program that reads NetCDF."""

from pathlib import Path

from neurosae.export.layer_files import write_layers
from neurosae.recording.netcdf import save_netcdf
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.provenance import Labelled


def to_r(result: Labelled | SparseRecording, path: Path | str, *, overwrite: bool = False) -> Path:
    """One NetCDF file that R reads with the package ncdf4, and MATLAB and Octave with ``ncread``.

    The format is that of `neurosae.save_netcdf`, so that `neurosae.load_netcdf` reads the file too. In R::

        library(ncdf4)
        file <- nc_open("responses.nc")
        x <- ncvar_get(file, "response", collapse_degen = FALSE)  # feature, layer, stimulus: reversed
        stimulus <- ncvar_get(file, "stimulus")
        condition <- ncvar_get(file, "condition")
        layer <- ncvar_get(file, "layer")
        first <- x[1, layer == 0, ]                       # feature 0: R counts from 1, labels from 0
        print(tapply(first, condition, mean, na.rm = TRUE))
        nc_close(file)

    Codes of a dictionary become a folder: ``layer-NN.nc``, each with the tables of stimuli and valid tokens
    inside and the codes feature by feature (``row_count``, ``row_index``, ``activation``); ``stimuli.tsv``
    and ``stimuli.json``; and ``read_layer.R`` and ``read_layer.m``, which make a sparse matrix of a file.

    Parameters
    ----------
    result : DataArray, Dataset, or codes of a dictionary; lazy values are computed and written in parts
    path : file to write, by custom ending in ``.nc``; for codes a folder
    overwrite : replace a file that exists, or a folder that this function wrote

    Returns
    -------
    Path
        The file or folder written.

    Raises
    ------
    StorageError
        If ``path`` exists, cannot be written, or something in ``result`` has no portable form.

    Notes
    -----
    R shows dims in reverse order. Absent values are NaN, bool is 0 or 1, and whole numbers that count
    positions (features, tokens, characters) start at 0.

    Examples
    --------
    >>> import tempfile
    >>> from neurosae.recording.netcdf import load_netcdf
    >>> from neurosae.testing import planted_responses
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_netcdf(to_r(planted_responses(), Path(folder) / "responses.nc")).dims
    ('stimulus', 'layer', 'feature')
    """
    if isinstance(result, SparseRecording):
        return write_layers(result, Path(path), overwrite=overwrite)
    return save_netcdf(result, path, overwrite=overwrite)
