"""The public names are frozen here: changing one changes README, CHANGELOG and this list together."""

import inspect

import pytest

import neurosae as ns

PUBLIC = [
    "Direction",
    "Lesion",
    "Stimulation",
    "category_rsa",
    "compare_rdms",
    "contrast_map",
    "cross_localize",
    "decode",
    "export",
    "load_dictionary",
    "load_netcdf",
    "load_protocol",
    "load_stimuli",
    "load_subject",
    "localize",
    "matched_roi",
    "model_rdm",
    "open_session",
    "plotting",
    "pool_tokens",
    "rdm",
    "record",
    "report",
    "run_causal",
    "save_netcdf",
    "selectivity_index",
    "testing",
    "to_table",
    "top_stimuli",
    "tuning",
]


def test_public_names_are_frozen():
    assert sorted(ns.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_exists_and_is_documented(name):
    assert inspect.getdoc(getattr(ns, name))


@pytest.mark.parametrize("name", [n for n in PUBLIC if n not in ("export", "plotting", "report", "testing")])
def test_public_docstring_has_parameters_and_an_example(name):
    text = inspect.getdoc(getattr(ns, name))
    assert "Parameters" in text
    assert ">>>" in text


def test_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'decoed'"):
        ns.decoed  # noqa: B018
