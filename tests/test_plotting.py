"""What figures show: labels from attributes, the right number of marks, limits that fit the data."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from neurosae import plotting
from neurosae.plotting.style import ACCENT, p_text, symmetric_limit

LAYERS = [2, 5, 9]


def over_layers(values, long_name, units="1"):
    return xr.DataArray(
        values, dims="layer", coords={"layer": LAYERS}, attrs={"long_name": long_name, "units": units}
    )


def over_features(values, long_name="t"):
    values = np.asarray(values)
    coords = {"layer": LAYERS[: len(values)], "feature": np.arange(values.shape[1])}
    return xr.DataArray(
        values, dims=("layer", "feature"), coords=coords, attrs={"long_name": long_name, "units": "1"}
    )


@pytest.fixture
def cmap():
    stat = np.random.default_rng(0).normal(size=(3, 40))
    stat[1, 7] = 9.0
    return xr.Dataset({"stat": over_features(stat)}, attrs={"contrast": "A > B"})


@pytest.fixture
def profile():
    return xr.Dataset(
        {
            "auroc": over_layers([0.5, 0.7, 0.95], "AUROC"),
            "auroc_lo": over_layers([0.4, 0.6, 0.9], "lower"),
            "auroc_hi": over_layers([0.6, 0.8, 0.99], "upper"),
            "chance": over_layers([0.5, 0.5, 0.5], "chance"),
            "p_adjusted": over_layers([0.6, 0.03, 0.005], "p"),
        }
    )


@pytest.fixture
def causal():
    rng = np.random.default_rng(1)
    effect = np.array([[-0.4], [0.0], [0.7]])
    dims = ("perturbation", "readout")
    return xr.Dataset(
        {
            "effect": (dims, effect),
            "effect_lo": (dims, effect - 0.1),
            "effect_hi": (dims, effect + 0.2),
            "p": (dims, np.full((3, 1), 0.05)),
            "z": (dims, effect * 4),
            "effect_sham": (("perturbation", "sham", "readout"), rng.normal(scale=0.1, size=(3, 19, 1))),
        },
        coords={
            "perturbation": ["push@-1", "push@0", "push@1"],
            "readout": ["log_odds"],
            "act": ("perturbation", ["push"] * 3),
            "dose": ("perturbation", [-1.0, 0.0, 1.0], {"long_name": "dose", "units": "median norms"}),
        },
    )


def test_contrast_map_is_centred_on_zero_and_marks_every_roi_member(cmap):
    member = over_features(np.zeros((3, 40), dtype=bool), "member")
    member[1, 7] = member[0, 0] = True
    ax = plotting.plot_contrast_map(cmap, roi=xr.Dataset({"member": member}))
    low, high = ax.collections[0].get_clim()
    assert low == -high == -symmetric_limit(cmap["stat"].values)
    assert ax.collections[1].get_offsets().tolist() == [[0, 0], [7, 1]]
    assert ax.get_title(loc="left") == "A > B"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["2", "5", "9"]


def test_layer_profile_draws_band_chance_and_significant_layers(profile):
    ax = plotting.plot_layer_profile(profile, "auroc")
    labels = ax.get_legend_handles_labels()[1]
    assert labels == ["95 % interval", "AUROC", "mean under permutation", "p ≤ 0.05 (corrected over layers)"]
    marks = next(line for line in ax.lines if line.get_color() == ACCENT)
    assert marks.get_xdata().tolist() == [5, 9]


def test_layer_profile_without_interval_or_null_draws_the_line_only():
    ax = plotting.plot_layer_profile(
        xr.Dataset({"index": over_layers([1.0, 2.0, 3.0], "CDI", "a.u.")}), "index"
    )
    assert len(ax.lines) == 1
    assert ax.get_ylabel() == "CDI (a.u.)"


def test_decoding_shows_chance_even_if_all_layers_are_far_above(profile):
    assert plotting.plot_decoding(profile).get_ylim()[0] <= 0.4


def test_rdm_groups_its_rows_by_condition():
    values = np.arange(16.0).reshape(4, 4)
    rdm = xr.DataArray(
        values + values.T,
        dims=("stimulus", "stimulus_2"),
        coords={"condition": ("stimulus", ["B", "A", "B", "A"]), "layer": 5},
        attrs={"long_name": "dissimilarity", "units": "1"},
    )
    ax = plotting.plot_rdm(rdm)
    drawn = np.asarray(ax.images[0].get_array())
    assert drawn[0, 1] == rdm.values[1, 3]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["A", "B"]


def test_selectivity_counts_live_and_dead_features():
    values = over_features(np.array([[0.5, 0.9, np.nan, 0.7]]), "AUROC")
    result = xr.Dataset(
        {"selectivity": values, "null": ("quantile", np.linspace(0.4, 0.6, 11))}, attrs={"threshold": 0.6}
    )
    ax = plotting.plot_selectivity(result)
    labels = ax.get_legend_handles_labels()[1]
    assert "3 live features" in labels
    assert "threshold 0.6: 66.7% of features" in labels
    assert ax.get_title(loc="left") == "1 dead features left out"


def test_tuning_has_one_bar_a_condition():
    mean = xr.DataArray(
        [[[1.0]], [[-2.0]]],
        dims=("condition", "layer", "feature"),
        coords={"condition": ["A", "B"], "layer": [2], "feature": [4]},
        attrs={"long_name": "mean response", "units": "a.u."},
    )
    ax = plotting.plot_tuning(xr.Dataset({"mean": mean, "se": mean * 0 + 0.1}), layer=2, feature=4)
    assert [patch.get_height() for patch in ax.patches] == [1.0, -2.0]
    assert ax.get_ylabel() == "mean response (a.u.)"


def test_held_out_draws_every_unit():
    result = xr.Dataset(
        {"response": ("unit", np.arange(6.0), {"long_name": "ROI response", "units": "SD"})},
        coords={"condition": ("unit", ["A", "A", "A", "B", "B", "B"])},
    )
    ax = plotting.plot_held_out(result)
    assert (
        sum(
            len(collection.get_offsets())
            for collection in ax.collections
            if len(collection.get_offsets()) == 3
        )
        == 6
    )
    assert ax.get_ylabel() == "ROI response (SD)"


def test_lesion_shows_shams_effect_and_bound_of_p(causal):
    ax = plotting.plot_lesion(causal, perturbation="push@1", readout="log_odds")
    assert sum(patch.get_height() for patch in ax.patches[:-1]) == 19
    assert ax.get_title(loc="left") == "p ≤ 0.05, z = +2.80"
    assert "bits" in ax.get_xlabel()


def test_dose_response_runs_over_sorted_doses(causal):
    ax = plotting.plot_dose_response(causal.isel(perturbation=[2, 0, 1]), act="push", readout="log_odds")
    assert ax.lines[0].get_xdata().tolist() == [-1.0, 0.0, 1.0]
    assert ax.get_xlabel() == "dose (median norms)"


def test_token_strip_outlines_masked_tokens_and_shows_text_as_it_is():
    recording = xr.DataArray(
        np.array([np.nan, 1.0, -1.0]).reshape(1, 3, 1, 1),
        dims=("stimulus", "token", "layer", "feature"),
        coords={
            "stimulus": ["s1"],
            "layer": [2],
            "feature": [4],
            "token_str": (("stimulus", "token"), [["<s>", "Ġthe", "$x_1$"]]),
        },
        attrs={"long_name": "activation", "units": "a.u."},
    )
    ax = plotting.plot_token_strip(recording, stimuli=["s1"], layer=2, feature=4)
    assert [text.get_text() for text in ax.texts] == ["<s>", "·the", "$x_1$"]
    assert to_hex(ax.patches[0].get_facecolor()) == "#ffffff"
    assert len({patch.get_facecolor() for patch in ax.patches}) == 3


def test_p_at_its_floor_is_written_as_a_bound():
    assert p_text(1 / 20, 19) == "p ≤ 0.05"
    assert p_text(0.4, 19) == "p = 0.4"
