"""Equally many tokens: only valid ones drawn, evenly, nothing read, coverage no longer follows length."""

import numpy as np
import pytest

from neurosae.analysis.token_sampling import equal_tokens
from neurosae.errors import DesignError
from neurosae.recording.pooling import pool_tokens
from neurosae.testing import planted_recording


def test_tokens_drawn_are_valid_ones_and_values_stay():
    recording = planted_recording()
    drawn = equal_tokens(recording, 5)
    before = recording["valid"].sel(stimulus=drawn["stimulus"]).values
    assert (before | ~drawn["valid"].values).all()
    assert (drawn["valid"].sum("token") == 5).all()
    np.testing.assert_array_equal(drawn.values, recording.sel(stimulus=drawn["stimulus"]).values)
    short = (recording["valid"].sum("token") < 5).values
    assert drawn.attrs["excluded"].split(";") == recording["stimulus"].values[short].tolist()


def test_every_valid_token_is_equally_likely():
    recording = planted_recording(n_items=1)
    counts = sum(equal_tokens(recording, 2, seed=seed)["valid"].values.astype(int) for seed in range(150))
    valid = recording["valid"].values
    expected = 150 * 2 / valid.sum(axis=1, keepdims=True)
    # Five binomial standard deviations.
    assert (np.abs(counts - expected)[valid] < 5 * np.sqrt(expected.max())).all()
    assert (counts[~valid] == 0).all()


def test_maxima_no_longer_grow_with_length():
    recording = planted_recording(n_items=200, n_layers=1, n_features=40, planted=())
    length = recording["valid"].sum("token").values
    even = equal_tokens(recording)
    raw_max = np.nanmax(recording.where(recording["valid"]).values, axis=1).mean(axis=(1, 2))
    even_max = pool_tokens(even, "all", "max").values.mean(axis=(1, 2))
    assert np.corrcoef(length, raw_max)[0, 1] > 0.5
    # Standard error of a correlation over 400 stimuli is .05.
    assert abs(np.corrcoef(length, even_max)[0, 1]) < 0.2


def test_lazy_recordings_stay_lazy():
    assert equal_tokens(planted_recording().chunk({"stimulus": 5})).chunks is not None


def test_refusals():
    recording = planted_recording()
    with pytest.raises(DesignError, match="0 tokens of each stimulus are wanted"):
        equal_tokens(recording, 0)
    with pytest.raises(DesignError, match="99 tokens of each stimulus are wanted, and stimuli have 4 to 7"):
        equal_tokens(recording, 99)
