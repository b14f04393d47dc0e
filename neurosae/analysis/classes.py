"""The classes that a stimulus column names, and the units of inference that hold them."""

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import average_units
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.recordings import check_responses, stimulus_table
from neurosae.schema.spelling import nearest
from neurosae.schema.units import unit_column


def class_labels(labelled: xr.DataArray, by: str) -> tuple[np.ndarray, np.ndarray]:
    """The classes in column ``by`` of the stimuli, sorted, and the number of each stimulus's class.

    Raises
    ------
    DesignError
        If there is no such column, or a stimulus has no class.

    Examples
    --------
    >>> class_labels(xr.DataArray([1, 2], dims="stimulus", coords={"task": ("stimulus", ["b", "a"])}), "task")
    (array(['a', 'b'], dtype='<U1'), array([1, 0]))
    """
    table = stimulus_table(labelled)
    if by not in table:
        raise DesignError(
            f"no column {by!r} in the stimuli{nearest(by, table.columns)} Columns: {list(table.columns)}."
        )
    n_empty = int((table[by].isna() | (table[by].astype(str) == "")).sum())
    if n_empty:
        raise DesignError(f"{n_empty} stimuli have no {by!r}. Fill the column, or leave these stimuli out.")
    return np.unique(table[by].to_numpy(dtype=str), return_inverse=True)


def units_in_classes(responses: xr.DataArray, by: str, unit: str) -> xr.DataArray:
    """Mean response of each unit in each class of ``by``, once responses and classes are found complete.

    Raises
    ------
    DesignError
        If responses are not finite, a column is missing or a stimulus has no class.
    """
    check_responses(responses)
    class_labels(responses, by)
    return average_units(responses, unit=unit, by=(by,))


def unit_of(units: xr.DataArray, unit: str) -> str:
    """Name of the column that defines the unit of inference, see `neurosae.schema.units.unit_column`."""
    return unit_column(stimulus_table(units), unit)


def units_as_strata(units: xr.DataArray, unit: str) -> np.ndarray | None:
    """Units as strata if some hold several classes: their own level is no evidence for any class."""
    labels = units[unit_of(units, unit)].values
    return labels if len(np.unique(labels)) < len(labels) else None


def map_coords(labelled: xr.DataArray) -> dict[str, xr.DataArray]:
    """The coordinates of layers and features, as far as there are any."""
    return {name: labelled[name] for name in (LAYER, FEATURE) if name in labelled.coords}


def origin(responses: xr.DataArray) -> dict[str, str]:
    """Site and basis of responses, as attributes of a result."""
    return {name: str(responses.attrs[name]) for name in ("site", "basis") if name in responses.attrs}
