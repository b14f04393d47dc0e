"""How much would an estimate change with other units? Intervals from leaving out each unit in turn."""

import numpy as np
from scipy.stats import t


def rows_kept(units: np.ndarray) -> np.ndarray:
    """Which rows remain when each unit is left out with all its rows: (n,) -> (U, n) bool.

    Examples
    --------
    >>> rows_kept(np.array(["x", "x", "y"]))
    array([[False, False,  True],
           [ True,  True, False]])
    """
    codes = np.unique(units, return_inverse=True)[1]
    return codes[None, :] != np.arange(codes.max() + 1)[:, None]


def leaves_class_alone(labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Whether a class is left with fewer than two units without each unit, so no pair: (n,), (n,) -> (U,).

    Examples
    --------
    >>> leaves_class_alone(np.array([0, 0, 1, 1, 1]), np.arange(5))
    array([ True,  True, False, False, False])
    """
    codes, classes = (np.unique(values, return_inverse=True)[1] for values in (units, labels))
    holds = np.zeros((codes.max() + 1, classes.max() + 1), dtype=int)
    holds[codes, classes] = 1
    return (holds.sum(axis=0) - holds).min(axis=1) < 2


def jackknife_interval(
    estimate: np.ndarray,
    left_out: np.ndarray,
    *,
    limits: tuple[float, float] = (-np.inf, np.inf),
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence interval of an estimate from its values without each unit.

    estimate ± t(U - 1) se, se² = (U - 1) / U Σ_u (θ_u - mean θ)², θ_u the estimate without unit u; clipped to
    the limits. For U-statistics, such as mean distances, se is consistent and the studentised estimate normal
    in large samples. An estimate whose first-order dependence on single units vanishes (a difference between
    classes that do not differ) gets an interval that is too wide; a permutation test decides there.

    Parameters
    ----------
    estimate : (...) from all units
    left_out : (U, ...) without each unit; NaN where it cannot be computed
    limits : smallest and largest value that the estimate can take
    level : coverage

    Returns
    -------
    lower and upper bound, each (...); NaN where the estimate without any one unit is NaN

    Source
    ------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, eq. 11.5; Arvesen 1969, Ann Math Stat 40:2076
    (U-statistics).

    Examples
    --------
    Of a mean, it is the usual t interval:

    >>> values = np.array([1.0, 2.0, 3.0, 6.0])
    >>> low, high = jackknife_interval(values.mean(), (values.sum() - values) / 3)
    >>> round(float(low), 3), round(float(high), 3)
    (-0.437, 6.437)
    """
    n = len(left_out)
    squares = ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    half = t.ppf((1 + level) / 2, n - 1) * np.sqrt((n - 1) / n * squares)
    return np.clip(estimate - half, *limits), np.clip(estimate + half, *limits)
