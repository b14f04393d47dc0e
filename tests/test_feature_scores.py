"""Scores that select features: agreement with references, identities, what is blind to labels."""

import numpy as np
import pytest
from scipy.stats import f_oneway, ttest_ind

from neurosae.arrays.category_index import category_index
from neurosae.arrays.distance import dissimilarity
from neurosae.arrays.feature_scores import (
    DIRECTED_SELECTORS,
    LABEL_BLIND,
    PATTERN_SELECTORS,
    SELECTORS,
    is_alive,
    score_features,
)
from neurosae.errors import DesignError

RNG = np.random.default_rng(0)
LABELS = np.array([0] * 12 + [1] * 18)
VALUES = RNG.gamma(2.0, size=(30, 7)) + 0.8 * LABELS[:, None] * np.arange(7) / 6


def scores(selector, values=VALUES, labels=LABELS, n_classes=2, **more):
    return score_features(values, labels[None], n_classes, selector, **more)[0]


def test_welch_is_the_t_of_scipy_and_with_three_classes_the_largest_of_three():
    found = ttest_ind(VALUES[:12], VALUES[12:], equal_var=False).statistic
    np.testing.assert_allclose(scores("welch"), np.abs(found), rtol=1e-10)
    three = np.arange(30) % 3
    pairs = [(0, 1), (0, 2), (1, 2)]
    t = [ttest_ind(VALUES[three == a], VALUES[three == b], equal_var=False).statistic for a, b in pairs]
    np.testing.assert_allclose(scores("welch", labels=three, n_classes=3), np.abs(t).max(axis=0), rtol=1e-10)


def test_eta2_orders_features_as_the_f_of_an_analysis_of_variance():
    three = np.arange(30) % 3
    f = f_oneway(*(VALUES[three == k] for k in range(3))).statistic
    assert (np.argsort(scores("eta2", labels=three, n_classes=3)) == np.argsort(f)).all()


def test_meandiff_is_the_difference_of_means():
    expected = np.abs(VALUES[12:].mean(axis=0) - VALUES[:12].mean(axis=0))
    np.testing.assert_allclose(scores("meandiff"), expected)


@pytest.mark.parametrize("n_windows", [1, 4])
@pytest.mark.parametrize("index", PATTERN_SELECTORS)
def test_category_scores_are_the_indices_of_the_matrix_of_distances(index, n_windows):
    values = RNG.standard_normal((30, n_windows, 5)) + LABELS[:, None, None]
    found = scores(index, values)
    for feature in range(5):
        distances = dissimilarity(values[:, :, feature], "sqeuclidean")
        expected = category_index(distances, LABELS[None], 2, index)[0]
        # Distances are means over windows there; ranks are kept in single precision.
        assert found[feature] == pytest.approx(expected, rel=1e-5)


def test_cdi_of_three_classes_is_that_of_the_matrix_of_distances():
    three = np.arange(30) % 3
    expected = [
        category_index(dissimilarity(VALUES[:, [f]], "sqeuclidean"), three[None], 3, "CDI")[0]
        for f in range(7)
    ]
    np.testing.assert_allclose(scores("CDI", labels=three, n_classes=3), expected, rtol=1e-9)


def test_cdi_of_one_value_a_stimulus_is_the_welch_t_over_again():
    error = VALUES[:12].var(axis=0, ddof=1) / 12 + VALUES[12:].var(axis=0, ddof=1) / 18
    np.testing.assert_allclose(scores("CDI"), error * (scores("welch") ** 2 - 1), rtol=1e-10)


@pytest.mark.parametrize("selector", sorted(SELECTORS))
def test_many_label_vectors_at_once_equal_one_after_the_other(selector):
    drawn = np.array([RNG.permutation(LABELS) for _ in range(4)])
    together = score_features(VALUES, drawn, 2, selector)
    apart = np.concatenate([score_features(VALUES, row[None], 2, selector) for row in drawn])
    np.testing.assert_allclose(together, apart, rtol=1e-12)
    is_blind = bool((together == together[0]).all())
    assert is_blind == (selector in LABEL_BLIND)


@pytest.mark.parametrize("selector", sorted(set(SELECTORS) - {"random"}))
def test_order_of_rows_changes_no_score(selector):
    order = np.random.default_rng(1).permutation(30)
    np.testing.assert_allclose(
        scores(selector, VALUES[order], LABELS[order]), scores(selector), rtol=1e-6, atol=1e-9
    )


def test_maxpos_prefers_what_fires_most_in_the_target():
    values = np.array([[5.0, 0.0], [1.0, 1.0], [2.0, 9.0], [0.0, 0.0]])
    assert score_features(values, np.array([[0, 0, 1, 1]]), 2, "maxpos").tolist() == [[3.0, -8.0]]


def test_random_scores_depend_on_their_seed_alone():
    assert (scores("random", seed=1) == scores("random", VALUES**2, seed=1)).all()
    assert (scores("random", seed=1) != scores("random", seed=2)).any()


def test_blocks_of_pairs_do_not_change_cmi(monkeypatch):
    one = scores("CMI")
    monkeypatch.setattr("neurosae.arrays.feature_scores._PAIR_ELEMENTS", 500)
    np.testing.assert_array_equal(scores("CMI"), one)


def test_a_clear_difference_without_variance_is_the_largest_and_no_difference_the_smallest():
    values = np.column_stack([LABELS, np.ones(30), RNG.standard_normal(30)]).astype(float)
    assert np.isinf(scores("welch", values)[0])
    assert scores("welch", values)[1] == 0


def test_features_that_fire_too_rarely_are_not_alive():
    values = np.zeros((400, 4))
    values[:4, 0], values[:7, 1], values[:8, 2], values[:, 3] = 1, 1, 1, 3
    assert is_alive(values).tolist() == [False, False, True, False]


def test_unknown_and_misplaced_selectors_are_refused():
    with pytest.raises(DesignError, match="no selector 'anova'"):
        scores("anova")
    for selector in DIRECTED_SELECTORS:
        with pytest.raises(DesignError, match=f"{selector!r} compares a target with the rest"):
            scores(selector, labels=np.arange(30) % 3, n_classes=3)
