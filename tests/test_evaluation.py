"""How good a dictionary is: numbers of sae-lens, planted dictionaries, sinks, and what cannot be judged."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sae_lens import SAE, StandardSAE, StandardSAEConfig
from sae_lens.evals import get_recons_loss, get_sparsity_and_variance_metrics
from sae_lens.training.activation_scaler import ActivationScaler

from neurosae.dictionary.load import load_dictionary
from neurosae.dictionary.random_weights import RandomDictionary
from neurosae.dictionary.toy import ToyDictionary
from neurosae.errors import DesignError, DictionaryError
from neurosae.recording.evaluation import evaluate_dictionary, row_measures
from neurosae.recording.evaluation_rows import EvaluationRows, evaluation_rows, evaluation_windows
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.subject.catalogue import load_subject
from neurosae.subject.loading import boot_bridge
from neurosae.subject.toy import ToySubject
from tests.test_subject import CONFIGS, make_model

TEXTS = ["the keys to the cabinet are here", "the key is here", "paris is in france", "the dogs see a cat"]
HOOK = "blocks.1.hook_resid_post"
LONG = "The keys to the cabinet are on the table. A dog and then once more the the the keys"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("llama"), *CONFIGS["llama"])
    return load_subject(str(folder), device="cpu"), folder


@pytest.fixture(scope="module")
def dictionary_folder(model, tmp_path_factory):
    subject, _ = model
    sae = StandardSAE(StandardSAEConfig(d_in=32, d_sae=48, device="cpu", dtype="float32"))
    generator = torch.Generator().manual_seed(1)
    for weight in sae.parameters():
        weight.data = 0.2 * torch.randn(weight.shape, generator=generator)
    sae.cfg.metadata.hook_name, sae.cfg.metadata.model_name = HOOK, subject.name
    folder = tmp_path_factory.mktemp("sae")
    sae.save_model(folder)
    return folder


class Store:
    """Hands sae-lens one batch of tokens."""

    def __init__(self, tokens):
        self.tokens = tokens

    def get_batch_tokens(self, _size):
        return self.tokens


@pytest.fixture(scope="module")
def lens(model):
    subject, folder = model
    bridge = boot_bridge(subject.model, folder)
    bridge.enable_compatibility_mode(disable_warnings=True, no_processing=True)
    windows = evaluation_windows(subject, [LONG], n_tokens=1000, context=8)
    whole = [window for window in windows if len(window) == 8]
    return bridge, torch.from_numpy(np.stack([window.token_id for window in whole])), whole


@pytest.mark.parametrize("scope", ["ordinary", "everywhere"])
def test_rows_are_judged_as_by_sae_lens(model, dictionary_folder, lens, scope):
    bridge, ids, windows = lens
    sae, ours = SAE.load_from_disk(dictionary_folder), load_dictionary(dictionary_folder)
    special = sorted({int(i) for window in windows for i in window.token_id[window.is_special]})
    with torch.inference_mode():
        theirs, features = get_sparsity_and_variance_metrics(
            sae,
            bridge,
            Store(ids),
            ActivationScaler(),
            n_batches=1,
            compute_l2_norms=True,
            compute_sparsity_metrics=True,
            compute_variance_metrics=True,
            compute_featurewise_density_statistics=True,
            eval_batch_size_prompts=len(ids),
            model_kwargs={},
            ignore_tokens=special if scope == "ordinary" else None,
        )
    rows = evaluation_rows(model[0], windows, "resid_post", 1, sink_ratio=1e6)
    found = row_measures(ours, rows)
    at = ["ordinary", "with_sinks", "everywhere"].index(scope)
    for name, key in {
        "l0": "l0",
        "mse": "mse",
        "explained_variance": "explained_variance",
        "cosine": "cossim",
        "bias": "relative_reconstruction_bias",
        "length_ratio": "l2_ratio",
    }.items():
        np.testing.assert_allclose(found[name][1][at], theirs[key], rtol=2e-5, err_msg=name)
    if scope == "ordinary":
        np.testing.assert_allclose(found["firing_rate"][1], features["feature_density"], atol=1e-6)


def test_cross_entropy_and_divergence_are_those_of_sae_lens(model, dictionary_folder, lens):
    bridge, ids, windows = lens
    sae = SAE.load_from_disk(dictionary_folder)
    with torch.inference_mode():
        theirs = get_recons_loss(sae, bridge, ActivationScaler(), ids, True, True)
    texts = [LONG]
    found = evaluate_dictionary(
        load_dictionary(dictionary_folder), model[0], texts, n_tokens=7 * len(windows), context=8
    )
    entropy = found["cross_entropy"].to_series()
    for name, key in {
        "intact": "ce_loss_without_sae",
        "rebuilt_everywhere": "ce_loss_with_sae",
        "zero_everywhere": "ce_loss_with_ablation",
    }.items():
        np.testing.assert_allclose(entropy[name], theirs[key].mean(), rtol=1e-5, err_msg=name)
    # sae-lens counts the prediction after the last token of a window too, which no token answers
    divergence = found["divergence"].to_series()
    for name, key in {
        "rebuilt_everywhere": "kl_div_with_sae",
        "zero_everywhere": "kl_div_with_ablation",
    }.items():
        np.testing.assert_allclose(divergence[name], theirs[key][:, :-1].mean(), rtol=1e-4, err_msg=name)
    score = (entropy["zero_everywhere"] - entropy["rebuilt_everywhere"]) / (
        entropy["zero_everywhere"] - entropy["intact"]
    )
    np.testing.assert_allclose(found["ce_recovered_everywhere"], score)


class Halved(ToyDictionary):
    """Rebuilds half of what it reads."""

    def decode(self, codes):
        return np.asarray(codes @ self.decoder / 2 + self.bias / 2, dtype=np.float32)


def whole(kind=ToyDictionary, layer=2):
    return kind(32, 32, threshold=0.0, shift=1000.0, layer=layer)


def test_a_dictionary_that_keeps_everything_loses_nothing():
    found = evaluate_dictionary(whole(), ToySubject(), TEXTS)
    np.testing.assert_allclose(found["explained_variance"], 1, atol=1e-4)
    np.testing.assert_allclose(found["bias"], 1, atol=1e-3)
    np.testing.assert_array_equal(found["l0"], 32)
    np.testing.assert_allclose(found["ce_recovered_zero"], 1, atol=1e-3)
    np.testing.assert_allclose(found["ce_recovered_mean"], 1, atol=1e-3)
    assert float(found["dead"]) == 0
    assert float(found["dense"]) == 1


def test_shrunk_reconstructions_have_a_bias_of_their_scale():
    found = evaluate_dictionary(whole(Halved), ToySubject(), TEXTS)
    np.testing.assert_allclose(found["bias"], 0.5, atol=1e-3)
    np.testing.assert_allclose(found["length_ratio"], 0.5, atol=1e-3)
    np.testing.assert_allclose(found["cosine"], 1, atol=1e-3)


def test_random_directions_rebuild_little_and_change_what_the_subject_says():
    dictionary = RandomDictionary(40, 32, k=2, layer=2)
    found = evaluate_dictionary(dictionary, ToySubject(), TEXTS)
    assert float(found["explained_variance"].sel(scope="ordinary")) < 0.5
    kept = evaluate_dictionary(whole(), ToySubject(), TEXTS)
    divergence, least = (float(each["divergence"].sel(intervention="rebuilt")) for each in (found, kept))
    assert divergence > 0.01
    assert least < 1e-6


class Planted:
    """Codes of rows that are known, one feature never active."""

    name, n_features, d_in, site, layer, subject = "planted", 3, 2, "resid_post", 0, "toy"
    decoder = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=np.float32)

    def encode(self, rows):
        return sp.csr_array(np.column_stack([np.maximum(rows, 0), np.zeros(len(rows))]).astype(np.float32))

    def decode(self, codes):
        return np.asarray(codes @ self.decoder)


def test_sinks_and_special_tokens_are_kept_apart():
    values = np.array([[1, 0], [2, 3], [0, 1], [500, -500], [-9, 0]], dtype=np.float32)
    rows = EvaluationRows(values, np.array([False, False, False, False, True]), max_norm=10.0)
    found = row_measures(Planted(), rows)
    assert found["n_rows"][1] == [3, 4, 5]
    np.testing.assert_allclose(found["l0"][1], [4 / 3, 5 / 4, 1])
    np.testing.assert_allclose(found["mse"][1], [0, 250000 / 4, (250000 + 81) / 5])
    np.testing.assert_allclose(found["firing_rate"][1], [2 / 3, 2 / 3, 0])
    np.testing.assert_allclose(found["mean_code"][1], [1.5, 2, np.nan])
    np.testing.assert_allclose(found["nearest_cosine"][1], [np.sqrt(0.5)] * 3, rtol=1e-6)
    np.testing.assert_allclose(found["dead"][1], 1 / 3)
    assert found["rate_count"][1].sum() == 2


def test_blocks_of_rows_do_not_change_measures(monkeypatch):
    toy = ToySubject()
    rows = evaluation_rows(toy, toy.tokenize(TEXTS), "resid_post", 2)
    dictionary = ToyDictionary(16, 32, layer=2)
    at_once = row_measures(dictionary, rows)
    monkeypatch.setattr("neurosae.recording.evaluation._ROWS_AT_ONCE", 5)
    for name, (_, values) in row_measures(dictionary, rows).items():
        np.testing.assert_allclose(values, at_once[name][1], rtol=1e-6, err_msg=name)


def test_batches_do_not_change_what_is_lost():
    dictionary = ToyDictionary(16, 32, layer=2)
    one, many = (
        evaluate_dictionary(dictionary, ToySubject(), TEXTS, batch_tokens=size) for size in (10_000, 8)
    )
    np.testing.assert_allclose(one["cross_entropy"], many["cross_entropy"], rtol=1e-6)
    np.testing.assert_allclose(one["divergence"], many["divergence"], atol=1e-9)


def test_windows_begin_with_what_begins_a_text_and_hold_every_token_once():
    toy = ToySubject()
    windows = evaluation_windows(toy, TEXTS, n_tokens=1000, context=4)
    assert all(window.is_special[0] and not window.is_special[1:].any() for window in windows)
    assert max(map(len, windows)) == 4
    words = [str(word) for window in windows for word in window.token_str[1:]]
    assert words == " ".join(TEXTS).split()
    assert len(evaluation_windows(toy, TEXTS, n_tokens=5, context=4)) == 2


def test_a_result_says_which_tokens_it_was_judged_on():
    dictionary, toy = ToyDictionary(16, 32, layer=2), ToySubject()
    runs = [
        evaluate_dictionary(dictionary, toy, TEXTS, n_tokens=n, batch_tokens=size)
        for n, size in ((9, 64), (9, 8), (4, 64))
    ]
    first, same, other = (found.attrs["tokens_sha256"] for found in runs)
    assert first == same != other


def test_a_result_survives_its_file(tmp_path):
    found = evaluate_dictionary(ToyDictionary(16, 32, layer=2), ToySubject(), TEXTS)
    save_netcdf(found, tmp_path / "found.nc")
    assert load_netcdf(tmp_path / "found.nc").identical(found)


@pytest.mark.parametrize(
    ("dictionary", "options", "error", "words"),
    [
        (ToyDictionary(16, 32, subject="gpt2"), {}, DictionaryError, "dictionary of subject 'gpt2'"),
        (ToyDictionary(16, 32, layer=9), {}, DictionaryError, "dictionary of layer 9"),
        (ToyDictionary(16, 30), {}, DictionaryError, "dictionary of width 30"),
        (ToyDictionary(16, 32), {"context": 1}, DesignError, "context is 1; windows have 2 to 512 tokens"),
        (ToyDictionary(16, 32), {"texts": [""]}, DesignError, "1 texts hold 0 tokens; at least 2"),
        (ToyDictionary(16, 32), {"sink_ratio": 0.0}, DesignError, "0 tokens are ordinary"),
    ],
)
def test_what_cannot_be_judged_is_refused(dictionary, options, error, words):
    with pytest.raises(error, match=words):
        evaluate_dictionary(dictionary, ToySubject(), **({"texts": TEXTS} | options))
