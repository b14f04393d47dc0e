"""How different should stimuli be? Model RDMs from columns of the stimuli."""

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import average_units
from neurosae.analysis.dissimilarities import STIMULUS_2, check_column
from neurosae.arrays.distance import triangle
from neurosae.arrays.pairs import unit_entries
from neurosae.errors import DesignError
from neurosae.schema.names import STIMULUS
from neurosae.schema.provenance import with_step


def model_rdm(responses: xr.DataArray, by: str, *, unit: str = "auto") -> xr.DataArray:
    """How different the stimuli should be if ``by`` were all that matters.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature); only its stimulus columns are read
    by : column of the stimuli. Text and booleans: 0 for the same value, 1 otherwise; numbers: |difference|
    unit : as in `rdm`, so that the rows match

    Returns
    -------
    DataArray (stimulus, stimulus_2) named ``model``

    Raises
    ------
    DesignError
        If there is no such column, it differs between stimuli that are averaged, or a number is missing.

    Examples
    --------
    >>> responses = xr.DataArray(
    ...     np.zeros((3, 1, 2)),
    ...     dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": ["s1", "s2", "s3"], "condition": ("stimulus", ["art", "arts", "art"])},
    ... )
    >>> model_rdm(responses, "condition").values
    array([[0., 1., 0.],
           [1., 0., 1.],
           [0., 1., 0.]])
    """
    check_column(responses, by)
    rows = average_units(responses, unit=unit)
    if by not in rows.coords:
        raise DesignError(
            f"{by!r} differs between stimuli that share a unit and a condition and are averaged. Name "
            "another unit (unit='stimulus' averages nothing), or give each unit one value."
        )
    values = rows[by].values
    is_numeric = np.issubdtype(values.dtype, np.number)
    if is_numeric and np.isnan(values).any():
        raise DesignError(f"{int(np.isnan(values).sum())} stimuli have no {by!r}; exclude them.")
    # Unsigned integers would wrap around in the difference.
    values = values.astype(np.float64) if is_numeric else values
    differs = np.abs(np.subtract.outer(values, values)) if is_numeric else values[:, None] != values
    kind = "numeric" if is_numeric else "categorical"
    attrs = {"long_name": f"model of {by}", "units": "1", "by": by, "kind": kind}
    return xr.DataArray(
        differs.astype(np.float64),
        dims=(STIMULUS, STIMULUS_2),
        coords={**rows[STIMULUS].coords, STIMULUS_2: rows[STIMULUS].values},
        name="model",
        attrs=attrs | with_step(responses, "model_rdm", by=by),
    )


def aligned_model(model: xr.DataArray, labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """The values of a model RDM in the order of the stimuli ``labels``, (n, n) float64.

    Raises
    ------
    DesignError
        If the model has other stimuli, is not finite, has one value only for all pairs of different
        ``units`` (n,), or is a category model with a category that one unit holds alone.
    """
    _check_labels(model[STIMULUS].values, labels)
    values = model.transpose(STIMULUS, STIMULUS_2).sel({STIMULUS: labels, STIMULUS_2: labels}).values
    values = values.astype(np.float64)
    name = model.attrs.get("long_name", "the model")
    if not np.isfinite(triangle(values)).all():
        raise DesignError(f"{name} holds NaN or infinite values; exclude these stimuli.")
    if len(np.unique(unit_entries(values, units))) < 2:
        raise DesignError(
            f"{name} is constant over pairs of different units, so no RDM can follow it; it needs at least "
            "two values. Numbers stored as text count as categories: convert them."
        )
    if model.attrs.get("kind") == "categorical":
        _check_categories(values == 0, labels, units, name)
    return values


def model_classes(model: xr.DataArray, values: np.ndarray) -> np.ndarray | None:
    """The class (n,) of each row of a categorical model with these values (n, n); None for other models.

    Examples
    --------
    >>> model = xr.DataArray([[0, 1, 0], [1, 0, 1], [0, 1, 0]], attrs={"kind": "categorical"})
    >>> model_classes(model, model.values)
    array([1, 0, 1])
    """
    if model.attrs.get("kind") != "categorical":
        return None
    return np.unique(values == 0, axis=0, return_inverse=True)[1].ravel()


def _check_categories(same: np.ndarray, labels: np.ndarray, units: np.ndarray, name: str) -> None:
    lonely = ~(same & (units[:, None] != units[None, :])).any(axis=1)
    if lonely.any():
        n_categories = len(np.unique(same[lonely], axis=0))
        raise DesignError(
            f"{name}: {n_categories} categories have a single unit (first: {labels[lonely].tolist()[0]!r}), "
            "so no within-category distance between units; each needs at least 2."
        )


def _check_labels(own: np.ndarray, labels: np.ndarray) -> None:
    if sorted(own.tolist()) != sorted(labels.tolist()) or len(set(labels.tolist())) < len(labels):
        odd = sorted(set(labels.tolist()) ^ set(own.tolist()))
        raise DesignError(
            f"the RDM has {len(labels)} stimuli and the model {len(own)}; not in both: {odd[:5]}. Labels "
            "must be unique and the same: build both from the same responses with the same unit."
        )
