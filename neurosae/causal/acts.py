"""What a causal experiment will do: each perturbation as edits, with the edits of its shams."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr

from neurosae.causal.controls import matched_roi, random_directions
from neurosae.causal.direction import direction_edits
from neurosae.causal.perturbation import Lesion, Stimulation, lesion_edits
from neurosae.causal.reference import member_layers
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, TOKEN
from neurosae.schema.units import SEEN, check_unseen, unit_keys, with_seen
from neurosae.subject.interface import Edit, Subject

Perturbation: TypeAlias = Lesion | Stimulation


@dataclass(frozen=True)
class Act:
    """One perturbation at one dose.

    label : unique in the experiment; name : the perturbation's; dose : NaN for lesions
    how : what a lesion sets units to, or ``"stimulation"``
    edits : what is done; shams : what is done instead in each sham
    n_outside (sham,) int : units of each sham matched beyond the caliper, 0 for random directions
    """

    label: str
    name: str
    dose: float
    how: str
    edits: Sequence[Edit]
    shams: Sequence[Sequence[Edit]]
    n_outside: np.ndarray

    @property
    def is_identity(self) -> bool:
        """Whether the edits leave the model as it is."""
        return all(np.all(edit.gain == 1) and np.all(edit.offset == 0) for edit in self.edits)


def edits_id(edits: Sequence[Edit]) -> str:
    """Hash by which the same edits are recognised in another experiment: 16 hexadecimal digits.

    Examples
    --------
    >>> one, other = (Edit("resid_post", 1, np.zeros(2), np.zeros(2), np.array([4, n])) for n in (5, 6))
    >>> edits_id([one]) == edits_id([one]), edits_id([one]) == edits_id([other])
    (True, False)
    """
    digest = hashlib.sha256()
    for edit in edits:
        digest.update(repr((edit.site, int(edit.layer), float(edit.max_norm))).encode())
        for values in (edit.gain, edit.offset, edit.features, edit.encoder, edit.decoder):
            array = np.empty(0) if values is None else np.asarray(values, dtype=np.float64)
            digest.update(repr(array.shape).encode() + array.tobytes())
    return digest.hexdigest()[:16]


def plan_acts(
    subject: Subject, perturbations: Mapping[str, Perturbation], controls: int, seed: int
) -> list[Act]:
    """All acts of an experiment: one a lesion, one a dose of each stimulation, each with its shams.

    Raises
    ------
    DesignError
        If there is nothing to do, a perturbation does not fit the subject, or shams cannot be matched.
    """
    if not perturbations:
        raise DesignError("there is no perturbation; give at least one, as {'name': Lesion(roi, ...)}.")
    if controls < 1:
        raise DesignError(f"controls is {controls}; a perturbation is run beside at least one matched sham.")
    acts: list[Act] = []
    for number, (name, perturbation) in enumerate(perturbations.items()):
        own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        if isinstance(perturbation, Lesion):
            acts.append(_lesion_act(subject, name, perturbation, controls, own_seed))
        else:
            acts.extend(_stimulation_acts(subject, name, perturbation, controls, own_seed))
    return acts


def _lesion_act(subject: Subject, name: str, lesion: Lesion, controls: int, seed: int) -> Act:
    usual, site = lesion.statistics(), str(lesion.roi.attrs["site"])
    if lesion.reference is None:
        raise DesignError(
            f"lesion {name!r} has no reference recording, on which its shams are matched; write "
            "Lesion(roi, how='zero', reference=recording)."
        )
    _check_width(subject, site, lesion.reference.sizes[FEATURE], f"the reference recording of {name!r}")
    responses = _mean_responses(lesion.reference, member_layers(lesion.roi["member"]))
    shams = matched_roi(lesion.roi, responses, n=controls, seed=seed)
    edits = [lesion_edits(sham, site, lesion.how, usual) for sham in shams["member"]]
    return Act(name, name, float("nan"), lesion.how, lesion.edits(), edits, shams["n_outside"].values)


def _mean_responses(recording: xr.DataArray, layers: Sequence[int]) -> xr.DataArray:
    """Mean over the tokens of each stimulus that has valid ones; the magnitudes that shams share."""
    filled = recording.isel({STIMULUS: recording["valid"].any(TOKEN).values})
    return filled.sel({LAYER: layers}).mean(TOKEN, skipna=True, dtype=np.float64, keep_attrs=True).compute()


def _stimulation_acts(
    subject: Subject, name: str, stimulation: Stimulation, controls: int, seed: int
) -> list[Act]:
    direction = stimulation.direction
    _check_width(subject, direction.site, len(direction.vector), f"the direction of {name!r}")
    others = random_directions(direction, controls, seed=seed)
    return [
        Act(
            f"{name} {dose:g}",
            name,
            dose,
            "stimulation",
            stimulation.edits(dose),
            [direction_edits(other, dose) for other in others],
            np.zeros(controls, dtype=np.int64),
        )
        for dose in stimulation.doses
    ]


def _check_width(subject: Subject, site: str, n_features: int, what: str) -> None:
    if subject.n_features(site) != n_features:
        raise DesignError(
            f"{what} has {n_features} features, {subject.name} has {subject.n_features(site)} at {site}; use "
            "a recording of this subject with all features."
        )


def check_selection(perturbations: Mapping[str, Perturbation], tested: xr.Dataset, *, circular: bool) -> bool:
    """Refuse texts that an ROI or a direction was selected on, see `neurosae.schema.units.check_unseen`.

    Returns
    -------
    Whether a text under test was seen by a selection, which is possible only if ``circular``.
    """
    keys, overlaps = unit_keys(tested), False
    for perturbation in perturbations.values():
        selection = (
            perturbation.roi
            if isinstance(perturbation, Lesion)
            else with_seen(xr.Dataset(), perturbation.direction.seen)
        )
        check_unseen(selection, tested, circular=circular)
        overlaps |= SEEN in selection.coords and not keys.isdisjoint(selection[SEEN].values.tolist())
    return overlaps
