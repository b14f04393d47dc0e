"""One run of all texts through the model, intact or edited: scores, and whether the edits took hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurosae.causal.acts import Act
from neurosae.causal.readouts import ReadoutDesign, TextBits, score_texts, text_bits
from neurosae.errors import DesignError, ManipulationError
from neurosae.schema.names import STIMULUS
from neurosae.subject.batching import run_all
from neurosae.subject.interface import Edit, Subject, Tokens

_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Bench:
    """The subject, the texts it reads and how they are scored: what all runs of an experiment share."""

    subject: Subject
    tokens: Sequence[Tokens]
    design: ReadoutDesign
    readouts: Sequence[str]


def open_bench(
    subject: Subject, stimuli: pd.DataFrame, design: ReadoutDesign, readouts: Sequence[str]
) -> Bench:
    """Tokenize the texts once.

    Raises
    ------
    DesignError
        If a text has no token that is predicted from another.
    """
    tokens = subject.tokenize(stimuli["text"].tolist())
    empty = stimuli[STIMULUS].to_numpy()[[len(text) < 2 for text in tokens]]
    if len(empty):
        raise DesignError(f"{len(empty)} texts have no token to predict: {list(empty[:3])}; leave them out.")
    return Bench(subject, tokens, design, readouts)


@dataclass(frozen=True)
class Measurement:
    """Scores (label, unit); shift, the mean L2 norm of the change of an edited token; n_edited tokens."""

    scores: np.ndarray
    shift: float
    n_edited: int


def measure(bench: Bench, edits: Sequence[Edit] = (), *, label: str = "intact") -> Measurement:
    """Run all texts under ``edits`` and score them.

    Raises
    ------
    ManipulationError
        If an edit met no token.
    """
    bits, n_tokens = np.empty(len(bench.tokens)), np.empty(len(bench.tokens), dtype=np.int64)
    shift, edited = np.zeros(len(edits)), np.zeros(len(edits), dtype=np.int64)
    for rows, readings in run_all(
        bench.subject, bench.tokens, batch_tokens=_BATCH_TOKENS, surprisal=True, edits=edits
    ):
        texts = text_bits(np.asarray(readings.surprisal), [len(bench.tokens[row]) for row in rows])
        bits[rows], n_tokens[rows] = texts.bits, texts.n_tokens
        shift += readings.shift
        edited += np.asarray(readings.edited, dtype=np.int64)
    _check_met(edits, edited, label)
    scores = score_texts(TextBits(bits, n_tokens), bench.design, bench.readouts)
    return Measurement(scores, float(shift.sum() / max(edited.sum(), 1)), int(edited.sum()))


def _check_met(edits: Sequence[Edit], edited: np.ndarray, label: str) -> None:
    for edit, n_rows in zip(edits, edited, strict=True):
        if n_rows == 0:
            raise ManipulationError(
                f"{label}: the edit at {edit.site} of layer {edit.layer} met no token: all are special or "
                f"beyond max_norm {edit.max_norm:.4g}. Check that the reference recording is of this subject."
            )


@dataclass(frozen=True)
class ActScores:
    """An act beside its shams.

    target : its measurement; sham (sham, label) mean over units, sham_unit (label, unit) mean over shams,
    shift_sham (sham,)
    """

    target: Measurement
    sham: np.ndarray
    sham_unit: np.ndarray
    shift_sham: np.ndarray


def measure_act(bench: Bench, act: Act, intact: Measurement, tick: Callable[[], None]) -> ActScores:
    """Measure an act and its shams; the shams of an identity are the intact model and are not run.

    Raises
    ------
    ManipulationError
        If an act or most of its shams changed nothing, or an identity changed something.
    """
    target = measure(bench, act.edits, label=act.label)
    tick()
    if act.is_identity:
        _check_identity(act, target, intact)
        same = np.tile(intact.scores.mean(axis=1), (len(act.shams), 1))
        return ActScores(target, same, intact.scores, np.zeros(len(act.shams)))
    if target.shift == 0:
        raise ManipulationError(
            f"{act.label} changed nothing on {target.n_edited} tokens: its units already hold the values "
            "they were set to (dead units). Choose units that vary on these texts."
        )
    return _beside_shams(bench, act, target, tick)


def _check_identity(act: Act, target: Measurement, intact: Measurement) -> None:
    if target.shift != 0 or not np.array_equal(target.scores, intact.scores):
        raise ManipulationError(
            f"{act.label} has gain 1 and offset 0 but changed tokens by {target.shift:.3g} or a score: the "
            "subject's edits are not exact."
        )


def _beside_shams(bench: Bench, act: Act, target: Measurement, tick: Callable[[], None]) -> ActScores:
    means, shifts = [], []
    total = np.zeros_like(target.scores)
    for number, edits in enumerate(act.shams):
        sham = measure(bench, edits, label=f"sham {number} of {act.label}")
        means.append(sham.scores.mean(axis=1))
        shifts.append(sham.shift)
        total += sham.scores
        tick()
    n_silent = shifts.count(0.0)
    if 2 * n_silent > len(shifts):
        raise ManipulationError(
            f"{n_silent} of {len(shifts)} shams of {act.label} changed nothing, so that any effect would "
            "beat them. Match shams on a reference recording of texts like these."
        )
    return ActScores(target, np.array(means), total / len(shifts), np.array(shifts))
