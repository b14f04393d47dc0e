"""Exports hold what was exported: values, labels, absent values, the order of dims; or they refuse."""

import json
import shutil
import subprocess

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from rsatoolbox.rdm import calc_rdm
from safetensors import safe_open
from scipy.io import loadmat
from typer.testing import CliRunner

import neurosae as ns
from neurosae.cli.app import app
from neurosae.errors import DesignError, StorageError
from neurosae.export import tables
from neurosae.recording.portable import check_portable
from neurosae.testing import planted_recording
from tests.studies import write_study

TEXTS = ["naïve 👩‍👩‍👧 שלום", "NA", 'a\tb\n"q" ', "001", "", "x, 'y'\r\nz"]
LABELS = ["s1", "NaN", "שלום", "4", "n/a", "👩‍👩‍👧"]
WRITERS = {
    "numpy": ns.export.to_numpy,
    "matlab": ns.export.to_matlab,
    "r": ns.export.to_r,
    "csv": ns.export.to_csv,
    "parquet": ns.export.to_parquet,
    "safetensors": ns.export.to_safetensors,
}


def responses():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 2, 4)).astype(np.float32)
    values[1, 0, 3] = np.nan
    values[5] = np.nan
    return xr.DataArray(
        values,
        dims=("stimulus", "layer", "feature"),
        coords={
            "stimulus": LABELS,
            "text": ("stimulus", TEXTS),
            "condition": ("stimulus", list("aabbab")),
            "n_tokens": ("stimulus", np.arange(6)),
            "length": ("stimulus", [0.1, np.nan, 1 / 3, 1e-300, -2.5, 7]),
            "valid": ("stimulus", np.arange(6) % 2 == 0),
            "layer": [3, 7],
            "feature": np.arange(4),
        },
        name="response",
        attrs={"units": "a.u.", "site": "resid_post", "basis": "units", "q": 0.5, "nan": np.nan},
    )


def recording():
    return planted_recording(n_items=2, n_layers=2, n_features=5).assign_coords(layer=[3, 7])


def result():
    complete = responses().drop_vars("length").fillna(0)
    return ns.contrast_map(complete, "a > b", n_permutations=9)


def odd():
    """Scalars, empty dims, an array of text, whole numbers of several types, attributes of all types."""
    return xr.Dataset(
        {
            "n": ((), 12, {"long_name": "units", "level": np.float64(0.95), "seed": 3}),
            "name": ((), "é"),
            "member": (("fold", "layer"), np.zeros((0, 2), dtype=bool)),
            "preferred": (("layer", "feature"), np.array([["a", "שלום"], ["", "NA"]])),
            "small": ("layer", np.array([-1, 2], dtype=np.int8)),
            "large": ("layer", np.array([2**52, -1])),
            "big_endian": ("layer", np.array([1.5, np.nan], dtype=">f8")),
        },
        coords={"layer": [3, 7], "site": ((), "resid_post")},
        attrs={"index": "auroc"},
    )


SOURCES = [responses, recording, result, odd]


def dataset_of(source):
    return source if isinstance(source, xr.Dataset) else source.to_dataset()


def table_of(path, **settings):
    return pd.read_csv(path, dtype=str, keep_default_na=False, lineterminator="\n", **settings)


@pytest.mark.parametrize("make", SOURCES)
def test_numpy_folders_hold_every_variable_in_the_order_of_dims(tmp_path, make):
    source = make()
    folder = ns.export.to_numpy(source, tmp_path / "out")
    described = json.loads((folder / "description.json").read_text("utf-8"))["variables"]
    for name, variable in dataset_of(source).variables.items():
        about = described[name]
        assert about["dims"] == list(variable.dims)
        if about["file"].endswith(".npy"):
            loaded = np.load(folder / about["file"])
            assert loaded.dtype.kind == variable.dtype.kind
        else:
            column = table_of(folder / about["file"], sep="\t")[name]
            loaded = column.to_numpy(dtype=str)
            loaded = loaded == "True" if variable.dtype == bool else loaded.astype(variable.dtype)
        np.testing.assert_array_equal(loaded, variable.values)


def test_a_lazy_recording_becomes_the_same_numpy_folder(tmp_path):
    eager = recording()
    lazy = eager.copy(data=da.from_array(eager.values, chunks=(2, -1, 1, 3)))
    folder = ns.export.to_numpy(lazy, tmp_path / "out")
    np.testing.assert_array_equal(np.load(folder / "activation.npy"), eager.values)


def test_a_numpy_folder_is_replaced_whole_and_another_folder_never(tmp_path):
    folder = ns.export.to_numpy(responses(), tmp_path / "out")
    ns.export.to_numpy(recording(), folder, overwrite=True)
    assert (folder / "activation.npy").exists()
    assert not (folder / "response.npy").exists()
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.txt").write_text("x")
    with pytest.raises(StorageError, match="no earlier export of this kind"):
        ns.export.to_numpy(responses(), own, overwrite=True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("make", SOURCES)
def test_mat_files_hold_every_variable_in_the_order_of_dims(tmp_path, make):
    source = dataset_of(make())
    content = loadmat(ns.export.to_matlab(make(), tmp_path / "r.mat"), struct_as_record=True)
    about = content["neurosae"][0, 0]
    for name, variable in source.variables.items():
        loaded = content[name]
        if variable.dtype.kind == "U":
            loaded = np.array([cell.item() if cell.size else "" for cell in loaded.ravel()], dtype=str)
        assert [str(cell.item()) for cell in about["dims"][0, 0][name].ravel()] == list(variable.dims)
        np.testing.assert_array_equal(loaded.reshape(variable.shape), variable.values)


def test_mat_files_hold_text_beyond_ascii_as_bytes_too(tmp_path):
    content = loadmat(ns.export.to_matlab(responses(), tmp_path / "r.mat"))
    assert [bytes(cell).decode("utf-8") for cell in content["text_utf8"].ravel()] == TEXTS
    assert "condition_utf8" not in content


@pytest.mark.skipif(not shutil.which("octave-cli"), reason="Octave is not installed")
def test_octave_reads_the_same_from_a_mat_file(tmp_path):
    path = ns.export.to_matlab(responses(), tmp_path / "r.mat")
    script = (
        f"m = load('{path}'); printf('%d %d %d\\n', size(m.response)); printf('%.9g\\n', m.response(2,2,4));"
        "printf('%s\\n', char(m.text_utf8{1}), m.condition{3}, m.neurosae.dims.response{2},"
        " m.neurosae.attrs.response.site); printf('%d\\n', sum(isnan(m.response(:))));"
    )
    command = ["octave-cli", "--norc", "--quiet", "--eval", script]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    value = np.float32(lines[1])
    assert lines[0] == "6 2 4"
    assert value == responses().values[1, 1, 3]
    assert lines[2:] == [TEXTS[0], "b", "layer", "resid_post", "9"]


def test_mat_files_beyond_their_limit_are_refused_before_anything_is_computed(tmp_path):
    huge = xr.DataArray(da.zeros((30_000, 10_000)), dims=("row", "feature"), name="x")
    with pytest.raises(StorageError, match=r"takes 2\.4 GB.*holds 2 GB.*to_r"):
        ns.export.to_matlab(huge, tmp_path / "r.mat")
    assert list(tmp_path.iterdir()) == []


def test_names_that_matlab_cannot_tell_apart_are_refused(tmp_path):
    both = xr.Dataset({"a b": 1, "a-b": 2})
    with pytest.raises(StorageError, match="two variables would be called 'a_b'"):
        ns.export.to_matlab(both, tmp_path / "r.mat")


@pytest.mark.parametrize("make", SOURCES)
def test_files_for_r_load_back_identical_and_are_portable(tmp_path, make):
    path = ns.export.to_r(make(), tmp_path / "r.nc")
    xr.testing.assert_identical(ns.load_netcdf(path), make())
    assert check_portable(path) == []


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("rows_at_once", [1, 17, 10_000])
def test_tables_hold_every_value_however_they_are_cut(tmp_path, monkeypatch, suffix, rows_at_once):
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", rows_at_once)
    path = ns.export.to_csv(responses(), tmp_path / f"r{suffix}")
    found = table_of(path, sep="\t" if suffix == ".tsv" else ",")
    expected = ns.to_table(responses())
    assert list(found) == list(expected)
    for name, column in expected.items():
        text = found[name].to_numpy(dtype=str)
        values = text == "True" if column.dtype == bool else text.astype(dataset_of(responses())[name].dtype)
        np.testing.assert_array_equal(values, column.to_numpy(), err_msg=name)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("bytes_at_once", [1, 2**28])
def test_a_lazy_recording_becomes_the_same_table(tmp_path, monkeypatch, kind, bytes_at_once):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(tables, "_BYTES_AT_ONCE", bytes_at_once)
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", 150)
    eager = recording()
    lazy = eager.copy(data=da.from_array(eager.values, chunks=(3, -1, 1, -1)))
    paths = [getattr(ns.export, f"to_{kind}")(its, tmp_path / n) for its, n in ((eager, "e"), (lazy, "l"))]
    read = pd.read_csv if kind == "csv" else pd.read_parquet
    pd.testing.assert_frame_equal(*map(read, paths))
    if kind == "parquet":
        pd.testing.assert_frame_equal(read(paths[0]), ns.to_table(eager))


def test_a_lazy_recording_becomes_the_same_tensor(tmp_path):
    eager = recording()
    lazy = eager.copy(data=da.from_array(eager.values, chunks=(3, -1, 1, -1)))
    path = ns.export.to_safetensors(lazy, tmp_path / "x.safetensors")
    with safe_open(path, "numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("activation"), eager.values)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("rows_at_once", [2, 10_000])
def test_positions_of_a_dim_without_labels_are_counted_through(tmp_path, monkeypatch, rows_at_once):
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", rows_at_once)
    path = ns.export.to_csv(xr.DataArray([[1.0], [2.0], [3.0]], dims=("row", "one")), tmp_path / "r.csv")
    assert path.read_text().split() == ["row,one,values", "0,0,1.0", "1,0,2.0", "2,0,3.0"]


def test_a_table_says_what_it_leaves_out(tmp_path):
    mixed = xr.Dataset({"a": ("x", [1.0]), "b": ("y", [2.0, 3.0])})
    with pytest.warns(UserWarning, match=r"leaves out b.*dims="):
        ns.export.to_csv(mixed, tmp_path / "a.csv")
    with pytest.warns(UserWarning, match="leaves out a"):
        path = ns.export.to_csv(mixed, tmp_path / "b.csv", dims=["y"])
    assert path.read_text().split() == ["y,b", "0,2.0", "1,3.0"]


def test_tables_refuse_a_dim_that_is_not_there(tmp_path):
    with pytest.raises(DesignError, match="no dim 'layers'"):
        ns.export.to_csv(responses(), tmp_path / "a.csv", dims=["layers"])
    assert list(tmp_path.iterdir()) == []


def test_parquet_keeps_values_and_types(tmp_path):
    pytest.importorskip("pyarrow")
    path = ns.export.to_parquet(responses(), tmp_path / "r.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(path), ns.to_table(responses()), check_dtype=False)
    assert pd.read_parquet(path)["response"].dtype == np.float32


def test_parquet_without_pyarrow_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StorageError, match="needs the package pyarrow"):
        ns.export.to_parquet(responses(), tmp_path / "r.parquet")


@pytest.mark.parametrize("make", SOURCES)
def test_safetensors_hold_numbers_as_tensors_and_text_as_labels(tmp_path, make):
    source = dataset_of(make())
    with safe_open(ns.export.to_safetensors(make(), tmp_path / "r.safetensors"), "numpy") as file:
        metadata = {name: json.loads(text) for name, text in file.metadata().items() if text[0] == "{"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, variable in source.variables.items():
        assert metadata["dims"][name] == list(variable.dims)
        loaded = tensors[name] if name in tensors else np.array(metadata["labels"][name], dtype=str)
        np.testing.assert_array_equal(loaded.reshape(variable.shape), variable.values)
        assert loaded.dtype.kind == variable.dtype.kind
    if make is responses:
        assert metadata["attrs"]["response"] == {**make().attrs, "nan": "nan"}


def test_rsatoolbox_computes_the_same_distances_from_what_it_is_given():
    source = responses().isel(stimulus=[0, 2, 3, 4])
    dataset = ns.export.to_rsatoolbox(source, layer=7)
    np.testing.assert_array_equal(dataset.measurements, source.sel(layer=7).values)
    assert list(dataset.obs_descriptors["text"]) == [TEXTS[i] for i in (0, 2, 3, 4)]
    assert list(dataset.channel_descriptors["feature"]) == [0, 1, 2, 3]
    assert dataset.descriptors["layer"] == 7
    own = ns.rdm(source, metric="sqeuclidean", unit="stimulus")
    theirs = calc_rdm(dataset, method="euclidean").get_matrices()[0]
    np.testing.assert_allclose(theirs, own.sel(layer=7), rtol=1e-6, atol=1e-12)


def test_rdms_reach_rsatoolbox_with_layers_and_stimuli():
    own = ns.rdm(responses().isel(stimulus=[0, 2, 3, 4]), metric="euclidean", unit="stimulus")
    rdms = ns.export.to_rsatoolbox_rdms(own)
    np.testing.assert_allclose(rdms.get_matrices(), own.values)
    assert rdms.rdm_descriptors["layer"] == [3, 7]
    assert list(rdms.pattern_descriptors["stimulus"]) == [LABELS[i] for i in (0, 2, 3, 4)]
    model = ns.model_rdm(responses().isel(stimulus=[0, 2, 3, 4]), "condition", unit="stimulus")
    np.testing.assert_allclose(ns.export.to_rsatoolbox_rdms(model).get_matrices()[0], model.values)


def test_rsatoolbox_refuses_what_has_other_dims():
    with pytest.raises(DesignError, match="no layer 4; layers: 3, 7"):
        ns.export.to_rsatoolbox(responses(), layer=4)
    with pytest.raises(DesignError, match="pool a recording"):
        ns.export.to_rsatoolbox(recording(), layer=3)
    with pytest.raises(DesignError, match="an RDM needs dims"):
        ns.export.to_rsatoolbox_rdms(responses())


def test_an_assembly_is_presentation_by_neuroid_with_their_levels(tmp_path):
    source = responses()
    assembly = ns.export.to_brainscore(source)
    assert assembly.dims == ("presentation", "neuroid")
    assert assembly["stimulus_id"].values.tolist() == LABELS
    assert assembly["text"].values.tolist() == TEXTS
    np.testing.assert_array_equal(assembly.sel(layer=7).values, source.sel(layer=7).values)
    one = assembly.sel(neuroid=assembly["neuroid_id"] == "7.2")
    np.testing.assert_array_equal(one.values[:, 0], source.sel(layer=7, feature=2).values)
    saved = ns.save_netcdf(assembly.reset_index(["presentation", "neuroid"]), tmp_path / "a.nc")
    np.testing.assert_array_equal(ns.load_netcdf(saved).values, assembly.values)


def test_an_assembly_refuses_columns_called_like_its_levels():
    with pytest.raises(DesignError, match="column 'neuroid_id'"):
        ns.export.to_brainscore(responses().assign_coords(neuroid_id=("stimulus", LABELS)))


@pytest.mark.parametrize("target", WRITERS)
def test_an_existing_path_is_refused_and_kept(tmp_path, target):
    path = tmp_path / "there"
    path.write_text("mine")
    with pytest.raises(StorageError, match=r"exists.*overwrite=True"):
        WRITERS[target](responses(), path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("target", [name for name in WRITERS if name != "numpy"])
def test_a_folder_is_never_replaced_by_a_file(tmp_path, target):
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "mine").write_text("x")
    with pytest.raises(StorageError, match=str(folder)):
        WRITERS[target](responses(), folder, overwrite=True)
    assert (folder / "mine").read_text() == "x"


@pytest.mark.parametrize("target", [name for name in WRITERS if name != "numpy"])
def test_a_file_is_replaced_when_asked(tmp_path, target):
    path = tmp_path / "there"
    path.write_text("old")
    WRITERS[target](responses(), path, overwrite=True)
    assert path.stat().st_size > 100
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("target", ["numpy", "matlab", "r", "safetensors"])
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (xr.DataArray([1j], dims="x", name="z"), "complex128 values"),
        (xr.DataArray(np.array(["a", None], dtype=object), dims="x", name="z"), "mixes text with float"),
        (xr.DataArray(["a\0b"], dims="x", name="z"), "NUL"),
        (xr.DataArray([1.0], dims="x", name="a/b"), "'a/b' cannot be kept"),
        (ns.export.to_brainscore(responses()), "multi-index"),
    ],
)
def test_what_has_no_portable_form_is_refused_and_leaves_nothing(tmp_path, target, bad, words):
    with pytest.raises(StorageError, match=words):
        WRITERS[target](bad, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    arguments = ["-q", "record", str(write_study(folder)), "-o", str(folder / "session")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    return folder / "session"


def export(*arguments):
    return CliRunner().invoke(app, ["-q", "export", *map(str, arguments)])


def test_the_verb_exports_a_session_and_a_result(session, tmp_path):
    done = export(session, "--for", "r", "-o", tmp_path / "r.nc", "--layers", "2,0", "--window", "last:1")
    assert done.exit_code == 0, done.output
    pooled = ns.pool_tokens(ns.open_session(session)["resid_post"], window="last:1").sel(layer=[2, 0])
    xr.testing.assert_equal(ns.load_netcdf(tmp_path / "r.nc"), pooled.compute())
    done = export(tmp_path / "r.nc", "--for", "numpy", "-o", tmp_path / "out", "--layers", "0", "--json")
    assert json.loads(done.stdout)["sizes"]["layer"] == 1
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "response.npy"), pooled.values[:, 1:])


@pytest.mark.parametrize("target", ["matlab", "csv", "safetensors", "parquet"])
def test_the_verb_writes_every_kind_of_file(session, tmp_path, target):
    if target == "parquet":
        pytest.importorskip("pyarrow")
    done = export(session, "--for", target, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out").stat().st_size > 1000


def test_the_verb_refuses_layers_that_are_not_there(session, tmp_path):
    refused = export(session, "--for", "csv", "-o", tmp_path / "o", "--layers", "9")
    assert refused.exit_code == 3
    assert "no layer 9; layers: 0, 1, 2, 3" in refused.stderr
    assert export(session, "--for", "csv", "-o", tmp_path / "o", "--layers", "two").exit_code == 2
    assert export(session, "--for", "excel", "-o", tmp_path / "o").exit_code == 2
    assert list(tmp_path.iterdir()) == []
