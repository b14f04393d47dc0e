"""A result as one tidy table in a file."""

import importlib
import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import DesignError, StorageError
from neurosae.export.code_tables import active_tables, count_unknown
from neurosae.export.flat import check_fits, flat, new_file
from neurosae.recording.netcdf import to_table
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.provenance import Labelled
from neurosae.schema.spelling import listed

_ROWS_AT_ONCE = 500_000
_BYTES_AT_ONCE = 2**28  # lazy values are read in so large pieces, for a smaller one may read as much
_ROW_BYTES = 100  # of a line in memory, with its labels
_LARGEST_PART = 2**31


def to_csv(
    result: Labelled | SparseRecording,
    path: Path | str,
    *,
    dims: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """A tidy table as text: one row a combination of labels, one column a quantity.

    Columns are those of `neurosae.to_table`. Values are separated by commas, or by tabs if ``path`` ends in
    ``.tsv``; text is UTF-8, quoted where it must be, and missing numbers are ``NaN``. Numbers keep every
    digit. Lazy values are read and written a part at a time.

    A line of codes is an active code: stimulus, token, token_str, layer, feature, value. Tokens without any
    have no line.

    Parameters
    ----------
    result : DataArray, Dataset, or codes of a dictionary
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
        If ``path`` exists or cannot be written, or one label of the first dim alone gives more lines than
        memory may hold.
    DesignError
        If ``dims`` names a dim that ``result`` lacks, or is given for codes.

    Notes
    -----
    Warns if a variable has other dims and is left out; export it by its own ``dims``. Warns if tokens have
    unknown codes, as their activations are NaN or infinite.

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
    parts = _tables(result, dims)
    with new_file(path, overwrite=overwrite) as part, open(part, "w", encoding="utf-8", newline="") as file:
        for number, table in enumerate(parts):
            table.to_csv(
                file, sep=separator, index=False, header=not number, na_rep="NaN", lineterminator="\n"
            )
    return path


def _tables(result: Labelled | SparseRecording, dims: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    """The table in parts, each small enough for memory."""
    if isinstance(result, SparseRecording):
        _check_codes(result, dims)
        return active_tables(result)
    dataset = flat(result)
    _check_step(dataset, _row_dims(dataset, dims))
    return _parts(dataset, dims)


def _check_codes(codes: SparseRecording, dims: Sequence[str] | None) -> None:
    if dims is not None:
        raise DesignError("a line of a table of codes is an active code; leave dims out.")
    n_unknown = count_unknown(codes)
    if n_unknown:
        warnings.warn(
            f"{n_unknown} tokens have no codes, as their activations are NaN or infinite; like silent tokens "
            "they have no line in the table.",
            stacklevel=4,
        )


def _row_dims(dataset: xr.Dataset, dims: Sequence[str] | None) -> list[str]:
    """What a row is: ``dims``, or the dims of the first variable."""
    first = next(iter(dataset.data_vars.values()), None)
    return list(dims) if dims is not None else ([] if first is None else [str(dim) for dim in first.dims])


def _check_step(dataset: xr.Dataset, rows: Sequence[str]) -> None:
    """Refuse a result of which one label of the first dim alone would fill the memory as a table."""
    size = float(np.prod([dataset.sizes.get(dim, 1) for dim in rows[1:]]))
    check_fits(
        _ROW_BYTES * size,
        _LARGEST_PART,
        f"each {rows[0] if rows else 'part'} of a table may take",
        "Select layers or features, pool over tokens, or export for numpy or R, which are written in parts.",
    )


def _parts(dataset: xr.Dataset, dims: Sequence[str] | None) -> Iterator[pd.DataFrame]:
    """The table in parts along the first dim, so that a large result never fills the memory."""
    rows = _row_dims(dataset, dims)
    if not rows or any(dim not in dataset.dims for dim in rows):
        yield _with_warning(dataset, to_table(dataset, dims=rows))
        return
    size = dataset.sizes[rows[0]]
    step = max(1, _ROWS_AT_ONCE // max(1, int(np.prod([dataset.sizes[dim] for dim in rows[1:]]))))
    loaded = step * max(1, int(_BYTES_AT_ONCE * size // max(1, dataset.nbytes * step)))
    labelled = dataset.assign_coords(
        {d: np.arange(dataset.sizes[d]) for d in rows if d not in dataset.coords}
    )
    for start in range(0, max(size, 1), loaded):
        block = labelled.isel({rows[0]: slice(start, start + loaded)}).compute()
        for first in range(0, max(block.sizes[rows[0]], 1), step):
            table = to_table(block.isel({rows[0]: slice(first, first + step)}), dims=rows)
            yield table if start or first else _with_warning(dataset, table)


def _with_warning(dataset: xr.Dataset, table: pd.DataFrame) -> pd.DataFrame:
    """``table``, after a warning if it leaves out a variable."""
    left_out = [name for name in table.attrs["left_out"] if name in dataset.data_vars]
    if left_out:
        warnings.warn(
            f"the table leaves out {listed(left_out)}, which have other dims. Export them with dims=.",
            stacklevel=4,
        )
    return table


def to_parquet(
    result: Labelled | SparseRecording,
    path: Path | str,
    *,
    dims: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """The tidy table of `to_csv` as a Parquet file, types included; needs the package pyarrow.

    Parameters
    ----------
    result : DataArray, Dataset, or codes of a dictionary; read and written a part at a time
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
        If pyarrow is not installed, ``path`` exists or cannot be written, or one label of the first dim alone
        gives more lines than memory may hold.
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
    path = Path(path)
    parts = _tables(result, dims)
    with new_file(path, overwrite=overwrite) as part:
        _write_parquet(part, parts)
    return path


def _write_parquet(path: Path, parts: Iterator[pd.DataFrame]) -> None:
    """One group of rows a part, all of the types of the first."""
    pyarrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    writer = None
    try:
        for part in parts:
            schema = None if writer is None else writer.schema
            table = pyarrow.Table.from_pandas(part, schema=schema, preserve_index=False)
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
