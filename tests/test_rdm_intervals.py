"""Jackknife intervals of RDM statistics: layer by layer, with their coverage and speed."""

import time

import numpy as np
import pytest

from neurosae.arrays.category_index import INDICES
from neurosae.arrays.distance import dissimilarity, triangle
from neurosae.arrays.jackknife import jackknife_interval
from neurosae.arrays.left_out import left_out_auroc, left_out_similarity
from neurosae.arrays.rdm_comparison import METHODS, category_auroc, similarity
from neurosae.arrays.rdm_intervals import auroc_interval, index_interval, similarity_interval
from tests.test_left_out import LABELS, SINGLE, UNEVEN, N, category_model, graded_model, rdms

EXACT = 1e-10  # sums over pairs in another order


@pytest.mark.parametrize("method", [*METHODS, "tau-a"])
def test_order_of_rows_changes_no_interval(method):
    matrices, order = rdms(), np.random.default_rng(3).permutation(N)
    moved = np.ix_(order, order)
    observed = np.zeros(3)
    one = similarity_interval(matrices, graded_model(), UNEVEN, observed, method)
    other = similarity_interval(
        matrices[:, order][:, :, order], graded_model()[moved], UNEVEN[order], observed, method
    )
    np.testing.assert_allclose(one, other, atol=EXACT)


def test_layers_with_silent_rows_are_those_without_them():
    matrices, model = rdms(), category_model()
    matrices[1, 4], matrices[1, :, 4] = np.nan, np.nan
    rows = np.delete(np.arange(N), 4)
    observed = np.array([0.1, 0.2, 0.3])
    found = similarity_interval(matrices, model, SINGLE, observed, "rho-a")
    alone = left_out_similarity(matrices[1:2][:, rows][:, :, rows], model[np.ix_(rows, rows)], rows, "rho-a")
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
    auroc_interval(matrices, model, np.arange(100), np.zeros(30))
    for index in INDICES:
        index_interval(matrices, labels, np.arange(100), np.zeros(30), index)
    assert time.process_time() - start < 3


@pytest.mark.parametrize("units", [SINGLE, UNEVEN], ids=["single", "uneven"])
def test_auroc_intervals_follow_from_the_aurocs_without_each_unit(units):
    matrices, model, observed = rdms(), category_model(), np.array([0.5, 0.6, 0.7])
    low, high = auroc_interval(matrices, model, units, observed, classes=LABELS)
    expected = jackknife_interval(observed, left_out_auroc(matrices, model == 1, units), limits=(0.0, 1.0))
    np.testing.assert_array_equal([low, high], expected)
    assert (low < observed).all()


def test_auroc_intervals_need_a_binary_model_and_three_units_a_class():
    assert np.isnan(auroc_interval(rdms(), graded_model(), SINGLE, np.full(3, np.nan))).all()
    labels = np.array([0, 0, *[1] * 12])
    assert np.isnan(
        auroc_interval(rdms(), category_model(labels), SINGLE, np.full(3, 0.5), classes=labels)
    ).all()


def test_auroc_intervals_cover_the_expected_auroc():
    rng, labels = np.random.default_rng(13), np.repeat([0, 1], 15)
    model = category_model(labels)
    patterns = rng.normal(size=(400, 30, 6)) + labels[:, None]
    matrices = np.array([dissimilarity(rows, "sqeuclidean") for rows in patterns])
    observed = category_auroc(triangle(matrices), triangle(model) == 1)
    low, high = auroc_interval(matrices, model, np.arange(30), observed, classes=labels)
    # Limits as for the similarities above.
    assert 0.91 <= ((low <= observed.mean()) & (observed.mean() <= high)).mean() <= 0.985
