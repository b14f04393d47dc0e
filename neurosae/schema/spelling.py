"""What a misspelt name was meant to be; used by every message that refuses an unknown name."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """End of a sentence that refuses ``name``: '; did you mean …?', or a full stop if nothing is close.

    Examples
    --------
    >>> nearest("emotoin", ["emotion", "neutral"])
    "; did you mean 'emotion'?"
    >>> nearest("emotoin", ["rest"])
    '.'
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else "."


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names separated by commas, the first ``most`` of them.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    'a, b, … (3 in all)'
    """
    every = list(names)
    more = f", … ({len(every)} in all)" if len(every) > most else ""
    return ", ".join(every[:most]) + more
