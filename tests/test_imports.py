"""What other programs computed comes in as it was, under its labels; what does not fit is refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file
from scipy.io import savemat

import neurosae as ns
from neurosae.errors import DesignError, StorageError
from neurosae.recording.files import sha256
from neurosae.recording.imports import load_activations
from neurosae.schema.provenance import provenance
from neurosae.subject.pt_file import read_pt

SHAPE = (4, 5, 2, 3)
LENGTHS = [5, 2, 4, 1]
AT = {"site": "resid_post", "layers": [3, 7]}


def stimuli(n=4):
    labels = [f"s{i}" for i in range(n)]
    return pd.DataFrame(
        {"stimulus": labels, "text": ["so", "שלום", "NA", "👩‍👧"][:n], "condition": list("abab")[:n]}
    )


def padded():
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    for stimulus, length in enumerate(LENGTHS):
        values[stimulus, length:] = np.nan
    return values


def write(path, values, **labels):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".mat":
        savemat(path, {"activation": values, **labels}, do_compression=True)
    else:
        texts = {k: list(v) for k, v in labels.items()}
        save_file({"activation": np.ascontiguousarray(values)}, path, {"labels": json.dumps(texts)})
    return path


@pytest.mark.parametrize("suffix", [".npy", ".mat", ".safetensors"])
def test_tokens_become_a_recording_with_nan_as_padding(tmp_path, suffix):
    path = write(tmp_path / f"x{suffix}", padded())
    recording = load_activations(path, stimuli(), **AT)
    np.testing.assert_array_equal(recording.values, padded())
    assert recording.dims == ("stimulus", "token", "layer", "feature")
    np.testing.assert_array_equal(recording["valid"].sum("token"), LENGTHS)
    assert recording["text"].values.tolist() == stimuli()["text"].tolist()
    assert recording["layer"].values.tolist() == [3, 7]
    step = provenance(recording)["steps"][-1]
    assert step["source"] == f"imported from x{suffix}, sha256 {sha256(path)}"


@pytest.mark.parametrize("suffix", [".npy", ".mat", ".safetensors"])
def test_dims_may_come_in_any_order_and_type(tmp_path, suffix):
    values = padded().transpose(2, 3, 0, 1).astype(np.float64)
    path = write(tmp_path / f"x{suffix}", values)
    recording = load_activations(path, stimuli(), dims=("layer", "feature", "stimulus", "token"), **AT)
    np.testing.assert_array_equal(recording.values, padded())
    assert recording.dtype == np.float32


def test_one_layer_needs_no_dim(tmp_path):
    path = write(tmp_path / "x.npy", padded()[:, :, 1])
    settings = {"dims": ("stimulus", "token", "feature"), "site": "mlp_post", "layers": [7]}
    recording = load_activations(path, stimuli(), **settings)
    np.testing.assert_array_equal(recording.values, padded()[:, :, 1:])


def test_lengths_mark_padding_that_is_zero(tmp_path):
    path = write(tmp_path / "x.npy", np.nan_to_num(padded()))
    recording = load_activations(path, stimuli(), lengths=LENGTHS, **AT)
    np.testing.assert_array_equal(recording.values, padded())


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_large_files_stay_on_disk_and_are_pooled_as_they_are(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("neurosae.recording.array_fit._BLOCK_BYTES", 1)
    path = write(tmp_path / f"x{suffix}", padded())
    recording = load_activations(path, stimuli(), **AT)
    assert recording.chunks[0] == (1, 1, 1, 1)
    pooled = ns.pool_tokens(recording)
    np.testing.assert_allclose(pooled.values, np.nanmean(padded(), axis=1), rtol=1e-5)
    assert not np.shares_memory(recording.values, padded())


@pytest.mark.parametrize("dims", [2, 3])
def test_what_has_no_tokens_becomes_responses(tmp_path, dims):
    values = padded()[:, 0] if dims == 3 else padded()[:, 0, 0]
    settings = AT if dims == 3 else {"site": "resid_post", "layers": [3]}
    responses = load_activations(write(tmp_path / "x.npy", values), stimuli(), **settings)
    assert responses.dims == ("stimulus", "layer", "feature")
    assert responses.name == "response"
    np.testing.assert_array_equal(responses.values.reshape(values.shape), values)
    assert ns.rdm(responses, unit="stimulus").sizes["layer"] == len(settings["layers"])
    saved = ns.save_netcdf(responses, tmp_path / "r.nc")
    assert ns.load_netcdf(saved).identical(responses)


@pytest.mark.parametrize("suffix", [".mat", ".safetensors"])
def test_labels_in_the_file_decide_the_order(tmp_path, suffix):
    turned = [2, 0, 3, 1]
    labels = {
        "stimulus": np.array([f"s{i}" for i in turned], dtype=object),
        "layer": [7, 3],
        "feature": [9, 4, 5],
    }
    path = write(tmp_path / f"x{suffix}", padded()[turned], **labels)
    recording = load_activations(path, stimuli(), site="resid_post")
    np.testing.assert_array_equal(recording.values, padded())
    assert recording["layer"].values.tolist() == [7, 3]
    assert recording["feature"].values.tolist() == [9, 4, 5]


@pytest.mark.parametrize("kind", ["matlab", "safetensors"])
def test_what_was_exported_comes_back(tmp_path, kind):
    responses = load_activations(write(tmp_path / "x.npy", padded()[:, 0]), stimuli(), **AT)
    suffix = {"matlab": ".mat", "safetensors": ".safetensors"}[kind]
    path = getattr(ns.export, f"to_{kind}")(responses[::-1], tmp_path / f"r{suffix}")
    back = load_activations(path, stimuli(), site="resid_post")
    np.testing.assert_array_equal(back.values, responses.values)


def write_cache(folder, values, monkeypatch):
    """A cache as the runner of sae-lens writes it."""
    runner = pytest.importorskip("sae_lens.cache_activations_runner")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    shards = folder / ".tmp_shards"
    shards.mkdir(parents=True)
    hook = "blocks.7.hook_resid_post"
    features = datasets.Features(
        {
            hook: datasets.Array2D(shape=values.shape[1:], dtype="float32"),
            "token_ids": datasets.Sequence(datasets.Value("int32"), length=values.shape[1]),
        }
    )
    for number, part in enumerate(np.array_split(values, 2)):
        ids = np.arange(part[..., 0].size, dtype=np.int32).reshape(part.shape[:2]) + 100 * number
        made = datasets.Dataset.from_dict({hook: part, "token_ids": ids}, features=features)
        made.save_to_disk(str(shards / f"shard_{number:05d}"), num_shards=1)
    runner.CacheActivationsRunner._consolidate_shards(shards, folder, copy_files=False)
    return folder


def test_a_cache_of_sae_lens_is_a_recording_of_its_contexts(tmp_path, monkeypatch):
    values = np.random.default_rng(1).normal(size=(4, 5, 3)).astype(np.float32)
    recording = load_activations(write_cache(tmp_path / "cache", values, monkeypatch), stimuli())
    np.testing.assert_array_equal(recording.values[:, :, 0], values)
    assert recording.attrs["site"] == "resid_post"
    assert recording["layer"].values.tolist() == [7]
    assert recording["token_id"].values[[0, 2], 1].tolist() == [1, 101]
    with pytest.raises(DesignError, match="was cached at 'resid_post', not 'mlp_post'"):
        load_activations(tmp_path / "cache", stimuli(), site="mlp_post")
    with pytest.raises(DesignError, match="4 stimuli and the table 3"):
        load_activations(tmp_path / "cache", stimuli(3))


def test_a_cache_that_names_files_elsewhere_is_refused(tmp_path, monkeypatch):
    folder = write_cache(tmp_path / "cache", np.ones((4, 5, 3), np.float32), monkeypatch)
    state = json.loads((folder / "state.json").read_text())
    (tmp_path / "other.arrow").write_bytes(b"")
    for name in ("../other.arrow", "gone.arrow"):
        state["_data_files"] = [{"filename": name}]
        (folder / "state.json").write_text(json.dumps(state))
        with pytest.raises(StorageError, match=f"'{name}' is missing"):
            load_activations(folder, stimuli())


def test_old_files_of_torch_are_read_where_that_is_said(tmp_path):
    for content in (torch.from_numpy(padded()), {"acts": torch.from_numpy(padded())}):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(StorageError, match=r"can run code.*read=neurosae\.subject\.pt_file\.read_pt"):
            load_activations(tmp_path / "x.pt", stimuli(), **AT)
        recording = load_activations(tmp_path / "x.pt", stimuli(), read=read_pt, **AT)
        np.testing.assert_array_equal(recording.values, padded())


def spoiled(what):
    values = padded()
    places = {
        "inf": (0, 0, 0, 0, np.inf),
        "part": (2, 1, 0, 1, np.nan),
        "silent": (3, 0, slice(None), slice(None), np.nan),
    }
    if what in places:
        *place, value = places[what]
        values[tuple(place)] = value
    return np.nan_to_num(values) if what == "zeros" else values


@pytest.mark.parametrize(
    ("what", "settings", "words"),
    [
        ("", {"dims": ("stimulus", "token", "feature")}, r"shape \(4, 5, 2, 3\) has dims .*Write dims="),
        ("", {"dims": ("stimulus", "token", "layer", "unit")}, "Write dims="),
        ("", {"dims": ("token", "stimulus", "layer", "feature")}, "5 stimuli and the table 4"),
        ("", {"layers": None}, "does not say which 2 layers"),
        ("", {"layers": [1, 1]}, "Name each once"),
        ("", {"layers": [1, 2, 3]}, "has 2 layers, and"),
        ("", {"site": None}, "Say where it was: resid_pre"),
        ("", {"lengths": [5, 2, 4]}, "4 whole numbers from 1 to 5"),
        ("", {"lengths": [5, 2, 4, 0]}, "4 whole numbers from 1 to 5"),
        ("", {"lengths": [5, 1, 4, 1]}, "'s1' go on after their lengths"),
        ("", {"lengths": [5, 3, 4, 1]}, "'s1' have NaN in a token that is no padding"),
        ("inf", {}, "'s0' have infinite values"),
        ("part", {}, "'s2' have NaN in a token that is no padding. Padding is NaN at all layers"),
        ("silent", {}, "'s3' have no token"),
        ("zeros", {}, "end in tokens of zeros. If they are padding, write lengths="),
        ("", {"variable": "x"}, "leave variable out"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, what, settings, words):
    path = write(tmp_path / "x.npy", spoiled(what))
    with pytest.raises((DesignError, StorageError), match=words):
        load_activations(path, stimuli(), **(AT | settings))


def test_responses_refuse_absent_values_and_lengths(tmp_path):
    values = padded()[:, 2]
    path = write(tmp_path / "x.npy", values)
    with pytest.raises(DesignError, match="'s1', 's3' have NaN or infinite values"):
        load_activations(path, stimuli(), **AT)
    with pytest.raises(DesignError, match="has no tokens"):
        load_activations(path, stimuli(), lengths=LENGTHS, **AT)


@pytest.mark.parametrize(
    ("labels", "settings", "words"),
    [
        ({"stimulus": ["s0", "s1", "s2", "x"]}, {}, "not in both, or twice: 's3', 'x'"),
        ({"stimulus": ["s0", "s1", "s2"]}, {}, "the file has 3 labels of stimuli and the table 4"),
        ({"layer": [1, 2]}, {"layers": [3, 7]}, r"the file has layers \[1, 2\], not \[3, 7\]"),
        ({"feature": [1, 2]}, {}, "has 3 features, and the file 2 labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, settings, words):
    path = write(tmp_path / "x.safetensors", padded(), **labels)
    with pytest.raises(DesignError, match=words):
        load_activations(
            path,
            stimuli(),
            **({"site": "resid_post", "layers": None if "layer" in labels else [3, 7]} | settings),
        )


def test_several_arrays_are_told_apart_by_name(tmp_path):
    save_file({"early": padded(), "late": padded() + 1}, tmp_path / "x.safetensors")
    with pytest.raises(StorageError, match=r"holds 2 arrays \(early, late\). Say which"):
        load_activations(tmp_path / "x.safetensors", stimuli(), **AT)
    with pytest.raises(StorageError, match="no array 'lat'; did you mean 'late'"):
        load_activations(tmp_path / "x.safetensors", stimuli(), variable="lat", **AT)
    late = load_activations(tmp_path / "x.safetensors", stimuli(), variable="late", **AT)
    np.testing.assert_array_equal(late.values, padded() + 1)
