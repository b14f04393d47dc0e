"""Faults 1 to 11, 28 and 33 again, for codes: killed, cut short, altered, foreign and mismatched."""

import errno
import json
import os
import shutil
import signal
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import netCDF4
import numpy as np
import pytest

from neurosae.dictionary.toy import ToyDictionary
from neurosae.errors import CorruptFileError, DictionaryError, StorageError
from neurosae.recording import encode_session, files, manifest
from neurosae.recording.code_shard import read_codes
from neurosae.recording.encode_recording import encode
from neurosae.recording.lock import writing_alone
from neurosae.recording.seals import seal
from neurosae.recording.session import open_session
from neurosae.recording.store import read_tables
from neurosae.recording.upkeep import consolidate, damaged
from neurosae.recording.validation import misfits
from tests.faults.recordings import (
    Broken,
    code_values,
    die,
    encoded,
    killed,
    make,
    parts,
    protocol,
    stimuli,
    toys,
    values,
)

N_KILLS = int(os.environ.get("NEUROSAE_KILLS", "3"))
STORE = "resid_post+toy-resid_post-l1"
SHARD, INDEX, TABLES = f"{STORE}/shards/shard-000001.nc", f"{STORE}/layers/layer-01.nc", f"{STORE}/stimuli.nc"


ONE = toys()[:1]
Usage = namedtuple("Usage", "free")


@pytest.fixture(scope="module")
def whole(templates):
    return code_values(open_session(templates / "coded"))


@pytest.fixture
def one_whole(whole):
    return {ONE[0].name: whole[ONE[0].name]}


def check_whole(folder, whole):
    """The session has all codes, in files that are intact and fit together, and nothing else."""
    assert code_values(open_session(folder)) == whole
    assert damaged(folder) == []
    assert misfits(folder) == []
    assert parts(folder) == []


def check_no_partial_shard(folder):
    for path in folder.glob("*+*/shards/shard-*.nc"):
        n_rows = len(read_tables(path).norm)
        assert read_codes(path, 0, n_rows).shape[0] == n_rows


def test_fault_01_an_encoding_killed_at_any_moment_goes_on_to_the_same_codes(templates, tmp_path, one_whole):
    started = time.perf_counter()
    encoded(shutil.copytree(templates / "raw", tmp_path / "timed"), ONE)
    duration = time.perf_counter() - started
    rng = np.random.default_rng(0)
    ends = []
    for number in range(N_KILLS):
        out = shutil.copytree(templates / "raw", tmp_path / f"out{number}")
        delay = 0.9 * duration * (number + rng.random()) / N_KILLS
        ends.append(killed(lambda out=out: encoded(out, ONE), delay))
        check_no_partial_shard(out)
        before = values(open_session(out))
        assert values(encoded(out, ONE)) == before
        check_whole(out, one_whole)
    assert ends.count(-signal.SIGKILL) >= N_KILLS // 4  # how many depends on the load


def test_fault_01_a_recording_with_dictionaries_killed_at_any_moment_goes_on_to_the_same_values(tmp_path):
    study = protocol(sites=["resid_post"], layers=[1, 2])
    reference = make(tmp_path / "whole", study=study, dictionaries=toys())
    raw, codes = values(reference), code_values(reference)
    started = time.perf_counter()
    make(tmp_path / "timed", study=study, dictionaries=toys())
    duration = time.perf_counter() - started
    rng = np.random.default_rng(1)
    for number in range(N_KILLS):
        out = tmp_path / f"out{number}"
        delay = 0.9 * duration * (number + rng.random()) / N_KILLS
        killed(lambda out=out: make(out, study=study, dictionaries=toys()), delay)
        check_no_partial_shard(out)
        assert values(make(out, study=study, dictionaries=toys())) == raw
        check_whole(out, codes)


def test_codes_that_are_recorded_are_those_that_are_encoded_later(tmp_path, raw):
    at_once = make(tmp_path / "one", dictionaries=toys())
    later = encoded(raw)
    for name in (its.name for its in toys()):
        one, two = at_once["resid_post", name].to_xarray(), later["resid_post", name].to_xarray()
        np.testing.assert_allclose(one, two, rtol=2**-10, atol=1e-6)  # batches differ, and so do last digits


MOMENTS = [
    (manifest, "append_line", 0),
    (manifest, "append_line", 2),
    (encode_session, "add_code_shard", 1),
    (encode_session, "write_tables", 0),
    (encode_session, "index_codes", 0),
    (encode_session, "write_json", 0),
]


@pytest.mark.parametrize(("module", "name", "after"), MOMENTS)
def test_fault_02_an_encoding_killed_between_two_steps_repeats_no_shard_and_loses_none(
    raw, one_whole, monkeypatch, module, name, after
):
    step, calls = getattr(module, name), []

    def dying(*args, **kwargs):
        calls.append(None)
        return die() if len(calls) > after else step(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, dying)
        assert killed(lambda: encoded(raw, ONE)) == -signal.SIGKILL
    check_no_partial_shard(raw)
    encoded(raw, ONE)
    check_whole(raw, one_whole)
    entries = [entry["shard"] for entry in manifest.read_manifest(raw / STORE) if "shard" in entry]
    assert sorted(entries) == sorted(set(entries))
    assert len(entries) == 4


def test_fault_02_a_consolidation_killed_after_the_sites_makes_the_files_by_feature_next_time(
    coded, whole, monkeypatch
):
    (coded / INDEX).unlink()
    with monkeypatch.context() as patch:
        patch.setattr("neurosae.recording.upkeep.index_codes", die)
        assert killed(lambda: consolidate(coded)) == -signal.SIGKILL
    consolidate(coded)
    assert (coded / INDEX).exists()
    check_whole(coded, whole)


def test_fault_03_an_interrupted_encoding_leaves_a_session_that_opens_without_the_codes(
    raw, one_whole, monkeypatch
):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(encode_session, "write_tables", interrupted)
        with pytest.raises(KeyboardInterrupt):
            encoded(raw, ONE)
    assert parts(raw) == []
    assert open_session(raw).dictionaries == {}
    assert len(manifest.entries(raw / STORE, "shard")) == 4
    encoded(raw, ONE)
    check_whole(raw, one_whole)


@pytest.mark.parametrize("after", [0, 2, 13, 18])
def test_fault_04_a_disk_that_fills_up_while_encoding_is_named_and_costs_nothing(
    raw, one_whole, monkeypatch, after
):
    calls = []
    fsync = os.fsync

    def full(descriptor):
        calls.append(None)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(StorageError, match="no space left on the device"):
            encoded(raw, ONE)
    assert parts(raw) == []
    encoded(raw, ONE)
    check_whole(raw, one_whole)


def test_fault_04_too_little_space_is_seen_before_anything_is_encoded(raw, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _path: Usage(1))
    with pytest.raises(StorageError, match="MB are needed"):
        encoded(raw, ONE)
    assert not (raw / STORE / "shards").exists()


def test_fault_05_a_session_that_cannot_be_written_is_named_before_anything_is_encoded(raw, monkeypatch):
    def refused(**_kwargs):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refused)
    monkeypatch.setattr(ToyDictionary, "encode", None)
    with pytest.raises(StorageError, match=r"out: cannot be written \(Read-only file system\)"):
        encoded(raw, ONE)


@pytest.mark.parametrize("name", [SHARD, INDEX, TABLES])
@pytest.mark.parametrize("kept", [0, 7, 100, "half", -1])
def test_fault_06_a_truncated_file_of_codes_is_named_and_never_empty_data(coded, name, kept):
    path = coded / name
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 if kept == "half" else kept])
    assert damaged(coded) == [name]
    with pytest.raises(CorruptFileError, match=path.name):
        code_values(open_session(coded))


def test_fault_06_a_missing_shard_of_codes_is_named(coded):
    (coded / SHARD).unlink()
    assert damaged(coded) == [SHARD]
    with pytest.raises(CorruptFileError, match=r"shard-000001\.nc is missing"):
        code_values(open_session(coded))


def test_fault_08_a_torn_last_line_is_ignored_and_garbage_is_an_error_with_its_number(coded, whole):
    path = coded / STORE / "manifest.jsonl"
    lines = path.read_bytes()
    path.write_bytes(lines + b'{"shard": "shards/sh')
    with pytest.warns(UserWarning, match="last line is incomplete"):
        assert code_values(open_session(coded)) == whole
    path.write_bytes(lines.replace(b"\n", b"\ngarbage\n", 1))
    with pytest.raises(CorruptFileError, match="line 2 is no JSON"):
        code_values(open_session(coded))


def test_fault_09_codes_are_not_written_while_another_process_writes(raw):
    with writing_alone(raw), pytest.raises(StorageError, match=f"locked by pid {os.getpid()}"):
        encoded(raw, ONE)
    encoded(raw, ONE)


def test_fault_10_codes_that_are_open_are_never_mixed_with_those_of_another_recording(coded):
    codes = open_session(coded)["resid_post", toys()[0].name]
    make(coded, overwrite=True, study=protocol("other"))
    encoded(coded)
    with pytest.raises(StorageError, match=r"recorded anew since it was opened\. Open the session again"):
        codes.csr(1)
    with pytest.raises(StorageError, match=r"recorded anew since it was opened\. Open the session again"):
        codes.feature(3, layer=1)


def test_fault_11_a_manifest_of_a_newer_format_is_refused_and_of_an_older_minor_one_read(coded, whole):
    path = coded / STORE / "manifest.jsonl"
    lines = path.read_text()
    path.write_text(lines.replace("neurosae-recording/1", "neurosae-recording/1.3", 1))
    assert code_values(open_session(coded)) == whole
    path.write_text(lines.replace("neurosae-recording/1", "neurosae-recording/2", 1))
    with pytest.raises(StorageError, match=r"has format neurosae-recording/2, .* Install the neurosae"):
        code_values(open_session(coded))


def test_fault_11_a_header_without_what_later_versions_add_is_read(coded):
    path = coded / "session.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps(seal({key: its for key, its in header.items() if key != "dictionaries"})))
    session = open_session(coded)
    assert session.dictionaries == {}
    assert values(session)
    assert damaged(coded) == []


def test_fault_11_the_netcdf_file_of_another_project_is_named(coded):
    (coded / SHARD).unlink()
    with netCDF4.Dataset(coded / SHARD, "w") as file:
        file.createDimension("time", 3)
    size = manifest.entries(coded / STORE, "shard")["shards/shard-000001.nc"]["bytes"]
    with open(coded / SHARD, "ab") as file:
        file.write(bytes(size - (coded / SHARD).stat().st_size))
    with pytest.raises(CorruptFileError, match=r"shard-000001\.nc was altered"):
        code_values(open_session(coded))
    with pytest.raises(CorruptFileError, match=r"shard-000001\.nc"):
        read_codes(coded / SHARD, 0, 1)


def test_fault_15_codes_read_from_eight_threads_are_all_equal(coded, whole):
    session = open_session(coded)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == whole for found in pool.map(lambda _: code_values(session), range(24)))


def other(**kwargs):
    return ToyDictionary(32, 32, **{"layer": 1, "seed": 1, "threshold": 0.5, "shift": 1.5, **kwargs})


def with_nan():
    its = other()
    its.bias = np.full_like(its.bias, np.nan)
    return its


MISMATCHED = [
    (lambda: ToyDictionary(16, 16, layer=1), r"width 16; the recording holds 32"),
    (lambda: other(site="mlp_out"), r"site 'mlp_out'"),
    (lambda: other(layer=9), r"layer 9; the recording holds \[0, 1, 2, 3\]"),
    (lambda: other(subject="gpt2"), r"subject 'gpt2'; the recording holds 'toy'"),
    (with_nan, r"unexplained|NaN"),
]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(("dictionary", "message"), MISMATCHED)
def test_fault_28_a_dictionary_of_something_else_is_refused_with_both_values(raw, dictionary, message):
    before = sorted(raw.rglob("*"))
    with pytest.raises((DictionaryError, StorageError), match=message):
        encode(open_session(raw), dictionary())
    assert sorted(raw.rglob("*")) == before


@pytest.mark.parametrize(("dictionary", "message"), MISMATCHED[:1] + MISMATCHED[2:4])
def test_fault_28_a_dictionary_of_something_else_is_refused_before_the_subject_runs(
    tmp_path, dictionary, message
):
    with pytest.raises((DictionaryError, StorageError), match=message.split(";")[0]):
        make(tmp_path / "out", Broken(), dictionaries=[dictionary()])
    assert not (tmp_path / "out" / "resid_post").exists()


def test_fault_33_tokens_with_nan_have_no_codes_and_are_told_apart_from_silent_ones(tmp_path):
    with pytest.warns(UserWarning, match="NaN or infinite"):
        make(tmp_path / "out", Broken(), study=protocol(batch_tokens=1), table=stimuli(3))
    session = encoded(tmp_path / "out")
    recording = session["resid_post"].compute()
    codes = session["resid_post", toys()[0].name]
    broken = ~np.isfinite(recording.sel(layer=1).values).all(axis=2) & recording["valid"].values
    assert broken.sum() == 3
    np.testing.assert_array_equal(codes.unknown[:, :, 0], broken)
    assert np.isnan(codes.to_xarray().values[:, :, 0][broken]).all()
    assert misfits(tmp_path / "out") == []


def test_consolidate_makes_a_missing_altered_or_truncated_file_by_feature_again(coded, whole):
    path = coded / INDEX
    good = path.read_bytes()
    for content in (None, good[:-9], good[:500] + b"x" + good[501:]):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        consolidate(coded)
        check_whole(coded, whole)


def test_consolidate_makes_a_file_by_feature_of_other_shards_again(coded, whole):
    other_store = coded / "resid_post+toy-resid_post-l2"
    shutil.copy(other_store / "layers" / "layer-02.nc", coded / INDEX)
    manifest.enter(coded / STORE, {"layer": "layers/layer-01.nc", "rows": 0}, "layers/layer-01.nc")
    assert damaged(coded) == []
    assert misfits(coded) == [(INDEX, "is made of other shards than those beside it")]
    consolidate(coded)
    check_whole(coded, whole)


def test_a_session_without_its_files_by_feature_is_sound(coded, whole):
    shutil.rmtree(coded / STORE / "layers")
    check_whole(coded, whole)
