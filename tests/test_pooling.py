"""Pooled responses equal a loop over tokens; short stimuli are left out, never padded."""

import itertools
import warnings
from fractions import Fraction

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.localizer import cross_localize, roi_responses
from neurosae.analysis.rsa import rdm
from neurosae.errors import DesignError, ProtocolError, StimulusError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.recording.pooling import pool_tokens
from neurosae.recording.shard import ROW_ATTRS
from neurosae.schema.names import NO_TARGET, RESERVED
from neurosae.schema.provenance import provenance
from neurosae.schema.recordings import check_responses, recording_array
from neurosae.testing import planted_recording

LENGTHS = (9, 4, 6, 1, 3)
WINDOWS = (
    "all",
    "first:3",
    "last:2",
    "centered:3",
    "target",
    "target:-1:1",
    "span:5:12",
    "span:word_start:word_end",
)
POOLINGS = ("mean", "last", "target", "max", "sum", "rate", "mean_active", "topm:2")


def recording(lengths=LENGTHS, tokens=10, lazy=False):
    rng = np.random.default_rng(0)
    n = len(lengths)
    values = rng.normal(size=(n, tokens, 2, 3)).astype(np.float32)
    is_real = np.arange(tokens) < np.array(lengths)[:, None] + 1
    valid = is_real & (np.arange(tokens) > 0)
    values[~valid] = np.nan
    relative = np.where(is_real, np.arange(tokens) - np.minimum(lengths, 3)[:, None], NO_TARGET)
    relative[3:4] = NO_TARGET
    start = np.where(is_real, 3 * np.arange(tokens), -1)
    table = pd.DataFrame({"stimulus": [f"s{i}" for i in range(n)], "condition": list("abaab" * n)[:n]})
    last = 3 * np.minimum(lengths, 3)
    table["target_start"] = np.where(np.arange(n) == 3, -1, last - 2)
    table["target_end"] = np.where(np.arange(n) == 3, -1, last + 2)
    table["word_start"] = (["4", "-1", "8", "", "6"] * n)[:n]
    table["word_end"] = (["10", "-1", "9", "", "99"] * n)[:n]
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
    ends = [int(rec[name][i].item() or -1) if name in rec.coords else int(name) for name in numbers]
    numbers = ends if kind != "span" else []
    if kind == "all":
        return valid, 1
    if kind == "target" and not numbers:
        low, high = int(rec.target_start[i]), int(rec.target_end[i])
        starts = {t: int(rec.char_start.values[i, t]) for t in valid}
        return [t for t in valid if starts[t] < high and starts[t] + 3 > low], 1
    if kind == "target":
        return [t for t in valid if numbers[0] <= relative[t] <= numbers[1]], numbers[1] - numbers[0] + 1
    if kind == "span":
        low, high = ends
        return [t for t in valid if set(range(3 * t, 3 * t + 3)) & set(range(low, high))], 1
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
    for window in (*WINDOWS, "relative:3"):
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
        *("stimulus", "condition", "target_start", "target_end", "word_start", "word_end"),
        *("n_tokens", "layer", "feature"),
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
        ("relative:0", "mean", ProtocolError, "'relative' cannot be followed by '0'"),
        (
            "relative:10",
            "mean",
            DesignError,
            "'relative:10' needs 10 valid tokens, .* longest stimulus has 9",
        ),
        ("relative:4", "topm:3", DesignError, "no stimulus has 3 valid tokens in each part of the window"),
        ("relative:2", "target", DesignError, "no stimulus has its target in the window 'relative:2'"),
        ("span:7:7", "mean", ProtocolError, "holds no character"),
        ("span:900:901", "mean", DesignError, "no stimulus has 1 valid tokens in the window 'span:900:901'"),
        ("span:word_start:wordend", "mean", DesignError, "no stimulus column 'wordend' .*mean 'word_end'"),
        ("span:word_start:condition", "mean", StimulusError, "'s0', column 'condition': 'a' is no character"),
        ("span:word_end:word_start", "mean", StimulusError, "stimulus 's0': the span 10 to 4 of columns"),
        (
            "span:word_start:target_end",
            "mean",
            StimulusError,
            "stimulus 's1': the span -1 to 11 .*half given",
        ),
        ("all", "median", DesignError, "unknown pooling 'median'"),
        ("all", "mean:3", DesignError, "unknown pooling 'mean:3'"),
        ("all", "topm:0", DesignError, "at least 1"),
        ("first:50", "mean", DesignError, "no stimulus has 50 valid tokens"),
    ],
)
def test_windows_and_poolings_that_cannot_be_are_refused(window, how, error, message):
    with pytest.raises(error, match=message):
        pool_tokens(recording(), window, how)


def course_by_hand(rec, i, q, how):
    """Responses (part, layer, feature) of the tokens whose middle lies in each q-th of the stimulus."""
    valid = [t for t in range(rec.sizes["token"]) if rec.valid.values[i, t]]
    parts = [[] for _ in range(q)]
    for place, token in enumerate(valid):
        middle = Fraction(2 * place + 1, 2 * len(valid))
        parts[next(k for k in range(q) if Fraction(k, q) <= middle < Fraction(k + 1, q))].append(token)
    only = [
        rec.where(rec.token.isin(part)).assign_coords(valid=rec.valid & rec.token.isin(part))
        for part in parts
    ]
    lengths = [len(part) for part in parts]
    if min(lengths) < (2 if how == "topm:2" else 1):
        return None, lengths
    return [pooled_by_hand(part, i, "all", how)[0] for part in only], lengths


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("q", "how"), itertools.product((1, 2, 3, 4), [how for how in POOLINGS if how != "target"])
)
@pytest.mark.filterwarnings("ignore:windows hold")
def test_a_course_equals_a_loop_over_parts_and_tokens(q, how, lazy):
    rec = recording(lazy=lazy)
    course = pool_tokens(rec, f"relative:{q}", how)
    by_hand = [course_by_hand(recording(), i, q, how) for i in range(len(LENGTHS))]
    kept = [i for i, (values, _) in enumerate(by_hand) if values is not None]
    assert course.dims == ("stimulus", "window", "layer", "feature")
    assert course.stimulus.values.tolist() == [f"s{i}" for i in kept]
    assert course.attrs["excluded"] == ";".join(f"s{i}" for i in range(len(LENGTHS)) if i not in kept)
    assert course.n_tokens.dims == ("stimulus", "window")
    assert course.n_tokens.values.tolist() == [by_hand[i][1] for i in kept]
    np.testing.assert_allclose(course.values, [by_hand[i][0] for i in kept], rtol=1e-6)


@pytest.mark.parametrize(
    ("length", "q", "sizes"),
    [(5, 2, [2, 3]), (7, 3, [2, 3, 2]), (6, 3, [2, 2, 2]), (9, 4, [2, 2, 3, 2]), (4, 4, [1] * 4)],
)
def test_parts_of_a_stimulus_are_as_long_as_worked_out_by_hand(length, q, sizes):
    assert pool_tokens(recording((length,)), f"relative:{q}").n_tokens.values.tolist() == [sizes]


def test_a_stimulus_of_q_tokens_or_more_fills_every_part():
    lengths = range(1, 41)
    for q in (1, 2, 3, 7, 10, 23):
        course = pool_tokens(recording(lengths, tokens=41), f"relative:{q}")
        assert course.sizes["stimulus"] == sum(length >= q for length in lengths)
        assert (course.n_tokens >= 1).all()
        assert (course.n_tokens.max("window") - course.n_tokens.min("window") <= 1).all()
        assert course.n_tokens.sum("window").values.tolist() == list(range(q, 41))


def test_a_course_in_one_part_is_the_whole_stimulus():
    rec = recording()
    course, whole = pool_tokens(rec, "relative:1"), pool_tokens(rec, "all")
    np.testing.assert_array_equal(course.isel(window=0).values, whole.values)


@pytest.mark.filterwarnings("ignore:windows hold")
def test_parts_of_a_course_add_up_to_the_whole():
    rec = recording()
    course = pool_tokens(rec, "relative:3", "sum")
    np.testing.assert_allclose(
        course.sum("window").values, pool_tokens(rec, "all", "sum", minimum=3).values, rtol=1e-6
    )


def test_a_course_rises_where_activation_rises_along_the_stimulus():
    rec = recording((40,), tokens=41)
    rising = rec.where(~rec.valid, rec.token)
    course = pool_tokens(rising, "relative:4").isel(stimulus=0, layer=0, feature=0)
    assert course.values.tolist() == [5.5, 15.5, 25.5, 35.5]


def test_each_part_of_a_course_needs_the_minimum():
    rec = recording()
    assert pool_tokens(rec, "relative:3").attrs["excluded"] == "s3"
    assert pool_tokens(rec, "relative:3", minimum=2).attrs["excluded"] == "s1;s3;s4"
    assert pool_tokens(rec, "relative:3", minimum=3).stimulus.values.tolist() == ["s0"]


def test_unequal_parts_under_max_warn():
    with pytest.warns(UserWarning, match="windows hold 1 to 5 tokens"):
        pool_tokens(recording(), "relative:2", "max")


def test_windows_and_courses_do_not_depend_on_the_order_of_stimuli():
    rec, order = recording(), [4, 0, 2, 1, 3]
    for window in (*WINDOWS, "relative:3"):
        kept = pool_tokens(rec, window)
        ids = [label for label in rec.stimulus.values[order] if label in kept.stimulus.values]
        turned = pool_tokens(rec.isel(stimulus=order), window)
        xr.testing.assert_equal(turned, kept.sel(stimulus=ids))


def test_a_course_is_written_and_read_back(tmp_path):
    course = pool_tokens(recording(), "relative:3")
    save_netcdf(course, tmp_path / "course.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "course.nc"), course)


ANALYSES = {
    "contrast_map": lambda responses: contrast_map(responses, "A > B", n_permutations=99),
    "cross_localize": lambda responses: cross_localize(responses, "A > B", fraction=0.2),
    "roi_responses": lambda responses: roi_responses(responses, xr.Dataset()),
    "rdm": rdm,
    "check_responses": check_responses,
}


@pytest.mark.parametrize("name", ANALYSES)
def test_an_analysis_asks_for_one_window_of_a_course(name):
    course = pool_tokens(planted_recording(n_features=3, planted=((1, 2),)), "relative:3")
    with pytest.raises(
        DesignError, match=r"hold 3 windows a stimulus.* Select a window, as in responses.isel"
    ):
        ANALYSES[name](course)
    if name != "roi_responses":
        ANALYSES[name](course.isel(window=1))


def test_a_span_selects_a_token_that_it_only_touches_and_none_without_characters():
    rec = recording((3,), tokens=5)
    assert pool_tokens(rec, "span:5:7").n_tokens.item() == 2
    assert pool_tokens(rec, "span:6:9").n_tokens.item() == 1
    empty = rec.assign_coords(char_end=rec.char_end.where(rec.token != 2, rec.char_start))
    assert pool_tokens(empty, "span:5:7").n_tokens.item() == 1


def test_the_span_of_the_target_columns_is_the_target():
    rec = recording()
    span, target = (pool_tokens(rec, window) for window in ("span:target_start:target_end", "target"))
    np.testing.assert_array_equal(span.values, target.values)
    assert span.attrs["excluded"] == target.attrs["excluded"] == "s3"


def test_a_span_needs_the_characters_of_tokens_and_may_not_pass_the_text():
    with pytest.raises(DesignError, match="this recording has no coordinates 'char_start' and 'char_end'"):
        pool_tokens(recording().drop_vars(["char_start", "char_end"]), "span:0:9")
    rec = recording().assign_coords(text=("stimulus", ["x" * 30] * 5))
    with pytest.raises(StimulusError, match=r"stimulus 's4': the span 6 to 99 .*longer than the text"):
        pool_tokens(rec, "span:word_start:word_end")


def test_every_name_that_responses_and_files_use_is_reserved():
    rec = recording()
    own = {*rec.coords, *rec.dims, *pool_tokens(rec, "relative:2").coords, rec.name, *ROW_ATTRS}
    table = {"stimulus", "condition", "target_start", "target_end", "word_start", "word_end"}
    assert own - table <= set(RESERVED)


def test_responses_are_no_recording():
    with pytest.raises(DesignError, match="a recording needs dims"):
        pool_tokens(pool_tokens(recording()))


@pytest.mark.parametrize("how", ["mean", "sum", "max", "rate", "mean_active", "last"])
def test_a_nan_that_the_model_made_is_never_turned_into_a_number(how):
    recording = planted_recording(n_items=3)
    last = int(np.flatnonzero(recording["valid"].values[0])[-1])
    values = recording.values.copy()
    values[0, last, 1, 4] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pooled = pool_tokens(recording.copy(data=values), how=how)
    assert np.isnan(pooled.values[0, 1, 4])
    assert np.isfinite(pooled.values[1:]).all() or how == "mean_active"
