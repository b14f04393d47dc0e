"""Which features carry what a decoder reads? Patterns, not weights.

A feature without any information can have a large weight, because subtracting it removes noise from another.
Its pattern is 0. A pattern is no test: features with a pattern need not be necessary for decoding.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import origin
from neurosae.analysis.decoding import ESTIMATOR
from neurosae.analysis.decoding_design import DecodingDesign, decoding_design, group_columns
from neurosae.analysis.decoding_rows import layer_rows
from neurosae.arrays.fold_comparison import haufe_pattern
from neurosae.arrays.ridge_decoder import fold_scores
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses


def decoder_pattern(
    responses: xr.DataArray,
    by: str,
    *,
    groups: str | tuple[str, str] = "item",
    seed: int = 0,
) -> xr.Dataset:
    """How each feature rises and falls with the score of the decoder of a class, in units of the responses.

    a_f = cov(x_f, s) / var(s) over the training rows of a fold, s their score by the decoder of
    `neurosae.analysis.decoding.decode` trained on them; mean over the folds of all repeats.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    by : stimulus column that holds the classes
    groups, seed : as in `neurosae.analysis.decoding.decode`, whose folds these are

    Returns
    -------
    Dataset
        (layer, class, feature): pattern, and pattern_sd, its SD over folds, in units of the responses for a
        score of 1. (layer, class): stability, the mean correlation of the patterns of two folds. For two
        classes there is one entry, the second class; the first is its negative.

    Raises
    ------
    DesignError
        As in `neurosae.analysis.decoding.decode`.

    Source
    ------
    Haufe et al. 2014, NeuroImage 87:96, eq. 6 and 7.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> found = decoder_pattern(planted_responses(effect=6.0), "condition")
    >>> int(np.abs(found["pattern"].sel(layer=1)).argmax()), found["stability"].values.ravel().round(1)
    (4, array([0.8, 1. , 0.6]))
    """
    check_responses(responses)
    column, crossed = group_columns(responses, groups)
    design = decoding_design(responses, by, column, seed, crossed=crossed)
    shown = design.names[1:] if len(design.names) == 2 else design.names
    folds = [_fold_patterns(layer_rows(responses, layer), design) for layer in range(responses.sizes[LAYER])]
    unit = str(responses.attrs.get("units", "a.u."))
    settings = {
        "by": by,
        "groups": column if crossed is None else f"{column} x {crossed}",
        "seed": seed,
    }
    dims = (LAYER, "class", FEATURE)
    return xr.Dataset(
        {
            "pattern": (
                dims,
                np.stack([one.mean(axis=0) for one in folds]),
                {"long_name": "pattern of the decoder", "units": unit},
            ),
            "pattern_sd": (
                dims,
                np.stack([one.std(axis=0, ddof=1) for one in folds]),
                {"long_name": "SD of the pattern over folds", "units": unit},
            ),
            "stability": (
                dims[:2],
                np.stack([_stability(one) for one in folds]),
                {"long_name": "mean correlation of the patterns of two folds", "units": "1"},
            ),
        },
        coords={
            **{name: responses[name] for name in (LAYER, FEATURE) if name in responses.coords},
            "class": shown,
        },
    ).assign_attrs(
        settings,
        estimator=ESTIMATOR,
        n_units=int(design.group.max() + 1),
        **origin(responses),
        **with_step(responses, "decoder_pattern", **settings),
    )


def _fold_patterns(values: np.ndarray, design: DecodingDesign) -> np.ndarray:
    """Pattern of each class in each fold of each repeat, (J, C, F)."""
    n_classes = len(design.names)
    patterns = []
    for repeat in range(len(design.folds)):
        for train, test in design.splits(repeat):
            if test.any():
                rows = values[train]
                scores = fold_scores(rows, rows, design.labels[None, train], n_classes)[:, 0]
                # One class at a time: scores of all classes add up to nothing new.
                patterns.append([haufe_pattern(rows, score[:, None])[:, 0] for score in scores.T])
    return np.array(patterns)


def _stability(patterns: np.ndarray) -> np.ndarray:
    """Mean correlation over pairs of folds, (C,); NaN if a pattern is flat."""
    upper = np.triu_indices(len(patterns), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.array([np.corrcoef(one)[upper].mean() for one in patterns.transpose(1, 0, 2)])
