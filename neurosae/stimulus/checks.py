"""Whether a stimulus table can be used as it stands: one small check a rule, each names the row to correct.

Rows are counted from 1, the header not counted. Nothing is repaired.
"""

import keyword
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from neurosae.schema.names import RESERVED, STIMULUS
from neurosae.schema.spelling import listed
from neurosae.stimulus.refusals import cell_error, column_error, table_error
from neurosae.stimulus.targets import check_targets

REQUIRED = (STIMULUS, "text", "condition")

FILLED_COLUMNS = ("condition", "item", "pair", "family")
"""Columns whose cells may not be empty: an empty label would join unrelated stimuli."""

FORMER_IDS = ("stim_id", "id")

MAX_ID_BYTES = 255

TRUNCATIONS = ("none", "left", "right")

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f\u2028\u2029]")


def check_stimuli(stimuli: pd.DataFrame) -> None:
    """Refuse a table that breaks a rule; needs no model.

    Parameters
    ----------
    stimuli : DataFrame
        One row a stimulus, cells as str; ``attrs["name"]``, if present, starts the message.

    Raises
    ------
    StimulusError
        At the first rule broken.

    Examples
    --------
    >>> check_stimuli(pd.DataFrame({"stimulus": ["a"], "text": [" "], "condition": ["x"]}))
    Traceback (most recent call last):
    neurosae.errors.StimulusError: stimuli: row 1 ('a'), column 'text': the text is empty.
    """
    check_column_names(stimuli)
    check_columns(stimuli)
    check_characters(stimuli)
    check_ids(stimuli)
    check_duplicates(stimuli)
    check_filled(stimuli)
    check_text(stimuli)
    check_targets(stimuli)
    check_pairs(stimuli)


def check_column_names(stimuli: pd.DataFrame) -> None:
    """Refuse column names that are no Python names, or that a recording needs for itself."""
    for name in map(str, stimuli.columns):
        if not name.isidentifier() or keyword.iskeyword(name):
            plain = re.sub(r"\W+", "_", name).strip("_")
            advice = f"; rename it, for example to {plain!r}" if plain.isidentifier() else ""
            raise table_error(stimuli, f"column {name!r} is no Python name{advice}.")
        if name in RESERVED:
            raise table_error(
                stimuli, f"column {name!r} has a name that recordings use themselves; give it another."
            )


def check_columns(stimuli: pd.DataFrame) -> None:
    """Refuse a table without stimulus, text or condition, or without rows."""
    former = [name for name in FORMER_IDS if name in stimuli and STIMULUS not in stimuli]
    if former:
        raise table_error(stimuli, f"column {former[0]!r} is called 'stimulus' here; rename it.")
    for name in REQUIRED:
        if name not in stimuli:
            raise column_error(stimuli, name)
    if len(stimuli) == 0:
        raise table_error(stimuli, "the table holds no stimuli.")


def check_characters(stimuli: pd.DataFrame) -> None:
    """Refuse NUL and unpaired surrogates, which files and tokenizers cut or cannot hold."""
    for name, column in stimuli.items():
        for row, cell in enumerate(column):
            if "\0" in str(cell):
                raise cell_error(stimuli, row, str(name), "holds a NUL character (UTF-16 read as UTF-8?).")
            if _SURROGATE.search(str(cell)):
                raise cell_error(
                    stimuli, row, str(name), "holds half of a surrogate pair; it is no valid text."
                )


def check_ids(stimuli: pd.DataFrame) -> None:
    """Refuse labels that are empty, hold a slash, ``..`` or a line break, or are longer than 255 bytes."""
    rules = (
        (lambda label: not label.strip(), "is empty."),
        (lambda label: label != label.strip(), "starts or ends with white space."),
        (lambda label: _CONTROL.search(label), "holds a line break, tab or control character."),
        (lambda label: "/" in label or "\\" in label or ".." in label, "holds '/', '\\' or '..'."),
        (lambda label: len(label.encode()) > MAX_ID_BYTES, f"is longer than {MAX_ID_BYTES} bytes."),
    )
    for row, label in enumerate(stimuli[STIMULUS].astype(str)):
        for broken, problem in rules:
            if broken(label):
                raise cell_error(stimuli, row, STIMULUS, f"the label {problem}")


def check_duplicates(stimuli: pd.DataFrame) -> None:
    """Refuse labels that occur more than once; the first five are named."""
    labels = stimuli[STIMULUS].astype(str)
    repeated = list(dict.fromkeys(labels[labels.duplicated()]))
    if repeated:
        raise table_error(
            stimuli,
            f"{len(repeated)} labels in column 'stimulus' occur more than once: "
            f"{', '.join(map(repr, repeated[:5]))}.",
        )


def check_filled(stimuli: pd.DataFrame) -> None:
    """Refuse empty cells in the condition and in columns that may define the unit of inference."""
    for name in (column for column in FILLED_COLUMNS if column in stimuli):
        for row in _where(stimuli[name].astype(str).str.strip() == ""):
            raise cell_error(stimuli, row, name, "the cell is empty. Fill it, or remove the column.")


def check_text(stimuli: pd.DataFrame) -> None:
    """Refuse stimuli without text."""
    for row in _where(stimuli["text"].astype(str).str.strip() == ""):
        raise cell_error(stimuli, row, "text", "the text is empty.")


def check_pairs(stimuli: pd.DataFrame) -> None:
    """Refuse pairs that do not hold two conditions; a pair of good and bad holds each once."""
    if "pair" not in stimuli:
        return
    minimal = set(stimuli["condition"]) == {"good", "bad"}
    counts = pd.crosstab(stimuli["pair"], stimuli["condition"])
    incomplete = (counts != 1).any(axis=1) if minimal else (counts > 0).sum(axis=1) < min(2, counts.shape[1])
    if incomplete.any():
        needed = "one row 'good' and one row 'bad'" if minimal else "rows of at least two conditions"
        pairs = ", ".join(repr(pair) for pair in counts.index[incomplete][:5])
        raise table_error(stimuli, f"{int(incomplete.sum())} pairs lack {needed}, first: {pairs}.")


def check_tokenized(stimuli: pd.DataFrame, n_tokens: Sequence[int] | np.ndarray) -> None:
    """Refuse stimuli of which the tokenizer leaves nothing.

    Parameters
    ----------
    n_tokens : (n_stimuli,) int
        Tokens of each text, special tokens not counted.
    """
    for row in _where(np.asarray(n_tokens) == 0):
        raise cell_error(stimuli, row, "text", "the tokenizer makes no token of it.")


def check_lengths(
    stimuli: pd.DataFrame,
    n_tokens: Sequence[int] | np.ndarray,
    context_length: int,
    truncate: str = "none",
) -> None:
    """Refuse stimuli longer than the context of the subject, unless truncation was asked for.

    Parameters
    ----------
    n_tokens : (n_stimuli,) int
        Tokens of each text, special tokens counted.
    context_length : int
        Most tokens that the subject reads.
    truncate : {"none", "left", "right"}
        Which end would be cut; "none" cuts nothing.

    Raises
    ------
    StimulusError
        If a text is too long and ``truncate`` is "none", or ``truncate`` is none of the three.

    Examples
    --------
    >>> table = pd.DataFrame({"stimulus": ["a"], "text": ["…"], "condition": ["x"]})
    >>> check_lengths(table, [9], context_length=8, truncate="right")
    """
    if truncate not in TRUNCATIONS:
        raise table_error(stimuli, f"truncate is one of {listed(TRUNCATIONS)}, not {truncate!r}.")
    too_long = _where(np.asarray(n_tokens) > context_length) if truncate == "none" else []
    for row in too_long:
        problem = f"{int(n_tokens[row])} tokens, but the subject reads {context_length}"
        rest = f" ({len(too_long)} stimuli are too long)" if len(too_long) > 1 else ""
        raise cell_error(
            stimuli, row, "text", f"{problem}{rest}. Shorten it, or set truncate to left or right."
        )


def check_special_strings(stimuli: pd.DataFrame, special_strings: Iterable[str]) -> None:
    """Refuse texts that spell out a special token, which a tokenizer may read as that token.

    Parameters
    ----------
    special_strings : iterable of str
        Spellings of the tokenizer's special tokens, such as "<|endoftext|>".

    Examples
    --------
    >>> table = pd.DataFrame({"stimulus": ["a"], "text": ["The end.<eos>"], "condition": ["x"]})
    >>> check_special_strings(table, ["<eos>"])
    Traceback (most recent call last):
    neurosae.errors.StimulusError: stimuli: row 1 ('a'), column 'text': holds '<eos>', a special token ...
    """
    spellings = sorted((spelling for spelling in special_strings if spelling), key=len, reverse=True)
    if not spellings:
        return
    pattern = re.compile("|".join(map(re.escape, spellings)))
    for row, text in enumerate(stimuli["text"]):
        if found := pattern.search(text):
            problem = f"holds {found[0]!r}, a special token of the subject. Write it otherwise."
            raise cell_error(stimuli, row, "text", problem)


def _where(broken: pd.Series | np.ndarray) -> list[int]:
    return np.flatnonzero(np.asarray(broken)).tolist()
