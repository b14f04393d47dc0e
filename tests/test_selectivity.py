"""Selectivity of labelled responses: planted features found, noise not, refusals, files."""

from itertools import permutations

import numpy as np
import pytest
import xarray as xr

from neurosae.analysis.selectivity import selectivity_index
from neurosae.arrays.selectivity_measures import INDICES
from neurosae.errors import DesignError
from tests.responses import NAMES, noise, planted, responses_of


@pytest.mark.parametrize("index", INDICES)
def test_planted_features_are_found_with_their_class(index):
    found = selectivity_index(planted(), "condition", index=index, n_permutations=999).isel(layer=0)
    assert found["preferred"].values[:2].tolist() == ["place", "tool"]
    assert (found["p_unc"].values[:2] == 1 / 1000).all()
    assert (found["q_fdr"].values[:2] < 0.05).all()
    assert found["auroc"].values[0] == 1.0


def test_the_size_of_the_planted_selectivity_is_recovered():
    found = selectivity_index(planted(), "condition", n_permutations=19).isel(layer=0)
    assert found["selectivity"].values[0] == 1.0
    # Class means 3, 1, 1, 1 give a share of one half; the standard error is about .04.
    assert found["selectivity"].values[1] == pytest.approx(0.5, abs=0.12)


def test_silent_and_constant_features_are_invalid_and_nan():
    found = selectivity_index(planted(), "condition", n_permutations=19).isel(layer=0, feature=[2, 3])
    assert not found["valid"].any()
    for name in ("selectivity", "auroc", "p_unc", "q_fdr", "null_mean"):
        assert np.isnan(found[name]).all()
    assert (found["preferred"] == "").all()


def test_dead_features_leave_the_others_and_their_family_alone():
    full = selectivity_index(planted(), "condition", n_permutations=99)
    fewer = selectivity_index(planted().drop_sel(feature=[2, 3]), "condition", n_permutations=99)
    kept = full.sel(feature=fewer["feature"])
    np.testing.assert_array_equal(kept["p_unc"].isel(layer=0), fewer["p_unc"].isel(layer=0))
    assert full.attrs["family_size"] == 58


@pytest.mark.parametrize("index", INDICES)
def test_p_is_uniform_in_noise(index):
    found = selectivity_index(noise(4, 250, seed=7), "condition", index=index, n_permutations=199)
    p = found["p_unc"].values.ravel()
    # Exact .0005 and .9995 binomial limits of 1000 features at .05.
    assert 0.029 <= (p <= 0.05).mean() <= 0.074
    assert p.mean() == pytest.approx(0.5, abs=0.04)
    assert (found["q_fdr"] > 0.05).mean() > 0.99
    assert np.isfinite(found["selectivity"]).all()


def test_kat_22_sparse_noise_exceeds_the_threshold_but_not_its_null():
    rng = np.random.default_rng(22)
    values = rng.gamma(1.0, size=(12, 5000)) * (rng.random((12, 5000)) < 0.1)
    found = selectivity_index(responses_of(values, np.repeat(NAMES, 3)), "condition", n_permutations=199)
    live = found["valid"].values.ravel()
    above = (found["selectivity"].values > found.attrs["threshold"]).ravel()
    assert above[live].mean() == pytest.approx(0.885, abs=0.02)
    assert (above & (found["p_unc"].values.ravel() <= 0.05))[live].mean() <= 0.05
    assert (above & (found["q_fdr"].values.ravel() <= 0.05))[live].mean() <= 0.05
    assert np.isnan(found["selectivity"].values.ravel()[~live]).all()
    assert (~live).sum() > 1000


def test_kat_22_one_hot_feature_passes_with_share_one():
    conditions = np.repeat(NAMES, 10)
    values = np.random.default_rng(1).gamma(1.0, size=(40, 5))
    values[:, 0] = 2.0 * (conditions == "art")
    found = selectivity_index(responses_of(values, conditions), "condition", n_permutations=999)
    assert found["selectivity"].values[0, 0] == 1.0
    assert found["q_fdr"].values[0, 0] <= 0.05


def test_exact_p_is_that_of_all_relabelings_by_hand():
    values = np.random.default_rng(3).random(6)
    labels = np.array([0, 0, 0, 1, 1, 1])

    def share(order):
        means = [np.mean([values[i] for i in range(6) if order[i] == k]) for k in (0, 1)]
        return max(means) / sum(means)

    distinct = sorted(set(permutations(labels.tolist())))
    expected = np.mean([share(order) >= share(labels) - 1e-12 for order in distinct])
    found = selectivity_index(responses_of(values[:, None], list("aaabbb")), "condition")
    assert found.attrs["n_permutations"] == len(distinct) == 20
    assert float(found["p_unc"].squeeze()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("index", INDICES)
def test_order_of_stimuli_does_not_change_the_index(index):
    responses = planted()
    shuffled = responses.isel(stimulus=np.random.default_rng(0).permutation(40))
    one, other = (
        selectivity_index(r, "condition", index=index, n_permutations=9) for r in (responses, shuffled)
    )
    np.testing.assert_allclose(one["selectivity"], other["selectivity"], rtol=1e-12)
    np.testing.assert_array_equal(one["preferred"], other["preferred"])


def test_order_of_features_and_chunks_do_not_change_p(monkeypatch):
    responses = planted()
    order = np.random.default_rng(0).permutation(30)
    one = selectivity_index(responses, "condition", n_permutations=99)
    monkeypatch.setattr("neurosae.analysis.selectivity._CHUNK_ELEMENTS", 99 * 4 * 7)
    other = selectivity_index(responses.isel(feature=order), "condition", n_permutations=99)
    xr.testing.assert_equal(one["p_unc"].isel(feature=order), other["p_unc"])
    np.testing.assert_allclose(one["null"], other["null"], rtol=1e-12)


def test_scale_of_a_feature_does_not_change_its_selectivity():
    one = selectivity_index(planted(), "condition", n_permutations=9)
    other = selectivity_index(planted() * 1000.0, "condition", n_permutations=9)
    np.testing.assert_allclose(one["selectivity"], other["selectivity"], rtol=1e-12)


def test_repeated_stimuli_of_an_item_count_once():
    responses = planted()
    doubled = xr.concat(
        [responses, responses.assign_coords(stimulus=responses["stimulus"] + "b")], "stimulus"
    )
    doubled = doubled.assign_coords(item=("stimulus", [f"i{i % 40:02d}" for i in range(80)]))
    once = selectivity_index(responses, "condition", n_permutations=99)
    twice = selectivity_index(doubled, "condition", n_permutations=99)
    assert (twice.attrs["unit"], twice.attrs["n_units"]) == ("item", 40)
    np.testing.assert_allclose(once["p_unc"], twice["p_unc"])


def test_units_that_hold_all_classes_exchange_within_themselves():
    rng = np.random.default_rng(5)
    items = np.repeat(np.arange(12), 2)
    conditions = np.tile(["one", "two"], 12)
    values = 50 * rng.random((12, 20))[items] + rng.random((24, 20)) + 2 * (conditions == "two")[:, None]
    responses = responses_of(values, conditions, item=[f"i{i:02d}" for i in items])
    within = selectivity_index(responses, "condition", n_permutations=199)
    assert within.attrs["scheme"] == "within strata"
    assert (within["p_unc"] < 0.05).all()
    # Between units the differences of items, fifty times the effect, hide it.
    between = selectivity_index(responses, "condition", n_permutations=199, unit="stimulus")
    assert (between["p_unc"] > 0.05).mean() > 0.8


def test_rectified_responses_are_those_without_their_negative_part():
    signed = noise(1, 5, seed=2) - 1.0
    rectified = selectivity_index(signed, "condition", rectify=True, n_permutations=9)
    by_hand = selectivity_index(signed.clip(min=0), "condition", n_permutations=9)
    xr.testing.assert_equal(rectified, by_hand)


def test_floor_is_the_value_of_a_flat_feature():
    floors = {
        name: selectivity_index(planted(), "condition", index=name, n_permutations=9).floor
        for name in INDICES
    }
    assert floors["maxshare"] == 0.25
    assert floors["auroc"] == 0.5
    assert floors["morcos"] == floors["dprime"] == floors["eta2"] == 0.0


def test_null_quantiles_are_those_of_the_pooled_null():
    found = selectivity_index(noise(1, 200, seed=4), "condition", n_permutations=99)
    pooled = found["selectivity"].values.ravel()
    # 200 noise features against their own null: the median differs by chance only.
    assert float(found["null"].sel(quantile=0.5)) == pytest.approx(np.median(pooled), abs=0.02)
    assert float(found["null_mean"].mean()) == pytest.approx(float(found["null"].mean()), abs=1e-3)


def test_null_quantiles_of_enumerated_relabelings_are_a_fair_sample(monkeypatch):
    responses = responses_of(np.random.default_rng(8).random((10, 50)), list("aaaaabbbbb"))
    full = selectivity_index(responses, "condition")
    assert full.attrs["n_permutations"] == 252
    monkeypatch.setattr("neurosae.analysis.selectivity._POOLED_ELEMENTS", 50 * 60)
    sampled = selectivity_index(responses, "condition")
    assert not np.array_equal(full["null"], sampled["null"])
    # 60 of 252 relabelings of 50 features: the standard error of the median is below .01.
    assert float(sampled["null"].median()) == pytest.approx(float(full["null"].median()), abs=0.02)


def test_result_survives_a_file(tmp_path):
    result = selectivity_index(planted(), "condition", n_permutations=9)
    result.to_netcdf(tmp_path / "result.nc")
    with xr.open_dataset(tmp_path / "result.nc") as read:
        xr.testing.assert_identical(read.load(), result)


def test_every_variable_tells_its_name_and_units():
    result = selectivity_index(planted(), "condition", n_permutations=9)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in result.data_vars.values())
    assert all(isinstance(value, str | int | float) for value in result.attrs.values())


@pytest.mark.parametrize("index", ["maxshare", "normalised_maxshare", "morcos"])
def test_kat_24_negative_class_means_are_refused_by_ratios(index):
    with pytest.raises(DesignError, match=r"negative class mean.*index='auroc'.*rectify=True"):
        selectivity_index(noise(1, 5, seed=0) - 5, "condition", index=index)


def test_designs_without_a_comparison_are_refused():
    responses = planted()
    with pytest.raises(DesignError, match=r"no column 'conditoin'.*did you mean 'condition'"):
        selectivity_index(responses, "conditoin")
    with pytest.raises(DesignError, match=r"index 'maxshar' is unknown.*did you mean 'maxshare'"):
        selectivity_index(responses, "condition", index="maxshar")
    with pytest.raises(DesignError, match="one class only, 'art'"):
        selectivity_index(responses.isel(stimulus=slice(10)), "condition")
    with pytest.raises(DesignError, match=r"\['number'\].*one unit of inference only"):
        selectivity_index(responses.isel(stimulus=slice(11)), "condition")
    with pytest.raises(DesignError, match="1 stimuli have no 'condition'"):
        selectivity_index(responses_of(np.ones((3, 1)), ["a", "b", ""]), "condition")
    with pytest.raises(DesignError, match="NaN or infinite"):
        selectivity_index(responses.where(responses["stimulus"] != "s003"), "condition")
    with pytest.raises(DesignError, match="unit 'family' is not a column"):
        selectivity_index(responses, "condition", unit="family")
