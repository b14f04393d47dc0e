"""The hypotheses of the pipeline comparison as variables of its result: over folds, items and concepts."""

from collections.abc import Mapping

import numpy as np

from neurosae.analysis.pipeline_cells import SELECTORS, space_names
from neurosae.analysis.pipeline_design import Concept
from neurosae.analysis.pipeline_verdicts import (
    HYPOTHESES,
    across_concepts,
    contrast_folds,
    holm,
    over_items,
    verdicts,
    within_concepts,
)

_WITHIN = {
    "difference": "mean contrast over folds within the concept",
    "difference_lo": "lower bound of its 95 % interval (corrected resampled t)",
    "difference_hi": "upper bound of its 95 % interval (corrected resampled t)",
    "p": "two-sided p of the corrected resampled t, uncorrected",
    "p_left": "posterior probability of a difference below the ROPE, within the concept",
    "p_rope": "posterior probability of a difference within the ROPE, within the concept",
    "p_right": "posterior probability of a difference above the ROPE, within the concept",
}
_ITEMS = {
    "item_saving": "mean log loss of an item that the contrast saves, within the concept",
    "item_saving_lo": "lower bound of its 95 % interval (t over groups)",
    "item_saving_hi": "upper bound of its 95 % interval (t over groups)",
    "item_p": "two-sided sign-flip p over groups, given the decoders as trained, uncorrected",
}
_ACROSS = {
    "effect": "mean contrast over concepts",
    "low": "lower bound of its 95 % interval (t over concepts)",
    "high": "upper bound of its 95 % interval (t over concepts)",
    "p": "two-sided sign-flip p over concepts, uncorrected",
    "wilcoxon_p": "two-sided Wilcoxon p over concepts, uncorrected",
    "p_left": "posterior probability of a mean below the ROPE, over concepts",
    "p_rope": "posterior probability of a mean within the ROPE, over concepts",
    "p_right": "posterior probability of a mean above the ROPE, over concepts",
    "n_concepts": "number of concepts",
    "n_same_sign": "number of concepts with the sign of the mean",
    "n_needed": "concepts needed for a difference of 0.03 with power .8",
}


def contrast_variables(
    auroc: np.ndarray, concepts: list[Concept], spaces: Mapping[str, object], seed: int
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
    """Each contrast over folds within concepts, and over concepts, with what may be said of it.

    Parameters
    ----------
    auroc : (concept, space, selector, repeat, fold)
    """
    flat = auroc.reshape(*auroc.shape[:3], -1)
    ratio = np.array([one.design.test_ratio for one in concepts])
    names = list(space_names(spaces))
    differences = {
        name: contrast_folds(flat, names, list(SELECTORS), weights)
        for name, (_, weights) in HYPOTHESES.items()
    }
    within = {name: within_concepts(values, ratio) for name, values in differences.items()}
    across = {name: across_concepts(found["difference"], seed=seed) for name, found in within.items()}
    p_holm = holm(across)
    said = verdicts(across, p_holm)
    found: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]] = {
        name: (
            ("hypothesis", "concept"),
            np.stack([within[h][name] for h in HYPOTHESES]),
            {"long_name": text, "units": "1"},
        )
        for name, text in _WITHIN.items()
    }
    over = {name: np.array([getattr(across[h], name) for h in HYPOTHESES], dtype=float) for name in _ACROSS}
    over["p_holm"] = np.array([p_holm[h] for h in HYPOTHESES])
    found |= {
        f"across_{name}": (("hypothesis",), over[name], {"long_name": text, "units": "1"})
        for name, text in (_ACROSS | {"p_holm": "two-sided sign-flip p, Holm over H1 to H3"}).items()
    }
    verdict = np.array([said[h] for h in HYPOTHESES])
    return found | {"verdict": (("hypothesis",), verdict, {"long_name": "verdict", "units": "1"})}


def item_variables(
    losses: np.ndarray, concepts: list[Concept], spaces: Mapping[str, object], seed: int
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
    """Each contrast in the log loss of items (space, selector, unit), concept by concept."""
    names = list(space_names(spaces))
    found = np.array(
        [
            [
                over_items(
                    losses[..., one.rows], one.design.group, names, list(SELECTORS), weights, seed=seed
                )
                for one in concepts
            ]
            for _, weights in HYPOTHESES.values()
        ]
    )
    return {
        name: (
            ("hypothesis", "concept"),
            found[..., column],
            {"long_name": text, "units": "1" if name == "item_p" else "nats"},
        )
        for column, (name, text) in enumerate(_ITEMS.items())
    }
