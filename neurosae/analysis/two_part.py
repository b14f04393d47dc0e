"""Which codes are more often on in one condition, and which are stronger where they are on."""

from functools import partial

import numpy as np
import xarray as xr
from scipy.stats import chi2

from neurosae.analysis.contrast import P_VALUES, few_note
from neurosae.analysis.contrast_design import Design, averaged_rows, contrast_design
from neurosae.analysis.contrast_inference import (
    ContrastTest,
    choose_test,
    is_alive,
    n_distinct,
    n_firing,
    relabelings_of,
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
from neurosae.arrays.contrast_null import counted
from neurosae.arrays.effect_size import auroc_interval, wilson_interval
from neurosae.arrays.permutation import exceedance_p
from neurosae.arrays.two_part import (
    FEWEST_FIRING,
    TwoPartData,
    between_data,
    between_parts,
    log_odds_ratio,
    newcombe_interval,
    paired_data,
    paired_parts,
    paired_share_interval,
    part_scores,
)
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, stimulus_table
from neurosae.schema.units import unit_keys, with_seen


def two_part_map(
    responses: xr.DataArray,
    contrast: str,
    *,
    theta: float = 0.0,
    unit: str = "auto",
    correct: str = "fdr_bh",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """Compare how often features fire and how strongly they do, and test either with one statistic.

    X² = z1² + z2². z1 compares the shares of units that fire, z2 the ranks of those that do (0 unless 5 units
    fire in each condition). All p are two-sided and come from the same relabelings: of conditions between
    units, or within units of signs (McNemar's z and signed ranks of units that fire in both).

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; made for codes, where silence is 0
    contrast : two conditions, such as ``"A > B"``
    theta : a unit fires if its response exceeds this
    unit : column that defines the unit of inference; by default family, pair, item or stimulus
    correct : how ``p_adjusted`` corrects the p of X², as in `neurosae.analysis.contrast.contrast_map`
    n_permutations, seed : as there

    Returns
    -------
    Dataset (layer, feature)
        ``stat`` (X²) with ``p_unc``, ``p_lo``, ``p_hi``, ``p_adjusted``.
        Firing: ``rate_a``, ``rate_b``, ``effect`` (their difference, 95 % bounds ``effect_lo``,
        ``effect_hi``), ``log_odds`` (one half added to each count), ``z_firing``, ``p_firing``.
        Strength where firing: ``es`` (AUROC; paired: share of positive differences; ``es_lo``, ``es_hi``),
        ``z_strength``, ``p_strength``; NaN with too few firing units. ``n_active``, ``valid``.

    Raises
    ------
    ContrastError
        If the contrast cannot be read.
    DesignError
        If it weighs other than two cells, a cell has fewer than 3 units, values are not finite, or the
        correction is unknown or not possible.

    Notes
    -----
    Strength is compared among units chosen by whether they fire, which the condition may change: read it as a
    description where firing differs too. ``p_firing`` and ``p_strength`` are not corrected.

    Source
    ------
    Lachenbruch 2001, Stat Med 20:1215.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> condition = np.repeat(["calm", "angry"], 40)
    >>> strength = rng.gamma(2, size=(80, 1, 2)) * np.where(condition == "angry", 3, 1)[:, None, None]
    >>> responses = xr.DataArray(
    ...     strength * (rng.random((80, 1, 2)) < 0.5), dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": np.arange(80), "condition": ("stimulus", condition)},
    ... )
    >>> found = two_part_map(responses, "angry > calm")
    >>> bool((found["p_strength"] < 0.05).all()), bool((found["p_firing"] > 0.05).all())
    (True, True)
    """
    check_response_dims(responses)
    design = contrast_design(stimulus_table(responses), contrast, unit=unit)
    if len(design.weights) != 2:
        raise DesignError(
            f"contrast {contrast!r} weighs {len(design.weights)} cells; a two-part map compares two. "
            "Name two conditions, or use contrast_map."
        )
    basis = str(responses.attrs.get("basis", UNITS_BASIS))
    chosen = choose_test(design, "rank", basis)
    check_correction(correct, responses, n_distinct(chosen), n_permutations)
    relabelings = relabelings_of(chosen, n_permutations, seed=seed)
    rows = with_observed(chosen, relabelings)
    family = Family(
        responses,
        design.used,
        partial(_prepared, test=chosen, rows=rows, exact=relabelings.exact, theta=theta),
        len(rows),
        relabelings.exact,
        float(chi2.isf(CLUSTER_P, 2)),
    )
    result = family_statistics(family, correct, n_distinct(chosen))
    for part in ("firing", "strength"):
        count = np.where(np.isnan(result["p_unc"]), np.nan, result.pop(f"n_{part}"))
        result[f"p_{part}"] = exceedance_p(count, family.n_null, exact=family.exact)
    attrs = {
        "contrast": contrast,
        "test": "two-part",
        "theta": theta,
        "unit": design.unit,
        "correct": correct,
        "scheme": scheme_of(chosen),
        "n_permutations": len(relabelings),
        "exact": int(relabelings.exact),
        "n_units": design.n_units,
        "family": FAMILY,
        "family_size": int(result["valid"].sum()),
        "seed": seed,
        "site": str(responses.attrs.get("site", "")),
        "basis": basis,
        **few_note(n_distinct(chosen)),
    }
    step = {"contrast": contrast, "theta": theta, "unit": design.unit, "correct": correct}
    attrs |= with_step(responses, "two_part_map", **step, n_permutations=n_permutations, seed=seed)
    seen = responses.isel({LAYER: slice(0, 1), STIMULUS: design.used})
    labelled = _labelled(result, responses, design).assign_attrs(attrs)
    return with_seen(labelled, unit_keys(seen, design.unit))


def _prepared(
    stored: np.ndarray, *, test: ContrastTest, rows: np.ndarray, exact: bool, theta: float
) -> Prepared:
    design = test.design
    values = averaged_rows(stored, design)
    alive = is_alive(values, design, "codes")
    first = design.cells == int(np.argmax(design.weights))
    tested = values[:, alive]
    if design.is_paired:
        first, second = (np.flatnonzero(own)[np.argsort(design.units[own])] for own in (first, ~first))
        data = paired_data(tested[first], tested[second], theta)
        z1, z2 = part_scores(paired_parts, data, rows)
    else:
        second = ~first
        data = between_data(tested, theta)
        kind = (rows == int(np.argmax(design.weights))).astype(int)
        z1, z2 = part_scores(between_parts, data, kind)
    found = _firing(tested[first] > theta, tested[second] > theta, is_paired=design.is_paired)
    found |= _strength(data, tested, first, theta)
    found |= {"stat": np.square(z1[0]) + np.square(z2[0]), "z_firing": z1[0]}
    # Features whose strength cannot be compared have z2 = 0; that is no observation.
    found["z_strength"] = np.where(np.isnan(found["es"]), np.nan, z2[0])
    for name, z in (("firing", z1), ("strength", z2)):
        counts = counted(partial(_rows_of, z), len(rows), exact=exact).n_exceeding
        found[f"n_{name}"] = np.where(np.isnan(found["z_strength"]) & (name == "strength"), np.nan, counts)
    spread = {name: spread_out(array, alive) for name, array in found.items()}
    both = np.square(z1) + np.square(z2)
    return Prepared(spread | {"n_active": n_firing(values, design)}, alive, partial(_rows_of, both))


def _rows_of(scores: np.ndarray, rows: slice) -> np.ndarray:
    return scores[rows]


def _firing(a: np.ndarray, b: np.ndarray, *, is_paired: bool) -> dict[str, np.ndarray]:
    """Shares of units that fire, with their difference: ``a`` and ``b`` are (n, F) bool."""
    rate_a, rate_b = a.mean(axis=0), b.mean(axis=0)
    if is_paired:
        low, high = paired_share_interval(rate_a - rate_b, (a != b).mean(axis=0), len(a))
    else:
        low, high = newcombe_interval(rate_a, len(a), rate_b, len(b))
    return {
        "rate_a": rate_a,
        "rate_b": rate_b,
        "effect": rate_a - rate_b,
        "effect_lo": low,
        "effect_hi": high,
        "log_odds": log_odds_ratio(a.sum(axis=0), len(a), b.sum(axis=0), len(b)),
    }


def _strength(
    data: TwoPartData, tested: np.ndarray, first: np.ndarray, theta: float
) -> dict[str, np.ndarray]:
    """How the firing units of two conditions rank: AUROC, or the share of positive differences."""
    if data.positive is None:
        share = (
            (data.ranks > 0).sum(axis=0) + (data.n_firing - (data.ranks != 0).sum(axis=0)) / 2
        ) / np.maximum(data.n_firing, 1)
        enough = data.n_firing >= FEWEST_FIRING
        low, high = wilson_interval(share, np.maximum(data.n_firing, 1))
    else:
        k1 = (tested[first] > theta).sum(axis=0)
        k2 = data.n_firing - k1
        enough = np.minimum(k1, k2) >= FEWEST_FIRING
        product = np.maximum(k1 * k2, 1)
        share = data.ranks[first].sum(axis=0) / product + 0.5
        low, high = auroc_interval(np.clip(share, 0, 1), np.maximum(k1, 1), np.maximum(k2, 1))
    return {
        name: np.where(enough, bound, np.nan)
        for name, bound in (("es", share), ("es_lo", low), ("es_hi", high))
    }


def _labelled(result: dict[str, np.ndarray], responses: xr.DataArray, design: Design) -> xr.Dataset:
    b, a = (design.cell_names[k] for k in np.argsort(design.weights))
    size = "share of positive differences" if design.is_paired else "AUROC of units that fire"
    described = {
        "effect": f"share of units that fire, {a} less {b}",
        "effect_lo": "difference of shares, lower 95 % bound",
        "effect_hi": "difference of shares, upper 95 % bound",
        "rate_a": f"share of units that fire in {a}",
        "rate_b": f"share of units that fire in {b}",
        "log_odds": "log odds ratio of firing",
        "z_firing": "z of firing",
        "p_firing": "p of firing, two-sided, not corrected",
        "es": size,
        "es_lo": f"{size}, lower 95 % bound",
        "es_hi": f"{size}, upper 95 % bound",
        "z_strength": "z of the strength of units that fire",
        "p_strength": "p of strength, two-sided, not corrected",
        "stat": "two-part X squared",
        **{name: text for name, (text, _) in P_VALUES.items()},
        "n_active": "units with a response above 0",
        "valid": "feature is tested",
        "enhanced": "statistic enhanced along layers",
    }
    variables = {
        name: ((LAYER, FEATURE), result[name], {"long_name": long_name, "units": "1"})
        for name, long_name in described.items()
        if name in result
    }
    coords = {name: responses.coords[name] for name in (LAYER, FEATURE) if name in responses.coords}
    return xr.Dataset(variables, coords=coords)
