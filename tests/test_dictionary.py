"""Dictionaries: the planted toy, and real sae-lens folders made here in each architecture."""

import json
import shutil

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sae_lens import (
    SAE,
    GatedSAE,
    GatedSAEConfig,
    JumpReLUSAE,
    JumpReLUSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
)

from neurosae.dictionary.hook_names import site_and_layer
from neurosae.dictionary.load import load_dictionary
from neurosae.dictionary.toy import ToyDictionary
from neurosae.errors import DictionaryError

D_IN, WIDTH = 6, 10
SIZES = {"d_in": D_IN, "d_sae": WIDTH, "device": "cpu", "dtype": "float32"}
MAKERS = {
    "standard": lambda: StandardSAE(StandardSAEConfig(**SIZES)),
    "topk": lambda: TopKSAE(TopKSAEConfig(k=3, rescale_acts_by_decoder_norm=True, **SIZES)),
    "jumprelu": lambda: JumpReLUSAE(JumpReLUSAEConfig(**SIZES)),
    "gated": lambda: GatedSAE(GatedSAEConfig(**SIZES)),
}
WEIGHTS, CONFIG = "sae_weights.safetensors", "cfg.json"


def saved(folder, architecture="standard", **metadata):
    sae = MAKERS[architecture]()
    generator = torch.Generator().manual_seed(3)
    for weight in sae.parameters():
        weight.data = torch.randn(weight.shape, generator=generator)
    if architecture == "jumprelu":
        sae.threshold.data = sae.threshold.data.abs()
    sae.save_model(folder)
    config = json.loads((folder / CONFIG).read_text())
    known = {"model_name": "toy", "hook_name": "blocks.2.hook_resid_pre"} | metadata
    config["metadata"] = {key: value for key, value in known.items() if value is not None}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def rows(n=40):
    return np.random.default_rng(1).standard_normal((n, D_IN)).astype(np.float32) * 2


def change_config(folder, **settings):
    config = json.loads((folder / CONFIG).read_text()) | settings
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize("architecture", MAKERS)
def test_codes_and_reconstruction_equal_those_of_sae_lens(tmp_path, architecture):
    folder = saved(tmp_path, architecture)
    ours, theirs = load_dictionary(folder), SAE.load_from_disk(folder)
    codes = ours.encode(rows())
    with torch.no_grad():
        expected = theirs.encode(torch.tensor(rows()))
        rebuilt = theirs.decode(expected).numpy()
    assert isinstance(codes, sp.csr_array)
    assert codes.dtype == np.float32
    assert 0 < codes.nnz < codes.shape[0] * codes.shape[1]
    np.testing.assert_allclose(codes.toarray(), expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(ours.decode(codes), rebuilt, atol=1e-5)


def test_batches_do_not_change_codes(tmp_path, monkeypatch):
    dictionary = load_dictionary(saved(tmp_path))
    whole = dictionary.encode(rows()).toarray()
    monkeypatch.setattr("neurosae.dictionary.load._BATCH_BYTES", 4 * WIDTH * 7)
    np.testing.assert_allclose(dictionary.encode(rows()).toarray(), whole, atol=1e-6)


def test_no_rows_give_no_codes(tmp_path):
    assert load_dictionary(saved(tmp_path)).encode(rows(0)).shape == (0, WIDTH)


def test_place_comes_from_the_metadata(tmp_path):
    dictionary = load_dictionary(saved(tmp_path))
    assert (dictionary.subject, dictionary.site, dictionary.layer) == ("toy", "resid_pre", 2)
    assert dictionary.describe()["told"] == {}


def test_missing_place_is_asked_for_and_recorded_as_told(tmp_path):
    folder = saved(tmp_path, hook_name=None)
    with pytest.raises(DictionaryError, match=r"does not name its site\. Tell it: site="):
        load_dictionary(folder)
    dictionary = load_dictionary(folder, site="mlp_out", layer=1)
    assert dictionary.describe()["told"] == {"site": "mlp_out", "layer": 1}


def test_place_against_the_metadata_is_refused(tmp_path):
    with pytest.raises(DictionaryError, match="belongs to site 'resid_pre', not 'mlp_out'"):
        load_dictionary(saved(tmp_path), site="mlp_out")


def test_nan_weights_are_refused(tmp_path):
    folder = saved(tmp_path)
    sae = SAE.load_from_disk(folder)
    sae.W_dec.data[0, 0] = float("nan")
    sae.save_model(folder)
    change_config(folder, metadata={"model_name": "toy", "hook_name": "blocks.2.hook_resid_pre"})
    with pytest.raises(DictionaryError, match=r"W_dec .* has NaN or infinite"):
        load_dictionary(folder)


def test_wrong_shapes_are_refused(tmp_path):
    change_config(saved(tmp_path), d_sae=WIDTH + 1)
    with pytest.raises(DictionaryError, match=r"W_enc .* has shape \(6, 10\), cfg.json asks for \(6, 11\)"):
        load_dictionary(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x10", "truncated or damaged"),
    ],
)
def test_what_is_no_weights_file_is_refused(tmp_path, content, message):
    (saved(tmp_path) / WEIGHTS).write_bytes(content)
    with pytest.raises(DictionaryError, match=message):
        load_dictionary(tmp_path)


def test_truncated_weights_are_refused(tmp_path):
    path = saved(tmp_path) / WEIGHTS
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DictionaryError, match="truncated or damaged"):
        load_dictionary(tmp_path)


def test_pickles_are_refused_without_being_read(tmp_path):
    folder = saved(tmp_path)
    shutil.move(folder / WEIGHTS, folder / "sae.pt")
    for path in (folder, folder / "sae.pt"):
        with pytest.raises(DictionaryError, match="can run code when it is read"):
            load_dictionary(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "transcoder"}, "holds the architecture 'transcoder'"),
        ({"normalize_activations": "layer_norm"}, "normalised by 'layer_norm'"),
        ({"d_in": "6"}, "gives d_in = '6'"),
    ],
)
def test_configurations_that_cannot_be_honoured_are_refused(tmp_path, settings, message):
    change_config(saved(tmp_path), **settings)
    with pytest.raises(DictionaryError, match=message):
        load_dictionary(tmp_path)


def test_rows_of_another_width_are_refused(tmp_path):
    with pytest.raises(DictionaryError, match="encodes rows of width 6"):
        load_dictionary(saved(tmp_path)).encode(np.zeros((2, 7), dtype=np.float32))


@pytest.mark.parametrize("name", ["blocks.1.hook_resid_middle", "resid_post", "blocks.x.hook_resid_pre"])
def test_unknown_hook_names_are_refused(name):
    with pytest.raises(DictionaryError, match="stands for no site"):
        site_and_layer(name)


def test_planted_codes_are_recovered():
    toy = ToyDictionary(8, 16, seed=4)
    planted = sp.random_array((30, 8), density=0.3, rng=np.random.default_rng(0), dtype=np.float32)
    planted = sp.csr_array(planted.toarray() * 2)
    planted.data += np.float32(0.2)
    np.testing.assert_allclose(toy.encode(toy.decode(planted)).toarray(), planted.toarray(), atol=1e-5)


def test_codes_follow_their_rows():
    toy, order = ToyDictionary(5, D_IN), np.random.default_rng(2).permutation(40)
    assert np.array_equal(toy.encode(rows()[order]).toarray(), toy.encode(rows()).toarray()[order])


def test_toy_refuses_more_features_than_dimensions():
    with pytest.raises(DictionaryError, match="needs 1 to 4 features"):
        ToyDictionary(5, 4)
