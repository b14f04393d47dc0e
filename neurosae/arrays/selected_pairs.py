"""Similarities of RDM vectors in many selections of their entries: sums and one sort serve them all."""

from collections.abc import Callable

import numpy as np

from neurosae.arrays.rdm_comparison import tau_a_rows

_CONSTANT = 1e-12
"""Share of the variance of all entries below which that of the remaining ones is rounding."""


def selected_similarity(vectors: np.ndarray, model: np.ndarray, pairs: np.ndarray, method: str) -> np.ndarray:
    """The similarity of RDMs to a model in each of many selections of pairs.

    Parameters
    ----------
    vectors : (L, N) entries of RDMs, finite
    model : (N,) entries of the model
    pairs : (U, N) bool, the entries of each selection; or int, how often each entry counts, as in a bootstrap
    method : see `neurosae.arrays.rdm_comparison.similarity`; tau-a goes through the selections one by one

    Returns
    -------
    array (U, L); NaN where the entries selected are all equal

    Examples
    --------
    >>> pairs = np.array([[True, True, True, False], [False, True, True, True]])
    >>> selected_similarity(np.array([[1.0, 2, 3, 0]]), np.array([1.0, 2, 3, 4]), pairs, "spearman")
    array([[ 1. ],
           [-0.5]])
    """
    return SELECTED[method](vectors, np.asarray(model, dtype=float), pairs)


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
    drawn = [np.repeat(np.arange(len(model)), own.astype(int)) for own in pairs]
    return np.stack([tau_a_rows(vectors[:, own], model[None, own])[0] for own in drawn])


def _rank_products(
    vectors: np.ndarray, model: np.ndarray, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Products of centred ranks of vectors and model, and products of their squared lengths, each (B, L)."""
    target, counts = _ranks_among(model, pairs), pairs.astype(float)
    length = np.einsum("bn,bn,bn->b", counts, target, target)
    products, squares = np.empty((2, len(pairs), len(vectors)))
    for layer, vector in enumerate(vectors):
        ranks = _ranks_among(vector, pairs)
        weighted = counts * ranks
        products[:, layer] = np.einsum("bn,bn->b", weighted, target)
        squares[:, layer] = np.einsum("bn,bn->b", weighted, ranks) * length
    return products, squares


def _ranks_among(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Ranks of values (N,) among those of each selection (B, N), minus their mean; 0 outside it.

    With values in order, the number of selected ones up to each is a running sum: one sort serves all.
    """
    order = np.argsort(values)
    counts = np.zeros((len(pairs), len(values) + 1), dtype=np.int32)
    np.cumsum(pairs[:, order], axis=1, dtype=np.int32, out=counts[:, 1:])
    below, up_to = (np.searchsorted(values[order], values, side) for side in ("left", "right"))
    ranks = counts[:, below] + counts[:, up_to] - counts[:, -1:]
    return np.where(pairs, ranks / 2, 0.0)


def _ratio(products: np.ndarray, squares: np.ndarray) -> np.ndarray:
    return products / np.sqrt(np.where(squares > 0, squares, np.nan))


SELECTED: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "rho-a": _rho_a,
    "spearman": _spearman,
    "corr": _pearson,
    "cosine": _cosine,
    "tau-a": _tau_a,
}
"""Similarity by name: vectors (L, N), model (N,), selected pairs (B, N) -> (B, L)."""
