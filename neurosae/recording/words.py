"""Which word each token belongs to, and where it stands relative to the stimulus's target span."""

import numpy as np

from neurosae.schema.names import NO_TARGET, NO_WORD
from neurosae.stimulus.targets import tokens_in_span
from neurosae.stimulus.words import word_spans
from neurosae.subject.interface import Tokens


def word_index(text: str, tokens: Tokens) -> np.ndarray:
    """Number of the word that each token is part of, as `neurosae.stimulus.words.word_spans` counts words.

    A token that spans two words counts to the first. Special tokens, white space and punctuation that stands
    alone belong to none.

    Returns
    -------
    array (n_tokens,) int32
        Word number from 0, or `neurosae.schema.names.NO_WORD`.

    Examples
    --------
    >>> word_index("so be it", _example_tokens([(0, 0), (0, 2), (2, 4), (4, 5), (5, 8)]))
    array([-1,  0,  1,  1,  2], dtype=int32)
    """
    starts, ends = word_spans(text)
    first = np.searchsorted(ends, tokens.char_start, side="right")
    starts = np.append(starts, len(text) + 1)  # behind the last word no token starts one
    belongs = (starts[first] < tokens.char_end) & (tokens.char_start < tokens.char_end) & ~tokens.is_special
    return np.where(belongs, first, NO_WORD).astype(np.int32)


def relative_to_target(tokens: Tokens, target_start: int, target_end: int) -> np.ndarray:
    """Position of each token relative to the last token that overlaps the target span.

    rel_target = position - position of the last overlapping token, so that 0 is where the target is
    complete, negative tokens come before and positive ones after.

    Parameters
    ----------
    tokens : tokens of one text
    target_start, target_end : characters of the target, end exclusive; -1 for none

    Returns
    -------
    array (n_tokens,) int32
        `neurosae.schema.names.NO_TARGET` throughout if no token overlaps the target.

    Examples
    --------
    >>> relative_to_target(_example_tokens([(0, 0), (0, 2), (2, 5), (5, 8)]), 3, 5)
    array([-2, -1,  0,  1], dtype=int32)
    """
    overlaps = tokens_in_span(tokens.char_start, tokens.char_end, target_start, target_end)
    overlaps = overlaps & ~tokens.is_special
    if not overlaps.any():
        return np.full(len(tokens), NO_TARGET, dtype=np.int32)
    return (np.arange(len(tokens)) - np.flatnonzero(overlaps)[-1]).astype(np.int32)


def _example_tokens(spans: list[tuple[int, int]]) -> Tokens:
    start, end = np.array(spans).T
    return Tokens(np.zeros(len(spans), dtype=int), np.full(len(spans), "x"), start, end, start == end)
