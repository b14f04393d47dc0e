import numpy as np
import pandas as pd
import pytest

from neurosae.causal.readouts import READOUTS, TextBits, read_design, score_texts, text_bits
from neurosae.errors import DesignError

PAIRS = pd.DataFrame(
    [("a", "1", "good"), ("b", "2", "bad"), ("c", "1", "bad"), ("d", "2", "good")],
    columns=["stimulus", "pair", "condition"],
)
PLAIN = pd.DataFrame(
    [("a", "x", "A"), ("b", "y", "B"), ("c", "x", "A")], columns=["stimulus", "item", "condition"]
)


def test_log_odds_are_bits_of_the_bad_minus_the_good_text():
    design = read_design(PAIRS, ["minimal_pair"])
    texts = TextBits(np.array([3.0, 4.0, 5.0, 4.0]), np.array([2, 2, 2, 2]))
    log_odds, accuracy = score_texts(texts, design, ["minimal_pair"])
    assert design.labels.tolist() == ["1", "2"]
    assert log_odds.tolist() == [2.0, 0.0]
    assert accuracy.tolist() == [1.0, 0.5]


def test_a_pair_that_is_lost_scores_zero():
    texts = TextBits(np.array([6.0, 4.0, 5.0, 4.0]), np.full(4, 2))
    assert score_texts(texts, read_design(PAIRS, ["minimal_pair"]), ["minimal_pair"])[1].tolist() == [
        0.0,
        0.5,
    ]


def test_surprisal_is_bits_per_token_of_the_good_text():
    design = read_design(PAIRS, ["surprisal"])
    texts = TextBits(np.array([3.0, 4.0, 5.0, 6.0]), np.array([2, 2, 2, 3]))
    assert score_texts(texts, design, ["surprisal"]).tolist() == [[1.5, 2.0]]


def test_surprisal_of_plain_texts_is_averaged_over_the_texts_of_an_item():
    design = read_design(PLAIN, ["surprisal"])
    texts = TextBits(np.array([2.0, 8.0, 6.0]), np.array([2, 2, 2]))
    assert design.labels.tolist() == ["x", "y"]
    assert score_texts(texts, design, ["surprisal"]).tolist() == [[2.0, 4.0]]


def test_pairs_of_a_family_are_one_unit():
    table = pd.concat([PAIRS.assign(family="f"), PAIRS.assign(family="g", pair=["3", "4", "3", "4"])])
    design = read_design(table.reset_index(drop=True), ["minimal_pair"])
    texts = TextBits(np.array([1.0, 5, 2, 1, 1, 9, 2, 1]), np.full(8, 2))
    assert design.unit == "family"
    assert score_texts(texts, design, ["minimal_pair"])[0].tolist() == [2.5, 4.5]


def test_order_of_rows_does_not_change_a_unit():
    table = PAIRS.iloc[[3, 2, 0, 1]].reset_index(drop=True)
    bits = dict(zip("abcd", [3.0, 4.0, 5.0, 4.5], strict=True))
    for rows in (PAIRS, table):
        design = read_design(rows, ["minimal_pair"])
        texts = TextBits(np.array([bits[label] for label in rows["stimulus"]]), np.full(4, 2))
        scores = score_texts(texts, design, ["minimal_pair", "surprisal"])
        by_pair = dict(zip(design.labels.tolist(), scores.T.tolist(), strict=True))
        assert by_pair == {"1": [2.0, 1.0, 1.5], "2": [-0.5, 0.0, 2.25]}


def test_bits_of_a_text_leave_out_its_first_token():
    texts = text_bits(np.array([np.nan, 1, 2, np.nan, 5, np.nan, 1, 1, 1]), [3, 2, 4])
    assert texts.bits.tolist() == [3.0, 5.0, 3.0]
    assert texts.n_tokens.tolist() == [2, 1, 3]


def test_a_missing_surprisal_elsewhere_is_not_hidden():
    assert np.isnan(text_bits(np.array([np.nan, 1, np.nan]), [3]).bits[0])


@pytest.mark.parametrize(
    ("table", "readouts", "message"),
    [
        (PLAIN, ["minimal_pair"], "'minimal_pair' needs minimal pairs"),
        (PAIRS, ["accuracy"], "give a list of minimal_pair, surprisal"),
        (PAIRS, [], "give a list of"),
        (PAIRS, "surprisal", "give a list of"),
        (PAIRS[:3], ["surprisal"], r"1 pairs are not one good and one bad text, first: \['2'\]"),
        (
            pd.concat([PAIRS, PAIRS[:1]]).reset_index(drop=True),
            ["surprisal"],
            "1 pairs are not one good and one bad",
        ),
        (PAIRS.iloc[[0, 2]], ["minimal_pair"], "the stimuli form 1 pair; an effect needs at least two"),
        (PAIRS.assign(family=["f", "g", "h", "h"]), ["minimal_pair"], "the texts of a pair differ in family"),
    ],
)
def test_stimuli_that_do_not_fit_the_readout_are_refused(table, readouts, message):
    with pytest.raises(DesignError, match=message):
        read_design(table, readouts)


def test_readouts_name_their_scores_and_units():
    assert {name: readout.labels for name, readout in READOUTS.items()} == {
        "minimal_pair": ("log_odds", "accuracy"),
        "surprisal": ("surprisal",),
    }
    assert all(len(readout.labels) == len(readout.units) for readout in READOUTS.values())
