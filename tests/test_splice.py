"""Replacing the activations at a site by a function of them, in subjects of torch and of numpy."""

import numpy as np
import pytest
import torch

from neurosae.dictionary.toy import ToyDictionary
from neurosae.errors import SubjectError
from neurosae.schema.names import SITES
from neurosae.subject.catalogue import load_subject
from neurosae.subject.interface import Edit, Splice
from neurosae.subject.toy import ToySubject
from tests.test_subject import CONFIGS, make_model

TEXTS = ["The keys to the cabinet are on the table.", "A dog", "the the the"]
KINDS = ["toy", "llama", "neox"]


@pytest.fixture(scope="module")
def subject_of(tmp_path_factory):
    loaded = {"toy": ToySubject()}

    def subject(kind):
        if kind not in loaded:
            folder = make_model(tmp_path_factory.mktemp(kind), *CONFIGS[kind])
            loaded[kind] = load_subject(str(folder), device="cpu")
        return loaded[kind]

    return subject


def sites_of(kind):
    return [site for site in SITES if kind != "neox" or site != "resid_mid"]


def zeros(rows):
    return np.zeros_like(rows)


def special(tokens):
    return np.concatenate([text.is_special for text in tokens]).astype(bool)


@pytest.mark.parametrize("kind", KINDS)
def test_a_splice_of_the_identity_is_the_intact_model_bit_for_bit(subject_of, kind):
    subject = subject_of(kind)
    tokens = subject.tokenize(TEXTS)
    same = [Splice(site, 1, lambda rows: rows, everywhere=True) for site in sites_of(kind)]
    wanted = {site: [1, 2] for site in sites_of(kind)}
    intact = subject.run(tokens, sites=wanted, surprisal=True)
    spliced = subject.run(tokens, sites=wanted, surprisal=True, divergence=True, edits=same)
    np.testing.assert_array_equal(intact.surprisal, spliced.surprisal)
    for site in wanted:
        np.testing.assert_array_equal(intact.activations[site], spliced.activations[site])
    assert spliced.shift == (0.0,) * len(same)
    assert spliced.edited == (sum(map(len, tokens)),) * len(same)
    assert np.nanmax(np.abs(spliced.divergence)) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_splice_equals_the_edit_that_does_the_same(subject_of, kind):
    subject = subject_of(kind)
    tokens = subject.tokenize(TEXTS)
    for site in sites_of(kind):
        units = np.arange(subject.n_features(site))
        edit = Edit(site, 1, np.full(len(units), 0.5), np.ones(len(units)), features=units)
        splice = Splice(site, 1, lambda rows: np.float32(0.5) * rows + np.float32(1))
        by_edit = subject.run(tokens, surprisal=True, edits=[edit])
        by_splice = subject.run(tokens, surprisal=True, edits=[splice])
        np.testing.assert_array_equal(by_edit.surprisal, by_splice.surprisal)
        np.testing.assert_allclose(by_edit.shift, by_splice.shift)


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_and_sinks_pass_unless_a_splice_is_everywhere(subject_of, kind):
    subject = subject_of(kind)
    tokens = subject.tokenize(TEXTS)
    wanted = {"resid_post": [1]}
    intact = subject.run(tokens, sites=wanted).activations["resid_post"][:, 0]
    limit = float(np.median(np.linalg.norm(intact, axis=1)))
    for splice, passes in [
        (Splice("resid_post", 1, zeros), special(tokens)),
        (Splice("resid_post", 1, zeros, everywhere=True), np.zeros(len(intact), dtype=bool)),
        (Splice("resid_post", 1, zeros, limit), special(tokens) | (np.linalg.norm(intact, axis=1) > limit)),
    ]:
        read = subject.run(tokens, sites=wanted, edits=[splice])
        expected = np.where(passes[:, None], intact, 0)
        np.testing.assert_array_equal(read.activations["resid_post"][:, 0], expected)
        assert read.edited == (int((~passes).sum()),)


@pytest.mark.parametrize("kind", KINDS)
def test_kat_31_a_dictionary_spliced_with_its_error_is_a_no_op(subject_of, kind):
    subject = subject_of(kind)
    dictionary = ToyDictionary(8, subject.d_model, layer=1)

    def with_error(rows):
        rebuilt = dictionary.decode(dictionary.encode(rows))
        return rebuilt + (rows - rebuilt)

    def alone(rows):
        return dictionary.decode(dictionary.encode(rows))

    tokens = subject.tokenize(TEXTS)
    intact = subject.run(tokens, surprisal=True).surprisal
    kept = subject.run(
        tokens, surprisal=True, divergence=True, edits=[Splice("resid_post", 1, with_error, everywhere=True)]
    )
    lost = subject.run(tokens, surprisal=True, edits=[Splice("resid_post", 1, alone, everywhere=True)])
    np.testing.assert_allclose(kept.surprisal, intact, atol=1e-5)
    assert np.nanmax(np.abs(kept.divergence)) < 1e-5
    assert np.nanmax(np.abs(lost.surprisal - intact)) > 0.01


def test_divergence_is_the_kl_divergence_of_the_logits(subject_of):
    subject = subject_of("llama")
    tokens = subject.tokenize(["the the the keys"])
    read = subject.run(tokens, divergence=True, edits=[Splice("resid_post", 2, zeros, everywhere=True)])
    ids = torch.from_numpy(tokens[0].token_id)[None]
    with torch.inference_mode():
        p = torch.softmax(subject.model(ids).logits[0, :-1].double(), -1).numpy()
    n_words = p.shape[1]
    # zeros before the last norm make every token as likely as any other
    expected = (p * np.log2(p * n_words)).sum(axis=1)
    np.testing.assert_allclose(read.divergence[1:], expected, atol=1e-5)
    assert np.isnan(read.divergence[0])


def test_divergence_in_the_toy_is_zero_without_an_edit():
    toy = ToySubject()
    tokens = toy.tokenize(["the keys are here"])
    later = Splice("resid_post", 2, zeros, everywhere=True)
    read = toy.run(tokens, divergence=True, edits=[later])
    assert np.isnan(read.divergence[0])
    assert (read.divergence[1:] > 0.01).all()
    np.testing.assert_array_equal(
        toy.run(tokens, divergence=True).divergence[1:], np.zeros(len(tokens[0]) - 1)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_does_not_depend_on_padding(subject_of, kind):
    subject = subject_of(kind)
    tokens = subject.tokenize(TEXTS)
    splice = Splice("mlp_out", 1, zeros)
    together = subject.run(tokens, divergence=True, edits=[splice]).divergence
    apart = [subject.run([text], divergence=True, edits=[splice]).divergence for text in tokens]
    np.testing.assert_allclose(together, np.concatenate(apart), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_that_fails_leaves_no_hook_behind(subject_of, kind):
    subject = subject_of(kind)
    tokens = subject.tokenize(TEXTS)
    intact = subject.run(tokens, surprisal=True).surprisal

    def fails(_rows):
        raise KeyError("nothing here")

    with pytest.raises(KeyError, match="nothing here"):
        subject.run(tokens, surprisal=True, edits=[Splice("resid_post", 1, fails)])
    np.testing.assert_array_equal(subject.run(tokens, surprisal=True).surprisal, intact)


@pytest.mark.parametrize("kind", ["toy", "llama"])
@pytest.mark.parametrize("function", [lambda rows: rows[:, :3], lambda rows: rows * np.float32(np.nan)])
def test_a_function_of_another_shape_or_with_nan_is_refused(subject_of, kind, function):
    subject = subject_of(kind)
    with pytest.raises(SubjectError, match="must give finite rows of the same shape"):
        subject.run(subject.tokenize(TEXTS), surprisal=True, edits=[Splice("resid_post", 1, function)])


def test_a_function_cannot_change_the_activations_it_is_given(subject_of):
    toy = subject_of("toy")
    tokens = toy.tokenize(TEXTS)

    def spoils(rows):
        kept = rows.copy()
        rows[:] = 0
        return kept

    intact = toy.run(tokens, surprisal=True).surprisal
    read = toy.run(tokens, surprisal=True, edits=[Splice("resid_post", 1, spoils)])
    np.testing.assert_array_equal(read.surprisal, intact)
