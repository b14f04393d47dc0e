"""Selectivity on units that did not choose the class: noise at the floor, planted features found."""

import numpy as np
import pytest
import xarray as xr

from neurosae.analysis.held_out_preference import cross_selectivity
from neurosae.analysis.selectivity import selectivity_index
from neurosae.arrays.class_averages import class_matrices, class_means
from neurosae.arrays.held_out_selectivity import (
    HELD_OUT_INDICES,
    held_out_index,
    split_halves,
)
from neurosae.arrays.selectivity_measures import preferred_against_mean_rest
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import NAMES, families, noise, planted, responses_of

LABELS = np.repeat(np.arange(4), 10)
SAME = np.arange(40)[None]


def test_kat_23_noise_is_selective_on_its_own_data_and_not_on_held_out_data():
    values = np.abs(np.random.default_rng(23).standard_normal((40, 500)))
    own = preferred_against_mean_rest(class_means(values, class_matrices(LABELS[None], 4))[0])
    halves = split_halves(LABELS, np.arange(40), 50, seed=0)
    held_out = held_out_index(values, LABELS, halves, "morcos", orders=SAME)
    assert own.mean() == pytest.approx(0.150, abs=0.01)
    assert abs(held_out.mean()) <= 0.04


def test_kat_23_a_class_five_times_as_strong_is_selective_on_held_out_data():
    values = np.abs(np.random.default_rng(24).standard_normal((40, 500)))
    values[LABELS == 2] *= 5
    halves = split_halves(LABELS, np.arange(40), 50, seed=0)
    found = held_out_index(values, LABELS, halves, "morcos", orders=SAME)
    assert found.mean() > 0.55
    # Reference 0.634; the population value is (5 - 1) / (5 + 1) = 0.667, a ratio of noisy means falls short.
    assert found.mean() == pytest.approx(0.634, abs=0.03)


@pytest.mark.parametrize("index", HELD_OUT_INDICES)
def test_planted_features_are_found_with_their_class(index):
    found = cross_selectivity(planted(), "condition", index=index, n_splits=10, n_permutations=199).isel(
        layer=0
    )
    assert found["preferred"].values[:2].tolist() == ["place", "tool"]
    assert (found["agreement"].values[:2] >= 0.95).all()
    assert found["auroc"].values[0] == 1.0
    assert (found["p_unc"].values[:2] == 1 / 200).all()
    assert (found["p_fwe"].values[:2] <= 0.05).all()


def test_the_size_of_the_planted_selectivity_is_recovered():
    share = cross_selectivity(planted(), "condition", index="maxshare", n_splits=10, n_permutations=9)
    assert share["selectivity"].values[0, 0] == 1.0
    # Class means 3, 1, 1, 1: a share of one half, with a standard error of about .04.
    assert share["selectivity"].values[0, 1] == pytest.approx(0.5, abs=0.1)
    assert share.attrs["floor"] == 0.25


@pytest.mark.parametrize("index", HELD_OUT_INDICES)
def test_p_is_uniform_and_the_index_at_its_floor_in_noise(index):
    found = cross_selectivity(noise(2, 200, seed=3), "condition", index=index, n_splits=8, n_permutations=99)
    p = found["p_unc"].values.ravel()
    # Exact .0005 and .9995 binomial limits of 400 features at .05.
    assert 0.0175 <= (p <= 0.05).mean() <= 0.09
    assert p.mean() == pytest.approx(0.5, abs=0.05)
    assert float(found["selectivity"].mean()) == pytest.approx(found.attrs["floor"], abs=0.04)
    assert float(found["auroc"].mean()) == pytest.approx(0.5, abs=0.04)


def test_p_holds_its_level_within_families():
    found = cross_selectivity(
        families(n=10, n_features=400, seed=2), "condition", index="difference", n_splits=6, n_permutations=99
    )
    assert found.attrs["scheme"] == "within strata"
    assert 0.0175 <= (found["p_unc"] <= 0.05).mean() <= 0.09


def test_a_feature_that_fires_twice_is_not_selective_for_certain():
    values = np.zeros((40, 2))
    values[:2, 0] = 1.0  # twice in one class: one half often lacks it
    values[:10, 1] = 1.0
    found = cross_selectivity(
        responses_of(values, np.repeat(NAMES, 10)), "condition", index="maxshare", n_permutations=199
    ).isel(layer=0)
    # 0.25 + 0.75 · 10/19, give or take 3.5 standard errors of 50 splits.
    assert found["selectivity"].values[0] == pytest.approx(0.645, abs=0.19)
    assert found["selectivity"].values[1] == 1.0
    assert found["p_unc"].values[0] > found["p_unc"].values[1] == 1 / 200


def test_halves_are_even_and_keep_units_whole():
    labels, units = np.tile([0, 1], 10), np.repeat(np.arange(10), 2)
    halves = split_halves(labels, units, 20, seed=1)
    assert (halves[:, ::2] == halves[:, 1::2]).all()
    assert (halves.sum(axis=1) == 10).all()
    assert len(np.unique(halves, axis=0)) > 10


def test_order_of_stimuli_and_of_classes_does_not_matter_where_one_half_is_the_other_s_mirror():
    values = np.random.default_rng(0).random((8, 6))
    labels = np.repeat([0, 1], 4)
    halves = np.tile([True, False], 4)[None]
    shuffled = np.random.default_rng(1).permutation(8)
    same = np.arange(8)[None]
    one = held_out_index(values, labels, halves, "morcos", orders=same)
    other = held_out_index(values[shuffled], labels[shuffled], halves[:, shuffled], "morcos", orders=same)
    flipped = held_out_index(values, 1 - labels, ~halves, "morcos", orders=same)
    np.testing.assert_allclose(one, other, rtol=1e-12)
    np.testing.assert_allclose(one, flipped, rtol=1e-12)


def test_one_split_equals_the_formula_by_hand():
    values = np.array([[1.0], [4.0], [2.0], [3.0]])
    halves = np.array([[True, False, True, False]])
    # First half prefers class 1 (2 > 1), second class 0 (4 > 3): (3 - 4) / 7 and (1 - 2) / 3.
    found = held_out_index(values, np.array([0, 0, 1, 1]), halves, "morcos", orders=np.arange(4)[None])
    assert found.item() == pytest.approx((-1 / 7 - 1 / 3) / 2)


def test_lazy_responses_give_the_same_result():
    responses = planted()
    settings = {"n_splits": 4, "n_permutations": 19}
    lazy = responses.chunk({"stimulus": -1, "layer": 1, "feature": 7})
    xr.testing.assert_identical(
        cross_selectivity(responses, "condition", **settings),
        cross_selectivity(lazy, "condition", **settings),
    )


def test_dead_features_are_nan_and_outside_the_family(tmp_path):
    found = cross_selectivity(planted(), "condition", n_splits=4, n_permutations=9)
    assert np.isnan(found["selectivity"].values[0, 2:4]).all()
    assert found["preferred"].values[0, 2:4].tolist() == ["", ""]
    assert found.attrs["family_size"] == 58
    assert all({"long_name", "units"} <= set(v.attrs) for v in found.data_vars.values())
    assert load_netcdf(save_netcdf(found, tmp_path / "found.nc")).identical(found)


def test_held_out_selectivity_of_noise_is_below_that_on_the_same_data():
    responses = noise(1, 100, seed=5)
    own = selectivity_index(responses, "condition", index="morcos", n_permutations=9)
    held_out = cross_selectivity(responses, "condition", n_splits=10, n_permutations=9)
    assert float(own["selectivity"].mean()) > float(held_out["selectivity"].mean()) + 0.1


def test_designs_without_a_comparison_are_refused():
    with pytest.raises(DesignError, match="index 'auroc' has no held-out form"):
        cross_selectivity(planted(), "condition", index="auroc")
    with pytest.raises(DesignError, match=r"negative class mean.*index='difference'"):
        cross_selectivity(noise(1, 5, seed=0) - 5, "condition")
    with pytest.raises(DesignError, match="n_splits is 0"):
        cross_selectivity(planted(), "condition", n_splits=0)
    with pytest.raises(DesignError, match="one unit of inference only"):
        cross_selectivity(planted().isel(stimulus=slice(11)), "condition")
    mixed = responses_of(np.random.default_rng(0).random((3, 1)), ["a", "b", "a"], item=["i", "i", "j"])
    with pytest.raises(DesignError, match="each class needs two"):
        cross_selectivity(mixed, "condition")
