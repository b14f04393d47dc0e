"""Tokens find their words and their place relative to the target."""

import numpy as np
import pytest

from neurosae.recording.words import relative_to_target, word_index
from neurosae.schema.names import NO_TARGET
from neurosae.subject.interface import Tokens


def tokens(*spans, special=()):
    start, end = np.array(spans, dtype=int).reshape(-1, 2).T
    is_special = np.isin(np.arange(len(spans)), special)
    return Tokens(np.zeros(len(spans), dtype=int), np.full(len(spans), "x"), start, end, is_special)


def test_pieces_of_a_word_share_its_number_with_or_without_the_blank_before_it():
    text = "so be it now"
    found = word_index(text, tokens((0, 0), (0, 2), (2, 5), (5, 7), (7, 8), (8, 9), (9, 12), special=[0]))
    assert found.tolist() == [-1, 0, 1, 2, 2, -1, 3]
    assert found.dtype == np.int32


def test_a_token_over_two_words_counts_to_the_first():
    assert word_index("so be", tokens((0, 5), (1, 4))).tolist() == [0, 0]


def test_white_space_and_special_tokens_belong_to_no_word():
    assert word_index("  a  ", tokens((0, 2), (2, 3), (3, 5), (5, 5))).tolist() == [-1, 0, -1, -1]
    assert word_index("   ", tokens((0, 3))).tolist() == [-1]
    assert word_index("<s> a", tokens((0, 3), (4, 5), special=[0])).tolist() == [-1, 1]


def test_words_agree_with_a_search_character_by_character():
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("ab  "), 60))
    cuts = np.sort(rng.choice(np.arange(1, 60), 25, replace=False))
    spans = list(zip([0, *cuts], [*cuts, 60], strict=True))
    words = (
        np.cumsum([i == 0 or text[i - 1] == " " for i in range(60)] * np.array([c != " " for c in text])) - 1
    )
    expected = [next((words[i] for i in range(a, b) if text[i] != " "), -1) for a, b in spans]
    assert word_index(text, tokens(*spans)).tolist() == expected


def test_zero_is_the_last_token_that_overlaps_the_target():
    spans = ((0, 0), (0, 3), (3, 6), (6, 9), (9, 12))
    assert relative_to_target(tokens(*spans), 4, 8).tolist() == [-3, -2, -1, 0, 1]
    assert relative_to_target(tokens(*spans), 4, 6).tolist() == [-2, -1, 0, 1, 2]


def test_an_emoji_in_several_tokens_ends_at_its_last():
    assert relative_to_target(tokens((0, 1), (1, 2), (1, 2), (1, 2), (2, 3)), 1, 2).tolist() == [
        -3,
        -2,
        -1,
        0,
        1,
    ]


@pytest.mark.parametrize("span", [(-1, -1), (50, 60)])
def test_without_a_target_no_token_is_near_it(span):
    assert relative_to_target(tokens((0, 3), (3, 6)), *span).tolist() == [NO_TARGET, NO_TARGET]


def test_a_special_token_is_never_the_target():
    assert relative_to_target(tokens((0, 3), (3, 6), special=[1]), 1, 6).tolist() == [0, 1]
