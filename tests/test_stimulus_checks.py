"""Rules that a stimulus table keeps; each refusal names row and column."""

import numpy as np
import pandas as pd
import pytest

from neurosae.errors import StimulusError
from neurosae.recording.plan import check_columns
from neurosae.schema.names import RESERVED
from neurosae.stimulus.checks import (
    check_lengths,
    check_special_strings,
    check_stimuli,
    check_tokenized,
)
from neurosae.stimulus.targets import tokens_in_span
from neurosae.stimulus.words import word_spans


def table(**columns):
    n = max((len(values) for values in columns.values()), default=3)
    default = {
        "stimulus": [f"s{row}" for row in range(n)],
        "text": ["the red sky"] * n,
        "condition": ["a", "b"] * (n // 2) + ["a"] * (n % 2),
    }
    return pd.DataFrame({**default, **columns}, dtype=object)


def test_a_sound_table_passes_and_is_left_alone():
    stimuli = table(
        item=["i", "j", "k", "l"],
        pair=["p", "p", "q", "q"],
        target_start=["4", "", "-1", "0"],
        target_end=["7", "", "-1", "11"],
    )
    before = stimuli.copy()
    check_stimuli(stimuli)
    pd.testing.assert_frame_equal(stimuli, before)


def test_a_label_of_255_bytes_is_short_enough():
    check_stimuli(table(stimulus=["é" * 127 + "x"]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"word freq": ["1"] * 3},
            "column 'word freq' is no Python name; rename it, for example to 'word_freq'",
        ),
        ({"class": ["1"] * 3}, "column 'class' is no Python name"),
        ({"1st": ["1"] * 3}, "column '1st' is no Python name"),
        ({"": ["1"] * 3}, "column '' is no Python name"),
        ({"surprisal": ["1"] * 3}, "column 'surprisal' has a name that recordings use themselves; give it"),
        ({"text": ["x", "a\0b", "x"]}, r"stimuli: row 2 \('s1'\), column 'text': holds a NUL character"),
        ({"note": ["x", "x", "\0"]}, r"row 3 \('s2'\), column 'note': holds a NUL"),
        ({"text": ["x", "\ud83d", "x"]}, r"row 2 \('s1'\), column 'text': holds half of a surrogate pair"),
        ({"text": ["x", "x", ""]}, r"row 3 \('s2'\), column 'text': the text is empty"),
        ({"text": [" \t", "x", "x"]}, r"row 1 \('s0'\), column 'text': the text is empty"),
        ({"condition": ["a", "", "b"]}, r"row 2 \('s1'\), column 'condition': the cell is empty"),
        ({"item": ["a", "b", " "]}, r"row 3 \('s2'\), column 'item': the cell is empty. Fill it, or remove"),
        ({"stimulus": ["a", "", "b"]}, "column 'stimulus': the label is empty"),
        ({"stimulus": ["a", " b", "c"]}, "the label starts or ends with white space"),
        ({"stimulus": ["a", "b/c", "c"]}, r"row 2 \('b/c'\), column 'stimulus': the label holds '/', "),
        ({"stimulus": ["a", "b\\c", "c"]}, "the label holds '/', "),
        ({"stimulus": ["a", "b..c", "c"]}, "the label holds '/', "),
        ({"stimulus": ["a", "b\nc", "c"]}, "the label holds a line break"),
        ({"stimulus": ["a", "é" * 128, "c"]}, "the label is longer than 255 bytes"),
        (
            {"stimulus": list("aabbccddeeffg")},
            "6 labels in column 'stimulus' occur more than once: 'a', 'b', 'c', 'd', 'e'.$",
        ),
        ({"target_start": ["0"] * 3}, "column 'target_start' needs its other half"),
        (
            {"target_start": ["x"] * 3, "target_end": ["1"] * 3},
            "column 'target_start': 'x' is no character pos",
        ),
        (
            {"target_start": ["0"] * 3, "target_end": ["1", "1", "1.0"]},
            r"row 3 \('s2'\), column 'target_end': '1.0'",
        ),
        (
            {"target_start": ["0"] * 3, "target_end": ["12"] * 3},
            "the span 0 to 12 does not lie in a text of 11",
        ),
        ({"target_start": ["4"] * 3, "target_end": ["4"] * 3}, "the span 4 to 4 does not lie"),
        ({"target_start": ["-1"] * 3, "target_end": ["4"] * 3}, "the span -1 to 4 does not lie"),
        ({"pair": ["p", "p", "q"]}, "1 pairs lack rows of at least two conditions, first: 'q'"),
        (
            {"pair": ["p", "p", "p"], "condition": ["good", "bad", "bad"]},
            "1 pairs lack one row 'good' and one row 'bad', first: 'p'",
        ),
    ],
)
def test_broken_rules_are_refused(columns, message):
    with pytest.raises(StimulusError, match=message):
        check_stimuli(table(**columns))


@pytest.mark.parametrize("missing", ["stimulus", "text", "condition"])
def test_a_missing_column_is_named_with_those_present(missing):
    with pytest.raises(StimulusError, match=f"no column '{missing}'.* Columns: "):
        check_stimuli(table().drop(columns=missing))


def test_a_table_without_rows_is_refused():
    with pytest.raises(StimulusError, match="holds no stimuli"):
        check_stimuli(table()[:0])


@pytest.mark.parametrize("name", RESERVED)
def test_names_that_recordings_use_are_refused_at_loading_as_at_recording(name):
    with pytest.raises(StimulusError, match=f"column '{name}' has a name that recordings use themselves"):
        check_stimuli(table(**{name: ["1"] * 3}))
    with pytest.raises(StimulusError, match=f"column '{name}' has a name that recordings use themselves"):
        check_columns(table(**{name: ["1"] * 3}))


def test_the_name_of_the_set_starts_the_message():
    stimuli = table(text=["x", "", "x"])
    stimuli.attrs["name"] = "concepts"
    with pytest.raises(StimulusError) as refused:
        check_stimuli(stimuli)
    assert str(refused.value) == "stimuli 'concepts': row 2 ('s1'), column 'text': the text is empty."


def test_a_text_without_tokens_is_refused():
    check_tokenized(table(), [1, 2, 3])
    with pytest.raises(
        StimulusError, match=r"row 2 \('s1'\), column 'text': the tokenizer makes no token of it"
    ):
        check_tokenized(table(), np.array([1, 0, 3]))


def test_a_text_longer_than_the_context_is_refused_unless_cut():
    check_lengths(table(), [8, 8, 8], context_length=8)
    check_lengths(table(), [9, 8, 8], context_length=8, truncate="left")
    with pytest.raises(
        StimulusError, match=r"row 2 .* 9 tokens, but the subject reads 8 \(2 stimuli are too long"
    ):
        check_lengths(table(), [8, 9, 10], context_length=8)
    with pytest.raises(StimulusError, match="truncate is one of none, left, right, not 'middle'"):
        check_lengths(table(), [1, 1, 1], context_length=8, truncate="middle")


def test_a_spelled_out_special_token_is_refused():
    stimuli = table(text=["x < y > z", "end<|endoftext|>", "x"])
    check_special_strings(stimuli, [])
    check_special_strings(stimuli, ["<s>", ""])
    with pytest.raises(
        StimulusError, match=r"row 2 \('s1'\), column 'text': holds '<\|endoftext\|>', a special"
    ):
        check_special_strings(stimuli, ["<|end", "<|endoftext|>"])


def test_a_span_selects_every_token_that_overlaps_it():
    char_start = np.array([0, 0, 3, 4, 4, 4, 5])
    char_end = np.array([0, 3, 4, 5, 5, 5, 9])
    assert np.flatnonzero(tokens_in_span(char_start, char_end, 4, 5)).tolist() == [3, 4, 5]
    assert np.flatnonzero(tokens_in_span(char_start, char_end, 2, 6)).tolist() == [1, 2, 3, 4, 5, 6]
    assert not tokens_in_span(char_start, char_end, -1, -1).any()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop, now!", ["Don't", "stop", "now"]),
        ("a well-known  fact", ["a", "well-known", "fact"]),
        ("'quoted' -dash- 3rd", ["quoted", "dash", "3rd"]),
        ("cafe\u0301 नमस्ते", ["cafe\u0301", "नमस्ते"]),
        ("👩‍👧 …", []),
        ("", []),
    ],
)
def test_words_are_found_between_spaces_and_punctuation(text, words):
    starts, ends = word_spans(text)
    assert [text[start:end] for start, end in zip(starts, ends, strict=True)] == words
