"""Dictionaries from sessions, harvests, texts and arrays: the same folder, whole, resumed, described."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from sae_lens import SAE
from typer.testing import CliRunner

from neurosae.cli import main
from neurosae.dictionary import training
from neurosae.dictionary.load import load_dictionary
from neurosae.errors import DesignError, DictionaryError, StimulusError, StorageError
from neurosae.protocol.recipe import Recipe
from neurosae.protocol.training_plan import load_training_plan
from neurosae.recording.dictionary_sweep import combinations, sweep_dictionaries
from neurosae.recording.dictionary_training import train_dictionary, train_plan
from neurosae.recording.harvest import harvest, open_harvest
from neurosae.recording.netcdf import load_netcdf
from neurosae.recording.runner import record
from neurosae.subject.toy import ToySubject
from tests.recorded import protocol, stimuli

WORDS = ("the", "key", "keys", "is", "are", "here", "dog", "sees", "capital", "of", "france", "today", ".")
PLACE = {"site": "resid_post", "layer": 2}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def texts(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=50)) for _ in range(n)]


def recipe(**changes):
    usual = {
        "width": 48,
        "n_tokens": 4_000,
        "batch": 100,
        "k": 4,
        "learning_rate": 5e-3,
        "dead_after": 20,
        "max_norm": 10,
        "autocast": False,
    }
    return Recipe(**{**usual, **changes})


def weights(folder):
    return (folder / "sae_weights.safetensors").read_bytes()


def activations(n=2_000, width=16, seed=0):
    rng = np.random.default_rng(seed)
    features = np.linalg.qr(rng.normal(size=(width, width)))[0]
    codes = rng.gamma(2, size=(n, width)) * (rng.random((n, width)) < 0.15)
    return (codes @ features + 0.5).astype(np.float32)


def plan_file(folder, corpus="corpus.jsonl", **training_keys):
    lines = {**recipe().model_dump(exclude_none=True, exclude={"levels"}), **training_keys}
    settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items())
    text = "\n".join(json.dumps({"text": its}) for its in texts())
    (folder / "corpus.jsonl").write_text(text)
    (folder / "plan.toml").write_text(
        f'[source]\nsubject = "toy"\ncorpus = ["{corpus}"]\nn_tokens = 1500\ncontext = 32\n'
        f"[training]\n{settings}\n"
        '[[dictionary]]\nname = "l2"\nsite = "resid_post"\nlayer = 2\n'
        '[[dictionary]]\nname = "m1"\nsite = "mlp_out"\nlayer = 1\ntraining = {seed = 1, width = 40}\n'
    )
    return folder / "plan.toml"


def test_a_dictionary_from_texts_rebuilds_and_describes_itself(tmp_path):
    made = train_dictionary(texts(), recipe(), tmp_path / "mine", **PLACE, subject=ToySubject())
    assert (made.subject, made.site, made.layer, made.n_features) == ("toy", "resid_post", 2, 50)
    known = made.metadata
    assert known["hook_name"] == "blocks.2.hook_resid_post"
    assert known["prepend_bos"] is True
    assert known["training_tokens"] == 4_000
    assert known["unique_tokens"] + 100 == 2_000
    assert known["context_size"] == 128
    assert known["sink_features"] == 2
    assert known["recipe"] == json.loads(recipe().model_dump_json())
    assert known["seed"] == 0
    assert known["explained_variance"] > 0.6
    assert known["l0"] == pytest.approx(4, abs=0.6)
    assert 0 <= known["num_dead_features"] < 48
    assert len(known["corpus_sha256"]) == len(known["subject_sha256"]) == 64
    card = (tmp_path / "mine/README.md").read_text()
    assert card.startswith("# mine\n")
    assert "| Variance of these explained | 0." in card
    assert SAE.load_from_disk(tmp_path / "mine").cfg.d_sae == 50
    readable = os.stat(tmp_path / "mine/sae_weights.safetensors").st_mode & 0o777
    assert readable == 0o644


def test_a_session_gives_the_rows_of_its_valid_tokens(tmp_path):
    session = record(ToySubject(), protocol(), tmp_path / "session", stimuli=stimuli(30))
    expected = session["resid_post"].sel(layer=2)
    expected = expected.values[expected["valid"].values]
    its = recipe(n_tokens=600, batch=50, sink_safe=False)
    made = train_dictionary(session, its, tmp_path / "a", **PLACE)
    collected = np.fromfile(tmp_path / "a/collected/rows.f32", dtype="<f4").reshape(-1, 32)
    np.testing.assert_array_equal(collected, expected)
    assert made.metadata["corpus_sha256"] == session.stimuli.attrs["sha256"]
    array = train_dictionary(expected, its, tmp_path / "b", **PLACE, subject="toy")
    np.testing.assert_array_equal(made.decoder, array.decoder)
    with pytest.raises(DictionaryError, match="layer 3 of resid_post was not recorded, but 1, 2"):
        train_dictionary(session, its, tmp_path / "c", site="resid_post", layer=3)


def test_files_and_harvests_and_iterators_give_the_dictionary_of_the_same_rows(tmp_path):
    (tmp_path / "corpus.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts()))
    toy = ToySubject()
    one = train_dictionary(tmp_path / "corpus.jsonl", recipe(), tmp_path / "a", **PLACE, subject=toy)
    kept = open_harvest(tmp_path / "a/harvest")
    train_dictionary(kept, recipe(), tmp_path / "b", **PLACE)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    rows = kept.rows("resid_post", 2).astype(np.float32)
    parts = (rows[start : start + 300] for start in range(0, len(rows), 300))
    train_dictionary(parts, recipe(), tmp_path / "c", **PLACE, subject="toy")
    train_dictionary(rows, recipe(), tmp_path / "d", **PLACE, subject="toy")
    assert weights(tmp_path / "c") == weights(tmp_path / "d")
    np.testing.assert_array_equal(load_dictionary(tmp_path / "b").decoder, one.decoder)


def test_a_stopped_training_goes_on_to_the_same_folder_and_a_finished_one_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 10)
    rows = activations()
    place = {"site": "mlp_out", "layer": 1, "subject": "toy"}
    train_dictionary(rows, recipe(), tmp_path / "whole", **place)

    def stopping(_step):
        def advance(done, _total):
            if done == 25:
                raise KeyboardInterrupt

        return advance, lambda _state: None

    with pytest.raises(KeyboardInterrupt):
        train_dictionary(rows, recipe(), tmp_path / "part", **place, progress=stopping)
    assert not (tmp_path / "part/cfg.json").exists()
    train_dictionary(rows, recipe(), tmp_path / "part", **place)
    assert weights(tmp_path / "whole") == weights(tmp_path / "part")
    shutil.rmtree(tmp_path / "part/training")
    again = train_dictionary(rows, recipe(), tmp_path / "part", **place)
    assert again.name == "part"
    assert not (tmp_path / "part/training").exists()
    with pytest.raises(DictionaryError, match="holds a dictionary by another recipe"):
        train_dictionary(rows, recipe(k=3), tmp_path / "part", **place)
    with pytest.raises(DictionaryError, match="holds a dictionary by other activations"):
        train_dictionary(activations(seed=1), recipe(), tmp_path / "part", **place)


def test_a_training_on_other_rows_is_not_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 10)
    train_dictionary(activations(), recipe(), tmp_path, site="mlp_out", layer=1, subject="toy")
    (tmp_path / "cfg.json").unlink()
    with pytest.raises(DictionaryError, match="holds a training on other activations"):
        train_dictionary(activations(seed=1), recipe(), tmp_path, site="mlp_out", layer=1, subject="toy")


def test_sinks_in_the_rows_get_features_and_none_are_added_without(tmp_path):
    rows = activations()
    place = {"site": "mlp_out", "layer": 1, "subject": "toy"}
    plain = train_dictionary(rows, recipe(), tmp_path / "plain", **place)
    assert plain.metadata["sink_features"] == 0
    away = np.zeros(16, dtype=np.float32)
    away[3] = 2_000
    with_sinks = np.concatenate([rows[:50] + away, rows])
    safe = train_dictionary(with_sinks, recipe(), tmp_path / "safe", **place)
    assert safe.metadata["sink_features"] == 4
    assert safe.n_features == 48 + 4
    sinks = with_sinks[:50]
    error = np.linalg.norm(safe.decode(safe.encode(sinks)) - sinks, axis=1)
    assert error.max() < 0.01 * 2_000
    left_alone = train_dictionary(with_sinks, recipe(sink_safe=False), tmp_path / "off", **place)
    assert left_alone.metadata["sink_features"] == 0
    topk = train_dictionary(with_sinks, recipe(architecture="topk"), tmp_path / "topk", **place)
    assert topk.n_features == 48
    assert "Attention sinks are not rebuilt" in (tmp_path / "topk/README.md").read_text()


def test_special_tokens_of_a_harvest_are_kept_aside(tmp_path):
    toy = ToySubject()
    kept = harvest(toy, texts(), tmp_path, {"resid_post": [1, 2]}, n_tokens=200, context=32)
    alone = toy.run(toy.tokenize(["the"]), sites={"resid_post": [2]}).activations["resid_post"][:1, 0]
    np.testing.assert_allclose(kept.special("resid_post", 2), alone, atol=1e-6)
    assert kept.asked["dtype"] == "float32"
    assert kept.asked["described"]["name"] == "toy"


def test_harvested_rows_are_the_activations_of_the_windows(tmp_path):
    toy = ToySubject()
    one = ["the key is here . the dog sees the capital of france today"]
    kept = harvest(toy, one, tmp_path, {"resid_post": [2]}, n_tokens=100, context=32)
    direct = toy.run(toy.tokenize(one), sites={"resid_post": [2]}).activations["resid_post"][1:, 0]
    assert kept.n_rows == len(direct) == 13
    np.testing.assert_allclose(kept.rows("resid_post", 2), direct, atol=2e-3)


def test_a_harvest_without_its_precision_is_continued_and_another_precision_refused(tmp_path):
    toy = ToySubject()
    asked = (toy, texts(), tmp_path, {"resid_post": [2]})
    harvest(*asked, n_tokens=150, context=32)
    state = json.loads((tmp_path / "harvest.json").read_text())
    old = {**state, "asked": {key: its for key, its in state["asked"].items() if key != "dtype"}}
    old.pop("described")
    (tmp_path / "harvest.json").write_text(json.dumps(old))
    kept = harvest(*asked, n_tokens=150, context=32)
    assert kept.n_rows == 150
    with pytest.raises(DictionaryError, match="does not say which subject was run"):
        train_dictionary(kept, recipe(), tmp_path / "out", **PLACE)
    its = recipe(n_tokens=200, batch=50)
    told = train_dictionary(kept, its, tmp_path / "told", **PLACE, subject=toy)
    assert (told.subject, told.metadata["prepend_bos"]) == ("toy", True)
    state["asked"]["dtype"] = "bfloat16"
    (tmp_path / "harvest.json").write_text(json.dumps(state))
    with pytest.raises(StorageError, match="differs in dtype"):
        harvest(*asked, n_tokens=150, context=32)


def test_open_harvest_refuses_what_is_none(tmp_path):
    (tmp_path / "harvest.json").write_text("{}")
    with pytest.raises(StorageError, match="is damaged"):
        open_harvest(tmp_path)
    harvest(ToySubject(), texts(), tmp_path / "h", {"resid_post": [2]}, n_tokens=150, context=32)
    with pytest.raises(DictionaryError, match="no activations of mlp_out 1, but of resid_post 2"):
        train_dictionary(open_harvest(tmp_path / "h"), recipe(), tmp_path / "o", site="mlp_out", layer=1)


@pytest.mark.parametrize(
    ("source", "said", "kind"),
    [
        (np.zeros((50, 4), np.float32), "fewer than one batch", DictionaryError),
        (np.zeros((2_000,), np.float32), r"shape \(2000,\)", DesignError),
        (iter(()), "gave no rows", DesignError),
        (iter([np.zeros((5, 4)), np.zeros((5, 3))]), r"\(row, 4\) is needed", DesignError),
        (np.full((2_000, 4), np.nan, np.float32), "finite", DictionaryError),
        ([""], "no token", StimulusError),
        (["the key ."], "fewer than one batch", DictionaryError),
    ],
)
def test_sources_that_cannot_be_trained_on_are_refused(tmp_path, source, said, kind):
    with pytest.raises(kind, match=said):
        train_dictionary(source, recipe(), tmp_path / "out", **PLACE, subject="toy")
    assert not (tmp_path / "out/cfg.json").exists()


def test_who_the_subject_is_has_to_be_told(tmp_path):
    with pytest.raises(DictionaryError, match="which subject the dictionary is of"):
        train_dictionary(activations(), recipe(), tmp_path, **PLACE)
    with pytest.raises(DictionaryError, match="unknown site 'attic'"):
        train_dictionary(activations(), recipe(), tmp_path, site="attic", layer=0, subject="toy")


def test_a_diverging_training_says_so_and_keeps_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 1)
    its = recipe(architecture="standard", remedy="none", l1=1e-3, learning_rate=20.0, warm_up=0.5)
    with pytest.raises(DictionaryError, match=r"diverges.*last good checkpoint"):
        train_dictionary(activations(), its, tmp_path, **PLACE, subject="toy")
    assert (tmp_path / "training/checkpoint/sae_weights.safetensors").exists()
    assert not (tmp_path / "cfg.json").exists()


def test_corpora_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "so"}\n{"txt": 1}\n')
    with pytest.raises(StimulusError, match="line 2: no JSON object"):
        train_dictionary(tmp_path / "a.jsonl", recipe(), tmp_path / "o", **PLACE, subject="toy")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StimulusError, match="text in UTF-8"):
        train_dictionary(tmp_path / "b.txt", recipe(), tmp_path / "o", **PLACE, subject="toy")


def test_a_plan_trains_all_its_dictionaries_on_one_pass(tmp_path):
    plan = load_training_plan(plan_file(tmp_path))
    assert plan.sites == {"resid_post": (2,), "mlp_out": (1,)}
    shown = []

    def progress(step):
        return (lambda done, total: shown.append((step, done, total))), (lambda state: shown.append(state))

    made = train_plan(plan, tmp_path / "out", progress=progress)
    assert {name: (its.site, its.layer, its.n_features) for name, its in made.items()} == {
        "l2": ("resid_post", 2, 50),
        "m1": ("mlp_out", 1, 40),
    }
    assert ("harvesting", 1500, 1500) in shown
    assert ("training m1", 40, 40) in shown
    assert {"loss", "l0", "explained_variance", "dead"} <= set(next(s for s in shown if isinstance(s, dict)))
    before = weights(tmp_path / "out/l2")
    train_plan(plan, tmp_path / "again", harvested=tmp_path / "out/harvest")
    assert weights(tmp_path / "again/l2") == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "m1"', 'name = "l2"', "two dictionaries are called 'l2'"),
        ("width = 40", "k = 64", "m1: the recipe: k is 64, and the dictionary has only 48"),
        ("layer = 2", "layer = -1", r"dictionary\.layer"),
        ("[source]", "[sauce]", "unknown section 'sauce'"),
        ("n_tokens = 1500", "n_tokens = 0", r"source\.n_tokens"),
        ('corpus = ["corpus.jsonl"]', "", "names no text"),
        ("[source]", "[source", "cannot be read as TOML"),
    ],
)
def test_a_wrong_plan_is_refused(tmp_path, old, new, said):
    path = plan_file(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DictionaryError, match=said):
        load_training_plan(path)


def test_a_plan_without_dictionaries_is_refused(tmp_path):
    path = plan_file(tmp_path)
    path.write_text(path.read_text().split("[[dictionary]]")[0])
    with pytest.raises(DictionaryError, match="no \\[\\[dictionary\\]\\] is planned"):
        load_training_plan(path)


def test_a_sweep_gives_a_table_with_curves(tmp_path):
    place = {"site": "mlp_out", "layer": 1, "subject": "toy"}
    grid = {"k": [1, 6], "learning_rate": [1e-3, 5e-3]}
    table = sweep_dictionaries(activations(), recipe(), grid, tmp_path, **place)
    assert table.sizes == {"run": 4, "step": 1}
    assert table["k"].values.tolist() == [1, 1, 6, 6]
    assert table["l0"].values == pytest.approx([1, 1, 6, 6], abs=0.8)
    explained = table["explained_variance"].values
    assert explained[3] > explained[1]
    single = load_dictionary(tmp_path / "k=6,learning_rate=0.005")
    assert single.metadata["explained_variance"] == explained[3]
    for variable in table.data_vars.values():
        assert {"long_name", "units"} <= set(variable.attrs)


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"kk": [1]}, "no key 'kk'; did you mean 'k'"),
        ({"k": []}, "different values are needed"),
        ({"k": [2, 2]}, "different values are needed"),
        ({}, "0 keys"),
        ({"seed": range(201)}, "201 runs"),
        ({"k": [100]}, "k=100.*only 48 features"),
    ],
)
def test_a_sweep_of_nothing_or_too_much_is_refused(grid, said):
    with pytest.raises(DictionaryError, match=said):
        combinations(recipe(), grid)


def test_the_verb_trains_and_sweeps(tmp_path):
    path = plan_file(tmp_path)
    run = CliRunner().invoke
    done = run(main, ["train", str(path), "-o", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    assert "of the variance explained" in json.loads(done.stdout)["m1"]
    shared = ["--harvest", str(tmp_path / "out/harvest")]
    done = run(main, ["train", str(path), "-o", str(tmp_path / "s"), *shared, "--sweep", "k=2,4"])
    assert done.exit_code == 0, done.output
    assert load_netcdf(tmp_path / "s/l2/sweep.nc")["k"].values.tolist() == [2, 4]
    lines = (tmp_path / "s/m1/sweep.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:2] == ["run", "k"]
    assert len(lines) == 3
    assert (tmp_path / "s/l2/curves.png").stat().st_size > 5_000
    done = run(main, ["train", str(path), "-o", str(tmp_path / "s"), "--sweep", "k"])
    assert done.exit_code == 3


def test_the_recipe_of_the_dictionaries_to_ship_is_sound():
    root = os.path.dirname(os.path.dirname(__file__))
    plan = load_training_plan(os.path.join(root, "dictionaries/smollm2-135m.toml"))
    assert plan.sites == {"resid_post": (7, 15, 20), "attn_out": (15,), "mlp_out": (15,)}
    assert {its.width for its in plan.recipes} == {2304}
    assert {(its.k_start, its.k, its.k_warm_up) for its in plan.recipes} == {(128, 32, 0.3)}


def test_the_pages_code_runs_as_it_is_written(tmp_path, monkeypatch, capsys):
    root = os.path.dirname(os.path.dirname(__file__))
    with open(os.path.join(root, "docs/dictionaries.md"), encoding="utf-8") as file:
        blocks = file.read().split("```")[1::2]
    by_kind = {
        kind: [b.removeprefix(kind) for b in blocks if b.startswith(kind)] for kind in ("toml", "python")
    }
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text(by_kind["toml"][0])
    (tmp_path / "corpus.jsonl").write_text("\n".join(json.dumps({"text": its}) for its in texts(80)))
    for block in (b for b in blocks if b.startswith("sh\n")):
        words = block.split()[2:]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "swept/mlp1/sweep.tsv").exists()
    exec(compile("\n".join(by_kind["python"]), "docs/dictionaries.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith("66 0.")
    assert (tmp_path / "study/session.json").exists()
