"""The analyses and causal experiments of a protocol, one function a table; results go on the shelf."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.analysis.category import category_rsa
from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.decoding import decode
from neurosae.analysis.localizer import cross_localize, localize
from neurosae.analysis.rsa import compare_rdms, model_rdm, rdm
from neurosae.analysis.selectivity import selectivity_index, top_stimuli, tuning
from neurosae.causal.effects import dissociate, dose_response
from neurosae.causal.experiment import run_causal
from neurosae.causal.perturbation import Direction, Lesion, Stimulation
from neurosae.errors import ProtocolError
from neurosae.protocol.models import Protocol
from neurosae.protocol.tables import (
    CausalPlan,
    ContrastPlan,
    DecodingPlan,
    LesionPlan,
    RsaPlan,
    SelectivityPlan,
    StimulationPlan,
)
from neurosae.recording.pooling import pool_tokens
from neurosae.recording.session import Session
from neurosae.report.shelf import Shelf
from neurosae.schema.names import FEATURE, LAYER
from neurosae.stimulus.balance import balance_report
from neurosae.subject.interface import Subject

Progress = Callable[[str], Callable[[int, int], None]]
"""Announces a step by name and gives back a function (done, total) that reports its progress."""


def silent(_step: str) -> Callable[[int, int], None]:
    """Announce nothing: the progress of a script."""
    return lambda _done, _total: None


SHOWN_FEATURES = 4
"""How many of the most selective features the report draws tuning curves for."""


@dataclass(frozen=True)
class Study:
    """All a step needs: what was asked, what was recorded, and where results are kept."""

    protocol: Protocol
    session: Session
    shelf: Shelf
    progress: Progress

    def recording(self, site: str | None = None) -> xr.DataArray:
        """The recording of ``site``, by default the first of the protocol."""
        return self.session[site or self.protocol.recording.sites[0]]

    def responses(self, site: str | None = None) -> xr.DataArray:
        """Responses pooled as the protocol says, computed once."""
        settings = self.protocol.responses
        site = site or self.protocol.recording.sites[0]
        return self.shelf.array(
            f"responses-{site}",
            lambda: pool_tokens(self.recording(site), window=settings.window, how=settings.how),
        )


def run_steps(study: Study, subject: Callable[[], Subject], tables: dict[str, pd.DataFrame]) -> None:
    """Compute every result of the protocol that is not on the shelf yet.

    Parameters
    ----------
    study : the recorded study
    subject : gives the loaded subject; called only if a causal experiment is still to run
    tables : stimuli of the causal experiments, by the name of the experiment
    """
    protocol = study.protocol
    for contrast in protocol.contrasts:
        _contrast(study, contrast)
    for rsa in protocol.rsa:
        _rsa(study, rsa)
    for selectivity in protocol.selectivity:
        _selectivity(study, selectivity)
    for decoding in protocol.decoding:
        _decoding(study, decoding)
    for causal in protocol.causal:
        _causal(study, causal, subject, tables[causal.name])
    _dissociations(study)


def balance_table(session: Session, *, by: str = "condition") -> pd.DataFrame:
    """The balance of the recorded stimuli over conditions, with length in tokens and surprisal."""
    recording = session.recording(session.sites[0], mask=False)
    real = (recording["token_id"] >= 0) & ~recording["is_special"].astype(bool)
    covariates = {"n_tokens": real.sum("token").values.astype(float)}
    if "surprisal" in recording.coords:
        covariates["surprisal"] = recording["surprisal"].where(real).mean("token").values
    return balance_report(session.stimuli, covariates, by=by)


def _contrast(study: Study, table: ContrastPlan) -> None:
    study.progress(f"contrast {table.name}")
    responses = study.responses(table.site)
    cmap = study.shelf.dataset(
        f"contrast_map-{table.name}",
        lambda: contrast_map(
            responses,
            table.contrast,
            test=table.test,
            unit=table.unit,
            nuisance=table.nuisance,
            correct=table.correct,
            n_permutations=table.n_permutations,
            seed=study.protocol.seed,
        ),
    )
    if table.localize is None:
        return
    rule = table.localize.model_dump(exclude={"folds"}, exclude_none=True)
    study.shelf.dataset(f"roi-{table.name}", lambda: localize(cmap, **rule))
    if table.localize.folds is not None:
        folds, fraction = table.localize.folds, table.localize.fraction or 0.01
        compute = partial(_held_out, study, table, responses, fraction=fraction, folds=folds)
        study.shelf.dataset(f"held_out-{table.name}", compute)


def _held_out(
    study: Study, table: ContrastPlan, responses: xr.DataArray, *, fraction: float, folds: int
) -> xr.Dataset:
    return cross_localize(
        responses,
        table.contrast,
        fraction=fraction,
        folds=folds,
        test=table.test,
        unit=table.unit,
        seed=study.protocol.seed,
    )


def _rsa(study: Study, table: RsaPlan) -> None:
    study.progress(f"RSA {table.name}")
    responses = study.responses(table.site)
    settings = {"n_permutations": table.n_permutations, "seed": study.protocol.seed}
    dissimilarity = study.shelf.array(
        f"rdm-{table.name}", lambda: rdm(responses, metric=table.metric, unit=table.unit)
    )
    model = model_rdm(responses, table.condition, unit=table.unit)
    study.shelf.dataset(
        f"compare_rdms-{table.name}",
        lambda: compare_rdms(dissimilarity, model, method=table.method, **settings),
    )
    study.shelf.dataset(
        f"category_rsa-{table.name}",
        lambda: category_rsa(
            responses, table.condition, index=table.index, metric=table.metric, unit=table.unit, **settings
        ),
    )


def _selectivity(study: Study, table: SelectivityPlan) -> None:
    study.progress(f"selectivity {table.name}")
    responses = study.responses(table.site)
    index = study.shelf.dataset(
        f"selectivity-{table.name}",
        lambda: selectivity_index(
            responses,
            table.condition,
            index=table.index,
            rectify=table.rectify,
            unit=table.unit,
            n_permutations=table.n_permutations,
            seed=study.protocol.seed,
        ),
    )
    study.shelf.dataset(f"tuning-{table.name}", lambda: tuning(responses, table.condition, unit=table.unit))
    for layer, feature in most_selective(index):
        name = f"top_stimuli-{table.name}-{layer}-{feature}"
        study.shelf.dataset(name, partial(top_stimuli, responses, layer=layer, feature=feature, n=8))


def most_selective(index: xr.Dataset, n: int = SHOWN_FEATURES) -> list[tuple[int, int]]:
    """Layer and feature of the ``n`` most selective features, one for each preferred condition in turn."""
    score = index["selectivity"].stack(cell=(LAYER, FEATURE))
    order = np.argsort(-np.nan_to_num(score.values, nan=-np.inf), kind="stable")
    preferred = index["preferred"].stack(cell=(LAYER, FEATURE)).values[order]
    first = [order[np.flatnonzero(preferred == name)[0]] for name in sorted(set(preferred[: 50 * n])) if name]
    cells = [score["cell"].values[cell] for cell in first[:n]]
    return [(int(layer), int(feature)) for layer, feature in cells]


def _decoding(study: Study, table: DecodingPlan) -> None:
    study.progress(f"decoding {table.name}")
    study.shelf.dataset(
        f"decode-{table.name}",
        lambda: decode(
            study.responses(table.site),
            table.condition,
            groups=table.groups,
            select=table.select,
            n_permutations=table.n_permutations,
            seed=study.protocol.seed,
        ),
    )


def _causal(study: Study, table: CausalPlan, subject: Callable[[], Subject], stimuli: pd.DataFrame) -> None:
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
    if table.stimulation is not None:
        study.shelf.dataset(f"dose_response-{table.name}", lambda: dose_response(result))


def _perturbation(study: Study, table: CausalPlan) -> Lesion | Stimulation:
    if table.lesion is not None:
        return _lesion(study, table.lesion)
    if table.stimulation is not None:
        return _stimulation(study, table.stimulation)
    raise ProtocolError(f"causal {table.name}: neither lesion nor stimulation.")


def _lesion(study: Study, plan: LesionPlan) -> Lesion:
    reference = study.recording(_contrast_of(study, plan.roi).site)
    return Lesion(study.shelf.dataset(f"roi-{plan.roi}"), how=plan.how, reference=reference)


def _stimulation(study: Study, plan: StimulationPlan) -> Stimulation:
    contrast = _contrast_of(study, plan.contrast)
    direction = Direction.from_contrast(
        study.responses(contrast.site),
        contrast.contrast,
        layer=plan.layer,
        reference=study.recording(contrast.site),
    )
    return Stimulation(direction, dose=plan.dose)


def _contrast_of(study: Study, name: str) -> ContrastPlan:
    return next(table for table in study.protocol.contrasts if table.name == name)


def _dissociations(study: Study) -> None:
    """Compare every two successive experiments that lesion the same ROI on different tasks."""
    for first, second in dissociable(study.protocol):
        study.shelf.dataset(f"dissociation-{first}-{second}", partial(_dissociate, study, first, second))


def dissociable(protocol: Protocol) -> list[tuple[str, str]]:
    """Names of successive experiments that lesion the same ROI, so that their effects can be compared."""
    lesions = [(table.name, table.lesion.roi) for table in protocol.causal if table.lesion is not None]
    return [(a, b) for (a, roi), (b, other) in itertools.pairwise(lesions) if roi == other]


def _dissociate(study: Study, first: str, second: str) -> xr.Dataset:
    """Compare what the lesion did to two tasks; the lesion bears the name of its experiment."""
    results = [
        study.shelf.dataset(f"causal-{name}").assign_coords(perturbation=["lesion"])
        for name in (first, second)
    ]
    return dissociate(*results, "lesion", seed=study.protocol.seed)
