"""The analyses and causal experiments of a protocol, one function a table; results go on the shelf."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.decoding import decode
from neurosae.analysis.localizer import cross_localize, localize
from neurosae.analysis.rsa import category_rsa, compare_rdms, model_rdm, rdm
from neurosae.analysis.selectivity import selectivity_index, top_stimuli, tuning
from neurosae.causal.effects import dissociate, dose_response
from neurosae.causal.experiment import run_causal
from neurosae.causal.perturbation import Direction, Lesion, Stimulation
from neurosae.protocol.models import (
    CausalTable,
    ContrastTable,
    DecodingTable,
    Protocol,
    RsaTable,
    SelectivityTable,
)
from neurosae.recording.pooling import pool_tokens
from neurosae.recording.session import Session
from neurosae.report.shelf import Shelf
from neurosae.schema.names import FEATURE, LAYER
from neurosae.stimulus.balance import balance_report
from neurosae.subject.interface import Subject

Progress = Callable[[str], Callable[[int, int], None]]
"""Announces a step by name and gives back a function (done, total) that reports its progress."""

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


def _contrast(study: Study, table: ContrastTable) -> None:
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
    rule = {
        key: value for key in ("fraction", "n", "q") if (value := getattr(table.localize, key)) is not None
    }
    study.shelf.dataset(f"roi-{table.name}", lambda: localize(cmap, **rule))
    study.shelf.dataset(
        f"held_out-{table.name}",
        lambda: cross_localize(
            responses,
            table.contrast,
            fraction=table.localize.fraction or _fraction(cmap, study, table),
            folds=table.localize.folds,
            test=table.test,
            unit=table.unit,
            seed=study.protocol.seed,
        ),
    )


def _fraction(cmap: xr.Dataset, study: Study, table: ContrastTable) -> float:
    """Share of valid features in the ROI, so that folds choose as many as the whole."""
    member = study.shelf.load(f"roi-{table.name}")["member"]
    return float(member.sum()) / float(cmap["valid"].sum())


def _rsa(study: Study, table: RsaTable) -> None:
    study.progress(f"RSA {table.name}")
    responses, seed = study.responses(), study.protocol.seed
    settings = {"n_permutations": table.n_permutations, "seed": seed}
    dissimilarity = study.shelf.array(f"rdm-{table.name}", lambda: rdm(responses, metric=table.metric))
    study.shelf.dataset(
        f"compare_rdms-{table.name}",
        lambda: compare_rdms(
            dissimilarity, model_rdm(responses, table.condition), method=table.method, **settings
        ),
    )
    study.shelf.dataset(
        f"category_rsa-{table.name}",
        lambda: category_rsa(responses, table.condition, index=table.index, **settings),
    )


def _selectivity(study: Study, table: SelectivityTable) -> None:
    study.progress(f"selectivity {table.name}")
    responses = study.responses()
    index = study.shelf.dataset(
        f"selectivity-{table.name}",
        lambda: selectivity_index(
            responses,
            table.condition,
            index=table.index,
            rectify=table.rectify,
            n_permutations=table.n_permutations,
            seed=study.protocol.seed,
        ),
    )
    study.shelf.dataset(f"tuning-{table.name}", lambda: tuning(responses, table.condition))
    for layer, feature in most_selective(index):
        name = f"top_stimuli-{table.name}-{layer}-{feature}"
        study.shelf.dataset(name, partial(top_stimuli, responses, layer=layer, feature=feature, n=8))


def most_selective(index: xr.Dataset, n: int = SHOWN_FEATURES) -> list[tuple[int, int]]:
    """Layer and feature of the ``n`` most selective features, one for each preferred condition in turn."""
    score = index["selectivity"].stack(cell=(LAYER, FEATURE))
    order = np.argsort(-np.nan_to_num(score.values, nan=-np.inf), kind="stable")
    preferred = index["preferred"].stack(cell=(LAYER, FEATURE)).values[order]
    first = [order[np.flatnonzero(preferred == name)[0]] for name in sorted(set(preferred[: 50 * n])) if name]
    return [tuple(int(value) for value in score["cell"].values[cell]) for cell in first[:n]]


def _decoding(study: Study, table: DecodingTable) -> None:
    study.progress(f"decoding {table.name}")
    study.shelf.dataset(
        f"decode-{table.name}",
        lambda: decode(
            study.responses(),
            table.condition,
            groups=table.groups,
            select=table.select,
            n_permutations=table.n_permutations,
            seed=study.protocol.seed,
        ),
    )


def _causal(study: Study, table: CausalTable, subject: Callable[[], Subject], stimuli: pd.DataFrame) -> None:
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


def _perturbation(study: Study, table: CausalTable) -> Lesion | Stimulation:
    if table.lesion is not None:
        roi = study.shelf.load(f"roi-{table.lesion.roi}")
        site = _contrast_of(study, table.lesion.roi).site
        return Lesion(roi, how=table.lesion.how, reference=study.recording(site))
    contrast = _contrast_of(study, table.stimulation.contrast)
    direction = Direction.from_contrast(
        study.responses(contrast.site), contrast.contrast, layer=table.stimulation.layer
    )
    return Stimulation(direction, dose=table.stimulation.dose)


def _contrast_of(study: Study, name: str) -> ContrastTable:
    return next(table for table in study.protocol.contrasts if table.name == name)


def _dissociations(study: Study) -> None:
    """Compare every two experiments that lesion the same ROI on different tasks."""
    lesions = [table for table in study.protocol.causal if table.lesion is not None]
    for first, second in itertools.pairwise(lesions):
        if first.lesion.roi == second.lesion.roi:
            study.shelf.dataset(
                f"dissociation-{first.name}-{second.name}",
                partial(_dissociate, study, first.name, second.name),
            )


def _dissociate(study: Study, first: str, second: str) -> xr.Dataset:
    return dissociate(
        study.shelf.load(f"causal-{first}"), study.shelf.load(f"causal-{second}"), seed=study.protocol.seed
    )
