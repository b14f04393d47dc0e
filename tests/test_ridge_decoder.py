"""The closed-form ridge decoder on arrays: agreement with sklearn, many label vectors at once, no leaks."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosae.arrays.ridge_decoder import (
    SHRINKAGE,
    balanced_targets,
    fold_scores,
    ridge_scores,
    selected_scores,
    standardise,
    top_columns,
)


def make_rows(n_train, n_test, n_features, n_classes, seed, effect=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n_train + n_test) % n_classes
    centres = rng.standard_normal((n_classes, n_features))
    rows = effect * centres[labels] + 3 * rng.standard_normal((n_train + n_test, n_features)) + 7
    return rows[:n_train], rows[n_train:], labels[:n_train], labels[n_train:]


@pytest.mark.parametrize("n_features", [8, 300])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_scores_are_those_of_sklearn_up_to_scale_and_boundary(n_features, n_classes):
    train, test, labels, _ = make_rows(61, 40, n_features, n_classes, seed=0)
    sklearn_ridge = make_pipeline(StandardScaler(), RidgeClassifier(alpha=SHRINKAGE * n_features))
    expected = sklearn_ridge.fit(train, labels).decision_function(test).reshape(40, -1)
    found = fold_scores(train, test, labels[None], n_classes)[:, 0]
    inside = np.bincount(labels)[1:] if n_classes == 2 else np.bincount(labels)
    # sklearn codes classes +1 and -1; the balanced targets are n²/(4 n1 n2) times these, centred.
    scaled = found * 4 * inside * (61 - inside) / 61**2
    np.testing.assert_allclose(scaled - scaled.mean(axis=0), expected - expected.mean(axis=0), atol=1e-8)


def test_left_out_scores_are_those_of_decoders_that_never_saw_the_row():
    rng = np.random.default_rng(1)
    Z, targets = rng.standard_normal((15, 4)), rng.standard_normal((15, 1, 1))
    found = ridge_scores(Z, Z[:1], targets).left_out.ravel()
    penalty = SHRINKAGE * np.trace(Z @ Z.T) / 15
    for row in range(15):
        rest = np.arange(15) != row
        weights = np.linalg.solve(Z[rest].T @ Z[rest] + penalty * np.eye(4), Z[rest].T @ targets[rest, 0, 0])
        assert Z[row] @ weights == pytest.approx(found[row], abs=1e-10)


@pytest.mark.parametrize("select", [None, 3])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_many_label_vectors_at_once_equal_one_after_the_other(select, n_classes):
    train, test, labels, _ = make_rows(30, 12, 20, n_classes, seed=2)
    drawn = np.array([np.random.default_rng(p).permutation(labels) for p in range(6)])
    together = fold_scores(train, test, drawn, n_classes, select=select)
    apart = [fold_scores(train, test, row[None], n_classes, select=select) for row in drawn]
    np.testing.assert_allclose(together, np.concatenate(apart, axis=1), atol=1e-9)


def test_blocks_of_label_vectors_do_not_change_selected_scores(monkeypatch):
    train, test, labels, _ = make_rows(30, 12, 20, 3, seed=2)
    drawn = np.array([np.random.default_rng(p).permutation(labels) for p in range(6)])
    one = selected_scores(train, test, drawn, 3, select=4)
    monkeypatch.setattr("neurosae.arrays.ridge_decoder._BLOCK_ELEMENTS", 1)
    other = selected_scores(train, test, drawn, 3, select=4)
    np.testing.assert_allclose(one.test, other.test, atol=1e-12)
    np.testing.assert_allclose(one.left_out, other.left_out, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_selecting_all_features_is_the_same_as_not_selecting(n_classes):
    train, test, labels, _ = make_rows(30, 12, 20, n_classes, seed=3)
    every = fold_scores(train, test, labels[None], n_classes, select=20)
    np.testing.assert_allclose(every, fold_scores(train, test, labels[None], n_classes), atol=1e-9)


def test_selected_features_are_those_of_largest_standardised_difference():
    train, test, labels, _ = make_rows(40, 10, 30, 2, seed=4)
    Z, _ = standardise(train, test)
    best = np.sort(np.argsort(-np.abs(Z[labels == 1].mean(axis=0) - Z[labels == 0].mean(axis=0)))[:5])
    by_hand = fold_scores(train[:, best], test[:, best], labels[None], 2)
    np.testing.assert_allclose(fold_scores(train, test, labels[None], 2, select=5), by_hand, atol=1e-9)


def test_top_columns_takes_exactly_k_and_first_ties():
    values = np.array([[2.0, 2.0, 2.0, 5.0], [1.0, 4.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    assert top_columns(values, 2).tolist() == [[0, 3], [1, 3], [0, 1]]


def test_test_rows_do_not_change_what_is_learned():
    train, test, labels, _ = make_rows(30, 12, 20, 2, seed=5)
    alone = fold_scores(train, test[:1], labels[None], 2, select=4)
    with_others = fold_scores(train, np.concatenate([test[:1], 1e3 * test[1:]]), labels[None], 2, select=4)
    np.testing.assert_allclose(alone[0], with_others[0], atol=1e-9)


def test_features_constant_in_training_are_dropped_even_if_they_vary_later():
    train, test, labels, _ = make_rows(30, 12, 5, 2, seed=6)
    silent = np.column_stack([train, np.full(30, 0.1)]), np.column_stack([test, 1e6 * np.arange(12.0)])
    np.testing.assert_array_equal(
        fold_scores(*silent, labels[None], 2), fold_scores(train, test, labels[None], 2)
    )


@pytest.mark.parametrize("select", [None, 2])
def test_without_any_varying_feature_all_scores_are_zero(select):
    found = fold_scores(np.ones((10, 3)), np.ones((4, 3)), np.array([[0, 1] * 5]), 2, select=select)
    np.testing.assert_array_equal(found, np.zeros((4, 1, 1)))


def test_equal_test_rows_tie():
    rng = np.random.default_rng(7)
    train, labels = rng.standard_normal((37, 41)), np.array([np.arange(37) % 2])
    test = np.tile(rng.standard_normal(41), (23, 1))
    found = fold_scores(train, test, labels, 2)
    assert len(np.unique(found)) == 1


def test_targets_weigh_both_sides_alike():
    labels = np.array([[0, 0, 0, 0, 1, 1, 2]])
    targets = balanced_targets(labels, 3)[:, 0]
    for k in range(3):
        assert targets[labels[0] == k, k].sum() == pytest.approx(3.5)
        assert targets[labels[0] != k, k].sum() == pytest.approx(-3.5)


def test_unequal_classes_do_not_move_the_boundary():
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1], [120, 30])
    rows = rng.standard_normal((150, 100)) + 0.35 * labels[:, None]
    fresh_labels = np.repeat([0, 1], 300)
    fresh = rng.standard_normal((600, 100)) + 0.35 * fresh_labels[:, None]
    is_second = fold_scores(rows, fresh, labels[None], 2)[:, 0, 0] > 0
    # With the boundary at the mean of all rows, the frequent class would lose about 12 % of its rows.
    assert is_second[fresh_labels == 1].mean() - (~is_second)[fresh_labels == 0].mean() == pytest.approx(
        0, abs=0.1
    )
    assert np.mean(is_second == fresh_labels) > 0.85
