"""Classes that a stimulus column names."""

import numpy as np

from neurosae.analysis.classes import class_labels
from tests.responses import responses_of


def test_class_labels_are_sorted_text():
    names, labels = class_labels(responses_of(np.ones((3, 1)), ["b", "a", "b"], size=[2, 10, 2]), "size")
    assert (names.tolist(), labels.tolist()) == (["10", "2"], [1, 0, 1])
