"""What else could make stimuli alike? Model RDMs of length, words, surprisal, template, first layer."""

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import average_units
from neurosae.analysis.dissimilarities import STIMULUS_2, layer_matrix
from neurosae.analysis.rdm_models import model_rdm
from neurosae.arrays.distance import triangle
from neurosae.schema.names import LAYER, STIMULUS
from neurosae.schema.provenance import with_step

NUMBERS = ("n_tokens", "n_chars", "log_freq", "surprisal_mean", "target_pos")
"""Columns of numbers whose differences are offered as nuisances."""

LABELS = ("template",)
"""Columns of labels that stimuli may share."""


def nuisance_models(responses: xr.DataArray, *, unit: str = "auto") -> dict[str, xr.DataArray]:
    """Model RDMs of what is known of the stimuli besides their conditions, as far as it varies.

    For `neurosae.analysis.rdm_partials.rdm_regression`, beside the model of interest.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature)
    unit : as in `neurosae.analysis.rsa.rdm`

    Returns
    -------
    dict of DataArray (stimulus, stimulus_2)
        Absolute difference of the columns n_tokens, n_chars, log_freq, surprisal_mean and target_pos;
        ``template``, 0 where it is the same; ``words``, 1 - the share of words in both texts among those
        in either (whatever their case); ``layer_<label>``, the RDM of the first layer if there are several,
        with the default measure. Columns that are missing, constant, not finite, or that differ between the
        stimuli of a row are left out, and so is a first layer that is silent for any of them.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> list(nuisance_models(planted_responses()))
    ['n_tokens', 'words', 'layer_0']
    """
    rows = average_units(responses, unit=unit)
    models = {}
    for column in (*NUMBERS, *LABELS):
        if column in rows.coords and _is_known(rows[column].values):
            models[column] = model_rdm(responses, column, unit=unit)
    if "text" in rows.coords:
        models["words"] = _model(rows, word_overlap(rows["text"].values.tolist()), "words", responses)
    if rows.sizes[LAYER] > 1:
        first = layer_matrix(rows, 0, "auto")
        label = rows[LAYER].values[0] if LAYER in rows.coords else 0
        models[f"layer_{label}"] = _model(rows, first, f"layer {label}", responses)
    return {name: model for name, model in models.items() if _varies(model.values)}


def word_overlap(texts: list[str]) -> np.ndarray:
    """1 - |words in both| / |words in either| of each pair of texts, upper and lower case alike: (n, n).

    Examples
    --------
    >>> word_overlap(["The dog", "the cat", "a bird"]).round(2)
    array([[0.  , 0.67, 1.  ],
           [0.67, 0.  , 1.  ],
           [1.  , 1.  , 0.  ]])
    """
    words = [set(text.casefold().split()) for text in texts]
    known = {word: number for number, word in enumerate(sorted(set().union(*words)))}
    holds = np.zeros((len(texts), len(known)))
    for row, own in enumerate(words):
        holds[row, [known[word] for word in own]] = 1
    both, count = holds @ holds.T, holds.sum(axis=1)
    either = count[:, None] + count[None, :] - both
    return 1 - np.divide(both, either, out=np.ones_like(both), where=either > 0)


def _is_known(values: np.ndarray) -> bool:
    if np.issubdtype(values.dtype, np.number):
        return bool(np.isfinite(values).all())
    return bool((values.astype(str) != "").all())


def _varies(matrix: np.ndarray) -> bool:
    entries = triangle(matrix)
    return bool(np.isfinite(entries).all() and np.ptp(entries) > 0)


def _model(rows: xr.DataArray, matrix: np.ndarray, of: str, responses: xr.DataArray) -> xr.DataArray:
    attrs = {"long_name": f"model of {of}", "units": "1", "by": of, "kind": "numeric"}
    return xr.DataArray(
        matrix,
        dims=(STIMULUS, STIMULUS_2),
        coords={**rows[STIMULUS].coords, STIMULUS_2: rows[STIMULUS].values},
        name="model",
        attrs=attrs | with_step(responses, "nuisance_models", of=of),
    )
