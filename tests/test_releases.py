"""Dictionaries by name: releases in the layout of their repositories, and those that are shipped."""

import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from sae_lens import SAE, JumpReLUSAE, JumpReLUSAEConfig, StandardSAE, StandardSAEConfig
from safetensors.torch import save_file

from neurosae.dictionary import releases
from neurosae.dictionary.catalogue import (
    check_dictionary,
    dictionary_recipe,
    make_dictionary,
    open_dictionary,
)
from neurosae.dictionary.load import load_dictionary
from neurosae.errors import DictionaryError

D_IN, WIDTH = 6, 10
SIZES = {"d_in": D_IN, "d_sae": WIDTH, "device": "cpu", "dtype": "float32"}
RES_JB = "gpt2-small-res-jb/blocks.6.hook_resid_pre"
GEMMA = "gemma-scope-2b-pt-res/layer_0/width_16k/average_l0_226"


@pytest.fixture(autouse=True)
def repositories(tmp_path, monkeypatch):
    """A folder of repositories, and an empty cache of Hugging Face."""
    monkeypatch.setenv("NEUROSAE_DICTIONARIES", str(tmp_path / "local"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "local"


def autoencoder(kind=StandardSAE, config=StandardSAEConfig):
    sae = kind(config(**SIZES))
    generator = torch.Generator().manual_seed(3)
    for weight in sae.parameters():
        weight.data = torch.randn(weight.shape, generator=generator)
    return sae


def rows(n=40):
    return np.random.default_rng(1).standard_normal((n, D_IN)).astype(np.float32) * 2


def saved(folder, sae=None, **settings):
    (sae or autoencoder()).save_model(folder)
    config = json.loads((folder / "cfg.json").read_text()) | settings
    known = {"model_name": "toy", "hook_name": "blocks.2.hook_resid_pre"}
    (folder / "cfg.json").write_text(json.dumps({"metadata": known, **config, **{"metadata": known}}))
    return folder


def published(folder):
    """A dictionary as it was published before sae-lens 6: all settings on one level."""
    autoencoder().save_model(folder)
    config = {
        "model_name": "gpt2-small",
        "hook_point": "blocks.6.hook_resid_pre",
        "hook_point_layer": 6,
        "d_in": D_IN,
        "d_sae": WIDTH,
        "dtype": "torch.float32",
        "context_size": 128,
    }
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def arrays():
    sae = autoencoder(JumpReLUSAE, JumpReLUSAEConfig)
    named = {name: its.detach().numpy() for name, its in sae.state_dict().items()}
    return named | {"threshold": np.abs(named["threshold"])}


def test_a_release_is_found_in_the_layout_of_its_repository(repositories):
    published(repositories / "jbloom/GPT2-Small-SAEs-Reformatted/blocks.6.hook_resid_pre")
    found = load_dictionary(RES_JB)
    assert (found.subject, found.site, found.layer) == ("gpt2-small", "resid_pre", 6)
    assert found.name == "gpt2-small-res-jb-blocks.6.hook_resid_pre"
    assert found.metadata["published_l0"] == 51
    with torch.no_grad():
        expected = autoencoder().encode(torch.tensor(rows())).numpy()
    np.testing.assert_allclose(found.encode(rows()).toarray(), expected, atol=1e-6)
    again = make_dictionary(dictionary_recipe(found))
    assert again.describe() == found.describe()
    assert open_dictionary(RES_JB).name == found.name


def test_a_release_is_found_in_the_cache_of_hugging_face(tmp_path):
    root = tmp_path / "cache/models--jbloom--GPT2-Small-SAEs-Reformatted"
    (root / "refs").mkdir(parents=True)
    (root / "refs/main").write_text("abc")
    published(root / "snapshots/abc/blocks.6.hook_resid_pre")
    assert load_dictionary(RES_JB).n_features == WIDTH


def test_an_absent_release_says_what_to_put_where(repositories):
    said = (
        r"not on this machine. Fetch it with: hf download jbloom/GPT2-Small-SAEs-Reformatted --include "
        r"'blocks.6.hook_resid_pre/\*'. .* copy cfg.json and sae_weights.safetensors to "
        r"jbloom/GPT2-Small-SAEs-Reformatted/blocks.6.hook_resid_pre/ below a folder, and set "
    )
    with pytest.raises(DictionaryError, match=said):
        load_dictionary(RES_JB)
    with pytest.raises(DictionaryError, match="not on this machine"):
        check_dictionary(RES_JB)


def test_a_part_of_a_release_is_not_taken_for_the_whole(repositories):
    folder = published(repositories / "jbloom/GPT2-Small-SAEs-Reformatted/blocks.6.hook_resid_pre")
    (folder / "sae_weights.safetensors").unlink()
    with pytest.raises(DictionaryError, match="not on this machine"):
        load_dictionary(RES_JB)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpt2-small-res-jb/blocks.6.hook_resid_per", "did you mean 'blocks.6.hook_resid_pre'"),
        ("gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_76", "is a transcoder"),
        ("gpt2-small-res-jb", "no dictionary at gpt2-small-res-jb"),
        ("../gpt2-small-res-jb/1", "no dictionary at"),
    ],
)
def test_names_that_are_none_are_refused(name, said):
    with pytest.raises(DictionaryError, match=said):
        load_dictionary(name)


def test_a_format_that_is_not_read_is_refused_with_a_way_round():
    release = next(
        its for its, known in releases._directory().items() if known.get("conversion_func") == "goodfire"
    )
    its_id = releases._directory()[release]["saes"][0]["id"]
    with pytest.raises(DictionaryError, match="format 'goodfire', which is not read"):
        load_dictionary(f"{release}/{its_id}")


def test_gemma_scope_is_read_and_placed_by_its_release(repositories):
    folder = repositories / "google/gemma-scope-2b-pt-res/layer_0/width_16k/average_l0_226"
    folder.mkdir(parents=True)
    held = arrays()
    np.savez(folder / "params.npz", **held)
    found = load_dictionary(GEMMA)
    assert (found.subject, found.site, found.layer) == ("gemma-2-2b", "resid_post", 0)
    pre = rows() @ held["W_enc"] + held["b_enc"]
    expected = np.where(pre > held["threshold"], np.maximum(pre, 0), 0)
    np.testing.assert_allclose(found.encode(rows()).toarray(), expected, atol=1e-5)
    np.testing.assert_allclose(
        found.decode(found.encode(rows())), expected @ held["W_dec"] + held["b_dec"], atol=1e-4
    )
    again = make_dictionary(dictionary_recipe(found))
    assert again.describe() == found.describe()
    bare = shutil.copytree(folder, repositories / "bare")
    with pytest.raises(DictionaryError, match="does not name its subject"):
        load_dictionary(bare)
    told = load_dictionary(bare, subject="gemma-2-2b", site="resid_post", layer=0)
    assert told.describe()["told"] == {"subject": "gemma-2-2b", "site": "resid_post", "layer": 0}


def test_gemma_scope_files_that_are_damaged_are_refused(tmp_path):
    place = {"subject": "gemma-2-2b", "site": "resid_post", "layer": 0}
    held = arrays()
    path = tmp_path / "params.npz"
    for changed, said in (
        ({"W_dec": held["W_dec"][:3]}, r"W_dec .* has shape \(3, 6\)"),
        ({"b_enc": held["b_enc"] * np.nan}, "NaN or infinite"),
        ({"scaling_factor": np.full(WIDTH, 2.0)}, "scales features"),
        ({"W_enc": np.array([{"a": 1}], dtype=object)}, "truncated, damaged or pickled"),
    ):
        np.savez(path, **(held | changed))
        with pytest.raises(DictionaryError, match=said):
            load_dictionary(tmp_path, **place)
    np.savez(path, **held)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DictionaryError, match="truncated, damaged"):
        load_dictionary(tmp_path, **place)
    path.write_bytes(b"\x80\x04abc")
    with pytest.raises(DictionaryError, match="pickle"):
        load_dictionary(tmp_path, **place)


def test_llama_scope_is_read_as_sae_lens_reads_it(repositories):
    known = releases._directory()["llama_scope_lxr_8x"]
    entry = known["saes"][3]
    folder = repositories / known["repo_id"] / entry["path"]
    (folder / "checkpoints").mkdir(parents=True)
    held = {name: torch.tensor(its) for name, its in arrays().items()}
    settings = {
        "d_model": D_IN,
        "d_sae": WIDTH,
        "jump_relu_threshold": 0.5,
        "dataset_average_activation_norm": {"in": 4.0},
        "hook_point_in": "blocks.3.hook_resid_post",
    }
    (folder / "hyperparams.json").write_text(json.dumps(settings))
    tensors = {
        "encoder.weight": held["W_enc"].T,
        "decoder.weight": held["W_dec"].T,
        "encoder.bias": held["b_enc"],
        "decoder.bias": held["b_dec"],
    }
    save_file(
        {name: its.contiguous() for name, its in tensors.items()}, folder / "checkpoints/final.safetensors"
    )
    found = load_dictionary(f"llama_scope_lxr_8x/{entry['id']}")
    scale = float(entry["norm_scaling_factor"])
    pre = rows() @ held["W_enc"].numpy() * scale + held["b_enc"].numpy()
    expected = np.where(pre > 0.5 * D_IN**0.5 / 4, np.maximum(pre, 0), 0)
    np.testing.assert_allclose(found.encode(rows()).toarray(), expected, atol=1e-4)
    rebuilt = (expected @ held["W_dec"].numpy() + held["b_dec"].numpy()) / scale
    np.testing.assert_allclose(found.decode(found.encode(rows())), rebuilt, rtol=1e-3, atol=1e-3)
    assert (found.site, found.layer) == ("resid_post", 3)
    (folder / "hyperparams.json").write_text("{}")
    with pytest.raises(DictionaryError, match="incomplete or damaged"):
        load_dictionary(f"llama_scope_lxr_8x/{entry['id']}")


@pytest.mark.parametrize("how", ["told", "stored"])
def test_a_scaled_dictionary_is_folded_exactly(tmp_path, how):
    saved(tmp_path / "d", normalize_activations="expected_average_only_in")
    if how == "stored":
        (tmp_path / "d/activation_scaler.json").write_text('{"scaling_factor": 0.25}')
        found = load_dictionary(tmp_path / "d")
        assert found.describe()["told"] == {}
        with pytest.raises(DictionaryError, match=r"has scale 0.25, not 0.5"):
            load_dictionary(tmp_path / "d", scale=0.5)
    else:
        with pytest.raises(DictionaryError, match=r"Tell it: scale="):
            load_dictionary(tmp_path / "d")
        found = load_dictionary(tmp_path / "d", scale=0.25)
        assert found.describe()["told"] == {"scale": 0.25}
        assert make_dictionary(dictionary_recipe(found)).describe() == found.describe()
        with pytest.raises(DictionaryError, match="no positive number"):
            load_dictionary(tmp_path / "d", scale=-1.0)
    plain = autoencoder()
    with torch.no_grad():
        codes = plain.encode(torch.tensor(rows() * 0.25))
        rebuilt = plain.decode(codes).numpy() / 0.25
    np.testing.assert_allclose(found.encode(rows()).toarray(), codes.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.decode(found.encode(rows())), rebuilt, rtol=1e-4, atol=1e-4)


def test_a_scale_for_a_dictionary_of_raw_activations_is_refused(tmp_path):
    with pytest.raises(DictionaryError, match=r"is of raw activations\. Leave scale out"):
        load_dictionary(saved(tmp_path), scale=2.0)


@pytest.mark.parametrize("how", ["layer_norm", "constant_norm_rescale"])
def test_normalisation_by_token_is_refused(tmp_path, how):
    with pytest.raises(DictionaryError, match="each token by its own length"):
        load_dictionary(saved(tmp_path, normalize_activations=how))


@pytest.mark.parametrize("architecture", ["transcoder", "jumprelu_transcoder", "skip_transcoder"])
def test_transcoders_are_refused(tmp_path, architecture):
    with pytest.raises(DictionaryError, match="reads one site and writes another"):
        load_dictionary(saved(tmp_path, architecture=architecture))


def test_shipped_dictionaries_are_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(releases, "SHIPPED", tmp_path / "shipped")
    saved(tmp_path / "shipped/smollm2-135m/l15-btk")
    assert releases.shipped_names() == ["smollm2-135m/l15-btk"]
    monkeypatch.chdir(tmp_path)
    found = load_dictionary("smollm2-135m/l15-btk")
    assert found.name == "l15-btk"
    assert open_dictionary("smollm2-135m/l15-btk").describe() == found.describe()
    check_dictionary("smollm2-135m/l15-btk")
    with pytest.raises(DictionaryError, match="did you mean 'smollm2-135m/l15-btk'"):
        check_dictionary("smollm2-135m/l15-btc")
    assert make_dictionary(dictionary_recipe(found)).name == "l15-btk"


def test_names_do_not_lead_out_of_the_shipped_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(releases, "SHIPPED", tmp_path / "shipped")
    saved(tmp_path / "other/d")
    assert releases.shipped_folder("../other/d") is None


def test_the_folder_is_still_one_of_sae_lens(tmp_path):
    assert SAE.load_from_disk(saved(tmp_path)).cfg.d_in == D_IN
