"""What drives a feature: its mean response to each class, and its strongest stimuli.

Describes responses; whether a feature is selective is tested in `neurosae.analysis.selectivity`.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import (
    check_label,
    class_design,
    class_labels,
    layer_rows,
    map_coords,
    origin,
)
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, check_responses

_CELL = "cell_of_factors"


def tuning(responses: xr.DataArray, by: str, *, unit: str = "auto") -> xr.Dataset:
    """Mean response of each feature to each class, with its standard error over units of inference.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    by : stimulus column that holds the classes
    unit : column that defines the unit of inference; its rows of one class are averaged first

    Returns
    -------
    Dataset (condition, layer, feature)
        mean, se (SD with ddof 1 over √n; NaN if n is 1); n (condition), the number of units. Conditions in
        order of first appearance.

    Raises
    ------
    DesignError
        If a column is unknown, a label is empty or responses are not finite.

    Examples
    --------
    >>> responses = xr.DataArray(
    ...     np.array([1.0, 3.0, 5.0, 5.0])[:, None, None], dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": list("abcd"), "condition": ("stimulus", ["low", "low", "high", "high"])})
    >>> curve = tuning(responses, "condition")
    >>> curve["mean"].values.ravel(), curve["se"].values.ravel()
    (array([2., 5.]), array([1., 0.]))
    """
    design = class_design(responses, by, unit)
    order = design.labels[np.sort(np.unique(design.labels, return_index=True)[1])]
    members = [design.labels == k for k in order]
    mean, se = (np.empty((len(order), *responses.shape[1:])) for _ in range(2))
    for layer, values in enumerate(layer_rows(responses, design)):
        mean[:, layer] = [values[member].mean(axis=0) for member in members]
        se[:, layer] = [_standard_error(values[member]) for member in members]
    dims = ("condition", LAYER, FEATURE)
    amount = {"units": responses.attrs.get("units", "a.u.")}
    settings = {"by": by, "unit": design.column}
    return xr.Dataset(
        {
            "mean": (dims, mean, {"long_name": "mean response"} | amount),
            "se": (dims, se, {"long_name": "standard error over units"} | amount),
            "n": ("condition", design.counts[order], {"long_name": "units", "units": "1"}),
        },
        coords=map_coords(responses) | {"condition": design.names[order]},
        attrs={**settings, **origin(responses), **with_step(responses, "tuning", **settings)},
    )


def cell_tuning(responses: xr.DataArray, factors: tuple[str, str], *, unit: str = "auto") -> xr.Dataset:
    """Mean response of each feature to each combination of two factors, with its standard error over units.

    Whether the factors act together is one test, of their interaction
    (`neurosae.analysis.factors.factor_map`); that a feature prefers a level of one factor at one level of the
    other only does not show it.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; may be lazy
    factors : two stimulus columns
    unit : column that defines the unit of inference; its rows of one cell are averaged first

    Returns
    -------
    Dataset (first, second, layer, feature)
        mean, se (NaN if n is 1); n (first, second); all NaN, and n 0, in a cell without stimuli. Levels in
        sorted order; attributes ``factor_first`` and ``factor_second`` name the columns.

    Raises
    ------
    DesignError
        If a column is unknown, a label is empty or responses are not finite.

    Examples
    --------
    >>> responses = xr.DataArray(
    ...     np.array([1.0, 3.0, 5.0, 9.0])[:, None, None], dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": list("abcd"), "mood": ("stimulus", ["bad", "bad", "good", "good"]),
    ...             "number": ("stimulus", ["one", "two", "one", "two"])})
    >>> cell_tuning(responses, ("mood", "number"))["mean"].values.squeeze()
    array([[1., 3.],
           [5., 9.]])
    """
    check_response_dims(responses)
    (first, in_first), (second, in_second) = (class_labels(responses, name) for name in factors)
    code = np.char.zfill((in_first * len(second) + in_second).astype(str), 6)
    design = class_design(responses.assign_coords({_CELL: (STIMULUS, code)}), _CELL, unit)
    cell = np.divmod(design.names.astype(int), len(second))
    size = (len(first), len(second))
    mean, se = (np.full((*size, *responses.shape[1:]), np.nan) for _ in range(2))
    for layer, values in enumerate(layer_rows(responses, design)):
        for number, place in enumerate(zip(*cell, strict=True)):
            mean[place][layer] = values[design.labels == number].mean(axis=0)
            se[place][layer] = _standard_error(values[design.labels == number])
    n = np.zeros(size, dtype=int)
    n[cell] = design.counts
    dims = ("first", "second", LAYER, FEATURE)
    amount = {"units": responses.attrs.get("units", "a.u.")}
    settings = {"factor_first": factors[0], "factor_second": factors[1], "unit": design.column}
    return xr.Dataset(
        {
            "mean": (dims, mean, {"long_name": "mean response"} | amount),
            "se": (dims, se, {"long_name": "standard error over units"} | amount),
            "n": (dims[:2], n, {"long_name": "units", "units": "1"}),
        },
        coords=map_coords(responses) | {"first": first, "second": second},
        attrs={**settings, **origin(responses), **with_step(responses, "cell_tuning", **settings)},
    )


def top_stimuli(responses: xr.DataArray, *, layer: int, feature: int, n: int = 10) -> xr.Dataset:
    """The stimuli that drive one feature most, strongest first, ties in the order of the stimuli.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; stimuli are not averaged
    layer, feature : labels of the feature
    n : number of stimuli, all of them if there are fewer

    Returns
    -------
    Dataset (rank_order), counted from 1
        stimulus, text, condition (``""`` where the stimuli have none), response

    Raises
    ------
    DesignError
        If the layer or feature is not there, ``n`` is below 1 or responses are not finite.

    Examples
    --------
    >>> responses = xr.DataArray(
    ...     np.array([1.0, 3.0, 2.0])[:, None, None], dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": ["s1", "s2", "s3"], "text": ("stimulus", ["cold", "hot", "warm"]),
    ...             "layer": [6], "feature": [0]})
    >>> top_stimuli(responses, layer=6, feature=0, n=2)["text"].values
    array(['hot', 'warm'], dtype='<U4')
    """
    if n < 1:
        raise DesignError(f"n is {n}; ask for at least one stimulus.")
    check_responses(responses)
    for dim, label in ((LAYER, layer), (FEATURE, feature)):
        check_label(responses, dim, label)
    response = responses.sel({LAYER: layer, FEATURE: feature}).values
    order = np.argsort(-response, kind="stable")[:n]
    shown = {name: ("rank_order", _text(responses, name)[order]) for name in (STIMULUS, "text", "condition")}
    described = {name: (*column, {"long_name": name, "units": "1"}) for name, column in shown.items()}
    amount = {"long_name": "response", "units": responses.attrs.get("units", "a.u.")}
    settings = {"layer": int(layer), "feature": int(feature), "n": len(order)}
    return xr.Dataset(
        {**described, "response": ("rank_order", response[order], amount)},
        coords={"rank_order": np.arange(1, len(order) + 1)},
        attrs={**settings, **origin(responses), **with_step(responses, "top_stimuli", **settings)},
    )


def _standard_error(group: np.ndarray) -> np.ndarray:
    if len(group) < 2:
        return np.full(group.shape[1:], np.nan)
    return group.std(axis=0, ddof=1) / np.sqrt(len(group))


def _text(responses: xr.DataArray, name: str) -> np.ndarray:
    if name not in responses.coords:
        return np.full(responses.sizes[STIMULUS], "")
    return responses[name].values.astype(str)
