"""The RDMs of all layers of a set of responses, and the checks that every analysis of RDMs shares."""

import warnings
from collections.abc import Mapping

import numpy as np
import xarray as xr

from neurosae.arrays.distance import dissimilarity, triangle, z_score
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS, UNITS_BASIS
from neurosae.schema.recordings import stimulus_table

STIMULUS_2 = "stimulus_2"
"""The second dim of an RDM, with the labels of the first."""

_MAX_SILENT = 0.1
"""Share of stimuli of a layer whose pattern may be silent before an RDM of the others misleads."""

_DUPLICATE = 1e-8
"""Distances below this share of the median are those of duplicated stimuli."""

UNITS_OF_METRIC = {"euclidean": "a.u.", "sqeuclidean": "a.u.^2"}
"""Units of the dissimilarities that have any; the others are pure numbers."""


def resolve_metric(metric: str, responses: xr.DataArray) -> tuple[str, str]:
    """The measure that ``metric`` stands for, and how features are scaled before it.

    ``"auto"`` is the correlation of units in SD over the stimuli, or the cosine of the features of a
    dictionary; any other measure is taken of the responses as they are.

    Examples
    --------
    >>> resolve_metric("auto", xr.DataArray([0.0], attrs={"basis": "units"}))
    ('correlation', 'z-score')
    """
    if metric != "auto":
        return metric, "none"
    is_raw = responses.attrs.get("basis", UNITS_BASIS) == UNITS_BASIS
    return ("correlation", "z-score") if is_raw else ("cosine", "none")


def layer_dissimilarities(rows: xr.DataArray, metric: str) -> np.ndarray:
    """The RDM of each layer.

    Parameters
    ----------
    rows : DataArray (stimulus, layer, feature), one row for each row of the RDM
    metric : see `resolve_metric`

    Returns
    -------
    array (layer, n, n), float64; rows and columns of silent patterns are NaN

    Raises
    ------
    DesignError
        If the metric is unknown or needs values >= 0, there are fewer than two rows, or more than 10 % of the
        patterns of a layer are silent.

    Notes
    -----
    Warns if two rows are at distance 0 in every layer.

    Examples
    --------
    >>> rows = xr.DataArray(
    ...     np.array([[[0.0]], [[3.0]]]),
    ...     dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": ["a", "b"]},
    ... )
    >>> layer_dissimilarities(rows, "euclidean")
    array([[[0., 3.],
            [3., 0.]]])
    """
    if rows.sizes[STIMULUS] < 2:
        raise DesignError(f"{rows.sizes[STIMULUS]} row of responses is left; an RDM needs at least two.")
    name, scaling = resolve_metric(metric, rows)
    values = np.moveaxis(rows.values, 1, 0)
    layers = (z_score(layer) for layer in values) if scaling == "z-score" else values
    matrices = np.stack([dissimilarity(layer, name) for layer in layers])
    _check_silent(matrices, rows, name)
    _warn_duplicates(matrices, rows)
    return matrices


def silent_rows(matrices: np.ndarray) -> np.ndarray:
    """Rows without a pattern, marked by NaN on the diagonal: (layer, n, n) -> (layer, n) bool.

    Examples
    --------
    >>> silent_rows(np.array([[[0.0, np.nan], [np.nan, np.nan]]]))
    array([[False,  True]])
    """
    return np.isnan(np.diagonal(matrices, axis1=1, axis2=2))


def count_units(units: np.ndarray, silent: np.ndarray) -> np.ndarray:
    """How many different units have a row that is not silent, in each layer.

    Parameters
    ----------
    units : (n,) unit of each row
    silent : (layer, n) bool

    Returns
    -------
    array (layer,) int

    Examples
    --------
    >>> count_units(np.array(["x", "x", "y"]), np.array([[True, False, False], [False, False, True]]))
    array([2, 1])
    """
    return np.array([len(np.unique(units[~row])) for row in silent])


def check_column(responses: xr.DataArray, by: str) -> None:
    """Raise `DesignError` unless ``by`` is a column of the stimuli."""
    table = stimulus_table(responses)
    if by not in table:
        raise DesignError(f"{by!r} is not a column of the stimuli; columns: {list(table.columns)}.")


def layer_dataset(
    variables: Mapping[str, tuple[np.ndarray, str]],
    layers: xr.DataArray,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Variables over ``layer`` with their long names; units are ``"1"`` where none are given.

    Examples
    --------
    >>> layer_dataset({"p": (np.array([0.5]), "p-value")}, xr.DataArray([0.0], dims="layer")).p.attrs
    {'long_name': 'p-value', 'units': '1'}
    """
    units = units or {}
    data = {
        name: (LAYER, values, {"long_name": long_name, "units": units.get(name, "1")})
        for name, (values, long_name) in variables.items()
    }
    coords = {LAYER: layers[LAYER].values} if LAYER in layers.coords else {}
    return xr.Dataset(data, coords=coords)


def _check_silent(matrices: np.ndarray, rows: xr.DataArray, metric: str) -> None:
    silent = silent_rows(matrices)
    share = silent.mean(axis=1)
    if (share > _MAX_SILENT).any():
        layer = int(share.argmax())
        label = rows[LAYER].values[layer] if LAYER in rows.coords else layer
        names = rows[STIMULUS].values[silent[layer]].tolist()
        raise DesignError(
            f"layer {label}: {len(names)} of {silent.shape[1]} patterns are silent (first: {names[0]!r}), "
            f"so {metric} is undefined for them; at most 10 % may be. Leave out this layer or these stimuli, "
            "use a wider window, or take sqeuclidean."
        )


def _warn_duplicates(matrices: np.ndarray, rows: xr.DataArray) -> None:
    entries = triangle(matrices)
    median = np.nanmedian(entries, axis=1, keepdims=True)
    is_zero = ((entries <= _DUPLICATE * median) | np.isnan(entries)).all(axis=0) & ~np.isnan(entries).all(
        axis=0
    )
    if is_zero.any():
        first = int(is_zero.argmax())
        pair = [
            str(rows[STIMULUS].values[index[first]]) for index in np.triu_indices(rows.sizes[STIMULUS], 1)
        ]
        warnings.warn(
            f"{int(is_zero.sum())} pairs of stimuli are at distance 0 in every layer (first: {pair[0]!r} and "
            f"{pair[1]!r}). Duplicates pass for similarity: drop them, or average them as one unit.",
            stacklevel=4,
        )
