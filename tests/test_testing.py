import numpy as np
import pytest
import xarray as xr

from neurosae.arrays.effect_size import hedges_g
from neurosae.errors import DesignError
from neurosae.schema.names import RECORDING_DIMS
from neurosae.schema.provenance import stimulus_set
from neurosae.schema.recordings import check_recording, check_responses
from neurosae.testing import (
    noise_recording,
    noise_responses,
    planted_pairs,
    planted_recording,
    planted_responses,
)


def _difference(responses):
    is_a = responses["condition"].values == "A"
    return responses.values[is_a].mean(axis=0) - responses.values[~is_a].mean(axis=0)


def test_planted_effect_has_its_size_at_the_planted_unit_and_nowhere_else():
    difference = _difference(planted_responses(n_items=400, effect=2.0))
    se = np.sqrt(2 * (1 + 1 / 4) / 400)  # item SD 1, token SD 1 averaged over at least 4 tokens
    assert difference[1, 4] == pytest.approx(2.0, abs=4 * se)
    difference[1, 4] = 0
    assert np.abs(difference).max() < 4.5 * se


def test_noise_has_no_effect_anywhere():
    assert np.abs(_difference(noise_responses(n_items=400))).max() < 4.5 * np.sqrt(2.5 / 400)


def test_effect_is_in_standard_deviations_of_items():
    responses = planted_responses(n_items=400, effect=3.0).sel(layer=1, feature=4)
    a, b = (responses.values[responses["condition"].values == name] for name in "AB")
    g = hedges_g(a.mean(), b.mean(), a.std(ddof=1), b.std(ddof=1), 400, 400)
    assert float(g) == pytest.approx(3 / np.sqrt(1 + 1 / 5.5), abs=0.3)  # token noise shrinks it a little


def test_recordings_fit_the_data_model():
    recording = planted_recording(n_items=3, n_templates=2)
    check_recording(recording)
    assert recording.dims == RECORDING_DIMS
    assert recording.dtype == np.float32
    assert (np.isnan(recording.values).all(axis=(2, 3)) == ~recording["valid"].values).all()
    assert not (recording["is_special"] & recording["valid"]).any()


def test_token_spans_index_the_text():
    recording = planted_recording(n_items=3)
    for row in recording:
        text = str(row["text"].values)
        for token in row.isel(token=np.flatnonzero(row["valid"].values))["token"].values:
            one = row.sel(token=token)
            assert text[int(one["char_start"]) : int(one["char_end"])] == str(one["token_str"].values)


def test_responses_are_means_over_valid_tokens():
    recording, responses = planted_recording(n_items=4), planted_responses(n_items=4)
    check_responses(responses)
    expected = np.nanmean(recording.values.astype(np.float64), axis=1)
    np.testing.assert_allclose(responses.values, expected, rtol=1e-5, atol=1e-6)  # float32 result
    assert (responses["n_tokens"].values == recording["valid"].values.sum(axis=1)).all()
    assert responses.name == "response"


def test_items_are_nested_in_conditions_and_crossed_with_templates():
    table = planted_recording(n_items=3, n_templates=2)
    pairs = set(zip(table["item"].values, table["condition"].values, strict=True))
    assert len(pairs) == len(set(table["item"].values)) == 6
    assert table.sizes["stimulus"] == 12


def test_same_seed_same_data_and_another_seed_is_another_stimulus_set():
    xr.testing.assert_identical(planted_recording(seed=3), planted_recording(seed=3))
    assert stimulus_set(planted_responses(seed=3)) == "planted-3"
    assert stimulus_set(noise_recording(seed=3)) == "noise-3"
    assert not np.array_equal(planted_responses(seed=3), planted_responses(seed=4))


def test_pairs_are_complete_distinct_and_balanced():
    pairs = planted_pairs(152)
    assert pairs["text"].is_unique
    assert (pairs.groupby("pair")["condition"].agg(tuple) == ("good", "bad")).all()
    good = pairs.loc[pairs["condition"] == "good", "text"]
    assert good.str.contains(" are ").sum() == 76
    assert planted_pairs(132, task="fact")["text"].nunique() == 132 + 12


def test_pairs_of_one_seed_are_the_same_and_named():
    assert planted_pairs(5, seed=1).equals(planted_pairs(5, seed=1))
    assert planted_pairs(5, seed=1).attrs["name"] == "number-1"
    assert not planted_pairs(5, seed=1).equals(planted_pairs(5, seed=2))


def test_unknown_task_is_refused():
    with pytest.raises(DesignError, match="unknown task 'syntax'; choose one of number, fact"):
        planted_pairs(5, task="syntax")
