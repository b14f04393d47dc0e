"""Could the decoder have learned any labels at all? Control tasks: random labels for types that recur.

A decoder that does as well on random labels memorises its types, and its score says little of the responses.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import origin
from neurosae.analysis.decoding_design import DecodingDesign, decoding_design, group_column
from neurosae.analysis.decoding_rows import (
    Select,
    layer_rows,
    out_of_fold,
    selection_of,
)
from neurosae.arrays.classification_scores import balanced_accuracy, macro_auroc
from neurosae.arrays.permutation import p_value
from neurosae.arrays.ridge_decoder import Selection
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses

_DRAWS = 200
"""Draws of the labels of one control task, until every training fold has all classes."""

DESCRIPTIONS = {
    "auroc": "held-out AUROC of the task",
    "control_auroc": "mean held-out AUROC of the control tasks",
    "selectivity": "AUROC of the task minus that of the control tasks",
    "selectivity_lo": "2.5th percentile of the selectivity over control tasks",
    "selectivity_hi": "97.5th percentile of the selectivity over control tasks",
    "accuracy": "balanced accuracy of the task",
    "control_accuracy": "mean balanced accuracy of the control tasks",
    "p": "share of tasks, the real one among them, that reach its AUROC; one-sided, uncorrected",
}


def control_task(
    responses: xr.DataArray,
    by: str,
    *,
    types: str = "item",
    groups: str = "stimulus",
    select: Select = None,
    n_controls: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    """How much better a decoder does on the classes than on random labels that are constant within types.

    selectivity = AUROC of the task - mean AUROC of control tasks, by the same decoder in the same folds. Each
    control task gives every type (word, item) one class at random, as many types a class as in the task.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    by : stimulus column that holds the classes
    types : column of what a control label sticks to
    groups : column whose stimuli stay in one fold. It must leave types of the test rows among the training
        rows, such as ``"template"`` for words in templates, or no control label could be learned
    select : as in `neurosae.analysis.decoding.decode`
    n_controls : number of control tasks
    seed : root of the random numbers

    Returns
    -------
    Dataset (layer)
        selectivity with selectivity_lo and selectivity_hi (middle 95 % of control tasks), auroc,
        control_auroc, accuracy, control_accuracy (balanced), p. Attribute ``share_recurring``: of the test
        rows, how many have a type seen in training.

    Raises
    ------
    DesignError
        If a column is missing or empty, no type recurs in training, there are fewer types than twice the
        classes, or the design cannot be decoded (see `neurosae.analysis.decoding.decode`).

    Source
    ------
    Hewitt & Liang 2019, Proc EMNLP-IJCNLP, 2733.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> responses = planted_responses(n_items=8, n_templates=5, effect=5.0)
    >>> found = control_task(responses, "condition", groups="template", n_controls=10)
    >>> found["selectivity"].values.round(1)
    array([0. , 0.1, 0. ])
    """
    check_responses(responses)
    column = group_column(responses, groups)
    design = decoding_design(responses, by, column, seed)
    selection = selection_of(select, responses, len(design.names), seed)
    type_of = _types(responses, types)
    recurring = _share_recurring(design, type_of)
    if recurring == 0:
        raise DesignError(
            f"no {types!r} of a test fold occurs in its training folds, so that random labels of {types!r} "
            "are at chance whatever the decoder. Let folds keep something else together with groups=, such "
            "as the template."
        )
    labels = np.concatenate([design.labels[None], control_labels(design, type_of, n_controls, seed)])
    layers = [
        _layer(layer_rows(responses, layer), labels, design, selection)
        for layer in range(responses.sizes[LAYER])
    ]
    variables = {
        name: ((LAYER,), np.array([layer[name] for layer in layers]), {"long_name": text, "units": "1"})
        for name, text in DESCRIPTIONS.items()
    }
    settings = {
        "by": by,
        "types": types,
        "groups": column,
        "select": selection.size if selection else 0,
        "selector": selection.selector if selection else "none",
        "n_controls": n_controls,
        "seed": seed,
    }
    coords = {LAYER: responses[LAYER]} if LAYER in responses.coords else {}
    return xr.Dataset(variables, coords=coords).assign_attrs(
        settings,
        share_recurring=recurring,
        n_types=int(type_of.max() + 1),
        **origin(responses),
        **with_step(responses, "control_task", **settings),
    )


def control_labels(design: DecodingDesign, type_of: np.ndarray, n_controls: int, seed: int) -> np.ndarray:
    """Random class of each type in each control task, (n_controls, n), classes as frequent as in the task."""
    n_types, n_classes = int(type_of.max() + 1), len(design.names)
    if n_types < 2 * n_classes:
        raise DesignError(
            f"{n_types} types for {n_classes} classes; control tasks need at least {2 * n_classes}, two a "
            "class."
        )
    share = np.cumsum(np.bincount(design.labels, minlength=n_classes)) / len(design.labels)
    # Classes at evenly spaced quantiles; each class gets a type of its own whatever the shares.
    even = np.searchsorted(share, (np.arange(n_types) + 0.5) / n_types)
    even[:n_classes] = np.arange(n_classes)
    rng = np.random.default_rng(seed)
    return np.array([_learnable(design, even, type_of, rng) for _ in range(n_controls)])


def _learnable(
    design: DecodingDesign, classes: np.ndarray, type_of: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Classes given to types at random, such that all training rows hold every class: (n,)."""
    trained = [train for repeat in range(len(design.folds)) for train, _ in design.splits(repeat)]
    for _ in range(_DRAWS):
        labels = np.asarray(rng.permutation(classes)[type_of])
        if all(len(np.unique(labels[train])) == len(design.names) for train in trained):
            return labels
    raise DesignError(
        f"in {_DRAWS} draws of labels at random some training fold always lacked a class: types occur in too "
        "few folds. Add stimuli of each type, or keep something else together with groups=."
    )


def _types(responses: xr.DataArray, types: str) -> np.ndarray:
    """Number of the type of each stimulus."""
    column = group_column(responses, types)
    return np.unique(responses[column].values.astype(str), return_inverse=True)[1]


def _share_recurring(design: DecodingDesign, type_of: np.ndarray) -> float:
    seen = [np.isin(type_of[test], type_of[train]).sum() for train, test in design.splits(0)]
    return float(sum(seen) / len(type_of))


def _layer(
    values: np.ndarray, labels: np.ndarray, design: DecodingDesign, selection: Selection | None
) -> dict[str, float]:
    n_classes = len(design.names)
    repeats = [out_of_fold(values, labels, design, r, selection) for r in range(len(design.folds))]
    scores = np.mean(repeats, axis=0)
    areas, accuracies = macro_auroc(scores, labels, n_classes), balanced_accuracy(scores, labels, n_classes)
    low, high = np.quantile(areas[0] - areas[1:], [0.025, 0.975])
    return {
        "auroc": areas[0],
        "control_auroc": areas[1:].mean(),
        "selectivity": areas[0] - areas[1:].mean(),
        "selectivity_lo": low,
        "selectivity_hi": high,
        "accuracy": accuracies[0],
        "control_accuracy": accuracies[1:].mean(),
        "p": float(p_value(areas[0], areas[1:], exact=False, alternative="greater")),
    }
