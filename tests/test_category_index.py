"""Category indices against their definition pair by pair, their algebra and their expectations."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import f_oneway, ttest_ind

from neurosae.arrays.category_index import (
    INDICES,
    category_index,
    cdi,
    coh,
    labeling_auroc,
    pair_counts,
    tdi,
)
from neurosae.arrays.distance import dissimilarity, triangle
from neurosae.arrays.mean_distances import class_distances, class_distances_from_sums, profile_distances
from neurosae.arrays.rdm_comparison import category_auroc, similarity
from neurosae.errors import DesignError

EXACT = 1e-10  # sums in another order
LABELS = np.repeat([0, 1, 2], [4, 5, 7])


def patterns(n=16, n_features=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_features))


def relabelings(labels=LABELS, n=8):
    return np.random.default_rng(9).permuted(np.tile(labels, (n, 1)), axis=1)


def mean_over_pairs(matrix, labels, k, m):
    pairs = [(i, j) for i, j in combinations(range(len(labels)), 2) if {labels[i], labels[j]} == {k, m}]
    return np.mean([matrix[pair] for pair in pairs])


def test_class_distances_are_means_over_pairs_of_different_stimuli():
    matrix, labelings = dissimilarity(patterns(), "cosine"), relabelings()
    distances = class_distances(matrix, labelings, 3)
    for p, labels in enumerate(labelings):
        expected = [[mean_over_pairs(matrix, labels, k, m) for m in range(3)] for k in range(3)]
        assert np.allclose(distances[p], expected, atol=EXACT)


def test_kat_21_sums_give_the_distances_of_the_rdm():
    x = patterns() + 100.0
    direct = class_distances(dissimilarity(x, "sqeuclidean"), relabelings(), 3)
    assert np.allclose(class_distances_from_sums(x, relabelings(), 3), direct, atol=EXACT)


def test_kat_21_profile_sums_equal_explicit_correlations():
    profiles = patterns(n_features=20).astype(np.float32)
    direct = class_distances(1 - np.corrcoef(profiles), relabelings(), 3)
    assert np.allclose(profile_distances(profiles, relabelings(), 3), direct, atol=1e-6)  # float32 data


def test_constant_profiles_are_left_out():
    profiles = patterns(n_features=20)
    with_constant = np.insert(profiles, 5, 2.5, axis=0)
    labels = np.insert(LABELS, 5, 0)
    left_out = profile_distances(with_constant, labels[None], 3)
    assert np.allclose(left_out, profile_distances(profiles, LABELS[None], 3), atol=EXACT)


def test_kat_21_scalar_cdi_is_the_univariate_contrast():
    x = patterns(n_features=1)[:, 0]
    labels = (LABELS == 2).astype(int)
    a, b = x[labels == 0], x[labels == 1]
    squared_error = a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)
    t = ttest_ind(a, b, equal_var=False).statistic
    found = category_index(dissimilarity(x[:, None], "sqeuclidean"), labels[None], 2, "CDI")
    assert np.allclose(found, squared_error * (t**2 - 1), atol=EXACT)


def test_kat_21_cdi_is_the_distance_of_means_less_its_bias():
    x, labels = patterns(), (LABELS == 2).astype(int)
    a, b = x[labels == 0], x[labels == 1]
    means = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    bias = a.var(axis=0, ddof=1).sum() / len(a) + b.var(axis=0, ddof=1).sum() / len(b)
    found = cdi(class_distances_from_sums(x, labels[None], 2)) * x.shape[1]
    assert np.allclose(found, means - bias, atol=EXACT)


def test_kat_21_permanova_of_one_feature_is_anova():
    x = patterns(n_features=1)
    classes = [x[k == LABELS] for k in range(3)]

    def squares(values):
        return triangle(dissimilarity(values, "sqeuclidean")).sum() / len(values)

    within = sum(squares(values) for values in classes)
    pseudo_f = ((squares(x) - within) / 2) / (within / 13)
    assert pseudo_f == pytest.approx(f_oneway(*classes).statistic[0], abs=EXACT)


def test_kat_21_expectations_of_the_indices():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [15, 25])[None]
    found = []
    for _ in range(3000):
        x = np.concatenate([rng.normal(0.3, 1.5, (15, 10)), rng.normal(0.0, 1.0, (25, 10))])
        distances = 10 * class_distances_from_sums(x, labels, 2)
        found.append((cdi(distances)[0], tdi(distances)[0], coh(distances)[0]))
    means = np.mean(found, axis=0)
    assert means[0] == pytest.approx(0.90, abs=0.25)
    assert means[1] == pytest.approx(-11.6, abs=0.3)
    assert means[2] == pytest.approx(-25.0, abs=0.5)


def test_cdi_of_several_classes_is_the_mean_over_their_pairs():
    matrix = dissimilarity(patterns(), "sqeuclidean")
    pairwise = []
    for k, m in combinations(range(3), 2):
        rows = np.isin(LABELS, (k, m))
        labels = (LABELS[rows] == m).astype(int)[None]
        pairwise.append(category_index(matrix[np.ix_(rows, rows)], labels, 2, "CDI")[0])
    assert category_index(matrix, LABELS[None], 3, "CDI")[0] == pytest.approx(np.mean(pairwise), abs=EXACT)


def test_cmi_and_auroc_are_those_of_the_category_model():
    matrix, labelings = dissimilarity(patterns(), "correlation"), relabelings()
    for labels in labelings:
        between = triangle(labels[:, None] != labels[None, :])
        cmi = category_index(matrix, labels[None], 3, "CMI")[0]
        assert cmi == pytest.approx(similarity(triangle(matrix), between, "rho-a"), abs=EXACT)
        auroc = labeling_auroc(matrix, labels[None], 3)[0]
        assert auroc == pytest.approx(category_auroc(triangle(matrix), between), abs=EXACT)


@pytest.mark.parametrize("index", INDICES)
def test_many_labelings_at_once_equal_one_at_a_time(index):
    matrix = dissimilarity(patterns(), "sqeuclidean")
    labelings = relabelings((LABELS == 2).astype(int))
    together = category_index(matrix, labelings, 2, index)
    one_by_one = [category_index(matrix, labels[None], 2, index)[0] for labels in labelings]
    assert np.allclose(together, one_by_one, atol=EXACT)


@pytest.mark.parametrize("index", INDICES)
def test_order_of_stimuli_does_not_matter(index):
    x, labels = patterns(), (LABELS == 2).astype(int)
    order = np.random.default_rng(2).permutation(16)
    before = category_index(dissimilarity(x, "sqeuclidean"), labels[None], 2, index)
    after = category_index(dissimilarity(x[order], "sqeuclidean"), labels[order][None], 2, index)
    assert np.allclose(before, after, atol=EXACT)


def test_pair_counts_cover_all_pairs():
    assert pair_counts(LABELS) == (120 - 37, 37)


def test_unknown_index_is_refused_with_the_known_ones():
    with pytest.raises(DesignError, match=r"no category index 'cdi'.*'CDI'"):
        category_index(np.zeros((4, 4)), np.array([[0, 0, 1, 1]]), 2, "cdi")


SIX = np.array(
    [
        [0, 1, 7, 8, 5, 6],
        [1, 0, 4, 9, 3, 2],
        [7, 4, 0, 2, 6, 8],
        [8, 9, 2, 0, 1, 5],
        [5, 3, 6, 1, 0, 3],
        [6, 2, 8, 5, 3, 0.0],
    ]
)
PAIRED, TWINS = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 0, 1])


def test_six_rows_of_three_units_by_hand():
    # All pairs but 01, 23 and 45; between classes 03, 05, 12, 14, 25 and 34.
    between, zero, one = [8, 6, 4, 3, 8, 1], [7, 5, 6], [9, 2, 5]
    d_between, d_zero, d_one = np.mean(between), np.mean(zero), np.mean(one)
    expected = {
        "CDI": d_between - (d_zero + d_one) / 2,
        "TDI": d_between - d_zero,
        "COH": d_one - d_zero,
        "CMI": similarity(np.array(between + zero + one), np.repeat([1, 0], 6), "rho-a"),
    }
    wins = np.mean([(b > w) + (b == w) / 2 for b in between for w in zero + one])
    for index, value in expected.items():
        assert category_index(SIX, TWINS[None], 2, index, units=PAIRED)[0] == pytest.approx(value, abs=EXACT)
    assert labeling_auroc(SIX, TWINS[None], 2, units=PAIRED)[0] == pytest.approx(wins, abs=EXACT)
    assert pair_counts(TWINS, PAIRED) == (6, 6)


@pytest.mark.parametrize("index", INDICES)
def test_distances_within_units_do_not_matter(index):
    other = np.where(PAIRED[:, None] == PAIRED, 100.0, SIX)
    labels = np.array([TWINS, [0, 0, 0, 1, 1, 1]])
    one, two = (category_index(matrix, labels, 2, index, units=PAIRED) for matrix in (SIX, other))
    assert np.array_equal(one, two)
    assert not np.isclose(one[1], category_index(SIX, labels, 2, index)[1])


@pytest.mark.parametrize("index", INDICES)
def test_units_of_one_row_change_no_bit(index):
    matrix, labels = dissimilarity(patterns(), "cosine"), relabelings((LABELS == 2).astype(int))
    single = np.random.default_rng(1).permutation(16)
    assert np.array_equal(
        category_index(matrix, labels, 2, index), category_index(matrix, labels, 2, index, units=single)
    )
    assert np.array_equal(labeling_auroc(matrix, labels, 2), labeling_auroc(matrix, labels, 2, units=single))
    assert pair_counts(LABELS, single) == pair_counts(LABELS)


def test_classes_without_a_pair_of_different_units_have_no_distance():
    distances = class_distances(SIX, np.array([[0, 0, 1, 1, 1, 1]]), 2, units=PAIRED)[0]
    assert np.isnan(distances).tolist() == [[True, False], [False, False]]
    assert np.isnan(labeling_auroc(SIX, np.array([[0, 0, 1, 1, 2, 2]]), 3, units=PAIRED)).all()
