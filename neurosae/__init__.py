"""neurosae: a neuroscience-style analysis toolkit for language models.

Public names load on first use, so that ``import neurosae`` stays quick.
"""

import importlib
from typing import Any

_HOMES = {
    "load_stimuli": "neurosae.stimulus.load",
    "load_protocol": "neurosae.protocol.load",
    "load_subject": "neurosae.subject.catalogue",
    "load_dictionary": "neurosae.dictionary.load",
    "record": "neurosae.recording.runner",
    "open_session": "neurosae.recording.session",
    "pool_tokens": "neurosae.recording.pooling",
    "save_netcdf": "neurosae.recording.netcdf",
    "load_netcdf": "neurosae.recording.netcdf",
    "to_table": "neurosae.recording.netcdf",
    "contrast_map": "neurosae.analysis.contrast",
    "localize": "neurosae.analysis.localizer",
    "cross_localize": "neurosae.analysis.localizer",
    "rdm": "neurosae.analysis.rsa",
    "model_rdm": "neurosae.analysis.rdm_models",
    "compare_rdms": "neurosae.analysis.rsa",
    "category_rsa": "neurosae.analysis.category",
    "selectivity_index": "neurosae.analysis.selectivity",
    "tuning": "neurosae.analysis.tuning_curves",
    "top_stimuli": "neurosae.analysis.tuning_curves",
    "decode": "neurosae.analysis.decoding",
    "Lesion": "neurosae.causal.perturbation",
    "Stimulation": "neurosae.causal.perturbation",
    "Direction": "neurosae.causal.perturbation",
    "matched_roi": "neurosae.causal.controls",
    "run_causal": "neurosae.causal.experiment",
    "encode": "neurosae.recording.encode_recording",
    "load_activations": "neurosae.recording.imports",
    "merge": "neurosae.recording.shares",
    "consolidate": "neurosae.recording.upkeep",
    "factor_map": "neurosae.analysis.factors",
    "two_part_map": "neurosae.analysis.two_part",
    "min_f_map": "neurosae.analysis.random_factors",
    "mixed_model": "neurosae.analysis.mixed_effects",
    "conjoin": "neurosae.analysis.conjunction",
    "feature_rsa": "neurosae.analysis.feature_maps",
    "crossnobis_rdm": "neurosae.analysis.cross_validated",
    "poisson_cv_rdm": "neurosae.analysis.cross_validated",
    "cka": "neurosae.analysis.second_order",
    "second_order_rsa": "neurosae.analysis.second_order",
    "nuisance_models": "neurosae.analysis.nuisance_rdms",
    "rdm_regression": "neurosae.analysis.rdm_partials",
    "compare_models": "neurosae.analysis.model_comparison",
    "noise_ceiling": "neurosae.analysis.model_comparison",
    "compare_models_over_rdms": "neurosae.analysis.replicated_rdms",
    "searchlight_rsa": "neurosae.analysis.token_searchlight",
    "sequence_rdm": "neurosae.analysis.sequences",
    "cross_selectivity": "neurosae.analysis.held_out_preference",
    "monosemantic_features": "neurosae.analysis.monosemanticity",
    "preference_index": "neurosae.analysis.preference",
    "mutual_information": "neurosae.analysis.feature_information",
    "response_sparseness": "neurosae.analysis.feature_information",
    "feature_detectors": "neurosae.analysis.detectors",
    "feature_overlap": "neurosae.analysis.overlap_of_classes",
    "shared_features": "neurosae.analysis.contributions",
    "coactivation": "neurosae.analysis.coactive_pairs",
    "parametric_tuning": "neurosae.analysis.level_tuning",
    "cell_tuning": "neurosae.analysis.tuning_curves",
    "word_responses": "neurosae.analysis.word_tuning",
    "equal_tokens": "neurosae.analysis.token_sampling",
    "compare_decoders": "neurosae.analysis.decoder_comparison",
    "surface_features": "neurosae.analysis.surface",
    "control_task": "neurosae.analysis.control_tasks",
    "sparse_decoder_curve": "neurosae.analysis.sparse_decoders",
    "generalize": "neurosae.analysis.generalisation",
    "decoder_pattern": "neurosae.analysis.decoder_patterns",
    "decoder_calibration": "neurosae.analysis.decoder_probabilities",
    "encoding_model": "neurosae.analysis.encoding_models",
    "compare_pipelines": "neurosae.analysis.pipeline_comparison",
    "retrieve": "neurosae.analysis.retrieval",
    "combine_rois": "neurosae.analysis.roi_algebra",
    "compare_rois": "neurosae.analysis.roi_algebra",
    "localize_as": "neurosae.analysis.localizer_variants",
    "cross_localize_as": "neurosae.analysis.localizer_variants",
    "localizer_reliability": "neurosae.analysis.reliability",
    "multiverse": "neurosae.analysis.specifications",
    "null_model": "neurosae.analysis.null_models",
    "random_dictionary": "neurosae.dictionary.random_weights",
    "methods_record": "neurosae.schema.record_fields",
    "power_contrast": "neurosae.analysis.power",
    "power_lesion": "neurosae.analysis.power",
    "power_decoder": "neurosae.analysis.power_decoding",
    "train_dictionary": "neurosae.recording.dictionary_training",
    "sweep_dictionaries": "neurosae.recording.dictionary_sweep",
    "evaluate_dictionary": "neurosae.recording.evaluation",
    "compare_dictionaries": "neurosae.analysis.dictionary_comparison",
    "dictionary_agreement": "neurosae.analysis.matched_dictionaries",
    "planted_recovery": "neurosae.analysis.matched_dictionaries",
}
_MODULES = ("export", "plotting", "report", "testing")

__all__ = [*_HOMES, *_MODULES]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"neurosae.{name}")
    raise AttributeError(f"module 'neurosae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
