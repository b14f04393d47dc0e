"""Responses of words: alignment of pieces, labels, units of inference, lazy recordings, refusals."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosae.analysis.tuning_curves import tuning
from neurosae.analysis.word_tuning import WORD_POOLINGS, word_responses
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.schema.recordings import recording_array
from neurosae.schema.units import unit_column
from neurosae.testing import planted_recording
from tests.code_sessions import write_codes

TEXTS = ["So be-loved, she", "she ran"]
WORDS = [[-1, 0, 1, 1, -1, 2], [-1, 0, 1, -1, -1, -1]]
VALID = [[False, True, True, True, True, True], [False, True, True, False, False, False]]


def pieces(**extra):
    values = np.arange(2 * 6 * 2 * 3, dtype=np.float32).reshape(2, 6, 2, 3)
    values[~np.array(VALID)] = np.nan
    stimuli = pd.DataFrame({"stimulus": ["a", "b"], "text": TEXTS, "condition": ["x", "y"], **extra})
    tokens = {
        "valid": np.array(VALID),
        "word_index": np.array(WORDS),
        "token_str": np.array(
            [["<s>", "So", " be", "-loved", ",", " she"], ["<s>", "she", " ran", "", "", ""]]
        ),
        "surprisal": np.array(
            [[np.nan, 1.0, 2.0, 3.0, 9.0, 4.0], [np.nan, 5.0, 6.0, np.nan, np.nan, np.nan]]
        ),
    }
    return recording_array(
        values, stimuli=stimuli, tokens=tokens, layers=[0, 1], site="resid_post", origin={}
    )


def test_words_are_labelled_and_their_pieces_put_together():
    words = word_responses(pieces())
    assert words["word"].values.tolist() == ["so", "be-loved", "she", "she", "ran"]
    assert words["stimulus"].values.tolist() == ["a/0", "a/1", "a/2", "b/0", "b/1"]
    assert words["n_tokens"].values.tolist() == [1, 2, 1, 1, 1]
    assert words["surprisal"].values.tolist() == [1.0, 5.0, 4.0, 5.0, 6.0]
    assert words["condition"].values.tolist() == ["x", "x", "x", "y", "y"]
    assert words.dims == ("stimulus", "layer", "feature")


@pytest.mark.parametrize(
    ("how", "pool"),
    [
        ("mean", lambda v: v.mean(axis=0)),
        ("last", lambda v: v[-1]),
        ("max", lambda v: v.max(axis=0)),
        ("sum", lambda v: v.sum(axis=0)),
    ],
)
def test_poolings_are_those_of_the_tokens(how, pool):
    recording = pieces()
    words = word_responses(recording, how)
    np.testing.assert_allclose(words.values[1], pool(recording.values[0, 2:4]))
    np.testing.assert_allclose(words.values[4], pool(recording.values[1, 2:3]))
    assert set(WORD_POOLINGS) == {"mean", "last", "max", "sum"}


def test_words_of_a_stimulus_stay_one_unit_of_inference():
    words = word_responses(pieces())
    table = words["stimulus"].to_dataframe()
    assert unit_column(table) == "item"
    assert words["item"].values.tolist() == ["a", "a", "a", "b", "b"]
    assert tuning(words, "word")["n"].sel(condition="she").item() == 2
    assert word_responses(pieces(family=["f", "f"]))["family"].values.tolist() == ["f"] * 5
    assert "item" not in word_responses(pieces(family=["f", "f"])).coords


def test_a_feature_tuned_to_a_word_is_found():
    recording = planted_recording(n_items=20, n_layers=1, n_features=3, planted=())
    is_boats = (recording["token_str"] == "boats").values
    recording.values[is_boats, 0, 1] += 6.0
    curve = tuning(word_responses(recording), "word").isel(layer=0)
    assert str(curve["mean"].isel(feature=1).idxmax("condition").values) == "boats"
    assert float(curve["mean"].sel(condition="boats").isel(feature=1)) == pytest.approx(6.0, abs=1.2)


def test_words_come_from_tokens_where_there_is_no_text():
    words = word_responses(pieces().drop_vars("text"))
    assert words["word"].values.tolist() == ["so", "be-loved", "she", "she", "ran"]


def test_padding_and_chunks_do_not_matter(tmp_path):
    recording = planted_recording(n_items=40)  # more stimuli than are read at a time
    words = word_responses(recording)
    lazy = word_responses(recording.chunk({"stimulus": 7, "layer": 1}))
    xr.testing.assert_identical(words, lazy)
    padded = recording.pad(token=(0, 3), constant_values=np.nan)
    padded = padded.assign_coords(
        valid=padded["valid"].fillna(0).astype(bool), word_index=padded["word_index"].fillna(-1).astype(int)
    )
    np.testing.assert_array_equal(words.values, word_responses(padded).values)
    assert load_netcdf(save_netcdf(words, tmp_path / "words.nc")).identical(words)


def test_refusals():
    with pytest.raises(DesignError, match="no 'word_index'"):
        word_responses(pieces().drop_vars("word_index"))
    with pytest.raises(DesignError, match="word pooling 'median' is unknown"):
        word_responses(pieces(), "median")
    silent = pieces().assign_coords(word_index=(("stimulus", "token"), np.full((2, 6), -1)))
    with pytest.raises(DesignError, match="no valid token belongs to a word"):
        word_responses(silent)


def test_codes_that_stay_sparse_give_the_words_of_dense_ones(tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match="NaN or infinite"):  # of the subject; such words are NaN
        codes = write_codes(tmp_path / "session", monkeypatch)
    assert np.isnan(word_responses(codes).values).any()
    for how in WORD_POOLINGS:
        sparse, dense = word_responses(codes, how), word_responses(codes.to_xarray(), how)
        np.testing.assert_allclose(sparse.values, dense.values, rtol=1e-6)
        assert sparse["word"].values.tolist() == dense["word"].values.tolist()
