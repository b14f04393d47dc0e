"""Codes reach other programs as they are: values, places, labels, what is unknown; or are refused."""

import json
import re
import shutil
import subprocess

import netCDF4
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from safetensors import safe_open
from scipy.io import loadmat
from typer.testing import CliRunner

import neurosae as ns
from neurosae.cli.app import app
from neurosae.errors import DesignError, StorageError
from neurosae.export import matlab, tables
from neurosae.export.layer_files import RECIPES
from neurosae.recording import by_feature
from neurosae.recording.portable import check_portable
from tests.code_sessions import N_FEATURES, NAMES, TEXTS, dense_rows, write_codes
from tests.test_formats import has


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codes")
    with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="non-finite|NaN or infinite"):
        write_codes(folder / "session", patch)
    return folder


@pytest.fixture
def codes(folder):
    return ns.open_session(folder / "session").codes("resid_post", *NAMES)


def known(rows):
    return np.nan_to_num(rows)


def rows_of(arrays, layer, n_features=N_FEATURES):
    pointers = np.asarray(arrays[f"layer{layer}.indptr"])
    parts = (np.asarray(arrays[f"layer{layer}.{name}"]) for name in ("values", "indices"))
    return sp.csr_array((*parts, pointers), shape=(len(pointers) - 1, n_features)).toarray()


@pytest.mark.parametrize("entries_at_once", [1, 5, 2**20])
def test_layer_files_hold_the_codes_by_feature_and_are_portable(
    tmp_path, codes, monkeypatch, entries_at_once
):
    monkeypatch.setattr(by_feature, "ENTRIES_AT_ONCE", entries_at_once)
    folder = ns.export.to_r(codes, tmp_path / "r")
    for layer in (0, 2):
        path = folder / f"layer-{layer:02d}.nc"
        assert check_portable(path) == []
        with netCDF4.Dataset(path) as file:
            pointers = np.concatenate([[0], np.cumsum(file["row_count"][:])])
            values, rows = np.asarray(file["activation"][:]), np.asarray(file["row_index"][:])
            unknown = np.asarray(file["is_unknown"][:]) == 1
        found = sp.csc_array((values, rows, pointers), shape=(len(unknown), N_FEATURES)).toarray()
        expected = dense_rows(codes, layer)
        np.testing.assert_array_equal(found, known(expected))
        np.testing.assert_array_equal(unknown, np.isnan(expected).all(axis=1))
    assert np.isnan(dense_rows(codes, 0)).any()


def test_a_selection_of_codes_keeps_its_labels_and_order(tmp_path, codes):
    part = codes.sel(stimulus=["s3", "s0"], feature=[7, 2], layer=2)
    arrays = {p.stem: np.load(p) for p in ns.export.to_numpy(part, tmp_path / "n").glob("*.npy")}
    np.testing.assert_array_equal(rows_of(arrays, 2, 2), dense_rows(part, 2))
    stimuli = pd.read_csv(tmp_path / "n" / "stimulus.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert stimuli["stimulus_id"].tolist() == ["s3", "s0"]
    assert stimuli["text"].tolist() == ["NA", TEXTS[0]]


def test_the_stimuli_lie_beside_the_layers(tmp_path, codes):
    folder = ns.export.to_r(codes, tmp_path / "r")
    table = pd.read_csv(folder / "stimuli.tsv", sep="\t", dtype=str, keep_default_na=False)
    described = json.loads((folder / "stimuli.json").read_text("utf-8"))
    assert table["text"].tolist() == TEXTS
    assert table["length"].tolist()[1] == "n/a"
    assert described["condition"] == {"Type": "string", "Levels": ["a", "b"]}
    assert set(described) == set(table)


@pytest.mark.skipif(not has("R"), reason="R or ncdf4 is not installed")
def test_r_makes_a_sparse_matrix_of_a_layer(tmp_path, codes):
    folder = ns.export.to_r(codes, tmp_path / "r")
    (folder / "check.R").write_text(
        'source("read_layer.R"); x <- read_layer("layer-00.nc"); cat(class(x$codes), dim(x$codes), "\\n")\n'
        'write.table(as.matrix(x$codes), "x.tsv", col.names = FALSE, row.names = FALSE)\n'
        'writeLines(c(x$stimuli$text, x$tokens$token, x$stimuli$length[2]), "text", useBytes = TRUE)\n'
    )
    command = ["Rscript", "--vanilla", "check.R"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["dgCMatrix", "16", "12"], done.stderr
    np.testing.assert_allclose(np.genfromtxt(folder / "x.tsv"), dense_rows(codes, 0), rtol=1e-6)
    tokens = codes["token_str"].values[codes["valid"].values].tolist()
    assert (folder / "text").read_text("utf-8").splitlines() == [*TEXTS, *tokens, "NaN"]


@pytest.mark.skipif(not has("m"), reason="Octave or its netcdf package is not installed")
def test_octave_makes_a_sparse_matrix_of_a_layer(tmp_path, codes):
    folder = ns.export.to_r(codes, tmp_path / "r")
    (folder / "check.m").write_text(
        "pkg load netcdf\n[codes, feature, stimulus, text] = read_layer('layer-00.nc');\n"
        "printf('%d %d %d\\n', issparse(codes), size(codes)); printf('%d ', stimulus, feature); disp('');\n"
        "printf('%s\\n', text('text'){:}, text('token'){:});\n"
        "dlmwrite('x.tsv', full(codes), 'delimiter', ' ', 'precision', '%.9g');\n"
    )
    command = ["octave-cli", "--norc", "--quiet", "check.m"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[0] == "1 16 12", done.stderr
    stimulus = np.nonzero(codes["valid"].values)[0] + 1
    assert lines[1].split() == [str(n) for n in (*stimulus, *range(N_FEATURES))]
    assert lines[2:] == [*TEXTS, *codes["token_str"].values[codes["valid"].values].tolist()]
    np.testing.assert_allclose(np.genfromtxt(folder / "x.tsv"), dense_rows(codes, 0), rtol=1e-6)


@pytest.mark.parametrize("program", ["R", "m"])
def test_codes_that_are_all_silent_are_read_too(tmp_path, codes, program):
    if not has(program):
        pytest.skip(f"no program for {program}")
    layer = codes.to_xarray().fillna(0).sel(layer=2)
    silent = int(layer.sum(["stimulus", "token"]).argmin())
    part = codes.sel(stimulus="s4", layer=2, feature=silent)
    assert part.csr(2).nnz == 0
    folder = ns.export.to_r(part, tmp_path / "r")
    scripts = {
        "R": 'source("read_layer.R"); x <- read_layer("layer-02.nc"); cat(dim(x$codes), sum(x$codes))',
        "m": "pkg load netcdf\nx = read_layer('layer-02.nc'); printf('%d ', size(x), full(sum(x)))",
    }
    commands = {"R": ["Rscript", "--vanilla"], "m": ["octave-cli", "--norc", "--quiet"]}
    (folder / f"check.{program}").write_text(scripts[program])
    command = [*commands[program], f"check.{program}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "1", "0"], done.stderr


@pytest.mark.parametrize("name", RECIPES)
def test_the_readers_are_about_ten_lines(name):
    assert len([line for line in RECIPES[name].splitlines() if not re.match(r"\s*%", line)]) <= 18


def test_mat_files_hold_sparse_matrices(tmp_path, codes):
    content = loadmat(ns.export.to_matlab(codes, tmp_path / "c.mat"))
    for layer in (0, 2):
        assert sp.issparse(content[f"layer_{layer}"])
        np.testing.assert_array_equal(content[f"layer_{layer}"].toarray(), known(dense_rows(codes, layer)))
    assert [cell.item() for cell in content["text"].ravel()] == TEXTS
    np.testing.assert_array_equal(content["is_unknown"] == 1, codes.unknown[codes["valid"].values])


@pytest.mark.skipif(not shutil.which("octave-cli"), reason="Octave is not installed")
def test_octave_reads_the_sparse_matrices_of_a_mat_file(tmp_path, codes):
    path = ns.export.to_matlab(codes, tmp_path / "c.mat")
    script = (
        f"m = load('{path}'); printf('%d %.9g %s\\n', issparse(m.layer_2), sum(m.layer_2(:)), m.text{{4}})"
    )
    command = ["octave-cli", "--norc", "--quiet", "--eval", script]
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert [words[0], words[2]] == ["1", "NA"]
    assert float(words[1]) == pytest.approx(dense_rows(codes, 2).astype(float).sum(), rel=1e-8)


def test_mat_files_of_codes_beyond_their_limit_are_refused(tmp_path, codes, monkeypatch):
    monkeypatch.setattr(matlab, "_LARGEST", 100)
    with pytest.raises(StorageError, match=r"a \.mat file holds .*to_r"):
        ns.export.to_matlab(codes, tmp_path / "c.mat")
    assert list(tmp_path.iterdir()) == []


def test_safetensors_and_numpy_hold_compressed_rows(tmp_path, codes):
    with safe_open(ns.export.to_safetensors(codes, tmp_path / "c.safetensors"), "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        labels = json.loads(file.metadata()["labels"])
    folder = ns.export.to_numpy(codes, tmp_path / "n")
    arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    described = json.loads((folder / "description.json").read_text("utf-8"))["codes"]
    for layer in (0, 2):
        np.testing.assert_array_equal(rows_of(tensors, layer), known(dense_rows(codes, layer)))
        np.testing.assert_array_equal(rows_of(arrays, layer), known(dense_rows(codes, layer)))
        assert described[f"layer{layer}"]["shape"] == [16, N_FEATURES]
    assert labels["text"] == TEXTS
    assert labels["token"] == codes["token_str"].values[codes["valid"].values].tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.safetensors", "n"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_have_a_line_an_active_code(tmp_path, codes, kind, monkeypatch):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr("neurosae.export.code_tables.ROWS_AT_ONCE", 3)
    with pytest.warns(UserWarning, match="tokens have no codes"):
        path = getattr(ns.export, f"to_{kind}")(codes, tmp_path / f"c.{kind}")
    table = pd.read_csv(path, keep_default_na=False) if kind == "csv" else pd.read_parquet(path)
    assert list(table) == ["stimulus", "token", "token_str", "layer", "feature", "value"]
    dense = codes.to_xarray().fillna(0)
    found = np.zeros(dense.shape, dtype=np.float32)
    place = [
        dense.get_index(dim).get_indexer(table[dim]) for dim in ("stimulus", "token", "layer", "feature")
    ]
    found[tuple(place)] = table["value"]
    np.testing.assert_array_equal(found, dense.values)
    assert len(table) == (dense.values != 0).sum()
    assert table["token_str"].tolist() == codes["token_str"].values[place[0], place[1]].tolist()


def test_tables_of_codes_refuse_dims(tmp_path, codes):
    with pytest.raises(DesignError, match="leave dims out"):
        ns.export.to_csv(codes, tmp_path / "c.csv", dims=["stimulus"])


def test_tables_refuse_a_part_that_fills_the_memory(tmp_path, codes, monkeypatch):
    monkeypatch.setattr(tables, "_LARGEST_PART", 1000)
    with pytest.raises(StorageError, match="each stimulus of a table may take"):
        ns.export.to_csv(codes.to_xarray(), tmp_path / "c.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "make", [ns.export.to_brainscore, lambda codes: ns.export.to_rsatoolbox(codes, layer=2)]
)
def test_assemblies_and_datasets_take_pooled_codes_and_refuse_tokens(codes, make):
    with pytest.raises(DesignError, match="pool a recording over tokens with pool_tokens"):
        make(codes)
    assert make(ns.pool_tokens(codes)) is not None


def test_responses_of_codes_keep_their_values_as_an_assembly(codes):
    pooled = ns.pool_tokens(codes.sel(layer=2))
    assembly = ns.export.to_brainscore(pooled)
    np.testing.assert_array_equal(assembly.values, pooled.values[:, 0])


def export(*arguments):
    return CliRunner().invoke(app, ["-q", "export", *map(str, arguments)])


def test_the_verb_exports_codes_dense_selections_and_pooled_codes(folder, tmp_path, codes):
    session, name = folder / "session", NAMES[1]
    done = export(session, "--for", "r", "-o", tmp_path / "r", "--dictionary", name)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "r" / "layer-02.nc").exists()
    options = ["--dictionary", name, "--features", "7,2", "--layers", "2", "--dense", "--json"]
    done = export(session, "--for", "r", "-o", tmp_path / "d.nc", *options)
    said = json.loads(done.stdout)
    dense = codes.sel(feature=[7, 2], layer=2).to_xarray()
    np.testing.assert_array_equal(ns.load_netcdf(tmp_path / "d.nc").values, dense.values)
    assert (said["dense_bytes"], said["sizes"]["feature"]) == (dense.nbytes, 2)
    done = export(session, "--for", "r", "-o", tmp_path / "p.nc", "--dictionary", name, "--window", "all")
    np.testing.assert_array_equal(
        ns.load_netcdf(tmp_path / "p.nc").values, ns.pool_tokens(codes.sel(layer=2)).values
    )


def test_the_verb_guards_dense_recordings_by_size(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("neurosae.cli.exports.DENSE_BYTES", 1000)
    for more in ([], ["--dictionary", NAMES[0]]):
        done = export(folder / "session", "--for", "numpy", "-o", tmp_path / "n", "--dense", *more)
        assert done.exit_code == 3
        assert "the dense recording takes 0.0 GB" in done.stderr
    done = export(folder / "session", "--for", "numpy", "-o", tmp_path / "n", "--features", "99")
    assert "no feature 99; features: 0, 1" in done.stderr
    assert list(tmp_path.iterdir()) == []
