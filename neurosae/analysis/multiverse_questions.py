"""Questions that have one number as an answer, and the options under which they may be asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.decoding import decode
from neurosae.analysis.localizer import cross_localize, roi_responses
from neurosae.errors import DesignError
from neurosae.protocol.contrast import parse_contrast
from neurosae.schema.names import FEATURE, LAYER, RESPONSE_DIMS, STIMULUS

ALPHA = 0.05


class Answer(NamedTuple):
    """An effect with its 95 % interval, its p and the number of units behind it."""

    effect: float
    lo: float
    hi: float
    p: float
    n_units: int


class Asked(NamedTuple):
    """What is asked beyond the options: the text of the question, an ROI, relabelings and their seed."""

    text: str
    roi: xr.Dataset | None
    n_permutations: int
    seed: int


@dataclass(frozen=True)
class Question:
    """A kind of question.

    measure, units : of the effect; null_value : where it lies without an effect
    options : names of what may vary
    answer : (responses, what is asked, values of the options) to an answer
    """

    measure: str
    units: str
    null_value: float
    options: tuple[str, ...]
    answer: Callable[[xr.DataArray, Asked, Mapping[str, Any]], Answer]


def _localizer(responses: xr.DataArray, asked: Asked, chosen: Mapping[str, Any]) -> Answer:
    found = cross_localize(responses, asked.text, **chosen, seed=asked.seed)
    effect, lo, hi, p = (float(found[name]) for name in ("es", "es_lo", "es_hi", "p"))
    return Answer(effect, lo, hi, p, int(found["n_units"]))


def _map(responses: xr.DataArray, asked: Asked, chosen: Mapping[str, Any]) -> Answer:
    cmap = _contrast(responses, asked, chosen)
    p = cmap["p_adjusted"].values
    n_valid = int(cmap.attrs["family_size"])
    # The smallest corrected p tests that nothing is there anywhere; uncorrected ones test no such thing.
    smallest = float(np.nanmin(p)) if n_valid and chosen.get("correct") != "none" else np.nan
    share = float((p <= ALPHA).sum() / n_valid) if n_valid else np.nan
    return Answer(share, np.nan, np.nan, smallest, int(cmap.attrs["n_units"]))


def _roi_contrast(responses: xr.DataArray, asked: Asked, chosen: Mapping[str, Any]) -> Answer:
    if asked.roi is None:
        raise DesignError(
            "ask='contrast' needs roi=, features chosen on other stimuli; ask='localizer' chooses its own."
        )
    mean = roi_responses(responses, asked.roi)
    one = mean.expand_dims({LAYER: [0], FEATURE: [0]}).transpose(*RESPONSE_DIMS).assign_attrs(responses.attrs)
    cmap = _contrast(one, asked, chosen)
    # Ranks come with an AUROC; the curve needs one scale.
    is_g = cmap["es"].attrs["long_name"] == "Hedges g"
    sized = cmap if is_g else _contrast(one, asked, {**chosen, "test": "welch"})
    effect, lo, hi = (float(sized[name].item()) for name in ("es", "es_lo", "es_hi"))
    return Answer(effect, lo, hi, float(cmap["p_unc"].item()), int(cmap.attrs["n_units"]))


def _contrast(responses: xr.DataArray, asked: Asked, chosen: Mapping[str, Any]) -> xr.Dataset:
    return contrast_map(responses, asked.text, **chosen, n_permutations=asked.n_permutations, seed=asked.seed)


def _decoder(responses: xr.DataArray, asked: Asked, chosen: Mapping[str, Any]) -> Answer:
    middle = (responses.sizes[LAYER] - 1) // 2
    found = decode(
        responses.isel({LAYER: [middle]}),
        asked.text,
        **chosen,
        n_permutations=asked.n_permutations,
        seed=asked.seed,
    )
    effect, lo, hi, p = (float(found[name].item()) for name in ("auroc", "auroc_lo", "auroc_hi", "p"))
    return Answer(effect, lo, hi, p, int(found.attrs["n_units"]))


QUESTIONS = {
    "localizer": Question(
        "Hedges g of the held-out ROI", "SD", 0.0, ("rule", "fraction", "folds", "test", "unit"), _localizer
    ),
    "contrast": Question("Hedges g of the ROI", "SD", 0.0, ("test", "unit", "nuisance"), _roi_contrast),
    "map": Question("share of features that pass", "1", 0.0, ("test", "unit", "nuisance", "correct"), _map),
    "decoder": Question(
        "held-out AUROC at half the depth", "1", 0.5, ("groups", "select", "nuisance"), _decoder
    ),
}
"""Kinds of question by name."""


def label_columns(ask: str, text: str, table: pd.DataFrame) -> Sequence[str]:
    """Stimulus columns that hold the labels of a question: those of its contrast, or the classes.

    Raises
    ------
    ContrastError
        If the contrast cannot be read.
    """
    return (text,) if ask == "decoder" else parse_contrast(text, table).columns


def with_labels(responses: xr.DataArray, labels: pd.DataFrame) -> xr.DataArray:
    """Responses with other values in the columns of ``labels``, a table by stimulus."""
    rows = labels.loc[responses[STIMULUS].values]
    changed = {str(name): (STIMULUS, rows[name].to_numpy()) for name in labels}
    return responses.assign_coords(changed)
