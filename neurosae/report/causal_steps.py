"""The causal experiments of a protocol: lesions, stimulations, and how lesions of one ROI dissociate."""

import itertools
from collections.abc import Callable
from functools import partial

import pandas as pd
import xarray as xr

from neurosae.causal.direction import Direction
from neurosae.causal.effects import dissociate, dose_response
from neurosae.causal.experiment import run_causal
from neurosae.causal.perturbation import Lesion, Stimulation
from neurosae.errors import ProtocolError, StorageError
from neurosae.protocol.models import Protocol
from neurosae.protocol.tables import CausalPlan, ContrastPlan, LesionPlan, StimulationPlan
from neurosae.report.context import Study
from neurosae.schema.provenance import provenance
from neurosae.subject.interface import Subject


def run_causal_plan(
    study: Study, table: CausalPlan, subject: Callable[[], Subject], stimuli: pd.DataFrame
) -> None:
    """Run one causal experiment beside intact and shams; for a stimulation also its slope over doses."""
    progress = study.progress(f"causal experiment {table.name}")
    result = study.shelf.dataset(
        f"causal-{table.name}",
        lambda: run_causal(
            subject(),
            stimuli,
            {table.name: _perturbation(study, table)},
            readouts=table.readouts,
            controls=table.controls,
            seed=study.protocol.seed,
            progress=progress,
        ),
    )
    _check_same_stimuli(table, result, stimuli)
    if table.stimulation is not None:
        slopes = partial(dose_response, result, seed=study.protocol.seed)
        study.shelf.dataset(f"dose_response-{table.name}", slopes)


def _check_same_stimuli(table: CausalPlan, result: xr.Dataset, stimuli: pd.DataFrame) -> None:
    """Refuse a result on the shelf whose stimuli have changed since."""
    tested = provenance(result).get("stimuli")
    known = tested.get("sha256") if isinstance(tested, dict) else None
    if known != stimuli.attrs.get("sha256"):
        raise StorageError(
            f"causal experiment {table.name}: {table.stimuli.name} has changed since the result there was "
            "made. Run into another folder, or with --overwrite."
        )


def _perturbation(study: Study, table: CausalPlan) -> Lesion | Stimulation:
    if table.lesion is not None:
        return _lesion(study, table.lesion)
    if table.stimulation is not None:
        return _stimulation(study, table.stimulation)
    raise ProtocolError(f"causal {table.name}: neither lesion nor stimulation.")


def _lesion(study: Study, plan: LesionPlan) -> Lesion:
    reference = study.units(_contrast_of(study, plan.roi))
    return Lesion(study.shelf.dataset(f"roi-{plan.roi}"), how=plan.how, reference=reference)


def _stimulation(study: Study, plan: StimulationPlan) -> Stimulation:
    contrast = _contrast_of(study, plan.contrast)
    direction = Direction.from_contrast(
        study.responses(contrast),
        contrast.contrast,
        layer=plan.layer,
        reference=study.units(contrast),
    )
    return Stimulation(direction, dose=plan.dose)


def _contrast_of(study: Study, name: str) -> ContrastPlan:
    return next(table for table in study.protocol.contrasts if table.name == name)


def run_dissociations(study: Study) -> None:
    """Compare every two successive experiments that lesion the same ROI on different tasks."""
    for first, second in dissociable(study.protocol):
        study.shelf.dataset(f"dissociation-{first}-{second}", partial(_dissociate, study, first, second))


def dissociable(protocol: Protocol) -> list[tuple[str, str]]:
    """Names of successive experiments that do the same lesion, beside the same shams, on different tasks."""
    lesions = [table for table in protocol.causal if table.lesion is not None]
    return [
        (first.name, second.name)
        for first, second in itertools.pairwise(lesions)
        if (first.lesion, first.controls) == (second.lesion, second.controls)
        and first.stimuli != second.stimuli
        and "minimal_pair" in {*first.readouts} & {*second.readouts}
    ]


def _dissociate(study: Study, first: str, second: str) -> xr.Dataset:
    results = [study.shelf.dataset(f"causal-{name}") for name in (first, second)]
    return dissociate(results[0], results[1], seed=study.protocol.seed)
