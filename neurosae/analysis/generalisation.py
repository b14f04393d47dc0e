"""Does what tells the classes apart in one place tell them apart in another? Train here, test there.

Layers share a code only in the residual stream of one subject, where unit f is unit f in all layers.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from neurosae.analysis.classes import class_labels, origin
from neurosae.analysis.decoding import ESTIMATOR
from neurosae.analysis.decoding_design import DecodingDesign, decoding_design, exchanges, group_column
from neurosae.analysis.decoding_rows import Select, fold_seed, selection_of
from neurosae.arrays.classification_scores import macro_auroc
from neurosae.arrays.permutation import Relabelings, max_statistic_p, p_value
from neurosae.arrays.ridge_decoder import Selection, fold_scores
from neurosae.errors import DesignError
from neurosae.schema.names import (
    FEATURE,
    LAYER,
    RESIDUAL_SITES,
    STIMULUS,
    UNITS_BASIS,
    WINDOW,
    WINDOWED_DIMS,
)
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses

SCALINGS = ("train", "own")
"""z-scored by mean and SD of the place of training, or by those of the training rows of each place."""

_FEWEST_FOR_RATIO = 0.6

DESCRIPTIONS = {
    "auroc": "held-out AUROC, trained at one place and tested at another",
    "ratio": "AUROC above .5 as a share of what training at the place of the test gives",
    "p": "one-sided p of the AUROC of the first repeat (auroc_tested), uncorrected",
    "p_adjusted": "one-sided p of the AUROC of the first repeat (auroc_tested), corrected over all cells "
    "(max statistic)",
    "auroc_tested": "AUROC of the first repeat, to which p refers",
    "chance": "mean AUROC of the first repeat under permuted labels",
}


class _Places(NamedTuple):
    """Responses at V places, (V, n, F), and which rows each place has, (V, n)."""

    values: np.ndarray
    present: np.ndarray


def generalize(
    responses: xr.DataArray,
    by: str,
    over: str = "layer",
    *,
    groups: str = "item",
    select: Select = None,
    scaling: str = "train",
    n_permutations: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """How well a decoder trained at one layer, window or condition does at another: a matrix of AUROCs.

    All cells of the matrix have the same folds of groups: a decoder trained at a on the training groups is
    tested at b on the held-out groups, so that no group tested was seen in training anywhere. The diagonal is
    the ordinary decoder. The decoder is that of `neurosae.analysis.decoding.decode`.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; with ``over="window"`` (stimulus, window, layer,
        feature), windows being aligned parts of the stimuli, such as ``relative:10``
    by : stimulus column that holds the classes
    over : ``"layer"``; ``"window"``; or a stimulus column whose levels hold all classes each: condition,
        domain, template
    groups : column whose stimuli stay in one fold, see `neurosae.analysis.decoding.decode`
    select : features chosen on the training rows
    scaling : ``"train"``: test responses keep their distance from the training responses; ``"own"``: each
        place is z-scored by its own training rows, which forgives a shift or gain between places
    n_permutations : number of relabelings, the same for all cells; each trains all decoders anew
    seed : root of the random numbers

    Returns
    -------
    Dataset
        (train, test) over layers, else (layer, train, test): auroc (scores averaged over 5 repeats), ratio =
        (auroc - .5) / (auroc at the diagonal of test - .5), NaN where that diagonal is not above .6; p and
        p_adjusted (max over all cells), one-sided, of auroc_tested (first repeat); chance.

    Raises
    ------
    DesignError
        If layers are compared outside the residual stream in units, a place lacks a class or a fold of it,
        the scaling is unknown, or the design cannot be decoded (see `neurosae.analysis.decoding.decode`).

    Source
    ------
    King & Dehaene 2014, Trends Cogn Sci 18:203 (generalisation over time); Kaplan, Man & Greening 2015, Front
    Hum Neurosci 9:151 (over conditions).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> responses = planted_responses(50, n_features=4, effect=3.0, planted=[(0, 2), (1, 2)])
    >>> generalize(responses, "condition", n_permutations=19)["auroc"].values[:2].round(1)
    array([[1. , 1. , 0.5],
           [1. , 1. , 0.5]])
    """
    _check_over(responses, over, scaling)
    flat = responses.isel({WINDOW: 0}) if over == WINDOW else responses
    column = group_column(flat, groups)
    names, blocks = _places(responses, by, over)
    design = decoding_design(flat, by, column, seed)
    level = class_labels(flat, over)[1] if over not in (LAYER, WINDOW) else None
    relabelings = exchanges(design, n_permutations, seed, within=level)
    selection = selection_of(select, flat, len(design.names), seed)
    rescale = _RESCALE[scaling]
    parts = [_matrix(places, design, relabelings, selection, rescale) for places in blocks]
    found = {name: np.stack([part[name] for part in parts]) for name in ("auroc", "tested", "null")}
    variables = _tested(found, exact=relabelings.exact)
    dims: tuple[str, ...] = (LAYER, "train", "test")
    coords = {"train": names, "test": names}
    if over == LAYER:
        variables, dims = {name: value[0] for name, value in variables.items()}, dims[1:]
    elif LAYER in responses.coords:
        coords[LAYER] = responses[LAYER].values
    settings = {
        "by": by,
        "over": over,
        "groups": column,
        "select": selection.size if selection else 0,
        "selector": selection.selector if selection else "none",
        "scaling": scaling,
        "n_permutations": len(relabelings),
        "seed": seed,
    }
    return xr.Dataset(
        {name: (dims, variables[name], {"long_name": t, "units": "1"}) for name, t in DESCRIPTIONS.items()},
        coords=coords,
    ).assign_attrs(
        settings,
        estimator=ESTIMATOR,
        alternative="greater",
        scheme=relabelings.scheme,
        n_units=int(design.group.max() + 1),
        **origin(responses),
        **with_step(responses, "generalize", **settings),
    )


def _check_over(responses: xr.DataArray, over: str, scaling: str) -> None:
    if scaling not in SCALINGS:
        raise DesignError(f"no scaling {scaling!r}; choose one of {list(SCALINGS)}.")
    if over == WINDOW:
        if tuple(responses.dims) != WINDOWED_DIMS:
            raise DesignError(
                f"over='window' needs responses {WINDOWED_DIMS}, got {tuple(responses.dims)}; pool with a "
                "window of several parts, such as 'relative:10'."
            )
        for window in range(responses.sizes[WINDOW]):
            check_responses(responses.isel({WINDOW: window}))
        return
    check_responses(responses)
    basis, site = (str(responses.attrs.get(name, "")) for name in ("basis", "site"))
    if over == LAYER and (basis != UNITS_BASIS or site not in RESIDUAL_SITES):
        raise DesignError(
            f"layers of site {site!r} in basis {basis!r} have features of their own: number f of one layer "
            "has nothing to do with number f of another. Over layers generalise in "
            f"{UNITS_BASIS!r} of a residual stream ({', '.join(RESIDUAL_SITES)})."
        )
    if over in (FEATURE, STIMULUS):
        raise DesignError(f"cannot generalise over {over!r}; name 'layer', 'window' or a stimulus column.")


def _places(responses: xr.DataArray, by: str, over: str) -> tuple[np.ndarray, Iterator[_Places]]:
    """Names of the places, and their responses: once over layers, else layer by layer."""
    n = responses.sizes[STIMULUS]
    if over == LAYER:
        values = responses.values.transpose(1, 0, 2)
        names = responses[LAYER].values if LAYER in responses.coords else np.arange(len(values))
        return names, iter([_Places(values, np.ones((len(values), n), dtype=bool))])
    layers = range(responses.sizes[LAYER])
    if over == WINDOW:
        n_windows = responses.sizes[WINDOW]
        everywhere = np.ones((n_windows, n), dtype=bool)
        ordered = responses.transpose(WINDOW, STIMULUS, LAYER, FEATURE)
        blocks = (_Places(ordered.isel({LAYER: layer}).values, everywhere) for layer in layers)
        return np.arange(n_windows), blocks
    names, level = class_labels(responses, over)
    if len(names) < 2:
        raise DesignError(
            f"column {over!r} has one level only, {str(names[0])!r}; name one with two or more."
        )
    _check_levels(responses, by, over)
    present = level == np.arange(len(names))[:, None]
    rows = (responses.isel({LAYER: layer}).values for layer in layers)
    return names, (_Places(np.broadcast_to(r, (len(names), *r.shape)), present) for r in rows)


def _check_levels(responses: xr.DataArray, by: str, over: str) -> None:
    classes, labels = class_labels(responses, by)
    names, level = class_labels(responses, over)
    for place, name in enumerate(names):
        missing = sorted(set(classes.tolist()) - set(classes[labels[level == place]].tolist()))
        if missing:
            raise DesignError(
                f"{over!r} {str(name)!r} has no stimuli of class {missing[0]!r} of {by!r}: nothing to train "
                "or test there. Leave the level out, or add stimuli."
            )


def _matrix(
    places: _Places,
    design: DecodingDesign,
    relabelings: Relabelings,
    selection: Selection | None,
    rescale: Callable[..., np.ndarray],
) -> dict[str, np.ndarray]:
    """AUROC (train, test) over repeats and of the first repeat, and its null (P, train, test)."""
    n_places, n_classes = len(places.values), len(design.names)
    labels = design.labels[None]
    tested = np.concatenate([labels, relabelings.labels])
    auroc = np.empty((n_places, n_places))
    areas = np.empty((len(tested), n_places, n_places))
    for a in range(n_places):
        first = _scores_from(places, a, design, 0, tested, selection, rescale)
        repeats = [first[:, :, :1]]
        for r in range(1, len(design.folds)):
            repeats.append(_scores_from(places, a, design, r, labels, selection, rescale))
        mean = np.mean(repeats, axis=0)
        for b, rows in enumerate(places.present):
            auroc[a, b] = macro_auroc(mean[b, rows], labels[:, rows], n_classes)[0]
            areas[:, a, b] = macro_auroc(first[b, rows], tested[:, rows], n_classes)
    return {"auroc": auroc, "tested": areas[0], "null": areas[1:]}


def _scores_from(
    places: _Places,
    a: int,
    design: DecodingDesign,
    repeat: int,
    labels: np.ndarray,
    selection: Selection | None,
    rescale: Callable[..., np.ndarray],
) -> np.ndarray:
    """Scores at all places of held-out rows by decoders trained at place a: (V, n, P, C)."""
    n_classes, shape = len(design.names), places.present.shape
    scores = np.zeros((*shape, len(labels), 1 if n_classes == 2 else n_classes))
    for cell, (train, test) in enumerate(design.splits(repeat)):
        here = train & places.present[a]
        _check_training(design, here)
        known = places.values[a, here]
        # One fit serves the test rows of all places.
        unseen = [(b, test & rows) for b, rows in enumerate(places.present)]
        moved = [
            rescale(places.values[b, rows], known, places.values[b, train & places.present[b]])
            for b, rows in unseen
        ]
        chosen = selection and selection._replace(seed=fold_seed(selection.seed, repeat, cell))
        found = fold_scores(known, np.concatenate(moved), labels[:, here], n_classes, select=chosen)
        ends = np.cumsum([len(rows) for rows in moved])
        for (b, rows), part in zip(unseen, np.split(found, ends[:-1]), strict=True):
            scores[b, rows] = part
    return scores


def _check_training(design: DecodingDesign, rows: np.ndarray) -> None:
    counts = np.bincount(design.labels[rows], minlength=len(design.names))
    if counts.min() < 2:
        raise DesignError(
            f"a training fold has {counts.min()} stimuli of class {str(design.names[counts.argmin()])!r} at "
            "one place; at least 2 are needed. Add stimuli, or merge levels."
        )


def _unmoved(test: np.ndarray, known: np.ndarray, own: np.ndarray) -> np.ndarray:
    return np.asarray(test, dtype=float)


def _moved(test: np.ndarray, known: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Test rows of a place, shifted and scaled so that its training rows have the moments of place a."""
    if known is own or (known.shape == own.shape and np.array_equal(known, own)):
        return np.asarray(test, dtype=float)
    mean, sd = own.mean(axis=0, dtype=float), own.std(axis=0, dtype=float)
    z = np.divide(test - mean, sd, out=np.zeros(test.shape), where=sd > 0)
    return np.asarray(known.mean(axis=0, dtype=float) + known.std(axis=0, dtype=float) * z)


_RESCALE: dict[str, Callable[..., np.ndarray]] = {"train": _unmoved, "own": _moved}


def _tested(found: dict[str, np.ndarray], *, exact: bool) -> dict[str, np.ndarray]:
    auroc, tested, null = found["auroc"], found["tested"], found["null"].swapaxes(0, 1)
    diagonal = np.diagonal(auroc, axis1=1, axis2=2)[:, None, :]
    usable = np.where(diagonal > _FEWEST_FOR_RATIO, diagonal, np.nan)
    # A cell may lack a class under some relabeling; such a cell has no say in the maximum.
    largest = np.nanmax(null.reshape(len(null), -1), axis=1)
    return {
        "auroc": auroc,
        "ratio": (auroc - 0.5) / (usable - 0.5),
        "auroc_tested": tested,
        "p": p_value(tested, null, exact=exact, alternative="greater"),
        "p_adjusted": max_statistic_p(tested, largest, exact=exact),
        "chance": null.mean(axis=0),
    }
