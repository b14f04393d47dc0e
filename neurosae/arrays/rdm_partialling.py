"""What does a model explain of RDMs that others do not? Regression on model RDMs, tested by permutation.

The entries of an RDM are not independent, so the p of a regression does not hold. Permuting the stimuli of
the data would also undo what the other models explain; double semi-partialling permutes the part of one model
that the others do not explain, and regresses that part on them again.
"""

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from neurosae.arrays.distance import live_rows
from neurosae.arrays.mantel import restrict_orders
from neurosae.arrays.pairs import symmetric, unit_entries, unit_pairs

_GATHERED = 4_000_000
"""Permuted entries held at a time (32 MB)."""

_COLLINEAR = 1e-10
"""Share of a model's variance below which what the others leave of it is rounding."""


class Regression(NamedTuple):
    """Of L RDMs on K models: ``coefficient``, ``partial`` (L, K), ``r2`` (L,); K ``null`` partials (P, L)."""

    coefficient: np.ndarray
    partial: np.ndarray
    r2: np.ndarray
    null: list[np.ndarray]


def rdm_regression_null(
    matrices: np.ndarray,
    models: np.ndarray,
    orders: Sequence[np.ndarray],
    *,
    units: np.ndarray | None = None,
    ranks: bool = True,
) -> Regression:
    """Regression of RDMs on several models, as observed and with the stimuli of each model in other orders.

    d = b_0 + sum b_k m_k + e over the entries of pairs of rows of different units. The null of model k is the
    partial correlation of d with permuted e_k given the other models, e_k the residual of m_k on them: as
    pivotal as its t, of which it is a monotone function.

    Parameters
    ----------
    matrices : (L, n, n) RDMs; rows and columns of stimuli without a pattern are NaN and left out
    models : (K, n, n) model RDMs
    orders : for each model (P, n) int, permutations of the stimuli
    units : (n,) unit of each row; None if each row is a unit
    ranks : replace entries by their ranks first

    Returns
    -------
    Regression
        ``coefficient``: of standardised entries; ``partial``: correlation of d with m_k given the others.

    Source
    ------
    Dekker, Krackhardt & Snijders 2007, Psychometrika 72:563.

    Examples
    --------
    >>> x, y = np.array([0.0, 1.0, 4.0, 9.0]), np.array([1.0, 0.0, 0.0, 1.0])
    >>> models = np.abs(np.stack([x[:, None] - x, y[:, None] - y]))
    >>> fit = rdm_regression_null(models[:1] + models[1:], models, [np.arange(4)[None]] * 2, ranks=False)
    >>> fit.r2.round(6), fit.partial.round(6)
    (array([1.]), array([[1., 1.]]))
    """
    n_models = len(models)
    coefficient, partial = np.full((2, len(matrices), n_models), np.nan)
    r2 = np.full(len(matrices), np.nan)
    null = [np.full((len(own), len(matrices)), np.nan) for own in orders]
    for mask, layers in live_rows(matrices):
        own = None if units is None else units[mask]
        data = standardised(unit_entries(matrices[layers][:, mask][:, :, mask], own), ranks=ranks)
        design = standardised(unit_entries(models[:, mask][:, :, mask], own), ranks=ranks)
        pairs = unit_pairs(int(mask.sum()), own)
        coefficient[layers], r2[layers] = _fit(data, design)
        for k in range(n_models):
            others = _basis(np.delete(design, k, axis=0))
            residual = _residual(design[k], others)
            partial[layers, k] = _correlations(residual[None], data, others)[0]
            moved = symmetric(residual, pairs, int(mask.sum()))
            drawn = restrict_orders(orders[k], mask)
            null[k][:, layers] = _permuted(moved, pairs, drawn, data, others)
    return Regression(coefficient, partial, r2, null)


def standardised(entries: np.ndarray, *, ranks: bool = False) -> np.ndarray:
    """Entries (..., N), or their ranks, minus their mean, of length 1; NaN where all are equal.

    Examples
    --------
    >>> standardised(np.array([1.0, 9.0]), ranks=True).round(3)
    array([-0.707,  0.707])
    """
    values = rankdata(entries, axis=-1) if ranks else np.asarray(entries, dtype=np.float64)
    centred = values - values.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    scale = np.abs(values).max(axis=-1, keepdims=True) * np.sqrt(values.shape[-1])
    return np.asarray(centred / np.where(length > _COLLINEAR * scale, length, np.nan))


def variance_inflation(design: np.ndarray) -> np.ndarray:
    """How much the others inflate the variance of each model's coefficient: 1 / (1 - R^2 on the others).

    Parameters
    ----------
    design : (K, N) standardised entries of the models

    Returns
    -------
    array (K,) >= 1, infinite for a model that the others determine

    Examples
    --------
    >>> variance_inflation(np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / np.sqrt([[2], [6]])).round(6)
    array([1., 1.])
    """
    left = np.array(
        [(_residual(row, _basis(np.delete(design, k, axis=0))) ** 2).sum() for k, row in enumerate(design)]
    )
    return np.divide(1.0, left, out=np.full(len(left), np.inf), where=left > _COLLINEAR)


def shared_variance(
    data: np.ndarray, design: np.ndarray, *, most: int = 3
) -> dict[tuple[int, ...], np.ndarray]:
    """What each set of models explains together and no other model does, by inclusion and exclusion.

    C(S) = sum over T within S of (-1)^(|T| + 1) R^2(T and all models outside S). C({k}) is the unique share
    of model k; the shares add up to R^2 of all. Shares of several models can be negative (suppression).

    Parameters
    ----------
    data : (L, N) standardised entries of RDMs
    design : (K, N) standardised entries of the models
    most : size up to which sets are taken apart

    Returns
    -------
    dict from the numbers of models to (L,)

    Source
    ------
    Seibold & McPhee 1979, Hum Commun Res 5:355 (commonality analysis).

    Examples
    --------
    >>> design = standardised(np.array([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]]))
    >>> shares = shared_variance(design[:1], design)
    >>> {models: share.round(6).tolist() for models, share in shares.items()}
    {(0,): [1.0], (1,): [0.0], (0, 1): [0.0]}
    """
    everyone = range(len(design))
    sets = [chosen for size in range(min(most, len(design))) for chosen in combinations(everyone, size + 1)]

    @cache
    def explained(models: tuple[int, ...]) -> np.ndarray:
        return np.asarray(((data @ _basis(design[list(models)])) ** 2).sum(axis=1))

    shares = {}
    for chosen in sets:
        outside = set(everyone) - set(chosen)
        parts = [
            (-1) ** (size + 1) * explained(tuple(sorted({*part, *outside})))
            for size in range(len(chosen) + 1)
            for part in combinations(chosen, size)
        ]
        shares[chosen] = np.sum(parts, axis=0) + 0.0
    return shares


def _fit(data: np.ndarray, design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    coefficient = np.linalg.lstsq(design.T, data.T, rcond=None)[0].T
    return coefficient, 1 - ((data - coefficient @ design) ** 2).sum(axis=1)


def _basis(design: np.ndarray) -> np.ndarray:
    """Orthonormal columns (N, q) that span centred models (K, N); q = 0 without any."""
    if not len(design):
        return np.zeros((design.shape[1], 0))
    left, size, _ = np.linalg.svd(design.T, full_matrices=False)
    return left[:, size > _COLLINEAR * size.max()]


def _residual(values: np.ndarray, basis: np.ndarray) -> np.ndarray:
    return values - values @ basis @ basis.T


def _correlations(permuted: np.ndarray, data: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Partial correlations (P, L) of entries (P, N) with data (L, N), given the intercept and a basis."""
    permuted = permuted - permuted.mean(axis=1, keepdims=True)
    moved, left = _residual(permuted, others), _residual(data, others)
    lengths = np.outer(np.linalg.norm(moved, axis=1), np.linalg.norm(left, axis=1))
    return (moved @ left.T) / np.where(lengths > _COLLINEAR, lengths, np.nan)


def _permuted(
    matrix: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray],
    orders: np.ndarray,
    data: np.ndarray,
    others: np.ndarray,
) -> np.ndarray:
    rows, columns = pairs
    step = max(1, _GATHERED // max(1, len(rows)))
    chunks = [orders[start : start + step] for start in range(0, len(orders), step)]
    return np.concatenate(
        [_correlations(matrix[chunk[:, rows], chunk[:, columns]], data, others) for chunk in chunks]
    )
