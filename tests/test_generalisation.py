"""Generalisation of decoders over layers, windows and conditions: shared and orthogonal codes."""

import numpy as np
import pytest
import xarray as xr

from neurosae.analysis.decoding import decode
from neurosae.analysis.generalisation import generalize
from neurosae.errors import DesignError
from neurosae.testing import planted_responses
from tests.responses import responses_of

LABELS = np.repeat(["a", "b"], 100)


def codes_over_layers(seed=27, n_features=30, separation=3.0):
    """A code v in layers 1 and 2, an orthogonal code u in layer 3, nothing in layers 0 and 4."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((200, 5, n_features))
    v, u = np.linalg.qr(rng.standard_normal((n_features, 2)))[0].T
    for layer, code in ((1, v), (2, v), (3, u)):
        values[LABELS == "b", layer] += separation * code
    return responses_of(values, LABELS)


def test_kat_27_a_shared_code_generalises_over_layers_and_an_orthogonal_one_does_not():
    found = generalize(codes_over_layers(), "condition", n_permutations=20)["auroc"].values
    # Known weights give Phi(3 / sqrt 2) = .983.
    assert (np.diag(found)[1:4] >= 0.93).all()
    assert min(found[1, 2], found[2, 1]) >= 0.93
    for a, b in ((1, 3), (3, 1)):
        assert 0.3 <= found[a, b] <= 0.72
    assert 0.35 <= found[0, 0] <= 0.65
    assert 0.35 <= found[4, 4] <= 0.65


@pytest.mark.parametrize("select", [None, ("welch", 5), ("random", 5)])
def test_kat_27_the_diagonal_is_the_ordinary_decoder_on_the_same_folds(select):
    responses = codes_over_layers()
    found = generalize(responses, "condition", select=select, n_permutations=20, seed=4)
    ordinary = decode(responses, "condition", select=select, n_permutations=20, seed=4)
    for name in ("auroc", "auroc_tested", "p"):
        assert np.diag(found[name].values).tolist() == ordinary[name].values.tolist()


def test_kat_27_codes_of_a_dictionary_do_not_generalise_over_layers():
    responses = codes_over_layers()
    for attrs in ({"basis": "toy/l1", "site": "resid_post"}, {"basis": "units", "site": "mlp_post"}):
        with pytest.raises(DesignError, match=r"features of their own.*residual stream"):
            generalize(responses.assign_attrs(attrs), "condition")


def test_p_is_small_where_the_code_is_shared_and_corrected_over_cells():
    found = generalize(codes_over_layers(), "condition", n_permutations=39)
    assert float(found["p_adjusted"][1, 2]) == 1 / 40
    assert float(found["p_adjusted"][0, 0]) > 0.05
    assert (found["p_adjusted"] >= found["p"]).all()
    assert float(found["ratio"][1, 2]) > 0.85
    assert np.isnan(found["ratio"].values[:, 0]).all()


def test_own_scaling_forgives_a_shift_and_a_gain_between_layers():
    # Three classes: a shift along a code favours one class over the others.
    rng = np.random.default_rng(5)
    labels = np.tile(["x", "y", "z"], 30)
    values = rng.standard_normal((90, 2, 6)) + 2.5 * (
        labels[:, None, None] == np.array(["x", "y", "z", "", "", ""])
    )
    values[:, 1] = 1000 * values[:, 1] + rng.standard_normal(6) * 5000
    responses = responses_of(values, labels)
    scaled = {s: generalize(responses, "condition", scaling=s, n_permutations=20) for s in ("train", "own")}
    assert float(scaled["own"]["auroc"][0, 1]) > 0.9
    for name in ("auroc", "p"):
        assert np.diag(scaled["own"][name]).tolist() == np.diag(scaled["train"][name]).tolist()


def domains(n_items=24, own_code=False, effect=3.0, seed=6):
    """Items of two classes in two domains; the class code is shared or has a feature of its own in each."""
    rng = np.random.default_rng(seed)
    item, domain = np.divmod(np.arange(2 * n_items), 2)
    values = rng.standard_normal((2 * n_items, 1, 8))
    is_b = item % 2 == 1
    values[is_b, 0, np.where(own_code, domain, 0)[is_b]] += effect
    return responses_of(
        values, np.where(is_b, "b", "a"), item=item.astype(str), domain=np.where(domain == 1, "news", "chat")
    )


def test_a_code_that_domains_share_generalises_and_one_of_their_own_does_not():
    shared = generalize(domains(), "condition", "domain", n_permutations=39)
    assert shared["auroc"].dims == ("layer", "train", "test")
    assert shared["train"].values.tolist() == ["chat", "news"]
    assert (shared["auroc"] > 0.85).all()
    assert (shared["p_adjusted"] < 0.05).all()
    apart = generalize(domains(own_code=True), "condition", "domain", n_permutations=39)["auroc"][0].values
    assert np.diag(apart).min() > 0.85
    assert max(apart[0, 1], apart[1, 0]) < 0.75


def test_items_tested_in_one_domain_are_never_trained_on_in_another():
    # Each item has a pattern of its own in both domains; labels are random: seen items would be recognised.
    rng = np.random.default_rng(7)
    responses = domains(40, effect=0.0)
    item = responses["item"].values.astype(int)
    values = responses.values + 5 * rng.standard_normal((40, 1, 8))[item]
    found = generalize(responses.copy(data=values), "condition", "domain", n_permutations=20)
    assert float(found["auroc"].max()) < 0.8


def test_domains_that_hold_items_of_their_own_keep_their_class_counts_in_every_relabeling():
    rng = np.random.default_rng(8)
    labels, domain = np.tile(["a", "b"], 30), np.repeat(["p", "q"], 30)
    values = rng.standard_normal((60, 40, 4))
    found = generalize(responses_of(values, labels, domain=domain), "condition", "domain", n_permutations=39)
    # The .9995 binomial limit of 160 cells at .05 is about 18, were they independent.
    assert (found["p"] <= 0.05).sum() <= 20
    assert float(found["p"].mean()) == pytest.approx(0.5, abs=0.12)


def test_windows_generalise_within_each_layer():
    rng = np.random.default_rng(9)
    values = rng.standard_normal((60, 3, 2, 10))
    labels = np.repeat(["a", "b"], 30)
    values[labels == "b", 1:, 1, 4] += 4
    flat = responses_of(values[:, 0], labels)
    responses = xr.DataArray(
        values,
        dims=("stimulus", "window", "layer", "feature"),
        coords={n: c for n, c in flat.coords.items()},
        attrs=flat.attrs,
    )
    found = generalize(responses, "condition", "window", n_permutations=20)["auroc"]
    assert found.dims == ("layer", "train", "test")
    assert (found[1, 1:, 1:] > 0.9).all()
    assert float(found[1, 0, 0]) < 0.75
    assert float(found[0].max()) < 0.8
    with pytest.raises(DesignError, match="over='window' needs responses"):
        generalize(flat, "condition", "window")


def test_result_survives_a_file_and_one_seed_gives_one_result(tmp_path):
    found = generalize(planted_responses(), "condition", n_permutations=19)
    found.to_netcdf(tmp_path / "generalisation.nc")
    with xr.open_dataset(tmp_path / "generalisation.nc") as read:
        xr.testing.assert_identical(read.load(), found)
    xr.testing.assert_identical(generalize(planted_responses(), "condition", n_permutations=19), found)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())


def test_designs_that_do_not_generalise_are_refused():
    responses = domains()
    with pytest.raises(DesignError, match="no scaling 'none'"):
        generalize(responses, "condition", scaling="none")
    with pytest.raises(DesignError, match="no column 'topic'"):
        generalize(responses, "condition", "topic")
    with pytest.raises(DesignError, match="cannot generalise over 'feature'"):
        generalize(responses, "condition", "feature")
    one = responses.isel(stimulus=(responses["domain"] == "chat").values)
    with pytest.raises(DesignError, match="has one level only, 'chat'"):
        generalize(one, "condition", "domain")
    bare = responses.isel(stimulus=((responses["domain"] == "chat") | (responses["condition"] == "a")).values)
    with pytest.raises(DesignError, match="'news' has no stimuli of class 'b'"):
        generalize(bare, "condition", "domain")


def test_two_columns_cannot_be_held_out_by_a_matrix():
    responses = planted_responses(n_items=10, n_templates=2)
    with pytest.raises(DesignError, match=r"groups=\('item', 'template'\): only one column can be held out"):
        generalize(responses, "condition", over="template", groups=("item", "template"))
