"""Does an RDM follow a model better than if the stimuli were in another order? Mantel permutations.

Entries are ranked or scaled once. A relabeling is then a gather of the model's entries, and all RDMs share
one matrix product, so that a thousand relabelings of thirty layers take a second.
"""

import numpy as np

from neurosae.arrays.distance import live_rows
from neurosae.arrays.pairs import symmetric, unit_entries, unit_pairs
from neurosae.arrays.rdm_comparison import (
    METHODS,
    category_auroc,
    check_method,
    is_binary,
    similarity,
    tau_a_rows,
    tau_per_rho,
)

_GATHERED = 4_000_000
"""Permuted entries held at a time (32 MB)."""


def mantel(
    matrices: np.ndarray,
    model: np.ndarray,
    orders: np.ndarray,
    method: str,
    *,
    units: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarity of RDMs to a model, as observed and with the stimuli in other orders.

    Of the entries, those go in whose rows belong to different units.

    Parameters
    ----------
    matrices : (L, n, n) RDMs; rows and columns of stimuli without a pattern are NaN and left out
    model : (n, n) model RDM
    orders : (P, n) int, permutations of the stimuli, the same for all RDMs, within units or of whole units
    method : see `neurosae.arrays.rdm_comparison.similarity`
    units : (n,) unit of each row; None if each row is a unit

    Returns
    -------
    similarity (L,), AUROC (L,) if the model is binary else NaN, null similarities (P, L)

    Source
    ------
    Mantel 1967, Cancer Res 27:209.

    Examples
    --------
    >>> model = np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]])
    >>> observed, auroc, null = mantel(0.5 * model[None], model, np.array([[0, 1, 2], [0, 2, 1]]), "corr")
    >>> observed.round(3), auroc, null.round(3)[:, 0]
    (array([1.]), array([1.]), array([ 1. , -0.5]))
    """
    observed, auroc = np.full((2, len(matrices)), np.nan)
    null = np.full((len(orders), len(matrices)), np.nan)
    for mask, layers in live_rows(matrices):
        own, own_units = model[np.ix_(mask, mask)], None if units is None else units[mask]
        vectors = unit_entries(matrices[layers][:, mask][:, :, mask], own_units)
        target = unit_entries(own, own_units)
        observed[layers] = similarity(vectors, target, method)
        if is_binary(target):
            auroc[layers] = category_auroc(vectors, target > target.min())
        drawn = restrict_orders(orders, mask)
        null[:, layers] = permuted_similarity(vectors, own, drawn, method, units=own_units)
    return observed, auroc, null


def permuted_similarity(
    vectors: np.ndarray,
    model: np.ndarray,
    orders: np.ndarray,
    method: str,
    *,
    units: np.ndarray | None = None,
) -> np.ndarray:
    """The similarity of RDMs to a model whose stimuli are put in other orders.

    The entries are ranked or scaled once; a relabeling then is a gather of the model's entries and all RDMs
    share one matrix product.

    Parameters
    ----------
    vectors : (L, N) entries of L RDMs, see `neurosae.arrays.pairs.unit_entries`
    model : (n, n) model RDM
    orders : (P, n) int, each row a permutation of the stimuli, the same for rows and columns (Mantel 1967);
        rows move within their unit or with all rows of it, so that pairs within units stay such pairs
    method : as in `similarity`
    units : (n,) unit of each row; None if each row is a unit

    Returns
    -------
    array (P, L)

    Examples
    --------
    >>> model = np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]])
    >>> permuted_similarity(np.array([[0.1, 0.9, 0.8]]), model, np.array([[0, 1, 2], [0, 2, 1]]), "corr")
    array([[ 0.993...],
           [-0.596...]])
    """
    check_method(method)
    vectors, model = np.asarray(vectors, dtype=float), np.asarray(model, dtype=float)
    if method == "tau-a" and is_binary(unit_entries(model, units)):
        rho = permuted_similarity(vectors, model, orders, "rho-a", units=units)
        return tau_per_rho(vectors.shape[-1]) * rho
    prepare, compare = (np.asarray, tau_a_rows) if method == "tau-a" else (METHODS[method], _products)
    rows, columns = unit_pairs(len(model), units)
    entries, data = symmetric(prepare(model[rows, columns]), (rows, columns), len(model)), prepare(vectors)
    step = max(1, _GATHERED // max(1, len(rows)))
    chunks = [orders[start : start + step] for start in range(0, len(orders), step)]
    return np.concatenate([compare(data, entries[chunk[:, rows], chunk[:, columns]]) for chunk in chunks])


def restrict_orders(orders: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Orders of fewer rows, taken from orders of all: each kept row follows its cycle to the next kept row.

    Orders drawn uniformly (all, or within strata) stay uniform, and rows never leave their stratum; cutting
    the dropped rows out of the sequence instead would shift the others between strata.

    Parameters
    ----------
    orders : (P, n) int, permutations of 0 … n-1
    kept : (n,) bool

    Returns
    -------
    array (P, m) of permutations of 0 … m-1, m the number of kept rows

    Examples
    --------
    >>> restrict_orders(np.array([[1, 2, 0]]), np.array([True, False, True]))
    array([[1, 0]])
    """
    target = orders[:, kept]
    while not (arrived := kept[target]).all():
        target = np.where(arrived, target, np.take_along_axis(orders, target, axis=1))
    return (np.cumsum(kept) - 1)[target]


def _products(data: np.ndarray, models: np.ndarray) -> np.ndarray:
    return models @ data.T
