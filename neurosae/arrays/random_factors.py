"""Items and templates both sampled: F over items, F over templates, and the least F that covers both."""

import numpy as np
from scipy.stats import f as f_distribution


def min_f_prime(
    f1: np.ndarray | float, df1: np.ndarray | float, f2: np.ndarray | float, df2: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower bound of the F that takes items and templates as random, and its error degrees of freedom.

    minF' = F1 F2 / (F1 + F2), df = (F1 + F2)² / (F1² / df2 + F2² / df1).

    Parameters
    ----------
    f1, df1 : F over items (templates averaged) and its error degrees of freedom
    f2, df2 : F over templates (items averaged) and its error degrees of freedom

    Returns
    -------
    minF' and df; 0 and NaN where both F are 0

    Source
    ------
    Clark 1973, J Verbal Learn Verbal Behav 12:335.

    Examples
    --------
    >>> minimum, df = min_f_prime(9.2, 15, 7.1, 23)
    >>> round(float(minimum), 4), round(float(df), 2)
    (4.0074, 37.74)
    """
    f1, f2 = np.asarray(f1, dtype=float), np.asarray(f2, dtype=float)
    total = f1 + f2
    positive = np.where(total > 0, total, np.nan)
    df = positive**2 / (np.square(f1) / df2 + np.square(f2) / df1)
    return np.where(total == 0, 0.0, f1 * f2 / positive), df


def f_tail(f: np.ndarray, df1: float, df2: np.ndarray) -> np.ndarray:
    """P of an F from its distribution, which takes errors as normal; 1 where F is 0.

    Examples
    --------
    >>> round(float(f_tail(np.array(4.0), 1, np.array(38.0))), 3)
    0.053
    """
    return np.where(f == 0, 1.0, f_distribution.sf(f, df1, df2))
