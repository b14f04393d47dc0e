"""The corrected flag of monosemantic features: noise is not flagged, one-hot is, each criterion by itself."""

import numpy as np
import pytest

from neurosae.analysis.monosemanticity import CRITERIA, monosemantic_features
from neurosae.arrays.sparseness import effective_number
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import NAMES, responses_of

QUICK = {"n_splits": 10, "n_permutations": 199}


def sparse(n_per_class, density, n_features, seed):
    rng = np.random.default_rng(seed)
    shape = (4 * n_per_class, n_features)
    values = rng.gamma(1.0, size=shape) * (rng.random(shape) < density)
    return responses_of(values, np.repeat(NAMES, n_per_class))


@pytest.mark.parametrize("density", [0.05, 0.1, 0.3, 1.0])
def test_kat_22_sparse_noise_is_not_flagged(density):
    responses = sparse(3, density, 1000, seed=22)
    found = monosemantic_features(responses, "condition", n_splits=6, n_permutations=99)
    dead = (responses == 0).all("stimulus")
    live = ~dead
    assert float(found["monosemantic"].where(live).mean()) <= 0.05
    # Nor by chance: without any correction, p alone keeps its level.
    assert np.isnan(found["share"].where(dead)).all()
    assert not found["monosemantic"].where(dead, False).any()


def test_kat_22_one_hot_feature_of_ten_items_is_flagged_with_share_one():
    responses = sparse(10, 0.3, 50, seed=1)
    one_hot = np.random.default_rng(2).gamma(4.0, 0.25, 40) * (responses["condition"].values == "place")
    responses.values[:, 0, 7] = one_hot
    found = monosemantic_features(responses, "condition", **QUICK).isel(layer=0)
    assert np.flatnonzero(found["monosemantic"]).tolist() == [7]
    assert found["share"].values[7] == 1.0
    assert str(found["preferred"].values[7]) == "place"


def test_each_criterion_can_fail_alone():
    rng = np.random.default_rng(3)
    values = rng.gamma(4.0, 0.25, (80, 6))
    is_place = np.repeat(NAMES, 20) == "place"
    values[:, 1] = is_place * rng.gamma(4.0, 0.25, 80)  # all met
    values[:, 2] += 2.5 * is_place  # discriminates; the share stays below .6
    values[:, 3] = 0.02 * rng.random(80)
    values[np.flatnonzero(is_place)[:3], 3] = 9.0  # three items of the class
    values[:, 4] = 0.0
    values[np.flatnonzero(is_place)[:4], 4] = 1.0  # four units: not alive
    found = monosemantic_features(responses_of(values, np.repeat(NAMES, 20)), "condition", **QUICK)
    table = {name: found[name].values[0].tolist() for name in (*CRITERIA, "monosemantic")}
    assert table["monosemantic"] == [False, True, False, False, False, False]
    assert table["is_selective"][1:4] == [True, False, True]
    assert table["is_significant"][1:3] == [True, True]
    assert table["is_discriminating"][1:4] == [True, True, False]
    assert table["is_general"][1:5] == [True, True, False, False]
    assert table["is_alive"] == [True, True, True, True, False, True]
    assert found["n_active"].values[0, 4] == 4


def test_both_corrections_find_planted_features_and_false_discovery_needs_many_permutations():
    responses = sparse(10, 0.5, 200, seed=4)
    responses.values[:, 0, :20] = np.random.default_rng(5).gamma(4.0, 0.25, (40, 20))
    responses.values[responses["condition"].values != "tool", 0, :20] *= 0.1
    found = {
        name: monosemantic_features(responses, "condition", correct=name, n_splits=10, n_permutations=999)
        for name in ("max_t", "fdr_bh")
    }
    for result in found.values():
        assert int(result["is_significant"][0, :20].sum()) >= 18
        assert int(result["is_significant"][0, 20:].sum()) <= 3
    few = monosemantic_features(responses[:, :, 19:], "condition", correct="fdr_bh", **QUICK)
    assert not few["is_significant"].any()


def test_effective_number_counts_items_that_share_equally():
    rng = np.random.default_rng(0)
    equal = np.zeros((12, 12))
    for n in range(12):
        equal[: n + 1, n] = rng.random() + 1
    np.testing.assert_allclose(effective_number(equal), np.arange(1, 13))


def test_result_survives_a_file_and_tells_its_criteria(tmp_path):
    found = monosemantic_features(sparse(5, 0.5, 6, seed=0), "condition", n_splits=4, n_permutations=9)
    assert "does not show" in found.attrs["caveat"]
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())
    assert load_netcdf(save_netcdf(found, tmp_path / "found.nc")).identical(found)


def test_refusals():
    responses = sparse(3, 0.5, 4, seed=0)
    with pytest.raises(DesignError, match="correct 'holm' is unknown"):
        monosemantic_features(responses, "condition", correct="holm")
    with pytest.raises(DesignError, match="negative class mean"):
        monosemantic_features(responses - 3, "condition")
