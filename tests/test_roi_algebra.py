"""ROIs as sets: exact algebra, chance counted right, and nothing shared across spaces."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import hypergeom

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.localizer import cross_localize, localize, roi_responses
from neurosae.analysis.roi_algebra import combine_rois, compare_rois
from neurosae.arrays.set_overlap import shared_distribution
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.schema.units import with_seen
from tests.responses import labelled


def roi(*rows, seen=(), **attrs):
    member = np.array(rows, dtype=bool)
    coords = {"layer": np.arange(len(member)) + 3, "feature": np.arange(member.shape[1])}
    found = xr.Dataset({"member": (("layer", "feature"), member)}, coords=coords)
    return with_seen(found.assign_attrs(site="resid_post", basis="units", **attrs), seen)


A, B = roi([1, 1, 0, 0], [0, 0, 0, 1], seen=["x"]), roi([0, 1, 1, 0], [0, 0, 0, 1], seen=["y"])


def data(conditions=("a", "b", "c"), n=14, shape=(2, 60), seed=0, shared=0, effect=0.0, **columns):
    """Responses to a, b and the baseline c; the first ``shared`` features prefer a and b to c."""
    values = np.random.default_rng(seed).standard_normal((n * len(conditions), *shape))
    values[: 2 * n, 0, :shared] += effect
    return labelled(values, condition=np.repeat(conditions, n), **columns)


def rois_of(responses, *contrasts, n=8, **options):
    maps = [contrast_map(responses, text, n_permutations=19, **options) for text in contrasts]
    return [localize(each, n=n) for each in maps]


def test_union_intersection_and_difference_are_those_of_sets():
    def members(how):
        return combine_rois([A, B], how)["member"].values.astype(int).tolist()

    assert members("union") == [[1, 1, 1, 0], [0, 0, 0, 1]]
    assert members("intersection") == [[0, 1, 0, 0], [0, 0, 0, 1]]
    assert members("difference") == [[1, 0, 0, 0], [0, 0, 0, 0]]


def test_a_combined_roi_has_seen_what_its_parts_have_seen_and_survives_storage(tmp_path):
    both = combine_rois([A, B], "difference")
    assert both["seen_unit"].values.tolist() == ["x", "y"]
    assert both.attrs["n_selected"] == 1
    save_netcdf(both, tmp_path / "roi.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "roi.nc"), both)


def test_a_combined_roi_is_refused_on_stimuli_that_chose_a_part():
    responses = data(shared=8, effect=3.0)
    both = combine_rois(rois_of(responses, "a > c", "b > c"), "union")
    with pytest.raises(DesignError, match="circular"):
        roi_responses(responses, both)
    assert np.isfinite(both["stat"].values).all()


def test_indices_agree_with_sets():
    found = compare_rois(A, B)
    one, other = ({(0, 0), (0, 1), (1, 3)}, {(0, 1), (0, 2), (1, 3)})
    assert float(found["jaccard"]) == len(one & other) / len(one | other)
    assert float(found["dice"]) == 2 * len(one & other) / (len(one) + len(other))
    assert float(found["overlap"]) == len(one & other) / 3
    assert np.isnan(float(found["p"]))


def test_comparison_is_symmetric_and_blind_to_the_order_of_features():
    order = [2, 0, 3, 1]
    swapped = compare_rois(B.isel(feature=order), A.isel(feature=order))
    for name in ("jaccard", "dice", "dice_chance", "p_chance"):
        assert float(swapped[name]) == pytest.approx(float(compare_rois(A, B)[name]))


def test_chance_within_one_layer_is_hypergeometric():
    chance = shared_distribution(np.array([50]), np.array([12]), np.array([9]))
    np.testing.assert_allclose(chance, hypergeom(50, 12, 9).pmf(np.arange(10)))


def test_chance_over_layers_agrees_with_drawing():
    sizes, one, other = np.array([10, 6]), np.array([4, 1]), np.array([5, 3])
    rng = np.random.default_rng(0)
    drawn = [
        sum(
            int(np.isin(rng.permutation(n)[:a], np.arange(b)).sum())
            for n, a, b in zip(sizes, one, other, strict=True)
        )
        for _ in range(4000)
    ]
    counted = np.bincount(drawn, minlength=6) / 4000
    # 0.03 is four standard errors of a share of 4000 draws
    np.testing.assert_allclose(shared_distribution(sizes, one, other), counted, atol=0.03)


def test_random_rois_share_what_chance_says():
    rng = np.random.default_rng(1)
    p = []
    for _ in range(200):
        members = [rng.permutation(np.repeat([True, False], [10, 90]))[None] for _ in range(2)]
        p.append(float(compare_rois(roi(*members[0]), roi(*members[1]))["p_chance"]))
    # the p of counts is coarse, so it may only lie above the nominal level, not below it
    assert np.mean(np.array(p) <= 0.05) <= 0.08


def test_contrasts_with_one_effect_share_more_than_reordered_responses():
    responses = data(shared=8, effect=3.0)
    found = compare_rois(*rois_of(responses, "a > c", "b > c"), responses, n_permutations=99)
    assert float(found["dice"]) == 1.0
    assert float(found["p"]) == 0.01


def test_a_common_baseline_makes_rois_alike_and_the_null_knows_it():
    found = [
        compare_rois(*rois_of(noise, "a > c", "b > c"), noise, n_permutations=39)
        for noise in (data(seed=seed) for seed in range(30))
    ]
    dice = np.mean([float(each["dice"]) for each in found])
    assert dice > 2 * np.mean([float(each["dice_chance"]) for each in found])
    # the standard error of a mean Dice over 30 data sets is about .02
    assert dice == pytest.approx(np.mean([float(each["dice_null"]) for each in found]), abs=0.06)
    assert np.mean([float(each["p"]) <= 0.1 for each in found]) <= 0.27


def test_rows_are_reordered_within_units_that_hold_both_conditions():
    rng = np.random.default_rng(0)
    item = 5 * rng.standard_normal((16, 1, 40))
    values = np.concatenate([item + rng.standard_normal((16, 1, 40)) for _ in range(3)])
    values[:32, :, :5] += 2.5
    items = np.tile([f"i{i}" for i in range(16)], 3)
    responses = labelled(values, condition=np.repeat(["a", "b", "c"], 16), item=items)
    found = compare_rois(*rois_of(responses, "a > c", "b > c", n=5), responses, n_permutations=99)
    assert float(found["dice"]) >= 0.8
    assert float(found["p"]) == 0.01


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (roi([1, 0, 0, 0], [0, 0, 0, 0]).assign_attrs(site="mlp_out"), "site"),
        (roi([1, 0, 0, 0], [0, 0, 0, 0]).assign_attrs(basis="sae"), "basis"),
        (roi([1, 0, 0, 0]), "layers"),
        (roi([1, 0], [0, 0]), "features"),
        (roi([1, 0, 0, 0], [0, 0, 0, 0]).assign_coords(layer=[7, 8]), "layers"),
        (xr.Dataset({"stat": 1.0}), "no 'member'"),
    ],
)
def test_rois_of_different_spaces_are_refused(other, message):
    with pytest.raises(DesignError, match=message):
        compare_rois(A, other)
    with pytest.raises(DesignError, match=message):
        combine_rois([A, other], "union")


def test_unknown_operations_and_single_rois_are_refused():
    with pytest.raises(DesignError, match="Choose one of"):
        combine_rois([A, B], "minus")
    with pytest.raises(DesignError, match="two or more ROIs"):
        combine_rois([A], "union")


def test_rois_that_cannot_be_localized_anew_are_refused():
    responses = data(shared=8, effect=3.0)
    first, second = rois_of(responses, "a > c", "b > c")
    with pytest.raises(DesignError, match="cannot be localized anew"):
        compare_rois(combine_rois([first, second], "union"), second, responses)
    with pytest.raises(DesignError, match="cannot be localized anew"):
        compare_rois(cross_localize(responses, "a > c").isel(fold=0), second, responses)
    with pytest.raises(DesignError, match="nuisance"):
        compare_rois(first.assign_attrs(test="ols"), second, responses)
    with pytest.raises(DesignError, match="another site"):
        compare_rois(first, second, responses.isel(layer=[0]))
    with pytest.raises(DesignError, match="different units"):
        compare_rois(first.assign_attrs(unit="item"), second, responses)
