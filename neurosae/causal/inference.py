"""p-values of causal effects: against shams, and over units of inference."""

import numpy as np

from neurosae.arrays.permutation import p_value, relabel, sign_flips

_NARROW = 1e-9
"""Smallest SD over the others, in SD over all, so that a region unlike its equal others has a finite z."""

N_PERMUTATIONS = 9999
_N_BOOT = 2000


def against_shams(effect: np.ndarray, effect_sham: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How unusual an effect is among those of its shams: rank p and standardised effect.

    p = (1 + #{r : |E_r - c| >= |E - c|}) / (R + 1), two-sided about c, the mean over shams and target
    together: had the target been drawn like a sham, p would be uniform. z = (E - mean E_r) / SD E_r, ddof 1.

    Parameters
    ----------
    effect : (...) of the target
    effect_sham : (R, ...) of the shams, NaN where there is none

    Returns
    -------
    p : (...), NaN without shams; not corrected for multiple comparisons
    z : (...) in SD over shams; NaN if they are fewer than two or do not differ

    Source
    ------
    Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39.

    Examples
    --------
    >>> p, z = against_shams(np.array(9.0), np.array([-1.0, 0.0, 1.0]))
    >>> float(p), float(z)
    (0.25, 9.0)
    """
    effect = np.asarray(effect, dtype=float)
    shams = effect_sham[~np.isnan(effect_sham).reshape(len(effect_sham), -1).all(axis=1)]
    if not len(shams):
        return np.full(effect.shape, np.nan), np.full(effect.shape, np.nan)
    centre = (shams.sum(axis=0) + effect) / (len(shams) + 1)
    p = p_value(effect - centre, shams - centre, exact=False)
    spread = shams.std(axis=0, ddof=1) if len(shams) > 1 else np.zeros(effect.shape)
    return p, (effect - shams.mean(axis=0)) / np.where(spread > 0, spread, np.nan)


def against_others(effects: np.ndarray) -> np.ndarray:
    """The standardised effect of each region had the others been its shams: (region, ...) -> (region, ...).

    z_i = (E_i - mean of the others) / SD of the others, ddof 1. For the target it is the z of
    `against_shams`. All regions are treated alike, so that ranks of what is computed from z are fair.

    Parameters
    ----------
    effects : (region, ...) of three regions or more, which are not all equal

    Examples
    --------
    >>> against_others(np.array([9.0, -1.0, 0.0, 1.0])).round(2).tolist()
    [9.0, -0.88, -0.57, -0.3]
    """
    n = len(effects)
    others = np.stack([np.delete(effects, region, axis=0) for region in range(n)])
    spread = np.maximum(others.std(axis=1, ddof=1), _NARROW * effects.std(axis=0, ddof=1))
    return (effects - others.mean(axis=1)) / spread


def sign_flip_p(differences: np.ndarray, *, seed: int) -> np.ndarray:
    """Two-sided p that the mean over units is zero, from sign flips: (unit, ...) -> (...).

    Examples
    --------
    >>> float(sign_flip_p(np.ones(4), seed=0))
    0.125
    """
    differences = np.asarray(differences, dtype=float)
    flips = sign_flips(len(differences), N_PERMUTATIONS, seed=seed)
    null = np.tensordot(flips.labels, differences, axes=1) / len(differences)
    return p_value(differences.mean(axis=0), null, exact=flips.exact)


def difference_ci(first: np.ndarray, second: np.ndarray, *, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the difference of two means, units drawn within each sample.

    Parameters
    ----------
    first : (n,); second : (m,)

    Examples
    --------
    >>> difference_ci(np.ones(3), np.zeros(4), seed=0)
    (1.0, 1.0)
    """
    streams = np.random.SeedSequence(seed).spawn(2)
    means = []
    for values, stream in zip((first, second), streams, strict=True):
        n = len(values)
        means.append(np.random.default_rng(stream).multinomial(n, np.full(n, 1 / n), _N_BOOT) @ values / n)
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    return float(low), float(high)


def welch_permutation(
    first: np.ndarray, second: np.ndarray, n_permutations: int, *, seed: int
) -> tuple[float, float]:
    """Welch's t between two samples of units, with its two-sided p over permutations of units between them.

    Parameters
    ----------
    first : (n,); second : (m,)

    Source
    ------
    Janssen 1997, Stat Probab Lett 36:9 (studentised permutation test of Welch's t).

    Examples
    --------
    >>> t, p = welch_permutation(np.array([5.0, 6.0, 7.0]), np.array([1.0, 2.0, 3.0]), 99, seed=0)
    >>> round(t, 2), p
    (4.9, 0.1)
    """
    values = np.concatenate([first, second])
    labels = np.repeat([1, 0], [len(first), len(second)])
    relabelings = relabel(labels, n_permutations, seed=seed)
    stat = _welch_t(values, labels[None])[0]
    p = p_value(stat, _welch_t(values, relabelings.labels), exact=relabelings.exact)
    return float(stat), float(p)


def _welch_t(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Welch t of rows labelled 1 against rows labelled 0: values (n,), labels (P, n) -> (P,)."""
    means, errors = [], []
    for label in (1, 0):
        chosen = labels == label
        n = chosen.sum(axis=1)
        mean = chosen @ values / n
        means.append(mean)
        errors.append((np.square(values[None] - mean[:, None]) * chosen).sum(axis=1) / (n - 1) / n)
    difference, error = means[0] - means[1], np.sqrt(errors[0] + errors[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error > 0, difference / error, np.sign(difference) * np.inf)
