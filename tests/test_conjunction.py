"""Conjunctions of contrast maps: the right null, one direction, and who may be joined."""

import numpy as np
import pytest
import xarray as xr

from neurosae.analysis.conjunction import conjoin
from neurosae.analysis.contrast import contrast_map
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import responses_of


def maps(n_features=100, effects=None, seed=0, **settings):
    """Three contrasts of independent stimuli; effects (contrast, feature) are planted."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(3):
        values = rng.standard_normal((40, n_features))
        if effects is not None:
            values[:20, : effects.shape[1]] += effects[k]
        data = responses_of(values, np.repeat(["a", "b"], 20)).assign_coords(
            stimulus=[f"{k}-{i}" for i in range(40)]
        )
        found.append(contrast_map(data, "a > b", **{"n_permutations": 199, "correct": "max_t"} | settings))
    return found


def test_only_effects_in_every_map_and_one_direction_are_found():
    effects = np.array([[2.5, 2.5, 2.5, 0.0], [2.5, 2.5, -2.5, 2.5], [2.5, 0.0, 2.5, 2.5]])
    joined = conjoin(maps(effects=effects))
    assert (joined["p_adjusted"].values[0, :4] <= 0.05).tolist() == [True, False, False, False]
    assert joined["p_unc"].values[0, 2] == 1
    two = conjoin(maps(effects=effects), at_least=2)
    assert (two["p_adjusted"].values[0, :4] <= 0.05).tolist() == [True, True, True, True]
    assert two["n_agree"].values[0, 2] == 2


def test_the_conjunction_of_all_is_the_largest_p():
    found = maps()
    agree = np.abs(np.sign([each["stat"].values for each in found]).sum(axis=0)) == 3
    joined = conjoin(found)
    largest = np.max([each["p_unc"].values for each in found], axis=0)
    np.testing.assert_allclose(joined["p_unc"].values[agree], largest[agree])
    assert (joined["p_unc"].values[~agree] == 1).all()


@pytest.mark.parametrize("at_least", [1, 2, 3])
def test_the_level_holds_where_one_effect_less_exists(at_least):
    effects = np.zeros((3, 2000))
    effects[: at_least - 1] = 3.0
    joined = conjoin(maps(2000, effects, correct="none"), at_least=at_least, correct="none")
    assert (joined["p_unc"] <= 0.05).mean() < 0.0665
    assert (joined["p_unc"] <= 0.05).mean() > 0.02


def test_features_of_disjoint_maps_are_no_discoveries_of_their_conjunction():
    effects = np.zeros((3, 400))
    effects[0, :200], effects[1, 200:] = 2.0, 2.0
    found = maps(400, effects, correct="fdr_bh", n_permutations=999)[:2]
    # Both maps hold false discoveries where the other has its effects.
    assert (np.max([each["p_adjusted"] for each in found], axis=0) <= 0.05).any()
    assert not (conjoin(found, correct="fdr_bh")["p_adjusted"] <= 0.05).any()


def test_order_of_maps_does_not_matter_and_results_survive_netcdf(tmp_path):
    found = maps(correct="fdr_bh")
    joined, turned = conjoin(found, correct="holm"), conjoin(found[::-1], correct="holm")
    for name in ("p_unc", "p_adjusted", "stat"):
        np.testing.assert_array_equal(joined[name], turned[name])
    save_netcdf(joined, tmp_path / "joined.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "joined.nc"), joined)
    assert {"/stimulus/0-0", "/stimulus/2-39"} <= set(joined["seen_unit"].values)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda found: found[:1], {}, "two or more contrast maps, got 1"),
        (lambda found: found, {"at_least": 4}, "at_least is 4"),
        (lambda found: found, {"correct": "max_t"}, "'max_t' is unknown"),
        (lambda found: [found[0].assign_attrs(correct="fdr_bh"), found[1]], {}, "theirs is 'fdr_bh'"),
        (lambda found: [found[0], found[1].drop_vars("p_unc")], {}, "map 1 is no contrast map"),
        (lambda found: [found[0], found[1].isel(feature=slice(1, None))], {}, "map 1 differs from map 0"),
        (lambda found: [found[0], found[1].assign_attrs(basis="toy")], {}, "map 1 differs from map 0"),
        (lambda found: [found[0], found[1].assign(p_unc=found[1]["p_unc"] * np.nan)], {}, "has no p-values"),
    ],
)
def test_refusals(change, settings, message):
    with pytest.raises(DesignError, match=message):
        conjoin(change(maps(5)), **settings)
