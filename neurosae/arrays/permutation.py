"""Which relabelings a design allows, and the p-values they give: the one permutation engine.

Exchangeability is declared (strata, blocks, signs), never guessed. Few distinct relabelings are enumerated
and give exact p-values; many are sampled. Sampled ones come in blocks of fixed size with their own seeds, so
the first hundred of a thousand are the same hundred that a shorter run uses.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from math import factorial, prod

import numpy as np
from scipy.special import betaincinv

from neurosae.errors import DesignError

_BLOCK = 64
"""Relabelings drawn from one spawned seed."""

_TOLERANCE = 1e-12
"""Relative slack of comparisons, so that rounding does not break ties with the observed statistic."""


@dataclass(frozen=True)
class Relabelings:
    """Labels of each relabeling, (P, n); ``exact`` if all distinct ones are there, the observed as row 0."""

    labels: np.ndarray
    exact: bool
    scheme: str

    def __len__(self) -> int:
        return len(self.labels)


def relabel(
    labels: np.ndarray,
    n_permutations: int,
    *,
    seed: int,
    strata: np.ndarray | None = None,
    blocks: np.ndarray | None = None,
) -> Relabelings:
    """How else the labels could have fallen, had the condition no effect.

    Parameters
    ----------
    labels : (n,) int, the observed labels
    n_permutations : if the distinct relabelings are at most this many they are enumerated, else this many are
        drawn at random (the observed one not included)
    seed : root of the random numbers
    strata : (n,) labels move within a stratum only
    blocks : (n,) rows of one block move together; blocks exchange with blocks of equal size in their stratum

    Returns
    -------
    Relabelings
        ``labels`` (P, n), scheme ``"between"``, ``"within strata"``, ``"blocks"`` or both.

    Raises
    ------
    DesignError
        If a block holds several labels or several strata, or ``n_permutations`` is below 1.

    Source
    ------
    Winkler et al. 2014, NeuroImage 92:381 (exchangeability blocks).

    Examples
    --------
    >>> relabel(np.array([0, 0, 1]), 99, seed=0).labels
    array([[0, 0, 1],
           [0, 1, 0],
           [1, 0, 0]])
    """
    labels = np.asarray(labels)
    _check_count(n_permutations)
    sets = _exchangeable_sets(labels, strata, blocks)
    scheme = _scheme(strata, blocks)
    if _count(labels, sets) <= n_permutations:
        return Relabelings(_enumerate(labels, sets), True, scheme)
    drawn = [_draw(labels, sets, rng, _BLOCK) for rng in _generators(n_permutations, seed)]
    return Relabelings(np.concatenate(drawn)[:n_permutations], False, scheme)


def count_relabelings(
    labels: np.ndarray, *, strata: np.ndarray | None = None, blocks: np.ndarray | None = None
) -> int:
    """How many distinct relabelings the design allows, the observed one included.

    Examples
    --------
    >>> count_relabelings(np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    70
    """
    labels = np.asarray(labels)
    return _count(labels, _exchangeable_sets(labels, strata, blocks))


def sign_flips(n: int, n_permutations: int, *, seed: int) -> Relabelings:
    """Signs that n paired differences could have had, had the condition no effect: (P, n) of ±1.

    All 2**n are enumerated if they are at most ``n_permutations``; scheme ``"paired"``.

    Examples
    --------
    >>> sign_flips(2, 99, seed=0).labels
    array([[ 1,  1],
           [ 1, -1],
           [-1,  1],
           [-1, -1]])
    """
    _check_count(n_permutations)
    if 2**n <= n_permutations:
        return Relabelings(np.array(list(product((1, -1), repeat=n))), True, "paired")
    drawn = [rng.choice(np.array([1, -1]), (_BLOCK, n)) for rng in _generators(n_permutations, seed)]
    return Relabelings(np.concatenate(drawn)[:n_permutations], False, "paired")


def orders(n: int, n_permutations: int, *, seed: int, strata: np.ndarray | None = None) -> Relabelings:
    """Orders that n rows could have had: each row of ``labels`` (P, n) is a permutation of 0 … n-1.

    Examples
    --------
    >>> orders(3, 5, seed=0).labels.shape
    (5, 3)
    """
    return relabel(np.arange(n), n_permutations, seed=seed, strata=strata)


def p_value(
    observed: np.ndarray | float, null: np.ndarray, *, exact: bool, alternative: str = "two-sided"
) -> np.ndarray:
    """How often a relabeling gives a statistic at least as extreme as the observed one.

    p = (1 + #{null >= observed}) / (P + 1), or #{null >= observed} / P if ``exact``; never 0.

    Parameters
    ----------
    observed : (...) statistic; NaN gives NaN
    null : (P, ...) statistic of each relabeling
    exact : True if ``null`` covers all relabelings, the observed one as row 0
    alternative : ``"two-sided"`` compares absolute values, ``"greater"`` signed ones

    Returns
    -------
    array (...) in (0, 1], not corrected for multiple comparisons

    Source
    ------
    Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39.

    Examples
    --------
    >>> float(p_value(2.0, np.array([-3.0, 0.0, 1.0]), exact=False))
    0.5
    """
    observed, null = np.asarray(observed, dtype=float), np.asarray(null)
    if alternative not in ("two-sided", "greater"):
        raise DesignError(f"alternative {alternative!r}: write 'two-sided' or 'greater'.")
    if alternative == "two-sided":
        observed, null = np.abs(observed), np.abs(null)
    n_exceeding = (null >= observed - _TOLERANCE * np.abs(observed)).sum(axis=0)
    return exceedance_p(np.where(np.isnan(observed), np.nan, n_exceeding), len(null), exact=exact)


def exceedance_p(n_exceeding: np.ndarray, n_null: int, *, exact: bool) -> np.ndarray:
    """p-values from counts of relabelings at least as extreme as the observed labels, see `p_value`."""
    return n_exceeding / n_null if exact else (1 + n_exceeding) / (n_null + 1)


def exceedance_interval(
    n_exceeding: np.ndarray, n_null: int, *, exact: bool, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Where p would lie had all relabelings been drawn: an interval that covers it with ``level``.

    The share of relabelings that reach the observed statistic is a binomial proportion. Exact p-values have
    no such error: both bounds are p.

    Parameters
    ----------
    n_exceeding : (...) relabelings that reach the observed statistic; NaN gives NaN
    n_null : number of relabelings drawn
    exact : True if they are all relabelings

    Source
    ------
    Clopper & Pearson 1934, Biometrika 26:404.

    Examples
    --------
    >>> [round(float(bound), 4) for bound in exceedance_interval(np.array(49.0), 999, exact=False)]
    [0.0365, 0.0643]
    """
    n_exceeding = np.asarray(n_exceeding, dtype=float)
    if exact:
        return n_exceeding / n_null, n_exceeding / n_null
    count, tail = np.arange(n_null + 1), (1 - level) / 2
    low = betaincinv(np.maximum(count, 1), n_null - count + 1, tail) * (count > 0)
    high = np.where(count < n_null, betaincinv(count + 1, np.maximum(n_null - count, 1), 1 - tail), 1.0)
    known = np.nan_to_num(n_exceeding).astype(int)
    missing = np.isnan(n_exceeding)
    return np.where(missing, np.nan, low[known]), np.where(missing, np.nan, high[known])


def max_statistic_p(observed: np.ndarray, null_max: np.ndarray, *, exact: bool) -> np.ndarray:
    """p-values corrected for the family: how often a relabeling's largest statistic reaches each observed.

    Parameters
    ----------
    observed : (m,) statistics on the scale on which large is extreme (take absolute values if two-sided)
    null_max : (P,) maximum over the same family for each relabeling
    exact : True if ``null_max`` covers all relabelings, the observed one as row 0

    Returns
    -------
    (m,) family-wise p; NaN where ``observed`` is NaN

    Source
    ------
    Westfall & Young 1993; Nichols & Holmes 2002, Hum Brain Mapp 15:1.

    Examples
    --------
    >>> max_statistic_p(np.array([5.0, 1.0]), np.array([2.0, 3.0, 4.0]), exact=False)
    array([0.25, 1.  ])
    """
    observed = np.asarray(observed, dtype=float)
    threshold = observed - _TOLERANCE * np.abs(observed)
    n_exceeding = len(null_max) - np.searchsorted(np.sort(null_max), threshold, side="left")
    return exceedance_p(np.where(np.isnan(observed), np.nan, n_exceeding), len(null_max), exact=exact)


def _check_count(n_permutations: int) -> None:
    if n_permutations < 1:
        raise DesignError(f"n_permutations is {n_permutations}; it must be at least 1.")


def _scheme(strata: np.ndarray | None, blocks: np.ndarray | None) -> str:
    within = "" if strata is None else "within strata"
    together = "" if blocks is None else "blocks"
    return " ".join(part for part in (together, within) if part) or "between"


def _generators(n_permutations: int, seed: int) -> Iterable[np.random.Generator]:
    n_blocks = -(-n_permutations // _BLOCK)
    return (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(n_blocks))


def _exchangeable_sets(
    labels: np.ndarray, strata: np.ndarray | None, blocks: np.ndarray | None
) -> list[np.ndarray]:
    """Sets of blocks that may exchange labels: each an int array (block, row of the block)."""
    n = len(labels)
    stratum = np.zeros(n, dtype=int) if strata is None else np.unique(strata, return_inverse=True)[1]
    block = np.arange(n) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    if blocks is not None:
        _check_constant(labels, block, "label")
        _check_constant(stratum, block, "stratum")
    by_block = np.split(np.argsort(block, kind="stable"), np.cumsum(np.bincount(block))[:-1])
    sets: dict[tuple[int, int], list[np.ndarray]] = {}
    for rows in by_block:
        sets.setdefault((int(stratum[rows[0]]), len(rows)), []).append(rows)
    return [np.stack(members) for members in sets.values()]


def _check_constant(values: np.ndarray, block: np.ndarray, what: str) -> None:
    first = values[np.unique(block, return_index=True)[1]]
    n_mixed = len(np.unique(block[values != first[block]]))
    if n_mixed:
        raise DesignError(
            f"{n_mixed} blocks hold more than one {what}; a block moves as a whole, so give it one {what}, "
            "or permute within it (strata)."
        )


def _count(labels: np.ndarray, sets: list[np.ndarray]) -> int:
    return prod(_n_arrangements(labels[members[:, 0]]) for members in sets)


def _n_arrangements(labels: np.ndarray) -> int:
    counts = np.unique(labels, return_counts=True)[1]
    return factorial(len(labels)) // prod(factorial(int(count)) for count in counts)


def _enumerate(labels: np.ndarray, sets: list[np.ndarray]) -> np.ndarray:
    per_set = [_arrangements(labels[members[:, 0]]) for members in sets]
    choices = np.indices([len(arrangements) for arrangements in per_set]).reshape(len(sets), -1)
    everything = np.tile(labels, (choices.shape[1], 1))
    for members, arrangements, choice in zip(sets, per_set, choices, strict=True):
        everything[:, members] = arrangements[choice][:, :, None]
    is_observed = (everything == labels).all(axis=1)
    return np.concatenate([everything[is_observed], everything[~is_observed]])


def _arrangements(labels: np.ndarray) -> np.ndarray:
    """All distinct orders of ``labels``, (number of orders, len(labels)), one first label after the other."""
    if len(labels) <= 1:
        return labels[None, :]
    parts = []
    for first in np.unique(labels):
        rest = np.delete(np.sort(labels), np.searchsorted(np.sort(labels), first))
        tails = _arrangements(rest)
        parts.append(np.column_stack([np.full(len(tails), first), tails]))
    return np.concatenate(parts)


def _draw(labels: np.ndarray, sets: list[np.ndarray], rng: np.random.Generator, n_draws: int) -> np.ndarray:
    drawn = np.tile(labels, (n_draws, 1))
    for members in sets:
        own = np.tile(labels[members[:, 0]], (n_draws, 1))
        drawn[:, members] = rng.permuted(own, axis=1)[:, :, None]
    return drawn
