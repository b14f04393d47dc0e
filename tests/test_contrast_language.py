"""The contrast language: what a text weighs, and what it refuses."""

import numpy as np
import pandas as pd
import pytest

from neurosae.errors import ContrastError
from neurosae.protocol.contrast import Contrast, factor_levels, parse_contrast


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "stimulus": [f"s{i}" for i in range(8)],
            "text": ["a text"] * 8,
            "condition": ["emotion", "neutral", "length", "joy", "fear", "a", "b", "c"],
            "item": [f"i{i}" for i in range(8)],
            "size": ["big", "small", "big", "small", "big", "small", "big", ""],
            "speed": ["fast", "slow", "fast", "slow", "same", "same", "fast", "slow"],
            "weight": ["heavy", "light", "heavy", "light", "same", "same", "heavy", "light"],
        }
    )


def weights(text, table):
    return {"|".join(cell): weight for cell, weight in parse_contrast(text, table).weights.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("emotion > neutral", {"emotion": 1, "neutral": -1}),
        ("neutral > emotion", {"emotion": -1, "neutral": 1}),
        ("emotion < neutral", {"emotion": -1, "neutral": 1}),
        ("(joy + fear) > neutral", {"joy": 0.5, "fear": 0.5, "neutral": -1}),
        ("joy + fear > neutral", {"joy": 0.5, "fear": 0.5, "neutral": -1}),
        ("a - 0.5*b - 0.5*c", {"a": 1, "b": -0.5, "c": -0.5}),
    ],
)
def test_kat_03_weights_of_contrasts(table, text, expected):
    assert weights(text, table) == expected


def test_kat_03_never_booleans_nor_a_comparison_with_baseline(table):
    contrast = parse_contrast("emotion > neutral", table)
    assert contrast.vector.dtype == np.float64
    assert contrast.vector.sum() == 0
    assert contrast.weights[("neutral",)] == -1


def test_kat_03_a_quoted_name_may_hold_any_character():
    table = pd.DataFrame({"condition": ["pos-emotion", "neutral", "3rd > all"]})
    assert weights("`pos-emotion` > neutral", table) == {"pos-emotion": 1, "neutral": -1}
    assert weights("`3rd > all` < neutral", table) == {"3rd > all": -1, "neutral": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "emotoin > neutral",
            r"'emotoin > neutral': no condition 'emotoin'; did you mean 'emotion'\? Conditi",
        ),
        ("a > b > c", "one '>' or '<', not a chain"),
        ("a*b", "product of conditions"),
        ("a + 1", "the number 1 stands alone"),
        ("", "is empty"),
    ],
)
def test_kat_03_refusals(table, text, message):
    with pytest.raises(ContrastError, match=message):
        parse_contrast(text, table)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(2*joy + fear) > neutral", {"joy": 2 / 3, "fear": 1 / 3, "neutral": -1}),
        ("2*(joy - fear)", {"joy": 2, "fear": -2}),
        ("(joy + fear)/2 - neutral", {"joy": 0.5, "fear": 0.5, "neutral": -1}),
        ("-joy + fear", {"joy": -1, "fear": 1}),
        ("joy + fear - neutral - joy", {"fear": 1, "neutral": -1}),
        ("linear(a, b, c)", {"a": -1, "c": 1}),
        ("linear(joy, a, b, c)", {"joy": -0.75, "a": -0.25, "b": 0.25, "c": 0.75}),
        ("quad(a, b, c)", {"a": 0.5, "b": -1, "c": 0.5}),
        ("quad(joy, a, b, c)", {"joy": 0.5, "a": -0.5, "b": -0.5, "c": 0.5}),
        ("condition[joy] > `condition`[fear]", {"joy": 1, "fear": -1}),
        ("size[big] > size[small]", {"big": 1, "small": -1}),
        ("big > small", {"big": 1, "small": -1}),
        ("speed - fast", {"fast": -2 / 3, "same": 1 / 3, "slow": 1 / 3}),
    ],
)
def test_weights_beyond_the_plain_comparison(table, text, expected):
    assert weights(text, table) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["emotion > neutral", "(2*joy + fear) > neutral", "(joy + fear) > (a + b + c)"]
)
def test_swapped_sides_negate_every_weight_exactly(table, text):
    left, right = text.split(" > ")
    negated = {cell: -weight for cell, weight in parse_contrast(text, table).weights.items()}
    assert parse_contrast(f"{right} > {left}", table).weights == negated
    assert parse_contrast(f"{left} < {right}", table).weights == negated


@pytest.mark.parametrize(
    "text", ["(2*joy + fear) > neutral", "size[big] > (a + c)", "speed[fast] > speed[slow]"]
)
def test_each_side_of_a_comparison_sums_to_one(table, text):
    if "size" in text:
        table = table.assign(size=["big"] * 5 + ["small"] * 3)
    vector = parse_contrast(text, table).vector
    assert vector[vector > 0].sum() == pytest.approx(1)
    assert vector[vector < 0].sum() == pytest.approx(-1)


def test_a_condition_wins_over_the_same_level_elsewhere(table):
    clash = table.assign(size=["joy"] * 4 + ["fear"] * 4)
    assert parse_contrast("joy > fear", clash).columns == ("condition",)


def test_names_of_two_columns_weigh_combinations_of_levels_that_occur():
    table = pd.DataFrame(
        {"condition": ["a", "a", "b", "b", "b"], "order": ["first", "last", "first", "last", "last"]}
    )
    contrast = parse_contrast("a - first", table)
    assert contrast.columns == ("condition", "order")
    assert contrast.weights == {("a", "last"): 0.5, ("b", "first"): -0.5}


def test_cells_index_the_weights_and_leave_other_rows_out(table):
    contrast = parse_contrast("fear > (a + neutral)", table)
    assert list(contrast.weights) == [("fear",), ("a",), ("neutral",)]
    assert contrast.cells(table).tolist() == [-1, 2, -1, -1, 0, 1, -1, -1]


def test_order_of_stimuli_changes_no_weight(table):
    forward = parse_contrast("speed - fast", table).weights
    assert list(parse_contrast("speed - fast", table[::-1]).weights.items()) == list(forward.items())


def test_cells_of_another_table_need_the_columns():
    contrast = Contrast("a > b", ("condition",), {("a",): 1.0, ("b",): -1.0})
    with pytest.raises(ContrastError, match="the table has no column 'condition'"):
        contrast.cells(pd.DataFrame({"text": ["x"]}))


def test_columns_that_identify_stimuli_are_no_factors(table):
    assert list(factor_levels(table)) == ["condition", "size", "speed", "weight"]
    with pytest.raises(ContrastError, match="no condition 'i1'"):
        parse_contrast("i1 > i2", table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "a contrast is text such as 'A > B', not None"),
        ("   ", "is empty"),
        ("joy", "the weights sum to 1, not 0"),
        ("joy - 0.5*fear", "the weights sum to 0.5, not 0"),
        ("joy - joy", "every weight is zero"),
        ("0*joy", "every weight is zero"),
        ("joy > joy", "both sides hold joy"),
        ("joy > (joy + fear)", "both sides hold joy. Name a condition on one side only"),
        ("joy - fear > neutral", "no negative or zero weights"),
        ("joy > linear(a, b, c)", "no negative or zero weights"),
        ("0*joy > fear", "no negative or zero weights"),
        ("joy >", "ends where a condition is expected"),
        ("> joy", "'>' is unexpected there"),
        ("joy fear", "'fear' is unexpected there"),
        ("joy > fear neutral", "'neutral' is unexpected there"),
        ("joy == fear", "cannot read '='"),
        ("joy > `fear", "cannot read '`'"),
        ("joy > fear)", "'\\)' is unexpected"),
        ("(joy + fear > neutral", "'\\)' is missing before '>'"),
        ("joy*2 > fear", "Only a number multiplies, and it comes first"),
        ("joy/0 - fear", "divides by zero"),
        ("joy/fear", "a finite number is needed, not 'fear'"),
        ("1e999*joy - fear", "a finite number is needed, not '1e999'"),
        ("3rd > joy", "the number 3 stands alone"),
        ("linear(a)", "two or more different conditions"),
        ("linear(a, a, b)", "two or more different conditions"),
        ("(" * 3000 + "joy", "nested deeper than 20"),
        ("same > fast", r"'same' is a level of several columns \(speed, weight\); write speed\[same\]"),
        (
            "siz[big] > size[small]",
            "no factor 'siz'; did you mean 'size'\\? Factors: condition, size, speed, wei",
        ),
        ("size[bog] > size[small]", "has no level 'bog'; did you mean 'big'\\? Levels: big, small."),
        ("c > small", "no stimulus of 'c' has a value in all of condition, size"),
        ("True > joy", "no condition 'True'"),
    ],
)
def test_what_is_no_contrast_is_refused(table, text, message):
    with pytest.raises(ContrastError, match=message):
        parse_contrast(text, table)


def test_an_unquoted_hyphenated_name_is_told_about_backticks():
    with pytest.raises(ContrastError, match="did you mean `pos-emotion`, in backticks"):
        parse_contrast("pos-emotion > neutral", pd.DataFrame({"condition": ["pos-emotion", "neutral"]}))


def test_the_message_for_an_unknown_name_reads_as_a_whole(table):
    with pytest.raises(ContrastError) as refused:
        parse_contrast("sound > joy", table[["condition", "size"]])
    assert str(refused.value) == (
        "contrast 'sound > joy': no condition 'sound'. "
        "Conditions: a, b, c, emotion, fear, joy, length, neutral. Other factors: size."
    )


def test_missing_numbers_in_another_column_do_no_harm():
    table = pd.DataFrame({"condition": ["a", "b"], "frequency": [1.5, float("nan")]})
    assert parse_contrast("a > b", table).weights == {("a",): 1.0, ("b",): -1.0}


@pytest.fixture
def crossed():
    return pd.DataFrame(
        {"condition": ["a", "a", "b", "b", "c", "c"], "size": ["big", "small"] * 3, "age": list("oyoyoo")}
    )


@pytest.mark.parametrize(
    "text", ["(a > b) : (big > small)", "a > b : big - small", "(b < a):size[big] - size[small]"]
)
def test_a_colon_makes_a_difference_of_differences(crossed, text):
    expected = {"a|big": 1, "a|small": -1, "b|big": -1, "b|small": 1}
    assert weights(text, crossed) == expected


def test_an_interaction_may_join_averages_and_trends(crossed):
    found = weights("((a + b) > c) : (big > small)", crossed)
    assert found["a|big"] == 0.5
    assert found["c|small"] == 1
    assert sum(found.values()) == 0
    assert weights("linear(a, b, c) : (big > small)", crossed)["c|big"] == 1


def test_a_colon_in_backticks_or_brackets_is_a_name():
    table = pd.DataFrame({"condition": ["a:b", "c", "d"]})
    assert weights("`a:b` > c", table) == {"a:b": 1, "c": -1}
    assert weights("condition[a:b] > c", table) == {"a:b": 1, "c": -1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(a > b) : (b > c)", "both sides of ':' compare levels of 'condition'"),
        ("(a > c) : (o > y)", "no stimulus is c and y; an interaction needs every combination"),
        ("a : b", "the weights sum to 1, not 0"),
        ("(a > b) :", "is empty"),
    ],
)
def test_interactions_that_are_none_are_refused(crossed, text, message):
    with pytest.raises(ContrastError, match=message):
        parse_contrast(text, crossed)


def test_a_quadratic_trend_is_orthogonal_to_the_linear_one_and_needs_three_conditions(table):
    names = ["joy", "fear", "a", "b", "c"]
    linear, quadratic = (weights(f"{kind}({', '.join(names)})", table) for kind in ("linear", "quad"))
    assert sum(linear.get(name, 0) * quadratic.get(name, 0) for name in names) == pytest.approx(0)
    with pytest.raises(ContrastError, match=r"quad\(\) needs three or more"):
        parse_contrast("quad(a, b)", table)
