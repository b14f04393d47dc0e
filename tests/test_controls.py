import numpy as np
import pytest
import xarray as xr

from neurosae.causal.controls import matched_roi, random_directions
from neurosae.causal.direction import Direction
from neurosae.errors import DesignError
from neurosae.testing import noise_responses


@pytest.fixture(scope="module")
def responses():
    """Units whose magnitudes spread over two orders."""
    plain = noise_responses(n_items=30, n_features=300)
    scale = np.exp(np.random.default_rng(0).uniform(-2, 2, (3, 300)))
    return (plain * scale.astype(np.float32)).assign_attrs(plain.attrs)


def _roi(responses, n_per_layer, stat=None, seed=0):
    member = np.zeros((responses.sizes["layer"], responses.sizes["feature"]), dtype=bool)
    rng = np.random.default_rng(seed)
    for layer, n in enumerate(n_per_layer):
        member[layer, rng.choice(member.shape[1], n, replace=False)] = True
    variables = {"member": (("layer", "feature"), member)}
    if stat is not None:
        variables["stat"] = (("layer", "feature"), stat)
    coords = {"layer": responses["layer"].values, "feature": responses["feature"].values}
    return xr.Dataset(variables, coords=coords, attrs={"site": "resid_post", "basis": "units"})


def test_shams_have_the_layers_and_sizes_of_the_roi_and_none_of_its_members(responses):
    roi = _roi(responses, (5, 0, 12))
    shams = matched_roi(roi, responses, n=30)["member"]
    assert shams.dims == ("sham", "layer", "feature")
    assert (shams.sum("feature") == [5, 0, 12]).all()
    assert not (shams & roi["member"]).any()


def test_shams_differ_from_each_other(responses):
    shams = matched_roi(_roi(responses, (5, 0, 12)), responses, n=50)["member"].values
    assert len(np.unique(shams.reshape(50, -1), axis=0)) == 50


def test_shams_respond_as_strongly_and_as_variably(responses):
    roi = _roi(responses, (0, 10, 0))
    shams = matched_roi(roi, responses, n=50)["member"].sel(layer=1).values
    member = roi["member"].sel(layer=1).values
    for measure in (np.abs(responses).mean("stimulus"), responses.std("stimulus")):
        logs = np.log(measure.sel(layer=1).values)
        means = np.array([logs[sham].mean() for sham in shams])
        assert np.abs(means - logs[member].mean()).max() < 0.25 * logs.std()
        unmatched = logs[~member].mean()
        assert abs(means.mean() - logs[member].mean()) < 0.2 * abs(unmatched - logs[member].mean()) + 0.02


def test_the_most_selective_units_of_each_layer_are_no_shams(responses):
    stat = np.random.default_rng(3).standard_normal((3, 300))
    roi = _roi(responses, (8, 8, 8), stat=stat)
    shams = matched_roi(roi, responses, n=40)["member"].any("sham").values
    for layer in range(3):
        top = np.argsort(-np.abs(stat[layer]))[:15]
        assert not shams[layer, top].any()


def test_units_outside_the_caliper_are_counted():
    responses = noise_responses(n_items=10, n_layers=1, n_features=40)
    values = responses.values.copy()
    values[:, 0, 0] *= 1e4
    loud = responses.copy(data=values)
    roi = _roi(responses, (0,))
    roi["member"][0, 0] = True
    shams = matched_roi(roi, loud, n=5)
    assert (shams["n_outside"] == 1).all()


def test_a_small_layer_gives_each_possible_sham_once():
    responses = noise_responses(n_items=10, n_layers=1, n_features=12)
    roi = _roi(responses, (0,))
    roi["member"][0, 3] = True
    shams = matched_roi(roi, responses, n=99)
    assert shams.sizes["sham"] == shams.attrs["n_shams"] == 11
    assert shams.attrs["n_requested"] == 99
    assert (shams["member"].sum("sham").values[0] == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1]).all()


def test_silent_units_are_no_shams(responses):
    silent = responses.copy(data=np.where(np.arange(300) < 250, responses.values, 0))
    roi = _roi(responses.isel(feature=slice(0, 250)), (4, 4, 4)).reindex(
        feature=np.arange(300), fill_value=False
    )
    assert not matched_roi(roi, silent, n=20)["member"].sel(feature=slice(250, None)).any()


def test_same_seed_same_shams_and_order_of_stimuli_does_not_matter(responses):
    roi = _roi(responses, (3, 3, 3))
    first = matched_roi(roi, responses, n=10, seed=4)["member"]
    xr.testing.assert_identical(first, matched_roi(roi, responses, n=10, seed=4)["member"])
    assert not first.equals(matched_roi(roi, responses, n=10, seed=5)["member"])
    doubled = responses.astype(np.float64)
    reversed_order = matched_roi(roi, doubled[::-1], n=10, seed=4)["member"]
    assert matched_roi(roi, doubled, n=10, seed=4)["member"].equals(reversed_order)


def test_shams_name_the_site_and_the_step(responses):
    shams = matched_roi(_roi(responses, (3, 3, 3)), responses, n=2, seed=4)
    assert shams.attrs["site"] == "resid_post"
    assert '"step": "matched_roi"' in shams.attrs["provenance"]


def test_regions_that_cannot_be_matched_are_refused(responses):
    with pytest.raises(DesignError, match="the ROI has no member"):
        matched_roi(_roi(responses, (0, 0, 0)), responses)
    with pytest.raises(DesignError, match="100 candidates cannot match 200 units"):
        matched_roi(_roi(responses, (200, 0, 0)), responses)
    with pytest.raises(DesignError, match="at least one beside it"):
        matched_roi(_roi(responses, (1, 0, 0)), responses, n=0)
    with pytest.raises(DesignError, match="match at one site"):
        matched_roi(_roi(responses, (1, 0, 0)).assign_attrs(site="mlp_out"), responses)
    with pytest.raises(DesignError, match="match on responses of the same features"):
        matched_roi(_roi(responses, (1, 0, 0)), responses.isel(feature=slice(0, 200)))
    with pytest.raises(
        DesignError, match=r"no layers \[0\] in the responses to match on; there are \[1, 2\]"
    ):
        matched_roi(_roi(responses, (1, 0, 0)), responses.isel(layer=[1, 2]))


def test_random_directions_have_the_norm_and_doses_of_the_direction():
    direction = Direction("resid_post", 2, np.eye(50)[0], 4.0, "norm", max_norm=9.0, seen=("s/item/a",))
    others = random_directions(direction, 200, seed=0)
    vectors = np.stack([other.vector for other in others])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    assert {(other.site, other.layer, other.reference, other.max_norm) for other in others} == {
        ("resid_post", 2, 4.0, 9.0)
    }
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=4 * (50 * 200) ** -0.5)  # four standard errors
