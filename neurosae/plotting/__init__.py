"""One function a kind of result: takes a finished result, returns matplotlib Axes, computes only layout."""

from neurosae.plotting.causal import plot_dose_response, plot_lesion
from neurosae.plotting.features import plot_selectivity, plot_tuning
from neurosae.plotting.localizer import plot_held_out
from neurosae.plotting.maps import plot_contrast_map, plot_rdm
from neurosae.plotting.overlap import plot_coactivation, plot_criteria, plot_overlap
from neurosae.plotting.power import plot_power, plot_reliability
from neurosae.plotting.profiles import plot_decoding, plot_layer_profile
from neurosae.plotting.specification_curve import plot_multiverse
from neurosae.plotting.tokens import plot_token_strip
from neurosae.plotting.training import plot_training
from neurosae.plotting.tuning_fits import plot_cell_tuning, plot_parametric_tuning

__all__ = [
    "plot_cell_tuning",
    "plot_coactivation",
    "plot_contrast_map",
    "plot_criteria",
    "plot_decoding",
    "plot_dose_response",
    "plot_held_out",
    "plot_layer_profile",
    "plot_lesion",
    "plot_multiverse",
    "plot_overlap",
    "plot_parametric_tuning",
    "plot_power",
    "plot_rdm",
    "plot_reliability",
    "plot_selectivity",
    "plot_token_strip",
    "plot_training",
    "plot_tuning",
]
