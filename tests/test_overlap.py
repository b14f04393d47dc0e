"""Overlap of classes: set identities, other libraries, base rates corrected, planted skills, refusals."""

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import cosine, jaccard
from scipy.stats import pearsonr, spearmanr

from neurosae.analysis.overlap_of_classes import feature_overlap
from neurosae.arrays.overlap import (
    OVERLAPS,
    expected_jaccard,
    half_overlap,
    overlap_of,
    strongest,
    within_minus_between,
)
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import responses_of

SETS = [name for name, kind in OVERLAPS.items() if kind.of_sets]
SKILLS = ("algebra", "geometry", "poetry")


def profiles(n_profiles=3, n_features=60, seed=0):
    rng = np.random.default_rng(seed)
    return rng.gamma(1.0, size=(n_profiles, n_features)) * (rng.random((n_profiles, n_features)) < 0.6)


def skills(n=10, n_features=120, n_layers=1, n_common=10, n_own=8, seed=0):
    """Common features drive all skills; algebra and geometry share features; layer 0 only."""
    rng = np.random.default_rng(seed)
    values = 0.2 * rng.exponential(size=(3 * n, n_layers, n_features))
    values[..., :n_common] += 2.0
    math = slice(n_common, n_common + n_own)
    poetry = slice(n_common + n_own, n_common + 2 * n_own)
    values[: 2 * n, 0, math] += 1.0
    values[2 * n :, 0, poetry] += 1.0
    return responses_of(values, np.repeat(SKILLS, n))


def one_population(n_layers=1, n_features=80, n=8, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.exponential(size=(3 * n, n_layers, n_features)) * rng.gamma(1.0, size=n_features)
    return responses_of(values, np.repeat(SKILLS, n))


def test_sets_hold_the_k_largest_above_zero_and_ties_go_to_the_first():
    values = np.random.default_rng(0).integers(0, 4, (50, 30)).astype(float)
    for row, member in zip(values, strongest(values, 8), strict=True):
        order = np.argsort(-row, kind="stable")[:8]
        assert set(np.flatnonzero(member)) == {i for i in order if row[i] > 0}


@pytest.mark.parametrize("measure", SETS)
def test_set_measures_are_those_of_sets(measure):
    values = profiles()
    sets = [set(np.flatnonzero(row)) for row in strongest(values, 12)]
    by_hand = {
        "jaccard": lambda a, b: len(a & b) / len(a | b),
        "dice": lambda a, b: 2 * len(a & b) / (len(a) + len(b)),
        "overlap": lambda a, b: len(a & b) / min(len(a), len(b)),
        "containment": lambda a, b: len(a & b) / len(a),
        "coactive": lambda a, b: len(a & b) / 60,
    }[measure]
    expected = [[by_hand(a, b) for b in sets] for a in sets]
    np.testing.assert_allclose(overlap_of(values, measure, 12), expected)


def test_jaccard_is_that_of_scipy_and_at_most_the_overlap_coefficient():
    values = profiles(6, seed=1)
    members = strongest(values, 15)
    found = overlap_of(values, "jaccard", 15)
    assert found[0, 1] == pytest.approx(1 - jaccard(members[0], members[1]))
    assert (found <= overlap_of(values, "overlap", 15) + 1e-12).all()


def test_profile_measures_are_those_of_scipy():
    x, y = values = profiles(2, seed=2)
    assert overlap_of(values, "cosine", 1)[0, 1] == pytest.approx(1 - cosine(x, y))
    assert overlap_of(values, "pearson", 1)[0, 1] == pytest.approx(pearsonr(x, y).statistic)
    used = (x > 0) | (y > 0)
    assert overlap_of(values, "spearman", 1)[0, 1] == pytest.approx(spearmanr(x[used], y[used]).statistic)
    assert overlap_of(values, "dot", 1)[0, 1] == pytest.approx(x @ y)


@pytest.mark.parametrize("measure", OVERLAPS)
def test_equal_profiles_reach_the_ceiling_and_silent_ones_are_nan(measure):
    one = profiles(1, seed=3)
    found = overlap_of(np.concatenate([one, one, profiles(1, seed=4)]), measure, 10)
    ceiling = OVERLAPS[measure].ceiling
    if ceiling is not None:
        assert found[0, 1] == pytest.approx(ceiling)
    assert found[0, 0] == pytest.approx(found[0, 1])
    silent = overlap_of(np.stack([one[0], np.zeros(60)]), measure, 10)[1, 1]
    assert np.isnan(silent)


def test_expected_jaccard_is_that_of_random_sets():
    assert expected_jaccard(16384, 50) == pytest.approx(0.00154, abs=5e-6)
    rng = np.random.default_rng(5)
    drawn = overlap_of(rng.random((200, 100)), "jaccard", 20)
    assert drawn[np.triu_indices(200, 1)].mean() == pytest.approx(expected_jaccard(100, 20), abs=0.002)


@pytest.mark.parametrize(
    "measure", ["jaccard", "dice", "cosine", "centred_cosine", "pearson", "spearman", "dot"]
)
def test_skills_that_share_features_stand_out_once_common_features_are_corrected_for(measure):
    found = feature_overlap(skills(), "condition", measure=measure, k=18, n_permutations=49).isel(layer=0)
    shared = found.sel(skill="algebra", skill_2="geometry")
    apart = found.sel(skill="algebra", skill_2="poetry")
    assert float(shared["adjusted"]) > float(apart["adjusted"])
    assert float(apart["overlap"]) < float(apart["expected"])
    assert float(found["p"]) <= 0.05
    if measure != "centred_cosine":  # permuted classes, too, lie on the one axis math - poetry
        assert float(apart["p_unc"]) <= 0.05
    if measure != "dot":
        assert float(shared["corrected"]) == pytest.approx(1.0, abs=0.1)
        assert float(apart["corrected"]) < 0.97


def test_the_size_of_the_planted_overlap_is_recovered():
    found = feature_overlap(skills(), "condition", k=18, n_permutations=9).isel(layer=0)
    # 10 common and 8 own features: algebra and poetry share 10 of 26, algebra and geometry all.
    assert float(found["overlap"].sel(skill="algebra", skill_2="poetry")) == pytest.approx(10 / 26)
    assert float(found["overlap"].sel(skill="algebra", skill_2="geometry")) == 1.0
    assert float(found["half_overlap"].sel(skill="poetry", skill_2="poetry")) == 1.0
    # Within 1; between the mean of 1, 10/26, 10/26.
    assert float(found["index"]) == pytest.approx(1 - (1 + 20 / 26) / 3)


def test_common_features_alone_look_like_overlap_and_are_corrected_away():
    rng = np.random.default_rng(6)
    values = 0.2 * rng.exponential(size=(30, 1, 200))
    values[..., :20] += 2.0
    found = feature_overlap(
        responses_of(values, np.repeat(SKILLS, 10)), "condition", k=20, n_permutations=99
    ).isel(layer=0)
    pair = found.sel(skill="algebra", skill_2="poetry")
    assert float(pair["overlap"]) == float(pair["expected"]) == 1.0
    assert found.attrs["chance"] < 0.06
    assert float(pair["p_unc"]) == 1.0
    assert float(found["index"]) == 0.0


@pytest.mark.parametrize("measure", ["jaccard", "cosine"])
def test_p_is_uniform_for_one_population(measure):
    p, index_p = [], []
    for seed in range(12):
        found = feature_overlap(
            one_population(n_layers=3, seed=seed),
            "condition",
            measure=measure,
            k=10,
            n_permutations=99,
            seed=seed,
        )
        rows, columns = np.triu_indices(3, 1)
        p.append(found["p_unc"].values[:, rows, columns].ravel())
        index_p.append(found["p"].values)
    # 108 p-values, three of one layer dependent: .0005 and .9995 binomial limits, widened a little.
    assert 0.0 <= (np.concatenate(p) <= 0.05).mean() <= 0.15
    # Jaccard takes few values, and ties make p conservative.
    assert 0.38 <= np.mean(p) <= 0.75
    assert np.mean(index_p) == pytest.approx(0.5, abs=0.17)


def test_p_over_layers_is_at_least_that_of_each_layer():
    found = feature_overlap(skills(n_layers=4), "condition", k=18, n_permutations=99)
    assert (found["p_adjusted"] >= found["p"]).all()
    assert float(found["p_adjusted"][0]) == 0.01
    assert (found["p"][1:] > 0.01).any()


def test_halves_of_one_class_are_the_reference_not_one():
    values = one_population(seed=1).values[:, 0]
    labels = np.repeat([0, 1, 2], 8)
    halves = np.tile([True, False], 12)[None]
    found = half_overlap(values, labels, halves, "jaccard", 10)
    assert (np.diagonal(found) < 1).all()
    two = np.stack([values[(labels == 0) & half].mean(axis=0) for half in (halves[0], ~halves[0])])
    assert found[0, 0] == pytest.approx(overlap_of(two, "jaccard", 10)[0, 1])
    assert within_minus_between(np.eye(3)) == 1.0


def test_units_that_hold_several_classes_exchange_within_themselves():
    responses = one_population(n=8)
    items = [f"i{i}" for i in np.tile(np.arange(8), 3)]
    found = feature_overlap(
        responses.assign_coords(item=("stimulus", items)), "condition", k=10, n_permutations=19
    )
    assert (found.attrs["scheme"], found.attrs["n_units"]) == ("within strata", 8)


def test_order_of_features_and_stimuli_does_not_matter():
    responses = one_population(n_features=40)
    settings = {"measure": "cosine", "n_permutations": 9}
    one = feature_overlap(responses, "condition", **settings)
    mixed = responses.isel(feature=np.random.default_rng(0).permutation(40), stimulus=slice(None, None, -1))
    np.testing.assert_allclose(one["overlap"], feature_overlap(mixed, "condition", **settings)["overlap"])


def test_lazy_responses_agree_and_the_result_survives_a_file(tmp_path):
    responses = skills(n_layers=2, n_features=40)
    found = feature_overlap(responses, "condition", k=5, n_permutations=9)
    lazy = responses.chunk({"layer": 1, "feature": 7})
    xr.testing.assert_identical(feature_overlap(lazy, "condition", k=5, n_permutations=9), found)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())
    assert load_netcdf(save_netcdf(found, tmp_path / "found.nc")).identical(found)


@pytest.mark.parametrize("measure", ["jaccard", "containment", "cosine"])
def test_a_silent_class_overlaps_with_none_and_leaves_the_others_alone(measure):
    responses = skills()
    responses.values[responses["condition"].values == "poetry"] = 0.0
    found = feature_overlap(responses, "condition", measure=measure, k=18, n_permutations=19).isel(layer=0)
    silent = found.sel(skill="algebra", skill_2="poetry")
    assert np.isnan([float(silent[name]) for name in ("overlap", "adjusted", "p_unc", "q_fdr")]).all()
    assert np.isnan(float(found["corrected"].sel(skill="poetry", skill_2="poetry")))
    assert np.isfinite(float(found["p_unc"].sel(skill="algebra", skill_2="geometry")))
    assert np.isfinite([float(found[name]) for name in ("index", "p", "p_adjusted", "null_mean")]).all()


def test_refusals():
    responses = skills(n_features=40)
    with pytest.raises(DesignError, match=r"measure 'jacard' is unknown.*did you mean 'jaccard'"):
        feature_overlap(responses, "condition", measure="jacard")
    with pytest.raises(DesignError, match="k is 40 and there are 40 features"):
        feature_overlap(responses, "condition", k=40)
    with pytest.raises(DesignError, match="one class only"):
        feature_overlap(responses.isel(stimulus=slice(10)), "condition", k=5)
    with pytest.raises(DesignError, match="one unit of inference only"):
        feature_overlap(responses.isel(stimulus=slice(21)), "condition", k=5)
