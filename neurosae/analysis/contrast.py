"""Which features respond more in one condition than in another: a contrast map over layers and features."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import xarray as xr

from neurosae.analysis.contrast_design import averaged_rows, contrast_design
from neurosae.analysis.contrast_inference import (
    ENOUGH,
    ContrastTest,
    choose_test,
    estimate,
    exchangeable,
    is_alive,
    n_distinct,
    n_firing,
    null_form,
    relabelings_of,
    scheme_of,
    with_observed,
)
from neurosae.arrays.contrast_null import FEATURES, NullCounts, NullForm, null_counts
from neurosae.arrays.contrast_statistics import Estimate
from neurosae.arrays.correction import CORRECTIONS, adjust
from neurosae.arrays.permutation import exceedance_p, max_statistic_p
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, check_responses, stimulus_table
from neurosae.schema.units import unit_keys, with_seen

MAX_T = "max_t"

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
    test : ``"welch"`` tests equality of means, also under unequal variances and cell sizes. ``"pooled"`` and
        ``"rank"`` (t of ranks, two cells only) test equality of distributions: in cells of unequal size a
        difference of variances alone can make p too small or too large. ``"auto"``: rank for two cells of
        codes of a dictionary, else welch. Paired designs use the paired t, with rank that of signed ranks.
    unit : column that defines the unit of inference; by default family, pair, item or stimulus
    nuisance : numeric columns to regress out: least-squares t, residuals permuted (Freedman & Lane)
    correct : ``"max_t"`` (family-wise, over all valid features of all layers), ``"fdr_bh"``, ``"fdr_by"``,
        ``"bonferroni"``, ``"holm"`` or ``"none"``
    n_permutations : relabelings drawn; all are enumerated if there are no more than this
    seed : root of the random numbers

    Returns
    -------
    Dataset (layer, feature)
        ``effect`` and ``se`` in units of the response, ``stat``, ``df``, ``p_unc``, ``p_adjusted``, ``es``
        with ``es_lo`` and ``es_hi`` (Hedges g; AUROC for ranks; approximate 95 % intervals), ``n_active``
        (units above 0), ``valid``. Features that are constant, or in a dictionary fire in fewer than
        max(5, 2 %) units, are not valid, hold NaN and are no part of the family. With fewer than 20 distinct
        relabelings p-values are NaN and the attribute ``note`` says so.

    Raises
    ------
    ContrastError
        If the contrast cannot be read or names an unknown condition.
    DesignError
        If a cell has fewer than 3 units, units are partly paired, values are not finite, an option is
        unknown, ``"rank"`` is asked of more than two cells, or ``"max_t"`` of a design with fewer than 20
        distinct relabelings.

    Warns
    -----
    UserWarning
        If between units the largest cell is more than 3 times the smallest: use ``test="welch"`` there.

    Source
    ------
    Nichols & Holmes 2002, Hum Brain Mapp 15:1; Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39; Janssen
    1997, Stat Probab Lett 36:9 (permuted Welch t under unequal variances).

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
    if correct not in (MAX_T, *CORRECTIONS):
        raise DesignError(f"correction {correct!r} is unknown; choose one of {[MAX_T, *CORRECTIONS]}.")
    design = contrast_design(stimulus_table(responses), contrast, unit=unit, nuisance=nuisance)
    basis = str(responses.attrs.get("basis", UNITS_BASIS))
    chosen = choose_test(design, test, basis)
    _check_resolution(chosen, correct)
    relabelings = relabelings_of(chosen, n_permutations, seed=seed)
    # Enumerated designs are small, and their many exact ties deserve double precision.
    precision = np.dtype(np.float64 if relabelings.exact else np.float32)
    form = null_form(chosen, with_observed(chosen, relabelings), dtype=precision)
    layers = [
        _layer(responses.isel({LAYER: [i], STIMULUS: design.used}), chosen, form, basis, relabelings.exact)
        for i in range(responses.sizes[LAYER])
    ]
    result = _p_values(
        [values for values, _ in layers], [maxima for _, maxima in layers], relabelings.exact, correct, chosen
    )
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
        "family_size": int(result["valid"].sum()),
        "seed": seed,
        "site": str(responses.attrs.get("site", "")),
        "basis": basis,
    }
    step = {"contrast": contrast, "test": chosen.name, "unit": design.unit, "nuisance": list(nuisance)}
    attrs |= with_step(
        responses, "contrast_map", **step, correct=correct, n_permutations=n_permutations, seed=seed
    )
    labelled = _labelled(result, responses, chosen).assign_attrs(attrs | _note(chosen))
    seen = responses.isel({LAYER: slice(0, 1), STIMULUS: design.used})
    return with_seen(labelled, unit_keys(seen, design.unit))


def _check_resolution(test: ContrastTest, correct: str) -> None:
    n = n_distinct(test)
    if correct == MAX_T and n < ENOUGH:
        raise DesignError(
            f"the design allows {n} distinct relabelings, so no corrected p can reach .05; max_t needs at "
            f"least {ENOUGH}. Add units, or describe the effect with correct='none'."
        )


def _note(test: ContrastTest) -> dict[str, str]:
    n = n_distinct(test)
    return {} if n >= ENOUGH else {"note": f"descriptive only: {n} distinct relabelings give no useful p"}


def _layer(
    responses: xr.DataArray, test: ContrastTest, form: NullForm, basis: str, exact: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Statistics of one layer by name, each (F,), and the maximum of each relabeling over its features."""
    stored = responses.values[:, 0]
    chunks = []
    maxima = np.zeros(form.n_rows - (not exact))
    for start in range(0, stored.shape[1], FEATURES):
        chunk = stored[:, start : start + FEATURES]
        if not np.isfinite(chunk).all():
            check_responses(responses)
        found, counts = _features(averaged_rows(chunk, test.design), test, form, basis, exact)
        chunks.append(found)
        np.maximum(maxima, counts.maxima, out=maxima)
    return {name: np.concatenate([found[name] for found in chunks]) for name in chunks[0]}, maxima


def _features(
    values: np.ndarray, test: ContrastTest, form: NullForm, basis: str, exact: bool
) -> tuple[dict[str, np.ndarray], NullCounts]:
    alive = np.flatnonzero(is_alive(values, test.design, basis))
    tested = values if len(alive) == values.shape[1] else values[:, alive]
    data = exchangeable(tested, test)
    observed = estimate(tested, data, test)
    has_stat = np.isfinite(observed.stat)
    counts = null_counts(form, data if has_stat.all() else data[:, has_stat], exact=exact)
    n_features = values.shape[1]
    valid = np.zeros(n_features, dtype=bool)
    valid[alive[has_stat]] = True
    found = {name: _spread(getattr(observed, name)[has_stat], valid) for name in _STATISTICS}
    found["n_exceeding"] = _spread(counts.n_exceeding, valid)
    found["reached"] = _spread(counts.reached, valid)
    return found | {"valid": valid, "n_active": n_firing(values, test.design)}, counts


def _spread(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    everywhere = np.full(len(valid), np.nan)
    everywhere[valid] = values
    return everywhere


def _p_values(
    layers: list[dict[str, np.ndarray]],
    maxima: list[np.ndarray],
    exact: bool,
    correct: str,
    test: ContrastTest,
) -> dict[str, np.ndarray]:
    """Statistics of all layers (layer, feature), with p-values of each feature and of the family."""
    result = {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}
    n_exceeding, reached = result.pop("n_exceeding"), result.pop("reached")
    if n_distinct(test) < ENOUGH:
        n_exceeding = np.full_like(n_exceeding, np.nan)
    p = exceedance_p(n_exceeding, len(maxima[0]), exact=exact)
    if correct == MAX_T:
        family = np.maximum.reduce(maxima)
        adjusted = max_statistic_p(reached.ravel(), family, exact=exact)
    else:
        adjusted = adjust(p.ravel(), correct)
    return result | {"p_unc": p, "p_adjusted": adjusted.reshape(p.shape)}


def _labelled(result: dict[str, np.ndarray], responses: xr.DataArray, test: ContrastTest) -> xr.Dataset:
    raw = str(responses.attrs.get("units", "a.u."))
    size, size_units = _EFFECT_SIZES.get(test.name, ("Hedges g", "SD"))
    described = {
        "effect": (f"effect of {test.design.text}", raw),
        "se": ("standard error of the effect", raw),
        "stat": (_STAT_NAMES[test.name], "1"),
        "df": ("degrees of freedom", "1"),
        "p_unc": ("p, two-sided, not corrected", "1"),
        "p_adjusted": ("p, two-sided, corrected", "1"),
        "es": (size, size_units),
        "es_lo": (f"{size}, lower 95 % bound", size_units),
        "es_hi": (f"{size}, upper 95 % bound", size_units),
        "n_active": ("units with a response above 0", "1"),
        "valid": ("feature is tested", "1"),
    }
    variables = {
        name: ((LAYER, FEATURE), result[name], {"long_name": long_name, "units": units})
        for name, (long_name, units) in described.items()
    }
    coords = {name: responses.coords[name] for name in (LAYER, FEATURE) if name in responses.coords}
    return xr.Dataset(variables, coords=coords)
