"""Where the words of a text are."""

import unicodedata

import numpy as np

_LETTERS = ("L", "M", "N")  # major classes of Unicode: letters, combining marks, numbers
_JOINERS = "'’-"


def word_spans(text: str) -> tuple[np.ndarray, np.ndarray]:
    """First and last character of each word of ``text``.

    A word is a run of letters, combining marks and digits; an apostrophe or hyphen between two of them
    belongs to it (don't, well-known). White space, punctuation and symbols separate words. Languages written
    without spaces get one word a run; this is no segmenter.

    Parameters
    ----------
    text : str

    Returns
    -------
    start, end : (n_words,) int64
        Character positions, end exclusive, in the order of the text.

    Examples
    --------
    >>> start, end = word_spans("Don't stop, now!")
    >>> start.tolist(), end.tolist()
    ([0, 6, 12], [5, 10, 15])
    """
    inside = np.zeros(len(text) + 2, dtype=bool)
    inside[1:-1] = [unicodedata.category(character)[0] in _LETTERS for character in text]
    joiner = np.zeros_like(inside)
    joiner[1:-1] = [character in _JOINERS for character in text]
    inside[1:-1] |= joiner[1:-1] & inside[:-2] & inside[2:]
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    return edges[::2], edges[1::2]
