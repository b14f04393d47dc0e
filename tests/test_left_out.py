"""RDM statistics without each unit equal those of the smaller RDM, computed anew."""

import time

import numpy as np
import pytest

from neurosae.arrays.category_index import INDICES, category_index
from neurosae.arrays.distance import dissimilarity, triangle
from neurosae.arrays.jackknife import jackknife_interval, rows_kept
from neurosae.arrays.left_out import (
    left_out_auroc,
    left_out_index,
    left_out_similarity,
    similarity_interval,
)
from neurosae.arrays.rdm_comparison import METHODS, category_auroc, similarity

EXACT = 1e-10  # sums over pairs in another order
N = 14
LABELS = np.array([0, 1] * 7)
SINGLE, UNEVEN = np.arange(N), np.array([0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6])


def rdms(n=N, n_layers=3, seed=0, decimals=15):
    rng = np.random.default_rng(seed)
    drawn = [dissimilarity(rng.normal(size=(n, 8)), "sqeuclidean") for _ in range(n_layers)]
    return np.round(drawn, decimals)


def category_model(labels=LABELS):
    return (labels[:, None] != labels[None, :]).astype(float)


def graded_model(n=N):
    size = np.random.default_rng(7).integers(0, 6, n).astype(float)
    return np.abs(size[:, None] - size[None, :])


def one_by_one(statistic, units):
    """The statistic of the rows that remain, for each unit in the order of their labels."""
    return np.array([statistic(np.flatnonzero(units != unit)) for unit in np.unique(units)])


@pytest.mark.parametrize("decimals", [15, 1], ids=["untied", "tied"])
@pytest.mark.parametrize("units", [SINGLE, UNEVEN], ids=["single", "uneven"])
@pytest.mark.parametrize("model", [category_model(), graded_model()], ids=["category", "graded"])
@pytest.mark.parametrize("method", [*METHODS, "tau-a"])
def test_similarities_are_those_of_the_remaining_rows(method, model, units, decimals):
    matrices = rdms(decimals=decimals)

    def anew(rows):
        part = np.ix_(range(3), rows, rows)
        return similarity(triangle(matrices[part]), triangle(model[np.ix_(rows, rows)]), method)

    found = left_out_similarity(matrices, model, rows_kept(units), method)
    np.testing.assert_allclose(found, one_by_one(anew, units), atol=EXACT)


@pytest.mark.parametrize("decimals", [15, 1], ids=["untied", "tied"])
@pytest.mark.parametrize("units", [SINGLE, UNEVEN], ids=["single", "uneven"])
def test_aurocs_are_those_of_the_remaining_rows(units, decimals):
    matrices, between = rdms(decimals=decimals), category_model() == 1

    def anew(rows):
        part = np.ix_(range(3), rows, rows)
        return category_auroc(triangle(matrices[part]), triangle(between[np.ix_(rows, rows)]))

    found = left_out_auroc(matrices, between, rows_kept(units))
    np.testing.assert_allclose(found, one_by_one(anew, units), atol=EXACT)


@pytest.mark.parametrize("units", [SINGLE, UNEVEN], ids=["single", "uneven"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("index", INDICES)
def test_indices_are_those_of_the_remaining_rows(index, n_classes, units):
    matrix, labels = rdms()[0], np.arange(N) % n_classes

    def anew(rows):
        return category_index(matrix[np.ix_(rows, rows)], labels[rows][None], n_classes, index)[0]

    found = left_out_index(matrix, labels, units, n_classes, index)
    np.testing.assert_allclose(found, one_by_one(anew, units), atol=EXACT)


@pytest.mark.parametrize("method", [*METHODS, "tau-a"])
def test_order_of_rows_changes_no_interval(method):
    matrices, order = rdms(), np.random.default_rng(3).permutation(N)
    moved = np.ix_(order, order)
    observed = similarity(triangle(matrices), triangle(graded_model()), method)
    one = similarity_interval(matrices, graded_model(), UNEVEN, observed, method)
    other = similarity_interval(
        matrices[:, order][:, :, order], graded_model()[moved], UNEVEN[order], observed, method
    )
    np.testing.assert_allclose(one, other, atol=EXACT)


def test_blocks_of_units_change_nothing(monkeypatch):
    found = left_out_similarity(rdms(), graded_model(), rows_kept(SINGLE), "spearman")
    monkeypatch.setattr("neurosae.arrays.left_out._HELD", 1)
    again = left_out_similarity(rdms(), graded_model(), rows_kept(SINGLE), "spearman")
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("index", INDICES)
def test_indices_are_nan_where_a_class_is_left_with_one_row(index):
    labels = np.array([0, 0, 0, 1, 1])
    matrix = rdms(n=5)[0]
    units = np.array([0, 1, 2, 3, 4])
    assert np.isnan(left_out_index(matrix, labels, units, 2, index)).tolist() == [False] * 3 + [True] * 2


def test_layers_with_silent_rows_are_those_without_them():
    matrices, model = rdms(), category_model()
    matrices[1, 4], matrices[1, :, 4] = np.nan, np.nan
    rows = np.delete(np.arange(N), 4)
    observed = np.array([0.1, 0.2, 0.3])
    found = similarity_interval(matrices, model, SINGLE, observed, "rho-a")
    alone = left_out_similarity(
        matrices[1:2][:, rows][:, :, rows], model[np.ix_(rows, rows)], rows_kept(rows), "rho-a"
    )
    np.testing.assert_allclose(np.array(found)[:, 1], jackknife_interval(0.2, alone[:, 0]), atol=EXACT)
    full = similarity_interval(rdms(), model, SINGLE, observed, "rho-a")
    np.testing.assert_allclose(np.array(found)[:, [0, 2]], np.array(full)[:, [0, 2]], atol=EXACT)


def test_rdms_that_one_unit_alone_makes_vary_have_no_interval():
    matrix = np.ones((6, 6)) - np.eye(6)
    matrix[0, 1:] = matrix[1:, 0] = np.arange(1.0, 6.0)
    model = graded_model(6)
    observed = similarity(triangle(matrix)[None], triangle(model), "corr")
    assert np.isnan(similarity_interval(matrix[None], model, np.arange(6), observed, "corr")).all()


@pytest.mark.parametrize("method", ["spearman", "cosine"])
def test_intervals_cover_the_similarity_to_a_graded_model(method):
    rng = np.random.default_rng(12)
    found = []
    for _ in range(400):
        size = rng.normal(size=20)
        matrix = dissimilarity(size[:, None] + rng.normal(size=(20, 6)), "euclidean")
        model = np.abs(size[:, None] - size)
        observed = similarity(triangle(matrix)[None], triangle(model), method)
        bounds = similarity_interval(matrix[None], model, np.arange(20), observed, method)
        found.append((observed[0], bounds[0][0], bounds[1][0]))
    # The mean of 400 sets stands for the expectation: its standard error is a twentieth of the SD of one.
    observed, low, high = np.array(found).T
    covered = ((low <= observed.mean()) & (observed.mean() <= high)).mean()
    # Exact .0005 and .9995 binomial limits of 400 simulations at .95 are .91 and .9825; a little more is
    # granted above because the expectation of a jackknife variance is never too small (Efron & Stein 1981).
    assert 0.91 <= covered <= 0.985


def test_a_hundred_units_in_thirty_layers_take_less_than_three_seconds():
    labels = np.arange(100) % 2
    matrices, model = rdms(n=100, n_layers=30), category_model(labels)
    start = time.process_time()
    for graded in (model, graded_model(100)):
        similarity_interval(matrices, graded, np.arange(100), np.zeros(30), "rho-a")
    for matrix in matrices:
        left_out_index(matrix, labels, np.arange(100), 2, "CMI")
    assert time.process_time() - start < 3
