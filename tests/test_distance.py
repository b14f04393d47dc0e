"""RDM measures against scipy, rsatoolbox and cases small enough to check by hand."""

import numpy as np
import pytest
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import calc_rdm
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group

from neurosae.arrays.distance import MEASURES, dissimilarity, triangle, unit_profiles, z_score
from neurosae.errors import DesignError

RECTIFIED = ("jaccard", "braycurtis", "poisson")
EXACT = 1e-10  # agreement asked of float64 formulas that sum in another order


def patterns(n=12, n_features=30, seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, (n, n_features))


def codes(n=12, n_features=30, seed=0):
    return np.maximum(patterns(n, n_features, seed), 0.0)


def data_for(metric):
    return codes() if metric in RECTIFIED else patterns()


@pytest.mark.parametrize("metric", ["correlation", "cosine", "braycurtis"])
def test_kat_15_measures_agree_with_scipy(metric):
    x = data_for(metric)
    assert np.allclose(triangle(dissimilarity(x, metric)), pdist(x, metric), atol=EXACT)


def test_kat_15_euclidean_measures_are_per_channel():
    x = patterns()
    assert np.allclose(triangle(dissimilarity(x, "sqeuclidean")), pdist(x, "sqeuclidean") / 30, atol=EXACT)
    assert np.allclose(triangle(dissimilarity(x, "euclidean")), pdist(x) / np.sqrt(30), atol=EXACT)


def test_kat_15_jaccard_agrees_with_scipy_on_active_sets():
    x = codes()
    assert np.allclose(triangle(dissimilarity(x, "jaccard")), pdist(x > 0, "jaccard"), atol=EXACT)


@pytest.mark.parametrize(("metric", "theirs"), [("sqeuclidean", "euclidean"), ("correlation", "correlation")])
def test_kat_15_rsatoolbox_agrees_once_its_alphabetical_sorting_is_undone(metric, theirs):
    x = patterns()
    labels = np.array([f"s{i}" for i in range(12)])
    rdms = calc_rdm(Dataset(x, obs_descriptors={"stimulus": labels}), method=theirs, descriptor="stimulus")
    order = [list(rdms.pattern_descriptors["stimulus"]).index(label) for label in labels]
    assert order != list(range(12))
    theirs_square = rdms.get_matrices()[0][np.ix_(order, order)]
    assert np.allclose(dissimilarity(x, metric), theirs_square, atol=EXACT)


def test_kat_15_poisson_agrees_with_rsatoolbox():
    theirs = calc_rdm(Dataset(codes()), method="poisson").get_matrices()[0]
    assert np.allclose(dissimilarity(codes(), "poisson"), theirs, atol=EXACT)


@pytest.mark.parametrize("metric", ["correlation", "cosine", "jaccard", "braycurtis"])
def test_kat_15_silent_patterns_are_nan_rows(metric):
    x = data_for(metric)
    x[3] = 0.0
    matrix = dissimilarity(x, metric)
    others = np.delete(np.arange(12), 3)
    assert np.isnan(matrix[3]).all()
    assert np.isnan(matrix[:, 3]).all()
    assert np.allclose(matrix[np.ix_(others, others)], dissimilarity(x[others], metric), atol=EXACT)


def test_constant_patterns_have_no_correlation_but_a_cosine():
    x = patterns()
    x[3] = 3.3
    assert np.isnan(dissimilarity(x, "correlation")[3]).all()
    assert np.isfinite(dissimilarity(x, "cosine")).all()


def test_all_zero_patterns_have_euclidean_distances():
    x = codes()
    x[3] = 0.0
    assert np.allclose(dissimilarity(x, "sqeuclidean")[3], (x**2).mean(axis=1), atol=EXACT)


@pytest.mark.parametrize("metric", MEASURES)
def test_order_of_stimuli_and_features_does_not_matter(metric):
    x = data_for(metric)
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(12), rng.permutation(30)
    shuffled = dissimilarity(x[rows][:, columns], metric)
    assert np.allclose(shuffled, dissimilarity(x, metric)[np.ix_(rows, rows)], atol=EXACT)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_rotation_and_shift_do_not_change_euclidean_distances(metric):
    x = patterns()
    rotated = x @ ortho_group.rvs(30, random_state=0) + 1000.0
    assert np.allclose(dissimilarity(rotated, metric), dissimilarity(x, metric), atol=1e-9)


@pytest.mark.parametrize("metric", MEASURES)
def test_duplicates_are_at_distance_zero_exactly(metric):
    x = data_for(metric)
    x[5] = x[2]
    matrix = dissimilarity(x, metric)
    assert matrix[2, 5] == 0.0
    assert (triangle(matrix) >= 0).all()
    assert (np.diagonal(matrix) == 0).all()


@pytest.mark.parametrize("metric", MEASURES)
def test_matrices_are_symmetric_and_arguments_untouched(metric):
    x = data_for(metric)
    before = x.copy()
    matrix = dissimilarity(x, metric)
    assert np.array_equal(matrix, matrix.T)
    assert np.array_equal(x, before)


def test_float32_data_give_float64_distances_of_the_same_size():
    x = patterns()
    single = dissimilarity(x.astype(np.float32), "sqeuclidean")
    assert single.dtype == np.float64
    assert np.allclose(single, dissimilarity(x, "sqeuclidean"), rtol=1e-5)


def test_z_score_drops_constant_features_and_scales_the_rest():
    x = patterns()
    x[:, 4] = 3.3
    z = z_score(x)
    assert z.shape == (12, 29)
    assert np.allclose(z.mean(axis=0), 0, atol=EXACT)
    assert np.allclose(z.std(axis=0, ddof=1), 1, atol=EXACT)


def test_products_of_unit_profiles_are_correlations():
    x = patterns()
    u = unit_profiles(x)
    assert np.allclose(u @ u.T, np.corrcoef(x), atol=EXACT)


def test_unknown_measure_is_refused_with_the_known_ones():
    with pytest.raises(DesignError, match=r"no RDM measure 'cos'.*'cosine'"):
        dissimilarity(patterns(), "cos")


@pytest.mark.parametrize("metric", RECTIFIED)
def test_measures_of_activations_refuse_negative_values(metric):
    with pytest.raises(DesignError, match="needs activations >= 0"):
        dissimilarity(patterns(), metric)


@pytest.mark.parametrize("metric", MEASURES)
def test_patterns_without_any_feature_are_silent_and_not_at_distance_one(metric):
    assert np.isnan(dissimilarity(np.empty((3, 0)), metric)).all()
