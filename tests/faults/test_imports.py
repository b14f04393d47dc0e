"""Files that could run code, or are not what they are called, are refused; memory is bounded."""

import json
import pickle
import resource
import zipfile

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file
from scipy.io import savemat

from neurosae.dictionary.load import load_dictionary
from neurosae.errors import DictionaryError, NeurosaeError, StorageError
from neurosae.recording import array_files
from neurosae.recording.imports import load_activations
from neurosae.subject.pt_file import read_pt

STIMULI = pd.DataFrame({"stimulus": ["a", "b"], "text": ["so", "be"]})
VALUES = np.ones((2, 1, 4), dtype=np.float32)


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return open, (str(self.sentinel), "w")


def load(path, **settings):
    return load_activations(path, STIMULI, site="resid_post", layers=[0], **settings)


def write_pt(path, content):
    torch.save({"acts": torch.ones(2, 1, 4), "extra": content}, path)


def write_old_pt(path, content):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_pickle(path, content):
    path.write_bytes(pickle.dumps(content))


def write_npy(path, content):
    np.save(path, np.array([content, content], dtype=object), allow_pickle=True)


def write_joblib(path, content):
    joblib.dump({"acts": content}, path)


MALICIOUS = {
    "x.pt": write_pt,
    "old.pt": write_old_pt,
    "x.pth": write_pt,
    "x.pkl": write_pickle,
    "x.npy": write_npy,
    "x.joblib": write_joblib,
    "bare.npy": write_pickle,
    "bare.safetensors": write_pickle,
    "bare.mat": write_pickle,
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_fault_26_what_can_run_code_is_refused_and_nothing_runs(tmp_path, name):
    sentinel, path = tmp_path / "sentinel", tmp_path / name
    MALICIOUS[name](path, Malicious(sentinel))
    with pytest.raises(StorageError, match="run code"):
        load(path)
    assert not sentinel.exists()


@pytest.mark.parametrize("name", ["x.pt", "old.pt", "x.pkl"])
def test_fault_26_nothing_runs_where_torch_files_are_asked_for(tmp_path, name):
    sentinel, path = tmp_path / "sentinel", tmp_path / name
    MALICIOUS[name](path, Malicious(sentinel))
    with pytest.raises(StorageError, match="holds more than tensors, and is refused"):
        load(path, read=read_pt)
    assert not sentinel.exists()


def test_fault_26_the_sentinel_would_be_touched(tmp_path):
    """Without the refusals, what these tests write does run."""
    write_pickle(tmp_path / "x.pkl", Malicious(tmp_path / "sentinel"))
    pickle.loads((tmp_path / "x.pkl").read_bytes()).close()
    assert (tmp_path / "sentinel").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.pkl", "x.joblib"])
def test_fault_26_a_dictionary_that_can_run_code_is_refused(tmp_path, name):
    sentinel, folder = tmp_path / "sentinel", tmp_path / "sae"
    folder.mkdir()
    (folder / "cfg.json").write_text('{"d_in": 4, "d_sae": 8, "architecture": "standard"}')
    MALICIOUS[name](folder / name, Malicious(sentinel))
    with pytest.raises(DictionaryError, match="can run code"):
        load_dictionary(folder)
    assert not sentinel.exists()


def raw(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(start, stop):
    return {"dtype": "F32", "shape": [2, 1, 4], "data_offsets": [start, stop]}


def intact(tmp_path):
    save_file({"activation": VALUES}, tmp_path / "intact.safetensors")
    return (tmp_path / "intact.safetensors").read_bytes()


def many_tensors(n=100_000):
    header = {
        f"tensor{i}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i in range(n)
    }
    return raw(header, bytes(4 * n))


DAMAGED = {
    "empty": (lambda whole: b"", "is empty"),
    "three bytes": (lambda whole: whole[:3], "truncated or damaged"),
    "header alone": (lambda whole: whole[:-32], "truncated or damaged"),
    "one byte short": (lambda whole: whole[:-1], "truncated or damaged"),
    "header of 2**60": (lambda whole: (2**60).to_bytes(8, "little") + whole[8:], "truncated or damaged"),
    "overlapping": (
        lambda whole: raw({"a": tensor(0, 32), "b": tensor(16, 48)}, bytes(48)),
        "truncated or damaged",
    ),
    "wrong size": (lambda whole: raw({"a": tensor(0, 16)}, bytes(16)), "truncated or damaged"),
    "trailing bytes": (lambda whole: whole + b"more", "truncated or damaged"),
    "nested": (lambda whole: raw(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "truncated or damaged"),
    "100,000 tensors": (lambda whole: many_tensors(), "holds 100,000 tensors"),
    "HTML": (lambda whole: b"\n<!DOCTYPE html>\n<html><title>404 Not Found</title>", "looks like a web page"),
    "LFS": (
        lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:ab",
        "looks like a Git LFS pointer",
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
@pytest.mark.parametrize("reader", ["activations", "dictionary"])
def test_fault_27_damaged_safetensors_are_refused_within_bounded_memory(tmp_path, what, reader):
    make, words = DAMAGED[what]
    folder = tmp_path / "sae"
    folder.mkdir()
    (folder / "cfg.json").write_text(
        '{"d_in": 4, "d_sae": 8, "architecture": "standard", '
        '"metadata": {"model_name": "toy", "hook_name": "blocks.0.hook_resid_post"}}'
    )
    path = folder / "sae_weights.safetensors"
    path.write_bytes(make(intact(tmp_path)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NeurosaeError, match=words):
        load(path) if reader == "activations" else load_dictionary(folder)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 250_000  # kilobytes


@pytest.mark.parametrize("suffix", [".npy", ".mat"])
@pytest.mark.parametrize("what", ["empty", "cut", "HTML", "LFS", "noise"])
def test_other_damaged_files_are_refused(tmp_path, suffix, what):
    path = tmp_path / f"x{suffix}"
    np.save(path, VALUES) if suffix == ".npy" else savemat(path, {"activation": VALUES}, do_compression=True)
    whole = path.read_bytes()
    content = {"cut": whole[:-9], "noise": np.random.default_rng(0).bytes(400)}
    words = {"cut": "truncated or damaged", "noise": "truncated or damaged|Arrays|no array"}
    path.write_bytes(content[what] if what in content else DAMAGED[what][0](whole))
    with pytest.raises(StorageError, match=words.get(what) or DAMAGED[what][1]):
        load(path)


def test_an_array_file_that_goes_on_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", VALUES)
    with open(tmp_path / "x.npy", "ab") as file:
        file.write(b"more")
    with pytest.raises(StorageError, match="goes on after its array"):
        load(tmp_path / "x.npy")


def test_bombs_are_refused_before_they_unpack(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "LARGEST_INFLATED", 2**20)
    savemat(tmp_path / "x.mat", {"activation": np.zeros((2, 1, 2**20))}, do_compression=True)
    with pytest.raises(StorageError, match=r"grows beyond 0\.0 GB when it is read"):
        load(tmp_path / "x.mat")
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(2**26))
    with pytest.raises(StorageError, match=r"unpacks to 67\.1 MB from"):
        load(tmp_path / "x.pt", read=read_pt)


@pytest.mark.parametrize("name", ["x.npz", "x.h5", "x", "x.csv"])
def test_unknown_kinds_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(StorageError, match=r"no kind that is read: \.npy, \.mat, \.safetensors"):
        load(tmp_path / name)
    with pytest.raises(StorageError, match="no such file"):
        load(tmp_path / "gone.npy")
