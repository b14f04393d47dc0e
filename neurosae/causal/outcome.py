"""The result of a causal experiment: measurements with labels, units, intervals and p-values."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import xarray as xr

from neurosae.arrays.effect_size import bootstrap_mean_ci
from neurosae.causal.acts import Act, edits_id
from neurosae.causal.inference import against_shams, sign_flip_p
from neurosae.causal.measurement import ActScores, Measurement
from neurosae.causal.readouts import READOUTS, ReadoutDesign
from neurosae.errors import DesignError

Variable: TypeAlias = tuple[Sequence[str], np.ndarray, dict[str, str]]
Variables: TypeAlias = dict[str, Variable]

_OWN = "see readout_units"
"""Units of a variable over read-outs, each of which has its own."""

_IDENTITIES = ("how", "act_id", "sham_id", "unit_texts")
"""Coordinates by which one result is compared with another."""


def tabulate(
    acts: Sequence[Act],
    measured: Sequence[ActScores],
    intact: Measurement,
    design: ReadoutDesign,
    readouts: Sequence[str],
    seed: int,
) -> xr.Dataset:
    """Label what was measured, and test it; the dataset that ``run_causal`` returns."""
    n_shams = max(len(act.shams) for act in acts)
    labels = [label for name in readouts for label in READOUTS[name].labels]
    units = [unit for name in readouts for unit in READOUTS[name].units]
    result = xr.Dataset(
        _scores(measured, intact, n_shams),
        coords={
            "perturbation": [act.label for act in acts],
            "readout": labels,
            "unit": design.labels,
            "sham": np.arange(n_shams),
            "act": ("perturbation", [act.name for act in acts]),
            "dose": (
                "perturbation",
                [act.dose for act in acts],
                {"long_name": "dose", "units": "multiples of the reference norm"},
            ),
            "readout_units": ("readout", units),
            **_identities(acts, n_shams),
        },
    )
    return _with_effects(result, seed).assign(_manipulation(acts, measured, n_shams))


def _identities(acts: Sequence[Act], n_shams: int) -> Variables:
    """What was done, so that another experiment can be recognised as having done the same."""
    sham_ids = [[edits_id(edits) for edits in act.shams] for act in acts]
    padded = np.array([[*ids, *[""] * (n_shams - len(ids))] for ids in sham_ids])
    names = {"long_name": "what units are set to, or stimulation", "units": "1"}
    return {
        "how": (("perturbation",), np.array([act.how for act in acts]), names),
        "act_id": _labelled(
            ("perturbation",), np.array([edits_id(act.edits) for act in acts]), "hash of the edits", "1"
        ),
        "sham_id": _labelled(("perturbation", "sham"), padded, "hash of the edits of a sham", "1"),
    }


def _scores(measured: Sequence[ActScores], intact: Measurement, n_shams: int) -> Variables:
    sham = np.stack([_padded(one.sham, n_shams) for one in measured])
    by_unit = ("perturbation", "readout", "unit")
    return {
        "score_intact": _labelled(("readout", "unit"), intact.scores, "score of the intact model"),
        "score": _labelled(by_unit, np.stack([one.target.scores for one in measured]), "score"),
        "score_sham": _labelled(("perturbation", "sham", "readout"), sham, "mean score of a sham"),
        "score_sham_unit": _labelled(
            by_unit, np.stack([one.sham_unit for one in measured]), "mean score over shams"
        ),
    }


def _labelled(dims: Sequence[str], values: np.ndarray, long_name: str, units: str = _OWN) -> Variable:
    return dims, values, {"long_name": long_name, "units": units}


def _padded(values: np.ndarray, n: int) -> np.ndarray:
    padding = [(0, n - len(values)), *[(0, 0)] * (values.ndim - 1)]
    return np.pad(values, padding, constant_values=np.nan)


def _with_effects(result: xr.Dataset, seed: int) -> xr.Dataset:
    change = (result["score"] - result["score_intact"]).values
    effect = change.mean(axis=2)
    effect_sham = (result["score_sham"] - result["score_intact"].mean("unit")).values
    low, high = bootstrap_mean_ci(np.moveaxis(change, 2, 0), seed=seed)
    ranked = [against_shams(one, shams) for one, shams in zip(effect, effect_sham, strict=True)]
    against_mean = (result["score"] - result["score_sham_unit"]).values
    p_unit = sign_flip_p(np.moveaxis(against_mean, 2, 0), seed=seed)
    by = ("perturbation", "readout")
    return result.assign(
        {
            "effect": _labelled(by, effect, "mean change of the score"),
            "effect_lo": _labelled(by, low, "mean change, lower 95 % bound"),
            "effect_hi": _labelled(by, high, "mean change, upper 95 % bound"),
            "effect_sham": _labelled(
                ("perturbation", "sham", "readout"), effect_sham, "mean change under a sham"
            ),
            "p": _labelled(by, np.stack([p for p, _ in ranked]), "p, rank among shams", "1"),
            "z": _labelled(by, np.stack([z for _, z in ranked]), "effect against shams", "SD"),
            "p_unit": _labelled(
                by, p_unit, "p given the target and its shams, sign flips over units of their difference", "1"
            ),
        }
    )


def _manipulation(acts: Sequence[Act], measured: Sequence[ActScores], n_shams: int) -> Variables:
    per_act = {
        "shift": ([one.target.shift for one in measured], "mean change of an edited token", "a.u."),
        "n_edited": ([one.target.n_edited for one in measured], "number of edited tokens", "1"),
        "n_sham": ([len(act.shams) for act in acts], "number of shams", "1"),
    }
    shifts = np.stack([_padded(one.shift_sham, n_shams) for one in measured])
    outside = np.stack([_padded(act.n_outside.astype(np.float64), n_shams) for act in acts])
    name_sham = "mean change of an edited token under a sham"
    by_sham = ("perturbation", "sham")
    return {
        "shift_sham": _labelled(by_sham, shifts, name_sham, "a.u."),
        "n_outside": _labelled(by_sham, outside, "number of units of a sham beyond the caliper", "1"),
        **{
            name: _labelled(("perturbation",), np.array(values), long_name, units)
            for name, (values, long_name, units) in per_act.items()
        },
    }


def check_comparable(first: xr.Dataset, second: xr.Dataset) -> None:
    """Whether two tasks met the same perturbation and the same shams, and are different tasks.

    Parameters
    ----------
    first, second : results of ``run_causal``, one perturbation of each

    Raises
    ------
    DesignError
        If the perturbations or their shams differ, or a text belongs to both tasks.
    """
    missing = [name for name in _IDENTITIES if name not in first.coords or name not in second.coords]
    if missing:
        raise DesignError(f"a result lacks {missing}; run the experiment again with this version.")
    if first["act_id"].item() != second["act_id"].item():
        ways = [str(one["how"].item()) for one in (first, second)]
        raise DesignError(
            f"the two perturbations are not the same act (how: {ways[0]!r} and {ways[1]!r}); give both "
            "experiments the same ROI, how and reference, or the same direction and dose."
        )
    ids, other_ids = (_sham_ids(one) for one in (first, second))
    if ids != other_ids:
        raise DesignError(
            f"the {len(ids)} shams of the first task and the {len(other_ids)} of the second are not the "
            "same; run both with the same controls and seed, the perturbation at the same place among all."
        )
    _check_separate(first, second)


def _sham_ids(one: xr.Dataset) -> list[str]:
    return [name for name in one["sham_id"].values.tolist() if name]


def _check_separate(first: xr.Dataset, second: xr.Dataset) -> None:
    known = set(" ".join(second["unit_texts"].values.tolist()).split())
    shared = [not known.isdisjoint(texts.split()) for texts in first["unit_texts"].values.tolist()]
    if any(shared):
        raise DesignError(
            f"{sum(shared)} units of the first task have texts of the second, first: "
            f"{str(first['unit'].values[shared][0])!r}; a dissociation needs two tasks that share no text."
        )
