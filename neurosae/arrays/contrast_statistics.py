"""The observed statistics of a contrast, per feature: effect, standard error, t, effect size.

Rows are units of inference, columns features. The null distributions are in
`neurosae.arrays.contrast_null`.
"""

from dataclasses import dataclass

import numpy as np

from neurosae.arrays.effect_size import (
    auroc,
    auroc_interval,
    average_ranks,
    small_sample_factor,
    standardised_interval,
)

NO_VARIANCE = 1e-12
"""Share of the total variance below which the variance within cells counts as none."""


@dataclass(frozen=True)
class Estimate:
    """Statistics of one contrast, each (F,); NaN where there is no variance within cells.

    effect : contrast of the means, in units of the response; se : its standard error
    stat, df : test statistic and its degrees of freedom
    es, es_lo, es_hi : effect size with its 95 % interval
    """

    effect: np.ndarray
    se: np.ndarray
    stat: np.ndarray
    df: np.ndarray
    es: np.ndarray
    es_lo: np.ndarray
    es_hi: np.ndarray


@dataclass(frozen=True)
class _Cells:
    """Moments of each cell (K, F), and of the contrast."""

    n: np.ndarray
    weights: np.ndarray
    effect: np.ndarray
    variance: np.ndarray
    pooled: np.ndarray


def cell_estimate(
    centred: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, equal_variance: bool
) -> Estimate:
    """Whether a weighted difference of cell means differs from 0: Welch's or the pooled t, with Hedges g.

    effect = Σ w_k m_k. Welch: se² = Σ w_k² s_k²/n_k with Satterthwaite's df,
    se⁴ / Σ (w_k² s_k²/n_k)²/(n_k-1).
    Pooled: se² = s² Σ w_k²/n_k, s² = Σ (n_k-1) s_k² / (n-K). g = J(n-K) effect / s.

    Parameters
    ----------
    centred : (n, F) float64, columns with mean 0
    labels : (n,) int, cell of each row, 0 … K-1
    weights : (K,) summing to 0
    equal_variance : True for the pooled t

    Returns
    -------
    Estimate

    Source
    ------
    Welch 1947, Biometrika 34:28; Satterthwaite 1946, Biometrics Bull 2:110; Hedges 1981, J Educ Stat 6:107.

    Examples
    --------
    >>> y = np.array([[1.0], [2.0], [3.0], [-3.0], [-2.0], [-1.0]])
    >>> found = cell_estimate(y, np.array([0, 0, 0, 1, 1, 1]), np.array([1, -1]), equal_variance=False)
    >>> found.stat.round(3), found.df
    (array([4.899]), array([4.]))
    """
    cells = _cells(centred, labels, weights)
    se, df = (_pooled_error if equal_variance else _welch_error)(cells)
    g, lower, upper = standardised_effect(
        cells.effect,
        np.sqrt(cells.pooled),
        len(labels) - len(cells.n),
        (weights**2 / cells.n).sum(),
        len(labels),
    )
    return Estimate(cells.effect, se, cells.effect / se, df, g, lower, upper)


def rank_estimate(
    centred: np.ndarray, ranks: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> Estimate:
    """Whether one side of a contrast ranks above the other: pooled t of ranks, with the AUROC.

    The order of relabelings by |t| is that of the Mann-Whitney U with ties. ``effect`` and ``se`` (Welch)
    stay in units of the response.

    Parameters
    ----------
    centred : (n, F) float64, columns with mean 0
    ranks : (n, F) average ranks of the columns, mean 0
    labels, weights : as in `cell_estimate`

    Returns
    -------
    Estimate
        ``es`` is the AUROC; with more than two cells the weighted mean over pairs of a positive and a
        negative cell.

    Source
    ------
    Conover & Iman 1981, Am Stat 35:124.
    """
    raw = cell_estimate(centred, labels, weights, equal_variance=False)
    n = np.bincount(labels)
    stat = _rank_t(ranks, labels, weights)
    area = np.where(np.isfinite(stat), _pairwise_auroc(ranks, labels, weights), np.nan)
    lower, upper = auroc_interval(area, n[weights > 0].sum(), n[weights < 0].sum())
    df = np.full(len(stat), float(len(labels) - len(n)))
    return Estimate(raw.effect, raw.se, stat, df, area, lower, upper)


def centred_ranks(values: np.ndarray) -> np.ndarray:
    """Average ranks of each column less their mean: (n, F) float32, multiples of one half."""
    return average_ranks(values) - np.float32((len(values) + 1) / 2)


def standardised_effect(
    effect: np.ndarray, s: np.ndarray, df: int, leverage: float, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hedges g = J(df) effect / s with its 95 % interval, see `neurosae.arrays.effect_size`."""
    g = small_sample_factor(df) * effect / s
    return g, *standardised_interval(g, leverage, n)


def _cells(centred: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> _Cells:
    n = np.bincount(labels)
    member = (labels == np.arange(len(n))[:, None]).astype(float)
    sums, squares = member @ centred, member @ np.square(centred)
    within = np.maximum(squares - sums**2 / n[:, None], 0)
    variance = within / (n[:, None] - 1)
    pooled = within.sum(axis=0) / (len(labels) - len(n))
    has_variance = within.sum(axis=0) > NO_VARIANCE * squares.sum(axis=0)
    return _Cells(n, weights, (weights / n) @ sums, variance, np.where(has_variance, pooled, np.nan))


def _pooled_error(cells: _Cells) -> tuple[np.ndarray, np.ndarray]:
    se = np.sqrt(cells.pooled * (cells.weights**2 / cells.n).sum())
    return se, np.full(len(se), float(cells.n.sum() - len(cells.n)))


def _welch_error(cells: _Cells) -> tuple[np.ndarray, np.ndarray]:
    parts = cells.variance * (cells.weights**2 / cells.n)[:, None]
    total = np.where(np.isnan(cells.pooled), np.nan, parts.sum(axis=0))
    return np.sqrt(total), total**2 / (parts**2 / (cells.n[:, None] - 1)).sum(axis=0).clip(min=1e-300)


def _rank_t(ranks: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pooled t of centred ranks: (F,). Their sums are multiples of one half, exact in float32."""
    n = np.bincount(labels)
    member = (labels == np.arange(len(n))[:, None]).astype(ranks.dtype)
    sums = (member @ ranks).astype(np.float64)
    squares = np.einsum("nf,nf->f", ranks, ranks, dtype=np.float64)
    within = squares - (sums**2 / n[:, None]).sum(axis=0)
    spread = np.where(within > NO_VARIANCE * squares, within, np.nan) / (len(labels) - len(n))
    return (weights / n) @ sums / np.sqrt(spread * (weights**2 / n).sum())


def _pairwise_auroc(ranks: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = np.zeros(ranks.shape[1])
    if len(weights) == 2:
        n = np.bincount(labels)
        positive = int(np.argmax(weights))
        # The ranks are centred, so their sum over one cell is U less its expectation.
        return ranks[labels == positive].sum(axis=0, dtype=float) / n.prod() + 0.5
    pairs = [(i, j) for i in np.flatnonzero(weights > 0) for j in np.flatnonzero(weights < 0)]
    for i, j in pairs:
        rows = (labels == i) | (labels == j)
        total += -weights[i] * weights[j] * auroc(ranks[rows], labels[rows] == i)
    return total / sum(-weights[i] * weights[j] for i, j in pairs)
