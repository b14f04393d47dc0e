"""How many features random sets share, when each set takes its own number of them from each layer."""

import numpy as np
from scipy.stats import hypergeom


def shared_distribution(n_features: np.ndarray, n_first: np.ndarray, n_second: np.ndarray) -> np.ndarray:
    """Probability of sharing 0, 1, … features: two random sets with fixed numbers of features in each layer.

    The count is a sum over layers of independent hypergeometric counts, convolved here.

    Parameters
    ----------
    n_features, n_first, n_second : (L,) int: features of each layer, and how many of them each set holds

    Returns
    -------
    (m + 1,) float64, m the largest number that can be shared; sums to 1

    Examples
    --------
    >>> shared_distribution(np.array([4]), np.array([2]), np.array([2])).round(3)
    array([0.167, 0.667, 0.167])
    """
    total = np.ones(1)
    for size, one, other in zip(n_features.tolist(), n_first.tolist(), n_second.tolist(), strict=True):
        if min(one, other):
            total = np.convolve(total, hypergeom(size, one, other).pmf(np.arange(min(one, other) + 1)))
    return total
