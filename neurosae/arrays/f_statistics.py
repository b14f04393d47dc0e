"""Whether a term of a linear model explains variance beyond the rest: F of several regressors at once."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ncfdtrinc
from scipy.stats import chi2

from neurosae.arrays.contrast_null import NullForm
from neurosae.arrays.contrast_statistics import NO_VARIANCE
from neurosae.errors import DesignError

_LARGEST = 9999.0
"""Noncentrality beyond which scipy's inverse stops."""


@dataclass(frozen=True)
class TermModel:
    """One term of a regression, the rest of the design as nuisance.

    term : (n, q) orthonormal, what the term explains beyond the rest
    nuisance : (n, z) orthonormal, spans the rest
    readout : (q, n) with readout · y the least-squares coefficients of the term
    df : residual degrees of freedom
    """

    term: np.ndarray
    nuisance: np.ndarray
    readout: np.ndarray
    df: int


@dataclass(frozen=True)
class FEstimate:
    """F of a term, each (F,); NaN where no variance is left.

    effect : root mean square of the coefficients times ``scale``; stat : F; es : partial η² with its interval
    omega : partial ω², which is 0 on average where there is no effect
    """

    effect: np.ndarray
    stat: np.ndarray
    es: np.ndarray
    es_lo: np.ndarray
    es_hi: np.ndarray
    omega: np.ndarray


def term_model(tested: np.ndarray, rest: np.ndarray) -> TermModel:
    """Split a design into the term that is tested and the rest.

    Parameters
    ----------
    tested : (n, q) regressors of the term
    rest : (n, r) all other regressors

    Raises
    ------
    DesignError
        If the rest explains part of the term, or no residual degree of freedom is left.

    Examples
    --------
    >>> term_model(np.array([[1.0], [1.0], [-1.0], [-1.0]]), np.ones((4, 1))).df
    2
    """
    nuisance = _basis(rest)
    beyond = tested - nuisance @ (nuisance.T @ tested)
    term = _basis(beyond, size=float(np.linalg.norm(tested)))
    if term.shape[1] < tested.shape[1]:
        raise DesignError(
            f"{tested.shape[1] - term.shape[1]} of {tested.shape[1]} degrees of freedom of the term are "
            "explained by the other terms and nuisance columns. Drop one of them, or add the cells that are "
            "missing."
        )
    df = len(tested) - term.shape[1] - nuisance.shape[1]
    if df < 1:
        raise DesignError(
            f"{len(tested)} values and {term.shape[1] + nuisance.shape[1]} regressors leave no residual "
            "degree of freedom; use more units, fewer factors or fewer nuisance columns."
        )
    return TermModel(term, nuisance, np.linalg.pinv(beyond), df)


def f_estimate(residuals: np.ndarray, model: TermModel, scale: float = 1.0) -> FEstimate:
    """F of a term, with the share of variance that it explains.

    F = (SS / q) / (RSS / df). η² = SS / (SS + RSS) with the interval from noncentral F, λ / (λ + q + df + 1).
    ω² = q (F - 1) / (q F + df + 1).

    Parameters
    ----------
    residuals : (n, F) float64, without what the rest explains
    model : from `term_model`
    scale : factor of ``effect``, the root of the summed squares of the coefficients

    Source
    ------
    Steiger 2004, Psychol Methods 9:164 (intervals); Olejnik & Algina 2003, Psychol Methods 8:434 (ω²).

    Examples
    --------
    >>> model = term_model(np.array([[1.0], [1.0], [-1.0], [-1.0]]), np.ones((4, 1)))
    >>> found = f_estimate(np.array([[1.0], [3.0], [-3.0], [-1.0]]), model)
    >>> found.stat.round(6), found.es.round(6)
    (array([8.]), array([0.8]))
    """
    q = model.term.shape[1]
    squares = np.einsum("nf,nf->f", residuals, residuals)
    explained = np.square(model.term.T @ residuals).sum(axis=0)
    left = squares - explained
    left = np.where(left > NO_VARIANCE * squares, left, np.nan)
    stat = (explained / q) / (left / model.df)
    effect = scale * np.sqrt(np.square(model.readout @ residuals).sum(axis=0))
    lower, upper = eta_squared_interval(stat, q, model.df)
    return FEstimate(
        effect, stat, explained / (explained + left), lower, upper, q * (stat - 1) / (q * stat + model.df + 1)
    )


def eta_squared_interval(
    f: np.ndarray, df1: int, df2: int, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence interval of partial η², by inverting the noncentral F: λ / (λ + df1 + df2 + 1).

    Source
    ------
    Steiger 2004, Psychol Methods 9:164.

    Examples
    --------
    >>> [round(float(bound), 3) for bound in eta_squared_interval(np.array(8.0), 2, 60)]
    [0.044, 0.361]
    """
    tail = (1 - level) / 2
    low, high = (_noncentrality(f, df1, df2, probability) for probability in (1 - tail, tail))
    n = df1 + df2 + 1
    return low / (low + n), high / (high + n)


def f_form(model: TermModel, rows: np.ndarray, *, flips: bool, dtype: np.dtype) -> NullForm:
    """Null of √F when residuals of the rest are reordered or flipped in sign (Freedman & Lane).

    Parameters
    ----------
    model : from `term_model`
    rows : (P, n) int, orders of the residuals; or signs ±1 if ``flips``
    dtype : precision of the products

    Source
    ------
    Freedman & Lane 1983, J Bus Econ Stat 1:292; Winkler et al. 2014, NeuroImage 92:381.
    """
    columns = [*model.term.T, *model.nuisance.T]
    sums = tuple((rows * column if flips else column[rows]).astype(dtype) for column in columns)
    q = model.term.shape[1]
    numerator = (model.df / q,) * q + (0.0,) * (len(columns) - q)
    return NullForm(sums, numerator, (1.0,) * len(sums), 1.0, is_squared=True)


def _basis(columns: np.ndarray, size: float | None = None) -> np.ndarray:
    """Orthonormal basis (n, rank) of the space of ``columns``; what is small against ``size`` is rounding."""
    if columns.shape[1] == 0:
        return columns
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, singular > 1e-10 * (np.linalg.norm(columns) if size is None else size)]


def _noncentrality(f: np.ndarray, df1: int, df2: int, probability: float) -> np.ndarray:
    """Noncentrality at which ``f`` is the quantile of ``probability``; 0 where there is none."""
    found = ncfdtrinc(df1, df2, probability, f)
    # A large noncentral F is nearly its noncentrality over the chi-square of the residuals.
    far = df1 * np.asarray(f) * chi2.ppf(1 - probability, df2) / df2
    return np.where(np.isnan(f), np.nan, np.where(found < _LARGEST, found, np.maximum(far, _LARGEST)))
