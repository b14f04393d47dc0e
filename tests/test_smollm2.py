"""The embedded subject, with its real weights."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from neurosae.subject import smollm2
from neurosae.subject.batching import batches
from neurosae.subject.catalogue import load_subject, subject_card
from neurosae.subject.interface import Edit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not smollm2.is_available(), reason=f"no weights; get them: {smollm2.HOW_TO_GET}"),
]

TEXTS = [
    "The keys to the cabinet are on the table.",
    "Paris is the capital of France, and Rome is the capital of Italy.",
    "She was overjoyed.",
    "In 1912 the ship sank; 1,500 people died.",
]
LAYERS = range(30)


@pytest.fixture(scope="session")
def subject():
    return load_subject("smollm2-135m", device="cpu")


def test_the_card_says_what_the_subject_is(subject):
    card = subject_card("smollm2-135m")
    assert (card.n_layers, card.d_model, card.context_length) == (
        subject.n_layers,
        subject.d_model,
        subject.context_length,
    )
    tokenizer = card.load_tokenizer()
    assert tokenizer.special_strings == card.special_strings
    for ours, theirs in zip(tokenizer.tokenize(TEXTS), subject.tokenize(TEXTS), strict=True):
        np.testing.assert_array_equal(ours.token_id, theirs.token_id)


def test_bos_is_im_start_and_digits_stand_alone(subject):
    text = subject.tokenize(["born  1912"])[0]
    assert text.token_id[0] == 1
    # Two spaces before a digit are one token only if digits are cut off first, as in training.
    assert text.token_str.tolist() == ["<|im_start|>", "born", "ĠĠ", "1", "9", "1", "2"]
    assert subject.describe()["prepend_bos"] is True


def test_batches_read_as_texts_alone_and_as_hugging_face(subject):
    tokens = subject.tokenize(TEXTS)
    together = subject.run(tokens, sites={"resid_post": LAYERS}, surprisal=True)
    values, start = together.activations["resid_post"], 0
    for text in tokens:
        with torch.inference_mode():
            output = subject.model(torch.from_numpy(text.token_id)[None], output_hidden_states=True)
        states = torch.stack(output.hidden_states[1:-1], 2)[0].numpy()
        ours = values[start : start + len(text)]
        error = np.linalg.norm(ours[:, :-1] - states, axis=-1) / np.linalg.norm(states, axis=-1)
        assert error.max() < 1e-5
        p = output.logits[0].double().log_softmax(-1)[:-1]
        bits = -p.gather(1, torch.from_numpy(text.token_id)[1:, None])[:, 0].numpy() / np.log(2)
        np.testing.assert_allclose(together.surprisal[start + 1 : start + len(text)], bits, atol=1e-4)
        start += len(text)


def test_the_model_knows_english(subject):
    good, bad = subject.tokenize(["The dogs are barking loudly.", "The dogs is barking loudly."])
    bits = [subject.run([text], surprisal=True).surprisal for text in (good, bad)]
    assert np.nansum(bits[0]) + 1 < np.nansum(bits[1])


def test_gain_one_offset_zero_is_bit_for_bit_and_zero_lesions_matter(subject):
    tokens = subject.tokenize(TEXTS)
    intact = subject.run(tokens, surprisal=True).surprisal
    units = np.arange(0, 576, 2)
    same = Edit("resid_post", 10, np.ones(288), np.zeros(288), features=units)
    lesion = Edit("resid_post", 10, np.zeros(288), np.zeros(288), features=units)
    np.testing.assert_array_equal(subject.run(tokens, surprisal=True, edits=[same]).surprisal, intact)
    assert (
        np.nanmean(subject.run(tokens, surprisal=True, edits=[lesion]).surprisal) > np.nanmean(intact) + 0.1
    )
    np.testing.assert_array_equal(subject.run(tokens, surprisal=True).surprisal, intact)


def test_sentences_are_batched_with_little_padding(subject):
    tokens = subject.tokenize([text[:cut] for text in TEXTS for cut in range(10, 60)])
    lengths = np.array([len(text) for text in tokens])
    padded = sum(len(batch) * lengths[batch].max() for batch in batches(tokens, 1024))
    assert 1 - lengths.sum() / padded <= 0.05


def test_importing_and_loading_write_nothing_to_the_terminal(subject):
    code = "from neurosae.subject.catalogue import load_subject; load_subject('smollm2-135m')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
