"""The public names are frozen here: changing one changes README, CHANGELOG and this list together."""

import inspect

import pytest

import neurosae as ns

PUBLIC = [
    "Direction",
    "Lesion",
    "Stimulation",
    "category_rsa",
    "cell_tuning",
    "cka",
    "coactivation",
    "combine_rois",
    "compare_decoders",
    "compare_dictionaries",
    "compare_models",
    "compare_models_over_rdms",
    "compare_pipelines",
    "compare_rdms",
    "compare_rois",
    "conjoin",
    "consolidate",
    "contrast_map",
    "control_task",
    "cross_localize",
    "cross_localize_as",
    "cross_selectivity",
    "crossnobis_rdm",
    "decode",
    "decoder_calibration",
    "decoder_pattern",
    "dictionary_agreement",
    "encode",
    "encoding_model",
    "equal_tokens",
    "evaluate_dictionary",
    "export",
    "factor_map",
    "feature_detectors",
    "feature_overlap",
    "feature_rsa",
    "generalize",
    "load_activations",
    "load_dictionary",
    "load_netcdf",
    "load_protocol",
    "load_stimuli",
    "load_subject",
    "localize",
    "localize_as",
    "localizer_reliability",
    "matched_roi",
    "merge",
    "methods_record",
    "min_f_map",
    "mixed_model",
    "model_rdm",
    "monosemantic_features",
    "multiverse",
    "mutual_information",
    "noise_ceiling",
    "nuisance_models",
    "null_model",
    "open_session",
    "parametric_tuning",
    "planted_recovery",
    "plotting",
    "poisson_cv_rdm",
    "pool_tokens",
    "power_contrast",
    "power_decoder",
    "power_lesion",
    "preference_index",
    "random_dictionary",
    "rdm",
    "rdm_regression",
    "record",
    "report",
    "response_sparseness",
    "retrieve",
    "run_causal",
    "save_netcdf",
    "searchlight_rsa",
    "second_order_rsa",
    "selectivity_index",
    "sequence_rdm",
    "shared_features",
    "sparse_decoder_curve",
    "surface_features",
    "sweep_dictionaries",
    "testing",
    "to_table",
    "top_stimuli",
    "train_dictionary",
    "tuning",
    "two_part_map",
    "word_responses",
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
