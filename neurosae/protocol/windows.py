"""Which tokens of a stimulus an analysis looks at: all, first:5, target, relative:10, span:0:20 and more."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from neurosae.errors import ProtocolError
from neurosae.schema.spelling import nearest

_COUNT, _OFFSET = r"([1-9][0-9]{0,5})", r"(-?[0-9]{1,6})"
_CHARACTER, _COLUMN = r"([0-9]{1,9})", r"([^\W\d]\w*)"

WINDOWS: Mapping[str, tuple[str, ...]] = {
    "all": ("",),
    "first": (f":{_COUNT}",),
    "last": (f":{_COUNT}",),
    "centered": (f":{_COUNT}",),
    "target": ("", f":{_OFFSET}:{_OFFSET}"),
    "relative": (f":{_COUNT}",),
    "span": (f":{_CHARACTER}:{_CHARACTER}", f":{_COLUMN}:{_COLUMN}"),
}
"""Kinds of window, each with the forms of what may follow its name."""

_EXAMPLES = (
    "all, first:5, last:1, centered:8, target, target:-2:2, relative:10, span:0:20, "
    "span:critical_start:critical_end"
)


@dataclass(frozen=True)
class Window:
    """A window as written.

    kind : one of `WINDOWS`
    numbers : those behind the kind; none for 'all', plain 'target' and a span between columns
    columns : of the stimuli, where a span starts and ends
    """

    kind: str
    numbers: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def has_parts(self) -> bool:
        """Whether the window gives several responses a stimulus."""
        return self.kind == "relative"


def parse_window(text: str) -> Window:
    """The window that ``text`` names.

    all : every valid token. first:k, last:k, centered:k : k tokens from the start, the end, the middle.
    target : the tokens of the target. target:a:b : from a to b tokens after the last token of the target,
    negative before it. relative:q : q equal parts of the stimulus, a response for each.
    span:start:end : the tokens that overlap these characters of the text, counted from 0, end exclusive; or
    the characters that two columns of the stimuli give, as in span:critical_start:critical_end.

    Raises
    ------
    ProtocolError
        If ``text`` is none of these, a target window ends before it starts, or a span holds no character.

    Examples
    --------
    >>> parse_window("target:-2:2")
    Window(kind='target', numbers=(-2, 2), columns=())
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
    if kind == "span" and not match[1].isdecimal():
        return Window(kind, columns=match.groups())
    numbers = tuple(int(number) for number in match.groups())
    _check_order(text, kind, numbers)
    return Window(kind, numbers)


def _check_order(text: str, kind: str, numbers: tuple[int, ...]) -> None:
    if kind == "target" and numbers and numbers[0] > numbers[1]:
        raise ProtocolError(f"window {text!r} ends before it starts. Write target:{numbers[1]}:{numbers[0]}.")
    if kind == "span" and numbers[0] >= numbers[1]:
        raise ProtocolError(f"window {text!r} holds no character: the end is exclusive, as in span:0:20.")
