"""Contributions of features to the overlap of two classes: sums, base rates, planted features, refusals."""

import numpy as np
import pytest
import xarray as xr

from neurosae.analysis.contributions import shared_features
from neurosae.analysis.overlap_of_classes import feature_overlap
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from tests.responses import noise, planted, responses_of

TWO = ("art", "place")


def test_contributions_sum_to_the_dot_product():
    responses = noise(2, 40, seed=0)
    found = shared_features(responses, "condition", TWO, k=5)
    dot = feature_overlap(responses, "condition", measure="dot", n_permutations=9)["overlap"]
    np.testing.assert_allclose(found["contribution"].sum("feature"), dot.sel(skill="art", skill_2="place"))


def test_expected_contribution_is_the_mean_over_random_deals():
    responses = noise(1, 5, seed=1)
    rng = np.random.default_rng(0)
    values = responses.values[:, 0]
    drawn = [
        (values[p[:10]].mean(axis=0) * values[p[10:20]].mean(axis=0))
        for p in (rng.permutation(40) for _ in range(8000))
    ]
    found = shared_features(responses, "condition", TWO, k=2)["expected"].values[0]
    # Standard error of a mean over 8000 deals is about 0.3 / 90.
    np.testing.assert_allclose(found, np.mean(drawn, axis=0), atol=0.02)


def test_a_feature_common_to_all_has_lift_one_and_one_of_the_two_classes_more():
    responses = planted()
    is_either = np.isin(responses["condition"].values, TWO)
    responses.values[:, 0, 4] = 5.0
    responses.values[:, 0, 5] = 2.0 * is_either
    found = shared_features(responses, "condition", TWO, k=3).isel(layer=0)
    assert float(found["lift"][4]) == pytest.approx(1.0)
    # Half of all units respond: expected is 2² (20 · 19) / (40 · 39).
    assert float(found["lift"][5]) == pytest.approx(4 / (4 * 20 * 19 / (40 * 39)))
    assert int(found["rank"][4]) == 1
    assert bool((found["in_first"] & found["in_second"])[4])
    assert np.isnan(found["lift"].values[2])
    assert float(found["contribution"][2]) == 0.0


def test_noise_has_lift_near_one():
    lift = shared_features(noise(1, 400, seed=2), "condition", TWO, k=5)["lift"]
    assert float(lift.mean()) == pytest.approx(1.0, abs=0.05)


def test_order_and_chunks_do_not_matter_and_the_result_survives_a_file(tmp_path):
    responses = noise(2, 20, seed=3)
    found = shared_features(responses, "condition", TWO, k=4)
    turned = shared_features(responses.isel(stimulus=slice(None, None, -1)), "condition", TWO, k=4)
    np.testing.assert_allclose(found["lift"], turned["lift"], rtol=1e-12)
    xr.testing.assert_identical(
        found, shared_features(responses.chunk({"layer": 1, "feature": 6}), "condition", TWO, k=4)
    )
    assert load_netcdf(save_netcdf(found, tmp_path / "found.nc")).identical(found)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())


def test_refusals():
    responses = planted()
    with pytest.raises(DesignError, match=r"no class 'plaec'.*did you mean 'place'"):
        shared_features(responses, "condition", ("art", "plaec"))
    with pytest.raises(DesignError, match="k is 50 and there are 30 features"):
        shared_features(responses, "condition", TWO)
    with pytest.raises(DesignError, match="contributions need responses >= 0"):
        shared_features(responses - 9, "condition", TWO, k=3)
    with pytest.raises(DesignError, match="one class only"):
        shared_features(responses_of(np.ones((3, 9)), ["art"] * 3), "condition", TWO, k=3)
