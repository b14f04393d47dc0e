"""Which tokens of a stimulus an analysis looks at: all, first:5, last:1, centered:8, target, relative:10."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from neurosae.errors import ProtocolError
from neurosae.schema.spelling import nearest

_COUNT, _OFFSET = r"([1-9][0-9]{0,5})", r"(-?[0-9]{1,6})"

WINDOWS: Mapping[str, tuple[str, ...]] = {
    "all": ("",),
    "first": (f":{_COUNT}",),
    "last": (f":{_COUNT}",),
    "centered": (f":{_COUNT}",),
    "target": ("", f":{_OFFSET}:{_OFFSET}"),
    "relative": (f":{_COUNT}",),
}
"""Kinds of window, each with the forms of what may follow its name."""

_EXAMPLES = "all, first:5, last:1, centered:8, target, target:-2:2, relative:10"


@dataclass(frozen=True)
class Window:
    """A window as written: ``kind`` and its ``numbers``, none for 'all' and plain 'target'."""

    kind: str
    numbers: tuple[int, ...] = ()


def parse_window(text: str) -> Window:
    """The window that ``text`` names.

    all : every valid token. first:k, last:k, centered:k : k tokens from the start, the end, the middle.
    target : the tokens of the target. target:a:b : from a to b tokens after the last token of the target,
    negative before it. relative:q : q equal parts of the stimulus.

    Raises
    ------
    ProtocolError
        If ``text`` is none of these, or a target window ends before it starts.

    Examples
    --------
    >>> parse_window("target:-2:2")
    Window(kind='target', numbers=(-2, 2))
    """
    kind, _, rest = text.partition(":")
    if kind not in WINDOWS:
        raise ProtocolError(f"no window {text!r}{nearest(kind, WINDOWS)} Windows: {_EXAMPLES}.")
    suffix = text[len(kind) :]
    match = next((found for form in WINDOWS[kind] if (found := re.fullmatch(form, suffix))), None)
    if match is None:
        raise ProtocolError(
            f"window {text!r}: {kind!r} cannot be followed by {rest!r}. Windows: {_EXAMPLES}."
        )
    numbers = tuple(int(number) for number in match.groups())
    if kind == "target" and numbers and numbers[0] > numbers[1]:
        raise ProtocolError(f"window {text!r} ends before it starts. Write target:{numbers[1]}:{numbers[0]}.")
    return Window(kind, numbers)
