"""Models compared over bootstrap samples of stimuli; noise ceilings of replicated RDMs."""

import numpy as np
import pytest
import xarray as xr
from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
from rsatoolbox.rdm import RDMs

import neurosae as ns
from neurosae.analysis.model_comparison import compare_models, noise_ceiling
from neurosae.arrays.correction import adjust
from neurosae.arrays.distance import triangle
from neurosae.arrays.rdm_bootstrap import bootstrap_similarity, draw_units
from neurosae.arrays.rdm_comparison import similarity
from neurosae.arrays.selected_pairs import SELECTED
from neurosae.errors import DesignError
from neurosae.testing import planted_responses
from tests.responses import families, labelled, two_classes

EXACT = 1e-10  # float64 sums in another order


def sizes(effects, *, n=20, n_layers=1, seed=0):
    """Stimuli with independent sizes a, b, c that layers follow by ``effects``."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(3, n))
    values = rng.normal(size=(n, n_layers, 6))
    for effect, column in zip(effects, columns, strict=True):
        values += effect * column[:, None, None] * rng.choice([-1, 1], 6)
    responses = labelled(values, condition=["x"] * n, **dict(zip("abc", columns, strict=True)))
    return ns.rdm(responses, metric="euclidean"), {name: ns.model_rdm(responses, name) for name in "abc"}


@pytest.mark.parametrize("method", SELECTED)
def test_samples_are_those_of_rdms_with_repeated_rows(method):
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(6), 2)
    matrices, model = (np.abs(x[:, :, None] - x[:, None, :]) for x in (rng.normal(size=(2, 12)),) * 2)
    model = matrices[:1] + np.abs(np.subtract.outer(rng.normal(size=12), rng.normal(size=12)))
    model = model + model.swapaxes(1, 2)
    counts = draw_units(units, 5, seed=1)
    found = bootstrap_similarity(matrices, model, counts, units, method)
    for sample, count in enumerate(counts):
        rows = np.repeat(np.arange(12), count)
        i, j = np.triu_indices(len(rows), 1)
        keep = units[rows[i]] != units[rows[j]]
        entries = (rows[i][keep], rows[j][keep])
        expected = similarity(matrices[(slice(None), *entries)], model[(0, *entries)], method)
        assert found[sample, :, 0] == pytest.approx(expected, abs=EXACT)


def test_units_are_drawn_whole_and_as_many_as_there_are():
    counts = draw_units(np.array(list("xxyzz")), 50, seed=0)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_the_better_model_is_found_with_its_difference():
    d, models = sizes((1.5, 0.3, 0.0), n_layers=3)
    result = compare_models(d, models, n_bootstraps=300)
    assert result.comparison.values.tolist() == ["a - b", "a - c", "b - c"]
    assert np.allclose(result.difference[:, 0], result.similarity[:, 0] - result.similarity[:, 1], atol=EXACT)
    assert (result.difference_lo[:, :2] > 0).all()
    assert (result.p_holm[:, :2] < 0.05).all()
    assert np.allclose(result.p_holm, [adjust(p, "holm") for p in result.p.values], atol=EXACT)
    assert (result.p_holm >= result.p).all()
    alone = ns.compare_rdms(d, models["a"], n_permutations=9)
    assert np.allclose(result.similarity[:, 0], alone.similarity, atol=EXACT)


def test_equal_models_differ_significantly_at_the_nominal_rate():
    p, low, high, found = [], [], [], []
    for seed in range(100):
        d, models = sizes((1.0, 1.0, 0.0), n=16, seed=seed)
        result = compare_models(d, {name: models[name] for name in "ab"}, n_bootstraps=200, seed=seed)
        p.append(result.p.item())
        found.append(result.similarity.values[0, 0])
        low.append(result.similarity_lo.values[0, 0])
        high.append(result.similarity_hi.values[0, 0])
    # exact .9995 binomial limit of 100 simulations at .05, and the .0005 limit at .95
    assert np.mean(np.array(p) <= 0.05) <= 0.13
    truth = np.mean(found)
    assert np.mean((np.array(low) <= truth) & (truth <= np.array(high))) >= 0.86


def test_order_of_stimuli_does_not_change_the_similarity_nor_seeds_much():
    d, models = sizes((1.0, 0.5, 0.0))
    order = d.stimulus.values[np.random.default_rng(1).permutation(20)]
    one = compare_models(d, models, n_bootstraps=500)
    two = compare_models(d.sel(stimulus=order, stimulus_2=order), models, n_bootstraps=500, seed=1)
    assert np.allclose(one.similarity, two.similarity, atol=EXACT)
    # Standard errors of 500 samples are known to 3 %.
    width = one.similarity_hi - one.similarity_lo
    assert np.allclose(width, two.similarity_hi - two.similarity_lo, rtol=0.15)


def test_silent_stimuli_are_left_out_of_their_layer():
    responses = two_classes(10, 10, n_layers=2, basis="sae")
    responses.values[3, 1] = 0.0
    models = {"condition": ns.model_rdm(responses, "condition")}
    size = responses.assign_coords(size=("stimulus", np.arange(20.0)))
    result = compare_models(ns.rdm(size), models | {"size": ns.model_rdm(size, "size")}, n_bootstraps=50)
    assert result.n_units.values.tolist() == [20, 19]
    assert np.isfinite(result.p).all()


def replications(n, *, signal=1.0, seed=0):
    """RDMs of the same stimuli with a common structure and noise of their own, two layers each."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(16, 2, 10))
    return [
        ns.rdm(labelled(signal * common + rng.normal(size=(16, 2, 10)), condition=["x"] * 16))
        for _ in range(n)
    ]


@pytest.mark.parametrize("method", ["rho-a", "spearman", "corr", "cosine"])
def test_ceilings_agree_with_rsatoolbox(method):
    rdms = replications(5)
    result = noise_ceiling(rdms, method=method)
    for layer in range(2):
        theirs = boot_noise_ceiling(RDMs(np.stack([triangle(d.values[layer]) for d in rdms])), method=method)
        found = [float(result[side][layer]) for side in ("lower", "upper")]
        assert found == pytest.approx(theirs, abs=EXACT)


def test_ceilings_rise_with_what_replications_share():
    weak, strong = (noise_ceiling(replications(5, signal=s)) for s in (0.5, 3.0))
    assert (weak.lower < weak.upper).all()
    assert (strong.lower > weak.lower + 0.3).all()


@pytest.mark.parametrize("n", [1, 2])
def test_kat_18_fewer_than_three_rdms_have_no_ceiling(n):
    result = noise_ceiling(replications(n))
    assert np.isnan([result.lower, result.upper]).all()
    assert "a ceiling needs 3 or more independent replications" in result.attrs["reason"]


def test_replications_are_matched_by_label():
    rdms = replications(3)
    order = np.random.default_rng(0).permutation(16)
    names = rdms[0].stimulus.values[order]
    shuffled = [rdms[0], rdms[1].sel(stimulus=names, stimulus_2=names), rdms[2]]
    assert np.allclose(noise_ceiling(shuffled).upper, noise_ceiling(rdms).upper, atol=EXACT)


def test_results_survive_a_file(tmp_path):
    d, models = sizes((1.0, 0.5, 0.0), n_layers=2)
    results = {
        "models": compare_models(d, models, n_bootstraps=20),
        "ceiling": noise_ceiling(replications(3)),
    }
    for name, result in results.items():
        ns.save_netcdf(result, tmp_path / f"{name}.nc")
        xr.testing.assert_identical(ns.load_netcdf(tmp_path / f"{name}.nc"), result)


def test_refusals_say_what_is_needed():
    d, models = sizes((1.0, 0.5, 0.0))
    with pytest.raises(DesignError, match="1 model; to compare models takes two"):
        compare_models(d, {"a": models["a"]})
    with pytest.raises(DesignError, match="no RDM similarity 'r'"):
        compare_models(d, models, method="r")
    few = planted_responses(n_items=3)
    by = {name: ns.model_rdm(few, name) for name in ("condition", "n_tokens")}
    with pytest.raises(DesignError, match="6 units; a bootstrap over units needs at least 8"):
        compare_models(ns.rdm(few), by)
    with pytest.raises(DesignError, match="no RDM is given"):
        noise_ceiling([])
    with pytest.raises(DesignError, match="RDMs have 2 and 1 layers"):
        noise_ceiling([replications(1)[0], replications(1)[0][:1]])
    with pytest.raises(DesignError, match="not in both"):
        noise_ceiling([ns.rdm(families()), ns.rdm(two_classes())])


def test_one_array_of_rdms_is_no_list_of_replications():
    with pytest.raises(DesignError, match="give a list of RDMs, one of each replication"):
        noise_ceiling(ns.rdm(planted_responses(n_items=4)))
