"""Dictionaries are trained as their recipe says, resume bit for bit, and leave attention sinks unharmed."""

import json

import numpy as np
import pytest
import torch
from sae_lens import SAE

from neurosae.dictionary import training
from neurosae.dictionary.architectures import CLASSES, autoencoder
from neurosae.dictionary.finish import (
    calibrated,
    halved,
    inference_weights,
    save_dictionary,
    sink_directions,
    with_sink_features,
)
from neurosae.dictionary.load import load_dictionary
from neurosae.dictionary.remedies import ghost_grad_loss, resample
from neurosae.dictionary.rows import batches, ordinary
from neurosae.dictionary.training import fit, statistics
from neurosae.errors import DictionaryError
from neurosae.protocol.recipe import Recipe, load_recipe

D_IN, WIDTH = 16, 32


def planted(n=6000, seed=0):
    """Rows made of 24 sparse features, and these features."""
    rng = np.random.default_rng(seed)
    features = np.linalg.qr(rng.normal(size=(D_IN, D_IN)))[0][:12]
    codes = rng.gamma(2, size=(n, 12)) * (rng.random((n, 12)) < 0.15)
    return (codes @ features + 0.5).astype(np.float32), features


def recipe(**changes):
    usual = {
        "width": WIDTH,
        "n_tokens": 12_000,
        "batch": 100,
        "k": 3,
        "k_start": 8,
        "learning_rate": 5e-3,
        "dead_after": 20,
        "max_norm": 100,
        "autocast": False,
    }
    return Recipe(**{**usual, **changes})


def weights_of(sae):
    return {name: its.clone() for name, its in sae.state_dict().items()}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_planted_features_are_found(tmp_path, architecture):
    rows, features = planted()
    sae = fit(rows, recipe(architecture=architecture, n_tokens=40_000), tmp_path)
    decoder = torch.nn.functional.normalize(sae.W_dec.detach(), dim=1).numpy()
    assert np.abs(features @ decoder.T).max(axis=1).mean() > 0.9
    log = [json.loads(line) for line in (tmp_path / training.LOG).read_text().splitlines()]
    assert log[-1]["explained_variance"] > 0.85
    assert log[-1]["step"] == 400


@pytest.mark.parametrize("architecture", CLASSES)
def test_every_architecture_trains_and_loads_as_a_dictionary(tmp_path, architecture):
    levels = (8,) if architecture == "matryoshka" else ()
    sparse = architecture in ("topk", "batchtopk", "matryoshka")
    its = recipe(
        architecture=architecture,
        levels=levels,
        k_start=8 if sparse else None,
        remedy="auxk" if sparse else "none",
        n_tokens=3_000,
        l1=0.1,
        l0=0.1,
    )
    rows, _ = planted()
    weights, config = inference_weights(fit(rows, its, tmp_path / "run"))
    metadata = {"model_name": "toy", "hook_name": "blocks.1.hook_resid_post"}
    save_dictionary(tmp_path / "out", halved(weights), config, metadata)
    loaded = load_dictionary(tmp_path / "out")
    assert loaded.n_features == WIDTH
    assert loaded.layer == 1
    residual = rows[:500] - loaded.decode(loaded.encode(rows[:500]))
    assert (residual**2).sum() < ((rows[:500] - rows[:500].mean(axis=0)) ** 2).sum()


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    rows, _ = planted()
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 20)
    whole = weights_of(fit(rows, recipe(), tmp_path / "whole"))

    def stop(done, _total):
        if done == 47:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(rows, recipe(), tmp_path / "part", progress=stop)
    resumed = weights_of(fit(rows, recipe(), tmp_path / "part"))
    assert whole.keys() == resumed.keys()
    for name, expected in whole.items():
        assert torch.equal(resumed[name], expected), name


def test_another_recipe_does_not_continue_a_training(tmp_path):
    rows, _ = planted()
    fit(rows, recipe(n_tokens=500), tmp_path)
    with pytest.raises(DictionaryError, match="by another recipe: k was 3"):
        fit(rows, recipe(n_tokens=500, k=4), tmp_path)


def test_a_diverging_loss_ends_the_training_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 10)
    rows, _ = planted()
    its = recipe(architecture="standard", k_start=None, remedy="none", l1=1e-3, learning_rate=30.0)
    with pytest.raises(DictionaryError, match="diverges"):
        fit(rows, its, tmp_path)


def test_ghost_grads_equal_the_written_out_formula():
    torch.manual_seed(0)
    x, rebuilt = torch.randn(7, 5), torch.randn(7, 5)
    pre, decoder = torch.randn(7, 6), torch.randn(6, 5)
    dead = torch.tensor([True, False, True, False, False, True])
    mse = (x - rebuilt).pow(2).sum(1).mean()
    total = 0.0
    ghosts = [
        sum(float(torch.exp(pre[i, j])) * decoder[j].double() for j in range(6) if dead[j]) for i in range(7)
    ]
    for i in range(7):
        residual = (x[i] - rebuilt[i]).double()
        scale = residual.norm() / (2 * ghosts[i].norm() + 1e-6)
        total += float((ghosts[i] * scale - residual).pow(2).sum()) / 7
    expected = total * float(mse) / (total + 1e-6)
    found = float(ghost_grad_loss(x, rebuilt, pre, decoder, dead, mse))
    assert found == pytest.approx(expected, rel=1e-6)


def test_ghost_grads_reach_dead_features_only():
    torch.manual_seed(0)
    x, rebuilt = torch.randn(7, 5), torch.randn(7, 5, requires_grad=True)
    encoder = torch.randn(5, 6, requires_grad=True)
    decoder = torch.randn(6, 5, requires_grad=True)
    dead = torch.tensor([True, False, True, False, False, True])
    ghost_grad_loss(x, rebuilt, x @ encoder, decoder, dead, torch.tensor(3.0)).backward()
    assert rebuilt.grad is None
    assert (encoder.grad[:, ~dead] == 0).all()
    assert (decoder.grad[~dead] == 0).all()
    assert (encoder.grad[:, dead] != 0).any()
    assert (decoder.grad[dead] != 0).any()
    none = torch.zeros(6, dtype=torch.bool)
    assert float(ghost_grad_loss(x, rebuilt, x @ encoder, decoder, none, torch.tensor(3.0))) == 0


def test_ghost_grads_add_a_loss_to_training(tmp_path):
    rows, _ = planted()
    its = {"width": 200, "k_start": None, "n_tokens": 4_000, "dead_after": 10}
    plain = weights_of(fit(rows, recipe(remedy="none", **its), tmp_path / "a"))
    ghosts = weights_of(fit(rows, recipe(remedy="ghost_grads", **its), tmp_path / "b"))
    assert not torch.equal(plain["W_enc"], ghosts["W_enc"])


def test_resampling_gives_dead_features_badly_rebuilt_directions():
    torch.manual_seed(0)
    encoder, bias, decoder = torch.randn(5, 6), torch.randn(6), torch.randn(6, 5)
    before = encoder.clone()
    dead = torch.tensor([True, False, True, False, False, False])
    rows, residual = torch.randn(9, 5), torch.zeros(9, 5)
    residual[4] = torch.tensor([0.0, 2.0, 0.0, 0.0, 0.0])
    n = resample(encoder, bias, decoder, dead, rows, residual, torch.Generator().manual_seed(0))
    assert n == 2
    assert torch.equal(encoder[:, ~dead], before[:, ~dead])
    assert (bias[dead] == 0).all()
    along = torch.nn.functional.normalize(decoder[dead], dim=1)
    assert torch.allclose(along, torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]).expand(2, 5))
    lengths = encoder[:, dead].norm(dim=0)
    assert torch.allclose(lengths, (0.2 * before[:, ~dead].norm(dim=0).mean()).expand(2))


def test_resampling_in_training_leaves_fewer_dead(tmp_path):
    rows, _ = planted()
    its = recipe(width=200, k_start=None, n_tokens=20_000, dead_after=10)
    for remedy in ("none", "resampling"):
        fit(rows, its.model_copy(update={"remedy": remedy, "resample_every": 40}), tmp_path / remedy)
    dead = [
        json.loads((tmp_path / remedy / training.LOG).read_text().splitlines()[-1])["dead"]
        for remedy in ("none", "resampling")
    ]
    assert dead[1] < dead[0]


def test_the_schedule_of_k_is_the_table_that_was_asked_for(tmp_path):
    its = recipe(k=2, k_start=10, k_warm_up=0.5, n_tokens=1_000)
    expected = [10, 8.4, 6.8, 5.2, 3.6, 2, 2, 2, 2, 2]
    assert [its.k_at(step) for step in range(10)] == pytest.approx(expected)
    rows, _ = planted()
    seen = []
    sae = autoencoder(its, D_IN)
    real = type(sae).training_forward_pass

    def watching(self, step_input):
        output = real(self, step_input)
        seen.append(float((output.feature_acts > 0).float().sum(dim=1).mean()))
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "autoencoder", lambda *_a, **_k: _watched(its, watching))
        fit(rows, its, tmp_path)
    assert seen == pytest.approx(expected, abs=0.011)


def _watched(its, watching):
    sae = autoencoder(its, D_IN)
    type(sae).training_forward_pass = watching
    return sae


def test_tied_weights_stay_tied(tmp_path):
    rows, _ = planted()
    sae = autoencoder(recipe(tied=True), D_IN)
    assert torch.equal(sae.W_enc, sae.W_dec.T)
    trained = fit(rows, recipe(tied=True, n_tokens=1_000, normalize=False), tmp_path)
    encoder = torch.nn.functional.normalize(trained.W_enc.detach(), dim=0)
    decoder = torch.nn.functional.normalize(trained.W_dec.detach(), dim=1)
    assert float((encoder.T * decoder).sum(dim=1).min()) > 0.95  # one step behind the decoder


def test_a_sink_is_rebuilt_by_its_own_features(tmp_path):
    rows, _ = planted()
    rng = np.random.default_rng(3)
    away = np.zeros(D_IN)
    away[5] = 1
    sinks = (rows[:40] + rng.uniform(300, 4000, size=(40, 1)) * away).astype(np.float32)
    rows = np.concatenate([rows, sinks])
    its = recipe(max_norm=10)
    known = statistics(rows, its)
    directions = sink_directions(sinks, known.mean, n=1)
    assert abs(directions[0, 5]) > 0.999
    sae = fit(rows, its, tmp_path / "run", blocked=directions)
    np.testing.assert_allclose(directions @ sae.W_enc.detach().numpy(), 0, atol=1e-4)
    weights, config = inference_weights(sae)
    usual = rows[ordinary(rows, known.largest)]
    weights, n_added = with_sink_features(weights, directions, usual)
    weights = calibrated(halved(weights), usual, 3, n_fixed=n_added)
    save_dictionary(tmp_path / "out", weights, config, {})
    loaded = SAE.load_from_disk(tmp_path / "out")
    with torch.no_grad():
        codes = loaded.encode(torch.tensor(sinks))
        error = (loaded.decode(codes) - torch.tensor(sinks)).norm(dim=1)
        on_ordinary = loaded.encode(torch.tensor(usual))
    assert float(error.max()) < 10
    assert (codes[:, -2:] > 0).sum(dim=1).tolist() == [1] * 40
    assert float((on_ordinary > 0).sum(dim=1).float().mean()) == pytest.approx(3, abs=0.01)
    assert not (on_ordinary[:, -2:] > 0).any()


def test_rows_come_once_an_epoch_and_go_on_where_they_stopped():
    rows = np.arange(10.0)[:, None]
    kept = np.arange(10) != 3
    endless = batches(rows, kept, 4, seed=1)
    taken = [next(endless).ravel() for _ in range(5)]
    for epoch in (taken[:2], taken[2:4]):
        values = np.concatenate(epoch)
        assert len(set(values.tolist())) == 8
        assert 3 not in values
    for number in range(5):
        again = batches(rows, kept, 4, seed=1, first=number)
        np.testing.assert_array_equal(next(again).ravel(), taken[number])


def test_unusual_rows_are_left_out():
    rows = np.array([[3, 4], [30, 40], [np.nan, 0], [np.inf, 0], [1, 0]], dtype=np.float16)
    assert ordinary(rows, 10).tolist() == [True, False, False, False, True]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"k": 33}, "only 32 features"),
        ({"architecture": "standard", "remedy": "none"}, "k_start needs an architecture with k"),
        ({"n_tokens": 50}, "fewer than one batch"),
        ({"architecture": "gated", "k_start": None}, "auxk needs"),
        ({"warm_up": 0.9}, "exceed the whole training"),
        ({"architecture": "matryoshka"}, "need each other"),
        ({"colour": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_reason(tmp_path, changes, said):
    lines = {**recipe().model_dump(exclude_none=True, exclude={"levels"}), **changes}
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items() if value is not None)
    (tmp_path / "recipe.toml").write_text(f"[training]\n{text}\n")
    with pytest.raises(DictionaryError, match=said):
        load_recipe(tmp_path / "recipe.toml")


def test_too_few_rows_are_refused(tmp_path):
    with pytest.raises(DictionaryError, match="99 rows are fewer than one batch of 100"):
        fit(planted(99)[0], recipe(), tmp_path)
    with pytest.raises(DictionaryError, match="none of the rows"):
        fit(np.full((200, D_IN), np.nan, dtype=np.float32), recipe(), tmp_path)
