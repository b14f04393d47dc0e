"""Codes recorded with the activations, in one pass, are those that encode() makes of them."""

import json
import shutil

import numpy as np
import pytest

from neurosae.dictionary.catalogue import dictionary_recipe, make_dictionary, open_dictionary
from neurosae.dictionary.toy import ToyDictionary
from neurosae.errors import DictionaryError, ProtocolError, StorageError
from neurosae.protocol.load import load_protocol
from neurosae.protocol.models import Protocol
from neurosae.recording import files, plan, portion
from neurosae.recording.encode_recording import encode
from neurosae.recording.runner import record
from neurosae.recording.upkeep import damaged
from neurosae.subject.toy import ToySubject
from tests.recorded import dictionary, protocol, same, stimuli, values


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 3)


class Counting(ToySubject):
    def __init__(self):
        super().__init__()
        self.asked, self.n_texts = [], 0

    def run(self, tokens, **kwargs):
        self.asked.append(kwargs["sites"])
        self.n_texts += len(tokens)
        return super().run(tokens, **kwargs)


class Never(ToySubject):
    def run(self, tokens, **kwargs):
        raise AssertionError("the subject ran before all was checked")


def dense(codes, layer):
    return codes.csr(layer).toarray()


def test_recorded_codes_are_those_of_the_recorded_activations(tmp_path):
    """Batches differ, and with them the last digits before codes are rounded to eleven of them."""
    some = [dictionary(1), dictionary(2, seed=1)]
    together = record(ToySubject(), protocol(), tmp_path / "a", stimuli=stimuli(), dictionaries=some)
    after = encode(record(ToySubject(), protocol(), tmp_path / "b", stimuli=stimuli()), some)
    ours = together["resid_post", "toy-resid_post-l1", "toy-resid_post-l2"]
    assert ours.sizes == after.sizes
    np.testing.assert_array_equal(ours["valid"], after["valid"])
    for layer in (1, 2):
        np.testing.assert_allclose(dense(ours, layer), dense(after, layer), rtol=2**-10, atol=1e-6)
    assert 0 < (dense(ours, 2) > 0).mean() < 1
    assert damaged(tmp_path / "a") == []


def test_one_pass_serves_all_sites_and_dictionaries(tmp_path):
    subject = Counting()
    some = [dictionary(3), dictionary(1, site="mlp_out", shift=3)]
    session = record(subject, protocol(), tmp_path / "a", stimuli=stimuli(), dictionaries=some)
    assert subject.n_texts == 11
    assert subject.asked[0] == {"resid_post": (1, 2, 3), "mlp_out": (1,)}
    assert session["resid_post"].layer.values.tolist() == [1, 2]
    plain = record(ToySubject(), protocol(), tmp_path / "b", stimuli=stimuli())
    np.testing.assert_array_equal(session["resid_post"].values, plain["resid_post"].values)
    assert session["mlp_out", "toy-mlp_out-l1"].sizes["feature"] == 32


def test_codes_alone_are_stored_where_no_sites_are_asked_for(tmp_path):
    study = protocol(sites=[], dictionaries=["toy"])
    session = record(ToySubject(), study, tmp_path / "a", stimuli=stimuli())
    both = record(ToySubject(), protocol(), tmp_path / "b", stimuli=stimuli(), dictionaries=[dictionary()])
    assert session.sites == ()
    assert not [path for path in (tmp_path / "a").rglob("*.nc") if "+" not in str(path.relative_to(tmp_path))]
    assert session.counts == both.counts
    name = "toy-resid_post-l2"
    np.testing.assert_array_equal(dense(session["resid_post", name], 2), dense(both["resid_post", name], 2))


def test_sinks_are_judged_by_the_sites_of_dictionaries_too(tmp_path):
    class Sinking(ToySubject):
        def run(self, tokens, **kwargs):
            readings = super().run(tokens, **kwargs)
            first = np.cumsum([0, *(len(text) for text in tokens)])[:-1]
            readings.activations["resid_post"][first + 1] *= 1000
            return readings

    study = protocol(sites=[], dictionaries=["toy"])
    session = record(Sinking(), study, tmp_path / "a", stimuli=stimuli())
    assert session.counts["sinks"] == 11
    assert not session["resid_post", "toy-resid_post-l2"]["valid"].values[:, 1].any()


def test_the_fit_is_judged_on_ordinary_tokens_of_the_first_shard_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 20)
    toy = dictionary()
    session = record(ToySubject(), protocol(), tmp_path / "a", stimuli=stimuli(40), dictionaries=[toy])
    its = session.dictionaries[toy.name]
    recording = session["resid_post"].isel(stimulus=slice(0, 20)).sel(layer=2)
    rows = recording.values[recording.valid.values]
    rebuilt = toy.decode(toy.encode(rows))
    fvu = ((rows - rebuilt) ** 2).sum() / ((rows - rows.mean(axis=0)) ** 2).sum()
    assert its["fvu"] == pytest.approx(fvu, rel=1e-4)
    assert its["l0"] == pytest.approx(toy.encode(rows).nnz / len(rows))
    assert its["weights_sha256"] == toy.describe()["weights_sha256"]
    assert session.provenance == json.loads((tmp_path / "a" / "session.json").read_text())["provenance"]


def test_a_dictionary_of_other_activations_is_refused_after_one_shard_and_nothing_is_kept(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 20)
    subject, wrong = Counting(), dictionary(shift=-50.0)
    with pytest.raises(DictionaryError, match="of the variance unexplained"):
        record(subject, protocol(), tmp_path / "a", stimuli=stimuli(60), dictionaries=[wrong])
    assert subject.n_texts == 20
    assert not list((tmp_path / "a").rglob("shard-*.nc"))


def test_a_poor_dictionary_is_used_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 20)
    poor = dictionary(shift=0.3)
    with pytest.warns(UserWarning, match="leaves 0.[5-9]. of the variance"):
        session = record(ToySubject(), protocol(), tmp_path / "a", stimuli=stimuli(20), dictionaries=[poor])
    assert 0.5 < session.dictionaries[poor.name]["fvu"] < 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (ToyDictionary(4, 16), "of width 16; the recording holds 32"),
        (dictionary(7), "of layer 7; the recording holds"),
        (ToyDictionary(4, 32, subject="gpt2"), "of subject 'gpt2'; the recording holds 'toy'"),
    ],
)
def test_a_dictionary_that_does_not_belong_is_refused_before_the_subject_runs(tmp_path, wrong, message):
    with pytest.raises(DictionaryError, match=message):
        record(Never(), protocol(), tmp_path / "a", stimuli=stimuli(), dictionaries=[wrong])
    assert not (tmp_path / "a").exists()


def test_a_dictionary_of_another_bos_policy_is_refused_before_the_subject_runs(tmp_path):
    class Said(Never):
        def describe(self):
            return {**super().describe(), "prepend_bos": True}

    toy = dictionary()
    toy.metadata = {"prepend_bos": False}
    with pytest.raises(DictionaryError, match="of prepend_bos False; the recording holds True"):
        record(Said(), protocol(), tmp_path / "a", stimuli=stimuli(), dictionaries=[toy])


def test_two_dictionaries_of_one_name_are_refused(tmp_path):
    twice = [dictionary(), dictionary(seed=1)]
    with pytest.raises(DictionaryError, match="'toy-resid_post-l2' is given twice"):
        record(Never(), protocol(), tmp_path / "a", stimuli=stimuli(), dictionaries=twice)


def test_a_changed_dictionary_is_refused_with_what_it_was_and_is(tmp_path):
    toy = dictionary()
    record(ToySubject(), protocol(), tmp_path / "a", stimuli=stimuli(), dictionaries=[toy])
    before = values(record(Never(), protocol(), tmp_path / "a", stimuli=stimuli(), dictionaries=[toy]))
    was, now = toy.describe()["weights_sha256"][:8], dictionary(seed=1).describe()["weights_sha256"][:8]
    with pytest.raises(StorageError, match=f"weights_sha256 was '{was}…', is '{now}…'"):
        record(Never(), protocol(), tmp_path / "a", stimuli=stimuli(), dictionaries=[dictionary(seed=1)])
    with pytest.raises(StorageError, match=r"differs in dictionaries .* added .* by encode"):
        record(Never(), protocol(), tmp_path / "a", stimuli=stimuli())
    again = record(Never(), protocol(), tmp_path / "a", stimuli=stimuli(), dictionaries=[toy])
    assert values(again) == before


def test_an_interrupted_recording_of_codes_goes_on_to_the_same(tmp_path, monkeypatch):
    class StoppedError(Exception):
        pass

    some = [dictionary(1), dictionary(2)]
    whole = record(ToySubject(), protocol(), tmp_path / "a", stimuli=stimuli(), dictionaries=some)
    original, calls = portion.encoded, []

    def failing(*args):
        calls.append(None)
        if len(calls) > 14:
            raise StoppedError
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(portion, "encoded", failing)
        with pytest.raises(StoppedError):
            record(ToySubject(), protocol(), tmp_path / "b", stimuli=stimuli(), dictionaries=some)
    subject = Counting()
    resumed = record(subject, protocol(), tmp_path / "b", stimuli=stimuli(), dictionaries=some)
    assert 0 < subject.n_texts < 11
    same(whole, resumed)


def test_batches_change_no_codes(tmp_path):
    some = [dictionary(2)]
    one = record(ToySubject(), protocol(batch_tokens=1), tmp_path / "a", stimuli=stimuli(), dictionaries=some)
    many = record(
        ToySubject(), protocol(batch_tokens=500), tmp_path / "b", stimuli=stimuli(), dictionaries=some
    )
    key = ("resid_post", "toy-resid_post-l2")
    np.testing.assert_allclose(dense(one[key], 2), dense(many[key], 2), rtol=2**-10, atol=1e-6)


def test_room_for_codes_is_asked_for_before_the_subject_runs(tmp_path, monkeypatch):
    n_tokens = sum(len(text) for text in ToySubject().tokenize(stimuli()["text"].tolist()))
    raw = int(1.05 * 4 * 2 * 32 * n_tokens)
    usage = type("Usage", (), {"free": raw + 10})()
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match="MB are needed"):
        record(Never(), protocol(), tmp_path / "a", stimuli=stimuli(), dictionaries=[dictionary()])


def test_dictionaries_of_a_protocol_are_found_beside_its_file(tmp_path):
    folder = saved_dictionary(tmp_path / "study" / "dictionaries" / "both-signs")
    stimuli().to_csv(tmp_path / "study" / "words.tsv", sep="\t", index=False)
    file = tmp_path / "study" / "demo.toml"
    file.write_text(
        "name = 'demo'\nstimuli = 'words.tsv'\nsubject = 'toy'\n"
        "[recording]\nlayers = [2]\ndictionaries = ['dictionaries/both-signs', 'toy']\n"
    )
    study = load_protocol(file)
    session = record(ToySubject(), study, tmp_path / "out")
    assert sorted(session.dictionaries) == ["both-signs", "toy-resid_post-l2"]
    assert session.protocol["recording"]["dictionaries"] == ["dictionaries/both-signs", "toy"]
    both = session["resid_post", "both-signs"]
    recording = session["resid_post"].sel(layer=2).values[both["valid"].values]
    np.testing.assert_allclose(dense(both, 2)[:, :32], np.maximum(recording, 0), rtol=1e-3, atol=1e-5)
    shutil.move(folder, tmp_path / "elsewhere")
    with pytest.raises(DictionaryError, match="no dictionary 'dictionaries/both-signs'"):
        record(ToySubject(), study, tmp_path / "other")


def saved_dictionary(folder, scale=1.0):
    """A folder in sae-lens format: one feature for the positive part of each unit, one for the negative."""
    import torch
    from safetensors.torch import save_file

    eye = scale * torch.eye(32)
    weights = {
        "W_enc": torch.cat([eye, -eye], dim=1),
        "W_dec": torch.cat([eye, -eye]),
        "b_enc": torch.zeros(64),
        "b_dec": torch.zeros(32),
    }
    config = {
        "d_in": 32,
        "d_sae": 64,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "architecture": "standard",
        "metadata": {"model_name": "toy", "hook_name": "blocks.2.hook_resid_post"},
    }
    folder.mkdir(parents=True)
    save_file({name: its.contiguous() for name, its in weights.items()}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def test_a_protocol_with_neither_sites_nor_dictionaries_is_refused():
    with pytest.raises(ValueError, match="at least one of them is needed"):
        protocol(sites=[])


def test_paths_of_dictionaries_that_lead_out_are_refused(tmp_path):
    (tmp_path / "words.tsv").write_text("")
    file = tmp_path / "demo.toml"
    file.write_text(
        "name = 'demo'\nstimuli = 'words.tsv'\nsubject = 'toy'\n[recording]\ndictionaries = ['../../x']\n"
    )
    with pytest.raises(ProtocolError, match=r"recording.dictionaries\[0\]: '../../x' leads out"):
        load_protocol(file)


def test_dictionaries_belong_to_the_identity_of_a_protocol():
    one, other = protocol(dictionaries=["toy"]), protocol(dictionaries=["b"])
    assert len({one.sha256, other.sha256, Protocol(name="demo", stimuli="x", subject="toy").sha256}) == 3


def test_another_process_opens_the_same_dictionary_or_none(tmp_path):
    folder = saved_dictionary(tmp_path / "both-signs")
    ours = open_dictionary("both-signs", tmp_path)
    again = make_dictionary(dictionary_recipe(ours))
    assert again.describe() == ours.describe()
    assert dictionary_recipe(dictionary()) is None
    saved_dictionary(tmp_path / "other", scale=2.0)
    shutil.copy(tmp_path / "other" / "sae_weights.safetensors", folder)
    with pytest.raises(DictionaryError, match="holds other weights on this machine"):
        make_dictionary(dictionary_recipe(ours))
