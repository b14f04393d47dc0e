"""Null models keep the one thing they are for and lose the rest."""

import numpy as np
import pytest
import torch
import xarray as xr

from neurosae.analysis.decoding import decode
from neurosae.analysis.null_models import NULL_MODELS, null_model
from neurosae.dictionary.random_weights import RandomDictionary, random_dictionary
from neurosae.dictionary.toy import ToyDictionary
from neurosae.errors import DesignError, DictionaryError, SubjectError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.recording.pooling import pool_tokens
from neurosae.subject.catalogue import load_subject
from neurosae.testing import planted_recording, planted_responses
from tests.responses import labelled
from tests.test_subject import CONFIGS, make_model

RECORDING = planted_recording(n_items=16, effect=4.0)


def test_shuffled_tokens_keep_lengths_and_activations_and_lose_the_condition():
    shuffled = null_model(RECORDING, "shuffled_tokens")
    assert np.array_equal(np.isnan(shuffled.values), np.isnan(RECORDING.values))
    valid = RECORDING["valid"].values
    rows = [np.sort(each.values[valid][:, 1, 4]) for each in (shuffled, RECORDING)]
    np.testing.assert_array_equal(*rows)
    means = pool_tokens(shuffled).sel(layer=1, feature=4).groupby("condition").mean()
    assert abs(float(means[0] - means[1])) < 1.5 < 4
    intact = decode(pool_tokens(RECORDING), "condition", n_permutations=19)["auroc"].sel(layer=1)
    lost = decode(pool_tokens(shuffled), "condition", n_permutations=19)["auroc"].sel(layer=1)
    assert float(intact) > 0.8 > 0.7 > float(lost)


def test_shuffled_tokens_move_as_whole_vectors():
    shuffled = null_model(RECORDING, "shuffled_tokens", seed=3)
    valid = RECORDING["valid"].values
    stored = {tuple(row) for row in RECORDING.values[valid].reshape(valid.sum(), -1)}
    assert all(tuple(row) in stored for row in shuffled.values[valid].reshape(valid.sum(), -1))


def test_length_only_keeps_what_length_predicts():
    n = np.arange(4, 24)
    values = np.stack([3.0 * n + 1, np.random.default_rng(0).standard_normal(20)], axis=1)
    responses = labelled(values, condition=["a", "b"] * 10).assign_coords(n_tokens=("stimulus", n))
    only = null_model(responses, "length_only")
    np.testing.assert_allclose(only.values[:, 0, 0], values[:, 0])
    design = np.column_stack([np.ones(20), n, np.log(n)])
    residual = values[:, 1] - only.values[:, 0, 1]
    np.testing.assert_allclose(design.T @ residual, 0, atol=1e-9)


def test_random_directions_keep_distances_and_decoding_and_lose_single_features():
    responses = planted_responses(effect=4.0)
    rotated = null_model(responses, "random_directions")
    for layer in (0, 2):
        before, after = (each.values[:, layer] for each in (responses, rotated))
        np.testing.assert_allclose(before @ before.T, after @ after.T, rtol=1e-3, atol=1e-3)
    gap = rotated.sel(layer=1).groupby("condition").mean().diff("condition")
    assert float(np.abs(gap).max()) < 3.0  # the planted 4 is spread over 16 features
    assert np.isnan(null_model(RECORDING, "random_directions").values[~RECORDING["valid"].values]).all()


@pytest.mark.parametrize("null", list(NULL_MODELS))
def test_null_models_are_seeded_stamped_leave_the_source_alone_and_survive_storage(null, tmp_path):
    source = RECORDING if null == "shuffled_tokens" else pool_tokens(RECORDING)
    before = source.copy(deep=True)
    made = null_model(source, null, seed=1)
    xr.testing.assert_identical(source, before)
    xr.testing.assert_identical(made, null_model(source, null, seed=1))
    assert made.attrs["null"] == null
    assert '"step": "null_model"' in made.attrs["provenance"]
    save_netcdf(made, tmp_path / "null.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "null.nc"), made)


def test_null_models_of_the_wrong_data_are_refused():
    with pytest.raises(DesignError, match="no null model 'shuffled'"):
        null_model(RECORDING, "shuffled")
    with pytest.raises(DesignError, match="responses have none left"):
        null_model(pool_tokens(RECORDING), "shuffled_tokens")
    with pytest.raises(DesignError, match="n_tokens"):
        null_model(labelled(np.ones((4, 2))), "length_only")


def test_a_random_dictionary_is_as_wide_and_as_sparse_as_the_one_it_stands_for():
    rows = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32) + 3
    like = ToyDictionary(12, 16, layer=2)
    made = random_dictionary(like, rows, seed=4)
    assert (made.n_features, made.d_in, made.site, made.layer) == (12, 16, "resid_post", 2)
    sparsity = [each.encode(rows).nnz / len(rows) for each in (like, made)]
    assert sparsity[0] == pytest.approx(sparsity[1], abs=1.0)
    codes = made.encode(rows)
    assert codes.dtype == np.float32
    assert codes.data.min() > 0
    np.testing.assert_allclose(made.decode(codes), codes.toarray() @ made.decoder + rows.mean(0), rtol=1e-4)


def test_random_codes_are_the_largest_projections():
    made = RandomDictionary(20, 6, k=3, seed=1)
    row = np.random.default_rng(2).standard_normal((1, 6)).astype(np.float32)
    projections = (row @ made.decoder.T)[0]
    assert set(made.encode(row).indices) == set(np.argsort(projections)[-3:])
    assert (
        made.describe()["weights_sha256"] != RandomDictionary(20, 6, k=3, seed=2).describe()["weights_sha256"]
    )
    np.testing.assert_allclose(np.linalg.norm(made.decoder, axis=1), 1, rtol=1e-6)


def test_random_dictionaries_out_of_range_are_refused():
    with pytest.raises(DictionaryError, match="k is 9"):
        RandomDictionary(8, 4, k=9)
    with pytest.raises(DictionaryError, match="bias has shape"):
        RandomDictionary(8, 4, k=2, bias=np.zeros(3))
    with pytest.raises(DictionaryError, match="rows have shape"):
        random_dictionary(ToyDictionary(8, 16), np.ones((3, 4)))


def test_an_untrained_copy_has_the_architecture_and_other_weights(tmp_path):
    folder = make_model(tmp_path / "model", *CONFIGS["llama"])
    trained = load_subject(str(folder), device="cpu")
    state = torch.random.get_rng_state()
    copies = [load_subject(str(folder), device="cpu", untrained=seed) for seed in (5, 5, 6)]
    assert torch.equal(torch.random.get_rng_state(), state)
    described = [each.describe() for each in (trained, *copies)]
    hashes = [each["weights_sha256"] for each in described]
    assert hashes[1] == hashes[2]
    assert len(set(hashes)) == 3
    assert described[1]["name"] == f"{folder}-untrained-5"
    assert described[1]["untrained_seed"] == 5
    tokens = trained.tokenize(["the key is here"])
    rows = [
        each.run(tokens, sites={"resid_post": [0, 1]}).activations["resid_post"]
        for each in (trained, *copies)
    ]
    assert rows[0].shape == rows[1].shape
    np.testing.assert_array_equal(rows[1], rows[2])
    assert not np.allclose(rows[0], rows[1])


def test_there_is_no_untrained_toy():
    with pytest.raises(SubjectError, match="built, not trained"):
        load_subject("toy", untrained=0)
