"""How few stimuli, or features, carry a response: sparseness and the effective number of items."""

import numpy as np

from neurosae.arrays.selectivity_measures import ratio
from neurosae.errors import DesignError


def effective_number(values: np.ndarray) -> np.ndarray:
    """How many rows share a feature's response, were they to share it equally: (Σ a)² / Σ a².

    Between 1 (one row has all of it) and n (all rows alike). A feature that answers to one word of a class
    has a value near 1, however selective its class mean is.

    Parameters
    ----------
    values : (n, F), not negative

    Returns
    -------
    (F,); NaN for a silent feature

    Source
    ------
    Hill 1973, Ecology 54:427 (diversity number of order 2).

    Examples
    --------
    >>> effective_number(np.array([[6.0, 1.0, 0.0], [0.0, 1.0, 0.0]]))
    array([ 1.,  2., nan])
    """
    _check_not_negative(values)
    return ratio(values.sum(axis=0) ** 2, (values**2).sum(axis=0))


def sparseness(values: np.ndarray) -> np.ndarray:
    """Sparseness of each column: S = (1 - (mean r)² / mean(r²)) / (1 - 1/n), in [0, 1].

    1 if one row has the whole response, 0 if all rows respond alike.

    Parameters
    ----------
    values : (n, F), not negative, n >= 2

    Returns
    -------
    (F,); NaN for a silent column

    Raises
    ------
    DesignError
        If a value is negative or there are fewer than two rows.

    Source
    ------
    Rolls & Tovee 1995, J Neurophysiol 73:713; Vinje & Gallant 2000, Science 287:1273.

    Examples
    --------
    >>> sparseness(np.array([[1.0, 5.0, 0.0], [2.0, 0.0, 0.0], [3.0, 0.0, 0.0], [4.0, 0.0, 0.0]])).round(6)
    array([0.222222, 1.      ,      nan])
    """
    n = len(values)
    if n < 2:
        raise DesignError(f"sparseness needs at least two values, got {n}.")
    return (1 - effective_number(values) / n) / (1 - 1 / n)


def _check_not_negative(values: np.ndarray) -> None:
    if (values < 0).any():
        raise DesignError(
            f"sparseness needs responses >= 0, got {values.min():.3g}. It is meant for the codes of a "
            "dictionary or other rates; take max(x, 0) first, or describe signed responses by their kurtosis."
        )
