"""Balance of conditions and filling of designs."""

import numpy as np
import pandas as pd
import pytest

from neurosae.errors import StimulusError
from neurosae.stimulus.balance import balance_report, design_report


@pytest.fixture
def stimuli():
    rng = np.random.default_rng(0)
    n = 40
    return pd.DataFrame(
        {
            "stimulus": [f"s{row}" for row in range(n)],
            "text": ["word " * (3 + row % 2) for row in range(n)],
            "condition": ["a", "b"] * (n // 2),
            "item": [str(row // 2) for row in range(n)],
            "frequency": [f"{value:.3f}" for value in rng.normal(size=n)],
            "source": ["1", "two"] * (n // 2),
        }
    )


def row(report, covariate, condition):
    return report[(report["covariate"] == covariate) & (report["condition"] == condition)].iloc[0]


def test_planted_difference_is_reported_with_its_size():
    values = np.concatenate([np.linspace(-1, 1, 50), np.linspace(0, 2, 50)])
    table = pd.DataFrame({"text": ["x"] * 100, "condition": ["low"] * 50 + ["high"] * 50})
    found = row(balance_report(table, {"planted": values}), "planted", "low")
    assert found["largest_d"] == pytest.approx(1 / np.linspace(-1, 1, 50).std(ddof=1))
    assert found["pair"] == "high > low"


def test_moments_agree_with_pandas(stimuli):
    report = balance_report(stimuli)
    frequency = stimuli["frequency"].astype(float).groupby(stimuli["condition"])
    for condition in ("a", "b"):
        found = row(report, "frequency", condition)
        assert found["n"] == 20
        assert found["mean"] == pytest.approx(frequency.mean()[condition])
        assert found["sd"] == pytest.approx(frequency.std()[condition])


def test_cohen_d_of_a_hand_made_case():
    table = pd.DataFrame({"text": ["x"] * 6, "condition": list("aabbbb")})
    report = balance_report(table, {"v": np.array([1.0, 3.0, 4.0, 6.0, 4.0, 6.0])})
    pooled = np.sqrt((1 * 2 + 3 * (4 / 3)) / 4)
    assert row(report, "v", "a")["largest_d"] == pytest.approx((5 - 2) / pooled)


def test_equal_conditions_differ_by_zero_and_name_no_pair(stimuli):
    even = stimuli.assign(text="the same text")
    found = row(balance_report(even), "n_words", "a")
    assert (found["largest_d"], found["pair"], found["mean"]) == (0, "", 3)


def test_conditions_that_differ_without_varying_are_infinitely_far(stimuli):
    found = row(balance_report(stimuli), "n_words", "b")
    assert (found["largest_d"], found["pair"]) == (np.inf, "b > a")


def test_the_largest_of_several_pairs_is_named():
    table = pd.DataFrame({"text": ["x"] * 6, "condition": list("aabbcc")})
    report = balance_report(table, {"v": np.array([0.0, 1, 5, 6, 2, 3])})
    assert row(report, "v", "c")["pair"] == "b > a"


def test_order_of_stimuli_changes_nothing(stimuli):
    forward = balance_report(stimuli).sort_values(["covariate", "condition"])
    backward = balance_report(stimuli[::-1]).sort_values(["covariate", "condition"])
    pd.testing.assert_frame_equal(forward.reset_index(drop=True), backward.reset_index(drop=True))


def test_covariates_are_columns_of_numbers_and_no_labels(stimuli):
    assert balance_report(stimuli)["covariate"].unique().tolist() == ["n_words", "n_chars", "frequency"]


def test_missing_values_are_left_out():
    table = pd.DataFrame({"text": ["x"] * 4, "condition": list("aabb"), "score": ["1", "", "", ""]})
    report = balance_report(table)
    assert row(report, "score", "a")[["n", "mean"]].tolist() == [1, 1]
    assert np.isnan(row(report, "score", "b")["mean"])
    assert np.isnan(row(report, "score", "b")["largest_d"])


def test_another_column_may_define_the_groups(stimuli):
    report = balance_report(stimuli, by="source")
    assert report["source"].unique().tolist() == ["1", "two"]


def test_unknown_columns_and_lengths_are_refused(stimuli):
    with pytest.raises(StimulusError, match="no column 'conditon'; did you mean 'condition'"):
        balance_report(stimuli, by="conditon")
    with pytest.raises(
        StimulusError, match=r"covariate 'n_tokens' has shape \(3,\); the table has 40 stimuli"
    ):
        balance_report(stimuli, {"n_tokens": np.arange(3)})
    with pytest.raises(StimulusError, match="no column 'size'"):
        design_report(stimuli, ["condition", "size"])


def test_empty_cells_of_a_design_are_listed():
    table = pd.DataFrame(
        {
            "stimulus": list("abcd"),
            "condition": ["x", "x", "y", "y"],
            "size": ["big", "small", "big", "big"],
            "item": ["i", "j", "k", "k"],
            "family": ["f", "f", "g", "h"],
        }
    )
    report = design_report(table, ["condition", "size"])
    expected = [
        ["x", "big", 1, 1, 1, 1],
        ["x", "small", 1, 1, 1, 1],
        ["y", "big", 2, 1, 2, 2],
        ["y", "small", 0, 0, 0, 0],
    ]
    assert report.to_numpy().tolist() == expected
    assert list(report.columns) == ["condition", "size", "n_stimuli", "n_item", "n_family", "n_units"]
    assert report.attrs["unit"] == "family"
