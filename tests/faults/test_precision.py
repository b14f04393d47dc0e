"""What a text reads depends neither on its neighbours in a batch (fault 30) nor on padding (fault 31).

Tolerances are relative L2 of each token: 1e-5 in float32, whose sums only differ in their order; 5e-2 in
bfloat16, which keeps 8 binary digits, so that a sum in another order moves the last of them at every layer.
"""

import numpy as np
import pytest
import torch

from neurosae.dictionary.toy import ToyDictionary
from neurosae.protocol.models import Protocol
from neurosae.recording.pooling import pool_tokens
from neurosae.recording.runner import record
from neurosae.subject.catalogue import load_subject
from tests.faults.recordings import make
from tests.recorded import stimuli
from tests.test_subject import CONFIGS, make_model

KINDS = ("gpt2", "llama", "bloom")
"""Absolute positions, rotary positions, linear biases."""

TOLERANCE = {"float32": 1e-5, "bfloat16": 5e-2}
LAYERS = [0, 1, 2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: make_model(tmp_path_factory.mktemp(kind), *CONFIGS[kind]) for kind in KINDS}


@pytest.fixture(scope="module")
def subjects(folders):
    return {
        (kind, dtype): load_subject(str(folder), device="cpu", dtype=dtype)
        for kind, folder in folders.items()
        for dtype in TOLERANCE
    }


def texts(subject, n=16):
    """Texts of 3 to some 40 tokens."""
    words = ["the", "keys", "to", "a", "cabinet", "are", "on", "its", "table", "and", "so", "be", "it"]
    rng = np.random.default_rng(0)
    return subject.tokenize([" ".join(rng.choice(words, 1 + number)) for number in range(n)])


def read(subject, tokens):
    return subject.run(tokens, sites={"resid_post": LAYERS}).activations["resid_post"]


def one_by_one(subject, tokens):
    return [read(subject, [text]) for text in tokens]


def in_batches(subject, tokens, size, order):
    """Readings of each text when they are run ``size`` at a time in another order."""
    found = {}
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        rows = read(subject, [tokens[number] for number in batch])
        ends = np.cumsum([len(tokens[number]) for number in batch])
        found |= dict(zip(batch, np.split(rows, ends[:-1]), strict=True))
    return [found[number] for number in range(len(tokens))]


def worst(ours, theirs):
    """Largest relative L2 of a token at a layer."""
    ours, theirs = np.concatenate(ours), np.concatenate(theirs)
    return float((np.linalg.norm(ours - theirs, axis=2) / np.linalg.norm(theirs, axis=2)).max())


def jaccard(ours, theirs):
    """Share of features active in both among those active in either, over all tokens of the last layer."""
    toy = ToyDictionary(32, 32, threshold=0.5)
    a, b = (toy.encode(np.concatenate(its)[:, -1]).toarray() > 0 for its in (ours, theirs))
    assert 0.1 < a.mean() < 0.9
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", KINDS)
def test_fault_30_neighbours_change_a_text_by_no_more_than_the_precision(subjects, kind, dtype):
    subject = subjects[kind, dtype]
    tokens = texts(subject)
    alone = one_by_one(subject, tokens)
    sorted_, shuffled = list(range(16)), np.random.default_rng(1).permutation(16).tolist()
    for size in (2, 4, 16):
        for order in (sorted_, shuffled):
            together = in_batches(subject, tokens, size, order)
            assert worst(together, alone) < TOLERANCE[dtype], (size, order == shuffled)
            assert jaccard(together, alone) > 0.99, (size, order == shuffled)


@pytest.mark.parametrize("kind", KINDS)
def test_fault_31_what_the_padding_holds_changes_no_bit_of_a_text(subjects, kind, monkeypatch):
    subject = subjects[kind, "float32"]
    tokens = texts(subject)
    before = subject.run(tokens, sites={"resid_post": LAYERS}, surprisal=True)
    monkeypatch.setattr(type(subject), "_pad_id", property(lambda _its: 7))
    after = subject.run(tokens, sites={"resid_post": LAYERS}, surprisal=True)
    assert np.array_equal(before.activations["resid_post"], after.activations["resid_post"])
    assert np.array_equal(before.surprisal, after.surprisal, equal_nan=True)
    assert len(before.surprisal) == sum(map(len, tokens))


def test_fault_31_padding_is_nan_and_counts_in_no_response(tmp_path):
    session = make(tmp_path / "out")
    recording = session.recording("resid_post", mask=False)
    values, real = recording.values, recording["valid"].values
    assert not real.all()
    assert np.isnan(values[~real]).all()
    longer = recording.pad(token=(0, 3)).assign_coords(
        {
            name: (("stimulus", "token"), np.pad(its.values, ((0, 0), (0, 3))))
            for name, its in fields(recording)
        }
    )
    for how in ("mean", "rate", "last", "mean_active"):
        expected = pool_tokens(recording, how=how)
        np.testing.assert_array_equal(pool_tokens(longer, how=how).values, expected.values)


def fields(recording):
    """Token fields that pooling reads, with their names."""
    return [
        (name, recording[name]) for name in ("valid", "is_special", "rel_target", "char_start", "char_end")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_near_float32(subjects, kind):
    tokens = texts(subjects[kind, "float32"])
    exact = one_by_one(subjects[kind, "float32"], tokens)
    error = worst(one_by_one(subjects[kind, "bfloat16"], tokens), exact)
    assert 1e-4 < error < 0.1  # it keeps 8 binary digits, and three layers add up


def test_a_session_of_a_bfloat16_subject_says_so_and_is_near_that_of_float32(tmp_path, folders, subjects):
    study = Protocol(name="demo", stimuli="x", subject=str(folders["llama"]))
    table = stimuli(9)
    half = record(subjects["llama", "bfloat16"], study, tmp_path / "half", stimuli=table)
    full = record(subjects["llama", "float32"], study, tmp_path / "full", stimuli=table)
    assert half.provenance["subject"]["dtype"] == "bfloat16"
    ours, theirs = half["resid_post"], full["resid_post"]
    is_valid = ours.valid.values
    assert ours.dtype == np.float32
    assert np.isfinite(half["resid_post"].values[is_valid]).all()
    rows = worst([ours.values[is_valid]], [theirs.values[is_valid]])
    assert 0 < rows < 0.1
    kept = torch.tensor(ours.values[is_valid])
    assert bool((kept == kept.bfloat16().float()).all())  # the file holds them as they were computed
