"""Measures of classification against sklearn, for many label vectors at once."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from neurosae.arrays.classification_scores import (
    balanced_accuracy,
    class_scores,
    macro_auroc,
    resampled_auroc,
)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_measures_are_those_of_sklearn_with_ties(n_classes):
    rng = np.random.default_rng(9)
    labels = np.array([rng.permutation(np.arange(40) % n_classes) for _ in range(3)])
    scores = rng.integers(-3, 4, (40, 3, 1 if n_classes == 2 else n_classes)) + 0.0
    areas, accuracies = macro_auroc(scores, labels, n_classes), balanced_accuracy(scores, labels, n_classes)
    for p in range(3):
        per_class = class_scores(scores[:, p])
        expected = np.mean([roc_auc_score(labels[p] == k, per_class[:, k]) for k in range(n_classes)])
        assert areas[p] == pytest.approx(expected, abs=1e-12)
        predicted = per_class.argmax(axis=1)
        assert accuracies[p] == pytest.approx(balanced_accuracy_score(labels[p], predicted), abs=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_resampled_auroc_is_that_of_the_rows_written_out(n_classes):
    rng = np.random.default_rng(10)
    labels = np.arange(24) % n_classes
    scores = rng.integers(-3, 4, (24, 1 if n_classes == 2 else n_classes)) + 0.0
    weights = rng.integers(0, 3, (5, 24))
    found = resampled_auroc(scores, labels, weights, n_classes)
    rows = [np.repeat(np.arange(24), row) for row in weights]
    expected = [macro_auroc(scores[i][:, None], labels[None, i], n_classes)[0] for i in rows]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_missing_class_has_no_auroc():
    scores = np.arange(4.0).reshape(4, 1, 1)
    assert np.isnan(macro_auroc(scores, np.zeros((1, 4), dtype=int), 2)).all()
    assert np.isnan(resampled_auroc(scores[:, 0], np.array([0, 0, 1, 1]), np.array([[1, 1, 0, 0]]), 2)).all()
