"""How large an effect is, with its uncertainty: Hedges g, area under the ROC curve, bootstrap of a mean."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, ndtri
from scipy.stats import nct

_FEATURES = 1024
"""Columns ranked at a time, so that the intermediate arrays stay in cache."""


def small_sample_factor(df: np.ndarray | float) -> np.ndarray:
    """Factor J that removes the bias of Cohen's d: J = Γ(df/2) / (√(df/2) Γ((df-1)/2)).

    Source
    ------
    Hedges 1981, J Educ Stat 6:107.

    Examples
    --------
    >>> round(float(small_sample_factor(18)), 6)
    0.957646
    """
    df = np.asarray(df, dtype=float)
    return np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2)


def hedges_g(
    m1: np.ndarray, m2: np.ndarray, s1: np.ndarray, s2: np.ndarray, n1: float, n2: float
) -> np.ndarray:
    """Difference of two means in pooled standard deviations, without small-sample bias.

    g = J(n1 + n2 - 2) (m1 - m2) / sp, sp² = ((n1-1) s1² + (n2-1) s2²) / (n1 + n2 - 2).

    Parameters
    ----------
    m1, m2 : (...) means
    s1, s2 : (...) standard deviations, ddof 1
    n1, n2 : numbers of units

    Returns
    -------
    (...) g in SD; NaN where both standard deviations are 0

    Source
    ------
    Hedges 1981, J Educ Stat 6:107.

    Examples
    --------
    >>> round(float(hedges_g(1.0, 0.0, 1.0, 1.0, 10, 10)), 6)
    0.957646
    """
    m1, m2, s1, s2 = (np.asarray(value, dtype=float) for value in (m1, m2, s1, s2))
    df = n1 + n2 - 2
    pooled = np.sqrt(((n1 - 1) * s1**2 + (n2 - 1) * s2**2) / df)
    scale = np.where(pooled > 0, pooled, np.nan)
    return small_sample_factor(df) * (m1 - m2) / scale


def cohen_ci(t: float, n1: float, n2: float, *, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of Cohen's d from an independent-samples t, by inverting the noncentral t.

    d = ncp √(1/n1 + 1/n2), with the ncp for which t is the upper and the lower quantile.

    Source
    ------
    Steiger & Fouladi 1997, in Harlow, What if there were no significance tests, ch. 9.

    Examples
    --------
    >>> [round(bound, 4) for bound in cohen_ci(2.5, 20, 20)]
    [0.1411, 1.4304]
    """
    scale = float(np.sqrt(1 / n1 + 1 / n2))
    low, high = noncentrality_ci(t, n1 + n2 - 2, level=level)
    return low * scale, high * scale


def hedges_ci(t: float, n1: float, n2: float, *, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of Hedges g: that of Cohen's d (`cohen_ci`) times the small-sample factor.

    Examples
    --------
    >>> [round(bound, 4) for bound in hedges_ci(2.5, 20, 20)]
    [0.1383, 1.4019]
    """
    factor = float(small_sample_factor(n1 + n2 - 2))
    low, high = cohen_ci(t, n1, n2, level=level)
    return factor * low, factor * high


def noncentrality_ci(t: float, df: float, *, level: float = 0.95) -> tuple[float, float]:
    """Noncentralities for which the t given is the upper and the lower quantile; NaN if t is infinite."""
    if not np.isfinite(t):
        return float("nan"), float("nan")
    if t < 0:
        low, high = noncentrality_ci(-t, df, level=level)
        return -high, -low
    tail, reach = (1 - level) / 2, 8 + t

    def excess(ncp: float, probability: float) -> float:
        # scipy's noncentral t is NaN far out in its tails, where it should be 0 or 1.
        return float(np.nan_to_num(nct.cdf(t, df, ncp), nan=float(ncp < t))) - probability

    low, high = (brentq(excess, t - reach, t + reach, args=(p,), xtol=1e-10) for p in (1 - tail, tail))
    return float(low), float(high)


def standardised_interval(
    g: np.ndarray, leverage: float, n: int, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Large-sample confidence interval of a standardised effect, for whole maps: var(g) = h + g²/(2n).

    Parameters
    ----------
    g : (F,) standardised effects
    leverage : h, variance of the effect in units of the residual variance; 1/n1 + 1/n2 for two groups,
        1/n for a mean
    n : units in all

    Source
    ------
    Hedges & Olkin 1985, Statistical Methods for Meta-Analysis, p. 86.

    Examples
    --------
    >>> [round(float(bound), 3) for bound in standardised_interval(0.0, 1 / 50 + 1 / 50, 100)]
    [-0.392, 0.392]
    """
    half = ndtri((1 + level) / 2) * np.sqrt(leverage + np.square(g) / (2 * n))
    return g - half, g + half


def wilson_interval(share: np.ndarray, n: int, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Confidence interval of a share of ``n`` units.

    Source
    ------
    Wilson 1927, J Am Stat Assoc 22:209.

    Examples
    --------
    >>> [round(float(bound), 3) for bound in wilson_interval(0.5, 20)]
    [0.299, 0.701]
    """
    z = ndtri((1 + level) / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks 1 … n of each column, ties sharing their mean rank: (n, F) -> (n, F) float32.

    Examples
    --------
    >>> average_ranks(np.array([[3.0], [1.0], [3.0]])).ravel()
    array([2.5, 1. , 2.5], dtype=float32)
    """
    values = np.asarray(values)
    ranks = np.empty(values.shape, dtype=np.float32)
    for start in range(0, values.shape[1], _FEATURES):
        chunk = slice(start, start + _FEATURES)
        ranks[:, chunk] = _rank_rows(np.ascontiguousarray(values[:, chunk].T)).T
    return ranks


def _rank_rows(rows: np.ndarray) -> np.ndarray:
    order = np.argsort(rows, axis=1)
    ordered = np.take_along_axis(rows, order, axis=1)
    position = np.broadcast_to(np.arange(1, rows.shape[1] + 1, dtype=np.float32), rows.shape)
    rises = ordered[:, 1:] != ordered[:, :-1]
    ranks = np.empty(rows.shape, dtype=np.float32)
    np.put_along_axis(ranks, order, position if rises.all() else _shared(position, rises), axis=1)
    return ranks


def _shared(position: np.ndarray, rises: np.ndarray) -> np.ndarray:
    """Mean position of each run of equal values, from where sorted rows rise."""
    first, last = position.copy(), position.copy()
    first[:, 1:][~rises] = 0
    last[:, :-1][~rises] = np.inf
    first = np.maximum.accumulate(first, axis=1)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    return (first + last) / 2


def auroc(x: np.ndarray, is_positive: np.ndarray) -> np.ndarray:
    """Probability that a positive unit exceeds a negative one, ties counting one half.

    AUROC = (R - n1 (n1+1)/2) / (n1 n2), R the rank sum of the positives: the Mann-Whitney U over n1 n2.

    Parameters
    ----------
    x : (n, F) values
    is_positive : (n,) bool

    Returns
    -------
    (F,) in [0, 1], 0.5 at chance; NaN if a class is empty

    Source
    ------
    Hanley & McNeil 1982, Radiology 143:29.

    Examples
    --------
    >>> auroc(np.array([[1.0], [2.0], [2.0], [3.0]]), np.array([False, False, True, True]))
    array([0.875])
    """
    is_positive = np.asarray(is_positive, dtype=bool)
    n1, n2 = int(is_positive.sum()), int((~is_positive).sum())
    if n1 == 0 or n2 == 0:
        return np.full(np.shape(x)[1], np.nan)
    rank_sum = average_ranks(x)[is_positive].sum(axis=0, dtype=float)
    return (rank_sum - n1 * (n1 + 1) / 2) / (n1 * n2)


def auroc_interval(
    area: np.ndarray, n1: float, n2: float, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Large-sample confidence interval of an AUROC for whole maps, clipped to [0, 1].

    var(A) = (A(1-A) + (n1-1)(A/(2-A) - A²) + (n2-1)(2A²/(1+A) - A²)) / (n1 n2).

    Source
    ------
    Hanley & McNeil 1982, Radiology 143:29, eq. 1.

    Examples
    --------
    >>> [round(float(bound), 3) for bound in auroc_interval(0.5, 50, 50)]
    [0.386, 0.614]
    """
    area = np.asarray(area, dtype=float)
    spread = area * (1 - area)
    spread = (
        spread + (n1 - 1) * (area / (2 - area) - area**2) + (n2 - 1) * (2 * area**2 / (1 + area) - area**2)
    )
    half = ndtri((1 + level) / 2) * np.sqrt(spread / (n1 * n2))
    return np.clip(area - half, 0, 1), np.clip(area + half, 0, 1)


def bootstrap_mean_ci(
    values: np.ndarray, *, seed: int, n_boot: int = 2000, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of a mean over units: which means other samples of units would have given.

    Parameters
    ----------
    values : (n, ...) one row a unit
    seed : root of the random numbers; rows are resampled together
    n_boot : number of resamples
    level : coverage

    Returns
    -------
    lower and upper bound, each (...)

    Source
    ------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13.

    Examples
    --------
    >>> low, high = bootstrap_mean_ci(np.arange(10.0), seed=0)
    >>> bool(low < 4.5 < high)
    True
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_boot) / n
    means = weights @ values.reshape(n, -1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low.reshape(values.shape[1:]), high.reshape(values.shape[1:])
