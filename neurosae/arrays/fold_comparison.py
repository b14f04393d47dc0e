"""Compare decoders over the same folds, and the features and weights that folds arrive at.

Folds share training rows, so they are not independent: the variance of a mean over J folds is not s²/J but
about s² (1/J + n_test/n_train).
"""

from typing import NamedTuple

import numpy as np
from scipy import stats


class ResampledT(NamedTuple):
    """Mean difference with its 95 % interval, t, degrees of freedom and two-sided p, (...) each."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    t: np.ndarray
    df: int
    p: np.ndarray


class Posterior(NamedTuple):
    """Probabilities that a difference is below, within and above the region of practical equivalence."""

    left: np.ndarray
    rope: np.ndarray
    right: np.ndarray


def corrected_resampled_t(differences: np.ndarray, test_ratio: float) -> ResampledT:
    """Whether the mean difference of two decoders over folds is other than 0.

    t = mean(d) / sqrt(s² (1/J + n_test/n_train)), df = J - 1, s² the variance of the J differences.

    Parameters
    ----------
    differences : (..., J) score of one decoder minus the other, fold by fold, all repeats
    test_ratio : n_test / n_train, 1/4 for five folds

    Returns
    -------
    ResampledT
        Without any variance the interval is the mean itself; p is 1 where all differences are 0, and NaN,
        like t, where they are all the same but not 0.

    Source
    ------
    Nadeau & Bengio 2003, Mach Learn 52:239.

    Examples
    --------
    >>> found = corrected_resampled_t(np.array([0.1, 0.0, 0.2, 0.1]), 1 / 3)
    >>> float(found.t.round(3)), float(found.p.round(3))
    (1.604, 0.207)
    """
    differences = np.asarray(differences, dtype=float)
    mean, error, df = _moments(differences, test_ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, mean / error, np.where(mean == 0, 0.0, np.nan))
    half = stats.t.ppf(0.975, df) * error
    return ResampledT(mean, mean - half, mean + half, t, df, 2 * stats.t.sf(np.abs(t), df))


def correlated_posterior(differences: np.ndarray, test_ratio: float, *, rope: float = 0.02) -> Posterior:
    """How probable it is that the mean difference is below -rope, practically 0, or above rope.

    Posterior t(J - 1) with mean mean(d) and squared scale s² (1/J + rho/(1 - rho)), rho the share of rows in
    a test fold, so that rho/(1 - rho) = n_test/n_train. With rope 0, P(right) = 1 - one-sided p of
    `corrected_resampled_t`.

    Parameters
    ----------
    differences : (..., J)
    test_ratio : n_test / n_train
    rope : half width of the region of practical equivalence, 0 or more

    Source
    ------
    Corani & Benavoli 2015, Mach Learn 100:285.

    Examples
    --------
    >>> found = correlated_posterior(np.array([0.1, 0.0, 0.2, 0.1]), 1 / 3, rope=0.0)
    >>> round(float(found.right), 3)
    0.896
    """
    mean, error, df = _moments(np.asarray(differences, dtype=float), test_ratio)
    left, right = _tail(-rope - mean, error, df), _tail(mean - rope, error, df)
    return Posterior(left, np.clip(1 - left - right, 0, 1), right)


def _moments(differences: np.ndarray, test_ratio: float) -> tuple[np.ndarray, np.ndarray, int]:
    n_folds = differences.shape[-1]
    variance = differences.var(axis=-1, ddof=1)
    # Equal differences leave a variance of rounding size.
    variance = np.where(np.ptp(differences, axis=-1) <= 1e-14, 0.0, variance)
    return differences.mean(axis=-1), np.sqrt(variance * (1 / n_folds + test_ratio)), n_folds - 1


def _tail(distance: np.ndarray, error: np.ndarray, df: int) -> np.ndarray:
    """P(T < distance / error); a distribution without width lies on one side, or astride."""
    sharp = np.where(distance > 0, 1.0, np.where(distance < 0, 0.0, 0.5))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error > 0, stats.t.cdf(distance / error, df), sharp)


def kuncheva_stability(selected: np.ndarray) -> float:
    """How alike the features are that were selected in different folds: 1 the same, 0 as by chance.

    Mean over pairs of folds of (r - k²/F) / (k - k²/F), r the number of shared features.

    Parameters
    ----------
    selected : (J, F) bool, exactly k in each row

    Returns
    -------
    float in [-1, 1]; NaN if k is 0 or F, or J is 1

    Source
    ------
    Kuncheva 2007, Proc AIAP, 390.

    Examples
    --------
    >>> kuncheva_stability(np.array([[True, True, False, False], [True, False, True, False]]))
    0.0
    """
    selected = np.asarray(selected, dtype=float)
    n_folds, n_features = selected.shape
    size = selected[0].sum() if n_folds else 0.0
    if n_folds < 2 or size in (0, n_features):
        return float("nan")
    shared = selected @ selected.T
    mean_shared = (shared.sum() - np.trace(shared)) / (n_folds * (n_folds - 1))
    chance = size**2 / n_features
    return float((mean_shared - chance) / (size - chance))


def haufe_pattern(values: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """What each feature does when the decoder's score rises: A = cov(X, S) cov(S)⁻¹, in original units.

    Weights say what helps to cancel noise, patterns what carries the signal. With one score this is
    cov(x_f, s) / var(s). Any rescaling of features before the decoder leaves it unchanged.

    Parameters
    ----------
    values : (n, F) training responses in their original units
    scores : (n, C) scores of the same rows, C linearly independent columns

    Returns
    -------
    (F, C)

    Source
    ------
    Haufe et al. 2014, NeuroImage 87:96.

    Examples
    --------
    >>> signal, noise = np.array([1.0, -1.0, 1.0, -1.0]), np.array([1.0, 1.0, -1.0, -1.0])
    >>> haufe_pattern(np.column_stack([signal + noise, noise]), signal[:, None]).ravel()
    array([1., 0.])
    """
    values, scores = np.asarray(values, dtype=float), np.asarray(scores, dtype=float)
    values, scores = values - values.mean(axis=0), scores - scores.mean(axis=0)
    return (values.T @ scores) @ np.linalg.pinv(scores.T @ scores)
