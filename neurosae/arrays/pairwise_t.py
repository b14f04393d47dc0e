"""A published score of features, kept to audit results that used it: no test, and of inverted sign."""

from typing import NamedTuple

import numpy as np
from scipy.stats import ttest_ind

from neurosae.arrays.distance import triangle, unit_profiles


class PairwiseT(NamedTuple):
    """The score, and the share of correlations that went into it."""

    t: float
    kept: float


def inverted_pairwise_t(profiles: np.ndarray, in_class: np.ndarray) -> PairwiseT:
    """The score t of z = arctanh(1 - r), pairs within the class against pairs across it.

    arctanh is taken of the distance instead of the correlation, so features whose class is coherent score
    lowest; negative correlations become NaN and are dropped, about half of them where there is no structure;
    and the pairs share stimuli, so that t has no t distribution.

    Parameters
    ----------
    profiles : (n, W) one feature's course in each stimulus, none constant
    in_class : (n,) bool

    Returns
    -------
    PairwiseT

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> profiles, in_class = rng.normal(size=(20, 30)), np.arange(20) < 10
    >>> profiles[in_class] += 2 * rng.normal(size=30)
    >>> inverted_pairwise_t(profiles, in_class).t < 0
    True
    """
    units = unit_profiles(np.asarray(profiles, dtype=np.float64))
    r = units @ units.T
    within, across = triangle(r[np.ix_(in_class, in_class)]), r[np.ix_(in_class, ~in_class)].ravel()
    kept = [values[(values > 0) & (values < 1)] for values in (within, across)]
    share = sum(map(len, kept)) / (len(within) + len(across))
    return PairwiseT(float(ttest_ind(*(np.arctanh(1 - values) for values in kept)).statistic), share)
