"""What a contrast's t or F would have been under other labels, for many features and relabelings at once.

Every t and F used here, of cells, of signed differences or of a regression with nuisance, is the same
quotient of matrix products of the relabelings with the data, so one engine serves all and no relabeled data
exist.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from neurosae.arrays.linear_contrast import LinearModel

FEATURES = 1024
"""Features taken at a time: blocks of relabelings x features stay in the processor's cache."""

_ROWS = 1024

SLACK = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-9}
"""Relative rounding error of t: a relabeling that ties with the observed labels must count as a tie."""

Null: TypeAlias = Callable[[slice], np.ndarray]
"""Gives the statistics (rows, F) of a slice of labellings, the observed one in row 0."""


@dataclass(frozen=True)
class NullForm:
    """t of each relabeling: t = Σ v_j S_j / √(total - Σ c_j S_j²), S_j = sums_j Z, ΣZ² = 1 for each feature.

    sums : matrices (rows, n), a row for each labelling
    numerator, removed : v_j and c_j
    total : constant, or weights (rows, n) of the squared data where cells differ in the variance they add
    is_squared : √F instead of t, √(Σ v_j S_j² / (total - Σ c_j S_j²)): F on the scale of |t|
    """

    sums: tuple[np.ndarray, ...]
    numerator: tuple[float, ...]
    removed: tuple[float, ...]
    total: float | np.ndarray
    is_squared: bool = False

    @property
    def n_rows(self) -> int:
        """Number of labellings."""
        return len(self.sums[0])


@dataclass(frozen=True)
class NullCounts:
    """What the relabelings gave for each feature, and their maxima over features.

    reached : (F,) observed |t| (or √F), less the rounding error
    n_exceeding : (F,) relabelings whose |t| is at least ``reached``
    maxima : (P,) largest |t| over the features
    """

    reached: np.ndarray
    n_exceeding: np.ndarray
    maxima: np.ndarray


def cell_form(rows: np.ndarray, weights: np.ndarray, *, equal_variance: bool, dtype: np.dtype) -> NullForm:
    """Null of a weighted difference of cell means when the cell labels are exchanged between units.

    Parameters
    ----------
    rows : (P, n) int, cell of each unit in each labelling, 0 … K-1; cell sizes are the same in all of them
    weights : (K,) weight of each cell
    equal_variance : True for the pooled t, False for Welch's
    dtype : precision of the products

    Notes
    -----
    The data must have mean 0.
    """
    n = np.bincount(rows[0], minlength=len(weights))
    if equal_variance:
        added = np.full(len(n), (weights**2 / n).sum() / (n.sum() - len(n)))
    else:
        added = weights**2 / (n * (n - 1))
    v, c = weights / n, added / n
    total = float(added[0]) if np.allclose(added, added[0], rtol=1e-9) else added.astype(dtype)[rows]
    if len(n) == 2:  # the two sums cancel, so one product does for both
        return NullForm(((rows == 0).astype(dtype),), (v[0] - v[1],), (c[0] + c[1],), total)
    sums = tuple((rows == cell).astype(dtype) for cell in range(len(n)))
    return NullForm(sums, tuple(v), tuple(c), total)


def linear_form(model: LinearModel, rows: np.ndarray, *, flips: bool, dtype: np.dtype) -> NullForm:
    """Null of a regression t when residuals of the nuisance are reordered or flipped in sign.

    The residuals are relabeled, the nuisance is regressed out again, and t is computed anew: the method of
    Freedman & Lane. Without nuisance and with signs this is the sign-flip test of a mean.

    Parameters
    ----------
    model : from `neurosae.arrays.linear_contrast.linear_model`
    rows : (P, n) int, orders of the units; or signs ±1 if ``flips``
    dtype : precision of the products

    Source
    ------
    Freedman & Lane 1983, J Bus Econ Stat 1:292; Winkler et al. 2014, NeuroImage 92:381.
    """
    columns = [model.readout / np.linalg.norm(model.readout), *_moved_nuisance(model, flips=flips).T]
    sums = tuple((rows * column if flips else column[rows]).astype(dtype) for column in columns)
    numerator = (float(np.sqrt(model.df)), *[0.0] * (len(sums) - 1))
    return NullForm(sums, numerator, (1.0,) * len(sums), 1.0)


def relabeled_statistics(form: NullForm, data: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
    """Signed t, or √F, of each relabeling and feature: (rows, F).

    Parameters
    ----------
    form : relabelings and statistic
    data : (n, F) from `unit_norm`, in the precision of the form
    rows : which relabelings
    """
    tiny = data.dtype.type(1e-6 if data.dtype == np.float32 else 1e-12)
    if isinstance(form.total, float):
        spread = np.full((1, 1), form.total, dtype=data.dtype)
        floor = tiny * form.total
    else:
        spread = form.total[rows] @ np.square(data)
        floor = tiny * form.total.min()
    top = np.zeros((1, 1), dtype=data.dtype)
    for matrix, v, c in zip(form.sums, form.numerator, form.removed, strict=True):
        sums = matrix[rows] @ data
        squares = np.square(sums)
        if v != 0:
            part = squares.copy() if form.is_squared else sums
            part *= data.dtype.type(v)
            top = np.add(top, part, out=part)
        squares *= data.dtype.type(c)
        spread = np.subtract(spread, squares, out=squares)
    # A relabeling that leaves no variance within cells gets a very large t rather than an infinite one.
    np.maximum(spread, floor, out=spread)
    np.sqrt(spread, out=spread)
    if form.is_squared:
        top = np.sqrt(top)
    return np.divide(top, spread, out=spread)


def null_counts(form: NullForm, data: np.ndarray, *, exact: bool, features: int = FEATURES) -> NullCounts:
    """How often relabelings reach the observed |t| of each feature, and the maxima over features.

    Parameters
    ----------
    form : statistic and labellings, the observed one as row 0
    data : (n, F) what the relabelings act on: centred values, residuals or differences; none constant
    exact : True if the rows are all relabelings; otherwise the observed row is not counted
    features : features at a time; changes speed and memory only

    Returns
    -------
    NullCounts
    """
    n_features = data.shape[1]
    reached, n_exceeding = np.empty(n_features), np.zeros(n_features, dtype=np.int64)
    maxima = np.zeros(form.n_rows - (not exact))
    for start in range(0, n_features, features):
        chunk = slice(start, start + features)
        found = counted(null_of(form, data[:, chunk]), form.n_rows, exact=exact)
        reached[chunk], n_exceeding[chunk] = found.reached, found.n_exceeding
        np.maximum(maxima, found.maxima, out=maxima)
    return NullCounts(reached, n_exceeding, maxima)


def null_of(form: NullForm, data: np.ndarray) -> Null:
    """Statistics of any slice of the labellings of ``form`` for the features in ``data`` (n, F)."""
    return partial(relabeled_statistics, form, unit_norm(data, form.sums[0].dtype))


def counted(null: Null, n_rows: int, *, exact: bool) -> NullCounts:
    """How often the labellings reach the observed size of each statistic, see `null_counts`.

    Parameters
    ----------
    null : statistics of labellings, the observed one as row 0
    n_rows : number of labellings
    exact : True if the rows are all relabelings; otherwise the observed row is not counted

    Examples
    --------
    >>> counted(lambda rows: np.array([[2.0], [-3.0], [1.0]])[rows], 3, exact=False).n_exceeding
    array([1])
    """
    maxima = np.zeros(n_rows)
    for rows in row_blocks(n_rows):
        size = np.abs(null(rows))
        if rows.start == 0:
            reached = size[0] * (1 - SLACK[size.dtype]) - SLACK[size.dtype]
            n_exceeding = np.zeros(size.shape[1], dtype=np.int64)
        n_exceeding += (size >= reached).sum(axis=0)
        maxima[rows] = size.max(axis=1, initial=0)
    if exact:
        return NullCounts(reached.astype(float), n_exceeding, maxima)
    return NullCounts(reached.astype(float), n_exceeding - 1, maxima[1:])


def row_blocks(n_rows: int) -> list[slice]:
    """Slices of labellings that are taken at a time."""
    return [slice(start, min(start + _ROWS, n_rows)) for start in range(0, n_rows, _ROWS)]


def unit_norm(data: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Columns scaled to a sum of squares of 1, in ``dtype``.

    The scaling is done in the higher of the two precisions: float32 data would lose their ties in a float64
    null, and float64 data could overflow in a float32 one.
    """
    data = data.astype(np.result_type(data, dtype), copy=False)
    return (data / np.sqrt(np.einsum("nf,nf->f", data, data))).astype(dtype, copy=False)


def _moved_nuisance(model: LinearModel, *, flips: bool) -> np.ndarray:
    """Orthonormal nuisance that a relabeled residual can be correlated with: (n, q)."""
    if flips or model.nuisance.shape[1] == 0:
        return model.nuisance
    # Residuals keep their mean of 0 whatever their order, so the constant needs no product.
    centred = model.nuisance - model.nuisance.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, singular > 1e-10]
