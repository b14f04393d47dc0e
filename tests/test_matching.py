import numpy as np
import pytest

from neurosae.arrays.matching import Neighbours, draw_match, magnitude_measures, neighbours
from neurosae.errors import DesignError


def test_measures_are_logs_of_mean_magnitude_and_spread():
    values = np.array([[1.0, -2.0], [3.0, 4.0]])
    np.testing.assert_allclose(magnitude_measures(values), np.log([[2, 1], [3, 3]]))


def test_silent_and_constant_units_have_no_measures():
    assert np.isnan(magnitude_measures(np.array([[0.0, 5.0], [0.0, 5.0]]))).all()


def test_only_allowed_units_within_the_caliper_are_drawn():
    rng = np.random.default_rng(0)
    measures = rng.standard_normal((500, 2))
    allowed = np.ones(500, dtype=bool)
    allowed[:100] = False
    targets = np.arange(10)
    found = neighbours(targets, measures, allowed)
    for _ in range(20):
        units, n_outside = draw_match(found, rng)
        assert len(set(units)) == 10
        assert units.min() >= 100
        spread = measures[np.r_[0:10, 100:500]].std(axis=0)
        within = (np.abs(measures[targets] - measures[units]) / spread).max(axis=1) <= 0.25
        assert n_outside == (~within).sum()


def test_caliper_is_relaxed_to_the_nearest_and_counted():
    measures = np.array([[0.0], [3.0], [2.0], [9.0]])
    found = neighbours(np.array([0]), measures, np.array([False, True, True, True]), at_least=2)
    drawn = {
        (int(units[0]), outside)
        for units, outside in (draw_match(found, np.random.default_rng(s)) for s in range(30))
    }
    assert drawn == {(2, 1), (1, 1)}


def test_exhausted_neighbours_are_replaced_by_the_next_free_one():
    found = Neighbours(np.array([[7, 8, 9]] * 3), np.ones(3, dtype=int), np.ones(3, dtype=int))
    units, n_outside = draw_match(found, np.random.default_rng(0))
    assert sorted(units.tolist()) == [7, 8, 9]
    assert n_outside == 2


def test_a_constant_measure_does_not_matter():
    measures = np.array([[0.0, 1.0], [0.1, 1.0], [5.0, 1.0]])
    found = neighbours(np.array([0]), measures, np.array([False, True, True]))
    assert found.order.tolist() == [[1, 2]]


def test_too_few_candidates_are_refused():
    with pytest.raises(DesignError, match="1 candidates cannot match 2 units"):
        neighbours(np.array([0, 1]), np.zeros((3, 1)), np.array([False, False, True]))


def test_unmeasured_targets_are_refused():
    with pytest.raises(DesignError, match="1 of 1 units to be matched never respond"):
        neighbours(np.array([0]), np.array([[np.nan], [1.0]]), np.array([False, True]))
