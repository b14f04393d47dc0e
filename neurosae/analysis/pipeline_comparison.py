"""Which way of finding the features of a concept is best: which space of features, and which selector.

Units or codes of a dictionary, crossed with selectors that do or do not look at labels, with the baselines
and controls without which the answer would be about something else.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from neurosae.analysis.decoding_design import N_FOLDS, exchanges
from neurosae.analysis.decoding_rows import fold_seed
from neurosae.analysis.pipeline_cells import (
    CODES,
    METRICS,
    REFERENCES,
    SELECTORS,
    SIZE,
    fold_cells,
    permuted_aurocs,
    reference_aurocs,
    space_names,
)
from neurosae.analysis.pipeline_contrasts import contrast_variables, item_variables
from neurosae.analysis.pipeline_design import Concept, check_spaces, concepts_of
from neurosae.analysis.pipeline_verdicts import HYPOTHESES
from neurosae.arrays.correction import adjust
from neurosae.arrays.permutation import p_value
from neurosae.schema.names import LAYER, STIMULUS, WINDOW
from neurosae.schema.provenance import with_step

N_REPEATS = 10

_CELL = ("concept", "space", "selector")


def compare_pipelines(
    spaces: Mapping[str, xr.DataArray],
    by: str,
    *,
    target: str,
    concept: str = "concept",
    n_repeats: int = N_REPEATS,
    n_permutations: int = 0,
    seed: int = 0,
) -> xr.Dataset:
    """Which pipeline finds the 8 features that tell a concept from its contrast best, over many concepts.

    A pipeline is a space (units; codes) and a selector. In each training fold: features alive, the 8 best by
    the selector, z-scored, logistic regression (L2, C = 1); tested on the held-out fold. All pipelines have
    the same folds. With a = AUROC:

    * H1 RSA selectors against max: mean over spaces of (a_CMI + a_CDI)/2 - a_max
    * H2 codes against raw: mean over max, CMI, CDI of a_codes - a_raw
    * H3 CDI against CMI: mean over spaces of a_CDI - a_CMI

    Parameters
    ----------
    spaces : responses by name: ``"raw"`` (units) and ``"codes"`` (of a dictionary), and, without which H2 is
        not claimed, ``"random"`` (codes of a dictionary of random weights, as wide and as sparse); the same
        stimuli, one layer each, fixed in advance. Responses over windows (stimulus, window, layer, feature)
        let the category indices compare courses over the stimulus; from one value a stimulus CDI is the Welch
        t over again
    by : stimulus column with two classes in each concept, the target and its contrast
    target : the class that is the target, by name, in every concept
    concept : column of the concepts; each stimulus belongs to one
    n_repeats : repeats of the 5 folds (groups whole, see `neurosae.analysis.decoding.decode`)
    n_permutations : relabelings of the first repeat for the test of each pipeline against chance; 0 for none.
        Each runs everything anew
    seed : root of the random numbers

    Returns
    -------
    Dataset
        (concept, space, selector, repeat, fold): auroc, balanced_accuracy, log_loss, brier; and ``selected``
        (…, rank), features by number in their space, -1 for none. (reference, concept, space, repeat, fold):
        reference_auroc of all features and of the difference of means. (space, selector, unit):
        item_log_loss. (hypothesis, concept): difference, its bounds, p, p_left, p_rope, p_right; and the same
        contrast in log loss, item_saving (above 0 if the first is better), its bounds and item_p.
        (hypothesis): across_effect with across_low and across_high, across_p (sign flips), across_p_holm (of
        the three), … and ``verdict``. (space, selector): chance_p, chance_p_holm. (concept, space, selector):
        n_failed, folds without a decoder (too few alive, no convergence), which are NaN.

    Raises
    ------
    DesignError
        If a space is missing or has other stimuli, several layers or fewer than 8 features alive, or a
        concept has not two classes, the target among them, or cannot be split into 5 folds.

    Notes
    -----
    Required baselines: welch and meandiff (labels, no RSA), maxpos (max with labels), variance and random (no
    labels). Derived spaces: ``raw_axes``, principal axes of the units; ``codes_thinned``, at random as many
    codes as there are units, since the best 8 of more candidates look better. Where the truth is sparse in
    the dictionary, codes win by construction: the gain is a property of the code. Within concepts p is
    conditional on these stimuli; over concepts it generalises to others like them.

    Source
    ------
    Nadeau & Bengio 2003, Mach Learn 52:239; Benavoli et al. 2017, J Mach Learn Res 18:77; Kantamneni et al.
    2025, arXiv 2502.16681; Heap et al. 2025, arXiv 2501.17727 (dictionaries of random weights).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> raw = planted_responses(n_layers=1, planted=[(0, f) for f in range(8)], effect=1.0)
    >>> raw = raw.assign_coords(concept=("stimulus", ["c"] * 40))
    >>> found = compare_pipelines({"raw": raw, "codes": abs(raw)}, "condition", target="A", n_repeats=1)
    >>> found["auroc"].sel(selector=["welch", "random"], space="raw").mean(["repeat", "fold"]).values.round(1)
    array([[0.8, 0.7]])
    >>> str(found["verdict"].sel(hypothesis="H1").values)[:51]
    'not decided: 1 concepts, at least 10 are needed; -0'
    """
    reference = check_spaces(spaces)
    concepts = concepts_of(spaces, reference, (by, concept), target, n_repeats=n_repeats, seed=seed)
    folds = _fold_arrays(concepts, spaces, len(reference[STIMULUS]), seed)
    contrasts = contrast_variables(folds["auroc"], concepts, spaces, seed)
    items = item_variables(folds["loss"].mean(axis=0), concepts, spaces, seed)
    chance = _against_chance(concepts, spaces, n_permutations, seed)
    settings = {
        "by": by,
        "target": target,
        "concept_column": concept,
        "size": SIZE,
        "n_repeats": n_repeats,
        "n_permutations": n_permutations,
        "seed": seed,
    }
    coords = {
        "concept": [one.name for one in concepts],
        "space": list(space_names(spaces)),
        "selector": list(SELECTORS),
        "reference": list(REFERENCES),
        "hypothesis": list(HYPOTHESES),
        "contrast": ("hypothesis", [text for text, _ in HYPOTHESES.values()]),
        "repeat": np.arange(n_repeats),
        "fold": np.arange(N_FOLDS),
        "unit": reference[STIMULUS].values.astype(str),
    }
    return xr.Dataset(_fold_variables(folds) | contrasts | items | chance, coords=coords).assign_attrs(
        settings,
        estimator="8 features, z-scored, logistic regression (L2, C = 1)",
        patterns="windows" if any(WINDOW in space.dims for space in spaces.values()) else "one value",
        bases=", ".join(f"{name}: {space.attrs.get('basis', '')}" for name, space in spaces.items()),
        layer=str(reference[LAYER].values[0]) if LAYER in reference.coords else "",
        **with_step(spaces[CODES], "compare_pipelines", **settings),
    )


def _fold_arrays(
    concepts: list[Concept], spaces: Mapping[str, object], n_stimuli: int, seed: int
) -> dict[str, np.ndarray]:
    """Metrics, selections and references of all cells in all folds, item losses averaged over repeats."""
    names, n_repeats = space_names(spaces), len(concepts[0].design.folds)
    shape = (len(concepts), len(names), len(SELECTORS), n_repeats, N_FOLDS)
    found = {
        "metrics": np.full((len(METRICS), *shape), np.nan),
        "selected": np.full((*shape, SIZE), -1),
        "reference": np.full((len(REFERENCES), *shape[:2], *shape[3:]), np.nan),
        "loss": np.full((n_repeats, len(names), len(SELECTORS), n_stimuli), np.nan),
    }
    for c, concept in enumerate(concepts):
        for r in range(n_repeats):
            for f, (train, test) in enumerate(concept.design.splits(r)):
                _fill(found, concept, (c, r, f), (train, test), fold_seed(seed, r, f))
    return found | {"auroc": found["metrics"][0]}


def _fill(
    found: dict[str, np.ndarray],
    concept: Concept,
    place: tuple[int, int, int],
    split: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> None:
    """Write one fold of one concept into the arrays of `_fold_arrays`, which are its caller's own."""
    c, r, f = place
    names = space_names(concept.spaces)
    for (space, selector), cell in fold_cells(concept.spaces, concept.labels, *split, seed=seed).items():
        s, q = names.index(space), SELECTORS.index(selector)
        found["metrics"][:, c, s, q, r, f] = cell.metrics
        found["selected"][c, s, q, r, f] = cell.selected
        found["loss"][r, s, q, concept.rows[split[1]]] = cell.loss
    for s, space in enumerate(names):
        found["reference"][:, c, s, r, f] = reference_aurocs(
            concept.spaces, space, concept.labels, *split, seed
        )


def _fold_variables(
    folds: dict[str, np.ndarray],
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
    dims = (*_CELL, "repeat", "fold")
    is_run = np.isfinite(folds["metrics"][2]).any(axis=(0, 3, 4))[None, :, :, None, None]
    failed = (np.isnan(folds["metrics"][2]) & is_run).sum(axis=(3, 4))
    found = {
        name: (dims, folds["metrics"][m], {"long_name": text, "units": "nats" if name == "log_loss" else "1"})
        for m, (name, text) in enumerate(METRICS.items())
    }
    return found | {
        "selected": (
            (*dims, "rank"),
            folds["selected"],
            {"long_name": "number of the feature selected", "units": "1"},
        ),
        "n_failed": (_CELL, failed, {"long_name": "folds without a decoder", "units": "1"}),
        "reference_auroc": (
            ("reference", "concept", "space", "repeat", "fold"),
            folds["reference"],
            {"long_name": "held-out AUROC of all features", "units": "1"},
        ),
        "item_log_loss": (
            ("space", "selector", "unit"),
            folds["loss"].mean(axis=0),
            {"long_name": "held-out log loss of the stimulus, mean over repeats", "units": "nats"},
        ),
    }


def _against_chance(
    concepts: list[Concept], spaces: Mapping[str, object], n_permutations: int, seed: int
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
    """One-sided p of the AUROC of each given cell, mean over concepts, against labels permuted in each."""
    names = space_names(spaces)
    p = np.full((len(names), len(SELECTORS)), np.nan)
    if n_permutations:
        null = []
        for number, one in enumerate(concepts):
            drawn = exchanges(one.design, n_permutations, seed + number)
            # Enumerated relabelings have as many rows as there are; draw from them, so that concepts add up.
            rows = np.random.default_rng([seed, number]).integers(len(drawn), size=n_permutations)
            relabeled = (one.design.names[drawn.labels[rows]] != one.target).astype(int)
            null.append(permuted_aurocs(one.spaces, one.design, one.labels, relabeled, seed))
        for space, selector in null[0]:
            mean = np.mean([found[space, selector] for found in null], axis=0)
            place = names.index(space), SELECTORS.index(selector)
            p[place] = p_value(mean[0], mean[1:], exact=False, alternative="greater")
    corrected = adjust(p.ravel(), "holm").reshape(p.shape)
    dims, test = ("space", "selector"), "one-sided permutation p of the AUROC of the first repeat"
    return {
        "chance_p": (dims, p, {"long_name": f"{test}, uncorrected", "units": "1"}),
        "chance_p_holm": (dims, corrected, {"long_name": f"{test}, Holm over cells", "units": "1"}),
    }
