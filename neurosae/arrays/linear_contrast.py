"""Contrasts that are one read-out of a regression: with nuisance columns, or of differences within units."""

from dataclasses import dataclass

import numpy as np

from neurosae.arrays.contrast_statistics import NO_VARIANCE, Estimate, standardised_effect
from neurosae.arrays.effect_size import average_ranks, wilson_interval
from neurosae.errors import DesignError


@dataclass(frozen=True)
class LinearModel:
    """One contrast of a regression: its read-out, and the rest of the design as nuisance.

    readout : (n,) with readout · y the least-squares estimate of the contrast
    nuisance : (n, q) orthonormal, spans what else the design explains; orthogonal to ``readout``
    df : residual degrees of freedom
    """

    readout: np.ndarray
    nuisance: np.ndarray
    df: int


def signed_ranks(differences: np.ndarray) -> np.ndarray:
    """Ranks of the absolute differences with their signs; zeros take part in the ranking and score 0.

    Source
    ------
    Pratt 1959, J Am Stat Assoc 54:655.

    Examples
    --------
    >>> signed_ranks(np.array([[-3.0], [0.0], [2.0]])).ravel()
    array([-3.,  0.,  2.])
    """
    return np.sign(differences) * average_ranks(np.abs(differences))


def linear_model(design: np.ndarray, contrast: np.ndarray) -> LinearModel:
    """The contrast of a regression as one read-out and a nuisance space: t depends on nothing else.

    readout = c X⁺; the nuisance is what remains of the columns of X after the read-out is removed.

    Parameters
    ----------
    design : (n, p) regressors X
    contrast : (p,) weights c of the coefficients

    Raises
    ------
    DesignError
        If the contrast cannot be estimated, or no residual degree of freedom is left.

    Source
    ------
    Frisch & Waugh 1933, Econometrica 1:387; Winkler et al. 2014, NeuroImage 92:381, app. A.

    Examples
    --------
    >>> linear_model(np.ones((4, 1)), np.array([1.0])).readout
    array([0.25, 0.25, 0.25, 0.25])
    """
    inverse = np.linalg.pinv(design)
    if np.abs(contrast - contrast @ inverse @ design).max() > 1e-8:
        raise DesignError(
            "the contrast cannot be told apart from the nuisance columns: they explain it completely. "
            "Drop a nuisance column, or vary it within conditions."
        )
    readout = contrast @ inverse
    rest = design - np.outer(readout, readout @ design) / (readout @ readout)
    left, singular, _ = np.linalg.svd(rest, full_matrices=False)
    nuisance = left[:, singular > 1e-10 * np.linalg.norm(design)]
    df = len(design) - nuisance.shape[1] - 1
    if df < 1:
        raise DesignError(
            f"{len(design)} units and {design.shape[1]} regressors leave no residual degree of freedom; "
            "use more units or fewer nuisance columns."
        )
    return LinearModel(readout, nuisance, df)


def without_nuisance(values: np.ndarray, model: LinearModel) -> np.ndarray:
    """Residuals of ``values`` (n, F) after the nuisance of ``model``: what its relabelings act on."""
    return values - model.nuisance @ (model.nuisance.T @ values)


def linear_estimate(residuals: np.ndarray, model: LinearModel) -> Estimate:
    """Whether a regression contrast differs from 0: ordinary least squares t, with Hedges g.

    t = readout · y / (s |readout|), s² = RSS / df; g = J(df) effect / s. A mean of differences is the case
    of one constant regressor; its g is the standardised mean difference of pairs, d_z, times J.

    Parameters
    ----------
    residuals : (n, F) float64, from `without_nuisance`
    model : the contrast

    Examples
    --------
    >>> model = linear_model(np.ones((4, 1)), np.array([1.0]))
    >>> linear_estimate(np.array([[1.0], [2.0], [3.0], [4.0]]), model).stat.round(4)
    array([3.873])
    """
    effect = model.readout @ residuals
    leverage = float(model.readout @ model.readout)
    squares = np.einsum("nf,nf->f", residuals, residuals)
    left = squares - effect**2 / leverage
    s = np.sqrt(np.where(left > NO_VARIANCE * squares, left, np.nan) / model.df)
    se = s * np.sqrt(leverage)
    g, lower, upper = standardised_effect(effect, s, model.df, leverage, len(residuals))
    return Estimate(effect, se, effect / se, np.full(len(se), float(model.df)), g, lower, upper)


def signed_rank_estimate(differences: np.ndarray, ranks: np.ndarray, model: LinearModel) -> Estimate:
    """Whether differences within units tend to be positive: t of signed ranks, and the share above 0.

    ``es`` is the share of units with a positive difference, ties counting one half: the AUROC of pairs.

    Parameters
    ----------
    differences : (n, F) float64
    ranks : (n, F) from `signed_ranks`
    model : the mean of the differences, see `linear_model`

    Source
    ------
    Pratt 1959, J Am Stat Assoc 54:655; Wilson 1927, J Am Stat Assoc 22:209.
    """
    raw, ranked = linear_estimate(differences, model), linear_estimate(ranks, model)
    share = (np.sign(differences).mean(axis=0) + 1) / 2
    share = np.where(np.isfinite(ranked.stat), share, np.nan)
    return Estimate(
        raw.effect, raw.se, ranked.stat, ranked.df, share, *wilson_interval(share, len(differences))
    )
