"""Pooled responses equal a loop over tokens; short stimuli are left out, never padded."""

import itertools
import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosae.errors import DesignError, ProtocolError
from neurosae.recording.pooling import pool_tokens
from neurosae.schema.names import NO_TARGET
from neurosae.schema.provenance import provenance
from neurosae.schema.recordings import check_responses, recording_array

LENGTHS = (9, 4, 6, 1, 3)
WINDOWS = ("all", "first:3", "last:2", "centered:3", "target", "target:-1:1")
POOLINGS = ("mean", "last", "target", "max", "sum", "rate", "mean_active", "topm:2")


def recording(lengths=LENGTHS, tokens=10, lazy=False):
    rng = np.random.default_rng(0)
    n = len(lengths)
    values = rng.normal(size=(n, tokens, 2, 3)).astype(np.float32)
    is_real = np.arange(tokens) < np.array(lengths)[:, None] + 1
    valid = is_real & (np.arange(tokens) > 0)
    values[~valid] = np.nan
    relative = np.where(is_real, np.arange(tokens) - np.minimum(lengths, 3)[:, None], NO_TARGET)
    relative[3] = NO_TARGET
    start = np.where(is_real, 3 * np.arange(tokens), -1)
    table = pd.DataFrame({"stimulus": [f"s{i}" for i in range(n)], "condition": list("abaab")[:n]})
    last = 3 * np.minimum(lengths, 3)
    table["target_start"] = np.where(np.arange(n) == 3, -1, last - 2)
    table["target_end"] = np.where(np.arange(n) == 3, -1, last + 2)
    fields = {"valid": valid, "rel_target": relative, "char_start": start, "char_end": start + 3}
    data = da.from_array(values, chunks=(2, tokens, 1, 3)) if lazy else values
    origin = {"subject": {"name": "toy"}}
    return recording_array(
        data, stimuli=table, tokens=fields, layers=[4, 6], site="resid_post", origin=origin
    )


def window_of(rec, i, window):
    """Token positions in a window, and how many it needs, found token by token."""
    valid = [t for t in range(rec.sizes["token"]) if rec.valid.values[i, t]]
    relative = {t: int(rec.rel_target.values[i, t]) for t in valid}
    kind, *numbers = window.split(":")
    numbers = [int(number) for number in numbers]
    if kind == "all":
        return valid, 1
    if kind == "target" and not numbers:
        low, high = int(rec.target_start[i]), int(rec.target_end[i])
        starts = {t: int(rec.char_start.values[i, t]) for t in valid}
        return [t for t in valid if starts[t] < high and starts[t] + 3 > low], 1
    if kind == "target":
        return [t for t in valid if numbers[0] <= relative[t] <= numbers[1]], numbers[1] - numbers[0] + 1
    k = numbers[0]
    begin = {"first": 0, "last": len(valid) - k, "centered": (len(valid) - k) // 2}[kind]
    return valid[max(begin, 0) : max(begin + k, 0)], k


def pooled_by_hand(rec, i, window, how):
    """One response (layer, feature), or None if the stimulus is to be left out."""
    chosen, fewest = window_of(rec, i, window)
    fewest = max(fewest, 2) if how == "topm:2" else fewest
    if how == "target":
        target = [t for t in chosen if rec.rel_target.values[i, t] == 0]
    if len(chosen) < fewest or (how == "target" and not target):
        return None, len(chosen)
    x = rec.values[i, chosen].astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = {
            "mean": lambda: x.mean(0),
            "last": lambda: x[-1],
            "target": lambda: rec.values[i, target[0]],
            "max": lambda: x.max(0),
            "sum": lambda: x.sum(0),
            "rate": lambda: (x > 0).mean(0),
            "mean_active": lambda: np.nanmean(np.where(x > 0, x, np.nan), axis=0),
            "topm:2": lambda: np.sort(x, axis=0)[-2:].mean(0),
        }[how]()
    return result, len(chosen)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("window", "how"), list(itertools.product(WINDOWS, POOLINGS)))
@pytest.mark.filterwarnings("ignore:windows hold")
def test_responses_equal_a_loop_over_tokens(window, how, lazy):
    rec = recording(lazy=lazy)
    responses = pool_tokens(rec, window, how)
    by_hand = [pooled_by_hand(recording(), i, window, how) for i in range(len(LENGTHS))]
    kept = [i for i, (value, _) in enumerate(by_hand) if value is not None]
    assert responses.stimulus.values.tolist() == [f"s{i}" for i in kept]
    assert responses.n_tokens.values.tolist() == [by_hand[i][1] for i in kept]
    np.testing.assert_allclose(responses.values, [by_hand[i][0] for i in kept], rtol=1e-6)
    left_out = [f"s{i}" for i in range(len(LENGTHS)) if i not in kept]
    assert responses.attrs["excluded"] == ";".join(left_out)


def test_extra_padding_changes_nothing():
    rec = recording()
    padding = {"rel_target": NO_TARGET, "char_start": -1, "char_end": -1}
    padded = rec.drop_vars("token").pad(token=(0, 5), constant_values=np.nan)
    fields = {name: (("stimulus", "token"), padded[name].fillna(fill).data) for name, fill in padding.items()}
    padded = padded.assign_coords(valid=padded.valid.fillna(False).astype(bool), **fields)
    assert padded.sizes["token"] == rec.sizes["token"] + 5
    for window in WINDOWS:
        xr.testing.assert_identical(pool_tokens(padded, window), pool_tokens(rec, window))


def test_the_order_of_stimuli_is_kept_whatever_it_is():
    rec = recording()
    order = [4, 0, 2, 1, 3]
    xr.testing.assert_identical(pool_tokens(rec.isel(stimulus=order)), pool_tokens(rec).isel(stimulus=order))


def test_values_outside_the_valid_tokens_do_not_matter():
    rec = recording()
    noisy = rec.where(rec.valid, 1e6)
    np.testing.assert_array_equal(pool_tokens(noisy).values, pool_tokens(rec).values)


def test_stimuli_with_too_few_tokens_are_left_out_and_listed():
    responses = pool_tokens(recording(), "first:5")
    assert responses.stimulus.values.tolist() == ["s0", "s2"]
    assert responses.attrs["excluded"] == "s1;s3;s4"
    assert pool_tokens(recording(), "first:5", minimum=3).sizes["stimulus"] == 4


def test_coordinates_and_provenance_are_carried():
    responses = pool_tokens(recording(), "last:1")
    assert set(responses.coords) == {
        *("stimulus", "condition", "target_start", "target_end", "n_tokens", "layer", "feature")
    }
    assert responses.layer.values.tolist() == [4, 6]
    assert provenance(responses)["steps"] == [{"step": "pool_tokens", "window": "last:1", "how": "mean"}]
    attrs = {"site": "resid_post", "basis": "units", "window": "last:1", "how": "mean", "excluded": ""}
    assert attrs.items() <= responses.attrs.items()
    assert responses.dtype == np.float32
    check_responses(responses)


def test_silence_counts_as_zero_but_the_mean_of_no_active_token_is_nan():
    rec = recording()
    silent = rec.where(~rec.valid, 0.0).where(rec.valid)
    assert (pool_tokens(silent).values == 0).all()
    assert (pool_tokens(silent, how="rate").values == 0).all()
    assert np.isnan(pool_tokens(silent, how="mean_active").values).all()


def test_a_nan_that_the_model_made_is_not_hidden():
    rec = recording()
    values = rec.values.copy()
    values[0, 2, 0, 0] = np.nan
    assert np.isnan(pool_tokens(rec.copy(data=values)).values[0, 0, 0])
    with pytest.raises(DesignError, match="s0"):
        check_responses(pool_tokens(rec.copy(data=values)))


def test_windows_of_unequal_length_under_max_warn():
    for how in ("max", "sum"):
        with pytest.warns(UserWarning, match="windows hold 1 to 9 tokens"):
            pool_tokens(recording(), how=how)
    pool_tokens(recording(), "last:1", "max")


def test_a_target_without_character_spans_is_its_last_token():
    rec = recording().drop_vars(["char_start", "char_end"])
    assert pool_tokens(rec, "target").n_tokens.values.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("window", "how", "error", "message"),
    [
        ("frist:3", "mean", ProtocolError, "did you mean 'first'"),
        ("first", "mean", ProtocolError, "first"),
        ("relative:4", "mean", DesignError, "several responses a stimulus"),
        ("all", "median", DesignError, "unknown pooling 'median'"),
        ("all", "mean:3", DesignError, "unknown pooling 'mean:3'"),
        ("all", "topm:0", DesignError, "at least 1"),
        ("first:50", "mean", DesignError, "no stimulus has 50 valid tokens"),
    ],
)
def test_windows_and_poolings_that_cannot_be_are_refused(window, how, error, message):
    with pytest.raises(error, match=message):
        pool_tokens(recording(), window, how)


def test_responses_are_no_recording():
    with pytest.raises(DesignError, match="a recording needs dims"):
        pool_tokens(pool_tokens(recording()))
