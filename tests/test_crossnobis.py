"""Distances across runs, against their definition, rsatoolbox, and their expectations."""

import numpy as np
import pytest
import xarray as xr
from rsatoolbox.data import Dataset
from rsatoolbox.data.noise import cov_from_residuals, prec_from_unbalanced
from rsatoolbox.rdm import calc_rdm

import neurosae as ns
from neurosae.analysis.cross_validated import crossnobis_rdm, poisson_cv_rdm
from neurosae.arrays.crossnobis import (
    NOISE,
    crossnobis,
    poisson_cv,
    run_residuals,
    shrunk_covariance,
    whitened,
)
from neurosae.arrays.distance import dissimilarity, poisson_kernel_distance, triangle
from neurosae.errors import DesignError
from neurosae.testing import planted_responses
from tests.responses import labelled

EXACT = 1e-10  # float64 sums in another order


def patterns(n_runs=4, n=6, n_channels=20, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_channels)) + rng.normal(size=(n_runs, n, n_channels))


def as_dataset(runs):
    n_runs, n, _ = runs.shape
    return Dataset(
        runs.reshape(n_runs * n, -1),
        obs_descriptors={
            "level": np.tile([f"c{i}" for i in range(n)], n_runs),
            "run": np.repeat([f"r{i}" for i in range(n_runs)], n),
        },
    )


def test_kat_14_pairs_of_runs_equal_leaving_out_each_run_and_rsatoolbox():
    runs = patterns()
    found = crossnobis(runs)
    folds = []
    for run in range(4):
        train, test = np.delete(runs, run, axis=0).mean(axis=0), runs[run]
        folds.append([[(train[i] - train[j]) @ (test[i] - test[j]) / 20 for j in range(6)] for i in range(6)])
    assert np.allclose(found, np.mean(folds, axis=0), atol=EXACT)
    theirs = calc_rdm(as_dataset(runs), method="crossnobis", descriptor="level", cv_descriptor="run")
    assert np.allclose(triangle(found), theirs.dissimilarities[0], atol=EXACT)


def test_kat_14_whitened_distances_equal_rsatoolbox_with_its_shrunk_precision():
    runs = patterns(n_channels=12)
    data = as_dataset(runs)
    precision = prec_from_unbalanced(data, obs_desc="level", method="shrinkage_diag")
    theirs = calc_rdm(data, method="crossnobis", descriptor="level", cv_descriptor="run", noise=precision)
    assert np.allclose(
        triangle(crossnobis(whitened(runs, "shrinkage"))), theirs.dissimilarities[0], atol=1e-9
    )


@pytest.mark.parametrize("n_channels", [5, 40])
def test_shrunk_covariance_equals_rsatoolbox(n_channels):
    residuals = run_residuals(patterns(n_channels=n_channels))
    theirs = cov_from_residuals(residuals.copy(), dof=18, method="shrinkage_diag")
    assert np.allclose(shrunk_covariance(residuals, 18), theirs, atol=EXACT)


def test_kat_14_expectation_and_variance_over_simulations():
    rng = np.random.default_rng(14)
    truth = np.zeros((6, 50))
    truth[0] = 0.6
    found, biased = [], []
    for _ in range(2000):
        runs = truth + rng.normal(size=(4, 6, 50))
        found.append(triangle(crossnobis(runs)))
        biased.append(triangle(dissimilarity(runs.mean(axis=0), "sqeuclidean")))
    planted, null = np.array(found)[:, :5], np.array(found)[:, 5:]
    assert planted.mean() == pytest.approx(0.36, abs=0.005)
    assert null.mean() == pytest.approx(0.0, abs=0.005)
    assert null.var() == pytest.approx(8 / (50 * 4 * 3), rel=0.05)
    assert np.array(biased)[:, 5:].mean() == pytest.approx(0.5, abs=0.005)
    assert (null < 0).mean() > 0.4


def test_kat_15_poisson_cv_is_the_mean_of_folds_of_which_rsatoolbox_returns_the_last():
    rates = np.exp(patterns())
    folds = [
        poisson_kernel_distance(np.delete(rates, run, axis=0).mean(axis=0), rates[run]) for run in range(4)
    ]
    theirs = calc_rdm(as_dataset(rates), method="poisson_cv", descriptor="level", cv_descriptor="run")
    assert np.allclose(triangle(folds[-1]), theirs.dissimilarities[0], atol=EXACT)
    assert np.allclose(poisson_cv(rates), np.mean(folds, axis=0), atol=EXACT)
    assert np.abs(triangle(poisson_cv(rates)) - theirs.dissimilarities[0]).max() > 0.1


def test_whitening_makes_noise_unit_and_drops_constant_channels():
    runs = patterns(n_runs=30, n=10, n_channels=3) * np.array([1.0, 5.0, 0.0]) + 2.0
    assert whitened(runs, "none").shape == (30, 10, 3)
    for noise in ("diagonal", "shrinkage"):
        residuals = run_residuals(whitened(runs, noise))
        assert (residuals**2).sum(axis=0) / 290 == pytest.approx([1.0, 1.0], abs=1e-6)


def items_and_templates(n_items=8, n_templates=3, effect=0.0, seed=0):
    """Items that differ by ``effect``; templates with strong patterns of their own."""
    rng = np.random.default_rng(seed)
    item, template = np.divmod(np.arange(n_items * n_templates), n_templates)
    values = rng.normal(size=(len(item), 2, 30)) + 2 * rng.normal(size=(n_templates, 2, 30))[template]
    values += effect * rng.normal(size=(n_items, 2, 30))[item]
    return labelled(
        values,
        condition=np.where(item < n_items // 2, "a", "b"),
        item=[f"i{i}" for i in item],
        template=[f"t{i}" for i in template],
    )


def test_items_that_do_not_differ_are_at_distance_zero_on_average():
    means = []
    for seed in range(20):
        d = crossnobis_rdm(items_and_templates(40, seed=seed), "item", noise="none")
        entries = triangle(d.values)
        means.append(entries.mean())
        assert (entries < 0).mean() > 0.3
    assert abs(np.mean(means)) < 3 * np.std(means) / np.sqrt(20)
    assert d.attrs["n_runs"] == 3


def test_items_that_differ_are_found_with_their_distance():
    d = crossnobis_rdm(items_and_templates(40, effect=1.0), "item", noise="none")
    assert triangle(d.values).mean() == pytest.approx(2.0, abs=0.2)


def test_rows_keep_their_order_and_columns_whatever_the_order_of_stimuli():
    responses = items_and_templates(effect=1.0)
    d = crossnobis_rdm(responses, "item")
    order = np.random.default_rng(0).permutation(24)
    shuffled = crossnobis_rdm(responses.isel(stimulus=order), "item")
    names = d.stimulus.values
    assert names.tolist() == [f"i{i}" for i in range(8)]
    assert np.allclose(shuffled.sel(stimulus=names, stimulus_2=names), d, atol=EXACT)
    assert d.condition.values.tolist() == ["a"] * 4 + ["b"] * 4
    assert d.attrs["unit"] == "item"


def test_cross_validated_rdms_are_compared_like_any_other():
    responses = items_and_templates(16, effect=0.5)
    responses.values[responses.condition.values == "a", 1] += 0.7
    d = crossnobis_rdm(responses, "item")
    fit = ns.compare_rdms(d, ns.model_rdm(responses, "condition"), n_permutations=199)
    assert fit.p.values[1] == 0.005
    assert fit.n_units.values.tolist() == [16, 16]


def test_poisson_rdm_of_rates_and_its_file(tmp_path):
    responses = np.exp(items_and_templates(effect=0.5))
    d = poisson_cv_rdm(responses, "item")
    cells = responses.values.reshape(8, 3, 2, 30)[:, :, 1].swapaxes(0, 1)
    assert np.allclose(d.values[1], poisson_cv(cells), atol=EXACT)
    ns.save_netcdf(d, tmp_path / "d.nc")
    xr.testing.assert_identical(ns.load_netcdf(tmp_path / "d.nc"), d)


def test_many_features_are_taken_as_independent():
    responses = planted_responses(n_items=3, n_templates=2, n_features=2001, planted=())
    assert crossnobis_rdm(responses, "item").attrs["scaling"] == "diagonal"
    assert crossnobis_rdm(responses.isel(feature=slice(50)), "item").attrs["scaling"] == "shrinkage"


def test_refusals_say_what_is_missing():
    responses = items_and_templates()
    with pytest.raises(DesignError, match="1 of 24 cells are empty \\(first: item 'i7' has no template 't2'"):
        crossnobis_rdm(responses[:-1], "item")
    with pytest.raises(DesignError, match="1 run; distances across runs need at least two"):
        crossnobis_rdm(responses[::3], "item", noise="none")
    with pytest.raises(DesignError, match="'voice' is not a column"):
        crossnobis_rdm(responses, "item", runs="voice")
    with pytest.raises(DesignError, match=f"no noise model 'full'; choose one of .{next(iter(NOISE))!r}"):
        crossnobis_rdm(responses, "item", noise="full")
    with pytest.raises(DesignError, match="are identical, so there is no noise"):
        crossnobis_rdm(responses * 0, "item")
    with pytest.raises(DesignError, match="poisson needs activations >= 0"):
        poisson_cv_rdm(responses, "item")


@pytest.mark.parametrize("noise", NOISE)
def test_a_single_run_is_named_as_what_is_missing(noise):
    with pytest.raises(DesignError, match="1 run; distances across runs need at least two"):
        crossnobis_rdm(planted_responses(n_items=4), "condition", noise=noise)
