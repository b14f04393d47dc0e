"""Where two columns of a stimulus table mark a span of characters in each text."""

import re

import numpy as np
import pandas as pd

from neurosae.errors import StimulusError
from neurosae.schema.names import STIMULUS

NO_SPAN = -1
"""Start and end of the span of a stimulus that has none."""


def character_position(cell: object) -> int | None:
    """The character position that a cell holds, -1 for an empty cell, None if it is no position.

    Examples
    --------
    >>> character_position("12"), character_position(""), character_position("1.5")
    (12, -1, None)
    """
    text = str(cell)
    if not text:
        return NO_SPAN
    return int(text) if re.fullmatch(r"-1|[0-9]{1,9}", text) else None


def character_spans(stimuli: pd.DataFrame, start: str, end: str) -> np.ndarray:
    """Start and end (exclusive) of the span that two columns mark in each text.

    Parameters
    ----------
    stimuli : DataFrame
        Columns ``stimulus``, ``start`` and ``end``: whole numbers, or text that spells them; -1 or an empty
        cell in both is no span. Where there is a column ``text``, spans end within it.
    start, end : str
        Names of the columns.

    Returns
    -------
    (n_stimuli, 2) int64

    Raises
    ------
    StimulusError
        If a cell is no character position, or a span is half given, empty or longer than its text.

    Examples
    --------
    >>> stimuli = pd.DataFrame({"stimulus": ["a", "b"], "verb_start": ["4", ""], "verb_end": ["9", ""]})
    >>> character_spans(stimuli, "verb_start", "verb_end").tolist()
    [[4, 9], [-1, -1]]
    """
    spans = np.stack([_positions(stimuli, name) for name in (start, end)], axis=1)
    lengths = stimuli["text"].str.len() if "text" in stimuli else spans.max(axis=1)
    has_span = (spans != NO_SPAN).any(axis=1)
    is_sound = (spans[:, 0] >= 0) & (spans[:, 0] < spans[:, 1]) & (spans[:, 1] <= np.asarray(lengths))
    for row in np.flatnonzero(has_span & ~is_sound):
        first, last = spans[row]
        raise StimulusError(
            f"stimulus {str(stimuli[STIMULUS].iloc[row])!r}: the span {first} to {last} of columns {start!r} "
            f"and {end!r} is half given, empty or longer than the text. Count characters from 0, the end "
            "exclusive; leave both cells empty where there is no span."
        )
    return spans


def _positions(stimuli: pd.DataFrame, name: str) -> np.ndarray:
    positions = [character_position(cell) for cell in stimuli[name]]
    if None in positions:
        row = positions.index(None)
        raise StimulusError(
            f"stimulus {str(stimuli[STIMULUS].iloc[row])!r}, column {name!r}: "
            f"{str(stimuli[name].iloc[row])!r} is no character position. Write a whole number from 0."
        )
    return np.array(positions, dtype=np.int64)
