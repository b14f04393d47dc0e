"""How many features does it take? Decoders of the k best features, k by k, and how stable the choice is.

A curve that is level from one feature on says that one would do, not that the others know nothing.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neurosae.analysis.classes import origin
from neurosae.analysis.decoding_design import (
    DecodingDesign,
    bootstrap_weights,
    decoding_design,
    group_columns,
)
from neurosae.analysis.decoding_rows import fold_seed, is_scaled, layer_rows, split_aurocs
from neurosae.analysis.sparse_logistic import (
    direction_scores,
    lasso_scores,
    ranked_features,
    small_decoder,
)
from neurosae.arrays.classification_scores import macro_auroc, resampled_auroc
from neurosae.arrays.feature_scores import check_selector
from neurosae.arrays.fold_comparison import kuncheva_stability
from neurosae.arrays.ridge_decoder import fold_scores
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses

SIZES = (1, 2, 4, 8, 16, 32)
REFERENCES = ("all", "direction")
"""All features in one ridge decoder; the difference of class means as a direction."""

SIZE = "n_selected"

DESCRIPTIONS = {
    "auroc": ((LAYER, SIZE), "held-out AUROC of the features selected"),
    "auroc_lo": ((LAYER, SIZE), "lower bound of the 95 % interval of the AUROC (bootstrap over groups)"),
    "auroc_hi": ((LAYER, SIZE), "upper bound of the 95 % interval of the AUROC (bootstrap over groups)"),
    "lasso_auroc": ((LAYER, SIZE), "held-out AUROC of the lasso with as many features"),
    "reference_auroc": ((LAYER, "reference"), "held-out AUROC of decoders of all features"),
    "stability": ((LAYER, SIZE), "agreement of the selections of two folds (Kuncheva), chance 0"),
    "n_failed": ((LAYER, SIZE), "folds without a decoder: too few features alive, or no convergence"),
    "fold_auroc": ((LAYER, SIZE, "repeat", "fold"), "AUROC within one test fold"),
    "share_selected": ((LAYER, SIZE, FEATURE), "share of folds that selected the feature"),
}


def sparse_decoder_curve(
    responses: xr.DataArray,
    by: str,
    *,
    selector: str = "welch",
    sizes: Sequence[int] = SIZES,
    groups: str | tuple[str, str] = "item",
    n_repeats: int = 5,
    seed: int = 0,
) -> xr.Dataset:
    """How well the k best features tell the classes apart, for several k, layer by layer.

    In each training fold: features alive there are scored by the selector, the k best are z-scored and given
    to a logistic regression (L2, C = 1), which is tested on the held-out fold. 5 folds, same as in
    `neurosae.analysis.decoding.decode` for the same groups and seed.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    by : stimulus column that holds the classes
    selector : a name in `neurosae.arrays.feature_scores.SELECTORS`, such as ``"CDI"`` or ``"random"``
    sizes : numbers of features
    groups : as in `neurosae.analysis.decoding.decode`
    n_repeats : repeats of the 5 folds
    seed : root of the random numbers

    Returns
    -------
    Dataset
        (layer, n_selected): auroc with auroc_lo and auroc_hi (95 % bootstrap over groups), lasso_auroc,
        stability (-1 … 1, 0 by chance; of the folds that have a decoder), n_failed. (layer, reference):
        reference_auroc of ``all`` features by ridge and of the ``direction`` between class means. (layer,
        n_selected, repeat, fold): fold_auroc, and (repeat, unit) test_fold, so that
        ``curve.sel(n_selected=8)`` can be given to
        `neurosae.analysis.decoder_comparison.compare_decoders`. (layer, n_selected, feature): share_selected.
        No p: test one size with ``decode(select=(selector, k))``.

    Raises
    ------
    DesignError
        If the selector is unknown or needs two classes, a size is out of range, or the design cannot be
        decoded (see `neurosae.analysis.decoding.decode`).

    Notes
    -----
    A fold with fewer than k features alive, or without convergence, has no score: it is counted in n_failed,
    and the AUROC of that k is NaN.

    Source
    ------
    Kuncheva 2007, Proc AIAP, 390 (stability); Gurnee et al. 2023, Trans Mach Learn Res (sparse decoders);
    Efron et al. 2004, Ann Stat 32:407 (lasso path).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> curve = sparse_decoder_curve(planted_responses(effect=6.0), "condition", sizes=[1, 4])
    >>> curve["auroc"].sel(layer=1).values.round(1), curve["stability"].sel(layer=1).values.round(1)
    (array([1., 1.]), array([1. , 0.4]))
    """
    check_responses(responses)
    column, crossed = group_columns(responses, groups)
    design = decoding_design(responses, by, column, seed, crossed=crossed, n_repeats=n_repeats)
    check_selector(selector, len(design.names))
    sizes = _checked_sizes(sizes, responses.sizes[FEATURE])
    weights = bootstrap_weights(design, seed)
    scaled = is_scaled(responses)
    layers = [
        _curve(layer_rows(responses, layer), design, selector, sizes, weights, scaled, seed)
        for layer in range(responses.sizes[LAYER])
    ]
    variables = {
        name: (dims, np.stack([layer[name] for layer in layers]), {"long_name": text, "units": "1"})
        for name, (dims, text) in DESCRIPTIONS.items()
    }
    settings = {"by": by, "selector": selector, "sizes": ", ".join(map(str, sizes)), "seed": seed}
    settings |= {"groups": column if crossed is None else f"{column} x {crossed}", "n_repeats": n_repeats}
    return (
        xr.Dataset(variables, coords=_coords(responses, design, sizes))
        .assign(test_fold=(("repeat", "unit"), design.cells, {"long_name": "test fold", "units": "1"}))
        .assign_attrs(
            settings,
            estimator="logistic regression (L2, C = 1) on z-scored features",
            is_scaled=int(scaled),
            n_units=int(design.group.max() + 1),
            test_ratio=design.test_ratio,
            **origin(responses),
            **with_step(responses, "sparse_decoder_curve", **settings),
        )
    )


def _checked_sizes(sizes: Sequence[int], n_features: int) -> tuple[int, ...]:
    if not sizes or len(set(sizes)) < len(sizes) or not all(1 <= size <= n_features for size in sizes):
        raise DesignError(
            f"sizes {list(sizes)}: give different numbers from 1 to {n_features}, the number of features."
        )
    return tuple(int(size) for size in sizes)


def _coords(responses: xr.DataArray, design: DecodingDesign, sizes: tuple[int, ...]) -> dict[str, object]:
    return {
        **{name: responses[name] for name in (LAYER, FEATURE) if name in responses.coords},
        SIZE: list(sizes),
        "reference": list(REFERENCES),
        "repeat": np.arange(len(design.folds)),
        "fold": np.arange(design.n_cells),
        "unit": responses[STIMULUS].values.astype(str),
        "true_class": ("unit", design.names[design.labels]),
    }


def _curve(
    values: np.ndarray,
    design: DecodingDesign,
    selector: str,
    sizes: tuple[int, ...],
    weights: np.ndarray,
    scaled: bool,
    seed: int,
) -> dict[str, np.ndarray]:
    n_classes, labels = len(design.names), design.labels
    shape = (len(design.folds), len(values), 1 if n_classes == 2 else n_classes)
    scores = {name: np.full((len(sizes), *shape), np.nan) for name in ("selected", "lasso")}
    references = np.full((len(REFERENCES), *shape), np.nan)
    selected = np.zeros((len(sizes), shape[0] * design.n_cells, values.shape[1]), dtype=bool)
    for repeat in range(shape[0]):
        for cell, (train, test) in enumerate(design.splits(repeat)):
            rows = values[train], values[test], labels[train]
            order = ranked_features(
                rows[0], rows[2], n_classes, selector, is_scaled=scaled, seed=fold_seed(seed, repeat, cell)
            )
            for s, size in enumerate(sizes):
                found = small_decoder(*rows, order[:size]) if size <= len(order) else None
                if found is not None:
                    scores["selected"][s, repeat, test] = found.score
                    selected[s, repeat * design.n_cells + cell, order[:size]] = True
            scores["lasso"][:, repeat, test] = lasso_scores(*rows, n_classes, sizes)
            references[0, repeat, test] = fold_scores(*rows[:2], rows[2][None], n_classes)[:, 0]
            references[1, repeat, test] = direction_scores(*rows, n_classes)
    intervals = [_interval(one.mean(axis=0), labels, weights, n_classes) for one in scores["selected"]]
    return {
        "auroc": _areas(scores["selected"], labels, n_classes),
        "auroc_lo": np.array([low for low, _ in intervals]),
        "auroc_hi": np.array([high for _, high in intervals]),
        "lasso_auroc": _areas(scores["lasso"], labels, n_classes),
        "reference_auroc": _areas(references, labels, n_classes),
        "stability": np.array([kuncheva_stability(one[one.any(axis=1)]) for one in selected]),
        "n_failed": (~selected.any(axis=2)).sum(axis=1),
        "fold_auroc": np.stack([split_aurocs(one, design) for one in scores["selected"]]),
        "share_selected": selected.mean(axis=1),
    }


def _areas(scores: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """AUROC of scores averaged over repeats, (S,), from scores (S, R, n, C); NaN where a row has none."""
    mean = scores.mean(axis=1)
    areas = macro_auroc(mean.transpose(1, 0, 2), np.tile(labels, (len(mean), 1)), n_classes)
    return np.where(np.isfinite(mean).all(axis=(1, 2)), areas, np.nan)


def _interval(
    score: np.ndarray, labels: np.ndarray, weights: np.ndarray, n_classes: int
) -> tuple[float, float]:
    if not np.isfinite(score).all():
        return float("nan"), float("nan")
    low, high = np.quantile(resampled_auroc(score, labels, weights, n_classes), [0.025, 0.975])
    return float(low), float(high)
