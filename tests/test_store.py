"""Shards are whole, checked and portable; consolidation loses nothing."""

import json
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosae.errors import CorruptFileError, StorageError
from neurosae.recording import store as store_module
from neurosae.recording.manifest import read_manifest
from neurosae.recording.portable import check_portable
from neurosae.recording.shard import Shard, Tables, concatenate, norms, read_tables, token_rows, write_shard
from neurosae.recording.store import (
    add_shard,
    consolidate_store,
    damaged_files,
    open_store,
    shard_name,
    write_tables,
)
from neurosae.subject.toy import ToySubject

GOLDEN = Path(__file__).parent / "golden" / "recording.cdl"
TYPES = {"|S1": "char", "int8": "byte", "int32": "int", "float32": "float", "float64": "double"}
ATTRS = {"title": "demo", "id": "0"}
LAYERS, N_FEATURES = (2, 7), 5


def shard(first, texts, seed=0):
    tokens = ToySubject().tokenize(texts)
    labels = [f"s{first + i}" for i in range(len(texts))]
    table = pd.DataFrame(
        {"stimulus": labels, "text": texts, "condition": "a", "target_start": 0, "target_end": 1}
    )
    rows = token_rows(table, tokens)
    n_rows = len(rows["token"])
    values = np.random.default_rng(seed).normal(size=(n_rows, len(LAYERS), N_FEATURES)).astype(np.float32)
    bits = np.where(rows["token_position"] == 0, np.nan, 1.5)
    return Shard(table, {**rows, "surprisal": bits}, LAYERS, values)


@pytest.fixture
def finished(tmp_path):
    parts = [shard(0, ["naïve 日本 👩‍👩‍👧 .", "a"], seed=1), shard(2, ["the keys are here .", "b"], seed=2)]
    return finish(tmp_path / "resid_post", parts)


def finish(folder, parts):
    for number, part in enumerate(parts):
        add_shard(folder, number, part, ATTRS)
    joined = concatenate([read_tables(folder / shard_name(number)) for number in range(len(parts))])
    is_sink = np.zeros(len(joined.norm), dtype=bool)
    tables = Tables(joined.stimuli, {**joined.rows, "is_sink": is_sink}, joined.layers, joined.norm)
    write_tables(folder, tables, N_FEATURES, ATTRS)
    return folder, np.concatenate([part.activation for part in parts])


def header(path):
    """Dimensions, variables and attributes of a file, as ncdump -h would show them."""
    with netCDF4.Dataset(path) as file:
        lines = ["dimensions:", *(f"    {name} = {len(dim)} ;" for name, dim in file.dimensions.items())]
        lines.append("variables:")
        for name, variable in file.variables.items():
            lines.append(f"    {TYPES[str(variable.dtype)]} {name}({', '.join(variable.dimensions)}) ;")
            lines += [f"        {name}:{line}" for line in attributes(variable)]
        lines += ["// global attributes:", *(f"    :{line}" for line in attributes(file))]
    return "\n".join(lines) + "\n"


def attributes(holder):
    values = {key: holder.getncattr(key) for key in holder.ncattrs()}
    shown = {key: f'"{value}"' if isinstance(value, str) else value for key, value in values.items()}
    return [f"{key} = {value} ;" for key, value in shown.items()]


def test_the_format_of_a_shard_is_the_agreed_one(tmp_path):
    write_shard(tmp_path / "shard.nc", shard(0, ["the keys are here .", "é"]), ATTRS)
    assert header(tmp_path / "shard.nc") == GOLDEN.read_text(encoding="utf-8")


def test_a_shard_reads_the_same_through_h5netcdf(tmp_path):
    part = shard(0, ["naïve 日本 👩‍👩‍👧 ."])
    write_shard(tmp_path / "shard.nc", part, ATTRS)
    with xr.open_dataset(tmp_path / "shard.nc", engine="h5netcdf") as other:
        np.testing.assert_array_equal(other["activation"], part.activation)
        assert other["token"].values.tolist() == part.rows["token"].tolist()
        assert other["text"].values.tolist() == part.stimuli["text"].tolist()
        np.testing.assert_allclose(other["norm"], np.linalg.norm(part.activation, axis=2), rtol=1e-6)


def test_tables_come_back_in_their_types(tmp_path):
    part = shard(0, ["the keys are here .", "é"])
    write_shard(tmp_path / "shard.nc", part, ATTRS)
    tables = read_tables(tmp_path / "shard.nc")
    pd.testing.assert_frame_equal(tables.stimuli, part.stimuli)
    for name, values in part.rows.items():
        np.testing.assert_array_equal(tables.rows[name], values)
        assert tables.rows[name].dtype.kind == values.dtype.kind
    assert tables.layers.tolist() == list(LAYERS)


def test_norms_agree_with_numpy():
    values = np.random.default_rng(0).normal(size=(3, 2, 9)).astype(np.float32)
    np.testing.assert_allclose(norms(values), np.linalg.norm(values, axis=2), rtol=1e-6)


def test_a_store_reads_across_shards(finished):
    folder, values = finished
    store = open_store(folder)
    assert store.layers == LAYERS
    for layer in range(2):
        np.testing.assert_array_equal(store.read(layer, 0, len(values)), values[:, layer])
        np.testing.assert_array_equal(store.read(layer, 3, 8, slice(1, 3)), values[3:8, layer, 1:3])
    assert store.read(0, 4, 4).shape == (0, N_FEATURES)


def test_consolidation_keeps_every_bit_and_removes_the_shards(finished):
    folder, values = finished
    consolidate_store(folder)
    store = open_store(folder)
    assert store.has_layers
    assert not (folder / "shards").exists()
    for layer in range(2):
        np.testing.assert_array_equal(store.read(layer, 2, 9, slice(0, 4)), values[2:9, layer, :4])
    consolidate_store(folder)
    assert damaged_files(folder) == []


def test_every_file_of_a_store_is_portable(finished):
    folder, _ = finished
    before = {path.name: check_portable(path) for path in folder.rglob("*.nc")}
    consolidate_store(folder)
    after = {path.name: check_portable(path) for path in folder.rglob("*.nc")}
    assert sorted(before) == ["shard-000000.nc", "shard-000001.nc", "stimuli.nc"]
    assert sorted(after) == ["layer-02.nc", "layer-07.nc", "stimuli.nc"]
    assert not any({**before, **after}.values())


def test_layer_files_are_compressed_and_chunked_by_rows(finished):
    folder, values = finished
    consolidate_store(folder)
    with netCDF4.Dataset(folder / "layers" / "layer-07.nc") as file:
        filters = file["activation"].filters()
        assert (filters["zlib"], filters["shuffle"], filters["complevel"]) == (True, True, 1)
        assert file["activation"].chunking() == [len(values), N_FEATURES]
        assert file.layer == 7


def test_interrupted_consolidation_starts_again_where_it_stopped(finished, monkeypatch):
    folder, values = finished
    write_layer = store_module._write_layer

    def stop_at_the_second(store, index, path):
        if index == 1:
            raise KeyboardInterrupt
        write_layer(store, index, path)

    monkeypatch.setattr(store_module, "_write_layer", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        consolidate_store(folder)
    assert not open_store(folder).has_layers
    monkeypatch.undo()
    written = (folder / "layers" / "layer-02.nc").stat().st_mtime_ns
    consolidate_store(folder)
    assert (folder / "layers" / "layer-02.nc").stat().st_mtime_ns == written
    np.testing.assert_array_equal(open_store(folder).read(1, 0, len(values)), values[:, 1])


def test_a_layer_that_reads_back_differently_stops_consolidation(finished, monkeypatch):
    folder, _ = finished
    read = store_module.read_activation

    def altered(path, layer, *place):
        values = read(path, layer, *place)
        return values + 1 if layer is None else values

    monkeypatch.setattr(store_module, "read_activation", altered)
    with pytest.raises(CorruptFileError, match=r"layer-02\.nc does not read back"):
        consolidate_store(folder)
    assert (folder / "shards" / "shard-000000.nc").exists()


@pytest.mark.parametrize("kept", [0, 7, 100, 5000, -1])
def test_a_truncated_shard_is_corrupt_on_opening(finished, kept):
    folder, _ = finished
    path = folder / shard_name(1)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CorruptFileError, match=r"shard-000001\.nc is \d+ bytes long"):
        open_store(folder)


def test_a_missing_shard_is_corrupt_on_opening(finished):
    folder, _ = finished
    (folder / shard_name(0)).unlink()
    with pytest.raises(CorruptFileError, match=r"shard-000000\.nc is missing"):
        open_store(folder)


def test_a_flipped_bit_in_the_activations_is_noticed_on_reading_and_by_hash(finished):
    folder, values = finished
    path = folder / shard_name(0)
    data = bytearray(path.read_bytes())
    place = data.index(values[:1, 0].tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert damaged_files(folder) == [shard_name(0)]
    with pytest.raises(CorruptFileError, match=r"shard-000000\.nc"):
        open_store(folder).read(0, 0, 2)


def test_a_torn_last_line_of_the_manifest_is_ignored_with_a_warning(finished):
    folder, _ = finished
    with open(folder / "manifest.jsonl", "a") as file:
        file.write('{"shard": "shards/sh')
    with pytest.warns(UserWarning, match="last line is incomplete"):
        assert len([entry for entry in read_manifest(folder) if "shard" in entry]) == 2


def test_a_garbled_line_in_the_manifest_is_an_error_with_its_number(finished):
    folder, _ = finished
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    (folder / "manifest.jsonl").write_text("\n".join([lines[0], "garbage", lines[1]]) + "\n")
    with pytest.raises(CorruptFileError, match="line 2 is no JSON"):
        read_manifest(folder)


def test_the_manifest_names_stimuli_hash_and_status(finished):
    folder, _ = finished
    form, entry = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines()[:2])
    assert form == {"schema": "neurosae-recording/1"}
    assert entry["stimuli"] == ["s0", "s1"]
    assert entry["status"] == "complete"
    assert len(entry["sha256"]) == 64


def test_an_unfinished_store_is_refused(tmp_path):
    add_shard(tmp_path / "s", 0, shard(0, ["a"]), ATTRS)
    with pytest.raises(StorageError, match="not finished"):
        open_store(tmp_path / "s")


def test_a_manifest_that_lacks_a_shard_is_refused(finished):
    folder, _ = finished
    lines = (folder / "manifest.jsonl").read_text().splitlines(keepends=True)
    (folder / "manifest.jsonl").write_text("".join(lines[:2]))
    with pytest.raises(CorruptFileError, match=r"the manifest names \d+ of \d+ rows"):
        open_store(folder)


def test_nul_in_a_token_is_refused_before_anything_is_left_behind(tmp_path):
    part = shard(0, ["a b"])
    rows = {**part.rows, "token": np.array(["<bos>", "a\0b", "b"])}
    with pytest.raises(StorageError, match="'token' holds a NUL"):
        write_shard(tmp_path / "x.nc", Shard(part.stimuli, rows, LAYERS, part.activation), ATTRS)
    assert list(tmp_path.iterdir()) == []
