"""Builds stimuli.tsv: words of four concepts, each in the same six sentence frames.

The frames speak about words (a card, a dictionary, a poster), so that a number, an emotion, an action and a
colour fit equally well, and everything but the word is the same over the concepts. The lists have the same
number of words of each length. Run ``python build.py`` to rewrite the table; the seed decides only the
order of its rows, and the same bytes come out each time.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
SEED = 4
COLUMNS = ("stimulus", "text", "condition", "item", "template", "target_start", "target_end")

WORDS = {
    "number": """six ten  four five nine zero  three seven eight dozen fifty forty sixty
        eleven twelve thirty eighty ninety  fifteen sixteen seventy hundred  thirteen  seventeen""",
    "emotion": """joy awe  fear rage envy fury  anger grief shame guilt pride dread bliss
        sorrow terror relief hatred regret  sadness disgust delight boredom  jealousy  happiness""",
    "action": """run dig  jump kick swim grab  climb throw carry crawl shake knock write
        wander sprint tickle gather juggle  scratch whisper squeeze stumble  scramble  interrupt""",
    "colour": """red tan  grey pink teal cyan  green brown white black beige ivory khaki
        yellow purple violet indigo maroon  crimson scarlet magenta emerald  burgundy  turquoise""",
}
"""Four lists of 24 words: 2, 4, 7, 5, 4, 1 and 1 words of 3 to 9 letters each."""

FRAMES = {
    "card": "The next word on the card was {}.",
    "crossword": "It took us an hour to see that the crossword answer was {}.",
    "dictionary": "He looked up {} in the old dictionary.",
    "notebook": "She wrote the word {} at the top of a new page.",
    "poster": "Someone had printed {} in capital letters on the poster.",
    "spelling": "Today our class learned how to spell {} correctly.",
}


def stimulus(condition: str, word: str, template: str) -> tuple[str, ...]:
    """One row: the word in the frame, with the span of the word."""
    start = FRAMES[template].index("{}")
    text = FRAMES[template].format(word)
    end = start + len(word)
    return f"co-{condition}-{word}-{template}", text, condition, word, template, str(start), str(end)


def rows() -> Iterator[tuple[str, ...]]:
    """Rows of the table, in an order that mixes concepts and frames."""
    table = [
        stimulus(condition, word, template)
        for condition, words in WORDS.items()
        for word in words.split()
        for template in FRAMES
    ]
    rng = random.Random(SEED)
    # Only random() is drawn: its stream, unlike that of shuffle, never changes between Python versions.
    order = sorted((rng.random(), position) for position in range(len(table)))
    return (table[position] for _, position in order)


def build(folder: Path = HERE) -> Path:
    """Write stimuli.tsv into ``folder`` and return its path."""
    table = folder / "stimuli.tsv"
    lines = ["\t".join(row) for row in (COLUMNS, *rows())]
    table.write_bytes(("\n".join(lines) + "\n").encode("utf-8"))
    return table


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
