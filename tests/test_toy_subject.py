from dataclasses import replace

import numpy as np
import pytest

from neurosae.errors import SubjectError
from neurosae.schema.names import SINK_RATIO, SITES
from neurosae.subject.interface import Edit
from neurosae.subject.toy import ToySubject
from neurosae.subject.toy_weights import UNITS, token_id, unembedding, wordness
from neurosae.testing import planted_pairs

TEXTS = ["The keys are here.", "a dog", "xqzvk brrt, the capital of peru is lima and the child is there"]
ALL = {site: range(4) for site in SITES}


@pytest.fixture(scope="module")
def toy():
    return ToySubject()


@pytest.fixture(scope="module")
def tokens(toy):
    return toy.tokenize(TEXTS)


def _unit_edit(layer=1, units=(3,), values=(0.0,), site="resid_post", **changes):
    gain = np.zeros(len(units))
    return Edit(site, layer, gain, np.array(values), features=np.array(units), **changes)


def _log_odds(toy, task, edits=()):
    pairs = planted_pairs(100, task=task)
    texts = toy.tokenize(pairs["text"].tolist())
    bits = toy.run(texts, surprisal=True, edits=edits).surprisal
    total = np.nansum(bits.reshape(len(pairs), -1), axis=1)
    return total[1::2] - total[::2]


def test_tokens_are_words_and_marks_after_one_bos_and_spans_index_the_text(toy):
    [text] = toy.tokenize(["The keys, here."])
    assert text.token_str.tolist() == ["<bos>", "The", "keys", ",", "here", "."]
    assert text.is_special.tolist() == [True, *[False] * 5]
    spans = zip(text.char_start, text.char_end, strict=True)
    assert ["The keys, here."[start:end] for start, end in spans] == ["", "The", "keys", ",", "here", "."]


def test_sites_add_up_to_the_residual_stream(toy, tokens):
    seen = toy.run(tokens, sites=ALL).activations
    np.testing.assert_array_equal(seen["resid_mid"], seen["resid_pre"] + seen["attn_out"])
    np.testing.assert_array_equal(seen["resid_post"], seen["resid_mid"] + seen["mlp_out"])
    np.testing.assert_array_equal(seen["resid_pre"][:, 1:], seen["resid_post"][:, :-1])
    assert all(seen[site].shape[2] == toy.n_features(site) for site in SITES)
    assert all(seen[site].dtype == np.float32 for site in SITES)


def test_layers_come_in_the_order_asked_for(toy, tokens):
    seen = toy.run(tokens, sites={"resid_post": [2, 0]}).activations["resid_post"]
    full = toy.run(tokens, sites={"resid_post": range(4)}).activations["resid_post"]
    np.testing.assert_array_equal(seen, full[:, [2, 0]])


def test_later_tokens_and_padding_do_not_change_earlier_ones(toy):
    short, long = toy.tokenize(["the keys are", "the keys are here and there"])
    alone = toy.run([short], sites=ALL, surprisal=True)
    together = toy.run([long, short], sites=ALL, surprisal=True)
    for site in SITES:
        after_long = together.activations[site][len(long) :]
        # matrix products of other shapes round differently in float32
        np.testing.assert_allclose(after_long, alone.activations[site], atol=1e-4)
        np.testing.assert_allclose(together.activations[site][: len(short)], after_long, atol=1e-4)
    np.testing.assert_allclose(together.surprisal[len(long) :], alone.surprisal, atol=1e-4)


def test_surprisal_is_bits_of_a_distribution_and_missing_at_the_first_token(toy, tokens):
    bits = toy.run(tokens, surprisal=True).surprisal
    starts = np.cumsum([0, *(len(text) for text in tokens)])[:-1]
    assert np.isnan(bits[starts]).all()
    assert (np.delete(bits, starts) > 0).all()
    assert bits.dtype == np.float64


def test_probabilities_of_all_continuations_sum_to_one(toy):
    [prefix] = toy.tokenize(["the keys are"])
    total = 0.0
    for number in range(512):
        ids = prefix.token_id.copy()
        ids[-1] = number
        total += 2 ** -toy.run([replace(prefix, token_id=ids)], surprisal=True).surprisal[-1]
    assert total == pytest.approx(1, abs=1e-9)


def test_known_words_are_words_and_odd_strings_are_not():
    assert wordness("River") == 1
    assert wordness("xqzvk") == -1
    assert wordness("<bos>") == wordness("7") == 0
    assert token_id("river") != token_id("house")


def test_word_unit_separates_sentences_from_letter_strings(toy):
    word, nonword = toy.tokenize(["the river is there", "xqzvk bdfgk qwrtz"])
    seen = toy.run([word, nonword], sites={"resid_post": [0]}).activations["resid_post"][:, 0]
    assert seen[1:5, UNITS["word"]].min() > seen[6:, UNITS["word"]].max() + 1


def test_agreement_is_solved_and_lesioning_its_unit_takes_it_to_chance(toy):
    intact, lesioned = _log_odds(toy, "number"), _log_odds(toy, "number", [_unit_edit()])
    assert (intact > 0).mean() > 0.9
    assert 0.35 < (lesioned > 0).mean() < 0.65
    assert abs(lesioned.mean()) < 0.1 * intact.mean()


def test_capitals_survive_the_lesion_of_the_number_unit(toy):
    intact, lesioned = _log_odds(toy, "fact"), _log_odds(toy, "fact", [_unit_edit()])
    assert (intact > 0).mean() > 0.9
    np.testing.assert_allclose(lesioned, intact, atol=0.1 * intact.mean())


def test_number_unit_is_carried_over_a_phrase_and_plural_is_positive(toy):
    texts = toy.tokenize(["the keys of", "the key of"])
    seen = toy.run(texts, sites={"resid_post": [1]}).activations["resid_post"][:, 0, UNITS["number"]]
    # the value of a noun is graded by at most 0.18 around 1
    np.testing.assert_allclose(seen.reshape(2, 4), [[0, 0, 1, 1], [0, 0, -1, -1]], atol=0.2)
    np.testing.assert_array_equal(seen.reshape(2, 4)[:, 2], seen.reshape(2, 4)[:, 3])


def test_kat_31_identity_edits_are_bit_equal_with_shift_zero(toy, tokens):
    vector = np.random.default_rng(0).standard_normal(32)
    same = {"gain": np.ones(1), "offset": np.zeros(1)}
    edits = [
        Edit("resid_post", 1, features=np.array([3]), **same),
        Edit("resid_mid", 2, encoder=vector[:, None], decoder=vector[None], **same),
    ]
    intact = toy.run(tokens, sites=ALL, surprisal=True)
    edited = toy.run(tokens, sites=ALL, surprisal=True, edits=edits)
    assert edited.shift == (0.0, 0.0)
    assert all(np.array_equal(edited.activations[site], intact.activations[site]) for site in SITES)
    np.testing.assert_array_equal(edited.surprisal, intact.surprisal)


def test_kat_31_an_edit_is_undone_after_an_exception(toy, tokens):
    before = toy.run(tokens, surprisal=True).surprisal
    broken = Edit("resid_post", 1, np.zeros(2), np.zeros(2), encoder=np.ones((5, 2)), decoder=np.ones((2, 5)))
    with pytest.raises(ValueError, match="matmul"):
        toy.run(tokens, surprisal=True, edits=[broken])
    np.testing.assert_array_equal(toy.run(tokens, surprisal=True).surprisal, before)


def test_kat_32_a_zero_lesion_subtracts_the_unit_and_nothing_else(toy, tokens):
    sites = {"resid_post": [1]}
    before = toy.run(tokens, sites=sites).activations["resid_post"][:, 0]
    after = toy.run(tokens, sites=sites, edits=[_unit_edit()]).activations["resid_post"][:, 0]
    is_special = np.concatenate([text.is_special for text in tokens])
    expected = before.copy()
    expected[~is_special, 3] = 0
    np.testing.assert_array_equal(after, expected)


def test_kat_32_two_lesions_commute(toy, tokens):
    edits = [_unit_edit(units=(3,), values=(1.0,)), _unit_edit(units=(20,), values=(-2.0,))]
    one, other = (toy.run(tokens, surprisal=True, edits=order).surprisal for order in (edits, edits[::-1]))
    np.testing.assert_array_equal(one, other)


def test_kat_32_projection_after_a_direction_lesion_is_zero(toy, tokens):
    vector = np.random.default_rng(1).standard_normal(32)
    vector /= np.linalg.norm(vector)
    lesion = Edit("resid_post", 1, np.zeros(1), np.zeros(1), encoder=vector[:, None], decoder=vector[None, :])
    seen = toy.run(tokens, sites={"resid_post": [1]}, edits=[lesion]).activations["resid_post"][:, 0]
    is_special = np.concatenate([text.is_special for text in tokens])
    np.testing.assert_allclose(seen[~is_special] @ vector, 0, atol=1e-5)  # float32 products
    assert np.abs(seen[is_special] @ vector).min() > 0.1


def test_kat_32_log_odds_rise_linearly_with_dose_by_the_readout_weight(toy):
    vector = np.random.default_rng(2).standard_normal(32)
    vector /= np.linalg.norm(vector)
    texts = toy.tokenize(["the key is", "the key are"])
    weights, _ = unembedding(32)
    expected = vector @ (weights[:, token_id("is")] - weights[:, token_id("are")]) / np.log(2)
    doses, log_odds = np.linspace(-2, 2, 5), []
    for dose in doses:
        push = Edit(
            "resid_post", 3, np.ones(1), np.full(1, dose), encoder=vector[:, None], decoder=vector[None]
        )
        bits = toy.run(texts, surprisal=True, edits=[push]).surprisal
        log_odds.append(bits[7] - bits[3])
    slope, intercept = np.polyfit(doses, log_odds, 1)
    assert slope == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(log_odds, slope * doses + intercept, atol=1e-4)


def test_special_tokens_and_sinks_pass_through(toy, tokens):
    n_ordinary = sum(int((~text.is_special).sum()) for text in tokens)
    free = toy.run(tokens, sites={"resid_post": [1]}, edits=[_unit_edit()])
    assert free.edited == (n_ordinary,)
    norms = np.linalg.norm(toy.run(tokens, sites={"resid_post": [1]}).activations["resid_post"][:, 0], axis=1)
    is_special = np.concatenate([text.is_special for text in tokens])
    bound = float(np.median(norms[~is_special]))
    held = toy.run(tokens, sites={"resid_post": [1]}, edits=[_unit_edit(max_norm=bound)])
    assert held.edited == (int((norms[~is_special] <= bound).sum()),)
    assert 0 < held.edited[0] < n_ordinary


def test_shift_is_the_summed_norm_of_the_change(toy, tokens):
    before = toy.run(tokens, sites={"resid_post": [1]}).activations["resid_post"][:, 0]
    is_special = np.concatenate([text.is_special for text in tokens])
    read = toy.run(tokens, sites={"resid_post": [1]}, edits=[_unit_edit(units=(3, 20), values=(0.0, 5.0))])
    change = before[~is_special][:, [3, 20]] - [0, 5]
    assert read.shift[0] == pytest.approx(np.linalg.norm(change, axis=1).sum(), rel=1e-6)


def test_edits_reach_every_site_and_later_layers(toy, tokens):
    for site in SITES:
        intact = toy.run(tokens, sites={"resid_post": [3], site: [2]})
        edited = toy.run(
            tokens, sites={"resid_post": [3], site: [2]}, edits=[_unit_edit(2, (20,), (9.0,), site=site)]
        )
        assert (edited.activations[site][:, -1, 20] == 9).sum() == edited.edited[0]
        assert not np.array_equal(
            edited.activations["resid_post"][:, -1], intact.activations["resid_post"][:, -1]
        )


def test_bos_is_a_massive_token(toy, tokens):
    norms = np.linalg.norm(toy.run(tokens, sites={"resid_post": [2]}).activations["resid_post"][:, 0], axis=1)
    assert norms[0] > SINK_RATIO * np.median(norms)


def test_description_holds_the_identity_of_the_weights(toy):
    assert toy.describe() == ToySubject().describe()
    assert toy.describe()["weights_sha256"] != ToySubject(seed=1).describe()["weights_sha256"]
    assert toy.context_length == 512


def test_other_sizes_keep_the_mechanism():
    assert (_log_odds(ToySubject(n_layers=6, d_model=48), "number") > 0).mean() > 0.8


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sites": {"head": [0]}}, "no site 'head'; sites: resid_pre"),
        ({"sites": {"resid_post": [4]}}, "no layer 4; layers: 0 to 3"),
        ({"edits": [_unit_edit(layer=9)], "surprisal": True}, "no layer 9"),
        ({"edits": [_unit_edit(units=(40,))], "surprisal": True}, "names feature 40; there are 32"),
    ],
)
def test_what_the_toy_lacks_is_refused(toy, tokens, kwargs, message):
    with pytest.raises(SubjectError, match=message):
        toy.run(tokens, **kwargs)


def test_texts_beyond_the_context_and_no_texts_are_refused(toy):
    with pytest.raises(SubjectError, match="601 tokens; the toy reads at most 512"):
        toy.run(toy.tokenize(["a " * 600]), surprisal=True)
    with pytest.raises(SubjectError, match="no text to run"):
        toy.run([], surprisal=True)


def test_a_toy_too_small_for_its_mechanisms_is_refused():
    with pytest.raises(SubjectError, match="needs at least 3 layers and 20 units"):
        ToySubject(n_layers=2)
