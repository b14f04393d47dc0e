"""Which test a design gets: the observed statistics, what the relabelings act on, and the relabelings."""

from collections.abc import Callable
from dataclasses import dataclass
from math import factorial

import numpy as np

from neurosae.analysis.contrast_design import Design
from neurosae.arrays.contrast_null import (
    NullForm,
    cell_form,
    linear_form,
    relabeled_statistics,
    unit_norm,
)
from neurosae.arrays.contrast_statistics import Estimate, cell_estimate, centred_ranks, rank_estimate
from neurosae.arrays.linear_contrast import (
    LinearModel,
    linear_estimate,
    linear_model,
    signed_rank_estimate,
    signed_ranks,
    without_nuisance,
)
from neurosae.arrays.permutation import Relabelings, count_relabelings, orders, relabel, sign_flips
from neurosae.errors import DesignError
from neurosae.schema.names import UNITS_BASIS

ENOUGH = 20
"""Distinct relabelings below which p-values say nothing: the smallest would exceed .05."""

_FEWEST_FIRING, _FIRING_SHARE = 5, 0.02
_CONSTANT = 1e-12
_FEW_UNITS, _ENUMERATED = 5, 10_000

TESTS = ("auto", "welch", "pooled", "rank")


@dataclass(frozen=True)
class ContrastTest:
    """A test by name, for a design; ``model`` if it is the read-out of a regression."""

    name: str
    design: Design
    model: LinearModel | None = None


def choose_test(design: Design, test: str, basis: str) -> ContrastTest:
    """The test for a design: Welch's t, or ranks for two cells of codes, unless named; paired if units are.

    Raises
    ------
    DesignError
        If ``test`` is unknown or cannot test the contrast, or the nuisance explains the contrast.
    """
    if test not in TESTS:
        raise DesignError(f"test {test!r} is unknown; choose one of {list(TESTS)}.")
    n_cells = len(design.weights)
    if test == "rank" and n_cells > 2:
        # Exchanging all cells asks whether all are alike; a contrast of zero allows cells that differ. A
        # weighted difference of three or more skewed cells is not symmetric either, as signed ranks need.
        raise DesignError(
            f"contrast {design.text!r} weighs {n_cells} cells; test='rank' is valid for two cells only, as "
            "it takes all cells to be alike. Use test='welch', which compares means, or contrast two cells."
        )
    by_ranks = test == "rank" or (test == "auto" and basis != UNITS_BASIS and n_cells == 2)
    has_nuisance = design.nuisance.shape[1] > 0
    if design.is_paired:
        nuisance = _scaled(design.differences @ design.nuisance)
        regressors = np.column_stack([np.ones(design.n_units), nuisance])
        name = "paired_ols" if has_nuisance else "signed_rank" if by_ranks else "paired"
        return ContrastTest(name, design, linear_model(regressors, np.eye(regressors.shape[1])[0]))
    if has_nuisance:
        cells = (design.cells[:, None] == np.arange(len(design.weights))).astype(float)
        scaled = _standard_scores(design.nuisance)
        weights = np.concatenate([design.weights, np.zeros(scaled.shape[1])])
        return ContrastTest("ols", design, linear_model(np.column_stack([cells, scaled]), weights))
    return ContrastTest("rank" if by_ranks else "welch" if test == "auto" else test, design)


def exchangeable(values: np.ndarray, test: ContrastTest) -> np.ndarray:
    """What the relabelings of ``test`` act on: centred rows, ranks, residuals or differences (n, F)."""
    return _EXCHANGEABLE[test.name](values, test)


def estimate(values: np.ndarray, data: np.ndarray, test: ContrastTest) -> Estimate:
    """Observed statistics of each feature.

    Parameters
    ----------
    values : (R, F) float64, rows of the design
    data : (n, F) from `exchangeable`
    test : which statistic
    """
    return _ESTIMATE[test.name](values, data, test)


def average_effect(values: np.ndarray, design: Design) -> np.ndarray:
    """Contrast of cell means in mean standard deviations of the cells: rows (R, F) to (F,).

    d_av = Σ w_k m_k / √(Σ w_k² s_k² / Σ w_k²). Unlike the standardised mean of differences it does not grow
    with the correlation of the cells, so that it compares with designs between units.

    Source
    ------
    Lakens 2013, Front Psychol 4:863.
    """
    cells = [values[design.cells == cell] for cell in range(len(design.weights))]
    effect = sum(w * cell.mean(axis=0) for w, cell in zip(design.weights, cells, strict=True))
    variance = sum(w**2 * cell.var(axis=0, ddof=1) for w, cell in zip(design.weights, cells, strict=True))
    spread = np.sqrt(variance / np.square(design.weights).sum())
    return np.divide(effect, spread, out=np.full(len(spread), np.nan), where=spread > 0)


def null_form(test: ContrastTest, rows: np.ndarray, *, dtype: np.dtype) -> NullForm:
    """The statistic of ``test`` under labellings ``rows`` (P, n), as matrix products."""
    design = test.design
    if test.model is not None:
        return linear_form(test.model, rows, flips=design.is_paired, dtype=dtype)
    return cell_form(rows, design.weights, equal_variance=test.name != "welch", dtype=dtype)


def observed_labels(test: ContrastTest) -> np.ndarray:
    """The labelling that was observed, (n,): cells of units, signs of differences, or order of residuals."""
    if test.design.is_paired:
        return np.ones(test.design.n_units, dtype=int)
    return test.design.cells if test.model is None else np.arange(len(test.design.cells))


def with_observed(test: ContrastTest, relabelings: Relabelings) -> np.ndarray:
    """Labellings with the observed one as row 0: (P, n) if exact, else (1 + P, n)."""
    if relabelings.exact:
        return relabelings.labels
    return np.vstack([observed_labels(test), relabelings.labels])


def relabelings_of(test: ContrastTest, n_permutations: int, *, seed: int) -> Relabelings:
    """Relabelings that the design allows: cells between units, signs within units, or orders of residuals.

    Cells of 5 units or fewer are enumerated whatever ``n_permutations``, up to 10,000 relabelings: with so
    few units a sample of relabelings would add its own error to a coarse p.
    """
    smallest = np.bincount(test.design.cells).min()
    if n_permutations > 0 and smallest <= _FEW_UNITS and n_distinct(test) <= _ENUMERATED:
        n_permutations = max(n_permutations, n_distinct(test))
    if test.design.is_paired:
        return sign_flips(test.design.n_units, n_permutations, seed=seed)
    if test.model is not None:
        return orders(len(test.design.cells), n_permutations, seed=seed)
    return relabel(test.design.cells, n_permutations, seed=seed)


def n_distinct(test: ContrastTest) -> int:
    """Number of distinct relabelings, the observed labels included."""
    if test.design.is_paired:
        return int(2**test.design.n_units)
    if test.model is not None:
        return factorial(len(test.design.cells))
    return count_relabelings(test.design.cells)


def residual_df(test: ContrastTest) -> int:
    """Residual degrees of freedom of a test, as if variances were equal."""
    if test.model is not None:
        return test.model.df
    return len(test.design.cells) - len(test.design.weights)


def scheme_of(test: ContrastTest) -> str:
    """Permutation scheme in words."""
    scheme = "paired" if test.design.is_paired else "between"
    return f"{scheme}, Freedman-Lane" if test.name in ("ols", "paired_ols") else scheme


def n_firing(values: np.ndarray, design: Design) -> np.ndarray:
    """Units in which each feature exceeds 0: (R, F) -> (F,) int."""
    fires = values > 0
    if not design.is_paired:
        return fires.sum(axis=0)
    return np.stack([fires[design.units == unit].any(axis=0) for unit in np.unique(design.units)]).sum(axis=0)


def is_alive(values: np.ndarray, design: Design, basis: str) -> np.ndarray:
    """Features worth testing, whatever the labels: they vary and, in a dictionary, fire often enough.

    Source
    ------
    Bourgon, Gentleman & Huber 2010, PNAS 107:9546 (filtering that is independent of the labels).
    """
    varies = values.var(axis=0) > _CONSTANT * (1 + values.mean(axis=0) ** 2)
    if basis == UNITS_BASIS:
        return varies
    enough = max(_FEWEST_FIRING, int(np.ceil(_FIRING_SHARE * design.n_units)))
    return varies & (n_firing(values, design) >= enough)


def t_map(values: np.ndarray, test: ContrastTest, alive: np.ndarray) -> np.ndarray:
    """Test statistic alone of each feature, NaN where not alive or constant: (R, F) -> (F,)."""
    t = np.full(values.shape[1], np.nan)
    data = exchangeable(values[:, alive], test)
    varies = np.einsum("nf,nf->f", data, data) > 0
    double = np.dtype(np.float64)
    form = null_form(test, observed_labels(test)[None, :], dtype=double)
    t[np.flatnonzero(alive)[varies]] = relabeled_statistics(form, unit_norm(data[:, varies], double))[0]
    return t


def _standard_scores(columns: np.ndarray) -> np.ndarray:
    return _scaled(columns - columns.mean(axis=0))


def _scaled(columns: np.ndarray) -> np.ndarray:
    size = np.sqrt(np.square(columns).mean(axis=0))
    return columns / np.where(size > 0, size, 1.0)


def _model(test: ContrastTest) -> LinearModel:
    if test.model is None:
        raise DesignError(f"test {test.name!r} has no regression.")
    return test.model


def _centred(values: np.ndarray, _: ContrastTest) -> np.ndarray:
    return values - values.mean(axis=0)


def _ranks(values: np.ndarray, _: ContrastTest) -> np.ndarray:
    return centred_ranks(values)


def _residuals(values: np.ndarray, test: ContrastTest) -> np.ndarray:
    rows = test.design.differences @ values if test.design.is_paired else values
    return without_nuisance(rows, _model(test))


def _signed_ranks(values: np.ndarray, test: ContrastTest) -> np.ndarray:
    return signed_ranks(test.design.differences @ values)


def _estimate_cells(values: np.ndarray, data: np.ndarray, test: ContrastTest) -> Estimate:
    design = test.design
    return cell_estimate(data, design.cells, design.weights, equal_variance=test.name == "pooled")


def _estimate_ranks(values: np.ndarray, data: np.ndarray, test: ContrastTest) -> Estimate:
    return rank_estimate(_centred(values, test), data, test.design.cells, test.design.weights)


def _estimate_linear(values: np.ndarray, data: np.ndarray, test: ContrastTest) -> Estimate:
    return linear_estimate(data, _model(test))


def _estimate_signed_ranks(values: np.ndarray, data: np.ndarray, test: ContrastTest) -> Estimate:
    return signed_rank_estimate(test.design.differences @ values, data, _model(test))


_EXCHANGEABLE: dict[str, Callable[[np.ndarray, ContrastTest], np.ndarray]] = {
    "welch": _centred,
    "pooled": _centred,
    "rank": _ranks,
    "ols": _residuals,
    "paired": _residuals,
    "paired_ols": _residuals,
    "signed_rank": _signed_ranks,
}

_ESTIMATE: dict[str, Callable[[np.ndarray, np.ndarray, ContrastTest], Estimate]] = {
    "welch": _estimate_cells,
    "pooled": _estimate_cells,
    "rank": _estimate_ranks,
    "ols": _estimate_linear,
    "paired": _estimate_linear,
    "paired_ols": _estimate_linear,
    "signed_rank": _estimate_signed_ranks,
}
