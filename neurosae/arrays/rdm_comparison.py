"""Does a dissimilarity matrix follow a model? Similarities of RDM vectors, and their null under relabeling.

An RDM vector holds the N = n (n - 1) / 2 entries above the diagonal. The entries are not independent, so
inference permutes the n stimuli, never the N entries.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import kendalltau, rankdata

from neurosae.arrays.distance import triangle
from neurosae.errors import DesignError

_GATHERED = 4_000_000
"""Permuted entries held at a time (32 MB)."""


def similarity(vectors: np.ndarray, model: np.ndarray, method: str) -> np.ndarray:
    """How well the entries of RDMs follow those of a model.

    Parameters
    ----------
    vectors : (..., N) entries of one or more RDMs, finite
    model : (N,) entries of the model
    method : one of ``METHODS``; with ranks R (ties get their mean rank) and centred ranks r = R - mean R:

        ==========  ==========================================================================
        rho-a       12 sum(r_i q_i) / (N^3 - N), Spearman's rho expected when ties are broken
                    at random; use it where a model has ties, as category models do
        spearman    Pearson correlation of the ranks
        corr        Pearson correlation
        cosine      sum(d_i m_i) / (|d| |m|)
        tau-a       (concordant - discordant pairs) / all pairs; slow unless the model is binary
        ==========  ==========================================================================

    Returns
    -------
    array (...)
        NaN where all entries of an RDM, or of the model, are equal (cosine: all are 0).

    Raises
    ------
    DesignError
        If ``method`` is unknown.

    Source
    ------
    Schuett et al. 2023, eLife 12:e82566 (rho-a); Nili et al. 2014, PLoS Comput Biol 10:e1003553 (tau-a).

    Examples
    --------
    >>> float(similarity(np.array([0.1, 0.9, 0.8]), np.array([0, 1, 1]), "rho-a"))
    0.75
    """
    check_method(method)
    vectors, model = np.asarray(vectors, dtype=float), np.asarray(model, dtype=float)
    if method == "tau-a" and _is_binary(model):
        return _tau_per_rho(len(model)) * similarity(vectors, model, "rho-a")
    if method == "tau-a":
        return _tau_a(np.atleast_2d(vectors), model[None, :])[0].reshape(vectors.shape[:-1])
    return METHODS[method](vectors) @ METHODS[method](model)


def permuted_similarity(
    vectors: np.ndarray, model: np.ndarray, orders: np.ndarray, method: str
) -> np.ndarray:
    """The similarity of RDMs to a model whose stimuli are put in other orders.

    The entries are ranked or scaled once; a relabeling then is a gather of the model's entries and all RDMs
    share one matrix product.

    Parameters
    ----------
    vectors : (L, N) entries of L RDMs
    model : (n, n) model RDM
    orders : (P, n) int, each row a permutation of the stimuli, the same for rows and columns (Mantel 1967)
    method : as in `similarity`

    Returns
    -------
    array (P, L)

    Examples
    --------
    >>> model = np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]])
    >>> permuted_similarity(np.array([[0.1, 0.9, 0.8]]), model, np.array([[0, 1, 2], [0, 2, 1]]), "corr")
    array([[ 0.993...],
           [-0.397...]])
    """
    check_method(method)
    vectors, model = np.asarray(vectors, dtype=float), np.asarray(model, dtype=float)
    if method == "tau-a" and _is_binary(triangle(model)):
        return _tau_per_rho(vectors.shape[-1]) * permuted_similarity(vectors, model, orders, "rho-a")
    prepare, compare = (np.asarray, _tau_a) if method == "tau-a" else (METHODS[method], _products)
    entries, data = _square(prepare(triangle(model)), len(model)), prepare(vectors)
    rows, columns = np.triu_indices(len(model), 1)
    step = max(1, _GATHERED // max(1, len(rows)))
    chunks = [orders[start : start + step] for start in range(0, len(orders), step)]
    return np.concatenate([compare(data, entries[chunk[:, rows], chunk[:, columns]]) for chunk in chunks])


def category_auroc(vectors: np.ndarray, between: np.ndarray) -> np.ndarray:
    """How often a between-category distance exceeds a within-category one.

    A = P(d_between > d_within), ties counted half; .5 is chance, 1 perfect separation. Unlike rho-a it can be
    compared over designs.

    Parameters
    ----------
    vectors : (..., N) entries of RDMs
    between : (N,) bool, True for pairs of different categories

    Returns
    -------
    array (...) in [0, 1]

    Examples
    --------
    >>> float(category_auroc(np.array([0.1, 0.9, 0.8]), np.array([False, True, True])))
    1.0
    """
    between = np.asarray(between, dtype=bool)
    n_between, n_within = between.sum(), (~between).sum()
    rank_sum = rankdata(vectors, axis=-1)[..., between].sum(axis=-1)
    return (rank_sum - n_between * (n_between + 1) / 2) / (n_between * n_within)


def rho_a_of_auroc(auroc: np.ndarray | float, n_between: int, n_within: int) -> np.ndarray | float:
    """The rho-a of a category model that has this AUROC: 6 N_B N_W (A - 1/2) / (N^2 - 1).

    At A = 1 it is the largest rho-a the design allows.

    Examples
    --------
    >>> round(rho_a_of_auroc(1.0, 132, 58), 6)
    0.63625
    """
    n_pairs = n_between + n_within
    return 6 * n_between * n_within * (auroc - 0.5) / (n_pairs**2 - 1)


def tau_a_of_auroc(auroc: np.ndarray | float, n_between: int, n_within: int) -> np.ndarray | float:
    """The tau-a of a category model that has this AUROC: N_B N_W (2 A - 1) / (N (N - 1) / 2).

    Examples
    --------
    >>> round(tau_a_of_auroc(1.0, 2, 1), 6)
    0.666667
    """
    n_pairs = n_between + n_within
    return n_between * n_within * (2 * auroc - 1) / (n_pairs * (n_pairs - 1) / 2)


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


def check_method(method: str) -> None:
    """Raise `DesignError` unless ``method`` is the name of a similarity."""
    if method not in (*METHODS, "tau-a"):
        raise DesignError(f"no RDM similarity {method!r}; choose one of {[*METHODS, 'tau-a']}.")


def _products(data: np.ndarray, models: np.ndarray) -> np.ndarray:
    return models @ data.T


def _square(vector: np.ndarray, n: int) -> np.ndarray:
    square = np.zeros((n, n))
    square[np.triu_indices(n, 1)] = vector
    return square + square.T


def _scaled(values: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(length == 0, np.nan, length)


def _centred(values: np.ndarray) -> np.ndarray:
    is_constant = (values == values[..., :1]).all(axis=-1, keepdims=True)
    return np.where(is_constant, np.nan, values - values.mean(axis=-1, keepdims=True))


def _pearson_weights(values: np.ndarray) -> np.ndarray:
    return _scaled(_centred(values))


def _rank_weights(values: np.ndarray) -> np.ndarray:
    return _scaled(_centred(rankdata(values, axis=-1)))


def _rho_a_weights(values: np.ndarray) -> np.ndarray:
    n_pairs = values.shape[-1]
    return _centred(rankdata(values, axis=-1)) * np.sqrt(12 / (float(n_pairs) ** 3 - n_pairs))


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rho-a": _rho_a_weights,
    "spearman": _rank_weights,
    "corr": _pearson_weights,
    "cosine": _scaled,
}
"""Similarities that are products of prepared vectors: name -> preparation, (..., N) -> (..., N)."""


def _is_binary(model: np.ndarray) -> bool:
    return len(np.unique(model)) == 2


def _tau_per_rho(n_pairs: int) -> float:
    """tau-a / rho-a of any RDM with a binary model: both are linear in the AUROC."""
    return 2 * (n_pairs + 1) / (3 * n_pairs)


def _tau_a(data: np.ndarray, models: np.ndarray) -> np.ndarray:
    return np.array([[_tau_a_of_pair(row, model) for row in data] for model in models])


def _tau_a_of_pair(vector: np.ndarray, model: np.ndarray) -> float:
    n_pairs = len(vector) * (len(vector) - 1) / 2
    untied = (n_pairs - _tied_pairs(vector)) * (n_pairs - _tied_pairs(model))
    return float(kendalltau(vector, model).statistic * np.sqrt(untied) / n_pairs)


def _tied_pairs(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * (counts - 1) / 2).sum())
