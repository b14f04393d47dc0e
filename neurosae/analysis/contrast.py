"""Which features respond more in one condition than in another: a contrast map over layers and features."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial

import numpy as np
import xarray as xr
from scipy.stats import t as t_distribution

from neurosae.analysis.contrast_design import averaged_rows, contrast_design
from neurosae.analysis.contrast_inference import (
    ENOUGH,
    ContrastTest,
    average_effect,
    choose_test,
    estimate,
    exchangeable,
    is_alive,
    n_distinct,
    n_firing,
    null_form,
    relabelings_of,
    residual_df,
    scheme_of,
    with_observed,
)
from neurosae.analysis.family import (
    CLUSTER_P,
    FAMILY,
    Family,
    Prepared,
    check_correction,
    family_statistics,
    spread_out,
)
from neurosae.arrays.contrast_null import NullForm, null_of
from neurosae.arrays.contrast_statistics import Estimate
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, stimulus_table
from neurosae.schema.units import unit_keys, with_seen

_STATISTICS = tuple(field.name for field in fields(Estimate))

_STAT_NAMES = {
    "welch": "Welch t",
    "pooled": "pooled t",
    "rank": "rank t (Conover-Iman)",
    "ols": "OLS t",
    "paired": "paired t",
    "paired_ols": "paired t with nuisance",
    "signed_rank": "signed-rank t",
}

P_VALUES = {
    "p_unc": ("p, two-sided, not corrected", "1"),
    "p_lo": ("p, not corrected, lower 95 % bound given the relabelings drawn", "1"),
    "p_hi": ("p, not corrected, upper 95 % bound given the relabelings drawn", "1"),
    "p_adjusted": ("p, two-sided, corrected", "1"),
}

_EFFECT_SIZES = {"rank": ("AUROC", "1"), "signed_rank": ("share of positive differences", "1")}


def contrast_map(
    responses: xr.DataArray,
    contrast: str,
    *,
    test: str = "auto",
    unit: str = "auto",
    nuisance: Sequence[str] = (),
    correct: str = "fdr_bh",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """Compare conditions in every layer and feature, with p-values from permutations over units of inference.

    effect = Σ w_k m_k over cells k, in 'A > B' the mean of A less that of B. Stimuli of one unit are averaged
    first. If every unit holds all cells, cells are compared within units (paired t, sign flips); otherwise
    labels are exchanged between units. p is two-sided, and the relabelings are the same for all features.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    contrast : such as ``"A > B"``, see `neurosae.protocol.contrast.parse_contrast`
    test : ``"welch"`` tests equality of means, also under unequal variances and cell sizes; family-wise
        p then hold roughly: with threefold SD in 30 units against 120 one family in ten of 20 null features
        has a p_adjusted of .05 or less, against one in seventeen with 60 and 60. ``"pooled"`` and ``"rank"``
        (t of ranks, two cells only) test equality of distributions: in cells of unequal size a difference of
        variances alone can make p too small or too large. ``"auto"``: rank for two cells of codes of a
        dictionary, else welch. Paired designs use the paired t, with rank that of signed ranks.
    unit : column that defines the unit of inference; by default family, pair, item or stimulus
    nuisance : numeric columns to regress out: least-squares t, residuals permuted (Freedman & Lane). Units
        that lack a value are left out, and listed in the attribute ``excluded``
    correct : over all valid features of all layers.
        Family-wise: ``"max_t"``; ``"step_down"`` (never less power, several times slower); ``"min_p"``
        (features of unlike distributions; 9999 relabelings or more, and no p_adjusted below about the number
        of independent features over that of relabelings); ``"cluster"`` (mass of neighbouring
        layers beyond a two-sided p of .001) and ``"tfce"``, both along layers of the residual stream only;
        ``"bonferroni"``, ``"holm"``. False discoveries: ``"fdr_bh"``, ``"fdr_by"``, ``"hierarchical"``
        (layers first). Or ``"none"``
    n_permutations : relabelings drawn; all are enumerated if there are no more than this, or if a cell has 5
        units or fewer and there are at most 10,000
    seed : root of the random numbers

    Returns
    -------
    Dataset (layer, feature)
        ``effect`` and ``se`` in units of the response, ``stat``, ``df``, ``p_unc`` with ``p_lo`` and
        ``p_hi`` (95 % bounds, given that relabelings were sampled), ``p_adjusted``, ``es`` with ``es_lo``
        and ``es_hi`` (Hedges g; AUROC for ranks; approximate 95 % intervals), ``n_active`` (units above 0),
        ``valid``; with ``"cluster"`` and ``"tfce"`` also ``enhanced``; in paired designs without nuisance
        also ``es_av``, the effect in mean SD of the cells, where Hedges g is in SD of the differences.
        Features that are constant, or in a dictionary fire in fewer than max(5, 2 %) units, are not valid,
        hold NaN and are no part of the family. With fewer than 20 distinct relabelings p-values are NaN and
        the attribute ``note`` says so.

    Raises
    ------
    ContrastError
        If the contrast cannot be read or names an unknown condition.
    DesignError
        If a cell has fewer than 3 units, units are partly paired, values are not finite, an option is
        unknown, ``"rank"`` is asked of more than two cells, a correction from the null of a design with
        fewer than 20 distinct relabelings, or a correction along layers of anything but the residual stream.

    Warns
    -----
    UserWarning
        If between units the largest cell is more than 3 times the smallest: use ``test="welch"`` there. If
        units of one cell hold more than 3 times as many stimuli as those of another, stimuli are left out, or
        a nuisance column correlates beyond .9 with the contrast.

    Source
    ------
    Nichols & Holmes 2002, Hum Brain Mapp 15:1; Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39; Janssen
    1997, Stat Probab Lett 36:9 (permuted Welch t under unequal variances). Of corrections: see
    `neurosae.analysis.family.ALL_CORRECTIONS`.

    Examples
    --------
    >>> responses = xr.DataArray(
    ...     np.array([1.0, 2.0, 3.0, 4.0, 9.0, 8.0, 7.0, 6.0]).reshape(8, 1, 1),
    ...     dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": list("abcdefgh"), "condition": ("stimulus", ["calm"] * 4 + ["angry"] * 4)},
    ... )
    >>> result = contrast_map(responses, "angry > calm")
    >>> float(result["effect"].item()), round(result["p_unc"].item(), 4)
    (5.0, 0.0286)
    """
    check_response_dims(responses)
    design = contrast_design(stimulus_table(responses), contrast, unit=unit, nuisance=nuisance)
    basis = str(responses.attrs.get("basis", UNITS_BASIS))
    chosen = choose_test(design, test, basis)
    check_correction(correct, responses, n_distinct(chosen), n_permutations)
    relabelings = relabelings_of(chosen, n_permutations, seed=seed)
    # Enumerated designs are small, and their many exact ties deserve double precision.
    precision = np.dtype(np.float64 if relabelings.exact else np.float32)
    form = null_form(chosen, with_observed(chosen, relabelings), dtype=precision)
    family = Family(
        responses,
        design.used,
        partial(_prepared, test=chosen, form=form, basis=basis),
        form.n_rows,
        relabelings.exact,
        float(t_distribution.isf(CLUSTER_P / 2, residual_df(chosen))),
    )
    result = family_statistics(family, correct, n_distinct(chosen))
    attrs = {
        "contrast": contrast,
        "test": chosen.name,
        "unit": design.unit,
        "correct": correct,
        "alternative": "two-sided",
        "scheme": scheme_of(chosen),
        "n_permutations": len(relabelings),
        "exact": int(relabelings.exact),
        "n_units": design.n_units,
        "family": FAMILY,
        "family_size": int(result["valid"].sum()),
        "seed": seed,
        "site": str(responses.attrs.get("site", "")),
        "basis": basis,
    }
    step = {"contrast": contrast, "test": chosen.name, "unit": design.unit, "nuisance": list(nuisance)}
    attrs |= with_step(
        responses, "contrast_map", **step, correct=correct, n_permutations=n_permutations, seed=seed
    )
    labelled = _labelled(result, responses, chosen).assign_attrs(attrs | few_note(n_distinct(chosen)))
    if design.excluded:
        labelled.attrs["excluded"] = ";".join(design.excluded)
    seen = responses.isel({LAYER: slice(0, 1), STIMULUS: design.used})
    return with_seen(labelled, unit_keys(seen, design.unit))


def few_note(n: int) -> dict[str, str]:
    """Attribute ``note`` of a result with too few distinct relabelings for a p-value."""
    return {} if n >= ENOUGH else {"note": f"descriptive only: {n} distinct relabelings give no useful p"}


def _prepared(stored: np.ndarray, *, test: ContrastTest, form: NullForm, basis: str) -> Prepared:
    values = averaged_rows(stored, test.design)
    alive = np.flatnonzero(is_alive(values, test.design, basis))
    tested = values if len(alive) == values.shape[1] else values[:, alive]
    data = exchangeable(tested, test)
    observed = estimate(tested, data, test)
    has_stat = np.isfinite(observed.stat)
    valid = np.zeros(values.shape[1], dtype=bool)
    valid[alive[has_stat]] = True
    found = {name: spread_out(getattr(observed, name)[has_stat], valid) for name in _STATISTICS}
    if test.design.is_paired and test.name != "paired_ols":
        found["es_av"] = spread_out(average_effect(tested, test.design)[has_stat], valid)
    null = null_of(form, data if has_stat.all() else data[:, has_stat])
    return Prepared(found | {"n_active": n_firing(values, test.design)}, valid, null)


def _labelled(result: dict[str, np.ndarray], responses: xr.DataArray, test: ContrastTest) -> xr.Dataset:
    raw = str(responses.attrs.get("units", "a.u."))
    size, size_units = _EFFECT_SIZES.get(test.name, ("Hedges g", "SD"))
    described = {
        "effect": (f"effect of {test.design.text}", raw),
        "se": ("standard error of the effect", raw),
        "stat": (_STAT_NAMES[test.name], "1"),
        "df": ("degrees of freedom", "1"),
        **P_VALUES,
        "es": (size, size_units),
        "es_lo": (f"{size}, lower 95 % bound", size_units),
        "es_hi": (f"{size}, upper 95 % bound", size_units),
        "es_av": ("effect in mean SD of the cells", "SD"),
        "n_active": ("units with a response above 0", "1"),
        "valid": ("feature is tested", "1"),
        "enhanced": ("statistic enhanced along layers", "1"),
    }
    variables = {
        name: ((LAYER, FEATURE), result[name], {"long_name": long_name, "units": units})
        for name, (long_name, units) in described.items()
        if name in result
    }
    coords = {name: responses.coords[name] for name in (LAYER, FEATURE) if name in responses.coords}
    return xr.Dataset(variables, coords=coords)
