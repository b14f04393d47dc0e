"""Where the target of a stimulus is: a span of characters, and the tokens that overlap it."""

import numpy as np
import pandas as pd

from neurosae.schema.spans import NO_SPAN, character_position
from neurosae.stimulus.refusals import cell_error, table_error

TARGET_COLUMNS = ("target_start", "target_end")


def target_values(stimuli: pd.DataFrame, name: str) -> np.ndarray:
    """One end of the target spans (n_stimuli,) int64; an empty cell is -1, no target.

    Raises
    ------
    StimulusError
        If a cell is no whole number.

    Examples
    --------
    >>> target_values(pd.DataFrame({"stimulus": ["a", "b"], "target_end": ["4", ""]}), "target_end")
    array([ 4, -1])
    """
    values = np.empty(len(stimuli), dtype=np.int64)
    for row, cell in enumerate(stimuli[name].astype(str)):
        position = character_position(cell)
        if position is None:
            raise cell_error(stimuli, row, name, f"{cell!r} is no character position.")
        values[row] = position
    return values


def check_targets(stimuli: pd.DataFrame) -> None:
    """Refuse target spans that are half given, empty, or outside their text."""
    present = [name for name in TARGET_COLUMNS if name in stimuli]
    if len(present) == 1:
        raise table_error(
            stimuli, f"column {present[0]!r} needs its other half: target_start and target_end."
        )
    if not present:
        return
    starts, ends = (target_values(stimuli, name) for name in TARGET_COLUMNS)
    for row, (start, end, text) in enumerate(zip(starts, ends, stimuli["text"], strict=True)):
        if start == end == NO_SPAN:
            continue
        if not 0 <= start < end <= len(text):
            problem = f"the span {start} to {end} does not lie in a text of {len(text)} characters"
            raise cell_error(stimuli, row, "target_start", f"{problem} (start from 0, end exclusive).")


def tokens_in_span(
    char_start: np.ndarray, char_end: np.ndarray, start: int | np.ndarray, end: int | np.ndarray
) -> np.ndarray:
    """Which tokens overlap the characters ``start`` to ``end`` (exclusive).

    A character split over several tokens, an emoji for example, selects all of them; a token without
    characters of its own (BOS) is never selected.

    Parameters
    ----------
    char_start, char_end : (…, n_tokens) int
        Span of each token in the text, end exclusive.
    start, end : int, or array (…, 1) int with a span for each text
        Span asked for; -1, -1 selects nothing.

    Returns
    -------
    (…, n_tokens) bool

    Examples
    --------
    >>> tokens_in_span(np.array([0, 0, 3, 3]), np.array([0, 3, 4, 4]), 3, 4)
    array([False, False,  True,  True])
    """
    return (char_end > char_start) & (char_start < end) & (char_end > start)
