"""Which features respond to a factor, or to factors jointly: F maps of factorial designs."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import xarray as xr
from scipy.stats import f as f_distribution

from neurosae.analysis.contrast import P_VALUES, few_note
from neurosae.analysis.contrast_design import Design, averaged_rows
from neurosae.analysis.contrast_inference import is_alive, n_firing
from neurosae.analysis.factorial_design import Factorial, TermTest, factorial_design, term_test
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
from neurosae.arrays.f_statistics import f_estimate, f_form
from neurosae.arrays.permutation import Relabelings, count_relabelings, orders, relabel, sign_flips
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, stimulus_table
from neurosae.schema.units import unit_keys, with_seen

TERM = "term"

_STATISTICS = ("effect", "stat", "es", "es_lo", "es_hi", "omega")

_ENUMERATED, _FEW_UNITS = 10_000, 5


def factor_map(
    responses: xr.DataArray,
    terms: str,
    *,
    unit: str = "auto",
    nuisance: Sequence[str] = (),
    correct: str = "fdr_bh",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """Test main effects and interactions of factors in every layer and feature, by F with permuted labels.

    F = (SS / df1) / (RSS / df2), with SS what the term explains beyond all other terms of the model (type
    III: levels weigh the same whatever the number of stimuli). Stimuli of one unit and cell are averaged
    first. Factors may vary between units, within them, or both (split plot); a term is then tested against
    the variation of units, or of units by the factors that vary within them.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    terms : ``"category"`` one main effect; ``"category : size"`` the interaction, in a model with both main
        effects; ``"category * size"`` all three; ``"category + size"`` main effects without interaction
    unit : column that defines the unit of inference; by default family, pair, item or stimulus
    nuisance : numeric columns to regress out
    correct : as in `neurosae.analysis.contrast.contrast_map`; the family is one term in all features
    n_permutations : relabelings drawn; all are enumerated if there are no more than this
    seed : root of the random numbers

    Returns
    -------
    Dataset (term, layer, feature)
        ``effect`` (root mean square of the cell effects of the term, in units of the response; half the
        difference for two levels), ``stat`` (F), ``es`` (partial η² with 95 % bounds ``es_lo``, ``es_hi``;
        both 0 where F is far below 1), ``omega`` (partial ω², about 0 where there is no effect), ``p_unc``,
        ``p_lo``, ``p_hi``, ``p_adjusted``, ``valid``; ``df1``, ``df2``, ``n_permutations``, ``exact``,
        ``family_size``, ``scheme`` (term); ``n_active`` (layer, feature). Which features are valid, and the
        p-values, are as in ``contrast_map``.

    Raises
    ------
    ContrastError
        If ``terms`` is no formula, or names an unknown factor.
    DesignError
        If a cell has fewer than 3 units, units hold some but not all cells that vary within them, an
        interaction lacks a cell, values are not finite, or the correction is unknown or not possible.

    Warns
    -----
    UserWarning
        If the largest cell is more than 3 times the smallest: F takes variances as equal.

    Notes
    -----
    Between units, labels are exchanged; where other terms or nuisance share the model, residuals are permuted
    (Freedman & Lane). Within units, the signs of each unit's contrasts are flipped together, which takes
    them as symmetric but needs no sphericity. An effect of one degree of freedom is t² of the contrast.

    Source
    ------
    Freedman & Lane 1983, J Bus Econ Stat 1:292; Winkler et al. 2014, NeuroImage 92:381; Anderson & ter Braak
    2003, J Stat Comput Simul 73:85.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> size, tone = np.tile(["big", "small"], 20), np.repeat(["calm", "angry"], 20)
    >>> values = rng.normal(size=(40, 1, 2)) + 3 * ((size == "big") & (tone == "calm"))[:, None, None]
    >>> responses = xr.DataArray(
    ...     values, dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": np.arange(40), "size": ("stimulus", size), "tone": ("stimulus", tone)},
    ... )
    >>> found = factor_map(responses, "size * tone")
    >>> found["term"].values.tolist(), found["df2"].values.tolist()
    (['size', 'tone', 'size:tone'], [36, 36, 36])
    >>> bool((found["p_unc"] <= 0.05).all())
    True
    """
    check_response_dims(responses)
    factorial = factorial_design(stimulus_table(responses), terms, unit=unit, nuisance=nuisance)
    tests = [term_test(factorial, term) for term in factorial.tested]
    for test in tests:
        check_correction(correct, responses, _n_distinct(test), n_permutations)
    drawn = [_relabelings(test, n_permutations, seed=seed) for test in tests]
    found = [
        family_statistics(_family(test, draws, factorial.design, responses), correct, _n_distinct(test))
        for test, draws in zip(tests, drawn, strict=True)
    ]
    design = factorial.design
    attrs = {
        "terms": terms,
        "test": "F",
        "unit": design.unit,
        "correct": correct,
        "family": f"{FAMILY}, each term by itself",
        "n_units": design.n_units,
        "seed": seed,
        "site": str(responses.attrs.get("site", "")),
        "basis": str(responses.attrs.get("basis", UNITS_BASIS)),
        **few_note(min(_n_distinct(test) for test in tests)),
        **({"excluded": ";".join(design.excluded)} if design.excluded else {}),
    }
    step = {"terms": terms, "unit": design.unit, "nuisance": list(nuisance), "correct": correct}
    attrs |= with_step(responses, "factor_map", **step, n_permutations=n_permutations, seed=seed)
    labelled = _labelled(found, tests, drawn, factorial, responses).assign_attrs(attrs)
    seen = responses.isel({LAYER: slice(0, 1), STIMULUS: design.used})
    return with_seen(labelled, unit_keys(seen, design.unit))


def _family(test: TermTest, draws: Relabelings, design: Design, responses: xr.DataArray) -> Family:
    precision = np.dtype(np.float64 if draws.exact else np.float32)
    form = f_form(test.model, _with_observed(test, draws), flips=test.flips, dtype=precision)
    basis = str(responses.attrs.get("basis", UNITS_BASIS))
    return Family(
        responses,
        design.used,
        partial(_prepared, test=test, form=form, design=design, basis=basis),
        form.n_rows,
        draws.exact,
        float(f_distribution.isf(CLUSTER_P, test.model.term.shape[1], test.model.df)) ** 0.5,
    )


def _prepared(stored: np.ndarray, *, test: TermTest, form: NullForm, design: Design, basis: str) -> Prepared:
    values = averaged_rows(stored, design)
    alive = np.flatnonzero(is_alive(values, design, basis))
    nuisance = test.model.nuisance
    scores = test.scores @ values[:, alive]
    data = scores - nuisance @ (nuisance.T @ scores)
    observed = f_estimate(data, test.model, test.scale)
    has_stat = np.isfinite(observed.stat)
    valid = np.zeros(values.shape[1], dtype=bool)
    valid[alive[has_stat]] = True
    found = {name: spread_out(getattr(observed, name)[has_stat], valid) for name in _STATISTICS}
    return Prepared(found | {"n_active": n_firing(values, design)}, valid, null_of(form, data[:, has_stat]))


def _relabelings(test: TermTest, n_permutations: int, *, seed: int) -> Relabelings:
    """Signs of units, labels of units, or orders of their residuals, by what the term leaves exchangeable."""
    n_units = len(test.cells)
    if test.flips:
        return sign_flips(n_units, n_permutations, seed=seed)
    if test.has_rest:
        return orders(n_units, n_permutations, seed=seed)
    few = np.bincount(test.cells).min() <= _FEW_UNITS and _n_distinct(test) <= _ENUMERATED
    drawn = relabel(
        test.cells,
        max(n_permutations, _n_distinct(test)) if few and n_permutations > 0 else n_permutations,
        seed=seed,
    )
    order = np.empty_like(drawn.labels)
    by_label = np.argsort(test.cells, kind="stable")
    np.put_along_axis(order, np.argsort(drawn.labels, axis=1, kind="stable"), by_label[None, :], axis=1)
    return Relabelings(order, drawn.exact, drawn.scheme)


def _n_distinct(test: TermTest) -> int:
    return int(2 ** len(test.cells)) if test.flips else count_relabelings(test.cells)


def _with_observed(test: TermTest, draws: Relabelings) -> np.ndarray:
    """Signs or orders of all scores (P, n), the observed as row 0: those of a unit move together."""
    n_units = len(test.cells)
    observed = np.ones(n_units, dtype=int) if test.flips else np.arange(n_units)
    rows = draws.labels if draws.exact else np.vstack([observed, draws.labels])
    shift = 0 if test.flips else n_units
    return np.concatenate([rows + number * shift for number in range(test.n_stacked)], axis=1)


def _scheme(test: TermTest) -> str:
    scheme = "paired" if test.flips else "between"
    return f"{scheme}, Freedman-Lane" if test.has_rest else scheme


def _labelled(
    found: list[dict[str, np.ndarray]],
    tests: list[TermTest],
    drawn: list[Relabelings],
    factorial: Factorial,
    responses: xr.DataArray,
) -> xr.Dataset:
    raw = str(responses.attrs.get("units", "a.u."))
    maps = {
        "effect": ("root mean square of the cell effects", raw),
        "stat": ("F", "1"),
        "es": ("partial eta squared", "1"),
        "es_lo": ("partial eta squared, lower 95 % bound", "1"),
        "es_hi": ("partial eta squared, upper 95 % bound", "1"),
        "omega": ("partial omega squared", "1"),
        **{name: (text.replace(", two-sided", ""), units) for name, (text, units) in P_VALUES.items()},
        "valid": ("feature is tested", "1"),
        "enhanced": ("root of F, enhanced along layers", "1"),
    }
    by_term: dict[str, tuple[list, str]] = {
        "df1": ([test.model.term.shape[1] for test in tests], "degrees of freedom of the term"),
        "df2": ([test.model.df for test in tests], "residual degrees of freedom"),
        "n_permutations": ([len(draws) for draws in drawn], "relabelings"),
        "exact": ([draws.exact for draws in drawn], "all distinct relabelings are enumerated"),
        "family_size": ([int(each["valid"].sum()) for each in found], "features tested"),
        "scheme": ([_scheme(test) for test in tests], "permutation scheme"),
    }
    variables: dict[str, tuple] = {
        name: ((TERM, LAYER, FEATURE), np.stack([each[name] for each in found]), _described(*text))
        for name, text in maps.items()
        if name in found[0]
    }
    variables |= {
        name: (TERM, np.array(values), _described(text)) for name, (values, text) in by_term.items()
    }
    n_active = (LAYER, FEATURE), found[0]["n_active"], _described("units with a response above 0")
    coords = {name: responses.coords[name] for name in (LAYER, FEATURE) if name in responses.coords}
    names = {TERM: [test.name for test in tests]}
    return xr.Dataset(variables | {"n_active": n_active}, coords=coords | names)


def _described(long_name: str, units: str = "1") -> dict[str, str]:
    return {"long_name": long_name, "units": units}
