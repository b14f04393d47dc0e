"""Faults 6 to 8, 10, 11, 14 and 15: altered, replaced and foreign files are named, and never read as data."""

import contextlib
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import netCDF4
import numpy as np
import pytest
import xarray as xr

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording import store
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.recording.seals import seal
from neurosae.recording.session import open_session
from neurosae.recording.upkeep import consolidate, damaged
from tests.faults.recordings import Never, command, flip, make, protocol, values

SHARD, TABLES = "resid_post/shards/shard-000001.nc", "mlp_post/stimuli.nc"


@pytest.mark.parametrize("name", [SHARD, TABLES])
@pytest.mark.parametrize("kept", [0, 7, 100, "half", -1])
def test_fault_06_a_truncated_file_is_named_and_never_empty_data(raw, tmp_path, name, kept):
    path = raw / name
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 if kept == "half" else kept])
    with pytest.raises(CorruptFileError, match=path.name):
        open_session(tmp_path / "out")
    assert damaged(tmp_path / "out") == [name]
    with pytest.raises(CorruptFileError, match=path.name):
        store.read_tables(path)


def activations_in(path):
    with netCDF4.Dataset(path) as file:
        first = np.asarray(file["activation"][:1, 0]).tobytes()
    return path.read_bytes().index(first)


def test_fault_07_a_flipped_byte_of_data_is_noticed_on_reading_and_by_validate(raw, tmp_path):
    path = raw / SHARD
    flip(path, activations_in(path))
    with pytest.raises(CorruptFileError, match=r"shard-000001\.nc"):
        values(open_session(tmp_path / "out"))
    assert damaged(tmp_path / "out") == [SHARD]


@pytest.mark.parametrize("name", [SHARD, TABLES, "session.json", "stimuli.tsv", "protocol.toml"])
def test_fault_07_every_file_of_a_session_is_under_a_hash(raw, tmp_path, name):
    path = raw / name
    data = path.read_bytes()
    place = data.index(b"demo") if name == "session.json" else len(data) // 2
    flip(path, place)
    assert damaged(tmp_path / "out") == [name]


@pytest.mark.parametrize("name", [SHARD, TABLES])
def test_fault_07_a_flipped_byte_anywhere_is_found_by_hash_and_breaks_no_reader(raw, tmp_path, name):
    session = open_session(raw)
    path = session.path / name
    good = path.read_bytes()
    for place in [8, 20, 60, *np.random.default_rng(0).integers(100, len(good), 12).tolist()]:
        flip(path, place)
        with contextlib.suppress(CorruptFileError):
            values(open_session(tmp_path / "out"))
            assert name == SHARD
        assert damaged(tmp_path / "out") == [name]
        path.write_bytes(good)


def test_fault_07_validate_names_all_bad_files_and_no_other(raw):
    session = open_session(raw)
    for name in (SHARD, TABLES):
        flip(session.path / name, -200)
    done = subprocess.run(command("validate", session.path), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert f"2 files are not what was written: {SHARD}, {TABLES}." in done.stderr


def manifest_of(session):
    return session.path / "resid_post" / "manifest.jsonl"


def test_fault_08_a_torn_last_line_is_ignored_with_a_warning(raw, tmp_path):
    session = open_session(raw)
    before = values(session)
    with open(manifest_of(session), "a") as file:
        file.write('{"shard": "shards/sh')
    with pytest.warns(UserWarning, match="last line is incomplete"):
        assert values(open_session(tmp_path / "out")) == before


@pytest.mark.parametrize(
    "garbage", [b"garbage", b"\xff\xfe\x00", b"[1]", b'{"shard": "shards/shard-000000.nc"}']
)
def test_fault_08_a_garbage_line_is_an_error_with_its_number(raw, tmp_path, garbage):
    session = open_session(raw)
    lines = manifest_of(session).read_bytes().split(b"\n")
    manifest_of(session).write_bytes(b"\n".join([lines[0], garbage, *lines[1:]]))
    with pytest.raises(CorruptFileError, match=r"manifest\.jsonl: line 2 is no "):
        open_session(tmp_path / "out")


def test_fault_10_a_recording_that_is_open_elsewhere_is_never_mixed_with_its_successor(raw, tmp_path):
    session = open_session(raw)
    other = protocol("other")
    with pytest.raises(StorageError, match="holds another recording"):
        make(tmp_path / "out", Never(), study=other)
    loaded, lazy = session["resid_post"].compute(), session["resid_post"]
    new = make(tmp_path / "out", study=other, overwrite=True)
    assert loaded.sizes["stimulus"] == 7
    with pytest.raises(StorageError, match=r"recorded anew since it was opened\. Open the session again"):
        lazy.compute(scheduler="synchronous")
    assert new.protocol["name"] == "other"
    assert np.isfinite(new["resid_post"].compute()).any()


def test_fault_11_a_newer_schema_is_refused_with_what_to_do_and_unknown_entries_are_not(raw):
    session = open_session(raw)
    path = session.path / "session.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps(seal({**header, "schema": "neurosae-recording/1.9", "mood": "good"})))
    open_session(session.path)
    path.write_text(json.dumps({**header, "schema": "neurosae-recording/2"}))
    before = path.read_bytes()
    for use in (open_session, damaged, consolidate, lambda out: make(out, Never())):
        with pytest.raises(StorageError, match=r"has format neurosae-recording/2, .* Install the neurosae"):
            use(session.path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("part", ["status", "sites", "counts", "provenance", "config"])
def test_fault_11_a_header_that_lost_an_entry_is_damaged(raw, tmp_path, part):
    path = raw / "session.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in header.items() if name != part}))
    with pytest.raises(CorruptFileError, match=f"session.json: the file is damaged.*{part}"):
        open_session(tmp_path / "out")


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
def test_fault_14_other_readers_see_the_same_values_and_texts(raw, tmp_path, engine):
    session = open_session(raw)
    recording = session.recording("resid_post", mask=False).compute()
    rows = recording.values[recording["valid"].values]
    consolidate(tmp_path / "out")
    path = tmp_path / "out" / "resid_post"
    for number, layer in enumerate(recording["layer"].values):
        with xr.open_dataset(path / store.layer_name(int(layer)), engine=engine) as other:
            np.testing.assert_array_equal(other["activation"], rows[:, number])
    with xr.open_dataset(path / "stimuli.nc", engine=engine) as other:
        assert other["text"].values.tolist() == session.stimuli["text"].tolist()
        np.testing.assert_array_equal(
            other["surprisal"], recording["surprisal"].values[recording["valid"].values]
        )
        assert np.isnan(other["surprisal"].values).sum() == 7


def test_fault_15_reads_from_eight_threads_are_all_equal(raw, tmp_path):
    session = open_session(raw)
    save_netcdf(session["mlp_post"], tmp_path / "one.nc")
    expected = load_netcdf(tmp_path / "one.nc")

    def read(number):
        if number % 2:
            return load_netcdf(tmp_path / "one.nc").equals(expected)
        block = session["mlp_post"].isel(layer=number % 4).compute(scheduler="synchronous")
        return block.equals(expected.isel(layer=number % 4))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(160)))


def test_a_consolidated_session_is_identical_and_one_file_per_site_and_layer(raw, tmp_path):
    session = open_session(raw)
    before = {site: session[site].compute() for site in session.sites}
    opened = consolidate(tmp_path / "out")
    for site, recording in before.items():
        xr.testing.assert_identical(opened[site].compute(), recording)
    for site in opened.sites:
        names = sorted(path.name for path in (opened.path / site / "layers").iterdir())
        assert names == [f"layer-{number:02d}.nc" for number in range(4)]
    assert not list(opened.path.rglob("shards"))
    assert damaged(opened.path) == []
    assert values(make(tmp_path / "out", Never())) == values(opened)
