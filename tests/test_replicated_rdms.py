"""Models compared over several RDMs, through rsatoolbox's dual bootstrap."""

import numpy as np
import pytest
import xarray as xr

import neurosae as ns
from neurosae.analysis.replicated_rdms import compare_models_over_rdms
from neurosae.errors import DesignError
from tests.responses import families, labelled

EXACT = 1e-10  # float64 sums in another order


def replications(n=5, *, effect=1.0, seed=0):
    """RDMs of 16 stimuli of size a in several noisy replications, and models of a and of an unrelated b."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 16))
    signs = rng.choice([-1, 1], 8)
    sets = [
        labelled(effect * np.outer(a, signs) + rng.normal(size=(16, 8)), condition=["x"] * 16, a=a, b=b)
        for _ in range(n)
    ]
    models = {name: ns.model_rdm(sets[0], name) for name in "ab"}
    return [ns.rdm(own, metric="euclidean") for own in sets], models


def test_the_model_behind_the_rdms_is_found():
    rdms, models = replications()
    result = compare_models_over_rdms(rdms, models, n_bootstraps=40)
    assert result.p.values[0, 0] < 0.01
    assert result.p_difference.values[0, 0] < 0.05
    assert np.array_equal(result.p_holm, result.p_difference)
    each = [ns.compare_rdms(d, models["a"], n_permutations=9).similarity.item() for d in rdms]
    # rsatoolbox reports the mean of its samples.
    assert result.similarity.values[0, 0] == pytest.approx(np.mean(each), abs=0.05)


def test_without_structure_nothing_is_found_more_often_than_asked():
    p = []
    for seed in range(8):
        rdms, models = replications(effect=0.0, seed=seed)
        result = compare_models_over_rdms(rdms, models, n_bootstraps=15, seed=seed)
        p += [result.p.values[0, 0], result.p_difference.values[0, 0]]
    # .9995 limit of 16 tests at rate .05; rsatoolbox's own samples are slow
    assert np.sum(np.array(p) <= 0.05) <= 5


def test_seeds_decide_and_the_shared_generator_is_put_back():
    rdms, models = replications(3)
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    one, two, other = (
        compare_models_over_rdms(rdms, models, n_bootstraps=8, seed=seed) for seed in (3, 3, 4)
    )
    assert np.random.random() == expected
    xr.testing.assert_identical(one, two)
    assert not np.array_equal(one.p, other.p)


def test_results_survive_a_file(tmp_path, capsys):
    rdms, models = replications(3)
    result = compare_models_over_rdms(rdms, models, n_bootstraps=8)
    assert capsys.readouterr().err == ""
    ns.save_netcdf(result, tmp_path / "r.nc")
    xr.testing.assert_identical(ns.load_netcdf(tmp_path / "r.nc"), result)


def test_refusals_say_what_is_needed():
    rdms, models = replications(3)
    with pytest.raises(DesignError, match="2 RDMs and 2 models; this takes at least 3 RDMs"):
        compare_models_over_rdms(rdms[:2], models)
    with pytest.raises(DesignError, match="no RDM similarity 'tau-a' for several RDMs"):
        compare_models_over_rdms(rdms, models, method="tau-a")
    shared = families()
    d, model = ns.rdm(shared), ns.model_rdm(shared, "condition")
    with pytest.raises(DesignError, match="rows share a unit or a pattern is silent"):
        compare_models_over_rdms([d, d, d], {"a": model, "b": model})
