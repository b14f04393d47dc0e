"""ROIs: exactly what was asked for, refused on the units that chose them, and honest when held out."""

import numpy as np
import pytest
import xarray as xr

from neurosae.analysis import localizer
from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.localizer import cross_localize, localize, roi_responses
from neurosae.analysis.selection import RULES
from neurosae.errors import ContrastError, DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf


def responses(values, condition, name="s", **columns):
    values = np.asarray(values)
    values = values[:, None] if values.ndim == 2 else values
    n, n_layers, n_features = values.shape
    coords = {"stimulus": [f"{name}{i}" for i in range(n)], "condition": ("stimulus", np.asarray(condition))}
    coords |= {key: ("stimulus", np.asarray(column)) for key, column in columns.items()}
    coords |= {"layer": np.arange(n_layers) + 5, "feature": np.arange(n_features)}
    attrs = {"site": "resid_post", "basis": "units", "units": "a.u."}
    return xr.DataArray(values, dims=("stimulus", "layer", "feature"), coords=coords, attrs=attrs)


def noise(n=20, shape=(3, 100), seed=0, **kwargs):
    values = np.random.default_rng(seed).standard_normal((2 * n, *shape))
    return responses(values, np.repeat(["a", "b"], n), **kwargs)


def planted(n=30, effect=1.5, **kwargs):
    data = noise(n, **kwargs)
    data.values[:n, 1, :6] += effect
    return data


def a_map(stat, valid=None, p=None):
    dims = ("layer", "feature")
    valid = np.isfinite(stat) if valid is None else valid
    p = np.full(np.shape(stat), 0.5) if p is None else p
    return xr.Dataset({"stat": (dims, stat), "valid": (dims, valid), "p_adjusted": (dims, p)})


STAT = np.array([[1.0, 5.0, np.nan, 5.0], [-9.0, 5.0, 2.0, 0.0]])


def members(roi):
    return [tuple(int(i) for i in place) for place in zip(*np.nonzero(roi["member"].values), strict=True)]


def test_ties_go_by_layer_and_feature_and_n_is_exact():
    assert members(localize(a_map(STAT), n=2)) == [(0, 1), (0, 3)]
    assert members(localize(a_map(STAT), n=4)) == [(0, 1), (0, 3), (1, 1), (1, 2)]
    assert localize(a_map(STAT), n=4).attrs["n_selected"] == 4


def test_absolute_takes_both_directions():
    assert members(localize(a_map(STAT), n=2, absolute=True)) == [(0, 1), (1, 0)]


def test_fraction_is_of_valid_features():
    assert localize(a_map(STAT), fraction=0.5).attrs["n_selected"] == round(0.5 * 7)
    assert localize(a_map(STAT), fraction=0.01).attrs["n_selected"] == 1


def test_q_takes_positive_features_that_pass():
    p = np.where(np.abs(STAT) >= 5, 0.01, 0.5)
    assert members(localize(a_map(STAT, p=p), q=0.05)) == [(0, 1), (0, 3), (1, 1)]
    assert members(localize(a_map(STAT, p=p), q=0.05, absolute=True)) == [(0, 1), (0, 3), (1, 0), (1, 1)]


def test_planted_features_form_the_roi():
    roi = localize(contrast_map(planted(), "a > b", n_permutations=99), n=6)
    assert members(roi) == [(1, feature) for feature in range(6)]
    assert roi.attrs["site"] == "resid_post"
    assert roi.attrs["contrast"] == "a > b"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "exactly one of fraction, n and q"),
        ({"n": 2, "q": 0.05}, "exactly one"),
        ({"n": 8}, "7 valid features"),
        ({"n": 0}, "n is 0"),
        ({"fraction": 0.0}, "fraction is 0"),
        ({"fraction": 1.5}, "fraction is 1.5"),
        ({"q": 2.0}, "q is 2.0"),
    ],
)
def test_rules_that_cannot_be_met_are_refused(settings, message):
    with pytest.raises(DesignError, match=message):
        localize(a_map(STAT), **settings)


def test_maps_without_features_or_p_values_are_refused():
    with pytest.raises(DesignError, match="no feature is valid"):
        localize(a_map(np.full((1, 3), np.nan)), fraction=0.5)
    with pytest.raises(DesignError, match="no p-values"):
        localize(a_map(STAT, p=np.full(STAT.shape, np.nan)), q=0.05)


def test_roi_responses_average_the_members():
    data = planted()
    roi = localize(contrast_map(data, "a > b", n_permutations=99), n=6)
    other = planted(seed=1, name="t")
    response = roi_responses(other, roi)
    np.testing.assert_allclose(response, other.values[:, 1, :6].mean(axis=1), rtol=1e-12)
    assert response.dims == ("stimulus",)
    assert "circular" not in response.attrs


def test_stimuli_that_chose_the_roi_are_refused_unless_stamped():
    data = planted()
    roi = localize(contrast_map(data, "a > b", n_permutations=99), n=6)
    with pytest.raises(DesignError, match="circular"):
        roi_responses(data, roi)
    assert roi_responses(data, roi, circular=True).attrs["circular"].startswith("CIRCULAR")
    assert "circular" not in roi_responses(planted(seed=1, name="t"), roi, circular=True).attrs


def test_new_stimuli_of_items_that_chose_the_roi_are_refused():
    items = [f"i{k}" for k in range(60)]
    roi = localize(contrast_map(planted(item=items), "a > b", n_permutations=99), n=6)
    with pytest.raises(DesignError, match="circular"):
        roi_responses(planted(seed=1, name="t", item=items), roi)


def test_roi_responses_refuse_another_space():
    roi = localize(contrast_map(planted(), "a > b", n_permutations=99), n=6)
    other = planted(seed=1, name="t")
    for changed, message in (
        (other.assign_attrs(site="mlp_out"), "of site 'resid_post'"),
        (other.isel(layer=[0]), "record the ROI's layers"),
        (other.isel(feature=slice(0, 50)), "100 features"),
    ):
        with pytest.raises(DesignError, match=message):
            roi_responses(changed, roi)
    with pytest.raises(DesignError, match="no member"):
        roi_responses(other, roi.assign(member=roi["member"] & False))
    with pytest.raises(DesignError, match="take one fold"):
        roi_responses(other, cross_localize(planted(), "a > b"))


def test_planted_features_are_found_in_each_fold_and_respond_when_held_out():
    result = cross_localize(planted(40), "a > b", fraction=0.02)
    assert (result["member"].sum(("layer", "feature")) == 6).all()
    assert int(result["n_selected"].sel(layer=6).sum()) >= 10
    assert float(result["effect"]) > 0.8
    assert float(result["p"]) == 0.001
    assert float(result["es_lo"]) < float(result["es"]) < float(result["es_hi"])
    assert float(result["dice"]) > 5 * float(result["dice_chance"])
    assert float(result["split_half_r_sb"]) > float(result["split_half_r"]) > 0


def test_held_out_response_is_scaled_by_training_units():
    data = planted(20)
    result = cross_localize(data, "a > b", fraction=0.02)
    fold_of = result["fold_of"].values
    for fold in (0, 1):
        rows, train = fold_of == fold, fold_of != fold
        member = result["member"].values[fold]
        z = (data.values[rows] - data.values[train].mean(0)) / data.values[train].std(0, ddof=1)
        np.testing.assert_allclose(result["response"].values[rows], z[:, member].mean(axis=1), atol=1e-10)
        chosen = contrast_map(data.isel(stimulus=train), "a > b", n_permutations=99)
        np.testing.assert_array_equal(localize(chosen, n=int(member.sum()))["member"].values, member)


def test_noise_has_no_held_out_effect_and_no_reliability(monkeypatch):
    monkeypatch.setattr(localizer, "N_PERMUTATIONS", 99)
    monkeypatch.setattr(localizer, "N_SPLITS", 2)
    results = [cross_localize(noise(seed=seed), "a > b", seed=seed) for seed in range(60)]

    def mean(name):
        return np.mean([float(result[name]) for result in results])

    # Standard errors of 60 runs: effect .26/√60 = .03, r .06/√60.
    assert abs(mean("effect")) < 0.12
    assert abs(mean("split_half_r")) < 0.03
    assert mean("dice") == pytest.approx(0.01, abs=0.02)
    assert mean("dice_chance") == pytest.approx(0.01)


def test_held_out_p_is_uniform_where_features_are_correlated(monkeypatch):
    monkeypatch.setattr(localizer, "N_PERMUTATIONS", 99)
    monkeypatch.setattr(localizer, "N_SPLITS", 1)
    rng = np.random.default_rng(0)
    condition, items = np.tile(["a", "b"], 20), np.repeat([f"i{k}" for k in range(20)], 2)
    for columns in ({}, {"item": items}):
        p = []
        for seed in range(200):
            values = rng.standard_normal((40, 10)) @ rng.standard_normal((10, 60))
            data = responses(values, condition, **columns)
            p.append(float(cross_localize(data, "a > b", fraction=0.1, seed=seed)["p"]))
        assert 0.010 <= np.mean(np.array(p) <= 0.05) <= 0.105


def test_kat_10_selection_inflates_the_effect_only_on_its_own_data(monkeypatch):
    monkeypatch.setattr(localizer, "N_PERMUTATIONS", 20)
    monkeypatch.setattr(localizer, "N_SPLITS", 1)
    circular, held_out = [], []
    for seed in range(20):
        data = noise(40, (1, 10_000), seed=seed)
        cmap = contrast_map(data, "a > b", test="pooled", n_permutations=19, correct="none")
        roi = localize(cmap, n=100)
        circular.append(float(cmap["es"].values[roi["member"].values].mean()))
        held_out.append(cross_localize(data, "a > b", fraction=0.01, seed=seed))
        with pytest.raises(DesignError, match="circular"):
            roi_responses(data, roi)
    assert 0.57 < np.mean(circular) < 0.65
    assert abs(np.mean([float(result["effect"]) for result in held_out])) <= 0.02


def test_families_stay_in_one_fold_and_cells_are_spread_evenly():
    families = np.repeat([f"f{k:02d}" for k in range(20)], 3)
    items = [f"i{k}" for k in range(60)]
    data = responses(
        np.random.default_rng(0).standard_normal((60, 20)),
        np.repeat(["a", "b"], 30),
        item=items,
        family=families,
    )
    result = cross_localize(data, "a > b", unit="item", fraction=0.1)
    fold_of = result["fold_of"].values
    for family in np.unique(families):
        assert len(set(fold_of[families == family])) == 1
    assert [int((fold_of[result["condition"].values == name] == 0).sum()) for name in "ab"] == [15, 15]


def test_paired_units_stay_in_one_fold():
    items = np.repeat([f"i{k:02d}" for k in range(24)], 2)
    data = responses(
        np.random.default_rng(0).standard_normal((48, 1, 30)), np.tile(["a", "b"], 24), item=items
    )
    data.values[::2, 0, :3] += 2
    result = cross_localize(data, "a > b", fraction=0.1, folds=3)
    assert (result["fold_of"].values[::2] == result["fold_of"].values[1::2]).all()
    assert int(result["n_units"]) == 24
    assert float(result["p"]) == 0.001
    assert result.attrs["scheme"].startswith("paired")
    assert result["condition"].values[:2].tolist() == ["a", "b"]
    differences = result["response"].values[::2] - result["response"].values[1::2]
    assert float(result["stat"]) == pytest.approx(
        differences.mean() / differences.std(ddof=1) * np.sqrt(24), abs=1e-9
    )


def test_order_of_features_does_not_matter_and_seeds_repeat():
    data = planted(20, seed=3)
    first = cross_localize(data, "a > b", fraction=0.02)
    xr.testing.assert_identical(first, cross_localize(data, "a > b", fraction=0.02))
    order = np.random.default_rng(0).permutation(100)
    moved = cross_localize(data.isel(feature=order), "a > b", fraction=0.02)
    np.testing.assert_allclose(moved["response"], first["response"], atol=1e-10)
    np.testing.assert_array_equal(moved.sel(feature=first.feature)["member"], first["member"])


def test_few_units_give_no_held_out_p():
    values = np.random.default_rng(0).standard_normal((12, 8))
    items = np.repeat(list("uvwxyz"), 2)
    result = cross_localize(responses(values, np.tile(["a", "b"], 6), item=items), "a > b", fraction=0.5)
    assert result.attrs["n_permutations"] == 64
    assert float(result["p"]) >= 2 / 64


def test_results_survive_netcdf(tmp_path):
    data = planted(20)
    roi = localize(contrast_map(data, "a > b", n_permutations=99), fraction=0.02)
    held_out = cross_localize(data, "a > b", fraction=0.02)
    for name, result in (("roi", roi), ("held_out", held_out)):
        save_netcdf(result, tmp_path / f"{name}.nc")
        xr.testing.assert_identical(load_netcdf(tmp_path / f"{name}.nc"), result)
    described = (*roi.data_vars.values(), *held_out.data_vars.values())
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in described)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 1}, "folds is 1"),
        ({"fraction": 0}, "fraction is 0"),
        ({"test": "median"}, "'median' is unknown"),
        ({"unit": "speaker"}, "'speaker'"),
    ],
)
def test_options_out_of_range_are_refused(settings, message):
    with pytest.raises(DesignError, match=message):
        cross_localize(noise(6, (1, 10)), "a > b", **settings)


def test_folds_with_too_few_units_are_refused():
    with pytest.raises(DesignError, match="'a' has 2 units"):
        cross_localize(noise(4, (1, 10)), "a > b")


def test_unknown_conditions_are_refused():
    with pytest.raises(ContrastError, match="'c'"):
        cross_localize(noise(), "a > c")


def reversed_half(n=30, seed=0):
    """Three features prefer a, three prefer b, all in the second layer."""
    data = noise(n, seed=seed)
    data.values[:n, 1, :3] += 1.5
    data.values[:n, 1, 3:6] -= 1.5
    return data


def test_per_layer_takes_a_share_of_each_layer_and_skips_layers_without_valid_features():
    roi = localize(a_map(STAT), n=1, per_layer=True)
    assert members(roi) == [(0, 1), (1, 1)]
    assert roi.attrs["rule"] == "n = 1, positive, per layer"
    silent = np.vstack([STAT, np.full((1, 4), np.nan)])
    assert members(localize(a_map(silent), fraction=0.5, per_layer=True)) == [(0, 1), (0, 3), (1, 1), (1, 2)]


def test_absolute_rule_turns_reversed_features_and_signed_rule_leaves_them():
    found = {rule: cross_localize(reversed_half(), "a > b", fraction=0.02, rule=rule) for rule in RULES}
    assert int(found["absolute"]["member"].sel(feature=slice(0, 5), layer=6).sum()) >= 11
    assert not found["signed"]["member"].sel(feature=slice(3, 5), layer=6).any()
    assert float(found["absolute"]["effect"]) > 0.8
    assert float(found["absolute"]["p"]) == 0.001
    per_layer = found["per_layer"]["n_selected"]
    assert (per_layer == 2).all()
    assert (found["absolute_per_layer"]["n_selected"] == 2).all()


@pytest.mark.parametrize("rule", ["absolute", "per_layer"])
def test_held_out_p_of_each_rule_is_uniform_in_noise(monkeypatch, rule):
    monkeypatch.setattr(localizer, "N_PERMUTATIONS", 39)
    monkeypatch.setattr(localizer, "N_SPLITS", 1)
    rng = np.random.default_rng(1)
    p, dice, chance = [], [], []
    for seed in range(80):
        values = rng.standard_normal((40, 2, 30)) + rng.standard_normal((40, 1, 1))
        found = cross_localize(
            responses(values, np.tile(["a", "b"], 20)), "a > b", fraction=0.1, rule=rule, seed=seed
        )
        p.append(float(found["p"]))
        dice.append(float(found["dice"]))
        chance.append(float(found["dice_chance"]))
    assert 0.03 <= np.mean(np.array(p) <= 0.1) <= 0.18  # three standard errors of 80 runs are .1
    assert np.mean(dice) == pytest.approx(np.mean(chance), abs=0.05)


def test_unknown_rules_are_refused():
    with pytest.raises(DesignError, match="rule 'best' is unknown"):
        cross_localize(noise(), "a > b", rule="best")
