"""Recording is atomic, resumable and independent of batches, shards and order."""

import contextlib
import errno
import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosae.errors import CorruptFileError, StimulusError, StorageError, SubjectError
from neurosae.protocol.models import Protocol
from neurosae.recording import files, plan, store
from neurosae.recording.plan import check_recordable, shard_bounds, shortened
from neurosae.recording.runner import record
from neurosae.recording.session import open_session
from neurosae.stimulus.load import load_stimuli
from neurosae.subject.catalogue import subject_card
from neurosae.subject.toy import ToySubject

TEXTS = [
    *("the keys are here .", "the key", "a dog sees the capital of france today", "the keys is here", "so be it"),
    *("the dogs", "the capital of france is paris"),
]


def stimuli(texts=TEXTS):
    labels = [f"s{i}" for i in range(len(texts))]
    return pd.DataFrame({"stimulus": labels, "text": texts, "condition": list("ab" * len(texts))[: len(texts)]})


def protocol(name="demo", **recording):
    return Protocol(name=name, stimuli="x", subject="toy", recording=recording)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 2)


def contents(folder):
    """Bytes of every file of a session but the two that hold its time and id."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "session.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


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
    xr.testing.assert_allclose(left.compute().drop_attrs(), right.compute().drop_attrs(), rtol=1e-5, atol=1e-6)


def test_a_longer_neighbour_changes_nothing(tmp_path):
    long = stimuli([*TEXTS[:2], "the key " * 200])
    short = record(ToySubject(), protocol(), tmp_path / "a", stimuli=stimuli(TEXTS[:2]))["resid_post"]
    padded = record(ToySubject(), protocol(), tmp_path / "b", stimuli=long)["resid_post"]
    inside = padded.isel(stimulus=slice(0, 2), token=slice(0, short.sizes["token"]))
    np.testing.assert_allclose(inside.values, short.values, rtol=1e-5, atol=1e-6)


def test_the_stamp_is_written_before_the_subject_runs(tmp_path):
    class Curious(ToySubject):
        def run(self, tokens, **kwargs):
            header = json.loads((tmp_path / "out" / "session.json").read_text())
            assert header["status"] == "recording"
            assert header["registered"]["protocol_sha256"] == study.sha256
            assert header["registered"]["versions"]["python"]
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


class Killed(Exception):
    pass


def interrupted(monkeypatch, module, name, after):
    """Make a function fail at its call number ``after``, counted from 0."""
    original, calls = getattr(module, name), []

    def failing(*args, **kwargs):
        calls.append(None)
        if len(calls) > after:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, failing)


@pytest.mark.parametrize(("module", "name"), [(store, "append_line"), (store, "write_shard"), (files.os, "replace")])
@pytest.mark.parametrize("after", [0, 2, 3, 5])
def test_an_interrupted_recording_continues_to_the_same_bytes(tmp_path, monkeypatch, module, name, after):
    study, table = protocol(sites=["resid_post", "mlp_post"]), stimuli()
    record(ToySubject(), study, tmp_path / "whole", stimuli=table)
    with monkeypatch.context() as patch:
        interrupted(patch, module, name, after)
        with pytest.raises(Killed):
            record(ToySubject(), study, tmp_path / "out", stimuli=table)
    with contextlib.suppress(StorageError):  # the stamp itself may not have been written yet
        header = json.loads((tmp_path / "out" / "session.json").read_text()) if after else {}
        (tmp_path / "whole" / "session.json").write_text(json.dumps({**header, "status": "recording"}))
    session = record(ToySubject(), study, tmp_path / "out", stimuli=table)
    same_values(session, open_again(tmp_path / "whole", session))
    names = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(names) == len(set(names)) + 6
    assert not [name for name in names if ".part-" in name]
