"""Builds stimuli.tsv: statements of fact, each with its true answer and with a foil.

The foil is the true answer of another fact of the same group: over a topic each answer is as often the foil
as the truth, so that how frequent or long a word is cannot tell them apart. ``facts.py`` holds the facts.
Run ``python build.py`` to rewrite the table; the same bytes come out each time.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from facts import TOPICS, Group

HERE = Path(__file__).parent
SEED = 7
COLUMNS = ("stimulus", "text", "condition", "pair", "topic", "target_start", "target_end")


def is_false(group: Group, question: str, foil: str) -> bool:
    """Whether ``foil`` is no answer to ``question``: neither true, nor half true, nor the question itself."""
    return foil not in {question, group.facts[question], *group.near.get(question, "").split()}


def foils(group: Group, rng: random.Random) -> list[str]:
    """The answers of ``group`` in another order, in which each is false of the fact it comes to."""
    answers = list(group.facts.values())
    while True:
        # Only random() is drawn: its stream, unlike that of shuffle, never changes between Python versions.
        order = sorted(range(len(answers)), key=lambda _: rng.random())
        shuffled = [answers[place] for place in order]
        if all(is_false(group, question, foil) for question, foil in zip(group.facts, shuffled, strict=True)):
            return shuffled


def completed(group: Group, question: str, answer: str) -> tuple[str, str, str]:
    """The statement and the span of its answer."""
    before, after = group.frame.replace("{0}", question).split("{1}")
    return before + answer + after, str(len(before)), str(len(before) + len(answer))


def rows() -> Iterator[tuple[str, ...]]:
    """Rows of the table: each fact with its true answer, then with its foil."""
    for position, (topic, groups) in enumerate(TOPICS.items()):
        rng = random.Random(SEED + position)
        number = 0
        for group in groups:
            for (question, answer), foil in zip(group.facts.items(), foils(group, rng), strict=True):
                number += 1
                pair = f"fa-{topic}-{number:02d}"
                for condition, word in (("good", answer), ("bad", foil)):
                    text, start, end = completed(group, question, word)
                    yield f"{pair}-{condition}", text, condition, pair, topic, start, end


def build(folder: Path = HERE) -> Path:
    """Write stimuli.tsv into ``folder`` and return its path."""
    table = folder / "stimuli.tsv"
    lines = ["\t".join(row) for row in (COLUMNS, *rows())]
    table.write_bytes(("\n".join(lines) + "\n").encode("utf-8"))
    return table


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
