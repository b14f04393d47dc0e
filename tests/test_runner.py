"""Recording is atomic, resumable and independent of batches, shards and order."""

import contextlib
import dataclasses
import errno
import json
import os
import signal

import filelock
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosae.errors import StimulusError, StorageError, SubjectError
from neurosae.protocol.models import Protocol
from neurosae.recording import completion, files, header, manifest, plan, store
from neurosae.recording.plan import check_recordable, shard_bounds, shortened
from neurosae.recording.runner import record
from neurosae.recording.session import open_session
from neurosae.stimulus.load import load_stimuli
from neurosae.subject.catalogue import subject_card
from neurosae.subject.toy import ToySubject

TEXTS = [
    *(
        "the keys are here .",
        "the key",
        "a dog sees the capital of france today",
        "the keys is here",
        "so be it",
    ),
    *("the dogs", "the capital of france is paris"),
]


def stimuli(texts=TEXTS):
    labels = [f"s{i}" for i in range(len(texts))]
    return pd.DataFrame(
        {"stimulus": labels, "text": texts, "condition": list("ab" * len(texts))[: len(texts)]}
    )


def protocol(name="demo", **recording):
    return Protocol(name=name, stimuli="x", subject="toy", recording=recording)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 2)


@pytest.fixture
def frozen(monkeypatch):
    """Sessions that differ in nothing but what was recorded."""
    monkeypatch.setattr(header.uuid, "uuid4", lambda: "00000000-0000-4000-8000-000000000000")
    for module in (header, completion):
        monkeypatch.setattr(module, "now", lambda: "2000-01-01T00:00:00+00:00")


def contents(folder):
    """Bytes of every file of a session; of the manifests, the last entry of each file."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.jsonl"]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    manifests = {
        str(path.relative_to(folder)): manifest.entries(path.parent, "shard")
        for path in folder.rglob("m*.jsonl")
    }
    return {**found, **manifests}


def same_values(a, b, site="resid_post"):
    """Equal up to rounding, whatever the sessions are called."""
    left, right = a[site].compute(), b[site].compute()
    xr.testing.assert_allclose(left.drop_attrs(), right.drop_attrs(), rtol=1e-5, atol=1e-6)


def test_batch_size_and_shard_size_change_nothing(tmp_path, monkeypatch):
    one = record(ToySubject(), protocol(batch_tokens=1), tmp_path / "a", stimuli=stimuli())
    many = record(ToySubject(), protocol(batch_tokens=500), tmp_path / "b", stimuli=stimuli())
    monkeypatch.setattr(plan, "SHARD_STIMULI", 100)
    single = record(ToySubject(), protocol(batch_tokens=500), tmp_path / "c", stimuli=stimuli())
    same_values(one, many)
    same_values(one, single)


def test_the_order_of_stimuli_is_kept_whatever_it_is(tmp_path):
    order = [3, 0, 6, 2, 5, 1, 4]
    straight = record(ToySubject(), protocol(), tmp_path / "a", stimuli=stimuli())
    mixed = record(ToySubject(), protocol(), tmp_path / "b", stimuli=stimuli().iloc[order])
    assert mixed["resid_post"].stimulus.values.tolist() == [f"s{i}" for i in order]
    left, right = straight["resid_post"].isel(stimulus=order), mixed["resid_post"]
    xr.testing.assert_allclose(
        left.compute().drop_attrs(), right.compute().drop_attrs(), rtol=1e-5, atol=1e-6
    )


def test_a_longer_neighbour_changes_nothing(tmp_path):
    long = stimuli([*TEXTS[:2], "the key " * 200])
    short = record(ToySubject(), protocol(), tmp_path / "a", stimuli=stimuli(TEXTS[:2]))["resid_post"]
    padded = record(ToySubject(), protocol(), tmp_path / "b", stimuli=long)["resid_post"]
    inside = padded.isel(stimulus=slice(0, 2), token=slice(0, short.sizes["token"]))
    np.testing.assert_allclose(inside.values, short.values, rtol=1e-5, atol=1e-6)


def test_the_stamp_is_written_before_the_subject_runs(tmp_path):
    class Curious(ToySubject):
        def run(self, tokens, **kwargs):
            stamp = json.loads((tmp_path / "out" / "session.json").read_text())
            assert stamp["status"] == "recording"
            assert stamp["registered"]["protocol_sha256"] == study.sha256
            assert stamp["registered"]["versions"]["python"]
            assert (tmp_path / "out" / "protocol.toml").read_text() == study.source
            return super().run(tokens, **kwargs)

    study = protocol()
    record(Curious(), study, tmp_path / "out", stimuli=stimuli())


def test_the_copy_of_the_stimuli_reads_back_equal(tmp_path):
    table = stimuli([*TEXTS[:3], 'a "quote"\twith a tab', "two\nlines"])
    record(ToySubject(), protocol(), tmp_path / "out", stimuli=table)
    assert load_stimuli(tmp_path / "out" / "stimuli.tsv").values.tolist() == table.values.tolist()


def test_stimuli_come_from_the_protocol_by_default(tmp_path):
    stimuli().to_csv(tmp_path / "words.tsv", sep="\t", index=False)
    study = Protocol(name="demo", stimuli=tmp_path / "words.tsv", subject="toy")
    session = record(ToySubject(), study, tmp_path / "out")
    assert session.stimuli.attrs["name"] == "words"
    assert session.provenance["stimuli"]["sha256"] == load_stimuli(tmp_path / "words.tsv").attrs["sha256"]


class StoppedError(Exception):
    pass


def stop(monkeypatch, module, name, after):
    """Make a function raise from call number ``after`` on, counted from 0."""
    original, calls = getattr(module, name), []

    def failing(*args, **kwargs):
        calls.append(None)
        if len(calls) > after:
            raise StoppedError
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, failing)


SEAMS = [
    (manifest, "append_line"),
    (store, "write_shard"),
    (files.os, "replace"),
    (completion, "write_tables"),
]


@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize(("module", "name"), SEAMS)
def test_an_interrupted_recording_continues_to_the_same_bytes(
    tmp_path, monkeypatch, frozen, module, name, after
):
    study, table = protocol(sites=["resid_post", "mlp_post"]), stimuli()
    record(ToySubject(), study, tmp_path / "whole", stimuli=table)
    with monkeypatch.context() as patch:
        stop(patch, module, name, after)
        with contextlib.suppress(StoppedError):
            record(ToySubject(), study, tmp_path / "out", stimuli=table)
    record(ToySubject(), study, tmp_path / "out", stimuli=table)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("moment", [1, 4, 6])
def test_a_killed_process_loses_at_most_the_shards_in_memory(tmp_path, frozen, moment):
    study, table = protocol(), stimuli()
    record(ToySubject(), study, tmp_path / "whole", stimuli=table)
    child = os.fork()
    if child == 0:
        kill = lambda done, _: os.kill(os.getpid(), signal.SIGKILL) if done >= moment else None  # noqa: E731
        record(ToySubject(), study, tmp_path / "out", stimuli=table, progress=kill)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    complete = manifest.entries(tmp_path / "out" / "resid_post", "shard")
    kept = {name: (tmp_path / "out" / "resid_post" / name).stat().st_mtime_ns for name in complete}
    assert len(kept) >= moment // 2 - 2
    record(ToySubject(), study, tmp_path / "out", stimuli=table)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    again = {name: (tmp_path / "out" / "resid_post" / name).stat().st_mtime_ns for name in complete}
    assert again == kept


def shards(folder):
    return {path.name: path for path in folder.rglob("shard-*.nc")}


def test_a_damaged_shard_is_recorded_again(tmp_path, monkeypatch, frozen):
    study, table = protocol(), stimuli()
    record(ToySubject(), study, tmp_path / "whole", stimuli=table)
    with monkeypatch.context() as patch:
        stop(patch, completion, "write_tables", 0)
        with pytest.raises(StoppedError):
            record(ToySubject(), study, tmp_path / "out", stimuli=table)
    damaged = shards(tmp_path / "out")["shard-000001.nc"]
    damaged.write_bytes(damaged.read_bytes()[:-9] + b"123456789")
    record(ToySubject(), study, tmp_path / "out", stimuli=table)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_complete_shards_are_not_run_again(tmp_path, monkeypatch):
    class Counting(ToySubject):
        n_texts = 0

        def run(self, tokens, **kwargs):
            self.n_texts += len(tokens)
            return super().run(tokens, **kwargs)

    subject = Counting()
    with monkeypatch.context() as patch:
        stop(patch, manifest, "append_line", 2)
        with pytest.raises(StoppedError):
            record(subject, protocol(), tmp_path / "out", stimuli=stimuli())
    subject.n_texts = 0
    record(subject, protocol(), tmp_path / "out", stimuli=stimuli())
    assert subject.n_texts == len(TEXTS) - 4
    record(subject, protocol(), tmp_path / "out", stimuli=stimuli())
    assert subject.n_texts == len(TEXTS) - 4


def test_a_full_disk_is_named_and_the_run_continues_afterwards(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", full)
        with pytest.raises(StorageError, match="no space left"):
            record(ToySubject(), protocol(), tmp_path / "out", stimuli=stimuli())
    assert not [path for path in tmp_path.rglob("*") if ".part-" in path.name]
    record(ToySubject(), protocol(), tmp_path / "out", stimuli=stimuli())


def test_lack_of_room_is_noticed_before_the_subject_runs(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10})()
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match="MB are needed"):
        record(Never(), protocol(), tmp_path / "out", stimuli=stimuli())


class Never(ToySubject):
    """A subject that must not run."""

    def run(self, tokens, **kwargs):
        raise AssertionError("the subject ran before all was checked")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_content_is_left_alone(tmp_path, overwrite):
    (tmp_path / "thesis.txt").write_text("five years")
    with pytest.raises(StorageError, match="holds no session; it is left alone"):
        record(Never(), protocol(), tmp_path, stimuli=stimuli(), overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "five years"


def test_another_recording_is_not_overwritten_unasked(tmp_path):
    record(ToySubject(), protocol(), tmp_path / "out", stimuli=stimuli())
    before = contents(tmp_path / "out")
    others = [
        (ToySubject(), protocol("other"), stimuli(), "protocol"),
        (ToySubject(), protocol(), stimuli(TEXTS[:3]), "stimuli"),
        (ToySubject(seed=1), protocol(), stimuli(), "subject"),
    ]
    for subject, study, table, part in others:
        with pytest.raises(StorageError, match=f"another recording: it differs in .*{part}"):
            record(subject, study, tmp_path / "out", stimuli=table)
    assert contents(tmp_path / "out") == before


def test_another_device_may_open_a_finished_recording_but_not_continue_one(tmp_path, monkeypatch):
    class Elsewhere(ToySubject):
        def describe(self):
            return {**super().describe(), "device": "cuda", "source": "/elsewhere"}

    with monkeypatch.context() as patch:
        stop(patch, manifest, "append_line", 2)
        with pytest.raises(StoppedError):
            record(ToySubject(), protocol(), tmp_path / "out", stimuli=stimuli())
    with pytest.raises(StorageError, match="differs in environment"):
        record(Elsewhere(), protocol(), tmp_path / "out", stimuli=stimuli())
    record(ToySubject(), protocol(), tmp_path / "out", stimuli=stimuli())
    session = record(Elsewhere(), protocol(), tmp_path / "out", stimuli=stimuli())
    assert session.provenance["subject"]["device"] == "cpu"


def test_overwriting_replaces_the_session_and_leaves_nothing_else(tmp_path):
    old = record(ToySubject(), protocol(), tmp_path / "out", stimuli=stimuli())
    reader = old["resid_post"].compute()
    new = record(ToySubject(), protocol(layers=[1]), tmp_path / "out", stimuli=stimuli(), overwrite=True)
    assert new["resid_post"].layer.values.tolist() == [1]
    assert reader.sizes["layer"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_interrupted_replacement_keeps_the_old_session_and_continues(tmp_path, monkeypatch):
    record(ToySubject(), protocol(), tmp_path / "out", stimuli=stimuli())
    before = contents(tmp_path / "out")
    other = protocol("other")
    with monkeypatch.context() as patch:
        stop(patch, manifest, "append_line", 2)
        with pytest.raises(StoppedError):
            record(ToySubject(), other, tmp_path / "out", stimuli=stimuli(), overwrite=True)
    assert contents(tmp_path / "out") == before
    done = []
    progress = lambda n, _: done.append(n)  # noqa: E731
    record(ToySubject(), other, tmp_path / "out", stimuli=stimuli(), overwrite=True, progress=progress)
    assert done[:2] == [2, 4]
    assert open_session(tmp_path / "out").protocol["name"] == "other"


def test_a_replacement_killed_between_its_renames_is_undone(tmp_path):
    record(ToySubject(), protocol(), tmp_path / "out", stimuli=stimuli())
    (tmp_path / "out").rename(tmp_path / ".out.old")
    session = record(Never(), protocol(), tmp_path / "out", stimuli=stimuli())
    assert session.counts["stimuli"] == len(TEXTS)


def test_two_processes_do_not_record_into_one_folder(tmp_path):
    (tmp_path / "out").mkdir()
    lock, busy = filelock.FileLock(tmp_path / "out" / ".writer.lock"), "being recorded by another process"
    with lock, pytest.raises(StorageError, match=busy):
        record(Never(), protocol(), tmp_path / "out", stimuli=stimuli())
    record(ToySubject(), protocol(), tmp_path / "out", stimuli=stimuli())


def test_progress_counts_stimuli_up_to_all(tmp_path):
    seen = []
    progress = lambda n, total: seen.append((n, total))  # noqa: E731
    record(ToySubject(), protocol(), tmp_path / "out", stimuli=stimuli(), progress=progress)
    assert seen[-1] == (7, 7)
    assert sorted(seen) == seen


@pytest.mark.parametrize(
    ("study", "table", "error", "message"),
    [
        (protocol(layers=[1, 4]), stimuli(), SubjectError, "toy has layers 0 to 3; the protocol asks for 4"),
        (
            protocol(),
            stimuli(["a", "the key " * 400]),
            StimulusError,
            "801 tokens, but .* reads 512",
        ),
        (protocol(), stimuli(["a", " "]), StimulusError, "no token"),
        (
            protocol(),
            stimuli().assign(surprisal=1.0),
            StimulusError,
            "'surprisal' has a name that",
        ),
        (protocol(), stimuli().assign(note="a\0b"), StimulusError, r"'s0'.*'note': holds a NUL"),
        (protocol(), stimuli().assign(**{"a/b": 1}), StorageError, "the name 'a/b'"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_a_run(tmp_path, study, table, error, message):
    with pytest.raises(error, match=message):
        check_recordable(subject_card("toy"), study, table, tmp_path / "out")
    with pytest.raises(error, match=message):
        record(Never(), study, tmp_path / "out", stimuli=table)
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_can_be_made_passes_the_check_without_a_trace(tmp_path):
    check_recordable(subject_card("toy"), protocol(), stimuli(), tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_subject_that_is_not_there_is_refused_with_the_way_to_get_it(tmp_path):
    card = dataclasses.replace(subject_card("toy"), available=False, how_to_get="pip install it")
    with pytest.raises(SubjectError, match=r"not on this machine\. pip install it"):
        check_recordable(card, protocol(), stimuli(), tmp_path / "out")


def test_a_file_in_place_of_the_folder_is_refused_before_the_subject_runs(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError, match="out"):
        record(Never(), protocol(), tmp_path / "out", stimuli=stimuli())
    with pytest.raises(StorageError, match="out/below: cannot be written"):
        record(Never(), protocol(), tmp_path / "out" / "below", stimuli=stimuli())


@pytest.mark.parametrize(("truncate", "first"), [("right", "word0"), ("left", "word89")])
def test_too_long_texts_are_cut_on_request_and_listed(tmp_path, truncate, first):
    long = " ".join(f"word{i}" for i in range(600))
    table = stimuli(["the key", long])
    session = record(ToySubject(), protocol(truncate=truncate), tmp_path / "out", stimuli=table)
    tokens = session["resid_post"].token_str.values[1]
    assert tokens.tolist()[:2] == ["<bos>", first]
    assert len(tokens) == 512
    assert session.exclusions.values.tolist() == [["s1", "cut from 601 to 512 tokens"]]


def test_a_text_that_fits_is_never_cut():
    text = ToySubject().tokenize(["the keys are here"])[0]
    assert shortened(text, len(text), "left") is text
    assert shortened(text, 3, "left").token_str.tolist() == ["<bos>", "are", "here"]
    assert shortened(text, 3, "right").token_str.tolist() == ["<bos>", "the", "keys"]


def test_shards_end_at_their_size_or_number():
    assert shard_bounds([1] * 5, row_bytes=4) == ((0, 2), (2, 4), (4, 5))
    assert shard_bounds([10, 1, 1], row_bytes=plan.SHARD_BYTES // 4) == ((0, 1), (1, 3))
    assert shard_bounds([3], row_bytes=plan.SHARD_BYTES) == ((0, 1),)


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


class Cramped(ToySubject):
    """Cannot hold texts of more than 8 tokens."""

    def run(self, tokens, **kwargs):
        if max(map(len, tokens)) > 8:
            raise OutOfMemoryError("no memory left")
        return super().run(tokens, **kwargs)


@pytest.mark.filterwarnings("ignore:1 stimuli did not fit into memory")
@pytest.mark.parametrize("size", [2, 100])
@pytest.mark.parametrize("sites", [["resid_post", "mlp_post"], []])
def test_fault_36_a_text_too_large_for_the_memory_is_left_out_and_the_others_are_not(
    tmp_path, monkeypatch, size, sites
):
    monkeypatch.setattr(plan, "SHARD_STIMULI", size)
    study = protocol(sites=sites, dictionaries=["toy"], batch_tokens=64)
    session = record(Cramped(), study, tmp_path / "a", stimuli=stimuli())
    whole = record(ToySubject(), study, tmp_path / "b", stimuli=stimuli())
    assert session.exclusions.values.tolist() == [["s2", "too large for the memory, not run"]]
    assert session.counts["missing"] == 9
    assert session.counts["valid"] == whole.counts["valid"] - 8
    assert session.counts["non_finite"] == 0
    others = [0, 1, 3, 4, 5, 6]
    name = "toy-resid_post-l2"
    for opened, every in [(session["resid_post", name], whole["resid_post", name])]:
        assert not opened["valid"].values[2].any()
        np.testing.assert_array_equal(opened["valid"].values[others], every["valid"].values[others])
        left = opened.sel(stimulus=[f"s{i}" for i in others]).csr(2).toarray()
        right = every.sel(stimulus=[f"s{i}" for i in others]).csr(2).toarray()
        np.testing.assert_allclose(left, right, rtol=2**-10, atol=1e-6)
    for site in sites:
        ours, theirs = session.recording(site, mask=False), whole.recording(site, mask=False)
        assert not ours.valid.values[2].any()
        assert np.isnan(ours.values[2]).all()
        np.testing.assert_allclose(ours.values[others], theirs.values[others], rtol=1e-5, atol=1e-6)


def test_texts_that_were_not_run_are_named_in_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="1 stimuli did not fit into memory.*: 's2'. They are excluded"):
        record(Cramped(), protocol(), tmp_path / "out", stimuli=stimuli())


def test_no_file_says_that_tokens_are_missing_where_none_is(tmp_path):
    record(ToySubject(), protocol(), tmp_path / "out", stimuli=stimuli())
    tables = [store.read_tables(path) for path in (tmp_path / "out").rglob("*.nc")]
    assert not [its for its in tables if "is_missing" in its.rows]


@pytest.mark.filterwarnings("ignore:7 stimuli did not fit into memory")
def test_a_recording_of_which_no_text_could_be_run_is_still_whole(tmp_path):
    class Full(ToySubject):
        def run(self, tokens, **kwargs):
            raise MemoryError

    study = protocol(dictionaries=["toy"])
    session = record(Full(), study, tmp_path / "out", stimuli=stimuli())
    assert session.counts["valid"] == 0
    assert len(session.exclusions) == 7
    assert np.isnan(session["resid_post"].values).all()
    assert session["resid_post", "toy-resid_post-l2"].csr(2).nnz == 0
