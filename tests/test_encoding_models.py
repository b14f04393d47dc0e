"""Encoding models: planted variance recovered with its size, shared variance is nobody's own, nulls."""

import numpy as np
import pytest
import xarray as xr

from neurosae.analysis.encoding_models import encoding_model
from neurosae.errors import DesignError
from neurosae.testing import planted_responses
from tests.responses import responses_of


def stimuli(n=80, seed=0, n_layers=1, n_features=4):
    """Numbers a, b (correlated .6) and c, and responses of noise."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(n)
    b = 0.6 * a + 0.8 * rng.standard_normal(n)
    c = rng.standard_normal(n)
    values = rng.standard_normal((n, n_layers, n_features))
    return responses_of(values, ["x"] * n, a=a, b=b, c=c)


BANDS = {"first": ["a"], "second": ["b"], "third": ["c"]}


def test_planted_variance_is_recovered_with_its_size():
    responses = stimuli(400)
    values = responses.values
    values[:, 0, 1] += responses["a"].values
    found = encoding_model(responses, BANDS, n_permutations=20)
    # One unit of variance is explained, one is noise; b explains .36 of a, so .64 of it is a's own.
    assert float(found["r2"][0, 1]) == pytest.approx(0.5, abs=0.08)
    # Without a, b explains .36 of 2: unique is .5 - .18.
    assert float(found["unique"].sel(band="first")[0, 1]) == pytest.approx(0.32, abs=0.08)
    assert abs(float(found["unique"].sel(band="second")[0, 1])) < 0.02
    assert float(found["unique_p"].sel(band="first")[0, 1]) < 0.05
    assert float(found["r"][0, 1]) == pytest.approx(np.sqrt(0.5), abs=0.06)


def test_p_is_uniform_without_an_effect_and_corrected_over_layers_and_features():
    found = encoding_model(stimuli(40, n_features=150, seed=2), BANDS, n_permutations=39)
    assert found["p"].mean() == pytest.approx(0.5, abs=0.1)
    # .0005 and .9995 binomial limits of 150 at .05, as if features were independent.
    assert (found["p"] <= 0.05).sum() <= 18
    assert (found["p_adjusted"] >= found["p"]).all()
    assert float(found["p_adjusted"].min()) > 0.05
    assert (found["unique_p_adjusted"] >= found["unique_p"]).all()


def test_p_of_a_band_stays_calibrated_where_a_correlated_band_has_an_effect():
    responses = stimuli(60, n_features=120, seed=3)
    responses.values[:] += 2 * responses["a"].values[:, None, None]
    found = encoding_model(responses, {"first": ["a"], "second": ["b"]}, n_permutations=39)
    assert (found["unique_p"].sel(band="second") <= 0.05).mean() < 0.14
    assert (found["unique_p"].sel(band="first") <= 0.05).all()


def test_families_are_exchanged_and_held_out_as_wholes():
    rng = np.random.default_rng(4)
    family = np.repeat(np.arange(20), 4)
    a = rng.standard_normal(20)[family]
    values = 5 * rng.standard_normal((20, 1, 40))[family] + 0.1 * rng.standard_normal((80, 1, 40))
    responses = responses_of(values, ["x"] * 80, a=a, family=family.astype(str))
    found = encoding_model(responses, {"first": ["a"]}, n_permutations=39)
    assert float(found["r2"].mean()) < 0.02
    assert (found["p"] <= 0.05).mean() < 0.2
    assert found.attrs["groups"] == "family"


def test_banded_ridge_keeps_a_band_that_one_penalty_would_drown():
    rng = np.random.default_rng(5)
    n = 60
    noise = {f"n{k}": rng.standard_normal(n) for k in range(40)}
    responses = responses_of(rng.standard_normal((n, 1, 3)), ["x"] * n, a=rng.standard_normal(n), **noise)
    responses.values[:] += responses["a"].values[:, None, None]
    bands = {"signal": ["a"], "noise": list(noise)}
    share = {s: encoding_model(responses, bands, solver=s, n_permutations=0) for s in ("ridge", "banded")}
    assert float(share["banded"]["r2"].mean()) > float(share["ridge"]["r2"].mean()) + 0.1
    assert np.isnan(share["banded"]["p"]).all()


def test_categories_are_predictors_and_constant_features_are_nan():
    responses = planted_responses(effect=4.0, n_features=6)
    values = responses.values.copy()
    values[:, 0, 2] = 3.0
    found = encoding_model(responses.copy(data=values), {"class": ["condition"]}, n_permutations=19)
    assert float(found["r2"].sel(layer=1, feature=4)) > 0.6
    assert np.isnan(found["r2"].sel(layer=0, feature=2))
    assert np.isnan(found["p_adjusted"].sel(layer=0, feature=2))
    assert float(found["p_adjusted"].sel(layer=1, feature=4)) == 0.05
    # With one band, all variance explained is its own.
    xr.testing.assert_allclose(found["unique"].squeeze("band", drop=True), found["r2"])


def test_order_of_stimuli_and_layers_change_little_or_nothing():
    responses = stimuli(40, n_layers=2)
    one = encoding_model(responses, BANDS, n_permutations=0)
    alone = encoding_model(responses.isel(layer=[1]), BANDS, n_permutations=0)
    xr.testing.assert_allclose(one["r2"].isel(layer=[1]), alone["r2"])
    order = np.random.default_rng(0).permutation(40)
    xr.testing.assert_allclose(
        encoding_model(responses.isel(stimulus=order), BANDS, n_permutations=0)["r2"], one["r2"]
    )


def test_result_survives_a_file_and_describes_itself(tmp_path):
    found = encoding_model(stimuli(30), BANDS, n_permutations=20)
    found.to_netcdf(tmp_path / "encoding.nc")
    with xr.open_dataset(tmp_path / "encoding.nc") as read:
        xr.testing.assert_identical(read.load(), found)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())
    assert all(isinstance(value, str | int | float) for value in found.attrs.values())


def test_models_that_cannot_be_fitted_are_refused():
    responses = stimuli(30)
    with pytest.raises(DesignError, match="no solver 'lasso'"):
        encoding_model(responses, BANDS, solver="lasso")
    for bands in ({}, {"first": []}, {"first": ["a"], "second": ["a"]}):
        with pytest.raises(DesignError, match="give each band columns of its own"):
            encoding_model(responses, bands)
    with pytest.raises(DesignError, match="no column 'd'"):
        encoding_model(responses, {"first": ["d"]})
    with pytest.raises(DesignError, match="'condition' is the same for all stimuli"):
        encoding_model(responses, {"first": ["condition"]})
    with pytest.raises(DesignError, match="has 3 groups; 5 folds need"):
        encoding_model(responses.assign_coords(g=("stimulus", list("xyz") * 10)), BANDS, groups="g")
    paired = responses.assign_coords(
        item=("stimulus", np.repeat(np.arange(15), 2).astype(str)), kind=("stimulus", ["p", "q"] * 15)
    )
    with pytest.raises(DesignError, match="exchanging whole groups gives 1 different designs only"):
        encoding_model(paired, {"kind": ["kind"]})


def test_a_layer_of_constant_features_has_no_p_and_others_keep_theirs():
    responses = stimuli(40, n_layers=2)
    values = responses.values.copy()
    values[:, 1] = 2.0
    found = encoding_model(responses.copy(data=values), BANDS, n_permutations=19)
    alone = encoding_model(responses.isel(layer=[0]), BANDS, n_permutations=19)
    assert np.isnan(found["p_adjusted"].values[1]).all()
    assert found["p_adjusted"].values[0].tolist() == alone["p_adjusted"].values[0].tolist()
    dead = encoding_model(responses.copy(data=np.ones_like(values)), BANDS, n_permutations=19)
    assert np.isnan(dead["p_adjusted"].values).all()


def test_two_columns_cannot_be_held_out_by_an_encoding_model():
    with pytest.raises(DesignError, match=r"only one column can be held out here"):
        encoding_model(stimuli(), BANDS, groups=("a", "b"))
