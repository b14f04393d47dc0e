"""Does a dissimilarity matrix follow a model? Similarities of RDM vectors.

An RDM vector holds the N entries above the diagonal that count: n (n - 1) / 2, or those of rows of different
units of inference, see `neurosae.arrays.pairs`. They are not independent, so p-values
come from `neurosae.arrays.mantel`, never from the N entries.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import kendalltau, rankdata

from neurosae.errors import DesignError


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
    >>> similarity(np.array([[0.1, 0.9, 0.8]]), np.array([0, 1, 1]), "rho-a").round(3)
    array([0.75])
    """
    check_method(method)
    vectors, model = np.asarray(vectors, dtype=float), np.asarray(model, dtype=float)
    if method == "tau-a" and is_binary(model):
        return tau_per_rho(len(model)) * similarity(vectors, model, "rho-a")
    if method == "tau-a":
        return tau_a_rows(np.atleast_2d(vectors), model[None, :])[0].reshape(vectors.shape[:-1])
    return METHODS[method](vectors) @ METHODS[method](model)


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


def rho_a_of_auroc(
    auroc: np.ndarray | float, n_between: np.ndarray | int, n_within: np.ndarray | int
) -> np.ndarray | float:
    """The rho-a of a category model that has this AUROC: 6 N_B N_W (A - 1/2) / (N^2 - 1).

    At A = 1 it is the largest rho-a the design allows.

    Examples
    --------
    >>> round(rho_a_of_auroc(1.0, 132, 58), 6)
    0.63625
    """
    n_pairs = n_between + n_within
    return 6 * n_between * n_within * (auroc - 0.5) / (n_pairs**2 - 1)


def tau_a_of_auroc(
    auroc: np.ndarray | float, n_between: np.ndarray | int, n_within: np.ndarray | int
) -> np.ndarray | float:
    """The tau-a of a category model that has this AUROC: N_B N_W (2 A - 1) / (N (N - 1) / 2).

    Examples
    --------
    >>> round(tau_a_of_auroc(1.0, 2, 1), 6)
    0.666667
    """
    n_pairs = n_between + n_within
    return n_between * n_within * (2 * auroc - 1) / (n_pairs * (n_pairs - 1) / 2)


def check_method(method: str) -> None:
    """Raise `DesignError` unless ``method`` is the name of a similarity."""
    if method not in (*METHODS, "tau-a"):
        raise DesignError(f"no RDM similarity {method!r}; choose one of {[*METHODS, 'tau-a']}.")


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


def is_binary(model: np.ndarray) -> bool:
    """True if the entries of a model take two values, as those of a category model do."""
    return len(np.unique(model)) == 2


def tau_per_rho(n_pairs: int) -> float:
    """tau-a / rho-a of any RDM with a binary model: both are linear in the AUROC."""
    return 2 * (n_pairs + 1) / (3 * n_pairs)


def tau_a_rows(data: np.ndarray, models: np.ndarray) -> np.ndarray:
    """tau-a of RDM vectors (L, N) with models (P, N), pair by pair: (P, L)."""
    return np.array([[_tau_a_of_pair(row, model) for row in data] for model in models])


def _tau_a_of_pair(vector: np.ndarray, model: np.ndarray) -> float:
    n_pairs = len(vector) * (len(vector) - 1) / 2
    untied = (n_pairs - _tied_pairs(vector)) * (n_pairs - _tied_pairs(model))
    return float(kendalltau(vector, model).statistic * np.sqrt(untied) / n_pairs)


def _tied_pairs(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * (counts - 1) / 2).sum())
