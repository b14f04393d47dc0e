"""Layers and subjects compared with each other: kernels and RDMs."""

import numpy as np
import pytest
import xarray as xr
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import calc_rdm, compare
from scipy.stats import kstest, ortho_group

import neurosae as ns
from neurosae.analysis.second_order import cka, second_order_rsa
from neurosae.arrays.distance import triangle
from neurosae.arrays.kernel_alignment import biased_cka, linear_kernel, unbiased_cka
from neurosae.arrays.rdm_comparison import similarity
from neurosae.errors import DesignError
from neurosae.testing import planted_responses
from tests.responses import families, labelled, two_classes

EXACT = 1e-10  # float64 sums in another order


def kernel(n=20, n_features=30, seed=0):
    return linear_kernel(np.random.default_rng(seed).normal(size=(n, n_features)))[None]


def hsic_by_definition(k, other):
    n = len(k)
    k, other = (m - np.diag(np.diag(m)) for m in (k, other))
    ones = np.ones(n)
    first = (k * other).sum() + (ones @ k @ ones) * (ones @ other @ ones) / ((n - 1) * (n - 2))
    return (first - 2 / (n - 2) * (ones @ k @ other @ ones)) / (n * (n - 3))


def test_unbiased_cka_is_its_definition():
    a, b = kernel()[0], kernel(seed=1)[0] + kernel()[0]
    expected = hsic_by_definition(a, b) / np.sqrt(hsic_by_definition(a, a) * hsic_by_definition(b, b))
    assert unbiased_cka(a[None], b[None])[0, 0] == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("biased", [False, True])
def test_kat_17_rotation_scale_and_shift_change_nothing(biased):
    responses = two_classes(n_layers=2)
    turned = responses.copy(data=3 * responses.values @ ortho_group.rvs(10, random_state=0) + 7)
    found = cka(responses, turned, biased=biased)
    assert np.allclose(np.diag(found), 1.0, atol=EXACT)
    assert np.allclose(found, cka(responses, biased=biased), atol=EXACT)


def test_kat_17_biased_cka_is_rsatoolbox_whitened_cosine_of_squared_rdms():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 8)), rng.normal(size=(12, 5))
    theirs = compare(
        calc_rdm(Dataset(x), method="euclidean"), calc_rdm(Dataset(y), method="euclidean"), "cosine_cov"
    )
    assert biased_cka(linear_kernel(x)[None], linear_kernel(y)[None])[0, 0] == pytest.approx(
        theirs[0, 0], abs=EXACT
    )


def test_kat_17_independent_representations_of_few_stimuli():
    biased, unbiased = [], []
    for seed in range(60):
        a, b = kernel(50, 1000, seed), kernel(50, 1000, 1000 + seed)
        biased.append(biased_cka(a, b)[0, 0])
        unbiased.append(unbiased_cka(a, b)[0, 0])
    assert min(biased) > 0.9
    assert abs(np.mean(unbiased)) <= 0.012


def test_layers_without_differences_have_no_alignment():
    responses = two_classes(n_layers=2)
    responses.values[:, 1] = 3.0
    found = cka(responses)
    assert np.isnan(found.values).tolist() == [[False, True], [True, True]]


def test_stimuli_are_matched_by_label_and_features_may_differ_in_number():
    responses = two_classes(n_layers=3)
    order = np.random.default_rng(1).permutation(16)
    other = responses.isel(stimulus=order, feature=slice(7))
    straight = cka(responses, responses.isel(feature=slice(7)))
    assert np.allclose(cka(responses, other), straight, atol=EXACT)
    lazy = responses.chunk({"layer": 1, "feature": 5})
    assert np.allclose(cka(lazy), cka(responses), atol=EXACT)


def test_second_order_finds_the_layers_that_share_their_structure():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(24, 10))
    values = rng.normal(size=(24, 3, 10))
    values[:, :2] += 2 * shared[:, None]
    result = second_order_rsa(ns.rdm(labelled(values, condition=["a"] * 24), metric="sqeuclidean"))
    assert result.similarity.values[0, 1] > 0.6
    assert result.p.values[0, 1] == 0.001
    assert result.p.values[[0, 1], 2].min() > 0.01
    assert np.allclose(result.similarity, result.similarity.T, atol=EXACT)


@pytest.mark.parametrize("method", ["rho-a", "corr", "cosine"])
def test_second_order_is_the_similarity_of_rdm_entries(method):
    d = ns.rdm(two_classes(n_layers=3), metric="euclidean")
    result = second_order_rsa(d, method=method, n_permutations=9)
    expected = similarity(triangle(d.values), triangle(d.values[2]), method)
    assert np.allclose(result.similarity[:, 2], expected, atol=EXACT)


def test_second_order_p_is_uniform_for_independent_layers():
    d = ns.rdm(labelled(np.random.default_rng(3).normal(size=(16, 24, 6)), condition=["a"] * 16))
    result = second_order_rsa(d, n_permutations=199)
    assert kstest(result.p.values[np.triu_indices(24, 1)], "uniform").pvalue > 0.001


def test_second_order_matches_other_subjects_by_label_and_leaves_silent_stimuli_out():
    responses = two_classes(10, 10, n_layers=2, basis="sae")
    other = responses.copy(deep=True)
    other.values[3, 1] = 0.0
    order = np.random.default_rng(1).permutation(20)
    result = second_order_rsa(ns.rdm(responses), ns.rdm(other.isel(stimulus=order)), n_permutations=9)
    rest = np.arange(20) != 3
    alone = second_order_rsa(ns.rdm(responses[rest]), n_permutations=9)
    assert result.attrs["n_stimuli"] == 19
    assert np.allclose(result.similarity.values, alone.similarity, atol=EXACT)


def test_pairs_within_families_do_not_count():
    responses = families()
    d = ns.rdm(responses, metric="sqeuclidean")
    other = d.copy(deep=True)
    same = d.family.values[:, None] == d.family.values
    other.values[0][same] *= 9
    assert second_order_rsa(d, other, n_permutations=9).similarity.item() == pytest.approx(1.0, abs=1e-3)


def test_results_survive_a_file(tmp_path):
    responses = planted_responses(n_items=8)
    for name, result in (("cka", cka(responses)), ("second", second_order_rsa(ns.rdm(responses)))):
        ns.save_netcdf(result, tmp_path / f"{name}.nc")
        xr.testing.assert_identical(ns.load_netcdf(tmp_path / f"{name}.nc"), result)


def test_refusals_say_what_is_needed():
    responses = two_classes()
    with pytest.raises(DesignError, match=r"16 and 15 stimuli; not in both: \['s0'\]"):
        cka(responses, responses[1:])
    with pytest.raises(DesignError, match="3 rows; the alignment of kernels needs at least 4"):
        cka(responses[:3])
    with pytest.raises(DesignError, match="no RDM similarity 'r2'"):
        second_order_rsa(ns.rdm(responses), method="r2")
    with pytest.raises(DesignError, match="the RDMs have 16 and 15 stimuli"):
        second_order_rsa(ns.rdm(responses), ns.rdm(responses[1:]))


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("n", [7, 10, 13, 20])
def test_equal_patterns_are_no_representation_whatever_their_value(biased, n):
    noise = np.random.default_rng(0).normal(size=(n, 1, 3))
    for value in (0.1, 1 / 3, 1e6 + 0.1):
        values = np.concatenate([np.full((n, 1, 3), value), noise], axis=1)
        found = cka(labelled(values, condition=["x"] * n), biased=biased)
        assert np.isnan(found.values[0]).all()
        assert found.values[1, 1] == pytest.approx(1.0)


def test_results_of_two_sources_say_where_both_come_from(tmp_path):
    first, second = (two_classes(seed=seed) for seed in (0, 1))
    second.attrs["provenance"] = '{"subject": {"name": "other"}}'
    found = cka(first, second), second_order_rsa(ns.rdm(first), ns.rdm(second), n_permutations=19)
    for number, result in enumerate(found):
        assert '"name": "other"' in result.attrs["other_provenance"]
        ns.save_netcdf(result, tmp_path / f"{number}.nc")
        xr.testing.assert_identical(ns.load_netcdf(tmp_path / f"{number}.nc"), result)
