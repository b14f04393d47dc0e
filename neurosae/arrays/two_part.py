"""Whether a feature that is often silent fires more often, and whether it fires more strongly.

z1 compares how often two conditions fire, z2 how they rank where both can fire, and X² = z1² + z2² asks
either. Rows are units of inference, or pairs of cells of one unit; columns are features.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from neurosae.arrays.contrast_null import row_blocks
from neurosae.arrays.effect_size import average_ranks, wilson_interval

FEWEST_FIRING = 5
"""Units that must fire in each condition (or pairs that fire in both) for the strength to be compared."""


@dataclass(frozen=True)
class TwoPartData:
    """What relabelings of the two parts act on, and the squared error of each sum.

    fires : (n, F) 1 where a unit fires, less the mean; or 1, 0, -1 of pairs
    ranks : (n, F) centred ranks among the firing units, 0 elsewhere; or signed ranks of pairs that both fire
    n_firing : (F,) units that fire (pairs: that both fire)
    spread_fires, spread_ranks : (F,) sums of squares of the two
    positive : (n, F) bool, which rows take part in the strength; None for pairs, where signs leave it as is
    """

    fires: np.ndarray
    ranks: np.ndarray
    n_firing: np.ndarray
    spread_fires: np.ndarray
    spread_ranks: np.ndarray
    positive: np.ndarray | None


def between_data(values: np.ndarray, theta: float) -> TwoPartData:
    """The two parts of units that each belong to one condition: (n, F) -> `TwoPartData`.

    Parameters
    ----------
    values : (n, F)
    theta : a unit fires if its value exceeds this
    """
    positive = values > theta
    k = positive.sum(axis=0)
    ranks = average_ranks(np.where(positive, values, -np.inf))
    # The silent units take the lowest ranks, so those of firing units follow on n - k.
    own = np.where(positive, ranks - (len(values) - k) - (k + 1) / 2, 0.0)
    fires = positive - k / len(values)
    return TwoPartData(fires, own, k, _squares(fires), _squares(own), positive)


def paired_data(first: np.ndarray, second: np.ndarray, theta: float) -> TwoPartData:
    """The two parts of units that hold both conditions: twice (U, F) -> `TwoPartData`."""
    a, b = first > theta, second > theta
    difference = np.where(a & b, first - second, 0.0)
    size = average_ranks(np.where(a & b, np.abs(difference), -np.inf))
    k = (a & b).sum(axis=0)
    ranks = np.sign(difference) * (size - (len(a) - k))
    fires = a.astype(float) - b
    return TwoPartData(fires, ranks, k, _squares(fires), _squares(ranks), None)


def between_parts(data: TwoPartData, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores z of firing and of strength in each labelling: twice (P, F).

    z1 = (p1 - p2) / √(p (1-p) (1/n1 + 1/n2)). z2 is the rank-sum z with the variance of its ties,
    k1 k2 / (k (k-1)) Σ (r - mean r)²; it is 0 unless both conditions have 5 firing units.

    Parameters
    ----------
    data : from `between_data`
    rows : (P, n) 1 for units of the first condition, else 0

    Source
    ------
    Lachenbruch 2001, Stat Med 20:1215.
    """
    n = rows.shape[1]
    n1 = rows[0].sum()
    kind = rows.astype(np.float64)
    # The z of proportions has variance n1 n2 / n² Σ d², that of relabelings n1 n2 / (n (n-1)) Σ d².
    z1 = _ratio(kind @ data.fires, data.spread_fires * n1 * (n - n1) / n**2)
    positive = np.zeros_like(data.ranks) if data.positive is None else data.positive.astype(np.float64)
    k1 = kind @ positive
    k, k2 = data.n_firing, data.n_firing - k1
    z2 = _ratio(kind @ data.ranks, data.spread_ranks * k1 * k2 / np.maximum(k * (k - 1), 1))
    return z1, np.where(np.minimum(k1, k2) >= FEWEST_FIRING, z2, 0.0)


def paired_parts(data: TwoPartData, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores z of firing (McNemar) and of strength (signed ranks) under signs (P, U) ±1: twice (P, F).

    z = Σ ±d / √Σ d², over pairs of which one fires, and over signed ranks of pairs of which both fire; z2 is
    0 unless 5 pairs both fire.

    Source
    ------
    McNemar 1947, Psychometrika 12:153; Lachenbruch 2001, Stat Med 20:1215.
    """
    signs = rows.astype(np.float64)
    z1 = _ratio(signs @ data.fires, data.spread_fires)
    z2 = _ratio(signs @ data.ranks, data.spread_ranks)
    return z1, np.where(data.n_firing >= FEWEST_FIRING, z2, 0.0)


def part_scores(
    parts: Callable[[TwoPartData, np.ndarray], tuple[np.ndarray, np.ndarray]],
    data: TwoPartData,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The two z of all labellings ``rows``, by `between_parts` or `paired_parts`: twice (P, F) float32."""
    first, second = np.empty((2, len(rows), len(data.n_firing)), dtype=np.float32)
    for block in row_blocks(len(rows)):
        first[block], second[block] = parts(data, rows[block])
    return first, second


def newcombe_interval(
    share1: np.ndarray, n1: int, share2: np.ndarray, n2: int, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence interval of a difference of two independent shares, from their Wilson intervals.

    Source
    ------
    Newcombe 1998, Stat Med 17:873, method 10.

    Examples
    --------
    >>> [round(float(bound), 4) for bound in newcombe_interval(56 / 70, 70, 48 / 80, 80)]
    [0.0524, 0.3339]
    """
    low1, high1 = wilson_interval(share1, n1, level=level)
    low2, high2 = wilson_interval(share2, n2, level=level)
    difference = share1 - share2
    lower = difference - np.sqrt((share1 - low1) ** 2 + (high2 - share2) ** 2)
    return lower, difference + np.sqrt((high1 - share1) ** 2 + (share2 - low2) ** 2)


def paired_share_interval(
    difference: np.ndarray, discordant: np.ndarray, n: int, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence interval of a difference of two shares of the same ``n`` units.

    Parameters
    ----------
    difference : (F,) share of the first less that of the second
    discordant : (F,) share of units that fire in one condition only

    Source
    ------
    Agresti & Min 2005, Stat Med 24:729 (half an observation added to each cell).
    """
    size = n + 2.0
    middle, apart = difference * n / size, (discordant * n + 1) / size
    half = ndtri((1 + level) / 2) * np.sqrt(np.maximum(apart - middle**2, 0) / size)
    return middle - half, middle + half


def log_odds_ratio(count1: np.ndarray, n1: int, count2: np.ndarray, n2: int) -> np.ndarray:
    """Log of the odds ratio of firing, one half added to each count so that it is finite.

    Source
    ------
    Haldane 1956, Ann Hum Genet 20:309.

    Examples
    --------
    >>> float(log_odds_ratio(np.array(5), 10, np.array(5), 10))
    0.0
    """
    first = np.log((count1 + 0.5) / (n1 - count1 + 0.5))
    return first - np.log((count2 + 0.5) / (n2 - count2 + 0.5))


def _ratio(sums: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.divide(sums, np.sqrt(variance), out=np.zeros_like(sums), where=variance > 0)


def _squares(columns: np.ndarray) -> np.ndarray:
    return np.einsum("nf,nf->f", columns, columns)
