"""Features as detectors: how well one that says yes above a threshold finds the stimuli of a class."""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import (
    ClassDesign,
    check_class_counts,
    class_design,
    layer_rows,
    map_coords,
    map_variables,
    origin,
)
from neurosae.arrays.detection import (
    Counts,
    average_precision,
    best_threshold,
    detection_counts,
    precision_recall,
    purity,
)
from neurosae.arrays.held_out_selectivity import split_halves
from neurosae.arrays.selectivity_measures import is_varying
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.units import unit_keys, with_seen

DETECTION = {
    "threshold": ("threshold of the largest F1 over all units", "a.u."),
    "precision": ("held-out precision", "1"),
    "recall": ("held-out recall", "1"),
    "f1": ("held-out F1", "1"),
    "pr_auc": ("area under the precision-recall curve", "1"),
    "purity": ("share of the class among the units that drive the feature most", "1"),
}


def feature_detectors(
    responses: xr.DataArray,
    by: str,
    *,
    top: int = 10,
    unit: str = "auto",
    n_splits: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """How well each feature detects each class: it says yes where its response reaches a threshold.

    The threshold is the one of the largest F1 on one half of the units; precision, recall and F1 are counted
    on the other half, over both directions of all splits together. No test; the reference is the base rate.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; may be lazy
    by : stimulus column that holds the classes; at least two units in each
    top : number of units whose classes ``purity`` counts
    unit : column that defines the unit of inference; its rows of one class are averaged
    n_splits : number of random half splits
    seed : root of the random numbers

    Returns
    -------
    Dataset (condition, layer, feature)
        threshold, from all units; precision, recall, f1, held out; pr_auc, area under the precision-recall
        curve of all units (it selects nothing); purity, the share of the class among the ``top`` units above
        0 that drive the feature most. NaN where a feature does not vary. base_rate (condition): precision
        without any information (pr_auc is a little higher, 0.31 for ten units of forty); f1_everything
        (condition): F1 of always saying yes.

    Raises
    ------
    DesignError
        If a column is unknown, a label is empty, a class has fewer than two units, ``top`` or ``n_splits`` is
        below 1, or responses are not finite.

    Source
    ------
    van Rijsbergen 1979, Information Retrieval, ch. 7; Davis & Goadrich 2006, ICML, p. 233.

    Examples
    --------
    >>> values = np.array([5.0, 6.0, 7.0, 5.0, 0.0, 0.0, 1.0, 0.0])
    >>> responses = xr.DataArray(
    ...     values[:, None, None], dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": list("abcdefgh"), "condition": ("stimulus", ["hot"] * 4 + ["cold"] * 4)})
    >>> found = feature_detectors(responses, "condition").sel(condition="hot")
    >>> found["f1"].item(), found["threshold"].item(), found["base_rate"].item()
    (1.0, 3.0, 0.5)
    """
    if top < 1:
        raise DesignError(f"top is {top}; ask for at least one unit.")
    design = class_design(responses, by, unit)
    check_class_counts(design, by)
    halves = split_halves(design.labels, design.units, n_splits, seed=seed)
    shape = (len(design.names), responses.sizes[LAYER], responses.sizes[FEATURE])
    maps = {name: np.full(shape, np.nan) for name in DETECTION}
    for layer, values in enumerate(layer_rows(responses, design)):
        varying = is_varying(values)
        for k in range(len(design.names)):
            detected = _detect(values[:, varying], design.labels == k, halves, top)
            for name, found in detected.items():
                maps[name][k, layer, varying] = found
    settings = {"by": by, "top": top, "unit": design.column, "n_splits": n_splits, "seed": seed}
    described = DETECTION | {
        "threshold": (DETECTION["threshold"][0], str(responses.attrs.get("units", "a.u.")))
    }
    result = xr.Dataset(
        map_variables(maps, described, ("condition", LAYER, FEATURE)) | _references(design),
        coords=map_coords(responses) | {"condition": design.names},
        attrs={
            **settings,
            "n_units": design.n_units,
            **origin(responses),
            **with_step(responses, "feature_detectors", **settings),
        },
    )
    return with_seen(result, unit_keys(responses, unit))


def _detect(values: np.ndarray, is_member: np.ndarray, halves: np.ndarray, top: int) -> dict[str, np.ndarray]:
    counts = np.zeros((3, values.shape[1]), dtype=int)
    for train in (*halves, *~halves):
        threshold = best_threshold(values[train], is_member[train])
        counts += detection_counts(values[~train], is_member[~train], threshold)
    precision, recall, f1 = precision_recall(Counts(*counts))
    return {
        "threshold": best_threshold(values, is_member),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "pr_auc": average_precision(values, is_member),
        "purity": purity(values, is_member, top),
    }


def _references(design: ClassDesign) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    base = design.counts / design.counts.sum()
    return {
        "base_rate": ("condition", base, {"long_name": "share of the class among all units", "units": "1"}),
        "f1_everything": (
            "condition",
            2 * base / (1 + base),
            {"long_name": "F1 of always saying yes", "units": "1"},
        ),
    }
