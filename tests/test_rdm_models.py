"""Model RDMs from columns of the stimuli."""

import numpy as np
import pytest

import neurosae as ns
from neurosae.errors import DesignError
from tests.responses import families, labelled, two_classes


def test_kat_16_categories_are_compared_as_whole_words():
    responses = labelled(np.zeros((4, 2)), condition=["art", "arts", "emotion", "cat"])
    assert np.array_equal(ns.model_rdm(responses, "condition"), 1 - np.eye(4))


def test_numbers_give_absolute_differences():
    responses = labelled(np.zeros((3, 2)), condition=["a"] * 3, length=np.array([3, 5, 4], dtype=np.uint8))
    assert ns.model_rdm(responses, "length").values.tolist() == [[0, 2, 1], [2, 0, 1], [1, 1, 0]]


def test_model_rows_match_those_of_the_rdm():
    responses = families()
    model = ns.model_rdm(responses, "condition")
    assert model.stimulus.values.tolist() == ns.rdm(responses).stimulus.values.tolist()
    assert model.sel(stimulus="0|a", stimulus_2="1|a") == 0
    assert model.sel(stimulus="0|a", stimulus_2="0|b") == 1


def test_a_category_that_one_unit_holds_alone_is_refused():
    responses = families(10)
    kind = np.repeat(["x", *"yz" * 4, "y"], 2)
    d = ns.rdm(responses)
    model = ns.model_rdm(responses.assign_coords(kind=("stimulus", kind)), "kind")
    with pytest.raises(DesignError, match=r"1 categories have a single unit \(first: '0\|a'\)"):
        ns.compare_rdms(d, model)


def test_a_model_that_differs_within_units_only_is_refused():
    responses = families(10)
    d = ns.rdm(responses)
    units = d.family.values
    inside = ns.model_rdm(responses, "condition").copy(data=(units[:, None] == units) * (1 - np.eye(20)))
    with pytest.raises(DesignError, match="is constant over pairs of different units"):
        ns.compare_rdms(d, inside)


def test_model_rdm_refuses_columns_it_cannot_use():
    responses = two_classes(4, 4, item=list("xxyyzzww"), template=list("12121212"), freq=[np.nan, *range(7)])
    with pytest.raises(DesignError, match="'colour' is not a column"):
        ns.model_rdm(responses, "colour")
    with pytest.raises(DesignError, match="'template' differs between stimuli"):
        ns.model_rdm(responses, "template")
    with pytest.raises(DesignError, match="1 stimuli have no 'freq'"):
        ns.model_rdm(responses, "freq", unit="stimulus")
