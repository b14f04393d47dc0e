"""What causal results add up to: a slope over doses, a dissociation between two tasks."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import xarray as xr

from neurosae.arrays.effect_size import bootstrap_mean_ci
from neurosae.arrays.permutation import p_value, relabel
from neurosae.causal.inference import N_PERMUTATIONS, against_shams, sign_flip_p
from neurosae.errors import DesignError
from neurosae.schema.provenance import with_step

_SMALL_DOSE = 1.0
_WEAK = 1.0
"""Below this sum of |z| a specificity is a ratio of noise and is not reported."""

Variables: TypeAlias = Mapping[str, tuple[Sequence[str], object, str]]


def dose_response(causal: xr.Dataset, *, seed: int = 0) -> xr.Dataset:
    """How steeply each read-out changes with dose where doses are small.

    slope = OLS slope of the score on dose over |dose| <= 1, one a unit; then its mean over units. The
    slope of random directions of equal norm is beside it.

    Parameters
    ----------
    causal : result of ``run_causal`` with a stimulation
    seed : of the bootstrap and the sign flips

    Returns
    -------
    Dataset
        slope_unit (act, readout, unit); slope, slope_lo, slope_hi (act, readout), mean over units with 95 %
        bootstrap interval; p (act, readout) two-sided, sign flips over units; slope_sham (act, sham, readout)
        and p_sham (act, readout), rank among random directions. p are not corrected.

    Raises
    ------
    DesignError
        If there is no stimulation, or one has fewer than two doses of at most 1.

    Source
    ------
    Per-unit slopes as summary statistics: Holmes & Friston 1998, NeuroImage 7:S754.
    """
    acts = list(dict.fromkeys(causal["act"].values[np.isfinite(causal["dose"].values)].tolist()))
    if not acts:
        raise DesignError("the result holds no stimulation; a dose response needs one with several doses.")
    per_act = [_small_doses(causal, act) for act in acts]
    slopes = np.stack([_slopes(one["score"], one["dose"]) for one in per_act])
    shams = np.stack([_slopes(one["score_sham"], one["dose"]) for one in per_act])
    over_units = np.moveaxis(slopes, 2, 0)
    low, high = bootstrap_mean_ci(over_units, seed=seed)
    ranked = [against_shams(one.mean(axis=1), sham)[0] for one, sham in zip(slopes, shams, strict=True)]
    by = ("act", "readout")
    variables = {
        "slope_unit": ((*by, "unit"), slopes, "slope of a unit"),
        "slope": (by, over_units.mean(axis=0), "mean slope"),
        "slope_lo": (by, low, "mean slope, lower 95 % bound"),
        "slope_hi": (by, high, "mean slope, upper 95 % bound"),
        "p": (by, sign_flip_p(over_units, seed=seed), "p, sign flips over units"),
        "slope_sham": (("act", "sham", "readout"), shams, "mean slope of a random direction"),
        "p_sham": (by, np.stack(ranked), "p, rank among random directions"),
    }
    coords = {name: causal[name].values for name in ("readout", "unit", "sham")} | {"act": acts}
    return _dataset(variables, coords, per="readout units per dose").assign_attrs(
        small_dose=_SMALL_DOSE,
        n_permutations=N_PERMUTATIONS,
        n_units=causal.sizes["unit"],
        seed=seed,
        alternative="two-sided",
        **with_step(causal, "dose_response", seed=seed),
    )


def _small_doses(causal: xr.Dataset, act: str) -> xr.Dataset:
    is_small = (causal["act"] == act) & (np.abs(causal["dose"]) <= _SMALL_DOSE)
    chosen = causal[["score", "score_sham"]].isel(perturbation=np.flatnonzero(is_small.values))
    if chosen.sizes["perturbation"] < 2:
        raise DesignError(
            f"stimulation {act!r} has {chosen.sizes['perturbation']} doses of at most {_SMALL_DOSE:g} in "
            "size; a slope needs at least two, such as 0 and 0.5."
        )
    return chosen


def _slopes(score: xr.DataArray, dose: xr.DataArray) -> np.ndarray:
    centred = dose.values - dose.values.mean()
    return np.tensordot(centred, score.values, axes=1) / np.square(centred).sum()


def dissociate(
    first: xr.Dataset,
    second: xr.Dataset,
    perturbation: str | None = None,
    *,
    readout: str = "log_odds",
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
) -> xr.Dataset:
    """Whether one perturbation changes one task more than another, each measured against its own shams.

    Per unit: d = (score - mean score of shams) / SD over shams of the task's effect; z = mean d, the
    standardised effect of the task. interaction = z(first) - z(second), tested with Welch's t over
    permutations of units between tasks. specificity = sign(z(first)) (z(first) - z(second)) /
    (|z(first)| + |z(second)|): 1 if the first task alone changes, 0 if both change alike.

    Parameters
    ----------
    first, second : results of ``run_causal`` with the same perturbation on two tasks
    perturbation : its label; None if each result holds one perturbation only
    readout : which score, on both tasks
    n_permutations : of task labels
    seed : of permutations and bootstrap

    Returns
    -------
    Dataset
        z (task) in SD over shams; interaction, interaction_lo, interaction_hi (95 % bootstrap over the units
        of both tasks), stat (Welch t), p (two-sided), specificity (NaN where |z| sum to less than 1)

    Raises
    ------
    DesignError
        If a result lacks the perturbation or the read-out, or its shams do not differ in effect.

    Notes
    -----
    One lesion on two tasks is a single dissociation: it may reflect that one task is easier. An interaction
    without a crossing can vanish on another scale (Loftus 1978).

    Source
    ------
    Loftus 1978, Mem Cognit 6:312; Janssen 1997 (studentised permutation test of Welch's t).
    """
    tasks = [_standardised(result, perturbation, readout) for result in (first, second)]
    z = np.array([task.mean() for task in tasks])
    low, high = _difference_ci(tasks[0], tasks[1], seed)
    stat, p = _welch_permutation(tasks[0], tasks[1], n_permutations, seed)
    size = np.abs(z).sum()
    specificity = np.sign(z[0]) * (z[0] - z[1]) / size if size >= _WEAK else np.nan
    variables = {
        "z": (("task",), z, "standardised effect"),
        "n_units": (("task",), np.array([len(task) for task in tasks]), "number of units"),
        "interaction": ((), z[0] - z[1], "difference of standardised effects"),
        "interaction_lo": ((), low, "difference, lower 95 % bound"),
        "interaction_hi": ((), high, "difference, upper 95 % bound"),
        "stat": ((), stat, "Welch t"),
        "p": ((), p, "p, permutation of units between tasks"),
        "specificity": ((), specificity, "specificity"),
    }
    settings = {"perturbation": perturbation or "the only one", "readout": readout, "seed": seed}
    return _dataset(variables, {"task": ["first", "second"]}, per="SD").assign_attrs(
        **settings,
        n_permutations=n_permutations,
        alternative="two-sided",
        **with_step(first, "dissociate", **settings),
    )


def _standardised(result: xr.Dataset, perturbation: str | None, readout: str) -> np.ndarray:
    if perturbation is None:
        perturbation = _only_perturbation(result)
    for dim, label in (("perturbation", perturbation), ("readout", readout)):
        if label not in result[dim].values:
            raise DesignError(f"the result has no {dim} {label!r}; it has {result[dim].values.tolist()}.")
    one = result.sel(perturbation=perturbation, readout=readout)
    shams = one["effect_sham"].values
    spread = np.std(shams[np.isfinite(shams)], ddof=1) if np.isfinite(shams).sum() > 1 else 0.0
    if not spread > 0:
        raise DesignError(
            f"the shams of {perturbation!r} do not differ in {readout}, the tasks share no scale; use "
            "more shams, or another read-out."
        )
    return (one["score"] - one["score_sham_unit"]).values / spread


def _only_perturbation(result: xr.Dataset) -> str:
    labels = result["perturbation"].values.tolist()
    if len(labels) != 1:
        raise DesignError(f"the result holds the perturbations {labels}; name the one to compare.")
    return str(labels[0])


def _difference_ci(first: np.ndarray, second: np.ndarray, seed: int) -> tuple[float, float]:
    streams = np.random.SeedSequence(seed).spawn(2)
    means = []
    for values, stream in zip((first, second), streams, strict=True):
        n = len(values)
        means.append(np.random.default_rng(stream).multinomial(n, np.full(n, 1 / n), 2000) @ values / n)
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    return float(low), float(high)


def _welch_permutation(
    first: np.ndarray, second: np.ndarray, n_permutations: int, seed: int
) -> tuple[float, float]:
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


def _dataset(variables: Variables, coords: Mapping[str, object], *, per: str) -> xr.Dataset:
    plain = ("p", "p_sham", "n_units", "stat", "specificity")
    return xr.Dataset(
        {
            name: (dims, values, {"long_name": long_name, "units": "1" if name in plain else per})
            for name, (dims, values, long_name) in variables.items()
        },
        coords=coords,
    )
