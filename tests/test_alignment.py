"""Distances between sequences of unequal length, against hand-made cases and their invariances."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from neurosae.arrays.alignment import ALIGNMENTS, overlap_distances, sequence_distance
from neurosae.arrays.distance import dissimilarity
from neurosae.errors import DesignError

EXACT = 1e-12  # sums in another order


def sequence(n, width=1, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width))


@pytest.mark.parametrize("width", [1, 4])
def test_kat_20_dtw_of_repeated_frames_is_exactly_zero(width):
    a = sequence(9, width)
    assert sequence_distance(a, np.repeat(a, 2, axis=0), "dtw") == 0.0
    assert sequence_distance(a, a, "dtw") == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_kat_20_dtw_is_at_most_the_unwarped_cost(seed):
    a, b = sequence(12, seed=seed), sequence(12, seed=100 + seed)
    assert sequence_distance(a, b, "dtw") <= np.abs(a - b).mean() + EXACT


def cheapest(costs):
    """Cost of the cheapest monotone path and its length, cell by cell."""
    total = {(-1, -1): (0.0, 0)}
    for i, j in np.ndindex(costs.shape):
        before = [total.get(cell, (np.inf, 0)) for cell in ((i - 1, j - 1), (i - 1, j), (i, j - 1))]
        best = min(before, key=lambda entry: entry[0])
        total[i, j] = (best[0] + costs[i, j], best[1] + 1)
    return total[costs.shape[0] - 1, costs.shape[1] - 1]


@pytest.mark.parametrize(("n", "m"), [(4, 9), (2, 6)])
def test_dtw_is_the_cheapest_path(n, m):
    a, b = sequence(n, 3), sequence(m, 3, seed=1)
    cost, length = cheapest(cdist(a, b, "cosine"))
    assert sequence_distance(a, b, "dtw") == pytest.approx(cost / length, abs=EXACT)


def all_paths(n, m):
    """Cells of every monotone path from the first cell to the last."""
    if (n, m) == (1, 1):
        return [[(0, 0)]]
    before = [(n - 1, m), (n, m - 1), (n - 1, m - 1)]
    return [[*path, (n - 1, m - 1)] for i, j in before if i and j for path in all_paths(i, j)]


def soft(costs):
    return -np.log(sum(np.exp(-sum(costs[cell] for cell in path)) for path in all_paths(*costs.shape)))


@pytest.mark.parametrize(("n", "m", "width"), [(4, 3, 1), (3, 5, 4)])
def test_softdtw_is_the_soft_minimum_over_all_paths(n, m, width):
    a, b = sequence(n, width), sequence(m, width, seed=1)
    metric = "cityblock" if width == 1 else "cosine"
    costs = [cdist(one, other, metric) for one, other in ((a, b), (a, a), (b, b))]
    across, own, other = (soft(one) for one in costs)
    assert sequence_distance(a, b, "softdtw") == pytest.approx((2 * across - own - other) / (n + m), abs=1e-7)
    assert sequence_distance(a, a, "softdtw") == 0.0


def test_dtw_keeps_within_its_band():
    late = np.zeros((20, 1))
    early = late.copy()
    early[2], late[17] = 1.0, 1.0
    assert sequence_distance(early, late, "dtw") > 0
    near = np.roll(early, 3, axis=0)
    assert sequence_distance(early, near, "dtw") == 0.0


def test_softalign_and_cloud_ignore_the_order_of_tokens():
    a, b = sequence(7, 5), sequence(9, 5, seed=1)
    for method in ("softalign", "cloud"):
        direct = sequence_distance(a, b, method)
        assert sequence_distance(a[::-1], b, method) == pytest.approx(direct, abs=EXACT)
    assert sequence_distance(a, a[::-1], "softalign") == pytest.approx(0, abs=EXACT)


def test_cloud_is_unbiased_whatever_the_lengths():
    rng = np.random.default_rng(0)
    for n, m in ((3, 12), (6, 6)):
        found = [
            sequence_distance(rng.normal(size=(n, 4)), rng.normal(size=(m, 4)), "cloud") for _ in range(800)
        ]
        assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(800)


def test_cloud_by_hand():
    a, b = np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])
    assert sequence_distance(a, b, "cloud") == pytest.approx(2 * (1 + 5 + 1 + 3) / 4 - 2 - 4)
    assert np.isnan(sequence_distance(a[:1], b, "cloud"))


def test_overlap_compares_the_tokens_both_have():
    a, b = np.array([[0.0], [2.0], [9.0]]), np.array([[1.0], [5.0]])
    assert sequence_distance(a, b, "overlap") == 2.0


@pytest.mark.parametrize("method", ALIGNMENTS)
def test_alignments_are_symmetric(method):
    a, b = sequence(5, 3), sequence(8, 3, seed=2)
    assert sequence_distance(a, b, method) == pytest.approx(sequence_distance(b, a, method), abs=EXACT)


@pytest.mark.parametrize("metric", ["correlation", "sqeuclidean"])
def test_overlap_rdms_equal_pair_by_pair(metric):
    rng = np.random.default_rng(3)
    x, n_values = rng.normal(size=(6, 9, 4)), np.array([5, 9, 7, 7, 6, 9])
    matrices = overlap_distances(x, n_values, metric)
    for i, j in np.ndindex(6, 6):
        shared = min(n_values[i], n_values[j])
        for feature in range(4):
            pair = dissimilarity(x[[i, j], :shared, feature], metric)[0, 1]
            assert matrices[feature, i, j] == pytest.approx(0.0 if i == j else pair, abs=1e-10)


def test_courses_of_equal_length_give_the_ordinary_rdm():
    x = np.random.default_rng(4).normal(size=(7, 5, 2))
    x[2, :, 1] = 3.0
    matrices = overlap_distances(x, np.full(7, 5), "correlation")
    for feature in range(2):
        assert np.allclose(
            matrices[feature], dissimilarity(x[:, :, feature], "correlation"), atol=1e-10, equal_nan=True
        )


def test_unknown_alignments_are_refused():
    with pytest.raises(DesignError, match="no alignment 'warp'"):
        sequence_distance(sequence(3), sequence(3), "warp")
