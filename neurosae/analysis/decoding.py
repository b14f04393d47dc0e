"""Whether a condition can be read out of the responses to stimuli of groups never seen in training.

Not an encoding model and no causal test: what can be decoded need not be used.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import origin
from neurosae.analysis.decoding_design import (
    N_FOLDS,
    DecodingDesign,
    bootstrap_weights,
    decoding_design,
    exchanges,
    group_columns,
)
from neurosae.analysis.decoding_rows import (
    DecodedRows,
    decoded_rows,
    layer_values,
    out_of_fold,
    selection_of,
    split_aurocs,
)
from neurosae.arrays.classification_scores import (
    balanced_accuracy,
    class_scores,
    macro_auroc,
    resampled_auroc,
)
from neurosae.arrays.permutation import Relabelings, max_statistic_p, p_value
from neurosae.arrays.ridge_decoder import SHRINKAGE, fold_scores
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses

ESTIMATOR = (
    f"ridge classifier (closed form, z-scored features, class-balanced targets, penalty {SHRINKAGE:g} x mean "
    "kernel diagonal)"
)

DESCRIPTIONS = {
    "auroc": "held-out AUROC",
    "auroc_lo": "lower bound of the 95 % interval of the AUROC (bootstrap over groups)",
    "auroc_hi": "upper bound of the 95 % interval of the AUROC (bootstrap over groups)",
    "balanced_accuracy": "balanced accuracy of out-of-fold scores averaged over repeats",
    "auroc_tested": "AUROC of the first repeat, to which p refers",
    "p": "p of the AUROC of the first repeat (auroc_tested), one-sided, uncorrected",
    "p_adjusted": "p of the AUROC of the first repeat (auroc_tested), one-sided, corrected over layers "
    "(max statistic)",
    "chance": "mean AUROC of the first repeat under permuted labels",
    "null_hi": "95th percentile of the AUROC of the first repeat under permuted labels",
    "fold_auroc": "AUROC within one test fold",
    "score": "out-of-fold score averaged over repeats",
}


def decode(
    responses: xr.DataArray,
    by: str,
    *,
    groups: str = "item",
    select: int | None = None,
    n_permutations: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """How well a condition can be decoded, layer by layer, from stimuli of groups unseen in training.

    Ridge classifier in 5 folds that keep all stimuli of a group together, repeated 5 times. Standardisation
    and selection of features are learned inside each fold. AUROC for more than two classes is the mean over
    classes of one against the rest. p is one-sided and belongs to the AUROC of the first repeat: labels are
    permuted between groups of one class in the same fold and within groups of several classes, all folds are
    trained and tested anew; chance is the mean of this null, not 1/K. Rows of one group and class (items,
    paraphrases) move together, in exchange for as many rows of another class or group.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; stimuli are not averaged
    by : stimulus column that holds the classes, each in at least 5 groups
    groups : column whose stimuli stay in one fold. ``"item"`` means the families if there are any, else
        the items, else the unit of inference
    select : number of features, chosen by variance between classes on the training rows of each fold and
        permutation; None keeps all
    n_permutations : number of relabelings, all of them if there are fewer
    seed : root of the random numbers

    Returns
    -------
    Dataset
        (layer): auroc with auroc_lo and auroc_hi (95 % percentile bootstrap over groups, decoders not
        trained anew), balanced_accuracy, p, p_adjusted (max over layers), auroc_tested (first repeat, the
        statistic of p), chance and null_hi (mean and 95th percentile of its null). (layer, repeat, fold):
        fold_auroc. (layer, unit, class): score, above 0 if the class is likelier than not; a unit is one
        stimulus, with coordinates ``true_class`` and ``group_label``. Attribute ``base_rate``, the share of
        the largest class.

    Raises
    ------
    DesignError
        If a column is missing, a label is empty, there is one class only, a class has fewer groups than
        folds, too few relabelings are possible, ``select`` is out of range or responses are not finite.

    Source
    ------
    Varoquaux et al. 2017, NeuroImage 145:166 (cross-validation); Phipson & Smyth 2010, Stat Appl Genet Mol
    Biol 9:39 (p-values); Nichols & Holmes 2002, Hum Brain Mapp 15:1 (max statistic).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> found = decode(planted_responses(n_items=10, effect=6.0), "condition", n_permutations=99)
    >>> found["auroc"].values.round(1), found["p_adjusted"].values.round(2)
    (array([0.4, 0.9, 0.4]), array([1.  , 0.01, 0.97]))
    """
    check_responses(responses)
    _check_select(select, responses)
    column = group_column(responses, groups)
    design = decoding_design(responses, by, column, seed)
    relabelings = exchanges(design, n_permutations, seed)
    weights = bootstrap_weights(design, seed)
    layers = [
        _decode_layer(responses.values[:, layer], design, relabelings, weights, select)
        for layer in range(responses.sizes[LAYER])
    ]
    found = {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}
    null = found.pop("null").T
    found |= {
        "p": p_value(found["auroc_tested"], null, exact=relabelings.exact, alternative="greater"),
        "p_adjusted": max_statistic_p(found["auroc_tested"], null.max(axis=1), exact=relabelings.exact),
        "chance": null.mean(axis=0),
        "null_hi": np.quantile(null, 0.95, axis=0),
    }
    settings = {"by": by, "groups": column, "select": select or 0, "n_permutations": len(relabelings)}
    settings |= {"scheme": relabelings.scheme, "seed": seed}
    return _labelled(found, responses, design).assign_attrs(
        settings,
        estimator=ESTIMATOR,
        alternative="greater",
        n_folds=N_FOLDS,
        n_repeats=N_REPEATS,
        n_units=int(design.group.max() + 1),
        n_classes=len(design.names),
        base_rate=float(np.bincount(design.labels).max() / len(design.labels)),
        **origin(responses),
        **with_step(responses, "decode", **settings),
    )


def _decode_layer(
    values: np.ndarray,
    design: DecodingDesign,
    relabelings: Relabelings,
    weights: np.ndarray,
    select: int | None,
) -> dict[str, np.ndarray]:
    labels, n_classes = design.labels[None], len(design.names)
    tested = np.concatenate([labels, relabelings.labels])
    first = _out_of_fold(values, tested, design.folds[0], n_classes, select)
    later = [_out_of_fold(values, labels, folds, n_classes, select) for folds in design.folds[1:]]
    repeats = np.stack([first[:, :1], *later])
    score = repeats.mean(axis=0)
    resampled = resampled_auroc(score[:, 0], design.labels, weights, n_classes)
    low, high = np.quantile(resampled, [0.025, 0.975])
    areas = macro_auroc(first, tested, n_classes)
    return {
        "auroc": macro_auroc(score, labels, n_classes)[0],
        "auroc_lo": low,
        "auroc_hi": high,
        "balanced_accuracy": balanced_accuracy(score, labels, n_classes)[0],
        "auroc_tested": areas[0],
        "fold_auroc": _fold_aurocs(repeats, design),
        "score": class_scores(score[:, 0]),
        "null": areas[1:],
    }


def _out_of_fold(
    values: np.ndarray, labels: np.ndarray, folds: np.ndarray, n_classes: int, select: int | None
) -> np.ndarray:
    """Score of each row from the decoder that was trained on the other folds, (n, P, C)."""
    scores = np.empty((len(values), len(labels), 1 if n_classes == 2 else n_classes))
    for fold in range(N_FOLDS):
        test = folds == fold
        scores[test] = fold_scores(values[~test], values[test], labels[:, ~test], n_classes, select=select)
    return scores


def _fold_aurocs(repeats: np.ndarray, design: DecodingDesign) -> np.ndarray:
    areas = np.empty((N_REPEATS, N_FOLDS))
    for repeat, fold in np.ndindex(areas.shape):
        test = design.folds[repeat] == fold
        areas[repeat, fold] = macro_auroc(
            repeats[repeat][test], design.labels[None, test], len(design.names)
        )[0]
    return areas


def _labelled(found: dict[str, np.ndarray], responses: xr.DataArray, design: DecodingDesign) -> xr.Dataset:
    dims = {"fold_auroc": (LAYER, "repeat", "fold"), "score": (LAYER, "unit", "class")}
    variables = {
        name: (dims.get(name, (LAYER,)), found[name], {"long_name": long_name, "units": "1"})
        for name, long_name in DESCRIPTIONS.items()
    }
    coords = {
        **({LAYER: responses[LAYER]} if LAYER in responses.coords else {}),
        "repeat": np.arange(N_REPEATS),
        "fold": np.arange(N_FOLDS),
        "class": design.names,
        "unit": responses[STIMULUS].values.astype(str),
        "true_class": ("unit", design.names[design.labels]),
        "group_label": ("unit", design.group_names[design.group]),
    }
    return xr.Dataset(variables, coords=coords)


def _check_select(select: int | None, responses: xr.DataArray) -> None:
    n_features = responses.shape[-1]
    if select is not None and not 1 <= select <= n_features:
        raise DesignError(
            f"select is {select}; choose 1 to {n_features}, the number of features, or None for all."
        )
