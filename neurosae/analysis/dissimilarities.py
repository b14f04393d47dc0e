"""The RDMs of all layers of a set of responses, and the checks that every analysis of RDMs shares."""

import warnings
from collections.abc import Mapping

import numpy as np
import xarray as xr

from neurosae.arrays.distance import dissimilarity, triangle, z_score
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS, UNITS_BASIS
from neurosae.schema.recordings import check_responses, stimulus_table

STIMULUS_2 = "stimulus_2"
"""The second dim of an RDM, with the labels of the first."""

_MAX_SILENT = 0.1
"""Share of stimuli of a layer whose pattern may be silent before an RDM of the others misleads."""

MOST_ROWS = 2000
"""Rows of an RDM: 32 MB a layer."""

_DUPLICATE = 1e-8
"""Distances below this share of the median are those of duplicated stimuli."""

UNITS_OF_METRIC = {"euclidean": "a.u.", "sqeuclidean": "a.u.^2"}
"""Units of the dissimilarities that have any; the others are pure numbers."""


def resolve_metric(metric: str, responses: xr.DataArray | xr.Dataset) -> tuple[str, str]:
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
        If the metric is unknown or needs values >= 0, there are fewer than two rows or more than
        2000, values are not finite, or more than 10 % of the patterns of a layer are silent.

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
    if rows.sizes[STIMULUS] > MOST_ROWS:
        raise DesignError(
            f"{rows.sizes[STIMULUS]} rows; an RDM takes at most {MOST_ROWS}, as time and memory grow with "
            "their square. Take a sample of the stimuli, or average those of a wider unit."
        )
    matrices = np.stack([layer_matrix(rows, layer, metric) for layer in range(rows.sizes[LAYER])])
    _check_silent(matrices, rows, resolve_metric(metric, rows)[0])
    _warn_duplicates(matrices, rows)
    return matrices


def layer_matrix(rows: xr.DataArray, layer: int, metric: str) -> np.ndarray:
    """The RDM (n, n) of one layer by its number, however many of its patterns are silent.

    Examples
    --------
    >>> rows = xr.DataArray(np.ones((2, 1, 4)), dims=("stimulus", "layer", "feature"))
    >>> layer_matrix(rows, 0, "auto")
    array([[nan, nan],
           [nan, nan]])
    """
    name, scaling = resolve_metric(metric, rows)
    prepare = z_score if scaling == "z-score" else np.asarray
    return dissimilarity(prepare(layer_values(rows, layer)), name)


def layer_values(rows: xr.DataArray, layer: int) -> np.ndarray:
    """Responses of one layer by its number, (stimulus, feature); lazy ones are read here.

    Raises
    ------
    DesignError
        If a value is NaN or infinite.

    Examples
    --------
    >>> rows = xr.DataArray(np.ones((2, 3, 4)), dims=("stimulus", "layer", "feature"))
    >>> layer_values(rows, 1).shape
    (2, 4)
    """
    own = rows.isel({LAYER: [layer]}).load()
    check_responses(own)
    return np.asarray(own.values[:, 0])


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


def check_column(responses: xr.DataArray | xr.Dataset, by: str) -> None:
    """Raise `DesignError` unless ``by`` is a column of the stimuli."""
    table = stimulus_table(responses)
    if by not in table:
        raise DesignError(f"{by!r} is not a column of the stimuli; columns: {list(table.columns)}.")


def rdm_layers(rdm: xr.DataArray) -> xr.DataArray:
    """RDMs (layer, stimulus, stimulus_2), also of a single layer without the dim."""
    return rdm.transpose(..., STIMULUS, STIMULUS_2) if LAYER in rdm.dims else rdm.expand_dims(LAYER)


def rdm_units(layers: xr.DataArray) -> np.ndarray:
    """Unit of inference of each row of RDMs."""
    unit = layers.attrs.get("unit", STIMULUS)
    return np.asarray(layers[unit if unit in layers.coords else STIMULUS].values)


def check_same_stimuli(own: np.ndarray, theirs: np.ndarray, what: str) -> None:
    """Raise `DesignError` unless two sets of rows have the same unique labels, in any order."""
    names = sorted(set(own.tolist()) ^ set(theirs.tolist()))
    if names or len(own) != len(theirs) or len(set(own.tolist())) < len(own):
        raise DesignError(
            f"the {what} have {len(own)} and {len(theirs)} stimuli; not in both: {names[:5]}. Their labels "
            "must be unique and the same."
        )


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
    labels = rows[LAYER].values if LAYER in rows.coords else np.arange(len(matrices))
    for label, matrix in zip(labels, matrices, strict=True):
        check_silent_share(matrix, rows[STIMULUS].values, metric, f"layer {label}")


def check_silent_share(matrix: np.ndarray, names: np.ndarray, metric: str, where: str) -> None:
    """Raise `DesignError` if more than 10 % of the rows ``names`` of an RDM (n, n) are silent."""
    silent = np.isnan(np.diagonal(matrix))
    if silent.mean() > _MAX_SILENT:
        raise DesignError(
            f"{where}: {silent.sum()} of {len(silent)} patterns are silent (first: "
            f"{str(names[silent][0])!r}), so {metric} is undefined for them; at most 10 % may be. Leave out "
            "this layer or these stimuli, use a wider window, or take sqeuclidean."
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
