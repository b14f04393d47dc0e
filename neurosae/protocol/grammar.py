"""How a contrast is spelled: 'A > B', '(A + B) > C', 'a - 0.5*b - 0.5*c', `quoted name`, factor[level].

Text in, weights of the names in it out. What the names mean is decided in `neurosae.protocol.contrast`;
nothing is ever evaluated.

    contrast := compared (':' compared)*                 parentheses around a compared part are optional
    compared := linear [('>' | '<') linear]
    linear   := ['-'] term (('+' | '-') term)*
    term     := [number '*'] atom ['/' number]
    atom     := name | factor[level] | '(' linear ')' | linear(atom, atom, ...) | quad(atom, atom, ...)
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from neurosae.errors import ContrastError

MAX_DEPTH = 20
"""Deepest nesting of parentheses that is read."""

TRENDS = {"linear": 1, "quad": 2}
"""Trend helpers, linear(A, B, C) and quad(A, B, C), with the power of the rank they follow."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<quoted>`[^`]+`)|(?P<level>\[[^\]]+\])|(?P<name>[^\W\d]\w*)|(?P<symbol>[-+*/(),<>]))"
)

_COLON = re.compile(r":(?=(?:[^`]*`[^`]*`)*[^`]*$)(?![^\[]*\])")
"""A colon outside backticks and brackets."""


@dataclass(frozen=True)
class Reference:
    """A name as written: a level, a factor (``column`` None), or a level of the factor ``column``."""

    name: str
    column: str | None = None

    def __str__(self) -> str:
        return self.name if self.column is None else f"{self.column}[{self.name}]"


Weights: TypeAlias = Mapping[Reference, float]


@dataclass(frozen=True)
class Comparison:
    """A contrast as written: ``sign`` is '>', '<', or '' for one sum with literal weights."""

    left: Weights
    sign: str
    right: Weights


@dataclass(frozen=True)
class _Source:
    text: str
    tokens: tuple[tuple[str, str], ...]

    def at(self, position: int) -> tuple[str, str]:
        return self.tokens[position] if position < len(self.tokens) else ("end", "")

    def error(self, problem: str) -> ContrastError:
        return ContrastError(f"contrast {self.text!r}: {problem}")


def interaction_parts(text: str) -> list[str]:
    """The contrasts that ':' joins, without parentheses around them; the text itself if there is no ':'.

    Examples
    --------
    >>> interaction_parts("(joy > fear) : (`a:b` > c)")
    ['joy > fear', '`a:b` > c']
    """
    pieces = _COLON.split(text)
    if len(pieces) == 1:
        return [text]
    return [_unwrapped(piece.strip()) for piece in pieces]


def _unwrapped(text: str) -> str:
    inner = text[1:-1]
    is_wrapped = text.startswith("(") and text.endswith(")") and _is_balanced(inner)
    return inner if is_wrapped else text


def _is_balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0


def parse_comparison(text: str) -> Comparison:
    """The weights a contrast gives to the names in it, side by side.

    Raises
    ------
    ContrastError
        If ``text`` is not a contrast: empty, a chained '>', a product of conditions, a number by itself.

    Examples
    --------
    >>> {str(name): weight for name, weight in parse_comparison("a - 0.5*b - c/2").left.items()}
    {'a': 1.0, 'b': -0.5, 'c': -0.5}
    """
    source = _Source(text, _tokens(text))
    if not source.tokens:
        raise source.error("it is empty. Write for example 'A > B'.")
    left, position = _linear(source, 0, 0)
    kind, sign = source.at(position)
    if kind == "end":
        return Comparison(left, "", {})
    if sign not in ("<", ">"):
        raise _unexpected(source, position)
    right, position = _linear(source, position + 1, 0)
    if source.at(position)[1] in ("<", ">"):
        raise source.error("a contrast holds one '>' or '<', not a chain. Write one contrast a comparison.")
    if source.at(position)[0] != "end":
        raise _unexpected(source, position)
    return Comparison(left, sign, right)


def _tokens(text: str) -> tuple[tuple[str, str], ...]:
    tokens, position, stripped = [], 0, text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            rest = stripped[position:].lstrip()
            raise ContrastError(
                f"contrast {text!r}: cannot read {rest[:1]!r} in {rest[:20]!r}. Contrasts use names, numbers "
                "and + - * / ( ) > <; write any other name in `backticks`."
            )
        tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
        position = match.end()
    return tuple(tokens)


def _linear(source: _Source, position: int, depth: int) -> tuple[Weights, int]:
    if depth > MAX_DEPTH:
        raise source.error(f"parentheses are nested deeper than {MAX_DEPTH}. Write it flat.")
    total: dict[Reference, float] = {}
    sign, position = (-1.0, position + 1) if source.at(position)[1] == "-" else (1.0, position)
    while True:
        weights, position = _term(source, position, depth)
        for reference, weight in weights.items():
            total[reference] = total.get(reference, 0.0) + sign * weight
        if source.at(position)[1] not in ("+", "-"):
            return total, position
        sign = 1.0 if source.at(position)[1] == "+" else -1.0
        position += 1


def _term(source: _Source, position: int, depth: int) -> tuple[Weights, int]:
    factor = 1.0
    if source.at(position)[0] == "number":
        if source.at(position + 1)[1] != "*":
            raise source.error(
                f"the number {source.at(position)[1]} stands alone. A number weighs a condition, as in "
                "0.5*A; a name that starts with a digit goes in `backticks`."
            )
        factor, position = _number(source, position), position + 2
    weights, position = _atom(source, position, depth)
    if source.at(position)[1] == "/":
        divisor = _number(source, position + 1)
        if divisor == 0:
            raise source.error("it divides by zero.")
        factor, position = factor / divisor, position + 2
    if source.at(position)[1] == "*":
        raise source.error(
            "a product of conditions is no contrast. Only a number multiplies, and it comes first: 0.5*A."
        )
    return {reference: factor * weight for reference, weight in weights.items()}, position


def _number(source: _Source, position: int) -> float:
    kind, value = source.at(position)
    if kind != "number" or not math.isfinite(float(value)):
        raise source.error(f"a finite number is needed, not {value or 'the end'!r}.")
    return float(value)


def _atom(source: _Source, position: int, depth: int) -> tuple[Weights, int]:
    kind, value = source.at(position)
    if value == "(":
        weights, position = _linear(source, position + 1, depth + 1)
        return weights, _closed(source, position)
    if kind == "name" and value in TRENDS and source.at(position + 1)[1] == "(":
        return _trend(source, position + 2, value)
    reference, position = _reference(source, position)
    return {reference: 1.0}, position


def _reference(source: _Source, position: int) -> tuple[Reference, int]:
    kind, value = source.at(position)
    if kind not in ("name", "quoted"):
        raise _unexpected(source, position)
    name = value.strip("`").strip()
    if source.at(position + 1)[0] == "level":
        level = source.at(position + 1)[1][1:-1].strip().strip("`")
        return Reference(level, column=name), position + 2
    return Reference(name), position + 1


def _trend(source: _Source, position: int, name: str) -> tuple[Weights, int]:
    """Centred weights of a trend over equal steps; the positive ones sum to 1, the negative ones to -1."""
    references: list[Reference] = []
    while True:
        reference, position = _reference(source, position)
        references.append(reference)
        if source.at(position)[1] != ",":
            break
        position += 1
    fewest = TRENDS[name] + 1
    if len(set(references)) < max(fewest, len(references)):
        count = {2: "two", 3: "three"}[fewest]
        raise source.error(f"{name}() needs {count} or more different conditions, in rising order.")
    middle = (len(references) - 1) / 2
    powers = [(rank - middle) ** TRENDS[name] for rank in range(len(references))]
    steps = [power - sum(powers) / len(powers) for power in powers]
    scale = sum(step for step in steps if step > 0)
    weights = {reference: step / scale for reference, step in zip(references, steps, strict=True)}
    return weights, _closed(source, position)


def _closed(source: _Source, position: int) -> int:
    if source.at(position)[1] != ")":
        raise source.error(f"')' is missing before {source.at(position)[1] or 'the end'!r}.")
    return position + 1


def _unexpected(source: _Source, position: int) -> ContrastError:
    kind, value = source.at(position)
    if kind == "end":
        return source.error("it ends where a condition is expected. Write for example 'A > B'.")
    return source.error(f"{value!r} is unexpected there. Write for example 'A > B' or '(A + B) > C'.")
