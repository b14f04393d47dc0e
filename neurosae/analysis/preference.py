"""How much more a feature responds to one condition than to another, with its interval and its null.

The contrast map asks whether the means differ; an index says by how much, on a scale that features share.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import (
    ClassDesign,
    check_class_counts,
    class_design,
    class_labels,
    class_number,
    map_coords,
    map_variables,
    origin,
)
from neurosae.analysis.selectivity import check_sign, varying_chunks
from neurosae.arrays.class_averages import class_matrices, class_means
from neurosae.arrays.correction import adjust
from neurosae.arrays.jackknife import jackknife_interval, rows_kept
from neurosae.arrays.permutation import Relabelings, p_value, relabel
from neurosae.arrays.selectivity_measures import class_auroc
from neurosae.arrays.two_class_indices import TWO_CLASS_INDICES, TwoClassIndex
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims
from neurosae.schema.spelling import nearest
from neurosae.schema.units import unit_keys, with_seen

_FEWEST_UNITS = 3


def preference_index(
    responses: xr.DataArray,
    by: str,
    classes: tuple[str, str],
    *,
    index: str = "si",
    unit: str = "auto",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """How much more each feature responds to the first of two classes than to the second.

    With class means a and b: si = (a - b) / (a + b), for responses that are not negative; si_abs =
    (a - b) / (|a| + |b|), for signed ones; si_rect, si of max(x, 0); dprime = (a - b) / √((s_a² + s_b²) / 2);
    auroc, the probability that a unit of the first class exceeds one of the second. A ratio ignores how much
    responses vary, therefore AUROC and p stand beside it. p is two-sided: labels are permuted over units
    (within units that hold both classes).

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; may be lazy
    by : stimulus column that holds the classes
    classes : the two classes compared, of at least three units each; other stimuli are left out
    index : one of `neurosae.arrays.two_class_indices.TWO_CLASS_INDICES`
    unit : column that defines the unit of inference; its rows of one class are averaged
    n_permutations : number of relabelings, all of them if there are fewer
    seed : root of the random numbers

    Returns
    -------
    Dataset (layer, feature)
        index; index_lo, index_hi, 95 % interval by the jackknife over units; auroc; mean_first, mean_second;
        p_unc (not corrected), q_fdr (Benjamini-Hochberg over all valid features), valid. NaN where a feature
        does not vary over units, or both means are 0 under a ratio. Attribute ``floor``: value without
        preference.

    Raises
    ------
    DesignError
        If a column, class or index is unknown, a class has fewer than three units, responses are not finite,
        or class means are negative under ``"si"``.

    Source
    ------
    Green & Swets 1966, Signal Detection Theory and Psychophysics (d', AUROC); Efron & Tibshirani 1993,
    An Introduction to the Bootstrap, ch. 11.

    Examples
    --------
    >>> values = np.array([[4.0, 1.0], [5.0, 2.0], [6.0, 1.0], [0.0, 2.0], [1.0, 1.0], [0.0, 2.0]])
    >>> responses = xr.DataArray(
    ...     values[:, None], dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": list("abcdef"), "condition": ("stimulus", ["hot"] * 3 + ["cold"] * 3)})
    >>> found = preference_index(responses, "condition", ("hot", "cold"))
    >>> found["index"].values.round(2), found["auroc"].values.round(2), found["p_unc"].values
    (array([[ 0.88, -0.11]]), array([[1.  , 0.33]]), array([[0.1, 1. ]]))
    """
    kind = _kind(index)
    compared, design = _two_classes(responses, by, classes, unit)
    if kind.is_ratio:
        check_sign(compared, design, index, "index='si_abs', 'si_rect' (of max(x, 0)), 'dprime' or 'auroc'")
    relabelings = relabel(design.labels, n_permutations, seed=seed, strata=design.strata)
    maps = _maps(compared, design, relabelings, kind)
    settings: dict[str, str | int] = {
        "by": by,
        "first": classes[0],
        "second": classes[1],
        "index": index,
        "unit": design.column,
    }
    settings |= {"n_permutations": len(relabelings), "scheme": relabelings.scheme, "seed": seed}
    result = xr.Dataset(
        map_variables(maps, _described(kind, classes, str(responses.attrs.get("units", "a.u.")))),
        coords=map_coords(responses),
        attrs={
            **settings,
            "floor": kind.floor,
            "alternative": "two-sided",
            "n_units": design.n_units,
            "family_size": int(maps["valid"].sum()),
            **origin(responses),
            **with_step(responses, "preference_index", **settings),
        },
    )
    return with_seen(result, unit_keys(compared, unit))


def _kind(index: str) -> TwoClassIndex:
    if index not in TWO_CLASS_INDICES:
        known = list(TWO_CLASS_INDICES)
        raise DesignError(f"index {index!r} is unknown{nearest(index, known)} Choose one of {known}.")
    return TWO_CLASS_INDICES[index]


def _two_classes(
    responses: xr.DataArray, by: str, classes: tuple[str, str], unit: str
) -> tuple[xr.DataArray, ClassDesign]:
    """Stimuli of the two classes, and their design with the first class as number 0."""
    check_response_dims(responses)
    names, labels = class_labels(responses, by)
    for name in classes:
        class_number(names, name, by)
    if classes[0] == classes[1]:
        raise DesignError(f"both classes are {classes[0]!r}; name two different ones.")
    compared = responses.isel({STIMULUS: np.isin(names[labels], classes)})
    design = class_design(compared, by, unit)
    check_class_counts(design, by, _FEWEST_UNITS)
    ordered = (design.names[design.labels] == classes[1]).astype(int)
    return compared, ClassDesign(np.array(classes), ordered, design.rows, design.units, design.column)


def _maps(
    responses: xr.DataArray, design: ClassDesign, relabelings: Relabelings, kind: TwoClassIndex
) -> dict[str, np.ndarray]:
    shape = (responses.sizes[LAYER], responses.sizes[FEATURE])
    names = ("index", "index_lo", "index_hi", "auroc", "mean_first", "mean_second", "p_unc")
    maps = {name: np.full(shape, np.nan) for name in names}
    observed, null = (class_matrices(drawn, 2) for drawn in (design.labels[None], relabelings.labels))
    for place, values in varying_chunks(responses, design, 2 * len(relabelings)):
        found = kind.measure(values, observed)[0]
        maps["index"][place] = found
        maps["index_lo"][place], maps["index_hi"][place] = _interval(found, values, design, kind)
        maps["auroc"][place] = class_auroc(values, observed)[0, 0]
        maps["mean_first"][place], maps["mean_second"][place] = class_means(values, observed)[0]
        # A relabeling under which the ratio is undefined shows no preference.
        drawn = np.nan_to_num(kind.measure(values, null) - kind.floor)
        maps["p_unc"][place] = p_value(found - kind.floor, drawn, exact=relabelings.exact)
    q = adjust(maps["p_unc"].ravel(), "fdr_bh").reshape(shape)
    return maps | {"q_fdr": q, "valid": np.isfinite(maps["index"])}


def _interval(
    found: np.ndarray, values: np.ndarray, design: ClassDesign, kind: TwoClassIndex
) -> tuple[np.ndarray, np.ndarray]:
    left_out = [
        kind.measure(values[kept], class_matrices(design.labels[None, kept], 2))[0]
        for kept in rows_kept(design.units)
    ]
    return jackknife_interval(found, np.stack(left_out), limits=kind.limits)


def _described(kind: TwoClassIndex, classes: tuple[str, str], units: str) -> dict[str, tuple[str, str]]:
    first, second = classes
    return {
        "index": (f"{kind.long_name}, {first} against {second}", kind.units),
        "index_lo": ("lower bound of the 95 % interval", kind.units),
        "index_hi": ("upper bound of the 95 % interval", kind.units),
        "auroc": (f"AUROC, {first} against {second}", "1"),
        "mean_first": (f"mean response to {first}", units),
        "mean_second": (f"mean response to {second}", units),
        "p_unc": ("p, two-sided, uncorrected", "1"),
        "q_fdr": ("q, false discovery rate over valid features", "1"),
        "valid": ("whether the index is defined", "1"),
    }
