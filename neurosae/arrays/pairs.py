"""Which entries of an RDM count? Those of pairs of rows that belong to different units of inference.

Rows of one unit share what is its own (a family its topic, an item its words), so their distance lacks that
part. In designs where a unit holds several classes all these pairs are between classes: counted as others
they would make classes look alike. With one row a unit every pair counts.
"""

import numpy as np

from neurosae.arrays.distance import triangle


def shared_units(units: np.ndarray | None) -> np.ndarray | None:
    """Unit numbers 0 … U-1 of the rows (n,), or None if each row is a unit of its own.

    Examples
    --------
    >>> shared_units(np.array(["y", "x", "y"]))
    array([1, 0, 1])
    >>> shared_units(np.array(["y", "x", "z"])) is None
    True
    """
    if units is None:
        return None
    labels, codes = np.unique(units, return_inverse=True)
    return codes if len(labels) < len(codes) else None


def unit_pairs(n: int, units: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the entries above the diagonal whose rows belong to different units.

    Parameters
    ----------
    n : number of rows
    units : (n,) unit of each row; None if each row is a unit

    Examples
    --------
    >>> unit_pairs(3, np.array(["x", "x", "y"]))
    (array([0, 1]), array([2, 2]))
    """
    rows, columns = np.triu_indices(n, 1)
    codes = shared_units(units)
    if codes is None:
        return rows, columns
    differ = codes[rows] != codes[columns]
    return rows[differ], columns[differ]


def unit_entries(matrices: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """The entries above the diagonal whose rows belong to different units: (..., n, n) -> (..., N).

    In the order of `neurosae.arrays.distance.triangle`.

    Examples
    --------
    >>> unit_entries(np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0]]), np.array(["x", "x", "y"]))
    array([2, 3])
    """
    if shared_units(units) is None:
        return triangle(matrices)
    rows, columns = unit_pairs(matrices.shape[-1], units)
    return matrices[..., rows, columns]


def symmetric(entries: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], n: int) -> np.ndarray:
    """Symmetric matrices with these entries, 0 elsewhere: (..., N) -> (..., n, n).

    Examples
    --------
    >>> symmetric(np.array([2.0, 3.0]), unit_pairs(3, np.array(["x", "x", "y"])), 3)
    array([[0., 0., 2.],
           [0., 0., 3.],
           [2., 3., 0.]])
    """
    rows, columns = pairs
    matrices = np.zeros((*entries.shape[:-1], n, n))
    matrices[..., rows, columns] = entries
    matrices[..., columns, rows] = entries
    return matrices
