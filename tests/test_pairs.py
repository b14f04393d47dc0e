"""Entries of RDMs whose rows belong to different units."""

import numpy as np

from neurosae.arrays.distance import triangle
from neurosae.arrays.pairs import shared_units, symmetric, unit_entries, unit_pairs

MATRIX = np.arange(36.0).reshape(6, 6)
MATRIX += MATRIX.T
UNITS = np.array(["x", "y", "x", "z", "y", "x"])


def test_pairs_of_different_units_are_those_counted_one_by_one():
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6) if UNITS[i] != UNITS[j]]
    assert list(zip(*(axis.tolist() for axis in unit_pairs(6, UNITS)), strict=True)) == pairs
    assert unit_entries(MATRIX, UNITS).tolist() == [MATRIX[pair] for pair in pairs]


def test_rows_that_are_units_of_their_own_give_the_whole_triangle():
    assert shared_units(np.array([5, 3, 1])) is None
    for units in (None, np.array(list("fbdeca"))):
        assert np.array_equal(unit_entries(MATRIX[None], units), triangle(MATRIX[None]))


def test_entries_return_to_their_place_and_others_are_zero():
    restored = symmetric(unit_entries(MATRIX[None], UNITS), unit_pairs(6, UNITS), 6)
    assert np.array_equal(restored[0], np.where(UNITS[:, None] == UNITS, 0.0, MATRIX))
