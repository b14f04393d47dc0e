"""Whether a condition can be read out of the responses to stimuli of groups never seen in training.

Not an encoding model and no causal test: what can be decoded need not be used.
"""

from collections.abc import Sequence

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
    Select,
    confound_matrix,
    layer_rows,
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
from neurosae.arrays.ridge_decoder import SHRINKAGE, Selection
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
    "peak_share": "share of resamples of the groups in which the layer has the largest AUROC",
    "fold_auroc": "AUROC within one test fold",
    "score": "out-of-fold score averaged over repeats",
}


def decode(
    responses: xr.DataArray,
    by: str,
    *,
    groups: str | tuple[str, str] = "item",
    select: Select = None,
    nuisance: Sequence[str] = (),
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
    groups : column whose stimuli stay in one fold. ``"item"`` means the unit of inference: families if
        there are any, else pairs, items, stimuli. Two columns, ``("item", "template")``: rows are tested by
        decoders that have seen neither their item nor their template
    select : features chosen on the training rows of each fold and permutation: ``("welch", 8)``, the 8 best
        by a selector of `neurosae.arrays.feature_scores`, or a number, that many by variance between
        classes. None keeps all. meandiff, max and the category indices score z-scored units, and the codes
        of a dictionary as they are
    nuisance : stimulus columns (numbers, or names as categories) that are regressed out of each feature, with
        coefficients learned on training rows. Where they tell the classes apart, AUROC can fall below .5
    n_permutations : number of relabelings, all of them if there are fewer
    seed : root of the random numbers

    Returns
    -------
    Dataset
        (layer): auroc with auroc_lo and auroc_hi (95 % percentile bootstrap over groups, decoders not
        trained anew), balanced_accuracy, p, p_adjusted (max over layers), auroc_tested (first repeat, the
        statistic of p), chance and null_hi (mean and 95th percentile of its null), peak_share (how often the
        layer is the best in the same bootstrap, ties shared). Attributes ``peak_layer``, that of the largest
        AUROC, and ``peak_lo`` to ``peak_hi``, the layers between which the middle 95 % of peaks lie: what may
        be said of where decoding peaks. (layer, repeat, fold):
        fold_auroc. (layer, unit, class): score, above 0 if the class is likelier than not; a unit is one
        stimulus, with coordinates ``true_class`` and ``group_label``. Attribute ``base_rate``, the share of
        the largest class. (repeat, unit): test_fold, by which `neurosae.analysis.decoder_comparison` knows
        that two decoders were tested on the same folds; attribute ``test_ratio``, n_test / n_train.

    Raises
    ------
    DesignError
        If a column is missing, a label is empty, there is one class only, a class has fewer groups than
        folds, crossed columns are not crossed, too few relabelings are possible, ``select`` is out of range
        or unknown, or responses are not finite.

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
    column, crossed = group_columns(responses, groups)
    design = decoding_design(responses, by, column, seed, crossed=crossed)
    selection = selection_of(select, responses, len(design.names), seed)
    confounds = confound_matrix(responses, nuisance)
    relabelings = exchanges(design, n_permutations, seed)
    weights = bootstrap_weights(design, seed)
    layers = [
        _decode_layer(layer_rows(responses, layer), design, relabelings, weights, selection, confounds)
        for layer in range(responses.sizes[LAYER])
    ]
    found = {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}
    null, resampled = found.pop("null").T, found.pop("resampled")
    found["peak_share"] = _peak_share(resampled)
    found |= {
        "p": p_value(found["auroc_tested"], null, exact=relabelings.exact, alternative="greater"),
        "p_adjusted": max_statistic_p(found["auroc_tested"], null.max(axis=1), exact=relabelings.exact),
        "chance": null.mean(axis=0),
        "null_hi": np.quantile(null, 0.95, axis=0),
    }
    settings = {
        "by": by,
        "groups": column if crossed is None else f"{column} x {crossed}",
        "select": selection.size if selection else 0,
        "selector": selection.selector if selection else "none",
        "nuisance": ", ".join(nuisance),
        "n_permutations": len(relabelings),
        "scheme": relabelings.scheme,
        "seed": seed,
    }
    return _labelled(found, responses, design).assign_attrs(
        settings,
        estimator=ESTIMATOR,
        alternative="greater",
        n_folds=N_FOLDS,
        n_repeats=len(design.folds),
        test_ratio=design.test_ratio,
        n_units=int(design.group.max() + 1),
        n_classes=len(design.names),
        base_rate=float(np.bincount(design.labels).max() / len(design.labels)),
        **_peak(found, responses),
        **origin(responses),
        **with_step(responses, "decode", **settings),
    )


def _decode_layer(
    values: np.ndarray,
    design: DecodingDesign,
    relabelings: Relabelings,
    weights: np.ndarray,
    select: Selection | None,
    confounds: np.ndarray,
) -> dict[str, np.ndarray]:
    labels, n_classes = design.labels[None], len(design.names)
    tested = np.concatenate([labels, relabelings.labels])
    first = out_of_fold(values, tested, design, 0, select, confounds)
    later = [out_of_fold(values, labels, design, r, select, confounds) for r in range(1, len(design.folds))]
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
        "fold_auroc": split_aurocs(repeats[:, :, 0], design),
        "score": class_scores(score[:, 0]),
        "null": areas[1:],
        "resampled": resampled,
    }


def _peak_share(resampled: np.ndarray) -> np.ndarray:
    """Share of resamples (layer, B) in which each layer has the largest AUROC, ties shared: (layer,)."""
    is_best = resampled == resampled.max(axis=0)
    return np.asarray((is_best / is_best.sum(axis=0)).mean(axis=1))


def _peak(found: dict[str, np.ndarray], responses: xr.DataArray) -> dict[str, int | str]:
    """The layer of the largest AUROC, and the layers between which the middle 95 % of peaks lie."""
    names = responses[LAYER].values if LAYER in responses.coords else np.arange(responses.sizes[LAYER])
    low, high = np.searchsorted(found["peak_share"].cumsum(), (0.025, 0.975)).clip(max=len(names) - 1)
    places = {"peak_layer": found["auroc"].argmax(), "peak_lo": low, "peak_hi": high}
    return {name: names[place].item() for name, place in places.items()}


def _labelled(found: dict[str, np.ndarray], responses: xr.DataArray, design: DecodingDesign) -> xr.Dataset:
    dims: dict[str, tuple[str, ...]] = {
        "fold_auroc": (LAYER, "repeat", "fold"),
        "score": (LAYER, "unit", "class"),
    }
    variables: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]] = {
        name: (dims.get(name, (LAYER,)), found[name], {"long_name": long_name, "units": "1"})
        for name, long_name in DESCRIPTIONS.items()
    }
    variables["test_fold"] = (("repeat", "unit"), design.cells, {"long_name": "test fold", "units": "1"})
    coords = {
        **({LAYER: responses[LAYER]} if LAYER in responses.coords else {}),
        "repeat": np.arange(len(design.folds)),
        "fold": np.arange(design.n_cells),
        "class": design.names,
        "unit": responses[STIMULUS].values.astype(str),
        "true_class": ("unit", design.names[design.labels]),
        "group_label": ("unit", design.group_names[design.group]),
    }
    return xr.Dataset(variables, coords=coords)
