"""Which features are active in the same units? Counts of pairs from sparse products, block by block.

Only pairs that are active together at least once are ever looked at; no (feature, feature) matrix is filled.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.stats import hypergeom

_BLOCK = 256
"""Features whose pairs with all others are counted at a time."""

_TRADES = 5
"""Trades for each row between two draws; Strona et al. 2014 found five enough to mix."""


@dataclass(frozen=True)
class Pairs:
    """Features i and j, the units in which both are active (all (m,)), and units of each feature (F,), n."""

    first: np.ndarray
    second: np.ndarray
    both: np.ndarray
    count: np.ndarray
    n: int


def phi(pairs: Pairs) -> np.ndarray:
    """Correlation of the two features' activity: (n x - a b) / √(a b (n - a)(n - b)), in [-1, 1].

    Examples
    --------
    >>> phi(Pairs(np.array([0]), np.array([1]), np.array([2]), np.array([2, 2]), 4))
    array([1.])
    """
    a, b, x, n = *_margins(pairs), pairs.both, pairs.n
    return (n * x - a * b) / np.sqrt(a * b * (n - a) * (n - b))


def lift(pairs: Pairs) -> np.ndarray:
    """How many times as often as expected both are active: P(ij) / (P(i) P(j)) = n x / (a b).

    Examples
    --------
    >>> lift(Pairs(np.array([0]), np.array([1]), np.array([2]), np.array([2, 2]), 4))
    array([2.])
    """
    a, b = _margins(pairs)
    return pairs.n * pairs.both / (a * b)


def odds_ratio(pairs: Pairs) -> np.ndarray:
    """Odds of j where i is active, over those where it is not, 0.5 added to each cell (Haldane 1956).

    Examples
    --------
    >>> odds_ratio(Pairs(np.array([0]), np.array([1]), np.array([2]), np.array([2, 2]), 4))
    array([25.])
    """
    a, b, x, n = *_margins(pairs), pairs.both, pairs.n
    return (x + 0.5) * (n - a - b + x + 0.5) / ((a - x + 0.5) * (b - x + 0.5))


def conditional(pairs: Pairs) -> np.ndarray:
    """Share of the units of the first feature in which the second is active: P(j | i) = x / a.

    Examples
    --------
    >>> conditional(Pairs(np.array([0]), np.array([1]), np.array([1]), np.array([2, 4]), 8))
    array([0.5])
    """
    return pairs.both / _margins(pairs)[0]


ASSOCIATIONS: dict[str, Callable[[Pairs], np.ndarray]] = {
    "phi": phi,
    "lift": lift,
    "odds_ratio": odds_ratio,
    "conditional": conditional,
}
"""How closely two features go together, by name."""


def _margins(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    count = pairs.count.astype(float)
    return count[pairs.first], count[pairs.second]


def expected(pairs: Pairs) -> np.ndarray:
    """Units in which both would be active if features were independent: a b / n."""
    a, b = _margins(pairs)
    return a * b / pairs.n


def coactive_pairs(active: sp.csc_array, feature: int | None = None) -> Iterator[Pairs]:
    """Pairs active together somewhere, with at least one unit expected, block by block.

    Parameters
    ----------
    active : (n, F) 0 or 1
    feature : only pairs whose first is this one; by default each pair once, first < second

    Yields
    ------
    Pairs
        Features that are active everywhere have no pairs: nothing can be told of them.
    """
    n, n_features = active.shape
    count = np.asarray(active.sum(axis=0)).ravel().astype(np.int64)
    ones = active.astype(np.float32)
    starts = range(0, n_features, _BLOCK) if feature is None else [feature]
    for start in starts:
        stop = min(start + _BLOCK, n_features) if feature is None else start + 1
        counted = sp.coo_array(ones[:, start:stop].T @ ones)
        first, second = counted.coords[0] + start, counted.coords[1]
        wanted = second > first if feature is None else second != first
        wanted &= (count[first] * count[second] >= n) & (count[first] < n) & (count[second] < n)
        both = counted.data[wanted].astype(np.int64)
        yield Pairs(first[wanted], second[wanted], both, count, n)


def family_size(count: np.ndarray, n: int, feature: int | None = None) -> int:
    """Number of pairs with at least one unit expected, active together or not.

    Examples
    --------
    >>> family_size(np.array([2, 2, 1, 4]), 4)
    1
    """
    usable = np.sort(count[(count > 0) & (count < n)])
    if feature is not None:
        own = count[feature]
        return int((usable * own >= n).sum() - (own * own >= n)) if 0 < own < n else 0
    first_partner = np.searchsorted(usable, -(-n // np.maximum(usable, 1)))
    ordered = (len(usable) - first_partner).sum() - (usable**2 >= n).sum()
    return int(ordered // 2)


def strongest_pairs(
    active: sp.csc_array, measure: str, n_pairs: int, feature: int | None = None
) -> tuple[Pairs, np.ndarray]:
    """The pairs of the largest association, strongest first, and a table of all counts for `fisher_p`.

    Parameters
    ----------
    active : (n, F) 0 or 1
    measure : one of ``ASSOCIATIONS``
    n_pairs : how many; fewer if there are fewer. Ties in the order of the features
    feature : only partners of this one

    Returns
    -------
    pairs, and counts (4, T) of every kind of pair: a <= b, x, and how many pairs are of that kind
    """
    n_features, n = active.shape[1], active.shape[0]
    nothing = np.zeros(0, dtype=np.int64)
    best, kinds = Pairs(nothing, nothing, nothing, np.zeros(n_features, dtype=np.int64), n), []
    for pairs in coactive_pairs(active, feature):
        kinds.append(_kinds(pairs))
        best = _merged(best, pairs, measure, n_pairs)
    every = np.concatenate(kinds, axis=1)
    unique, place = np.unique(every[:3], axis=1, return_inverse=True)
    number = np.bincount(place.ravel(), weights=every[3], minlength=unique.shape[1])
    return best, np.concatenate([unique, number[None].astype(np.int64)])


def _kinds(pairs: Pairs) -> np.ndarray:
    a, b = pairs.count[pairs.first], pairs.count[pairs.second]
    triples = np.stack([np.minimum(a, b), np.maximum(a, b), pairs.both])
    base = pairs.n + 1
    keys, number = np.unique((triples[0] * base + triples[1]) * base + triples[2], return_counts=True)
    return np.stack([keys // base**2, keys // base % base, keys % base, number])


def _merged(best: Pairs, pairs: Pairs, measure: str, n_pairs: int) -> Pairs:
    first = np.concatenate([best.first, pairs.first])
    second = np.concatenate([best.second, pairs.second])
    joined = replace(pairs, first=first, second=second, both=np.concatenate([best.both, pairs.both]))
    order = np.lexsort((second, first, -ASSOCIATIONS[measure](joined)))[:n_pairs]
    return replace(pairs, first=first[order], second=second[order], both=joined.both[order])


def fisher_p(a: np.ndarray, b: np.ndarray, both: np.ndarray, n: int) -> np.ndarray:
    """P of at least ``both`` shared units if activity of the features is independent, Fisher's exact test.

    Examples
    --------
    >>> fisher_p(np.array([3]), np.array([3]), np.array([3]), 6)
    array([0.05])
    """
    return np.asarray(hypergeom.sf(both - 1, n, a, b))


def adjusted_kinds(p: np.ndarray, number: np.ndarray, family: int) -> np.ndarray:
    """Benjamini-Hochberg q of kinds of pairs, of which there are ``number`` each, in a family of ``family``.

    Pairs of the family that are never active together have p = 1 and need not be listed.

    Examples
    --------
    >>> adjusted_kinds(np.array([0.04, 0.001]), np.array([2, 1]), 10).round(3)
    array([0.133, 0.01 ])
    """
    order = np.argsort(p)
    rank = np.cumsum(number[order])
    q = np.minimum.accumulate((p[order] * family / rank)[::-1])[::-1]
    adjusted = np.empty_like(q)
    adjusted[order] = np.minimum(q, 1.0)
    return adjusted


def traded(active: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another activity with the same number of features in each unit and of units for each feature.

    Pairs of rows trade the features that only one of them has, each keeping its number (curveball).

    Parameters
    ----------
    active : (n, F) bool
    rng : source of the trades

    Source
    ------
    Strona et al. 2014, Nat Commun 5:4114.

    Examples
    --------
    >>> before = np.random.default_rng(0).random((6, 20)) < 0.3
    >>> after = traded(before, np.random.default_rng(1))
    >>> (after.sum(axis=0) == before.sum(axis=0)).all() and (after.sum(axis=1) == before.sum(axis=1)).all()
    np.True_
    """
    active = active.copy()
    for _ in range(_TRADES * len(active)):
        one, other = rng.choice(len(active), 2, replace=False)
        owned = np.flatnonzero(active[one] != active[other])
        n_first = int(active[one, owned].sum())
        taken = rng.permutation(owned)[:n_first]
        active[one, owned], active[other, owned] = False, True
        active[one, taken], active[other, taken] = True, False
    return active
