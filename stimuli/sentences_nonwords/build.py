"""Builds stimuli.tsv: hand-written sentences and nonword lists matched to them letter by letter.

Each sentence of ``sentences.txt`` gets one list of nonwords. Word for word it keeps the number of letters,
the capital, the comma and the full stop; the letters come from a trigram model of the sentences' own
words, so that a nonword looks like English and can be pronounced. ``rejected.txt`` names the words that
the generator must not make. Run ``python build.py`` to rewrite the table; the same bytes come out each time.
"""

import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
SEED = 20
COLUMNS = ("stimulus", "text", "condition", "item", "match", "topic", "n_words")
VOWELS = frozenset("aeiouy")
ONE_LETTER = ("e", "o", "u")
UNIQUE_FROM = 4
"""Nonwords of this many letters or more occur once in the whole set."""
DISTINCT_FROM = 5
"""Nonwords of this many letters or more differ from every sentence word of that length in two letters."""
CONTAINED_FROM = 4
"""Sentence words of this many letters or more do not occur inside a nonword."""


class Trigrams:
    """Letter trigram counts over word types, sampled under the condition that a word has a given length."""

    def __init__(self, words: set[str]) -> None:
        self.next_letters: dict[str, Counter[str]] = defaultdict(Counter)
        for word in sorted(words):
            padded = f"^^{word}$"
            for start in range(len(padded) - 2):
                self.next_letters[padded[start : start + 2]][padded[start + 2]] += 1
        self.mass = cache(self._mass)

    def _mass(self, context: str, left: int) -> float:
        """Probability that a word in this context ends after exactly ``left`` more letters."""
        counts = self.next_letters[context]
        total = sum(counts.values())
        if left == 0:
            return counts["$"] / total
        letters = [letter for letter in counts if letter != "$"]
        return sum(counts[c] / total * self.mass(context[1] + c, left - 1) for c in letters)

    def strings(self, length: int, context: str = "^^") -> list[str]:
        """All strings of ``length`` letters that ``sample`` can give."""
        if length == 0:
            return [""] if self.next_letters[context]["$"] else []
        letters = sorted(letter for letter in self.next_letters[context] if letter != "$")
        return [c + rest for c in letters for rest in self.strings(length - 1, context[1] + c)]

    def sample(self, length: int, rng: random.Random) -> str:
        """One string of ``length`` letters, every trigram of which occurs in a training word."""
        word = "^^"
        for left in range(length - 1, -1, -1):
            counts = self.next_letters[word[-2:]]
            letters = sorted(letter for letter in counts if letter != "$")
            weights = [counts[c] * self.mass(word[-1] + c, left) for c in letters]
            word += weighted(letters, weights, rng)
        return word[2:]


def weighted(options: list[str], weights: list[float], rng: random.Random) -> str:
    """One of ``options``; only ``random()`` is drawn, whose stream never changes between Python versions."""
    mark = rng.random() * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        mark -= weight
        if mark < 0:
            return option
    return options[-1]


def uniform(options: Sequence[str], rng: random.Random) -> str:
    """One of ``options``, all equally likely."""
    return options[int(rng.random() * len(options))]


def longest_run(word: str, *, vowels: bool) -> int:
    """Length of the longest run of vowels, or of consonants, in ``word``."""
    marks = "".join("x" if (letter in VOWELS) == vowels else " " for letter in word)
    return max(map(len, marks.split()), default=0)


def pronounceable(word: str) -> bool:
    """Whether ``word`` has a vowel, and at most two vowels and three consonants in a row."""
    runs = longest_run(word, vowels=True), longest_run(word, vowels=False)
    return 1 <= runs[0] <= 2 and runs[1] <= min(3, len(word) - 1)


def near_a_word(word: str, vocabulary: set[str]) -> bool:
    """Whether ``word`` is a sentence word, differs from one in a single letter, or contains one."""
    if len(word) < DISTINCT_FROM:
        return word in vocabulary
    same_length = (other for other in vocabulary if len(other) == len(word))
    one_letter_off = any(sum(a != b for a, b in zip(word, other, strict=True)) < 2 for other in same_length)
    return one_letter_off or any(other in word for other in vocabulary if len(other) >= CONTAINED_FROM)


class NonwordMaker:
    """Draws nonwords one after the other and remembers those that must not come again."""

    def __init__(self, vocabulary: set[str], forbidden: set[str], rng: random.Random) -> None:
        self.model = Trigrams(vocabulary)
        self.vocabulary, self.forbidden, self.rng = vocabulary, forbidden, rng
        self.used: set[str] = set()
        self.short = {length: self.model.strings(length) for length in range(2, UNIQUE_FROM)}

    def accepts(self, nonword: str, in_list: set[str]) -> bool:
        """Whether ``nonword`` may join a list that already holds ``in_list``."""
        if nonword in self.forbidden or nonword in self.used or nonword in in_list:
            return False
        return pronounceable(nonword) and not near_a_word(nonword, self.vocabulary)

    def draw(self, length: int, in_list: set[str]) -> str:
        """A nonword of ``length`` letters; lists differ inside, long nonwords differ over the whole set."""
        if length == 1:
            return uniform(ONE_LETTER, self.rng)
        if length < UNIQUE_FROM:
            return uniform([word for word in self.short[length] if self.accepts(word, in_list)], self.rng)
        nonword = self.model.sample(length, self.rng)
        while not self.accepts(nonword, in_list):
            nonword = self.model.sample(length, self.rng)
        self.used.add(nonword)
        return nonword

    def list_like(self, sentence: str) -> str:
        """A list of nonwords with the lengths, capitals and punctuation of ``sentence``."""
        made: list[str] = []
        for token in sentence.split():
            word = token.rstrip(",.")
            nonword = self.draw(len(word), {other.lower().rstrip(",.") for other in made})
            made.append((nonword.capitalize() if word[0].isupper() else nonword) + token[len(word) :])
        return " ".join(made)


def words(sentence: str) -> list[str]:
    """Lower-case words of a sentence without punctuation."""
    return [token.rstrip(",.").lower() for token in sentence.split()]


def rows() -> Iterator[tuple[str, ...]]:
    """Rows of the table: each sentence, followed by the list matched to it."""
    lines = (HERE / "sentences.txt").read_text(encoding="utf-8").splitlines()
    sentences = [line.split("\t") for line in lines]
    vocabulary = {word for _, sentence in sentences for word in words(sentence)}
    forbidden = set((HERE / "rejected.txt").read_text(encoding="utf-8").split())
    maker = NonwordMaker(vocabulary, forbidden, random.Random(SEED))
    for number, (topic, sentence) in enumerate(sentences, start=1):
        sentence_id, list_id = f"sn-s-{number:03d}", f"sn-n-{number:03d}"
        n_words = str(len(words(sentence)))
        yield sentence_id, sentence, "sentence", f"s{number:03d}", list_id, topic, n_words
        yield list_id, maker.list_like(sentence), "nonword", f"n{number:03d}", sentence_id, "none", n_words


def build(folder: Path = HERE) -> Path:
    """Write stimuli.tsv into ``folder`` and return its path."""
    table = folder / "stimuli.tsv"
    lines = ["\t".join(row) for row in (COLUMNS, *rows())]
    table.write_bytes(("\n".join(lines) + "\n").encode("utf-8"))
    return table


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
