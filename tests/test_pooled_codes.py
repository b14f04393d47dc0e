"""Codes pool to exactly what the same codes as an array pool to, at once or as they are used."""

import itertools
import tracemalloc
import warnings
from dataclasses import replace

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xarray as xr

from neurosae.analysis.contrast import contrast_map
from neurosae.errors import DesignError
from neurosae.protocol.fields import POOLINGS as NAMES
from neurosae.recording import entry_pooling, pooled_codes
from neurosae.recording.code_recordings import label_codes, open_code_recording
from neurosae.recording.code_shard import CodeShard
from neurosae.recording.code_store import add_code_shard, index_codes
from neurosae.recording.codes import HeldCodes, rounded
from neurosae.recording.entry_pooling import ENTRY_POOLINGS
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.recording.pooled_arrays import POOLINGS
from neurosae.recording.pooling import pool_tokens
from neurosae.recording.shard import Tables
from neurosae.recording.store import write_tables
from neurosae.schema.names import NO_TARGET
from neurosae.schema.provenance import provenance

WINDOWS = (
    "all",
    "first:3",
    "last:2",
    "centered:3",
    "target",
    "target:-1:1",
    "span:5:12",
    "span:word_start:word_end",
    "relative:1",
    "relative:3",
)
HOW = ("mean", "last", "target", "max", "sum", "rate", "mean_active", "topm:2", "topm:7")
LENGTHS = (9, 4, 6, 1, 3, 12, 8)
N_FEATURES = 11

pytestmark = pytest.mark.filterwarnings("ignore:windows hold")


def table(lengths):
    n, last = len(lengths), 3 * np.minimum(lengths, 3)
    columns = {"stimulus": [f"s{i}" for i in range(n)], "condition": (["a", "b"] * n)[:n]}
    has_target = np.arange(n) != 3
    spans = {
        "target_start": np.where(has_target, last - 2, -1),
        "target_end": np.where(has_target, last + 2, -1),
        "word_start": (["4", "-1", "8", "", "6"] * n)[:n],
        "word_end": (["10", "-1", "9", "", "99"] * n)[:n],
    }
    return pd.DataFrame(columns | spans)


def tables(lengths, layer, unknown):
    """A special token before each text; rows whose norm is not known."""
    counts = np.array(lengths) + 1
    position = np.concatenate([np.arange(count) for count in counts])
    stimulus = np.repeat(np.arange(len(counts)), counts)
    relative = np.where(stimulus == 3, NO_TARGET, position - np.minimum(counts - 1, 3)[stimulus])
    rows = {
        "stimulus_index": stimulus,
        "token_position": position,
        "token": np.full(len(position), "x"),
        "char_start": 3 * position,
        "char_end": 3 * position + 3,
        "is_special": position == 0,
        "is_sink": (stimulus == 6) & (position == 4),
        "rel_target": relative,
    }
    norm = np.where(unknown, np.nan, 1.0).astype(np.float32)[:, None]
    return Tables(table(lengths), rows, np.array([layer]), norm)


def random_codes(n_rows, rng, density=0.3, n_features=N_FEATURES):
    """Codes of both signs, ties among them; one feature that is silent, one that never is, one row empty."""
    values = rng.normal(0.3, 2, size=(n_rows, n_features)) * (rng.random((n_rows, n_features)) < density)
    values[:, 1] = -np.abs(rng.normal(size=n_rows)) - 0.1
    values[:, 2], values[:, 4] = 0, np.where(rng.random(n_rows) < 0.5, 1.5, 0)
    values[4] = 0
    return sp.csr_array(rounded(values.astype(np.float32)))


def recording(seed=0, lengths=LENGTHS, layers=(4, 6), n_features=N_FEATURES, unknown=(3, 20)):
    rng = np.random.default_rng(seed)
    n_rows = sum(lengths) + len(lengths)
    broken = [np.isin(np.arange(n_rows), np.array(unknown) + place) for place in range(len(layers))]
    sources = []
    for its in broken:
        dense = random_codes(n_rows, rng, n_features=n_features).toarray()
        dense[its] = 0
        sources.append(HeldCodes(sp.csr_array(dense)))
    described = [{"name": f"d{layer}", "site": "resid_post"} for layer in layers]
    parts = [tables(lengths, layer, its) for layer, its in zip(layers, broken, strict=True)]
    return label_codes(sources, parts, {"subject": {"name": "toy"}}, described, mask=True)


def part(codes):
    labels = ["s5", "s0", "s4", "s2"]
    return codes.sel(stimulus=labels, layer=6, feature=[7, 0, 1, 4, 2, 10])


def outcome(recorded, window, how, minimum):
    """Responses, or the text of the refusal."""
    try:
        return pool_tokens(recorded, window, how, minimum=minimum).compute()
    except DesignError as refusal:
        return str(refusal)


def check_same(codes, window, how, minimum=None):
    expected = outcome(codes.to_xarray(), window, how, minimum)
    found = outcome(codes, window, how, minimum)
    if isinstance(expected, str):
        assert found == expected
    else:
        assert found.dtype == np.float32
        xr.testing.assert_identical(found, expected)


@pytest.fixture(params=["by stimulus", "by feature"])
def route(request, monkeypatch):
    """Each way from codes to responses, with blocks so small that there are several."""
    monkeypatch.setattr(entry_pooling, "ENTRIES_AT_ONCE", 20)
    monkeypatch.setattr(pooled_codes, "FEATURES_AT_ONCE", 4)
    monkeypatch.setattr(pooled_codes, "LARGE", 0 if request.param == "by feature" else 2**28)
    monkeypatch.setattr(pooled_codes, "_is_narrow", lambda pooled: False)
    return request.param


CASES = [
    *itertools.product(("all", "target:-1:1", "relative:3"), HOW),
    *itertools.product(set(WINDOWS) - {"all", "target:-1:1", "relative:3"}, ["max"]),
]


@pytest.mark.parametrize(("window", "how"), sorted(CASES))
def test_codes_pool_to_what_the_same_codes_as_an_array_pool_to(window, how, route):
    check_same(recording(), window, how)
    check_same(part(recording()), window, how, minimum=1)


@pytest.mark.parametrize("seed", range(3))
def test_random_codes_pool_the_same_whatever_the_lengths_and_what_is_unknown(seed, route):
    rng = np.random.default_rng(seed)
    lengths = tuple(rng.integers(1, 15, size=7).tolist())
    codes = recording(seed, lengths, unknown=tuple(rng.integers(0, sum(lengths), size=3).tolist()))
    for how in HOW:
        check_same(codes, str(rng.choice(WINDOWS)), how, minimum=1)


def test_codes_that_are_not_rounded_differ_by_one_unit_in_the_last_place_at_most():
    # Sums are in float64 in another order, then rounded to float32, which is 2**-23 relative at most.
    rng, codes = np.random.default_rng(3), recording(layers=(4,))
    values = rng.lognormal(0, 2, size=(codes.sources[0].n_rows, N_FEATURES)).astype(np.float32)
    held = HeldCodes(sp.csr_array(values * (rng.random(values.shape) < 0.5)))
    codes = replace(codes, sources=(held,))
    for how in ("mean", "sum", "mean_active", "topm:3"):
        found, expected = pool_tokens(codes, "all", how), pool_tokens(codes.to_xarray(), "all", how)
        np.testing.assert_allclose(found.values, expected.values, rtol=2**-23)


def test_silence_and_negative_codes_take_part_as_worked_out_by_hand():
    # Tokens of the one stimulus: a special one, then 2, silent, -4, silent.
    values = np.array([[9, 0], [2, 0], [0, 0], [-4, -1], [0, 0]], dtype=np.float32)
    codes = recording(lengths=(4,), layers=(4,), unknown=())
    codes = replace(codes.sel(feature=[0, 1]), sources=(HeldCodes(sp.csr_array(values)),))
    expected = {
        "mean": (-0.5, -0.25),
        "sum": (-2, -1),
        "max": (2, 0),
        "rate": (0.25, 0),
        "mean_active": (2, np.nan),
        "last": (0, 0),
        "target": (-4, -1),
        "topm:1": (2, 0),
        "topm:3": (2 / 3, 0),
        "topm:4": (-0.5, -0.25),
    }
    for how, its in expected.items():
        np.testing.assert_allclose(pool_tokens(codes, "all", how).values[0, 0], its, rtol=1e-7)
    assert pool_tokens(codes, "last:2", "max").values[0, 0].tolist() == [0, 0]
    assert pool_tokens(codes, "target:0:0", "max").values[0, 0].tolist() == [-4, -1]


def test_only_windows_that_include_an_unknown_token_are_nan():
    codes = recording(
        lengths=(4, 4), layers=(4, 6), unknown=(4,)
    )  # the last token at 4, then the special one
    for how in HOW[:-1]:
        found = pool_tokens(codes, "all", how, minimum=1).sel(layer=4)
        assert np.isnan(found.values[0]).all() == (how != "target")
        assert np.isfinite(found.values[1]).all() or how == "mean_active"
    assert np.isfinite(pool_tokens(codes, "first:2").values).all()
    assert np.isfinite(pool_tokens(codes, "all").sel(layer=6).values).all()


def test_a_code_that_is_not_finite_shows_in_every_pooling_that_sees_it(route):
    codes = recording(layers=(4,), unknown=())
    values = codes.sources[0].codes.copy()
    values.data[::7], values.data[3::11] = np.nan, np.inf
    codes = replace(codes, sources=(HeldCodes(values),))
    with np.errstate(invalid="ignore"):
        for how in HOW:
            check_same(codes, "first:3", how)


def test_a_stimulus_selected_twice_is_there_twice(route):
    codes = recording()
    twice = codes.sel(stimulus=["s5", "s1", "s5"])
    once = pool_tokens(codes).sel(stimulus=["s5", "s1", "s5"])
    np.testing.assert_array_equal(pool_tokens(twice).values, once.values)


def test_the_order_of_stimuli_and_of_features_is_that_of_the_selection(route):
    codes, stimuli, features = recording(), ["s6", "s0", "s5"], [9, 1, 4, 10]
    chosen = pool_tokens(codes.sel(stimulus=stimuli, feature=features))
    xr.testing.assert_equal(chosen, pool_tokens(codes).sel(stimulus=stimuli, feature=features))


def test_arrays_and_codes_know_the_same_poolings():
    assert tuple(POOLINGS) == tuple(ENTRY_POOLINGS) == NAMES


def test_what_cannot_be_pooled_is_refused():
    codes = recording()
    with pytest.raises(DesignError, match="unknown pooling 'median'"):
        pool_tokens(codes, "all", "median")
    with pytest.raises(DesignError, match="no stimulus has 50 valid tokens"):
        pool_tokens(codes, "first:50")


def test_windows_of_unequal_length_under_max_warn():
    codes = recording()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.warns(UserWarning, match="windows hold 1 to 12 tokens"):
            pool_tokens(codes, "all", "max")


@pytest.fixture
def stored(tmp_path):
    """The codes of `recording` in three shards a layer."""
    held, folders = recording(), []
    for layer, source in zip((4, 6), held.sources, strict=True):
        folder = tmp_path / f"l{layer}"
        folders.append({"name": f"d{layer}", "site": "resid_post", "layer": layer, "folder": folder.name})
        whole = tables(LENGTHS, layer, held_unknown(layer))
        bounds = [0, 2, 3, 7]
        for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
            rows = np.isin(whole.rows["stimulus_index"], np.arange(start, stop))
            fields = {name: its[rows] for name, its in whole.rows.items() if name != "is_sink"}
            fields["stimulus_index"] = fields["stimulus_index"] - start
            shard = CodeShard(
                whole.stimuli.iloc[start:stop].reset_index(drop=True),
                fields,
                layer,
                whole.norm[rows, 0],
                sp.csr_array(source.codes[np.flatnonzero(rows)]),
            )
            add_code_shard(folder, number, shard, {"id": "x"})
        write_tables(folder, whole, N_FEATURES, {"id": "x"})
    return tmp_path, folders


def held_unknown(layer):
    return np.isin(np.arange(sum(LENGTHS) + len(LENGTHS)), np.array((3, 20)) + (layer == 6))


@pytest.mark.parametrize("has_index", [True, False])
def test_codes_on_disk_pool_as_those_in_memory(stored, has_index, route):
    folder, described = stored
    for its in described:
        if has_index:
            index_codes(folder / its["folder"])
    codes = open_code_recording(folder, described, {"subject": {"name": "toy"}}, mask=True)
    assert all(bool(source.index) == has_index for source in codes.sources)
    held = recording()
    for window, how in (("all", "mean"), ("relative:3", "topm:2"), ("target", "max")):
        np.testing.assert_array_equal(
            pool_tokens(codes, window, how, minimum=1).values,
            pool_tokens(held, window, how, minimum=1).values,
        )


def test_large_responses_are_lazy_and_read_a_block_of_one_layer_at_a_time(monkeypatch):
    monkeypatch.setattr(pooled_codes, "LARGE", 0)
    monkeypatch.setattr(pooled_codes, "FEATURES_AT_ONCE", 4)
    codes = recording()
    asked = []
    watched = tuple(Watched(source, place, asked) for place, source in enumerate(codes.sources))
    responses = pool_tokens(replace(codes, sources=watched))
    assert isinstance(responses.data, da.Array)
    assert responses.chunks == ((7,), (1, 1), (4, 4, 3))
    assert not asked
    one = responses.isel(layer=1, feature=slice(4, 8))
    np.testing.assert_array_equal(
        one.values, pool_tokens(codes.sel(layer=6, feature=[4, 5, 6, 7])).values[:, 0]
    )
    assert asked == [(1, 4, 8)]
    course = pool_tokens(replace(codes, sources=watched), "relative:3", minimum=1)
    assert course.chunks == ((6,), (1, 1, 1), (1, 1), (4, 4, 3))


class Watched(HeldCodes):
    """Codes that say which columns they were asked for, and refuse to be read by row."""

    def __init__(self, held, place, asked):
        object.__setattr__(self, "codes", held.codes)
        object.__setattr__(self, "place", place)
        object.__setattr__(self, "asked", asked)

    def columns(self, start, stop):
        self.asked.append((self.place, start, stop))
        return super().columns(start, stop)

    def rows(self, start, stop):
        raise AssertionError("read by row")


def test_one_feature_is_read_by_feature_and_a_few_stimuli_by_stimulus():
    codes, asked = recording(), []
    watched = tuple(Watched(source, place, asked) for place, source in enumerate(codes.sources))
    pool_tokens(replace(codes, sources=watched).sel(feature=7))
    assert asked == [(0, 7, 8), (1, 7, 8)]
    with pytest.raises(AssertionError, match="read by row"):
        pool_tokens(replace(codes, sources=watched).sel(stimulus="s0"))


def test_lazy_responses_give_the_same_contrast_as_those_in_memory(monkeypatch):
    codes = recording(lengths=tuple(range(3, 23)), unknown=())
    held = pool_tokens(codes)
    monkeypatch.setattr(pooled_codes, "LARGE", 0)
    lazy = pool_tokens(codes)
    assert lazy.chunks is not None
    options = {"test": "welch", "correct": "max_t", "n_permutations": 99}
    xr.testing.assert_identical(
        contrast_map(lazy, "a > b", **options), contrast_map(held, "a > b", **options)
    )


def test_labels_provenance_and_files_are_those_of_responses(tmp_path):
    responses = pool_tokens(recording())
    assert provenance(responses)["steps"] == [{"step": "pool_tokens", "window": "all", "how": "mean"}]
    assert provenance(responses)["subject"] == {"name": "toy"}
    assert responses.attrs["basis"] == "d4; d6"
    save_netcdf(responses, tmp_path / "responses.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "responses.nc"), responses)


def peak_bytes(function):
    tracemalloc.start()
    result = function()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - held, result


def wide(n_stimuli):
    """Ten active features of 100 in each token."""
    rng, lengths = np.random.default_rng(0), (20,) * n_stimuli
    codes = recording(lengths=lengths, layers=(4,), unknown=())
    n_rows = 21 * n_stimuli
    entries = (
        np.ones(10 * n_rows, np.float32),
        rng.integers(0, 100, 10 * n_rows),
        np.arange(n_rows + 1) * 10,
    )
    labels = codes.labels.drop_vars("feature").assign_coords(feature=np.arange(100))
    return replace(codes, labels=labels, sources=(HeldCodes(sp.csr_array(entries, shape=(n_rows, 100))),))


def test_memory_beyond_the_responses_does_not_grow_with_the_stimuli():
    # 84,000 and 336,000 tokens, in blocks of 65,536; a byte for each token and part of the window grows.
    few, many = (peak_bytes(lambda codes=codes: pool_tokens(codes))[0] for codes in (wide(4000), wide(16000)))
    assert many < 1.3 * few


def test_raw_recordings_are_pooled_in_memory_that_does_not_grow_with_the_stimuli():
    def raw(n):
        values = da.ones((n, 20, 2, 500), chunks=(50, 20, 1, 500), dtype=np.float32)
        coords = {"stimulus": np.arange(n), "valid": (("stimulus", "token"), np.ones((n, 20), dtype=bool))}
        return xr.DataArray(values, dims=("stimulus", "token", "layer", "feature"), coords=coords)

    pool_tokens(raw(50))
    few, many = (peak_bytes(lambda n=n: pool_tokens(raw(n)))[0] for n in (200, 1000))
    assert many < 1.3 * few
