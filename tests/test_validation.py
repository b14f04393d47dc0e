"""Structure of stores: whatever contradicts itself is named by file and reason, though every hash fits."""

import re
import shutil
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from typer.testing import CliRunner

import neurosae as ns
from neurosae.cli import main
from neurosae.recording import code_checks, plan
from neurosae.recording.manifest import enter, entries
from neurosae.recording.session import open_session
from neurosae.recording.upkeep import consolidate, damaged
from neurosae.recording.validation import misfits, unportable
from tests.faults.recordings import encoded, make, protocol, stimuli, toys

RAW, CODES = "resid_post", "resid_post+toy-resid_post-l1"
SHARD, INDEX, TABLES = "shards/shard-000001.nc", "layers/layer-01.nc", "stimuli.nc"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validation") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SHARD_STIMULI", 2)
        table = stimuli(5).assign(target_start=[4, 0, -1, 0, 0], target_end=[7, 3, -1, 2, 3])
        make(folder, study=protocol(sites=["resid_post"], layers=[1]), table=table)
        encoded(folder, toys()[:1])
    return folder


@pytest.fixture
def session(sound, tmp_path):
    return Path(shutil.copytree(sound, tmp_path / "out"))


def change(session, store, name, alter):
    """Alter a file and enter it with its new hash, as a faulty writer would have left it."""
    with netCDF4.Dataset(session / store / name, "a") as file:
        file.set_auto_mask(False)
        file.set_auto_chartostring(False)
        alter(file)
    kind = {SHARD: "shard", INDEX: "layer", TABLES: "tables"}[name]
    entry = entries(session / store, kind)[name]
    enter(session / store, {key: its for key, its in entry.items() if key not in ("bytes", "sha256")}, name)
    assert damaged(session) == []


def put(name, value, place=0):
    def alter(file):
        file[name][place] = value

    return alter


def swap(name, one, two):
    def alter(file):
        values = file[name][:]
        values[one], values[two] = values[two].copy(), values[one].copy()
        file[name][:] = values

    return alter


def attribute(name, value):
    return lambda file: file.setncattr(name, value)


def same_label(file):
    file["stimulus_id"][1] = file["stimulus_id"][0]


def test_a_sound_session_fits_together(session):
    assert misfits(session) == []
    assert unportable(session) == []
    consolidate(session)
    assert misfits(session) == []
    assert unportable(session) == []


FAULTS = [
    (RAW, SHARD, put("token_count", 3), r"counts \d+ tokens and holds \d+"),
    (RAW, SHARD, put("stimulus_index", 1), "rows that belong to other stimuli than counted"),
    (RAW, SHARD, put("token_position", 3, 1), "token positions that do not count from 0"),
    (RAW, SHARD, put("target_end", 900), "a target outside of its text|other stimuli"),
    (RAW, SHARD, same_label, "names a stimulus twice"),
    (RAW, SHARD, attribute("id", "another"), "has id 'another', the session"),
    (RAW, SHARD, attribute("config_sha256", "0"), "has config_sha256 '0', the session"),
    (RAW, SHARD, put("layer", 2), r"holds layers \[2\], stimuli.nc \[1\]"),
    (RAW, SHARD, put("token_id", 900_000), "differs from stimuli.nc in token_id"),
    (RAW, SHARD, put("norm", 1e9), "differs from stimuli.nc in norm"),
    (RAW, TABLES, put("target_start", 900), "a target outside of its text"),
    (CODES, SHARD, put("active_count", 900), "counts .* codes and holds"),
    (CODES, SHARD, put("feature_index", 32), "has feature_index beyond 31"),
    (CODES, SHARD, put("feature_index", -1), "has feature_index beyond 31"),
    (CODES, SHARD, swap("feature_index", 0, 1), "has feature_index that does not rise"),
    (CODES, SHARD, put("activation", np.nan), "codes that are 0, NaN or infinite"),
    (CODES, SHARD, put("activation", 0), "codes that are 0, NaN or infinite"),
    (CODES, SHARD, put("is_special", 1, 1), "differs from stimuli.nc in is_special"),
    (CODES, INDEX, put("row_count", 900), "counts .* codes and holds"),
    (CODES, INDEX, put("row_index", 10_000), "has row_index beyond"),
    (CODES, INDEX, swap("row_index", 0, 1), "has row_index that does not rise"),
    (CODES, INDEX, put("activation", 77.0), "is made of other shards than those beside it"),
    (CODES, INDEX, swap("activation", 0, 5), "is made of other shards than those beside it"),
    (CODES, INDEX, put("feature", 5), "names other features than it holds"),
    (CODES, INDEX, attribute("id", "another"), "has id 'another'"),
]


@pytest.mark.parametrize(("store", "name", "alter", "problem"), FAULTS)
def test_what_contradicts_itself_is_named(session, store, name, alter, problem):
    change(session, store, name, alter)
    found = dict(misfits(session))
    assert f"{store}/{name}" in found
    assert re.search(problem, found[f"{store}/{name}"])


def test_codes_of_special_tokens_are_named(session):
    change(session, CODES, SHARD, put("is_special", 1, 1))
    entry = entries(session / CODES, "shard")[SHARD]
    assert "has codes of special tokens" in code_checks.code_problems(session / CODES / SHARD, entry)


def test_only_bad_files_are_named(session):
    change(session, CODES, SHARD, put("feature_index", 31))
    assert {name for name, _ in misfits(session)} == {f"{CODES}/{SHARD}", f"{CODES}/{INDEX}"}


def test_a_stimulus_in_two_shards_is_named(session):
    shutil.copy(session / RAW / "shards" / "shard-000000.nc", session / RAW / SHARD)
    first = entries(session / RAW, "shard")["shards/shard-000000.nc"]
    enter(session / RAW, {"shard": SHARD, "stimuli": first["stimuli"], "rows": first["rows"]}, SHARD)
    assert f"{RAW}/{SHARD}" in dict(misfits(session))


def test_a_consolidated_layer_of_another_length_is_named(session):
    consolidate(session)
    with netCDF4.Dataset(session / RAW / INDEX) as file:
        shape = file["activation"].shape
    with netCDF4.Dataset(session / RAW / INDEX, "w", format="NETCDF4_CLASSIC") as file:
        file.createDimension("row", shape[0] - 1)
        file.createDimension("feature", shape[1])
        file.createVariable("activation", "f4", ("row", "feature"))
    enter(session / RAW, {"layer": INDEX, "rows": shape[0]}, INDEX)
    assert "has activations" in dict(misfits(session))[f"{RAW}/{INDEX}"]


def test_the_comparison_by_feature_does_not_depend_on_how_much_is_read_at_once(session, monkeypatch):
    folder, shards = session / CODES, sorted(entries(session / CODES, "shard"))
    whole = code_checks.by_row(folder, shards)
    assert whole == code_checks.by_feature(folder / INDEX)
    monkeypatch.setattr(code_checks, "_ENTRIES_AT_ONCE", 7)
    assert code_checks.by_row(folder, shards) == whole
    assert code_checks.by_feature(folder / INDEX) == whole
    assert list(code_checks.index_problems(folder, INDEX, shards)) == []
    assert code_checks.by_row(folder, shards[::-1]) != whole


def test_a_file_that_a_common_reader_cannot_read_is_named(session):
    path = session / RAW / "wide.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("row", 2)
        file.createVariable("many", "i8", ("row",))
    assert unportable(session) == [(f"{RAW}/wide.nc", "data model is NETCDF4")]


def test_the_verb_validate_checks_every_byte_structure_and_on_request_portability(session):
    run = CliRunner()
    done = run.invoke(main, ["validate", str(session), "--portable"])
    assert done.exit_code == 0
    assert "every file is what was written, and all fit together, and every file is portable" in done.output
    change(session, CODES, INDEX, put("activation", 77.0))
    done = run.invoke(main, ["validate", str(session)])
    assert done.exit_code == 3
    assert f"1 files do not fit together: {CODES}/{INDEX} is made of other shards" in done.output


def test_the_verb_consolidate_changes_no_value(session, monkeypatch):
    monkeypatch.setattr(ns, "consolidate", consolidate, raising=False)
    before = open_session(session)["resid_post"].compute()
    done = CliRunner().invoke(main, ["consolidate", str(session)])
    assert done.exit_code == 0
    assert "files: 7" in done.output
    assert open_session(session)["resid_post"].compute().identical(before)
