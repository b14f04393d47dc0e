"""Corrections of the permutation engine: what they guarantee, by hand and by peers."""

from functools import partial
from operator import getitem

import numpy as np
import pytest
import xarray as xr
from nilearn.mass_univariate._utils import calculate_tfce
from scipy.integrate import trapezoid
from scipy.ndimage import generate_binary_structure

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.factors import factor_map
from neurosae.analysis.family import ALL_CORRECTIONS, FROM_NULL
from neurosae.arrays import family_null
from neurosae.arrays.family_null import bin_maxima, min_p_values, smallest_p, step_down_bins, step_down_p
from neurosae.arrays.layer_clusters import cluster_mass, tfce
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import responses_of


def two_conditions(n=20, n_layers=1, n_features=30, seed=0):
    values = np.random.default_rng(seed).standard_normal((2 * n, n_layers, n_features))
    return responses_of(values, np.repeat(["a", "b"], n))


def planted():
    data = two_conditions(n_layers=4, n_features=100, seed=1)
    data.values[:20, 1:3, :15] += 2.2
    return data


def null_of(seed=0, n_rows=200, n_features=40, rank=5):
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n_rows, rank)) @ rng.standard_normal((rank, n_features))
    return np.abs(mixed + rng.standard_normal((n_rows, n_features)))


def by_hand_step_down(stat):
    """Free step-down maxima, one feature after the other; row 0 is the observed one."""
    order = np.argsort(-stat[0])
    p = np.empty(stat.shape[1])
    for place, feature in enumerate(order):
        maxima = stat[:, order[place:]].max(axis=1)
        p[feature] = (maxima >= stat[0, feature]).mean()
    return np.maximum.accumulate(p[order])[np.argsort(order)]


def test_step_down_agrees_with_the_definition():
    stat = null_of()
    bins = step_down_bins(stat[0], 200)
    maxima = np.zeros((bins.n, 200))
    for block in (slice(0, 17), slice(17, 40)):
        present, largest = bin_maxima(partial(getitem, stat[:, block]), 200, bins.of[block])
        maxima[present] = np.maximum(maxima[present], largest)
    np.testing.assert_allclose(step_down_p(stat[0], bins, maxima, exact=True), by_hand_step_down(stat))


def test_shared_bins_give_the_first_features_exactly_and_no_other_a_smaller_p(monkeypatch):
    stat = null_of(n_features=400)
    monkeypatch.setattr(family_null, "_ELEMENTS", 200 * 60)
    bins = step_down_bins(stat[0], 200)
    _, maxima = bin_maxima(partial(getitem, stat), 200, bins.of)
    p, exact = step_down_p(stat[0], bins, maxima, exact=True), by_hand_step_down(stat)
    assert bins.n == 60
    np.testing.assert_allclose(p[bins.order[:30]], exact[bins.order[:30]])
    assert (p >= exact - 1e-12).all()


def test_smallest_p_agrees_with_the_definition_ties_included():
    stat = np.round(null_of(n_rows=60), 1)
    p = np.stack([(stat >= row).mean(axis=0) for row in stat])
    np.testing.assert_allclose(smallest_p(partial(getitem, stat), 60), p.min(axis=1))
    adjusted = min_p_values(p[0], p.min(axis=1), exact=True)
    np.testing.assert_allclose(adjusted, (p.min(axis=1)[:, None] <= p[0]).mean(axis=0))


def test_tfce_agrees_with_the_integral_and_with_nilearn():
    stat = np.random.default_rng(0).standard_normal(12) * 3
    height = np.linspace(0, np.abs(stat).max(), 200_001)

    def extent(i):
        own = np.sign(stat[i]) * stat
        length = np.zeros(len(height))
        for j in range(12):
            length += own[min(i, j) : max(i, j) + 1].min() >= height
        return length

    expected = [np.sign(stat[i]) * trapezoid(extent(i) * height**2, height) for i in range(12)]
    np.testing.assert_allclose(tfce(stat), expected, rtol=1e-3)
    # nilearn takes 100 steps, leaves dh out and sums from the first step on.
    step = np.abs(stat).max() / 100
    volume = stat[:, None, None, None]
    peer = calculate_tfce(volume, generate_binary_structure(3, 1), E=1, H=2, dh=step).ravel() * step
    assert np.corrcoef(tfce(stat), peer)[0, 1] > 0.9995


def test_mass_of_clusters_by_hand():
    stat = np.array([[4.0, 0.0], [5.0, 3.5], [2.0, 4.0], [-4.0, 3.5], [-3.2, -9.0]])
    expected = [[3.0, 0.0], [3.0, 2.0], [0.0, 2.0], [-1.2, 2.0], [-1.2, -6.0]]
    np.testing.assert_allclose(cluster_mass(stat, 3.0), expected)


@pytest.mark.parametrize("correct", ALL_CORRECTIONS)
def test_every_correction_finds_a_planted_effect_and_survives_netcdf(correct, tmp_path):
    is_coarse = correct in ("min_p", "bonferroni", "holm", "fdr_by")
    n_permutations = 9999 if is_coarse else 499
    data = planted()
    result = contrast_map(data, "a > b", correct=correct, n_permutations=n_permutations)
    found = result["p_adjusted"].values <= 0.05
    is_planted = np.zeros((4, 100), dtype=bool)
    is_planted[1:3, :15] = True
    assert found[is_planted].mean() > 0.9
    n_false = (found & ~is_planted).sum()
    assert n_false <= {"none": 40, "fdr_bh": 8, "hierarchical": 8}.get(correct, 3)
    assert (result["p_adjusted"] >= result["p_unc"] - 1e-12).all() or correct in ("cluster", "tfce")
    save_netcdf(result, tmp_path / "map.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "map.nc"), result)


def test_stepping_down_never_costs_power_and_gains_it_where_much_is_found():
    data = two_conditions(n_features=300)
    data.values[:20, 0, :270] += 1.1
    single, down = (
        contrast_map(data, "a > b", correct=correct, n_permutations=499)["p_adjusted"].values
        for correct in ("max_t", "step_down")
    )
    assert (down <= single + 1e-12).all()
    assert (down < single).sum() > 20
    np.testing.assert_allclose(down.min(), single.min())


@pytest.mark.parametrize("seed", range(8))
def test_ties_of_enumerated_designs_survive_stepping_down(seed):
    values = np.random.default_rng(seed).integers(0, 4, size=(8, 5)).astype(float)
    data = responses_of(values, np.repeat(["a", "b"], 4))
    single, down = (
        contrast_map(data, "a > b", test="pooled", correct=correct) for correct in ("max_t", "step_down")
    )
    largest = np.unravel_index(np.nanargmax(np.abs(single["stat"].values)), single["stat"].shape)
    assert down["p_adjusted"].values[largest] == single["p_adjusted"].values[largest]
    assert (down["p_adjusted"] >= down["p_unc"] - 1e-12).all()


def test_min_p_does_not_depend_on_the_scale_of_a_feature_but_max_t_does():
    stat = null_of()
    stretched = stat.copy()
    stretched[:, 20:] **= 3
    smallest = [smallest_p(partial(getitem, each), 200) for each in (stat, stretched)]
    np.testing.assert_array_equal(smallest[0], smallest[1])
    assert not np.array_equal(by_hand_step_down(stat)[:20], by_hand_step_down(stretched)[:20])


@pytest.mark.parametrize("correct", ["step_down", "cluster", "tfce"])
def test_families_of_noise_are_called_at_the_level(correct):
    n_false = 0
    rng = np.random.default_rng(7)
    for seed in range(80):
        walk = np.cumsum(rng.standard_normal((24, 5, 20)), axis=1)  # layers resemble their neighbours
        data = responses_of(walk, np.repeat(["a", "b"], 12))
        result = contrast_map(data, "a > b", correct=correct, n_permutations=99, seed=seed)
        n_false += bool(result["p_adjusted"].min() <= 0.05)
    assert n_false <= 12  # .9995 binomial limit of .05


def test_min_p_holds_the_level():
    rng = np.random.default_rng(3)
    n_false = 0
    for seed in range(40):
        data = responses_of(rng.standard_normal((10, 30)), np.repeat(["a", "b"], 5))
        result = contrast_map(data, "a > b", correct="min_p", n_permutations=252, seed=seed)
        assert result.attrs["exact"]
        n_false += bool(result["p_adjusted"].min() <= 0.05)
    assert n_false <= 8  # .9995 binomial limit of .05


def test_layers_that_agree_are_found_as_one_where_single_features_are_not():
    data = two_conditions(15, n_layers=10, n_features=60, seed=4)
    data.values[:15, 2:8, 0] += 1.4
    found = {
        correct: contrast_map(data, "a > b", correct=correct, n_permutations=499)["p_adjusted"].values[:, 0]
        for correct in ("max_t", "tfce")
    }
    assert (found["tfce"][2:8] <= 0.05).sum() > (found["max_t"][2:8] <= 0.05).sum()
    assert (found["tfce"][[0, 1, 8, 9]] > 0.05).all()


def test_neighbouring_layers_share_the_p_of_their_cluster_and_others_have_none():
    result = contrast_map(planted(), "a > b", correct="cluster", n_permutations=199)
    mass, p = result["enhanced"].values, result["p_adjusted"].values
    assert (mass[1, :15] == mass[2, :15]).any()
    assert (p[mass == 0] == 1).all()
    assert (p[np.abs(mass) > 0] < 1).any()


def test_lattices_leave_out_features_that_are_not_tested():
    data = planted()
    data.values[:, 2, 3] = 1.0
    result = contrast_map(data, "a > b", correct="tfce", n_permutations=99)
    assert np.isnan(result["enhanced"].values[2, 3])
    assert np.isnan(result["p_adjusted"].values[2, 3])
    assert np.isfinite(result["p_adjusted"].values[[0, 1, 3], 3]).all()


@pytest.mark.parametrize("correct", ["step_down", "hierarchical", "tfce", "cluster"])
def test_f_maps_take_the_same_corrections(correct):
    result = factor_map(planted(), "condition", correct=correct, n_permutations=999)
    assert (result["p_adjusted"].values[0, 1:3, :15] <= 0.05).mean() > 0.9


@pytest.mark.parametrize("correct", ["cluster", "tfce"])
@pytest.mark.parametrize("attrs", [{"basis": "smollm2/l3"}, {"site": "mlp_out"}, {"site": ""}])
def test_features_are_never_aligned_over_layers_outside_the_residual_stream(correct, attrs):
    data = two_conditions(n_layers=3).assign_attrs(attrs)
    with pytest.raises(
        DesignError, match=r"same coordinate in the residual stream only.*Use correct='max_t'"
    ):
        contrast_map(data, "a > b", correct=correct)


def test_one_layer_is_no_lattice():
    with pytest.raises(DesignError, match="needs two or more layers, got 1"):
        contrast_map(two_conditions(), "a > b", correct="tfce")


def test_min_p_asks_for_enough_relabelings():
    with pytest.raises(DesignError, match="n_permutations=9999 or more"):
        contrast_map(two_conditions(), "a > b", correct="min_p")


@pytest.mark.parametrize("correct", FROM_NULL)
def test_designs_with_few_relabelings_are_refused(correct):
    data = two_conditions(4, n_layers=2).assign_coords(item=("stimulus", np.tile(list("wxyz"), 2)))
    with pytest.raises(DesignError, match=f"16 distinct relabelings.*{correct} needs at least 20"):
        contrast_map(data, "a > b", correct=correct)
