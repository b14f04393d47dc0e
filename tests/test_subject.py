"""Subjects of four architectures, tiny and random: what is read, edited and refused."""

import dataclasses
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertGenerationConfig,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.auto import AutoModelForCausalLM

from neurosae.errors import SubjectError
from neurosae.schema.names import SITES
from neurosae.subject import hub
from neurosae.subject.catalogue import load_subject, subject_card
from neurosae.subject.hooks import Tap, run_tapped
from neurosae.subject.interface import Edit
from neurosae.subject.quiet import quiet
from neurosae.subject.sites import Place

TEXTS = [
    "The keys to the cabinet are on the table.",
    "A dog",
    "naïve 😀 12 times, <|end|> twice; and then once more",
    "the the the",
]
SPECIAL = ["<|end|>", "<|start|>"]
PARALLEL = "neox"
CONFIGS = {
    "llama": (
        LlamaConfig,
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
        | {"intermediate_size": 48, "max_position_embeddings": 64},
    ),
    "gpt2": (GPT2Config, {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}),
    "neox": (
        GPTNeoXConfig,
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
        | {"max_position_embeddings": 64},
    ),
    "bloom": (BloomConfig, {"hidden_size": 32, "n_layer": 3, "n_head": 4, "seq_length": 64}),
    "gemma2": (
        Gemma2Config,
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
        | {"head_dim": 8, "intermediate_size": 48, "max_position_embeddings": 64}
        | {"final_logit_softcapping": 0.05},
    ),
}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """Folder of a tiny random model with a byte-level tokenizer, made once a kind."""
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = make_model(tmp_path_factory.mktemp(kind), *CONFIGS[kind])
        return made[kind]

    return folder


def make_model(folder, config_class, sizes):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|start|>", eos_token="<|end|>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = config_class(
        vocab_size=300, bos_token_id=1, eos_token_id=0, pad_token_id=0, initializer_range=0.2, **sizes
    )
    with quiet():
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def subject_of(model_folder):
    loaded = {}

    def subject(kind):
        if kind not in loaded:
            loaded[kind] = load_subject(str(model_folder(kind)), device="cpu")
        return loaded[kind]

    return subject


@pytest.fixture
def llama(subject_of):
    return subject_of("llama")


def sites_of(kind):
    return [site for site in SITES if kind != PARALLEL or site != "resid_mid"]


def every_site(subject, kind):
    return {site: range(subject.n_layers) for site in sites_of(kind)}


def identity(width, how, k=2):
    gain, offset = np.ones(k), np.zeros(k)
    if how == "units":
        return {"gain": gain, "offset": offset, "features": np.array([1, 3])}
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(width, k)))[0]
    return {"gain": gain, "offset": offset, "encoder": basis, "decoder": basis.T.copy()}


def zero(**edit):
    return edit | {"gain": np.zeros_like(edit["gain"])}


def n_hooks(subject):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in subject.model.modules())


def relative_error(ours, theirs):
    axes = -1
    return np.max(np.linalg.norm(ours - theirs, axis=axes) / np.linalg.norm(theirs, axis=axes))


# What is read


@pytest.mark.parametrize("kind", CONFIGS)
def test_kat_30_a_batch_reads_as_its_texts_alone(subject_of, kind):
    subject = subject_of(kind)
    tokens = subject.tokenize(TEXTS)
    order = [2, 0, 3, 1]
    together = subject.run(
        [tokens[number] for number in order], sites=every_site(subject, kind), surprisal=True
    )
    alone = [
        subject.run([tokens[number]], sites=every_site(subject, kind), surprisal=True) for number in order
    ]
    for site, values in together.activations.items():
        # Padding and masks reorder sums: rounding only, 1e-5 of a token's norm in float32.
        assert relative_error(values, np.concatenate([one.activations[site] for one in alone])) < 1e-5
    bits = np.concatenate([one.surprisal for one in alone])
    np.testing.assert_allclose(together.surprisal, bits, rtol=1e-5)
    assert np.isnan(bits).sum() == len(TEXTS)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox"])
def test_kat_31_what_fills_the_padding_changes_no_bit(subject_of, kind, monkeypatch):
    subject = subject_of(kind)
    tokens = subject.tokenize(TEXTS)
    zeros = subject.run(tokens, sites=every_site(subject, kind), surprisal=True)
    monkeypatch.setattr(subject.model.config, "pad_token_id", 77)
    others = subject.run(tokens, sites=every_site(subject, kind), surprisal=True)
    np.testing.assert_array_equal(zeros.surprisal, others.surprisal)
    for site in zeros.activations:
        np.testing.assert_array_equal(zeros.activations[site], others.activations[site])


@pytest.mark.parametrize("kind", CONFIGS)
def test_resid_post_is_what_hugging_face_calls_hidden_states(subject_of, kind):
    subject = subject_of(kind)
    tokens = subject.tokenize(TEXTS[:1])
    ours = subject.run(tokens, sites={"resid_post": range(3), "resid_pre": [0]}).activations
    with torch.inference_mode():
        output = subject.model(torch.from_numpy(tokens[0].token_id)[None], output_hidden_states=True)
        final_norm = subject.model.get_submodule(subject.bridge.ln_final.name)
        last = final_norm(torch.from_numpy(ours["resid_post"][:, 2]))
    states = [state[0].numpy() for state in output.hidden_states]
    assert relative_error(ours["resid_pre"][:, 0], states[0]) < 1e-5
    assert relative_error(ours["resid_post"][:, 0], states[1]) < 1e-5
    assert relative_error(ours["resid_post"][:, 1], states[2]) < 1e-5
    assert relative_error(last.numpy(), states[3]) < 1e-5


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_sites_of_a_sequential_block_add_up(subject_of, kind):
    read = (
        subject_of(kind)
        .run(subject_of(kind).tokenize(TEXTS), sites={site: range(3) for site in SITES})
        .activations
    )
    np.testing.assert_allclose(read["resid_mid"], read["resid_pre"] + read["attn_out"], atol=1e-5)
    np.testing.assert_allclose(read["resid_post"], read["resid_mid"] + read["mlp_out"], atol=1e-5)
    np.testing.assert_array_equal(read["resid_pre"][:, 1:], read["resid_post"][:, :-1])


def test_sites_of_a_parallel_block_add_up(subject_of):
    subject = subject_of("neox")
    read = subject.run(subject.tokenize(TEXTS), sites=every_site(subject, "neox")).activations
    total = read["resid_pre"] + read["attn_out"] + read["mlp_out"]
    np.testing.assert_allclose(read["resid_post"], total, atol=1e-5)


def test_attn_z_and_mlp_post_are_what_the_output_projections_read(llama):
    sites = {site: [1] for site in ("attn_z", "attn_out", "mlp_post", "mlp_out")}
    read = {
        site: torch.from_numpy(v)
        for site, v in llama.run(llama.tokenize(TEXTS), sites=sites).activations.items()
    }
    layer = llama.model.model.layers[1]
    torch.testing.assert_close(layer.self_attn.o_proj(read["attn_z"]), read["attn_out"])
    torch.testing.assert_close(layer.mlp.down_proj(read["mlp_post"]), read["mlp_out"])


def test_layers_come_in_the_order_asked_for(llama):
    tokens = llama.tokenize(TEXTS)
    forth = llama.run(tokens, sites={"resid_post": [0, 2]}).activations["resid_post"]
    back = llama.run(tokens, sites={"resid_post": [2, 0]}).activations["resid_post"]
    np.testing.assert_array_equal(forth, back[:, ::-1])


@pytest.mark.parametrize("kind", CONFIGS)
def test_surprisal_is_the_negative_log2_of_softmax(subject_of, kind):
    subject = subject_of(kind)
    tokens = subject.tokenize(TEXTS)
    ours = subject.run(tokens, surprisal=True).surprisal
    by_hand = []
    for text in tokens:
        ids = torch.from_numpy(text.token_id)
        with torch.inference_mode():
            p = subject.model(ids[None]).logits[0].double().softmax(-1)
        by_hand += [np.nan, *(-np.log2(p[torch.arange(len(ids) - 1), ids[1:]].numpy()))]
    # Logits are float32; 1e-5 of some 8 bits is their rounding.
    np.testing.assert_allclose(ours, by_hand, rtol=1e-5)


def test_the_pass_stops_after_the_deepest_layer_asked_for(llama):
    called = []
    blocks = llama.model.model.layers
    handles = [blocks[n].register_forward_pre_hook(lambda *_, n=n: called.append(n)) for n in range(3)]
    try:
        llama.run(llama.tokenize(TEXTS), sites={"resid_post": [0, 1], "mlp_out": [0]})
        assert called == [0, 1]
        called.clear()
        llama.run(llama.tokenize(TEXTS), sites={"resid_post": [0]}, surprisal=True)
        assert called == [0, 1, 2]
        called.clear()
        assert not llama.run(llama.tokenize(TEXTS)).activations
        assert called == []
    finally:
        [handle.remove() for handle in handles]


def test_bfloat16_is_close_and_says_so(model_folder, llama):
    half = load_subject(str(model_folder("llama")), device="cpu", dtype="bfloat16")
    tokens = llama.tokenize(TEXTS)
    ours = half.run(tokens, sites={"resid_post": [2]}).activations["resid_post"]
    theirs = llama.run(tokens, sites={"resid_post": [2]}).activations["resid_post"]
    assert half.describe()["dtype"] == "bfloat16"
    assert ours.dtype == np.float32
    # bfloat16 keeps 8 bits: errors of a hundredth a layer.
    assert 0 < relative_error(ours, theirs) < 0.1


def test_threads_wait_for_each_other(llama):
    tokens = llama.tokenize(TEXTS)
    clean = llama.run(tokens, sites={"resid_post": [2]}).activations["resid_post"]
    lesion = Edit("resid_pre", 1, **zero(**identity(32, "units")))
    lesioned = llama.run(tokens, sites={"resid_post": [2]}, edits=[lesion]).activations["resid_post"]
    seen = {}

    def work(number):
        edits = [lesion] if number % 2 else []
        for _ in range(5):
            seen[number] = llama.run(tokens, sites={"resid_post": [2]}, edits=edits).activations["resid_post"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for number, values in seen.items():
        np.testing.assert_array_equal(values, lesioned if number % 2 else clean)


# What is edited


@pytest.mark.parametrize("how", ["units", "direction"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox"])
def test_gain_one_offset_zero_is_the_intact_model_bit_for_bit(subject_of, kind, how):
    subject = subject_of(kind)
    tokens = subject.tokenize(TEXTS)
    edits = [Edit(site, 1, **identity(subject.n_features(site), how)) for site in sites_of(kind)]
    intact = subject.run(tokens, sites=every_site(subject, kind), surprisal=True)
    edited = subject.run(tokens, sites=every_site(subject, kind), surprisal=True, edits=edits)
    np.testing.assert_array_equal(intact.surprisal, edited.surprisal)
    for site in intact.activations:
        np.testing.assert_array_equal(intact.activations[site], edited.activations[site])
    n_open = sum(int((~text.is_special).sum()) for text in tokens)
    assert edited.shift == (0.0,) * len(edits)
    assert edited.edited == (n_open,) * len(edits)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox"])
def test_an_edit_sets_units_at_its_site_and_reaches_what_follows(subject_of, kind):
    subject = subject_of(kind)
    tokens = subject.tokenize(TEXTS)
    is_open = ~np.concatenate([text.is_special for text in tokens])
    intact = subject.run(tokens, surprisal=True).surprisal
    for site in sites_of(kind):
        edit = Edit(site, 1, np.zeros(2), np.array([2.0, -1.0]), features=np.array([4, 0]))
        read = subject.run(tokens, sites={site: [1]}, surprisal=True, edits=[edit])
        values = read.activations[site][is_open, 0]
        # resid_mid is a sum that float32 rounds; elsewhere the value is set exactly.
        np.testing.assert_allclose(values[:, [4, 0]], np.tile([2.0, -1.0], (len(values), 1)), atol=1e-6)
        assert np.nanmax(np.abs(read.surprisal - intact)) > 1e-4


def test_kat_32_zeroing_a_direction_takes_its_codes_and_nothing_else(llama):
    tokens = llama.tokenize(TEXTS)
    is_open = ~np.concatenate([text.is_special for text in tokens])
    basis = identity(32, "direction")
    before = llama.run(tokens, sites={"resid_post": [1]}).activations["resid_post"][:, 0]
    read = llama.run(tokens, sites={"resid_post": [1]}, edits=[Edit("resid_post", 1, **zero(**basis))])
    after = read.activations["resid_post"][:, 0]
    codes = before @ basis["encoder"]
    np.testing.assert_allclose(after[is_open] @ basis["encoder"], 0, atol=1e-5)
    np.testing.assert_allclose((after - before)[is_open], -(codes @ basis["decoder"])[is_open], atol=1e-5)
    np.testing.assert_array_equal(after[~is_open], before[~is_open])
    norms = np.linalg.norm(codes[is_open] @ basis["decoder"], axis=1)
    np.testing.assert_allclose(read.shift[0], norms.sum(), rtol=1e-5)


def test_kat_32_two_lesions_commute(llama):
    tokens = llama.tokenize(TEXTS)
    both = [
        Edit("resid_post", 0, np.zeros(1), np.zeros(1), features=np.array([7])),
        Edit("resid_post", 0, np.zeros(1), np.ones(1), features=np.array([9])),
    ]
    one, other = (llama.run(tokens, surprisal=True, edits=edits).surprisal for edits in (both, both[::-1]))
    np.testing.assert_array_equal(one, other)


def test_kat_32_clamping_a_direction_moves_along_it_by_the_difference(llama):
    tokens = llama.tokenize(TEXTS)
    is_open = ~np.concatenate([text.is_special for text in tokens])
    direction = identity(32, "direction", k=1) | {"gain": np.zeros(1), "offset": np.array([3.0])}
    before = llama.run(tokens, sites={"resid_mid": [1]}).activations["resid_mid"][:, 0]
    edits = [Edit("resid_mid", 1, **direction)]
    after = llama.run(tokens, sites={"resid_mid": [1]}, edits=edits).activations["resid_mid"][:, 0]
    expected = (3.0 - before @ direction["encoder"]) @ direction["decoder"]
    np.testing.assert_allclose((after - before)[is_open], expected[is_open], atol=1e-5)


def test_tokens_above_max_norm_pass_through(llama):
    tokens = llama.tokenize(TEXTS)
    before = llama.run(tokens, sites={"resid_post": [1]}).activations["resid_post"][:, 0]
    norms = np.linalg.norm(before, axis=1)
    limit = float(np.median(norms))
    edit = Edit("resid_post", 1, **zero(**identity(32, "units")), max_norm=limit)
    read = llama.run(tokens, sites={"resid_post": [1]}, edits=[edit])
    changed = (read.activations["resid_post"][:, 0] != before).any(axis=1)
    is_open = ~np.concatenate([text.is_special for text in tokens]) & (norms <= limit)
    np.testing.assert_array_equal(changed, is_open)
    assert read.edited == (is_open.sum(),)


def test_an_edit_deeper_than_what_is_read_is_still_measured(llama):
    edit = Edit("mlp_post", 2, **zero(**identity(48, "units")))
    read = llama.run(llama.tokenize(TEXTS), sites={"resid_post": [0]}, edits=[edit])
    assert read.shift[0] > 0


# What is left behind


def test_hooks_are_gone_after_a_run_and_after_an_exception(llama):
    tokens = llama.tokenize(TEXTS)
    before, hooks = llama.run(tokens, surprisal=True).surprisal, n_hooks(llama)

    def fail(*_):
        raise ValueError("broken on purpose")

    handle = llama.model.model.layers[2].register_forward_pre_hook(fail)
    edits = [Edit("resid_mid", 1, **zero(**identity(32, "units")))]
    with pytest.raises(ValueError, match="on purpose"):
        llama.run(tokens, sites={"attn_z": [0, 1, 2]}, surprisal=True, edits=edits)
    handle.remove()
    assert n_hooks(llama) == hooks
    np.testing.assert_array_equal(llama.run(tokens, surprisal=True).surprisal, before)


def test_a_hook_left_behind_is_reported(llama):
    kept = []
    layer = llama.model.model.layers[0]
    intruder = layer.register_forward_hook(
        lambda *_: kept.append(layer.register_forward_hook(lambda *_: None))
    )
    with pytest.raises(SubjectError, match="hook was left"):
        llama.run(llama.tokenize(TEXTS), sites={"resid_post": [0]})
    [handle.remove() for handle in (intruder, *kept)]


def test_a_place_that_the_pass_never_reaches_is_reported(llama):
    stranger = Tap(Place(torch.nn.Linear(2, 2), "out"), lambda values: None)
    with pytest.raises(SubjectError, match="never reached 1 of the places"):
        run_tapped(lambda: None, [stranger])


def test_a_hook_of_the_user_still_fires_and_is_kept(llama):
    tokens, seen = llama.tokenize(TEXTS), []
    handle = llama.model.model.layers[1].register_forward_hook(
        lambda _module, _args, out: seen.append(out.clone())
    )
    try:
        ours = llama.run(tokens, sites={"resid_post": [1]}).activations["resid_post"]
        assert len(seen) == 1
        np.testing.assert_array_equal(seen[0][0, : len(tokens[0])].numpy(), ours[: len(tokens[0]), 0])
        llama.run(tokens, sites={"resid_post": [1]})
        assert len(seen) == 2
    finally:
        handle.remove()


def test_the_bridge_shares_the_weights_and_leaves_the_model_plain(llama):
    plain = llama.model.model.layers[0].self_attn.o_proj
    assert type(plain) is torch.nn.Linear
    bridged = llama.bridge.blocks[0].attn.o.original_component
    assert bridged.weight.data_ptr() == plain.weight.data_ptr()


def test_the_bridge_reads_what_the_plain_model_reads(llama):
    tokens = llama.tokenize(TEXTS[:1])
    hooks = {"resid_mid": "ln2.hook_in", "attn_out": "attn.hook_out", "mlp_out": "mlp.hook_out"}
    ours = llama.run(tokens, sites={site: [1] for site in hooks}).activations
    with torch.inference_mode():
        _, cache = llama.bridge.run_with_cache(torch.from_numpy(tokens[0].token_id)[None])
    for site, values in ours.items():
        name = f"blocks.1.{hooks[site]}"
        assert relative_error(values[:, 0], cache[name][0].numpy()) < 1e-5


# What a text becomes


@pytest.mark.parametrize("kind", CONFIGS)
def test_bos_policy_is_that_of_transformer_lens(subject_of, kind):
    subject = subject_of(kind)
    assert subject.describe()["prepend_bos"] is subject.bridge.cfg.default_prepend_bos
    first = subject.tokenize(["dog"])[0]
    assert (first.token_str[0] == "<|start|>") is subject.bridge.cfg.default_prepend_bos


def test_special_strings_in_a_text_are_plain_characters(llama):
    text = llama.tokenize(["<|end|><|start|>"])[0]
    assert text.is_special.tolist() == [True] + [False] * (len(text) - 1)
    assert len(text) > 4


def test_spans_index_the_text(llama):
    for text, tokens in zip(TEXTS, llama.tokenize(TEXTS), strict=True):
        assert (tokens.char_start[0], tokens.char_end[0]) == (0, 0)
        assert tokens.char_start[1] == 0
        assert tokens.char_end[-1] == len(text)
        assert (np.diff(tokens.char_start) >= 0).all()
        covered = {c for a, b in zip(tokens.char_start, tokens.char_end, strict=True) for c in range(a, b)}
        assert covered == set(range(len(text)))
    words = llama.tokenize(["the keys"])[0]
    pieces = "".join(words.token_str[1:])
    assert pieces == "theĠkeys"


def test_the_card_tokenizes_as_the_subject_does(llama, model_folder):
    card = subject_card(str(model_folder("llama")))
    assert (card.n_layers, card.d_model, card.context_length, card.available) == (3, 32, 64, True)
    assert set(card.special_strings) == set(SPECIAL)
    for ours, theirs in zip(card.load_tokenizer().tokenize(TEXTS), llama.tokenize(TEXTS), strict=True):
        for field in dataclasses.fields(ours):
            np.testing.assert_array_equal(getattr(ours, field.name), getattr(theirs, field.name))


# What is refused


def refusals(tokens, width):
    one = {"gain": np.ones(1), "offset": np.zeros(1)}
    direction = identity(width, "direction")
    return [
        ({"sites": {"resid_pst": [0]}}, "unknown site 'resid_pst'; did you mean 'resid_post'"),
        ({"sites": {"resid_post": [3]}}, "no layer 3; layers: 0 to 2"),
        ({"sites": {"resid_post": [-1]}}, "no layer -1"),
        ({"edits": [Edit("mlp", 0, **one, features=np.array([0]))]}, "unknown site 'mlp'"),
        ({"edits": [Edit("resid_post", 9, **one, features=np.array([0]))]}, "no layer 9"),
        (
            {"edits": [Edit("resid_post", 0, **one, features=np.array([width]))]},
            f"feature {width}; the site has {width}",
        ),
        ({"edits": [Edit("resid_post", 0, **one, features=np.array([1, 1]))]}, "different whole numbers"),
        ({"edits": [Edit("resid_post", 0, **one, features=np.array([0.5]))]}, "different whole numbers"),
        ({"edits": [Edit("resid_post", 0, **one)]}, "either features, or an encoder and a decoder"),
        ({"edits": [Edit("resid_post", 0, **direction, features=np.array([0]))]}, "either features"),
        ({"edits": [Edit("mlp_post", 0, **direction)]}, r"needed: \(48, k\)"),
        (
            {"edits": [Edit("resid_post", 0, np.ones(3), np.zeros(1), features=np.array([0]))]},
            "gain of an edit",
        ),
    ]


@pytest.mark.parametrize("number", range(12))
def test_what_does_not_exist_is_refused(llama, number):
    asked, message = refusals(None, 32)[number]
    with pytest.raises(SubjectError, match=message):
        llama.run(llama.tokenize(TEXTS[:1]), **asked)


def test_texts_that_cannot_be_run_are_refused(llama):
    with pytest.raises(SubjectError, match="tokens; the subject reads at most 64"):
        llama.run(llama.tokenize([TEXTS[0] * 9]), surprisal=True)
    with pytest.raises(SubjectError, match="no text was given"):
        llama.run([], surprisal=True)
    empty = llama.tokenize([""])[0]
    none = type(empty)(*(getattr(empty, field.name)[:0] for field in dataclasses.fields(empty)))
    with pytest.raises(SubjectError, match="text 1 of the batch has no tokens"):
        llama.run([empty, none], surprisal=True)


def test_a_parallel_block_has_no_resid_mid(subject_of):
    subject = subject_of("neox")
    with pytest.raises(SubjectError, match="no site 'resid_mid' in layer 0: attention and MLP read the same"):
        subject.run(subject.tokenize(TEXTS), sites={"resid_mid": [0]})
    with pytest.raises(SubjectError, match="no site 'resid_mid'"):
        subject.n_features("resid_mid")


def test_unknown_devices_and_dtypes_are_refused(model_folder):
    with pytest.raises(SubjectError, match="unknown dtype 'float31'; did you mean 'float32'"):
        load_subject(str(model_folder("llama")), dtype="float31")
    with pytest.raises(SubjectError, match="unknown device 'gpu'"):
        load_subject(str(model_folder("llama")), device="gpu")


def test_an_architecture_that_transformer_lens_lacks_is_refused(tmp_path, model_folder):
    folder = make_model(
        tmp_path,
        BertGenerationConfig,
        {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        | {"is_decoder": True},
    )
    with pytest.raises(SubjectError, match="TransformerBridge has no adapter for BertGeneration"):
        load_subject(str(folder))


def test_missing_files_are_named(tmp_path, model_folder):
    for path in model_folder("llama").iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(SubjectError, match=r"no \*\.safetensors; only this format"):
        load_subject(str(tmp_path))
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SubjectError, match="cannot be read"):
        subject_card(str(tmp_path))
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(SubjectError, match="needs the fast tokenizer"):
        subject_card(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(SubjectError, match="is no model folder"):
        subject_card(str(tmp_path))


def test_a_model_that_is_not_here_is_refused_with_the_command_that_gets_it():
    with pytest.raises(SubjectError, match=r"did you mean 'smollm2-135m'.*hf download smollm2-135"):
        load_subject("smollm2-135")
    card = subject_card("some-lab/some-model")
    assert not card.available
    assert "hf download some-lab/some-model" in card.how_to_get
    with pytest.raises(SubjectError, match="hf download some-lab/some-model"):
        card.load_tokenizer()


def test_the_network_is_used_only_when_asked(model_folder, monkeypatch):
    asked = []

    def snapshot(name, local_files_only, **_):
        asked.append(local_files_only)
        if local_files_only:
            raise LocalEntryNotFoundError("not cached")
        return str(model_folder("llama"))

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    with pytest.raises(SubjectError, match="offline=False"):
        load_subject("some-lab/some-model")
    assert asked == [True]
    assert load_subject("some-lab/some-model", offline=False).describe()["name"] == "some-lab/some-model"
    assert asked == [True, False]


# How loading behaves


def test_loading_and_running_write_nothing_to_the_terminal(model_folder, capfd):
    folder = str(model_folder("gpt2"))
    capfd.readouterr()
    subject = load_subject(folder)
    subject.run(subject.tokenize(TEXTS), surprisal=True)
    assert tuple(capfd.readouterr()) == ("", "")


def test_cards_and_the_doctor_do_not_load_torch(model_folder):
    code = (
        "import sys; from neurosae.subject.catalogue import list_subjects, load_subject, subject_card\n"
        "from neurosae.subject.doctor import diagnose\n"
        f"subject_card({str(model_folder('llama'))!r}).load_tokenizer().tokenize(['a dog'])\n"
        "diagnose(); list_subjects(); load_subject('toy')\n"
        "print([name for name in ('torch', 'transformers', 'transformer_lens') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_identity_names_what_matters(llama, model_folder):
    said = llama.describe()
    assert said["architecture"] == "LlamaForCausalLM"
    assert len(said["weights_sha256"]) == len(said["tokenizer_sha256"]) == 64
    assert (said["dtype"], said["device"], said["prepend_bos"]) == ("float32", "cpu", True)
    assert said["transformer-lens"].startswith("3.")
    again = load_subject(str(model_folder("llama")), device="cpu").describe()
    assert again == said


def test_widths_are_those_of_the_sites(subject_of):
    for kind, mlp in (("llama", 48), ("gpt2", 128), ("neox", 48)):
        subject = subject_of(kind)
        widths = {site: subject.n_features(site) for site in sites_of(kind)}
        assert widths == {site: mlp if site == "mlp_post" else 32 for site in sites_of(kind)}
