"""A session opens as labelled, lazy recordings that hide nothing and invent nothing."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosae.errors import CorruptFileError, StorageError
from neurosae.protocol.models import Protocol
from neurosae.recording import padded, plan
from neurosae.recording.flags import sinks
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.recording.runner import record
from neurosae.recording.seals import seal
from neurosae.recording.session import Session, open_session
from neurosae.recording.shard import Tables
from neurosae.recording.store import consolidate_store
from neurosae.recording.upkeep import damaged
from neurosae.schema.names import NO_TARGET, SINK_RATIO
from neurosae.schema.provenance import provenance
from neurosae.schema.recordings import check_recording
from neurosae.subject.toy import ToySubject

TEXTS = ["the keys are here .", "the key", "a dog sees the capital of france today", "the keys is here", "so"]
SITES = ["resid_post", "mlp_post"]


def stimuli(texts=TEXTS):
    n = len(texts)
    labels = [f"s{i}" for i in range(n)]
    table = pd.DataFrame({"stimulus": labels, "text": texts, "condition": list("ab" * n)[:n]})
    return table.assign(target_start=[4] * (n - 1) + [-1], target_end=[7] * (n - 1) + [-1])


def make(folder, monkeypatch, texts=TEXTS, **recording):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 2)
    protocol = Protocol(name="demo", stimuli="x", subject="toy", recording={"sites": SITES, **recording})
    return record(ToySubject(), protocol, folder, stimuli=stimuli(texts))


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    return make(tmp_path / "out", monkeypatch)


def test_a_recording_holds_what_the_subject_computes(recorded):
    toy = ToySubject()
    for site in SITES:
        loaded = recorded.recording(site, mask=False)
        for i, tokens in enumerate(toy.tokenize(TEXTS)):
            alone = toy.run([tokens], sites={site: range(4)}, surprisal=True)
            n = len(tokens)
            np.testing.assert_allclose(loaded.values[i, :n], alone.activations[site], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(loaded.surprisal.values[i, :n], alone.surprisal, rtol=1e-6)
            assert loaded.token_str.values[i, :n].tolist() == tokens.token_str.tolist()
            assert np.isnan(loaded.values[i, n:]).all()


def test_a_recording_is_masked_at_padding_special_tokens_and_sinks(recorded):
    rec = recorded["resid_post"]
    check_recording(rec)
    is_given = ~np.isnan(rec.values).any(axis=(2, 3))
    np.testing.assert_array_equal(is_given, rec.valid)
    assert not (rec.valid & (rec.is_special | rec.is_sink)).any()
    whole = recorded.recording("resid_post", mask=False)
    n_tokens = sum(map(len, ToySubject().tokenize(TEXTS)))
    assert int(whole.valid.sum()) == recorded.counts["tokens"] == n_tokens
    assert int(rec.valid.sum()) == recorded.counts["valid"]


def test_a_recording_has_the_agreed_coordinates(recorded):
    rec = recorded["mlp_post"]
    assert rec.dims == ("stimulus", "token", "layer", "feature")
    assert rec.dtype == np.float32
    assert rec.layer.values.tolist() == [0, 1, 2, 3]
    fields = {name: coord for name, coord in rec.coords.items() if coord.dims == ("stimulus", "token")}
    kinds = {name: field.dtype.kind for name, field in fields.items()}
    assert kinds == {
        **dict.fromkeys(("valid", "is_special", "is_sink"), "b"),
        **dict.fromkeys(("token_id", "char_start", "char_end", "word_index", "rel_target"), "i"),
        **{"token_str": "U", "surprisal": "f"},
    }
    assert rec.condition.values.tolist() == list("ababa")
    assert (rec.rel_target.values[4] == NO_TARGET).all()
    assert rec.word_index.values[0].tolist()[:6] == [-1, 0, 1, 2, 3, -1]


def test_provenance_names_subject_stimuli_protocol_and_recording(recorded):
    origin = provenance(recorded["resid_post"])
    assert set(origin) == {"subject", "stimuli", "protocol", "recording"}
    assert origin["subject"]["name"] == "toy"
    assert origin["recording"]["site"] == "resid_post"
    assert recorded.protocol["name"] == "demo"
    assert "[recording]" in recorded.protocol_text


def test_a_recording_is_lazy_and_chunked_by_layer_and_stimuli(recorded, monkeypatch):
    rec = recorded["resid_post"]
    assert rec.chunks == ((2, 2, 1), (rec.sizes["token"],), (1, 1, 1, 1), (32,))
    monkeypatch.setattr(padded, "_BLOCK_BYTES", 1)
    assert recorded["resid_post"].chunks[0] == (1, 1, 1, 1, 1)


def test_any_selection_equals_that_of_the_whole(recorded):
    rec, whole = recorded["resid_post"], recorded["resid_post"].compute()
    for place in (
        {"layer": 2, "feature": slice(3, 20, 4)},
        {"stimulus": [4, 0, 2], "token": slice(1, 5)},
        {"stimulus": slice(None, None, -1), "feature": [30, 2]},
        {"stimulus": 3, "token": 2, "layer": slice(1, 3)},
        {"token": slice(0, 0)},
    ):
        np.testing.assert_array_equal(rec.isel(place).values, whole.isel(place).values)


def test_a_recording_survives_pickling_and_threads(recorded):
    rec = recorded["resid_post"]
    whole = rec.compute(scheduler="synchronous")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rec)).values, whole.values)
    with dask.config.set(scheduler="threads", num_workers=8):
        np.testing.assert_array_equal(rec.values, whole.values)
    with ThreadPoolExecutor(8) as pool:
        sums = set(pool.map(lambda _: float(np.nansum(rec.values)), range(16)))
    assert len(sums) == 1


def test_consolidation_changes_no_recording(recorded):
    before = {site: recorded[site].compute() for site in SITES}
    for site in SITES:
        consolidate_store(recorded.path / site)
    after = open_session(recorded.path)
    for site in SITES:
        xr.testing.assert_identical(after[site].compute(), before[site])
    assert damaged(recorded.path) == []


def test_a_whole_recording_saves_and_loads_as_one_file(recorded, tmp_path):
    rec = recorded["resid_post"]
    xr.testing.assert_identical(load_netcdf(save_netcdf(rec, tmp_path / "r.nc")), rec.compute())


def test_without_surprisal_there_is_no_such_coordinate(tmp_path, monkeypatch):
    rec = make(tmp_path / "out", monkeypatch, surprisal=False, layers=[2])["resid_post"]
    assert "surprisal" not in rec.coords
    assert rec.layer.values.tolist() == [2]


def test_a_token_far_above_the_median_norm_is_a_sink():
    above, below = SINK_RATIO * 1.01, SINK_RATIO * 0.99
    norm = np.ones((8, 2), dtype=np.float32)
    norm[5, 1], norm[6, 1], norm[7] = below, above, 500
    rows = {"is_special": np.arange(8) == 7}
    tables = Tables(pd.DataFrame(), rows, np.array([0, 1]), norm)
    assert sinks(tables).tolist() == [False] * 6 + [True, True]


def test_sinks_at_residual_sites_are_masked_at_every_site_and_counted(tmp_path, monkeypatch):
    class Sinking(ToySubject):
        def run(self, tokens, **kwargs):
            readings = super().run(tokens, **kwargs)
            row = 0
            for text in tokens:
                readings.activations["resid_post"][row + 1, 2] *= 1000
                row += len(text)
            return readings

    protocol = Protocol(name="demo", stimuli="x", subject="toy", recording={"sites": SITES})
    found = record(Sinking(), protocol, tmp_path / "out", stimuli=stimuli())
    assert found.counts["sinks"] == len(TEXTS)
    for site in SITES:
        rec = found[site]
        assert rec.is_sink.values[:, 1].all()
        assert not rec.is_sink.values[:, 2:].any()
        assert np.isnan(rec.values[:, 1]).all()
        assert not np.isnan(found.recording(site, mask=False).values[:, 1]).any()
    assert found.exclusions.values.tolist() == [["s4", "no valid token"]]


def test_text_of_any_script_comes_back(tmp_path, monkeypatch):
    texts = ["naïve 👩‍👩‍👧 x", "שלום ab", "e\u0301 b", "a\u200bb \ufeffc", "w" * 20_000, ' "quoted"\t\n x ']
    opened = make(tmp_path / "out", monkeypatch, texts=texts)
    assert opened.stimuli["text"].tolist() == texts
    assert opened["resid_post"].text.values.tolist() == texts


def test_an_unknown_site_is_refused(recorded):
    with pytest.raises(StorageError, match="'attn_z' was not recorded; sites: resid_post, mlp_post"):
        recorded["attn_z"]


def test_what_is_no_session_is_refused(tmp_path):
    with pytest.raises(StorageError, match="holds no session"):
        open_session(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"status": "recording"}, StorageError, "not finished"),
        ({"schema": "neurosae-recording/2"}, StorageError, "has format neurosae-recording/2"),
        ({"schema": "neurosae-recording/1.7", "unknown": 1}, None, ""),
    ],
)
def test_the_header_is_checked_on_opening(recorded, change, error, message):
    path = recorded.path / "session.json"
    path.write_text(json.dumps(seal(json.loads(path.read_text()) | change)))
    if error is None:
        assert isinstance(open_session(recorded.path), Session)
        return
    with pytest.raises(error, match=message):
        open_session(recorded.path)


@pytest.mark.parametrize("kept", [0, 40, -1])
def test_a_torn_header_is_corrupt(recorded, kept):
    path = recorded.path / "session.json"
    path.write_text(path.read_text().rstrip()[:kept])
    with pytest.raises(CorruptFileError, match=r"session\.json"):
        open_session(recorded.path)


def test_a_truncated_shard_is_noticed_on_opening(recorded):
    shard = recorded.path / "mlp_post" / "shards" / "shard-000001.nc"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=r"shard-000001\.nc"):
        open_session(recorded.path)
    assert damaged(recorded.path) == ["mlp_post/shards/shard-000001.nc"]
