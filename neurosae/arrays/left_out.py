"""What RDM statistics become without each unit: one pass over the pairs, not one analysis a unit.

A unit leaves an RDM with all its rows and columns. The distances between the others are taken as they are:
what they owe to all units, such as z-scores over the stimuli, is not computed anew.
"""

from collections.abc import Callable

import numpy as np

from neurosae.arrays.category_index import category_index
from neurosae.arrays.distance import live_rows, triangle
from neurosae.arrays.jackknife import jackknife_interval, rows_kept
from neurosae.arrays.rdm_comparison import check_method, is_binary, tau_a_rows, tau_per_rho

_HELD = 1_000_000
"""Pairs times left-out units held at a time (8 MB)."""

_CONSTANT = 1e-12
"""Share of the variance of all entries below which that of the remaining ones is rounding."""


def similarity_interval(
    matrices: np.ndarray,
    model: np.ndarray,
    units: np.ndarray,
    observed: np.ndarray,
    method: str,
    *,
    classes: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of the similarity of RDMs to a model, by leaving out units.

    Parameters
    ----------
    matrices : (L, n, n) RDMs; rows and columns of stimuli without a pattern are NaN and left out
    model : (n, n) model RDM
    units : (n,) unit of inference of each row
    observed : (L,) the similarities
    method : see `neurosae.arrays.rdm_comparison.similarity`
    classes : (n,) int, the classes of a category model

    Returns
    -------
    lower and upper bound, each (L,), within ±1; NaN where a class is left with fewer than two rows

    Source
    ------
    See `neurosae.arrays.jackknife.jackknife_interval`.

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 3.0, 4.0, 6.0])
    >>> model = np.abs(x[:, None] - x)
    >>> low, high = similarity_interval(model[None] ** 2, model, np.arange(5), np.array([0.96]), "corr")
    >>> low.round(2), high.round(2)
    (array([0.93]), array([0.99]))
    """
    bounds = np.full((2, len(matrices)), np.nan)
    for mask, layers in live_rows(matrices):
        kept = rows_kept(units[mask])
        live = matrices[layers][:, mask][:, :, mask]
        values = left_out_similarity(live, model[np.ix_(mask, mask)], kept, method)
        if classes is not None:
            values[leaves_class_alone(classes[mask], kept)] = np.nan
        bounds[:, layers] = jackknife_interval(observed[layers], values, limit=1.0)
    return bounds[0], bounds[1]


def left_out_index(
    dissimilarities: np.ndarray, labels: np.ndarray, units: np.ndarray, n_classes: int, index: str
) -> np.ndarray:
    """A category index without each unit: (U,); NaN where a class is left with fewer than two rows.

    Parameters
    ----------
    dissimilarities : (n, n) symmetric, finite
    labels : (n,) int, classes 0 … n_classes - 1
    units : (n,) unit of inference of each row
    n_classes, index : as in `neurosae.arrays.category_index.category_index`

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 2.0, 6.0, 7.0, 8.0])
    >>> left_out_index(np.abs(x[:, None] - x), np.repeat([0, 1], 3), np.arange(6), 2, "CDI").round(2)
    array([4.33, 4.58, 5.33, 5.33, 4.58, 4.33])
    """
    kept = rows_kept(units)
    if index == "CMI":
        between = labels[:, None] != labels[None, :]
        values = left_out_similarity(dissimilarities[None], between, kept, "rho-a")[:, 0]
    else:
        values = category_index(dissimilarities, np.where(kept, labels, -1), n_classes, index)
    return np.where(leaves_class_alone(labels, kept), np.nan, values)


def leaves_class_alone(labels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Whether a class has fewer than two rows without each unit, so no pair: labels (n,), kept (U, n).

    Examples
    --------
    >>> leaves_class_alone(np.array([0, 0, 1, 1, 1]), rows_kept(np.arange(5)))
    array([ True,  True, False, False, False])
    """
    counts = kept.astype(int) @ (labels[:, None] == np.unique(labels))
    return counts.min(axis=1) < 2


def left_out_similarity(matrices: np.ndarray, model: np.ndarray, kept: np.ndarray, method: str) -> np.ndarray:
    """The similarity of RDMs to a model in each of many selections of their rows.

    Parameters
    ----------
    matrices : (L, n, n) RDMs, finite
    model : (n, n) model RDM
    kept : (U, n) bool, the rows of each selection
    method : see `neurosae.arrays.rdm_comparison.similarity`

    Returns
    -------
    array (U, L); NaN where the entries that remain are all equal

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 3.0, 7.0])
    >>> model = np.abs(x[:, None] - x)
    >>> left_out_similarity(model[None] ** 2, model, rows_kept(np.arange(4)), "corr").round(2).ravel()
    array([0.99, 0.98, 0.99, 0.98])
    """
    check_method(method)
    rows, columns = np.triu_indices(len(model), 1)
    vectors, entries = triangle(matrices), triangle(model).astype(float)
    step = max(1, _HELD // len(entries))
    blocks = [kept[start : start + step] for start in range(0, len(kept), step)]
    parts = [_SELECTED[method](vectors, entries, block[:, rows] & block[:, columns]) for block in blocks]
    return np.concatenate(parts)


def _cosine(vectors: np.ndarray, model: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    pairs = pairs.astype(float)
    squares = (pairs @ (vectors**2).T) * (pairs @ model**2)[:, None]
    return _ratio(pairs @ (vectors * model).T, squares)


def _pearson(vectors: np.ndarray, model: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    # Centred on all entries, so that little is lost where the sums cancel.
    vectors, model = vectors - vectors.mean(axis=1, keepdims=True), model - model.mean()
    pairs = pairs.astype(float)
    n = pairs.sum(axis=1, keepdims=True)
    sums, sum_model = pairs @ vectors.T, (pairs @ model)[:, None]
    left = pairs @ (vectors**2).T - sums**2 / n
    right = (pairs @ model**2)[:, None] - sum_model**2 / n
    left = np.where(left > _CONSTANT * (vectors**2).sum(axis=1), left, 0.0)
    right = np.where(right > _CONSTANT * (model**2).sum(), right, 0.0)
    return _ratio(pairs @ (vectors * model).T - sums * sum_model / n, left * right)


def _spearman(vectors: np.ndarray, model: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return _ratio(*_rank_products(vectors, model, pairs))


def _rho_a(vectors: np.ndarray, model: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    products, squares = _rank_products(vectors, model, pairs)
    n = pairs.sum(axis=1, keepdims=True).astype(float)
    return np.where(squares > 0, 12 * products, np.nan) / (n**3 - n)


def _tau_a(vectors: np.ndarray, model: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    if is_binary(model):
        n = pairs.sum(axis=1, keepdims=True)
        return tau_per_rho(n) * _rho_a(vectors, model, pairs)
    return np.stack([tau_a_rows(vectors[:, own], model[None, own])[0] for own in pairs])


def _rank_products(
    vectors: np.ndarray, model: np.ndarray, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Products of centred ranks of vectors and model, and products of their squared lengths, each (B, L)."""
    target = _ranks_among(model, pairs)
    length = np.einsum("bn,bn->b", target, target)
    products, squares = np.empty((2, len(pairs), len(vectors)))
    for layer, vector in enumerate(vectors):
        ranks = _ranks_among(vector, pairs)
        products[:, layer] = np.einsum("bn,bn->b", ranks, target)
        squares[:, layer] = np.einsum("bn,bn->b", ranks, ranks) * length
    return products, squares


def _ranks_among(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Ranks of values (N,) among those of each selection (B, N), minus their mean; 0 outside it.

    With values in order, the number of selected ones up to each is a running sum: one sort serves all.
    """
    order = np.argsort(values)
    counts = np.zeros((len(pairs), len(values) + 1), dtype=np.int32)
    np.cumsum(pairs[:, order], axis=1, out=counts[:, 1:])
    below, up_to = (np.searchsorted(values[order], values, side) for side in ("left", "right"))
    ranks = counts[:, below] + counts[:, up_to] - counts[:, -1:]
    return np.where(pairs, ranks / 2, 0.0)


def _ratio(products: np.ndarray, squares: np.ndarray) -> np.ndarray:
    return products / np.sqrt(np.where(squares > 0, squares, np.nan))


_SELECTED: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "rho-a": _rho_a,
    "spearman": _spearman,
    "corr": _pearson,
    "cosine": _cosine,
    "tau-a": _tau_a,
}
"""Similarity by name: vectors (L, N), model (N,), selected pairs (B, N) -> (B, L)."""
