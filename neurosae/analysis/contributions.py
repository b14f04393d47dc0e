"""Which features two skills share: what each adds to the dot product of their profiles, and what is common.

Features that respond to everything contribute most to a raw dot product of any two skills. Relative to what
they contribute under permuted labels they are at 1.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import (
    check_class_counts,
    class_design,
    class_number,
    layer_rows,
    map_coords,
    map_variables,
    origin,
)
from neurosae.arrays.overlap import quotient, strongest
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE
from neurosae.schema.provenance import with_step
from neurosae.schema.units import unit_keys, with_seen


def shared_features(
    responses: xr.DataArray, by: str, classes: tuple[str, str], *, k: int = 50, unit: str = "auto"
) -> xr.Dataset:
    """What each feature contributes to the overlap of two classes, beyond its base rate.

    contribution = a · b, the product of the two class means, whose sum over features is the dot product of
    the profiles. expected: its mean if units were dealt to the two classes at random, (S² - Q) / (N (N - 1))
    with S the sum and Q the sum of squares over all N units. lift = contribution / expected: 1 for a feature
    that responds to all classes alike, above 1 for one that prefers these two to the others.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite, not negative; may be lazy
    by : stimulus column that holds the classes; units of all classes give the base rate
    classes : the two classes
    k : size of the sets of strongest features
    unit : column that defines the unit of inference; its rows of one class are averaged

    Returns
    -------
    Dataset (layer, feature)
        mean_first, mean_second; contribution, expected, lift (NaN for a feature that responds to fewer than
        two units); rank (1 for the largest contribution of its layer); in_first, in_second, whether the
        feature is among the ``k`` of largest mean in each class. Describes; whether two classes overlap is
        tested by feature_overlap.

    Raises
    ------
    DesignError
        If a column or class is unknown, a class has fewer than two units, ``k`` is not between 1 and the
        number of features, or responses are negative or not finite.

    Source
    ------
    Church & Hanks 1990, Comput Linguist 16:22 (association relative to base rates).

    Examples
    --------
    >>> values = np.array([[9.0, 2.0], [9.0, 2.0], [9.0, 2.0], [9.0, 2.0], [9.0, 0.0], [9.0, 0.0]])
    >>> responses = xr.DataArray(
    ...     values[:, None], dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": list("abcdef"), "task": ("stimulus", list("mmppqq"))})
    >>> found = shared_features(responses, "task", ("m", "p"), k=1)
    >>> found["contribution"].values, found["lift"].values
    (array([[81.,  4.]]), array([[1. , 2.5]]))
    """
    design = class_design(responses, by, unit)
    check_class_counts(design, by)
    first, second = (class_number(design.names, name, by) for name in classes)
    if not 1 <= k < responses.sizes[FEATURE]:
        raise DesignError(f"k is {k} and there are {responses.sizes[FEATURE]} features; take fewer than all.")
    layers = []
    for values in layer_rows(responses, design):
        if (values < 0).any():
            raise DesignError(
                "contributions need responses >= 0. Take the codes of a dictionary, or responses.clip(min=0)."
            )
        means = [values[design.labels == number].mean(axis=0) for number in (first, second)]
        layers.append(_layer(values, means[0], means[1], k))
    units = str(responses.attrs.get("units", "a.u."))
    settings = {"by": by, "first": classes[0], "second": classes[1], "k": k, "unit": design.column}
    result = xr.Dataset(
        map_variables(
            {name: np.stack([one[name] for one in layers]) for name in layers[0]}, _described(units)
        ),
        coords=map_coords(responses),
        attrs={
            **settings,
            "n_units": design.n_units,
            **origin(responses),
            **with_step(responses, "shared_features", **settings),
        },
    )
    return with_seen(result, unit_keys(responses, unit))


def _layer(values: np.ndarray, a: np.ndarray, b: np.ndarray, k: int) -> dict[str, np.ndarray]:
    n = len(values)
    expected = np.maximum(values.sum(axis=0) ** 2 - (values**2).sum(axis=0), 0) / (n * (n - 1))
    rank = np.empty(len(a), dtype=int)
    rank[np.argsort(-a * b, kind="stable")] = np.arange(1, len(a) + 1)
    return {
        "mean_first": a,
        "mean_second": b,
        "contribution": a * b,
        "expected": expected,
        "lift": quotient(a * b, expected),
        "rank": rank,
        "in_first": strongest(a, k),
        "in_second": strongest(b, k),
    }


def _described(units: str) -> dict[str, tuple[str, str]]:
    return {
        "mean_first": ("mean response to the first class", units),
        "mean_second": ("mean response to the second class", units),
        "contribution": ("contribution to the dot product of the profiles", f"{units}²"),
        "expected": ("contribution if units were dealt to classes at random", f"{units}²"),
        "lift": ("contribution over that expected", "1"),
        "rank": ("rank of the contribution in its layer", "1"),
        "in_first": ("whether among the strongest features of the first class", "1"),
        "in_second": ("whether among the strongest features of the second class", "1"),
    }
