"""Builds stimuli.tsv: minimal pairs of agreement, licensing and case from a small seeded grammar.

Each phenomenon is one function that draws a pair: two sentences, each as (before, critical word, after).
They differ in the critical word alone; only in the licensing pairs does the licensor differ and the
critical word stay. ``lexicon.py`` holds the words. Run ``python build.py`` to rewrite the table; the same
bytes come out each time.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import lexicon as lex

HERE = Path(__file__).parent
SEED = 11
PAIRS = 100
"""Pairs of each phenomenon."""
COLUMNS = ("stimulus", "text", "condition", "pair", "phenomenon", "number", "target_start", "target_end")
NUMBERS = ("singular", "plural")

T = TypeVar("T")
Parts = tuple[str, str, str]


class Pair(NamedTuple):
    """Two sentences in parts (before, critical word, after) and the number of the critical word's partner."""

    good: Parts
    bad: Parts
    number: str


def pick(options: Sequence[T], rng: random.Random) -> T:
    """One of ``options``; only ``random()`` is drawn, whose stream never changes between Python versions."""
    return options[int(rng.random() * len(options))]


def verb_pair(before: str, predicate: lex.Predicate, plural: int) -> Pair:
    """The subject ``before`` with the verb that agrees and the one that does not."""
    verbs, rest = predicate[:2], f" {predicate[2]}."
    good, bad = verbs[plural], verbs[1 - plural]
    return Pair((f"{before} ", good, rest), (f"{before} ", bad, rest), NUMBERS[plural])


def agreement_simple(draw: int, rng: random.Random) -> Pair:
    """The old doctors work / works near the station."""
    plural = draw % 2
    subject = f"The {pick(lex.PEOPLE_ADJECTIVES, rng)}{pick(lex.PEOPLE, rng)[plural]}"
    return verb_pair(subject, pick(lex.PEOPLE_PREDICATES, rng), plural)


def agreement_attractor(draw: int, rng: random.Random) -> Pair:
    """The key to the cabinets is / are missing."""
    plural = draw % 2
    head, link, attractors, kind = pick(lex.PP_HEADS, rng)
    subject = f"The {head[plural]} {link} {pick(attractors, rng)[1 - plural]}"
    return verb_pair(subject, pick(lex.PP_PREDICATES[kind], rng), plural)


def agreement_relative(draw: int, rng: random.Random) -> Pair:
    """The farmer that the customers thanked is / are tired; the farmer who thanked the customers is / are."""
    plural, is_subject = draw % 2, draw // 2 % 2
    head, attractor = pick(lex.RELATIVE_HEADS, rng)[plural], pick(lex.RELATIVE_ATTRACTORS, rng)[1 - plural]
    verb = pick(lex.RELATIVE_VERBS, rng)
    clause = f"who {verb} the {attractor}" if is_subject else f"that the {attractor} {verb}"
    return verb_pair(f"The {head} {clause}", pick(lex.PP_PREDICATES["person"], rng), plural)


def agreement_irregular(draw: int, rng: random.Random) -> Pair:
    """The mice hide / hides in the tall grass."""
    plural = draw % 2
    is_animal = draw % 5 < 2
    noun = pick(lex.IRREGULAR_ANIMALS if is_animal else lex.IRREGULAR_PEOPLE, rng)
    predicates = lex.ANIMAL_PREDICATES if is_animal else lex.PEOPLE_PREDICATES
    return verb_pair(f"The {noun[plural]}", pick(predicates, rng), plural)


def determiner_noun(draw: int, rng: random.Random) -> Pair:
    """Anna bought these lamps / lamp last week."""
    plural = draw % 2
    determiner = lex.DEMONSTRATIVES[plural][draw // 2 % 2]
    verb, nouns, adjuncts = pick(lex.DETERMINER_FRAMES, rng)
    noun = pick(nouns, rng)
    before = f"{pick(lex.NAMES, rng)} {verb} {determiner} {pick(lex.THING_ADJECTIVES, rng)}"
    after = f" {pick(adjuncts, rng)}."
    return Pair((before, noun[plural], after), (before, noun[1 - plural], after), NUMBERS[plural])


def reflexive(draw: int, rng: random.Random) -> Pair:
    """The queen saw herself / himself in the mirror; the queens saw themselves / herself in the mirror."""
    forms = ("himself", "herself")
    own, other = forms[draw % 2], forms[1 - draw % 2]
    # Half of the pairs contrast gender, a quarter each a plural and a singular antecedent by number.
    contrast = ("gender", "plural", "gender", "singular")[draw // 2 % 4]
    plural = int(contrast == "plural")
    good, bad = {
        "gender": (own, other),
        "plural": ("themselves", own),
        "singular": (own, "themselves"),
    }[contrast]
    verb, rest = pick(lex.REFLEXIVE_PREDICATES, rng)
    before, after = f"The {pick(lex.GENDERED[own], rng)[plural]} {verb} ", f" {rest}."
    return Pair((before, good, after), (before, bad, after), NUMBERS[plural])


def npi_licensing(draw: int, rng: random.Random) -> Pair:
    """Few pilots have ever seen a whale / Many pilots have ever seen a whale."""
    licensor, other, auxiliary = lex.NPI_SUBJECTS[draw % len(lex.NPI_SUBJECTS)]
    group, rest = pick(lex.NPI_GROUPS, rng), f" {pick(lex.NPI_PREDICATES, rng)}."
    good, bad = (f"{subject.format(group)} {auxiliary} " for subject in (licensor, other))
    return Pair((good, "ever", rest), (bad, "ever", rest), "none")


def pronoun_case(draw: int, rng: random.Random) -> Pair:
    """After lunch she / her opened the old suitcase; the doctor called them / they after lunch."""
    plural, is_object = draw % 2, draw // 2 % 2
    forms = pick([pronoun[:2] for pronoun in lex.PRONOUNS if pronoun[2] == plural], rng)
    if is_object:
        opener, frame = pick(lex.OBJECT_OPENERS, rng), pick(lex.OBJECT_FRAMES, rng)
        before, after = (opener + (frame[0].lower() if opener else frame[0]) + frame[1:]).split("{}")
    else:
        before, after = f"{pick(lex.SUBJECT_OPENERS, rng)} ", f" {pick(lex.SUBJECT_PREDICATES, rng)}"
    good, bad = forms[is_object], forms[1 - is_object]
    return Pair((before, good, f"{after}."), (before, bad, f"{after}."), NUMBERS[plural])


PHENOMENA: dict[str, Callable[[int, random.Random], Pair]] = {
    "agreement-simple": agreement_simple,
    "agreement-attractor": agreement_attractor,
    "agreement-relative": agreement_relative,
    "agreement-irregular": agreement_irregular,
    "determiner-noun": determiner_noun,
    "reflexive": reflexive,
    "npi-licensing": npi_licensing,
    "pronoun-case": pronoun_case,
}


def pairs(phenomenon: str, rng: random.Random) -> Iterator[Pair]:
    """Pairs of one phenomenon; a pair that shares a sentence with an earlier one is drawn again."""
    seen: set[Parts] = set()
    for number in range(PAIRS):
        pair = PHENOMENA[phenomenon](number, rng)
        while seen & {pair.good, pair.bad}:
            pair = PHENOMENA[phenomenon](number, rng)
        seen |= {pair.good, pair.bad}
        yield pair


def rows() -> Iterator[tuple[str, ...]]:
    """Rows of the table: the good sentence of each pair, then the bad one."""
    for position, phenomenon in enumerate(PHENOMENA):
        rng = random.Random(SEED + position)
        for number, pair in enumerate(pairs(phenomenon, rng), start=1):
            label = f"mp-{phenomenon}-{number:03d}"
            for condition, parts in (("good", pair.good), ("bad", pair.bad)):
                start, end = len(parts[0]), len(parts[0]) + len(parts[1])
                text = "".join(parts)
                cells = (text, condition, label, phenomenon, pair.number, str(start), str(end))
                yield f"{label}-{condition}", *cells


def build(folder: Path = HERE) -> Path:
    """Write stimuli.tsv into ``folder`` and return its path."""
    table = folder / "stimuli.tsv"
    lines = ["\t".join(row) for row in (COLUMNS, *rows())]
    table.write_bytes(("\n".join(lines) + "\n").encode("utf-8"))
    return table


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
