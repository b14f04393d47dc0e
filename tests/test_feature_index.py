"""Sums of many features against indices of their RDMs, one by one."""

import numpy as np
import pytest

from neurosae.arrays.category_index import category_index
from neurosae.arrays.distance import dissimilarity
from neurosae.arrays.feature_index import (
    METRICS,
    WEIGHTS,
    channel_patterns,
    correlation_patterns,
    enough_live,
    feature_indices,
    index_weights,
)
from neurosae.errors import DesignError

EXACT = 1e-10  # sums in another order


def courses(n=20, width=6, n_features=5, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, width, n_features))
    values[[3, 8, 9], :, 2] = 1.0
    return values


def relabelings(labels, n=7):
    return np.random.default_rng(1).permuted(np.tile(labels, (n, 1)), axis=1)


@pytest.mark.parametrize("units", [None, np.repeat(np.arange(10), 2)], ids=["single", "pairs"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("index", "sizes"), [("CDI", (9, 11)), ("CDI", (6, 6, 8)), ("TDI", (9, 11)), ("COH", (9, 11))]
)
def test_sums_equal_the_index_of_each_features_rdm(index, sizes, metric, units):
    x, labels = courses(), relabelings(np.repeat(np.arange(len(sizes)), sizes))
    patterns, live = METRICS[metric](x)
    found = feature_indices(patterns, live, labels, len(sizes), index, units=units)
    for feature in range(5):
        matrix = dissimilarity(x[:, :, feature], metric)
        own = ~np.isnan(matrix.diagonal())
        expected = category_index(
            matrix[np.ix_(own, own)],
            labels[:, own],
            len(sizes),
            index,
            units=None if units is None else units[own],
        )
        assert np.allclose(found[:, feature], expected, atol=EXACT)


def test_rows_with_label_minus_one_are_left_out():
    x, labels = courses(), np.repeat([0, 1], 10)
    without = np.where(np.arange(20) == 4, -1, labels)
    left = feature_indices(*channel_patterns(x), without[None], 2, "CDI")
    rest = np.arange(20) != 4
    gone = feature_indices(*channel_patterns(x[rest]), labels[rest][None], 2, "CDI")
    assert np.allclose(left, gone, atol=EXACT)


def test_kat_21_single_precision_keeps_six_digits_far_from_zero():
    x = (courses() + 50).astype(np.float32)
    labels = relabelings(np.repeat([0, 1], 10))
    single = feature_indices(*correlation_patterns(x), labels, 2, "CDI")
    double = feature_indices(*correlation_patterns(x.astype(float)), labels, 2, "CDI")
    assert single.dtype == np.float32
    # Values of about 50 hold courses of about 1 to 4e-6.
    assert np.nanmax(np.abs(single - double)) < 1e-5


def test_constant_rows_of_single_precision_are_not_live():
    x = np.full((2, 7, 1), np.float32(0.1))
    assert not correlation_patterns(x)[1].any()


def test_classes_without_a_pair_have_no_index():
    found = feature_indices(*channel_patterns(courses()[:3]), np.array([[0, 0, 1]]), 2, "CDI")
    assert np.isnan(found).all()


def test_half_of_large_classes_and_all_of_small_ones_must_be_live():
    labels = np.repeat([0, 1], [4, 16])
    live = np.ones((20, 3), dtype=bool)
    live[0, 0] = False
    live[4:13, 1] = False
    live[4:12, 2] = False
    assert enough_live(live, labels, 2).tolist() == [False, False, True]


def test_indices_without_weights_are_refused():
    assert list(WEIGHTS) == ["CDI", "TDI", "COH"]
    with pytest.raises(DesignError, match="'CMI' is no weighted sum"):
        index_weights("CMI", 2)
