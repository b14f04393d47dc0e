"""Do models hold over stimuli and over replications alike? Dual bootstrap of several RDMs, by rsatoolbox."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from rsatoolbox.inference import eval_dual_bootstrap
from rsatoolbox.model import ModelFixed
from rsatoolbox.rdm import RDMs

from neurosae.analysis.dissimilarities import rdm_units
from neurosae.analysis.model_comparison import COMPARISON, aligned_entries
from neurosae.analysis.rdm_models import aligned_model
from neurosae.analysis.rdm_partials import MODEL
from neurosae.arrays.distance import triangle
from neurosae.arrays.rdm_bootstrap import FEWEST_RDMS, holm_rows
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS
from neurosae.schema.provenance import with_step

METHODS = ("rho-a", "spearman", "corr", "cosine")
"""Similarities of `neurosae.arrays.rdm_comparison` that rsatoolbox has by the same name."""


def compare_models_over_rdms(
    rdms: Sequence[xr.DataArray],
    models: Mapping[str, xr.DataArray],
    *,
    method: str = "rho-a",
    n_bootstraps: int = 500,
    seed: int = 0,
) -> xr.Dataset:
    """How well models follow the RDMs of several replications, for new stimuli and new replications.

    Stimuli, RDMs and both are drawn with replacement; the three variances are combined to the one that both
    have together (dual bootstrap). p come from t with min(stimuli, RDMs) - 1 degrees of freedom.

    Parameters
    ----------
    rdms : three or more RDMs (layer, stimulus, stimulus_2) of the same stimuli from independent replications:
        templates, paraphrase sets, seeds, subjects; one row a unit, none silent
    models : model RDMs (stimulus, stimulus_2) by name, at least two
    method : ``"rho-a"``, ``"spearman"``, ``"corr"`` or ``"cosine"``
    n_bootstraps : samples; rsatoolbox takes some ten milliseconds each and layer
    seed : root of the samples

    Returns
    -------
    Dataset
        ``similarity`` (layer, model), ``p`` of its being above 0; ``p_difference`` (layer, comparison),
        two-sided, of pairs of models and ``p_holm``, corrected within a layer.

    Raises
    ------
    DesignError
        If the method is none of these, there are fewer than three RDMs or two models, they do not fit, rows
        share units, or a pattern is silent.

    Source
    ------
    Schuett et al. 2023, eLife 12:e82566.

    Examples
    --------
    >>> from neurosae.analysis.rdm_models import model_rdm
    >>> from neurosae.analysis.rsa import rdm
    >>> from neurosae.testing import planted_responses
    >>> sets = [planted_responses(n_items=5, planted=[(1, 3), (1, 4)], seed=seed) for seed in range(4)]
    >>> sets = [responses.assign_coords(n_letters=("stimulus", np.arange(10.0))) for responses in sets]
    >>> models = {name: model_rdm(sets[0], name) for name in ("condition", "n_letters")}
    >>> result = compare_models_over_rdms([rdm(own)[:2] for own in sets], models, n_bootstraps=8)
    >>> result.comparison.item(), result.similarity.shape
    ('condition - n_letters', (2, 2))
    """
    if method not in METHODS:
        raise DesignError(f"no RDM similarity {method!r} for several RDMs; choose one of {list(METHODS)}.")
    if len(rdms) < FEWEST_RDMS or len(models) < 2:
        raise DesignError(
            f"{len(rdms)} RDMs and {len(models)} models; this takes at least {FEWEST_RDMS} RDMs of "
            "independent replications and two models. For one RDM, see compare_models."
        )
    entries, first = aligned_entries(rdms)
    labels, units = first[STIMULUS].values, rdm_units(first)
    n_pairs = len(labels) * (len(labels) - 1) // 2
    if any(own.shape[1] < n_pairs for own in entries):
        raise DesignError(
            "rows share a unit or a pattern is silent; average to one row a unit and leave those out."
        )
    targets = [triangle(aligned_model(model, labels, units)) for model in models.values()]
    fixed = [ModelFixed(name, target) for name, target in zip(models, targets, strict=True)]
    with _seeded(seed):
        found = [_evaluated(own, fixed, method, n_bootstraps) for own in entries]
    similarity, p, difference = (np.stack(values) for values in zip(*found, strict=True))
    names = list(models)
    pairs = [f"{a} - {b}" for i, a in enumerate(names) for b in names[i + 1 :]]
    variables = {
        "similarity": (MODEL, similarity, f"mean {method} with the model"),
        "p": (MODEL, p, "one-sided p of a similarity above 0 (dual bootstrap), uncorrected"),
        "p_difference": (COMPARISON, difference, "two-sided p of the difference (dual bootstrap)"),
        "p_holm": (COMPARISON, holm_rows(difference), "two-sided p of the difference, Holm over pairs"),
    }
    data = {
        name: ((LAYER, dim), values, {"long_name": title, "units": "1"})
        for name, (dim, values, title) in variables.items()
    }
    coords: dict[str, object] = {MODEL: names, COMPARISON: pairs}
    if LAYER in first.coords:
        coords[LAYER] = first[LAYER].values
    settings = {"method": method, "n_rdms": len(rdms), "n_bootstraps": n_bootstraps, "seed": seed}
    attrs = settings | with_step(first, "compare_models_over_rdms", models=names, **settings)
    return xr.Dataset(data, coords=coords, attrs=attrs)


def _evaluated(
    entries: np.ndarray, models: list[ModelFixed], method: str, n_bootstraps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarities (K,), p above 0 (K,) and p of differences of one layer."""
    # It writes a progress bar to the terminal whatever it is told.
    with contextlib.redirect_stderr(io.StringIO()):
        result = eval_dual_bootstrap(models, RDMs(entries), method=method, N=n_bootstraps)
    upper = np.triu_indices(len(models), 1)
    return result.get_means(), np.asarray(result.test_zero()), np.asarray(result.test_pairwise())[upper]


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Rsatoolbox draws from the one generator of numpy that all share: set it, and put it back."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
