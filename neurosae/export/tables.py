"""A result as one tidy table in a file."""

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import StorageError
from neurosae.export.flat import check_free, flat, new_file
from neurosae.recording.netcdf import to_table
from neurosae.schema.provenance import Labelled
from neurosae.schema.spelling import listed

_ROWS_AT_ONCE = 500_000


def to_csv(
    result: Labelled, path: Path | str, *, dims: Sequence[str] | None = None, overwrite: bool = False
) -> Path:
    """A tidy table as text: one row a combination of labels, one column a quantity.

    Columns are those of `neurosae.to_table`. Values are separated by commas, or by tabs if ``path`` ends in
    ``.tsv``; text is UTF-8, quoted where it must be, and missing numbers are ``NaN``. Numbers keep every
    digit. Lazy values are read and written a part at a time.

    Parameters
    ----------
    result : DataArray or Dataset
    path : file to write
    dims : what a row is, by default the dims of the first variable
    overwrite : replace a file that exists

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    StorageError
        If ``path`` exists or cannot be written.
    DesignError
        If ``dims`` names a dim that ``result`` lacks.

    Notes
    -----
    Warns if a variable has other dims and is left out; export it by its own ``dims``.

    Examples
    --------
    >>> import tempfile
    >>> effect = xr.DataArray([[0.5, 1.0]], dims=("layer", "feature"), coords={"layer": [6]}, name="effect")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_csv(effect, Path(folder) / "effect.csv").read_text().split()
    ['layer,feature,effect', '6,0,0.5', '6,1,1.0']
    """
    path = Path(path)
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    dataset = flat(result)
    with new_file(path, overwrite=overwrite) as part, open(part, "w", encoding="utf-8", newline="") as file:
        for number, table in enumerate(_parts(dataset, dims)):
            if not number:
                _warn_left_out(dataset, table)
            table.to_csv(
                file, sep=separator, index=False, header=not number, na_rep="NaN", lineterminator="\n"
            )
    return path


def _parts(dataset: xr.Dataset, dims: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    """The table in parts along the first dim, so that a large result never fills the memory."""
    first = next(iter(dataset.data_vars.values()), None)
    rows = list(dims) if dims is not None else ([] if first is None else [str(dim) for dim in first.dims])
    if not rows or any(dim not in dataset.dims for dim in rows):
        yield to_table(dataset, dims=rows)
        return
    size = dataset.sizes[rows[0]]
    step = max(1, _ROWS_AT_ONCE // max(1, int(np.prod([dataset.sizes[dim] for dim in rows[1:]]))))
    starts = range(0, max(size, 1), step)
    labelled = dataset.assign_coords(
        {d: np.arange(dataset.sizes[d]) for d in rows if d not in dataset.coords}
    )
    for start in starts:
        yield to_table(labelled.isel({rows[0]: slice(start, start + step)}), dims=rows)


def _warn_left_out(dataset: xr.Dataset, table: pd.DataFrame) -> None:
    left_out = [name for name in table.attrs["left_out"] if name in dataset.data_vars]
    if left_out:
        warnings.warn(
            f"the table leaves out {listed(left_out)}, which have other dims. Export them with dims=.",
            stacklevel=3,
        )


def to_parquet(
    result: Labelled, path: Path | str, *, dims: Sequence[str] | None = None, overwrite: bool = False
) -> Path:
    """The tidy table of `to_csv` as a Parquet file, types included; needs the package pyarrow.

    Parameters
    ----------
    result : DataArray or Dataset; lazy values are computed and held in memory
    path : file to write, by custom ending in ``.parquet``
    dims : what a row is, by default the dims of the first variable
    overwrite : replace a file that exists

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    StorageError
        If pyarrow is not installed, or ``path`` exists or cannot be written.
    DesignError
        If ``dims`` names a dim that ``result`` lacks.

    Notes
    -----
    Warns if a variable has other dims and is left out; export it by its own ``dims``.

    Examples
    --------
    >>> effect = xr.DataArray([0.5, 1.0], dims="layer", name="effect")
    >>> path = to_parquet(effect, "effect.parquet")  # doctest: +SKIP
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise StorageError("Parquet needs the package pyarrow. Install it (pip install pyarrow) or use CSV.")
    path, dataset = Path(path), flat(result)
    check_free(path, overwrite=overwrite)
    table = to_table(dataset, dims=dims)
    _warn_left_out(dataset, table)
    with new_file(path, overwrite=overwrite) as part:
        table.to_parquet(part, index=False, engine="pyarrow")
    return path
