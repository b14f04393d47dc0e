"""The classes that a stimulus column names, and the units of inference that hold them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import group_means, unit_rows
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.recordings import check_response_dims, check_responses, stimulus_table
from neurosae.schema.spelling import listed, nearest
from neurosae.schema.units import unit_column


@dataclass(frozen=True)
class ClassDesign:
    """Rows to compare, one for each unit in each class: from the stimulus columns alone.

    names : classes, sorted; labels : (n,) int, class of each row; rows : (stimuli,) int, row of each stimulus
    units : (n,) unit of each row; column : what defines the unit
    """

    names: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    units: np.ndarray
    column: str

    @property
    def strata(self) -> np.ndarray | None:
        """Units as strata if some hold several classes: their own level is no evidence for any class."""
        return self.units if self.n_units < len(self.units) else None

    @property
    def n_units(self) -> int:
        """Number of units of inference."""
        return len(np.unique(self.units))

    @property
    def counts(self) -> np.ndarray:
        """Rows of each class, (K,)."""
        return np.bincount(self.labels)


def class_design(responses: xr.DataArray, by: str, unit: str = "auto") -> ClassDesign:
    """The classes in column ``by`` over units of inference; no response is read.

    Raises
    ------
    DesignError
        If a column is missing, a stimulus has no class or unit, or responses lack a dim.

    Examples
    --------
    >>> table = {"item": ("stimulus", ["x", "x", "y"]), "task": ("stimulus", ["b", "b", "a"])}
    >>> design = class_design(xr.DataArray(np.ones((3, 1, 1)), dims=("stimulus", "layer", "feature"),
    ...                                    coords={"stimulus": list("abc"), **table}), "task")
    >>> design.names, design.labels, design.rows
    (array(['a', 'b'], dtype='<U1'), array([1, 0]), array([0, 0, 1]))
    """
    check_response_dims(responses)
    names, labels = class_labels(responses, by)
    table = stimulus_table(responses)
    column = unit_column(table, unit)
    rows = unit_rows(table, unit=column, by=(by,))[0]
    first = np.unique(rows, return_index=True)[1]
    units = table[column].astype(str).to_numpy(dtype=str)[first]
    return ClassDesign(names, labels[first], rows, units, column)


def check_class_counts(design: ClassDesign, by: str, fewest: int = 2) -> None:
    """Refuse a comparison of one class, or of classes with fewer units than ``fewest``.

    Raises
    ------
    DesignError
        If there is one class only, or a class has too few units of inference.
    """
    if len(design.names) < 2:
        raise DesignError(
            f"column {by!r} holds one class only, {str(design.names[0])!r}; selectivity needs two or more."
        )
    few = design.names[design.counts < fewest].tolist()
    if few:
        held = "one unit" if design.counts.min() == 1 else f"{design.counts.min()} units"
        raise DesignError(
            f"classes {few} of {by!r} have {held} of inference only; each class needs {_number(fewest)}."
        )


def _number(n: int) -> str:
    return {2: "two", 3: "three", 4: "four"}.get(n, str(n))


def layer_rows(responses: xr.DataArray, design: ClassDesign) -> Iterator[np.ndarray]:
    """Responses of each layer as float64 rows (n, F) of ``design``: one layer in memory at a time.

    Raises
    ------
    DesignError
        If responses hold NaN or infinite values.
    """
    is_lazy = responses.chunks is not None
    if not is_lazy:
        check_responses(responses)
    for layer in range(responses.sizes[LAYER]):
        one = responses.isel({LAYER: [layer]}).compute()
        if is_lazy:
            check_responses(one)
        values = one.values[:, 0].astype(float)
        yield values if len(design.labels) == len(values) else group_means(values, design.rows)


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


def class_number(names: np.ndarray, name: str, by: str) -> int:
    """Number of the class called ``name``.

    Raises
    ------
    DesignError
        If there is no such class.

    Examples
    --------
    >>> class_number(np.array(["art", "place"]), "place", "condition")
    1
    """
    known = [str(known) for known in names]
    if name not in known:
        raise DesignError(
            f"column {by!r} holds no class {name!r}{nearest(name, known)} Classes: {listed(known)}."
        )
    return known.index(name)


def check_label(responses: xr.DataArray, dim: str, label: int) -> None:
    """Raise `DesignError` unless ``label`` is one of the labels of ``dim``."""
    known = responses[dim].values.tolist()
    if label not in known:
        shown = known if len(known) <= 40 else f"{known[0]} to {known[-1]}"
        raise DesignError(f"{dim} {label!r} is not in the responses, which hold {shown}.")


def map_coords(labelled: xr.DataArray) -> dict[str, xr.DataArray]:
    """The coordinates of layers and features, as far as there are any."""
    return {name: labelled[name] for name in (LAYER, FEATURE) if name in labelled.coords}


def map_variables(
    maps: Mapping[str, np.ndarray],
    described: Mapping[str, tuple[str, str]],
    dims: tuple[str, ...] = (LAYER, FEATURE),
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
    """Arrays as variables of a result, each with its long name and units.

    Examples
    --------
    >>> map_variables({"p": np.ones(2)}, {"p": ("p, uncorrected", "1")}, ("layer",))
    {'p': (('layer',), array([1., 1.]), {'long_name': 'p, uncorrected', 'units': '1'})}
    """
    return {
        name: (dims, values, dict(zip(("long_name", "units"), described[name], strict=True)))
        for name, values in maps.items()
    }


def origin(responses: xr.DataArray | xr.Dataset) -> dict[str, str]:
    """Site and basis of responses or of a result, as attributes of a result."""
    return {name: str(responses.attrs[name]) for name in ("site", "basis") if name in responses.attrs}
