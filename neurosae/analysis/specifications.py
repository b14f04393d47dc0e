"""One question under all defensible options, and whether the answer depends on how it was asked.

Specifications share stimuli, so they are no replications of each other; the curve as a whole is tested by
asking the same question with exchanged labels.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.analysis.multiverse_curve import curve_statistics, curve_test, exchanged_labels
from neurosae.analysis.multiverse_questions import (
    QUESTIONS,
    Answer,
    Asked,
    Question,
    label_columns,
    with_labels,
)
from neurosae.errors import DesignError
from neurosae.recording.pooling import pool_tokens
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.names import STIMULUS, TOKEN
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, stimulus_table
from neurosae.schema.spelling import nearest

POOLING = {"window": "all", "how": "mean"}
"""Options of every question about a recording, and what they are if not named."""

SPECIFICATION = "specification"


def multiverse(
    source: xr.DataArray | SparseRecording,
    question: str,
    options: Mapping[str, Sequence[object]],
    *,
    ask: str = "localizer",
    roi: xr.Dataset | None = None,
    n_permutations: int = 199,
    n_curves: int = 0,
    seed: int = 0,
) -> xr.Dataset:
    """Answer one question under every combination of options.

    Parameters
    ----------
    source : recording, where ``window`` and ``how`` are among the options; or responses
    question : a contrast such as ``"A > B"``; for ``ask="decoder"`` the column that holds the classes
    options : values of each option, all combined. ``window``, ``how``: as in `pool_tokens`, recordings only.
        Of a localizer ``rule``, ``fraction``, ``folds``, ``test``, ``unit``; of a contrast or map ``test``,
        ``unit``, ``nuisance`` (columns, or ``()``), of a map also ``correct``; of a decoder ``groups``,
        ``select``, ``nuisance``
    ask : ``"localizer"``, response of held-out units in features that the others chose, Hedges g;
        ``"contrast"``, response of the features ``roi``, Hedges g; ``"map"``, share of features with
        corrected p of at most .05; ``"decoder"``, held-out AUROC at half the depth
    roi : features of ``ask="contrast"``, chosen on other stimuli
    n_permutations : relabelings of each specification (a localizer has 999)
    n_curves : times that the whole curve is computed anew with exchanged labels; 0 leaves it untested
    seed : root of the random numbers, the same for all specifications

    Returns
    -------
    Dataset (specification)
        ``effect`` with ``lo`` and ``hi`` (95 % interval, NaN where the question has none), ``p``,
        ``n_units``, ``note`` (why a specification could not be answered; its numbers are NaN); one coordinate
        an option. Scalars ``median`` and ``share``, of all specifications answered the median effect and the
        share with p of at most .05 in its direction; ``median_p`` and ``share_p``, how often curves with
        exchanged labels reach them, and ``median_lo``, ``median_hi``, between which 95 % of their medians
        lie; NaN without ``n_curves``.

    Raises
    ------
    DesignError
        If the question or an option is unknown or empty, or no specification can be answered.

    Notes
    -----
    Options that change what is asked (another contrast, another site) belong in separate curves. p of single
    specifications are not corrected for their number; that of the curve needs no correction.

    Source
    ------
    Simonsohn, Simmons & Nelson 2020, Nat Hum Behav 4:1208; Steegen et al. 2016, Perspect Psychol Sci 11:702.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> found = multiverse(planted_responses(), "condition", {"select": [None, 4]}, ask="decoder")
    >>> found["effect"].values.round(1), found["select"].values.tolist()
    (array([0.7, 0.8]), ['none', '4'])
    """
    kind = _question(ask, options, source)
    specifications = [dict(zip(options, values, strict=True)) for values in product(*options.values())]
    pooled = _pooled(source, specifications)
    asked = Asked(question, roi, n_permutations, seed)
    answers = [_answer(kind, asked, each, pooled) for each in specifications]
    _check_some_answered(answers)
    table = _all_stimuli(pooled)
    columns = label_columns(ask, question, table)
    exchanged = exchanged_labels(table, columns, n_curves, seed=seed)[:n_curves] if n_curves else []

    def null_curve(labels: pd.DataFrame) -> tuple[float, float]:
        changed = {key: with_labels(responses, labels) for key, responses in pooled.items()}
        return _statistics(kind, [_answer(kind, asked, each, changed) for each in specifications])

    tested = curve_test(_statistics(kind, answers), null_curve, exchanged)
    settings = {"question": question, "ask": ask, "n_permutations": n_permutations, "n_curves": n_curves}
    named = {name: [_label(value) for value in values] for name, values in options.items()}
    step = with_step(next(iter(pooled.values())), "multiverse", **settings, seed=seed, varied=named)
    attrs = {**settings, "seed": seed, "options": ", ".join(options), "null_value": kind.null_value, **step}
    return _labelled(kind, answers, specifications, tested).assign_attrs(attrs)


def _question(
    ask: str, options: Mapping[str, Sequence[object]], source: xr.DataArray | SparseRecording
) -> Question:
    if ask not in QUESTIONS:
        raise DesignError(f"ask is {ask!r}{nearest(ask, QUESTIONS)} Choose one of {list(QUESTIONS)}.")
    is_recording = TOKEN in source.dims
    if isinstance(source, xr.DataArray) and not is_recording:
        check_response_dims(source)
    allowed = (*(POOLING if is_recording else ()), *QUESTIONS[ask].options)
    for name, values in options.items():
        if name not in allowed:
            hint = " Give the recording, not pooled responses." if name in POOLING else ""
            raise DesignError(f"option {name!r} is none of ask={ask!r}; options: {list(allowed)}.{hint}")
        if isinstance(values, str) or not len(values):
            raise DesignError(f"option {name!r} needs a list of values, got {values!r}.")
    if not options:
        raise DesignError(f"no options are given; vary some of {list(allowed)}.")
    return QUESTIONS[ask]


def _pooled(
    source: xr.DataArray | SparseRecording, specifications: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, ...], xr.DataArray]:
    """Responses of each pooling that occurs, pooled once."""
    if isinstance(source, xr.DataArray) and TOKEN not in source.dims:
        return {_pooling(each): source for each in specifications}
    wanted = dict.fromkeys(_pooling(each) for each in specifications)
    return {(window, how): pool_tokens(source, window, how) for window, how in wanted}


def _pooling(specification: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(specification.get(name, default)) for name, default in POOLING.items())


def _answer(
    kind: Question,
    asked: Asked,
    specification: Mapping[str, Any],
    pooled: Mapping[tuple[str, ...], xr.DataArray],
) -> tuple[Answer, str]:
    """The answer under one specification, and why there is none where the design refuses it."""
    chosen = {name: value for name, value in specification.items() if name not in POOLING}
    try:
        return kind.answer(pooled[_pooling(specification)], asked, chosen), ""
    except DesignError as error:
        return Answer(np.nan, np.nan, np.nan, np.nan, 0), str(error)


def _check_some_answered(answers: Sequence[tuple[Answer, str]]) -> None:
    if all(note for _, note in answers):
        raise DesignError(
            f"none of {len(answers)} specifications can be answered; the first: {answers[0][1]}"
        )


def _all_stimuli(pooled: Mapping[tuple[str, ...], xr.DataArray]) -> pd.DataFrame:
    """Stimuli that any pooling kept, one row each."""
    tables = pd.concat([stimulus_table(responses) for responses in pooled.values()])
    return tables.drop_duplicates(STIMULUS).reset_index(drop=True)


def _statistics(kind: Question, answers: Sequence[tuple[Answer, str]]) -> tuple[float, float]:
    effects, p = (np.array([getattr(answer, name) for answer, _ in answers]) for name in ("effect", "p"))
    return curve_statistics(effects - kind.null_value, p)


def _label(value: object) -> str:
    """A value of an option as text: columns joined by commas, ``none`` for nothing."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _labelled(
    kind: Question,
    answers: Sequence[tuple[Answer, str]],
    specifications: Sequence[Mapping[str, Any]],
    tested: Mapping[str, float],
) -> xr.Dataset:
    described = {
        "effect": (kind.measure, kind.units),
        "lo": (f"{kind.measure}, lower 95 % bound", kind.units),
        "hi": (f"{kind.measure}, upper 95 % bound", kind.units),
        "p": ("p of the specification, not corrected for their number", "1"),
        "n_units": ("units of inference", "1"),
    }
    variables: dict[str, tuple] = {
        name: (
            SPECIFICATION,
            np.array([getattr(answer, name) for answer, _ in answers]),
            {"long_name": long_name, "units": units},
        )
        for name, (long_name, units) in described.items()
    }
    notes = np.array([note for _, note in answers], dtype=str)
    variables["note"] = (SPECIFICATION, notes, {"long_name": "why there is no answer", "units": "1"})
    shifted = {"median", "median_lo", "median_hi"}
    for name, value in tested.items():
        units = kind.units if name in shifted else "1"
        value = value + kind.null_value if name in shifted else value
        variables[name] = ((), value, {"long_name": _CURVE[name], "units": units})
    coords = {
        name: (SPECIFICATION, np.array([_label(each[name]) for each in specifications], dtype=str))
        for name in specifications[0]
    }
    return xr.Dataset(variables, coords={SPECIFICATION: np.arange(len(answers)), **coords})


_CURVE = {
    "median": "median effect over specifications",
    "share": "share of specifications with p of at most .05 in the direction of the median",
    "median_p": "p of the median effect, two-sided, from curves with exchanged labels",
    "share_p": "p of the share, one-sided, from curves with exchanged labels",
    "median_lo": "2.5th percentile of the median effect with exchanged labels",
    "median_hi": "97.5th percentile of the median effect with exchanged labels",
}
