"""How alike two sets of directions are: the nearest of one to each of the other, by cosine."""

import numpy as np

from neurosae.errors import DesignError

_CELLS = 2**24
"""Most cosines held at a time (64 MiB in float32)."""


def nearest_cosines(directions: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Largest cosine of each direction with any other one.

    Parameters
    ----------
    directions : (n, d) float, of any length; a row of zeros has cosine NaN
    others : (m, d) float; without it, each direction is compared with the rest of ``directions``

    Returns
    -------
    float32 array (n,)
        NaN where there is nothing to compare with.

    Raises
    ------
    DesignError
        If the two differ in width.

    Examples
    --------
    >>> others = np.array([[1.0, 0.0], [3.0, 4.0]])
    >>> [round(float(cosine), 2) for cosine in nearest_cosines(np.array([[2.0, 0.0], [0.0, 1.0]]), others)]
    [1.0, 0.8]
    """
    unit = _unit(directions)
    other = unit if others is None else _unit(others)
    if unit.shape[1] != other.shape[1]:
        raise DesignError(
            f"directions of width {unit.shape[1]} and {other.shape[1]} are given; compare dictionaries of "
            "the same site of one subject."
        )
    found = np.full(len(unit), np.nan, dtype=np.float32)
    size = max(1, _CELLS // max(1, len(other)))
    for start in range(0, len(unit), size):
        cosines = unit[start : start + size] @ other.T
        if others is None:
            at = np.arange(len(cosines))
            cosines[at, start + at] = np.nan
        found[start : start + size] = _largest(cosines)
    return found


def _largest(cosines: np.ndarray) -> np.ndarray:
    largest = np.where(np.isnan(cosines), -np.inf, cosines).max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(largest), largest, np.nan)


def _unit(directions: np.ndarray) -> np.ndarray:
    rows = np.asarray(directions, dtype=np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, np.nan)
