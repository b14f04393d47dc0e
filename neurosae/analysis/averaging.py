"""Rows of one unit of inference become one row, so that no test counts a unit twice."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import DesignError
from neurosae.schema.names import STIMULUS
from neurosae.schema.recordings import stimulus_table
from neurosae.schema.units import unit_column


def average_units(
    responses: xr.DataArray, *, unit: str = "auto", by: Sequence[str] = ("condition",)
) -> xr.DataArray:
    """Mean response of each unit of inference in each condition.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature)
    unit : column that defines the unit, by default the widest of family, pair, item, stimulus
    by : columns whose levels are kept apart within a unit

    Returns
    -------
    DataArray (stimulus, layer, feature)
        One row for each unit and combination of levels, in order of first appearance; means in float64, lazy
        if the responses are. The label is the unit's, followed by ``|level`` where units hold several levels.
        Coordinates stay if they are constant within each row. With unit ``"stimulus"`` the rows are those
        given.

    Raises
    ------
    DesignError
        If ``unit`` or a column of ``by`` is missing, or the unit of a stimulus is empty.

    Examples
    --------
    >>> table = {"item": ("stimulus", ["x", "x", "y"]), "condition": ("stimulus", ["a", "a", "a"])}
    >>> responses = xr.DataArray(
    ...     np.array([1.0, 3.0, 5.0]).reshape(3, 1, 1), dims=("stimulus", "layer", "feature"), coords=table
    ... ).assign_coords(stimulus=["s1", "s2", "s3"])
    >>> average_units(responses).squeeze().to_series()
    stimulus
    x    2.0
    y    5.0
    dtype: float64
    """
    table = stimulus_table(responses)
    column = unit_column(table, unit)
    if column == STIMULUS:
        return responses
    codes, labels = unit_rows(table, unit=column, by=by)
    first = np.unique(codes, return_index=True)[1]
    kept = {name: (STIMULUS, table[name].to_numpy()[first]) for name in _constant(table, codes, first)}
    others = {name: coord for name, coord in responses.coords.items() if STIMULUS not in coord.dims}
    return xr.DataArray(
        _row_means(responses, codes),
        dims=responses.dims,
        coords={**others, **kept, STIMULUS: labels},
        name=responses.name,
        attrs=responses.attrs,
    )


def _row_means(responses: xr.DataArray, codes: np.ndarray) -> Any:
    if responses.chunks is None:
        return group_means(responses.values, codes)
    whole = responses.chunk({STIMULUS: -1}).data  # a mean needs all stimuli of a chunk of features
    chunks = ((int(codes.max()) + 1,), *whole.chunks[1:])
    return whole.map_blocks(group_means, codes, chunks=chunks, dtype=np.float64)


def unit_rows(
    table: pd.DataFrame, *, unit: str = "auto", by: Sequence[str] = ("condition",)
) -> tuple[np.ndarray, np.ndarray]:
    """For each stimulus the number of its row after averaging, and the label of each such row.

    Examples
    --------
    >>> unit_rows(pd.DataFrame({"item": ["x", "x", "y"], "condition": ["a", "b", "a"]}))
    (array([0, 1, 2]), array(['x|a', 'x|b', 'y|a'], dtype='<U3'))
    """
    column = unit_column(table, unit)
    by = [name for name in by if name != column]
    _check_columns(table, column, by)
    units = table[column].astype(str)
    levels = [table[name].astype(str) for name in by]
    codes, first = _first_appearance([units, *levels])
    names = units.to_numpy(dtype=str)[first]
    if len(np.unique(names)) < len(names):
        shown = [level.to_numpy(dtype=str)[first] for level in levels]
        names = np.array(["|".join(row) for row in zip(names, *shown, strict=True)])
    return codes, names


def group_means(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Mean over the rows of each group 0 … G-1: (n, ...) -> (G, ...), in float64.

    Examples
    --------
    >>> group_means(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1]))
    array([2., 5.])
    """
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(np.asarray(values)[order], starts, axis=0, dtype=np.float64)
    return sums / counts.reshape(-1, *[1] * (np.ndim(values) - 1))


def _first_appearance(columns: Sequence[pd.Series]) -> tuple[np.ndarray, np.ndarray]:
    groups = pd.concat(columns, axis=1).groupby([column.to_numpy() for column in columns], sort=False)
    codes = groups.ngroup().to_numpy()
    return codes, np.unique(codes, return_index=True)[1]


def _check_columns(table: pd.DataFrame, unit: str, by: Sequence[str]) -> None:
    missing = [name for name in by if name not in table]
    if missing:
        raise DesignError(f"no column {missing} in the stimuli; columns: {list(table.columns)}.")
    n_empty = int((table[unit].isna() | (table[unit].astype(str) == "")).sum())
    if n_empty:
        raise DesignError(
            f"{n_empty} stimuli have no {unit!r}; as unit of inference it must be given for each. "
            "Fill the column, drop these stimuli, or name another unit."
        )


def _constant(table: pd.DataFrame, codes: np.ndarray, first: np.ndarray) -> list[str]:
    def is_constant(name: str) -> bool:
        values = table[name].to_numpy()
        same = values == values[first][codes]
        return bool((same | (table[name].isna() & table[name].isna().to_numpy()[first][codes])).all())

    return [str(name) for name in table if name != STIMULUS and is_constant(str(name))]
