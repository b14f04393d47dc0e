"""Whether a condition can be read out of the responses to stimuli of groups never seen in training.

Not an encoding model and no causal test: what can be decoded need not be used.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from sklearn.model_selection import StratifiedGroupKFold

from neurosae.analysis.selectivity import class_labels
from neurosae.arrays.permutation import Relabelings, count_relabelings, max_statistic_p, p_value, relabel
from neurosae.arrays.ridge_decoder import (
    SHRINKAGE,
    balanced_accuracy,
    class_scores,
    fold_scores,
    macro_auroc,
    resampled_auroc,
)
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses, stimulus_table
from neurosae.schema.spelling import nearest
from neurosae.schema.units import unit_column

N_FOLDS = 5
N_REPEATS = 5
N_BOOTSTRAP = 2000

_FEWEST_RELABELINGS = 20
"""With fewer no p-value can reach .05."""

ESTIMATOR = (
    f"ridge classifier (closed form, z-scored features, class-balanced targets, penalty {SHRINKAGE:g} x mean "
    "kernel diagonal)"
)

DESCRIPTIONS = {
    "auroc": "AUROC of out-of-fold scores averaged over repeats",
    "auroc_lo": "lower bound of the 95 % interval of the AUROC (bootstrap over groups)",
    "auroc_hi": "upper bound of the 95 % interval of the AUROC (bootstrap over groups)",
    "balanced_accuracy": "balanced accuracy of out-of-fold scores averaged over repeats",
    "auroc_tested": "AUROC of the first repeat, to which p refers",
    "p": "p, one-sided, uncorrected",
    "p_adjusted": "p, one-sided, corrected over layers (max statistic)",
    "chance": "mean AUROC under permuted labels",
    "null_hi": "95th percentile of the AUROC under permuted labels",
    "fold_auroc": "AUROC within one test fold",
    "score": "out-of-fold score averaged over repeats",
}


class _Design(NamedTuple):
    """Rows of the decoder: classes, the groups kept together, and the fold of each row in each repeat."""

    names: np.ndarray
    labels: np.ndarray
    group_names: np.ndarray
    group: np.ndarray
    folds: np.ndarray


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
    classes of one against the rest. p is one-sided: labels are permuted between groups of the same fold, or
    within groups that hold several classes, and all folds are trained and tested anew; chance is the mean
    of this null, not 1/K.

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
    column = _group_column(responses, groups)
    design = _design(responses, by, column, seed)
    relabelings = _relabelings(design, n_permutations, seed)
    weights = _bootstrap_weights(design, seed)
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
    origin = {name: str(responses.attrs[name]) for name in ("site", "basis") if name in responses.attrs}
    return _labelled(found, responses, design).assign_attrs(
        settings,
        estimator=ESTIMATOR,
        alternative="greater",
        n_folds=N_FOLDS,
        n_repeats=N_REPEATS,
        n_units=int(design.group.max() + 1),
        n_classes=len(design.names),
        base_rate=float(np.bincount(design.labels).max() / len(design.labels)),
        **origin,
        **with_step(responses, "decode", **settings),
    )


def _design(responses: xr.DataArray, by: str, column: str, seed: int) -> _Design:
    names, labels = class_labels(responses, by)
    group_names, group = np.unique(responses[column].values.astype(str), return_inverse=True)
    if len(names) < 2:
        raise DesignError(
            f"column {by!r} holds one class only, {str(names[0])!r}; decoding needs two or more."
        )
    n_groups = {str(name): len(np.unique(group[labels == k])) for k, name in enumerate(names)}
    if min(n_groups.values()) < N_FOLDS:
        raise DesignError(
            f"each class needs at least {N_FOLDS} groups, one a fold; {column!r} gives {n_groups}. "
            "Add stimuli, or name a finer column with groups=."
        )
    return _Design(names, labels, group_names, group, _folds(labels, group, seed))


def _folds(labels: np.ndarray, group: np.ndarray, seed: int) -> np.ndarray:
    """Fold of each row in each repeat, (N_REPEATS, n)."""
    folds = np.empty((N_REPEATS, len(labels)), dtype=int)
    for repeat, state in enumerate(np.random.SeedSequence(seed).generate_state(N_REPEATS)):
        splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=int(state))
        for fold, (_, test) in enumerate(splitter.split(labels[:, None], labels, group)):
            folds[repeat, test] = fold
    return folds


def _relabelings(design: _Design, n_permutations: int, seed: int) -> Relabelings:
    # Folds are stratified by the observed labels, so a free permutation would meet folds less balanced than
    # the observed ones. Exchanging labels within a fold keeps the class counts of every fold. If labels have
    # nothing to do with responses, exchanging the responses of two groups of one fold leaves labels and
    # folds as they are and the data as probable as before: the p-value is exact given the folds. The folds
    # of other repeats are not kept by these exchanges, therefore p refers to the first repeat alone.
    per_group = np.unique(np.stack([design.group, design.labels]), axis=1)[0]
    if len(per_group) > design.group.max() + 1:
        # Groups hold several classes: exchanges within a group keep it whole and thus keep every fold.
        scheme = {"strata": design.group}
    else:
        scheme = {"strata": design.folds[0], "blocks": design.group}
    n_possible = count_relabelings(design.labels, **scheme)
    if n_possible < _FEWEST_RELABELINGS:
        raise DesignError(
            f"the labels can fall in {n_possible} ways only; p = .05 needs {_FEWEST_RELABELINGS}. "
            "Labels exchange within groups that hold several classes, else between groups of equal size: "
            "balance the groups, or name another column with groups=."
        )
    return relabel(design.labels, n_permutations, seed=seed, **scheme)


def _bootstrap_weights(design: _Design, seed: int) -> np.ndarray:
    """How often each row occurs in each resample of groups, which replace others with the same classes."""
    holds = np.zeros((design.group.max() + 1, len(design.names)), dtype=bool)
    holds[design.group, design.labels] = True
    kind = np.unique(holds, axis=0, return_inverse=True)[1].ravel()
    rng = np.random.default_rng(seed)
    counts = np.empty((N_BOOTSTRAP, len(kind)), dtype=int)
    for same in (np.flatnonzero(kind == value) for value in np.unique(kind)):
        counts[:, same] = rng.multinomial(len(same), np.full(len(same), 1 / len(same)), N_BOOTSTRAP)
    return counts[:, design.group]


def _decode_layer(
    values: np.ndarray, design: _Design, relabelings: Relabelings, weights: np.ndarray, select: int | None
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


def _fold_aurocs(repeats: np.ndarray, design: _Design) -> np.ndarray:
    areas = np.empty((N_REPEATS, N_FOLDS))
    for repeat, fold in np.ndindex(areas.shape):
        test = design.folds[repeat] == fold
        areas[repeat, fold] = macro_auroc(
            repeats[repeat][test], design.labels[None, test], len(design.names)
        )[0]
    return areas


def _labelled(found: dict[str, np.ndarray], responses: xr.DataArray, design: _Design) -> xr.Dataset:
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


def _group_column(responses: xr.DataArray, groups: str) -> str:
    table = stimulus_table(responses)
    if groups == "item":
        column = next((name for name in ("family", "item") if name in table), unit_column(table))
    elif groups in table:
        column = groups
    else:
        known = list(table.columns)
        raise DesignError(f"no column {groups!r} in the stimuli{nearest(groups, known)} Columns: {known}.")
    n_empty = int((table[column].isna() | (table[column].astype(str) == "")).sum())
    if n_empty:
        raise DesignError(
            f"{n_empty} stimuli have no {column!r}, which keeps groups in one fold. Fill the column."
        )
    return column


def _check_select(select: int | None, responses: xr.DataArray) -> None:
    n_features = responses.shape[-1]
    if select is not None and not 1 <= select <= n_features:
        raise DesignError(
            f"select is {select}; choose 1 to {n_features}, the number of features, or None for all."
        )
