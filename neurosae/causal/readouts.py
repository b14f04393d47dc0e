"""What is measured on the perturbed model, per unit of inference, from the bits each text costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurosae.errors import DesignError
from neurosae.schema.units import unit_column

GOOD, BAD = "good", "bad"


@dataclass(frozen=True)
class ReadoutDesign:
    """Which texts make up which unit of inference.

    unit : column of the stimulus table; labels (unit,) str in order of appearance
    rows : (n,) int, texts whose surprisal counts: all, or the good member of each pair; row_unit (n,) int
    good, bad : (pair,) int, texts of each pair; pair_unit (pair,) int; empty without pairs
    """

    unit: str
    labels: np.ndarray
    rows: np.ndarray
    row_unit: np.ndarray
    good: np.ndarray
    bad: np.ndarray
    pair_unit: np.ndarray


def read_design(stimuli: pd.DataFrame, readouts: Sequence[str]) -> ReadoutDesign:
    """How the rows of a stimulus table enter the read-outs.

    Raises
    ------
    DesignError
        If a read-out is unknown, it needs minimal pairs and there are none, a pair is not one good and one
        bad text, or there are fewer than two units.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "stimulus": ["a", "b", "c", "d"], "pair": ["1", "1", "2", "2"],
    ...     "condition": ["good", "bad", "bad", "good"],
    ... })
    >>> design = read_design(table, ["minimal_pair"])
    >>> design.unit, design.good.tolist(), design.bad.tolist()
    ('pair', [0, 3], [1, 2])
    """
    _check_names(readouts)
    is_paired = "pair" in stimuli and set(stimuli["condition"]) <= {GOOD, BAD}
    if not is_paired and any(READOUTS[name].needs_pairs for name in readouts):
        raise DesignError(
            "the read-out 'minimal_pair' needs minimal pairs: two rows a pair, a column pair, and conditions "
            "'good' and 'bad'. Use such stimuli, or readouts=['surprisal']."
        )
    unit = unit_column(stimuli)
    label_of_row, labels = pd.factorize(stimuli[unit].astype(str))
    if len(labels) < 2:
        raise DesignError(f"the stimuli form {len(labels)} {unit}; an effect needs at least two.")
    good, bad = _pairs(stimuli) if is_paired else (np.empty(0, dtype=int), np.empty(0, dtype=int))
    if (label_of_row[good] != label_of_row[bad]).any():
        raise DesignError(f"the texts of a pair differ in {unit}; give both the same.")
    rows = good if is_paired else np.arange(len(stimuli))
    return ReadoutDesign(
        unit, np.asarray(labels, dtype=str), rows, label_of_row[rows], good, bad, label_of_row[good]
    )


def _check_names(readouts: Sequence[str]) -> None:
    unknown = [name for name in readouts if name not in READOUTS]
    if unknown or not readouts or isinstance(readouts, str):
        raise DesignError(f"readouts {readouts!r}: give a list of {', '.join(READOUTS)}.")


def _pairs(stimuli: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    counts = pd.crosstab(stimuli["pair"], stimuli["condition"]).reindex(columns=[GOOD, BAD], fill_value=0)
    broken = counts.index[(counts != 1).any(axis=1)]
    if len(broken):
        raise DesignError(
            f"{len(broken)} pairs are not one good and one bad text, first: {list(broken[:3])}. Complete "
            "them, or leave them out."
        )
    place = pd.Series(np.arange(len(stimuli)), index=pd.MultiIndex.from_frame(stimuli[["pair", "condition"]]))
    pairs = pd.unique(stimuli["pair"])
    return tuple(place.reindex([(pair, condition) for pair in pairs]).to_numpy() for condition in (GOOD, BAD))  # type: ignore[return-value]


@dataclass(frozen=True)
class TextBits:
    """What each text costs: bits (n,) float64, the sum over its predicted tokens; n_tokens (n,) of these."""

    bits: np.ndarray
    n_tokens: np.ndarray


@dataclass(frozen=True)
class Readout:
    """One way to measure: the scores it gives, their units, and the function that computes them."""

    labels: tuple[str, ...]
    units: tuple[str, ...]
    needs_pairs: bool
    score: Callable[[TextBits, ReadoutDesign], list[np.ndarray]]


def minimal_pair_scores(texts: TextBits, design: ReadoutDesign) -> list[np.ndarray]:
    """By how much, and how often, the model prefers the good text of a minimal pair.

    log odds = log2 p(good) - log2 p(bad), in bits, over whole texts; accuracy 1 if positive, 0.5 if zero.
    A unit of several pairs has their mean.

    Returns
    -------
    log odds (unit,) in bits; accuracy (unit,) from 0 to 1

    Source
    ------
    Marvin & Linzen 2018, EMNLP; Warstadt et al. 2020, TACL 8:377.
    """
    log_odds = texts.bits[design.bad] - texts.bits[design.good]
    accuracy = np.where(log_odds == 0, 0.5, log_odds > 0)
    return [_unit_means(scores, design.pair_unit, len(design.labels)) for scores in (log_odds, accuracy)]


def surprisal_scores(texts: TextBits, design: ReadoutDesign) -> list[np.ndarray]:
    """How unexpected a text is: mean of -log2 p(token | tokens before it) over its predicted tokens.

    Of minimal pairs, the good text counts. A unit of several texts has their mean.

    Returns
    -------
    (unit,) in bits per token
    """
    mean = texts.bits[design.rows] / texts.n_tokens[design.rows]
    return [_unit_means(mean, design.row_unit, len(design.labels))]


def _unit_means(scores: np.ndarray, unit: np.ndarray, n_units: int) -> np.ndarray:
    return np.bincount(unit, weights=scores, minlength=n_units) / np.bincount(unit, minlength=n_units)


READOUTS: dict[str, Readout] = {
    "minimal_pair": Readout(("log_odds", "accuracy"), ("bits", "1"), True, minimal_pair_scores),
    "surprisal": Readout(("surprisal",), ("bits per token",), False, surprisal_scores),
}
"""Read-outs by name."""


def score_texts(texts: TextBits, design: ReadoutDesign, readouts: Sequence[str]) -> np.ndarray:
    """Scores (label, unit) of all read-outs, in the order of their labels."""
    return np.stack([scores for name in readouts for scores in READOUTS[name].score(texts, design)])


def text_bits(surprisal: np.ndarray, lengths: Sequence[int]) -> TextBits:
    """Total bits of each text from token surprisals; the first token of a text is not predicted.

    Parameters
    ----------
    surprisal : (row,) bits, tokens of all texts one after another, NaN at the first of each
    lengths : tokens of each text, at least 2

    Examples
    --------
    >>> text_bits(np.array([np.nan, 1.0, 2.0, np.nan, 4.0]), [3, 2]).bits
    array([3., 4.])
    """
    n_tokens = np.asarray(lengths)
    starts = np.concatenate([[0], np.cumsum(n_tokens)[:-1]])
    is_first = np.zeros(len(surprisal), dtype=bool)
    is_first[starts] = True
    return TextBits(np.add.reduceat(np.where(is_first, 0.0, surprisal), starts), n_tokens - 1)
