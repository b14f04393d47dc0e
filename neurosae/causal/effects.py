"""What causal results add up to: a slope over doses, a dissociation between two tasks."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import xarray as xr

from neurosae.arrays.effect_size import bootstrap_mean_ci
from neurosae.causal.inference import (
    N_PERMUTATIONS,
    against_others,
    against_shams,
    difference_ci,
    sign_flip_p,
    welch_permutation,
)
from neurosae.causal.outcome import check_comparable
from neurosae.errors import DesignError
from neurosae.schema.provenance import with_step

_SMALL_DOSE = 1.0
_WEAK = 1.0
"""Below this sum of |z| a specificity is a ratio of noise and is not reported."""

Variables: TypeAlias = Mapping[str, tuple[Sequence[str], object, str]]


def dose_response(causal: xr.Dataset, *, seed: int = 0) -> xr.Dataset:
    """How steeply each read-out changes with dose where doses are small.

    slope = OLS slope of the score on dose over |dose| <= 1, one a unit; then its mean over units. The
    slope of random directions of equal norm is beside it. p_sham, the rank among these, is the primary test,
    of whether this direction matters more than others; p, sign flips over units, is conditional on the
    direction: it asks whether its slope differs from zero over texts, as that of a random one may.

    Parameters
    ----------
    causal : result of ``run_causal`` with a stimulation
    seed : of the bootstrap and the sign flips

    Returns
    -------
    Dataset
        slope_unit (act, readout, unit); slope, slope_lo, slope_hi (act, readout), mean over units with 95 %
        bootstrap interval and p (act, readout) two-sided, both conditional on the direction; slope_sham (act,
        sham, readout) and p_sham (act, readout), rank among the n_sham (act) random directions, two-sided,
        at least 1 / (n_sham + 1). p are not corrected.

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
        "p": (by, sign_flip_p(over_units, seed=seed), "p given the direction, sign flips over units"),
        "slope_sham": (("act", "sham", "readout"), shams, "mean slope of a random direction"),
        "p_sham": (by, np.stack(ranked), "p, rank among random directions"),
        "n_sham": (("act",), np.isfinite(shams[:, :, 0]).sum(axis=1), "number of random directions"),
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
    """Whether one perturbation changes one task more than another, beyond what its shams do.

    z = (effect - mean over shams) / SD over shams, of each task; interaction = z(first) - z(second). The
    primary test, p, is its rank among interactions of the same shams, each standardised against the target
    and the other shams: two-sided about the mean of all, (1 + #) / (R + 1) for R shams. It asks whether this
    region or direction tells the tasks apart more than others like it. p_unit permutes units between tasks
    (Welch's t of (score - mean score of shams) / SD over shams) and is conditional on the region and its
    shams, as is the interval: it is small for most regions drawn at random, given enough units.
    specificity = sign(z(first)) (z(first) - z(second)) / (|z(first)| + |z(second)|): 1 if the first task
    alone changes, 0 if both change alike.

    Parameters
    ----------
    first, second : results of ``run_causal`` on two tasks, with the same perturbation and the same shams: the
        same ROI, reference, ``controls`` and ``seed``, at the same place among the perturbations
    perturbation : its label; None if each result holds one perturbation only
    readout : which score, on both tasks
    n_permutations : of task labels
    seed : of permutations and bootstrap

    Returns
    -------
    Dataset
        z (task) in SD over shams; n_units (task); interaction; interaction_lo, interaction_hi (95 % bootstrap
        over the units of both tasks, conditional on the region and its shams); interaction_sham (sham);
        p (rank among shams, primary; at least 1 / (n_sham + 1)), n_sham; stat (Welch t) and its p_unit, both
        conditional on the region; specificity (NaN where |z| sum to less than 1)

    Raises
    ------
    DesignError
        If a result lacks the perturbation or the read-out, the perturbations or shams are not the same, the
        tasks share texts, or shams do not differ in effect.

    Notes
    -----
    One lesion on two tasks is a single dissociation: it may reflect that one task is easier. An interaction
    without a crossing can vanish on another scale (Loftus 1978).

    Source
    ------
    Loftus 1978, Mem Cognit 6:312; Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39 (rank p); Janssen 1997
    (studentised permutation test of Welch's t).

    Examples
    --------
    >>> from neurosae.causal.direction import Direction
    >>> from neurosae.causal.experiment import run_causal
    >>> from neurosae.causal.perturbation import Stimulation
    >>> from neurosae.subject.toy import ToySubject
    >>> from neurosae.testing import planted_pairs
    >>> plural = Direction("resid_post", 2, np.eye(32)[4], reference=1.0, dose_unit="plural nouns")
    >>> push = {"push": Stimulation(plural, [0, 2])}
    >>> tasks = [planted_pairs(20, task=task) for task in ("number", "fact")]
    >>> number, fact = (run_causal(ToySubject(), task, push, controls=19) for task in tasks)
    >>> found = dissociate(number, fact, "push 2", readout="accuracy")
    >>> float(found["p"]), found.sizes["sham"]
    (0.05, 19)
    """
    pair = [_one_act(result, perturbation, readout) for result in (first, second)]
    check_comparable(*pair)
    tasks = [_standardised(one, readout) for one in pair]
    z = np.array([task.mean() for task in tasks])
    low, high = difference_ci(tasks[0], tasks[1], seed=seed)
    stat, p_unit = welch_permutation(tasks[0], tasks[1], n_permutations, seed=seed)
    of_shams, p = _interactions(pair)
    size = np.abs(z).sum()
    specificity = np.sign(z[0]) * (z[0] - z[1]) / size if size >= _WEAK else np.nan
    variables = {
        "z": (("task",), z, "standardised effect"),
        "n_units": (("task",), np.array([len(task) for task in tasks]), "number of units"),
        "interaction": ((), z[0] - z[1], "difference of standardised effects"),
        "interaction_lo": ((), low, "difference given the region and its shams, lower 95 % bound"),
        "interaction_hi": ((), high, "difference given the region and its shams, upper 95 % bound"),
        "interaction_sham": (("sham",), of_shams, "difference of standardised effects of a sham"),
        "p": ((), p, "p, rank among shams"),
        "n_sham": ((), len(of_shams), "number of shams"),
        "stat": ((), stat, "Welch t given the region"),
        "p_unit": ((), p_unit, "p given the region, permutation of units between tasks"),
        "specificity": ((), specificity, "specificity"),
    }
    settings = {"perturbation": perturbation or "the only one", "readout": readout, "seed": seed}
    coords = {"task": ["first", "second"], "sham": np.arange(len(of_shams))}
    return _dataset(variables, coords, per="SD").assign_attrs(
        **settings,
        n_permutations=n_permutations,
        alternative="two-sided",
        **with_step(first, "dissociate", **settings),
    )


def _one_act(result: xr.Dataset, perturbation: str | None, readout: str) -> xr.Dataset:
    if perturbation is None:
        perturbation = _only_perturbation(result)
    for dim, label in (("perturbation", perturbation), ("readout", readout)):
        if label not in result[dim].values:
            raise DesignError(f"the result has no {dim} {label!r}; it has {result[dim].values.tolist()}.")
    return result.sel(perturbation=perturbation, readout=readout)


def _only_perturbation(result: xr.Dataset) -> str:
    labels = result["perturbation"].values.tolist()
    if len(labels) != 1:
        raise DesignError(f"the result holds the perturbations {labels}; name the one to compare.")
    return str(labels[0])


def _shams(one: xr.Dataset) -> np.ndarray:
    effects = one["effect_sham"].values
    return effects[np.isfinite(effects)]


def _standardised(one: xr.Dataset, readout: str) -> np.ndarray:
    shams = _shams(one)
    spread = np.std(shams, ddof=1) if len(shams) > 1 else 0.0
    if not spread > 0:
        raise DesignError(
            f"the shams of {one['perturbation'].item()!r} do not differ in {readout}, the tasks share no "
            "scale; use more shams, or another read-out."
        )
    return (one["score"] - one["score_sham_unit"]).values / spread


def _interactions(pair: Sequence[xr.Dataset]) -> tuple[np.ndarray, np.ndarray]:
    """The interaction of each sham, and the rank p of the target's among them."""
    regions = [np.concatenate([[float(one["effect"])], _shams(one)]) for one in pair]
    first, second = (against_others(effects) for effects in regions)
    interactions = first - second
    return interactions[1:], against_shams(interactions[0], interactions[1:])[0]


def _dataset(variables: Variables, coords: Mapping[str, object], *, per: str) -> xr.Dataset:
    plain = ("p", "p_sham", "p_unit", "n_units", "n_sham", "stat", "specificity")
    return xr.Dataset(
        {
            name: (dims, values, {"long_name": long_name, "units": "1" if name in plain else per})
            for name, (dims, values, long_name) in variables.items()
        },
        coords=coords,
    )
