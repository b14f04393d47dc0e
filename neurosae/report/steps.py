"""The analyses of a protocol, one function a table; results go on the shelf."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.analysis.category import category_rsa
from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.decoding import decode
from neurosae.analysis.localizer import cross_localize, localize
from neurosae.analysis.rdm_models import model_rdm
from neurosae.analysis.rsa import compare_rdms, rdm
from neurosae.analysis.selectivity import selectivity_index
from neurosae.analysis.surface import surface_features
from neurosae.analysis.tuning_curves import top_stimuli, tuning
from neurosae.protocol.tables import ContrastPlan, DecodingPlan, RsaPlan, SelectivityPlan
from neurosae.report.causal_steps import run_causal_plan, run_dissociations
from neurosae.report.context import Study
from neurosae.schema.names import FEATURE, LAYER
from neurosae.subject.interface import Subject

ALPHA = 0.05
SHOWN_FEATURES = 4
"""How many of the most selective features the report draws tuning curves for."""


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
        run_causal_plan(study, causal, subject, tables[causal.name])
    run_dissociations(study)


def _contrast(study: Study, table: ContrastPlan) -> None:
    study.progress(f"contrast {table.name}")
    responses = study.responses(table)
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
    responses = study.responses(table)
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
    responses = study.responses(table)
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
    """Layer and feature of the ``n`` most selective features, one for each preferred condition in turn.

    Those that pass come first, and of equals those with the larger AUROC: a feature that fires once is
    wholly selective, and says nothing.
    """
    cells = index[["selectivity", "auroc", "q_fdr", "preferred"]].stack(cell=(LAYER, FEATURE))
    score, area = (np.nan_to_num(cells[name].values, nan=-np.inf) for name in ("selectivity", "auroc"))
    order = np.lexsort((-area, -score, ~(cells["q_fdr"].values <= ALPHA)))
    preferred = cells["preferred"].values[order]
    first = [order[np.flatnonzero(preferred == name)[0]] for name in sorted(set(preferred[: 50 * n])) if name]
    return [(int(layer), int(feature)) for layer, feature in cells["cell"].values[first[:n]]]


def _decoding(study: Study, table: DecodingPlan) -> None:
    study.progress(f"decoding {table.name}")
    run = partial(
        decode,
        by=table.condition,
        groups=table.groups,
        n_permutations=table.n_permutations,
        seed=study.protocol.seed,
    )
    responses = study.responses(table)
    study.shelf.dataset(f"decode-{table.name}", lambda: run(responses, select=table.select))
    study.shelf.dataset(f"surface-{table.name}", lambda: run(surface_features(responses)))
