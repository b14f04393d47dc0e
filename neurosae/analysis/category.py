"""Are the stimuli of a class alike in a layer? Category structure of responses, tested by relabeling units.

One index a call, for whole patterns: which single features carry the structure is not answered here.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import average_units
from neurosae.analysis.category_design import (
    CategoryDesign,
    category_design,
    check_design,
    design_attrs,
    relabelings,
)
from neurosae.analysis.dissimilarities import (
    UNITS_OF_METRIC,
    check_column,
    count_units,
    layer_dataset,
    layer_dissimilarities,
    resolve_metric,
    silent_rows,
)
from neurosae.arrays.category_index import DIRECTED, category_index, labeling_auroc
from neurosae.arrays.mantel import restrict_orders
from neurosae.arrays.permutation import Relabelings, max_statistic_p, p_value
from neurosae.arrays.rdm_intervals import auroc_interval, index_interval
from neurosae.errors import DesignError
from neurosae.schema.names import UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, stimulus_table
from neurosae.schema.units import unit_column, unit_keys, with_seen


def category_rsa(
    responses: xr.DataArray,
    by: str,
    *,
    index: str = "CDI",
    metric: str = "auto",
    unit: str = "auto",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """How much more alike stimuli that share ``by`` are than others, in each layer.

    With mean distances d_kk within class k and d_kl between classes, both over pairs of rows of different
    units only (d_kl = sum of d_ij over i in k, j in l, unit(i) != unit(j), over the number of these pairs):

    * ``CDI`` d_kl - (d_kk + d_ll) / 2, mean over pairs of classes: with sqeuclidean an unbiased estimate of
      the squared distance of the class means over the number of features, also if units hold several classes.
    * ``CMI`` rho-a of these entries of the RDM with the 0/1 category model; depends on means and dispersion.
    * ``TDI`` d_12 - d_11 and ``COH`` d_22 - d_11: two classes, the target (1) being the first in sorted
      order. Dispersion measures: TDI may be negative where the means differ, COH ignores the means.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    by : column of the stimuli that holds the classes
    index : ``"CDI"``, ``"CMI"``, ``"TDI"`` or ``"COH"``
    metric : a measure of `neurosae.arrays.distance.dissimilarity`, of the responses as they are. ``"auto"``:
        sqeuclidean for CDI, TDI and COH; for CMI as in `neurosae.analysis.rsa.rdm`
    unit : column whose rows are averaged within each class first, by default the widest of family, pair,
        item, stimulus
    n_permutations : number of relabelings; all distinct ones are enumerated if they are no more
    seed : root of the random relabelings

    Returns
    -------
    Dataset (layer)
        ``index`` with ``index_lo`` and ``index_hi``, its 95 % interval (jackknife over units, see
        `neurosae.arrays.jackknife`; t with n_units - 1 df, for each layer alone; NaN if a class has two units
        only); ``auroc`` P(d_between > d_within) over pairs of different units, with ``auroc_lo`` and
        ``auroc_hi`` in the same way; ``p``, one-sided (greater), uncorrected; ``p_adjusted``, family-wise
        over the layers; ``null_mean`` and ``null_hi`` (95th percentile) under relabeling; ``n_units``.
        Attributes name the ``classes``, the ``target`` (TDI, COH) and the ``maximum`` of CMI.

    Raises
    ------
    DesignError
        If the column is missing or empty for a stimulus, a class has fewer than two units, TDI or COH meet
        other than two classes, fewer than 8 units give fewer than 20 distinct relabelings, some units hold
        one class and others several, or more than 10 % of the patterns of a layer are silent.

    Notes
    -----
    Units of one class exchange their labels with others; if every unit holds several classes, labels are
    permuted within units. The relabelings are the same in all layers. For ``p_adjusted`` each layer's index
    is divided by its SD over relabelings, so that layers of large variance do not decide the maximum.
    Pairs of rows of one unit count nowhere, nor under relabeling or in the intervals: they are all between
    classes, and what the classes of a unit share (a family its topic) would lower the index. Silent
    patterns (cosine, correlation, jaccard, braycurtis) are left out of their layer. The intervals are for a
    structure that is there: without any they are too wide, and p decides.

    Source
    ------
    Kriegeskorte, Mur & Bandettini 2008, Front Syst Neurosci 2:4; Westfall & Young 1993 (maximum); Efron &
    Tibshirani 1993, An Introduction to the Bootstrap, ch. 11, and Arvesen 1969, Ann Math Stat 40:2076
    (jackknife).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> result = category_rsa(planted_responses(), "condition")
    >>> result["index"].values.round(2), result.p_adjusted.values.round(3)
    (array([ 0.04,  0.19, -0.06]), array([0.442, 0.004, 1.   ]))
    """
    check_response_dims(responses)
    check_column(responses, by)
    column = unit_column(stimulus_table(responses), unit)
    rows = average_units(responses, unit=unit, by=(by,))
    design = category_design(rows, by=by, unit=column)
    check_design(design, by=by, index=index)
    metric = "sqeuclidean" if metric == "auto" and index != "CMI" else metric
    matrices = layer_dissimilarities(rows, metric)
    drawn = relabelings(design, silent_rows(matrices), n_permutations, seed=seed)
    values, auroc = _indices(matrices, design, drawn, index)
    name, scaling = resolve_metric(metric, responses)
    settings = {"by": by, "index": index, "metric": name, "scaling": scaling, "unit": column}
    low, high = index_interval(matrices, design.codes, design.units, values[0], index)
    different = design.codes[:, None] != design.codes[None, :]
    auroc_low, auroc_high = auroc_interval(matrices, different, design.units, auroc, classes=design.codes)
    variables = {
        "index": (values[0], _title(design, by, index)),
        "index_lo": (low, "lower bound of the 95 % interval of the index (jackknife over units)"),
        "index_hi": (high, "upper bound of the 95 % interval of the index (jackknife over units)"),
        "auroc": (auroc, "P(between-class distance > within-class distance)"),
        "auroc_lo": (auroc_low, "lower bound of the 95 % interval of the AUROC (jackknife over units)"),
        "auroc_hi": (auroc_high, "upper bound of the 95 % interval of the AUROC (jackknife over units)"),
        **_tests(values, exact=drawn.exact),
        "n_units": (count_units(design.units, silent_rows(matrices)), "number of units"),
    }
    scale = dict.fromkeys(("index", "index_lo", "index_hi", "null_mean", "null_hi"), _units(index, name))
    result = layer_dataset(variables, rows, scale)
    result.attrs = {
        **settings,
        **design_attrs(design, index),
        "alternative": "greater",
        "n_permutations": len(drawn),
        "exact": int(drawn.exact),
        "seed": seed,
        "site": str(responses.attrs.get("site", "")),
        "basis": str(responses.attrs.get("basis", UNITS_BASIS)),
        **with_step(responses, "category_rsa", **settings, n_permutations=len(drawn), seed=seed),
    }
    return with_seen(result, unit_keys(responses, unit))


def _indices(
    matrices: np.ndarray, design: CategoryDesign, drawn: Relabelings, index: str
) -> tuple[np.ndarray, np.ndarray]:
    """The index as observed (row 0) and for each relabeling, (P + 1, layer), and the AUROC (layer,)."""
    kept = ~silent_rows(matrices)
    n_classes = len(design.classes)
    values, auroc = np.empty((len(drawn) + 1, len(matrices))), np.empty(len(matrices))
    for layer, (matrix, mask) in enumerate(zip(matrices, kept, strict=True)):
        own, units = design.codes[mask], design.units[mask]
        _check_kept(own, design.classes, layer)
        null = drawn.labels if kept.all() else own[restrict_orders(drawn.labels, mask)]
        live = matrix[np.ix_(mask, mask)]
        values[:, layer] = category_index(live, np.vstack([own, null]), n_classes, index, units=units)
        auroc[layer] = labeling_auroc(live, own[None, :], n_classes, units=units)[0]
    return values, auroc


def _check_kept(codes: np.ndarray, classes: np.ndarray, layer: int) -> None:
    counts = np.bincount(codes, minlength=len(classes))
    if counts.min() < 2:
        raise DesignError(
            f"layer number {layer}: without silent patterns class {str(classes[counts.argmin()])!r} has "
            f"{counts.min()} units, but 2 are needed. Leave out this layer, or use sqeuclidean."
        )


def _tests(values: np.ndarray, *, exact: bool) -> dict[str, tuple[np.ndarray, str]]:
    """p-values and null of the index, observed (row 0) and relabeled, (P + 1, layer)."""
    observed, null = values[0], values[1:]
    # The observed labels take part in the scale, so that they remain one of the exchangeable relabelings.
    everything = null if exact else values
    sd = everything.std(axis=0)
    z = np.divide(values - everything.mean(axis=0), sd, out=np.zeros_like(values), where=sd > 0)
    return {
        "p": (
            p_value(observed, null, exact=exact, alternative="greater"),
            "one-sided permutation p, uncorrected",
        ),
        "p_adjusted": (
            max_statistic_p(z[0], z[1:].max(axis=1), exact=exact),
            "one-sided permutation p, family-wise over layers",
        ),
        "null_mean": (null.mean(axis=0), "mean under relabeling"),
        "null_hi": (np.quantile(null, 0.95, axis=0), "95th percentile under relabeling"),
    }


def _title(design: CategoryDesign, by: str, index: str) -> str:
    if index in DIRECTED:
        return f"{index} of {design.classes[0]} against {design.classes[1]}"
    return f"{index} of {by}"


def _units(index: str, metric: str) -> str:
    return "1" if index == "CMI" else UNITS_OF_METRIC.get(metric, "1")
