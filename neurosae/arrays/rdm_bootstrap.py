"""Would another sample of stimuli, or of RDMs, tell the same? Bootstrap of similarities, noise ceilings."""

import numpy as np
from scipy.stats import rankdata, t

from neurosae.arrays.pairs import unit_entries, unit_pairs
from neurosae.arrays.rdm_comparison import check_method, similarity
from neurosae.arrays.selected_pairs import selected_similarity

_HELD = 1_000_000
"""Pairs times bootstrap samples held at a time (8 MB)."""

FEWEST_RDMS = 3
"""RDMs of independent replications below which there is no noise ceiling."""


def draw_units(units: np.ndarray, n_samples: int, *, seed: int) -> np.ndarray:
    """How often each row is in each bootstrap sample of units: (n,) -> (B, n) int.

    Units are drawn with replacement, with all their rows.

    Examples
    --------
    >>> draw_units(np.array(["x", "x", "y"]), 2, seed=0)
    array([[0, 0, 2],
           [1, 1, 1]])
    """
    codes = np.unique(units, return_inverse=True)[1]
    n_units = codes.max() + 1
    drawn = np.random.default_rng(seed).integers(n_units, size=(n_samples, n_units))
    counts = np.zeros((n_samples, n_units), dtype=np.int64)
    np.add.at(counts, (np.arange(n_samples)[:, None], drawn), 1)
    return counts[:, codes]


def bootstrap_similarity(
    matrices: np.ndarray, models: np.ndarray, counts: np.ndarray, units: np.ndarray, method: str
) -> np.ndarray:
    """The similarity of RDMs to models in bootstrap samples of stimuli.

    Pairs of copies of one unit, whose distance says nothing, do not count.

    Parameters
    ----------
    matrices : (L, n, n) RDMs, finite
    models : (K, n, n) model RDMs
    counts : (B, n) int, how often each row is in each sample, see `draw_units`
    units : (n,) unit of each row
    method : see `neurosae.arrays.rdm_comparison.similarity`

    Returns
    -------
    array (B, L, K); NaN where the entries drawn are all equal

    Source
    ------
    Nili et al. 2014, PLoS Comput Biol 10:e1003553; Schuett et al. 2023, eLife 12:e82566.

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 3.0, 7.0])
    >>> model = np.abs(x[:, None] - x)[None]
    >>> counts = np.array([[1, 1, 1, 1], [2, 0, 1, 1]])
    >>> bootstrap_similarity(model**2, model, counts, np.arange(4), "corr").round(3).ravel()
    array([0.98 , 0.998])
    """
    check_method(method)
    rows, columns = unit_pairs(matrices.shape[1], units)
    vectors, targets = unit_entries(matrices, units), unit_entries(models, units)
    step = max(1, _HELD // max(1, len(rows)))
    parts = []
    for start in range(0, len(counts), step):
        chunk = counts[start : start + step]
        weights = chunk[:, rows] * chunk[:, columns]
        parts.append(np.stack([selected_similarity(vectors, m, weights, method) for m in targets], axis=2))
    return np.concatenate(parts)


def bootstrap_t(estimate: np.ndarray, samples: np.ndarray, n_units: int) -> tuple[np.ndarray, ...]:
    """Interval and p of an estimate from its bootstrap standard error.

    estimate ± t(n_units - 1) se, p two-sided of estimate / se; se the SD over samples.

    Parameters
    ----------
    estimate : (...)
    samples : (B, ...); NaN samples are left out

    Returns
    -------
    lower bound, upper bound, p, each (...)

    Source
    ------
    Schuett et al. 2023, eLife 12:e82566.

    Examples
    --------
    >>> low, high, p = bootstrap_t(np.array(1.0), np.array([0.5, 1.0, 1.5]), 100)
    >>> float(low.round(2)), float(high.round(2)), float(p.round(3))
    (0.01, 1.99, 0.048)
    """
    se = np.nanstd(samples, axis=0, ddof=1)
    half = t.ppf(0.975, n_units - 1) * se
    ratio = np.divide(estimate, se, out=np.full(np.shape(estimate), np.nan), where=se > 0)
    return estimate - half, estimate + half, 2 * t.sf(np.abs(ratio), n_units - 1)


def holm_rows(p: np.ndarray) -> np.ndarray:
    """Corrected p-values (L, m), row by row: step-down m p_(1), (m - 1) p_(2), … never falling, at most 1.

    All rows at once, as statsmodels collects garbage at every call, which takes longer than the bootstrap.

    Source
    ------
    Holm 1979, Scand J Stat 6:65.

    Examples
    --------
    >>> holm_rows(np.array([[0.01, 0.04, 0.03]]))
    array([[0.03, 0.06, 0.06]])
    """
    order = np.argsort(p, axis=1)
    scaled = np.take_along_axis(p, order, axis=1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(scaled, axis=1), 1), axis=1)
    return adjusted


def ceiling(vectors: np.ndarray, method: str) -> tuple[float, float]:
    """How well the true model could do, given what RDMs of replications differ by.

    Lower bound: mean similarity of each RDM with the mean of the others; upper bound: with the mean of all.
    The mean is of ranks for rank methods, of standardised entries else.

    Parameters
    ----------
    vectors : (R, N) entries of RDMs of independent replications
    method : see `neurosae.arrays.rdm_comparison.similarity`

    Returns
    -------
    lower, upper; NaN for fewer than three RDMs

    Source
    ------
    Nili et al. 2014, PLoS Comput Biol 10:e1003553.

    Examples
    --------
    >>> vectors = np.array([[1.0, 2, 3, 4], [1, 2, 4, 3], [2, 1, 3, 4]])
    >>> [round(bound, 3) for bound in ceiling(vectors, "corr")]
    [0.79, 0.907]
    """
    check_method(method)
    if len(vectors) < FEWEST_RDMS:
        return np.nan, np.nan
    prepared = POOLED.get(method, _ranked)(np.asarray(vectors, dtype=float))
    total = prepared.sum(axis=0)
    lower, upper = (
        np.mean([similarity(row, pooled, method) for row, pooled in zip(vectors, models, strict=True)])
        for models in (total - prepared, np.broadcast_to(total, prepared.shape))
    )
    return float(lower), float(upper)


def _ranked(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(rankdata(vectors, axis=1))


def _standardised(vectors: np.ndarray) -> np.ndarray:
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    return np.asarray(centred / centred.std(axis=1, keepdims=True))


def _of_length_one(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


POOLED = {"corr": _standardised, "cosine": _of_length_one}
"""How RDMs are prepared before their mean is taken, where not by ranks."""
