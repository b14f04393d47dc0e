"""What the cells say about the hypotheses: within each concept over folds, across concepts over concepts.

The second level is the confirmatory one. One concept, however many items it has, cannot decide.
"""

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

import numpy as np
from scipy import stats

from neurosae.analysis.decoder_comparison import ROPE
from neurosae.analysis.pipeline_cells import AXES, CODES, RANDOM, RAW, SEED_SELECTORS, THINNED
from neurosae.arrays.correction import adjust
from neurosae.arrays.fold_comparison import corrected_resampled_t, correlated_posterior
from neurosae.arrays.permutation import p_value, sign_flips

FEWEST_CONCEPTS = 10
DECIDED = 0.95
CONFIRMATORY = ("H1", "H2", "H3")

_SMALLEST_EFFECT = 0.03
"""Difference of AUROC for which the number of concepts needed is computed, power .8, two-sided .05."""

Weights = Mapping[tuple[str, str], float]


def _over(spaces: tuple[str, ...], selectors: Mapping[str, float]) -> dict[tuple[str, str], float]:
    return {(space, name): w / len(spaces) for space in spaces for name, w in selectors.items()}


def _between(one: str, other: str) -> dict[tuple[str, str], float]:
    share = 1 / len(SEED_SELECTORS)
    return {(s, name): sign * share for s, sign in ((one, 1), (other, -1)) for name in SEED_SELECTORS}


_RSA_AGAINST_MAX = {"CMI": 0.5, "CDI": 0.5, "max": -1.0}

HYPOTHESES: dict[str, tuple[str, Weights]] = {
    "H1": ("RSA selectors (CMI, CDI) minus max", _over((RAW, CODES), _RSA_AGAINST_MAX)),
    "H2": ("codes minus raw", _between(CODES, RAW)),
    "H3": ("CDI minus CMI", _over((RAW, CODES), {"CDI": 1.0, "CMI": -1.0})),
    "RSA_univariate": (
        "RSA selectors minus welch",
        _over((RAW, CODES), {"CMI": 0.5, "CDI": 0.5, "welch": -1.0}),
    ),
    "interaction": (
        "RSA selectors minus max, in codes minus in raw",
        _over((CODES,), _RSA_AGAINST_MAX) | {k: -w for k, w in _over((RAW,), _RSA_AGAINST_MAX).items()},
    ),
    "codes_random": ("codes minus codes of random weights", _between(CODES, RANDOM)),
    "thinned_raw": ("as many codes as units, minus raw", _between(THINNED, RAW)),
    "axes_raw": ("principal axes minus raw", _between(AXES, RAW)),
}
"""Contrast of cells by name: what it says, and the weight of each (space, selector)."""


class Across(NamedTuple):
    """One contrast over concepts: mean with its 95 % interval, p, posterior and numbers of concepts."""

    effect: float
    low: float
    high: float
    p: float
    wilcoxon_p: float
    p_left: float
    p_rope: float
    p_right: float
    n_concepts: int
    n_same_sign: int
    n_needed: int


def contrast_folds(
    auroc: np.ndarray, spaces: list[str], selectors: list[str], weights: Weights
) -> np.ndarray:
    """The contrast in each fold, (concept, J), of AUROCs (concept, space, selector, J), or NaN."""
    if any(space not in spaces for space, _ in weights):
        return np.full((auroc.shape[0], auroc.shape[-1]), np.nan)
    parts = [w * auroc[:, spaces.index(s), selectors.index(name)] for (s, name), w in weights.items()]
    return np.asarray(np.sum(parts, axis=0))


def within_concepts(differences: np.ndarray, test_ratio: np.ndarray) -> dict[str, np.ndarray]:
    """Corrected resampled t and correlated posterior of each concept, from differences (concept, J)."""
    rows = []
    for row, ratio in zip(differences, test_ratio, strict=True):
        usable = row[np.isfinite(row)]
        if len(usable) < 2:
            rows.append(np.full(7, np.nan))
            continue
        t, posterior = corrected_resampled_t(usable, ratio), correlated_posterior(usable, ratio, rope=ROPE)
        rows.append(np.array([t.mean, t.low, t.high, t.p, *posterior]))
    names = ("difference", "difference_lo", "difference_hi", "p", "p_left", "p_rope", "p_right")
    return dict(zip(names, np.array(rows, dtype=float).T, strict=True))


def over_items(
    losses: np.ndarray,
    group: np.ndarray,
    spaces: list[str],
    selectors: list[str],
    weights: Weights,
    *,
    seed: int,
) -> tuple[float, ...]:
    """What a contrast saves of the log loss of unseen items: mean, 95 % t interval, sign-flip p over groups.

    Conditional on the decoders as they were trained, so no statement about other training sets.

    Parameters
    ----------
    losses : (space, selector, n) log loss of each item, mean over repeats
    group : (n,) int, items of one group are averaged first
    """
    saved = -contrast_folds(losses[None], spaces, selectors, weights)[0]
    usable = np.isfinite(saved)
    codes = np.unique(group[usable], return_inverse=True)[1]
    if codes.max(initial=0) < 1:
        return (np.nan,) * 4
    values = np.bincount(codes, saved[usable]) / np.bincount(codes)
    tested = corrected_resampled_t(values, 0.0)
    return float(tested.mean), float(tested.low), float(tested.high), _flip_p(values, seed)


def _flip_p(values: np.ndarray, seed: int) -> float:
    """Two-sided p of a mean of 0, from all sign flips if they are few."""
    flips = sign_flips(len(values), 9999, seed=seed)
    return float(p_value(values.mean(), flips.labels @ values / len(values), exact=flips.exact))


def across_concepts(values: np.ndarray, *, seed: int) -> Across:
    """One contrast value a concept: mean, t interval, exact sign-flip p, Wilcoxon p, posterior.

    Parameters
    ----------
    values : (concept,); NaN for concepts without the contrast
    """
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        mean, nan = float(values.mean()) if n else np.nan, np.nan
        return Across(mean, nan, nan, nan, nan, nan, nan, nan, n, n, 0)
    tested, posterior = corrected_resampled_t(values, 0.0), correlated_posterior(values, 0.0, rope=ROPE)
    moved = values[values != 0]
    wilcoxon = float(stats.wilcoxon(moved).pvalue) if len(moved) else 1.0
    spread = values.std(ddof=1)
    needed = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2 * (spread / _SMALLEST_EFFECT) ** 2 + 2
    same = int((np.sign(values) == np.sign(values.mean())).sum())
    return Across(
        float(tested.mean),
        float(tested.low),
        float(tested.high),
        _flip_p(values, seed),
        wilcoxon,
        float(posterior.left),
        float(posterior.rope),
        float(posterior.right),
        n,
        same,
        ceil(needed),
    )


def holm(found: Mapping[str, Across]) -> dict[str, float]:
    """Corrected p of the three hypotheses (Holm over the three); NaN for the secondary contrasts."""
    corrected = adjust(np.array([found[name].p for name in CONFIRMATORY]), "holm")
    return {name: float("nan") for name in found} | dict(zip(CONFIRMATORY, corrected.tolist(), strict=True))


def verdicts(found: Mapping[str, Across], p_holm: Mapping[str, float]) -> dict[str, str]:
    """Each contrast in a sentence; of too few concepts, or without its controls, nothing is decided."""
    said = {name: _verdict(found[name], p_holm.get(name, np.nan), name) for name in found}
    controls = ("codes_random", "thinned_raw")
    if said["H2"].startswith("first"):
        lacking = [name for name in controls if not found[name].low > 0]
        if np.isnan(found["codes_random"].effect):
            said["H2"] = "not claimed: no codes of random weights to compare with; " + said["H2"]
        elif lacking:
            named = " and ".join(HYPOTHESES[name][0] for name in lacking)
            said["H2"] = f"not claimed: no gain in {named}; " + said["H2"]
    if said["H1"].startswith("first"):
        other = found["RSA_univariate"]
        said["H1"] += (
            f"; max does not see labels: against welch the difference is {other.effect:+.3f} "
            f"[{other.low:+.3f}, {other.high:+.3f}]"
        )
    return said


def _verdict(one: Across, p_holm: float, name: str) -> str:
    if not one.n_concepts:
        return "not done: a space is missing"
    size = f"{one.effect:+.3f} [{one.low:+.3f}, {one.high:+.3f}] over {one.n_concepts} concepts"
    if one.n_concepts < FEWEST_CONCEPTS:
        return f"not decided: {one.n_concepts} concepts, at least {FEWEST_CONCEPTS} are needed; {size}"
    if one.p_rope > DECIDED:
        return f"no difference above {ROPE:g}: {size}"
    p = p_holm if name in CONFIRMATORY else one.p
    # The interval and the sign-flip test rest on different assumptions: both have to agree.
    if p <= 1 - DECIDED and one.low * one.high > 0:
        return f"{'first' if one.effect > 0 else 'second'} is better: {size}"
    return f"not decided: {size}; for differences of {_SMALLEST_EFFECT:g} {one.n_needed} concepts are needed"
