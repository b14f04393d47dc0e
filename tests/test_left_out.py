"""RDM statistics without each unit equal those of the smaller RDM, computed anew.

In ``UNEVEN`` some units have several rows, whose pairs never count.
"""

import numpy as np
import pytest

from neurosae.arrays.category_index import INDICES, category_index
from neurosae.arrays.distance import dissimilarity
from neurosae.arrays.left_out import left_out_auroc, left_out_index, left_out_similarity
from neurosae.arrays.pairs import unit_entries
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
        own = units[rows]
        target = unit_entries(model[np.ix_(rows, rows)], own)
        return similarity(unit_entries(matrices[part], own), target, method)

    found = left_out_similarity(matrices, model, units, method)
    np.testing.assert_allclose(found, one_by_one(anew, units), atol=EXACT)


@pytest.mark.parametrize("decimals", [15, 1], ids=["untied", "tied"])
@pytest.mark.parametrize("units", [SINGLE, UNEVEN], ids=["single", "uneven"])
def test_aurocs_are_those_of_the_remaining_rows(units, decimals):
    matrices, between = rdms(decimals=decimals), category_model() == 1

    def anew(rows):
        part = np.ix_(range(3), rows, rows)
        own = units[rows]
        return category_auroc(
            unit_entries(matrices[part], own), unit_entries(between[np.ix_(rows, rows)], own)
        )

    found = left_out_auroc(matrices, between, units)
    np.testing.assert_allclose(found, one_by_one(anew, units), atol=EXACT)


@pytest.mark.parametrize("units", [SINGLE, UNEVEN], ids=["single", "uneven"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("index", INDICES)
def test_indices_are_those_of_the_remaining_rows(index, n_classes, units):
    matrices, labels = rdms(), np.arange(N) % n_classes

    def anew(rows):
        parts = matrices[np.ix_(range(3), rows, rows)]
        own = labels[rows][None], n_classes, index
        return [category_index(part, *own, units=units[rows])[0] for part in parts]

    found = left_out_index(matrices, labels, units, n_classes, index)
    np.testing.assert_allclose(found, one_by_one(anew, units), atol=EXACT)


def test_blocks_of_units_change_nothing(monkeypatch):
    found = left_out_similarity(rdms(), graded_model(), SINGLE, "spearman")
    monkeypatch.setattr("neurosae.arrays.left_out._HELD", 1)
    again = left_out_similarity(rdms(), graded_model(), SINGLE, "spearman")
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("index", INDICES)
def test_indices_are_nan_where_a_class_is_left_with_one_row(index):
    labels = np.array([0, 0, 0, 1, 1])
    found = left_out_index(rdms(n=5), labels, np.arange(5), 2, index)
    assert np.isnan(found).tolist() == [[False] * 3] * 3 + [[True] * 3] * 2
