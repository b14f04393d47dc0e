"""p-values of causal effects: against shams, and over units of inference."""

import numpy as np

from neurosae.arrays.permutation import p_value, sign_flips

N_PERMUTATIONS = 9999


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
