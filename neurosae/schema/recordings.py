"""Build and check recordings and responses: labelled arrays whose absent values are NaN."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import DesignError
from neurosae.schema.names import (
    FEATURE,
    LAYER,
    RECORDING_DIMS,
    RESPONSE_DIMS,
    STIMULUS,
    TOKEN,
    TOKEN_FIELDS,
    UNITS_BASIS,
    WINDOW,
    WINDOWED_DIMS,
)
from neurosae.schema.provenance import provenance_attrs


def stimulus_coords(stimuli: pd.DataFrame) -> dict[str, tuple[str, np.ndarray]]:
    """Each column of a stimulus table as a coordinate over ``stimulus``; text becomes ``str``."""
    return {str(name): (STIMULUS, _plain(column)) for name, column in stimuli.items()}


def _plain(column: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return column.to_numpy()
    return column.fillna("").to_numpy(dtype=str)


def recording_array(
    values: np.ndarray,
    *,
    stimuli: pd.DataFrame,
    tokens: Mapping[str, np.ndarray],
    layers: Sequence[int],
    site: str,
    origin: Mapping[str, object],
    features: Sequence[int] | None = None,
    basis: str = UNITS_BASIS,
) -> xr.DataArray:
    """Label activations as a recording.

    Parameters
    ----------
    values : array (stimulus, token, layer, feature), numpy or dask, float32; NaN where absent
    stimuli : table with a ``stimulus`` column of unique labels; every column becomes a coordinate
    tokens : arrays (stimulus, token), any of ``neurosae.schema.names.TOKEN_FIELDS``
    layers : block numbers
    site : where in the block, see ``neurosae.schema.names.SITES``
    origin : provenance, see `neurosae.schema.provenance.provenance`
    features : labels of the last dim, by default 0, 1, …
    basis : ``"units"`` or the name of a dictionary

    Returns
    -------
    DataArray (stimulus, token, layer, feature) named ``activation``

    Raises
    ------
    DesignError
        If ``tokens`` has a field that no recording knows.
    """
    coords = recording_coords(
        stimuli, tokens, layers, np.arange(values.shape[3]) if features is None else features
    )
    return xr.DataArray(
        values,
        dims=RECORDING_DIMS,
        coords=coords,
        name="activation",
        attrs=recording_attrs(site, basis, origin),
    )


def recording_coords(
    stimuli: pd.DataFrame,
    tokens: Mapping[str, np.ndarray],
    layers: Sequence[int],
    features: Sequence[int] | np.ndarray,
) -> dict[str, object]:
    """Coordinates of a recording: stimulus columns, token fields, positions, layers and features.

    Raises
    ------
    DesignError
        If ``tokens`` has a field that no recording knows.
    """
    unknown = sorted(set(tokens) - set(TOKEN_FIELDS))
    if unknown:
        raise DesignError(f"unknown token fields {unknown}; a recording knows {list(TOKEN_FIELDS)}.")
    return {
        **stimulus_coords(stimuli),
        **{name: ((STIMULUS, TOKEN), field) for name, field in tokens.items()},
        TOKEN: np.arange(next(iter(tokens.values())).shape[1]),
        LAYER: np.asarray(layers, dtype=np.int64),
        FEATURE: np.asarray(features),
    }


def recording_attrs(site: str, basis: str, origin: Mapping[str, object]) -> dict[str, str]:
    """Attributes of a recording: what it holds, in which units, site, basis and provenance."""
    units = "a.u." if basis == UNITS_BASIS else "1"
    what = f"activation at {site}" if basis == UNITS_BASIS else f"code at {site}"
    return {"long_name": what, "units": units, "site": site, "basis": basis, **provenance_attrs(origin)}


def check_recording(recording: xr.DataArray) -> None:
    """Raise `DesignError` unless ``recording`` has the dims and the ``valid`` mask of a recording."""
    _check_dims(recording, RECORDING_DIMS, "a recording", "record a session, or label with recording_array")
    if "valid" not in recording.coords:
        raise DesignError("the recording has no 'valid' coordinate (stimulus, token) that marks real tokens.")


def check_response_dims(responses: xr.DataArray) -> None:
    """Raise `DesignError` unless ``responses`` are numbers over (stimulus, layer, feature), one window each.

    Nothing may be empty, and no stimulus may be there twice: it would count as two observations.
    """
    _check_type(responses, "responses")
    if tuple(responses.dims) == WINDOWED_DIMS:
        raise DesignError(
            f"responses hold {responses.sizes[WINDOW]} windows a stimulus, and an analysis takes one. Select "
            f"a window, as in responses.isel({WINDOW}=0)."
        )
    _check_dims(responses, RESPONSE_DIMS, "responses", "pool a recording over tokens with pool_tokens")
    if responses.dtype.kind not in "biuf":
        raise DesignError(
            f"responses need real numbers, got dtype {responses.dtype}; convert them to float32."
        )
    if 0 in responses.shape:
        raise DesignError(f"responses are empty, {dict(responses.sizes)}; select at least one of each.")
    if STIMULUS in responses.coords:
        _check_unique(responses[STIMULUS].values)


def _check_type(labelled: object, what: str) -> None:
    if isinstance(labelled, xr.Dataset) or not hasattr(labelled, "dims"):
        raise DesignError(
            f"{what} need to be a DataArray, got {type(labelled).__name__}; take the variable of a Dataset, "
            "or label an array with its dims and stimulus columns."
        )


def _check_unique(labels: np.ndarray) -> None:
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < len(labels):
        raise DesignError(
            f"{int((counts > 1).sum())} stimuli are there more than once, first: {names[counts > 1][0]!s}. A "
            "stimulus is one observation: drop its repetitions, or give each its own label."
        )


def check_responses(responses: xr.DataArray) -> None:
    """Raise `DesignError` unless ``responses`` has dims (stimulus, layer, feature) and finite values.

    A stimulus whose values are all NaN, or an infinite value, is named.
    """
    check_response_dims(responses)
    # Of lazy responses one chunk is in memory at a time.
    finite = xr.apply_ufunc(np.isfinite, responses, dask="allowed").all((LAYER, FEATURE)).values
    if not finite.all():
        bad = responses[STIMULUS].values[~finite].tolist()
        raise DesignError(
            f"responses of {len(bad)} stimuli hold NaN or infinite values, first: {bad[:5]}. "
            "Exclude these stimuli, or choose a window that they fill."
        )


def _check_dims(array: xr.DataArray, dims: tuple[str, ...], what: str, remedy: str) -> None:
    found = tuple(array.dims) if hasattr(array, "dims") else type(array).__name__
    if found != dims:
        raise DesignError(f"{what} needs dims {dims}, got {found}; {remedy}.")


def stimulus_table(labelled: xr.DataArray | xr.Dataset) -> pd.DataFrame:
    """The coordinates over ``stimulus`` as a table, one row a stimulus, in their order."""
    columns = {str(n): c.values for n, c in labelled.coords.items() if c.dims == (STIMULUS,)}
    return pd.DataFrame(columns)
