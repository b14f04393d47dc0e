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
