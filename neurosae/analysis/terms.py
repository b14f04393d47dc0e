"""How terms of a factorial model are spelled: 'a', 'a : b', 'a * b', joined by '+'."""

import re
from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

from neurosae.errors import ContrastError

Term: TypeAlias = tuple[str, ...]
"""Names of the factors of a main effect or an interaction."""

_TOKEN = re.compile(r"`[^`]+`|[^\W\d]\w*|\S")


def parse_terms(text: str) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
    """Terms that a formula asks for, and all terms of its model.

    'a' is a main effect, 'a : b' an interaction, 'a * b' both main effects and the interaction, '+' joins
    terms. The model also holds every lower term of an interaction.

    Raises
    ------
    ContrastError
        If ``text`` is no formula.

    Examples
    --------
    >>> parse_terms("a : b")
    ((('a', 'b'),), (('a',), ('b',), ('a', 'b')))
    """
    tokens = _TOKEN.findall(text)
    names, signs = tokens[::2], tokens[1::2]
    if len(tokens) % 2 == 0 or set(signs) - set("*:+") or not all(_is_name(name) for name in names):
        raise ContrastError(
            f"terms {text!r}: write factors joined by + (main effects), : (interaction) or * (both), as in "
            "'category * size'; any other name goes in `backticks`."
        )
    asked: list[Term] = []
    for group in _split(names, signs, "+"):
        parts = [tuple(dict.fromkeys(part)) for part in _groups(group)]
        for size in range(1, len(parts) + 1):
            asked += [tuple(dict.fromkeys(sum(chosen, ()))) for chosen in combinations(parts, size)]
    tested = _once(asked)
    lower = [part for term in tested for size in range(1, len(term) + 1) for part in combinations(term, size)]
    return tested, tuple(sorted(_once(lower), key=len))


def _once(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Each term once, whatever the order of its factors, as it was first written."""
    found: dict[frozenset[str], Term] = {}
    for term in terms:
        found.setdefault(frozenset(term), term)
    return tuple(found.values())


def _is_name(token: str) -> bool:
    return token.startswith("`") or token.isidentifier()


def _split(names: list[str], signs: list[str], sign: str) -> list[tuple[list[str], list[str]]]:
    """Groups of names, with the signs inside each, between occurrences of ``sign``."""
    groups: list[tuple[list[str], list[str]]] = [([names[0].strip("`")], [])]
    for name, before in zip(names[1:], signs, strict=True):
        if before == sign:
            groups.append(([], []))
        else:
            groups[-1][1].append(before)
        groups[-1][0].append(name.strip("`"))
    return groups


def _groups(group: tuple[list[str], list[str]]) -> list[list[str]]:
    """Factors of a group that '*' separates, those joined by ':' together."""
    return [names for names, _ in _split(*group, "*")]
