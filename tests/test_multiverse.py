"""One question under many options: each row is the analysis itself, and the curve keeps its alpha."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.decoding import decode
from neurosae.analysis.localizer import cross_localize, localize
from neurosae.analysis.multiverse_curve import curve_statistics, exchanged_labels
from neurosae.analysis.specifications import multiverse
from neurosae.errors import DesignError
from neurosae.plotting.specification_curve import plot_multiverse
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.recording.pooling import pool_tokens
from neurosae.testing import noise_responses, planted_recording, planted_responses
from tests.responses import labelled

RECORDING = planted_recording(n_items=12, n_features=12, effect=3.0)
ROI = localize(
    contrast_map(planted_responses(n_features=12, effect=3.0, seed=7), "A > B", n_permutations=19), n=1
)


def noise(seed, n=12):
    values = np.random.default_rng(seed).standard_normal((2 * n, 1, 4))
    member = xr.DataArray([[True, True, False, False]], dims=("layer", "feature"), coords={"layer": [0]})
    return labelled(values, condition=np.repeat(["a", "b"], n)), xr.Dataset({"member": member})


def test_every_row_is_the_analysis_under_its_options():
    found = multiverse(RECORDING, "A > B", {"window": ["all", "last:1"], "fraction": [0.05, 0.1]})
    assert found.sizes["specification"] == 4
    assert found["window"].values.tolist() == ["all", "all", "last:1", "last:1"]
    alone = cross_localize(pool_tokens(RECORDING, "last:1"), "A > B", fraction=0.05)
    row = found.isel(specification=2)
    assert float(row["effect"]) == float(alone["es"])
    assert float(row["p"]) == float(alone["p"])
    assert int(row["n_units"]) == 24


def test_contrast_of_an_roi_is_on_one_scale_whatever_the_test():
    options = {"test": ["welch", "rank"], "nuisance": [(), ("n_tokens",)]}
    found = multiverse(pool_tokens(RECORDING), "A > B", options, ask="contrast", roi=ROI)
    assert (found["effect"] > 1).all()
    assert (found["p"] <= 0.01).all()
    assert found["nuisance"].values.tolist() == ["none", "n_tokens", "none", "n_tokens"]
    assert float(found["effect"][0]) == float(found["effect"][2])


def test_map_counts_what_passes_and_none_has_no_global_p():
    options = {"correct": ["fdr_bh", "max_t", "none"]}
    found = multiverse(planted_responses(effect=4.0), "A > B", options, ask="map")
    cmap = contrast_map(planted_responses(effect=4.0), "A > B", n_permutations=199)
    assert float(found["effect"][0]) == float((cmap["p_adjusted"] <= 0.05).mean())
    assert np.isnan(found["p"].values).tolist() == [False, False, True]


def test_decoder_reads_half_depth():
    responses = planted_responses(effect=4.0)
    found = multiverse(responses, "condition", {"select": [None, 4]}, ask="decoder", n_permutations=19)
    alone = decode(responses.isel(layer=[1]), "condition", select=4, n_permutations=19)
    assert float(found["effect"][1]) == alone["auroc"].item()
    assert found.attrs["null_value"] == 0.5


def test_curve_of_a_planted_effect_exceeds_curves_with_exchanged_labels():
    found = multiverse(
        pool_tokens(RECORDING), "A > B", {"test": ["welch", "rank"]}, ask="contrast", roi=ROI, n_curves=39
    )
    assert float(found["median_p"]) == 1 / 40
    assert float(found["share_p"]) <= 0.1
    assert float(found["median_lo"]) < 0 < float(found["median_hi"]) < float(found["median"])


def test_curve_of_noise_has_a_uniform_p():
    p = []
    for seed in range(30):
        responses, roi = noise(seed)
        options = {"test": ["welch", "pooled"]}
        settings = {"ask": "contrast", "roi": roi, "n_permutations": 9, "n_curves": 9, "seed": seed}
        p.append(float(multiverse(responses, "a > b", options, **settings)["median_p"]))
    # uniform on 0.1 … 1: mean .55, three standard errors of 30 runs are .16
    assert 0.39 <= np.mean(p) <= 0.71
    assert min(p) <= 0.2


def test_curve_statistics_count_only_the_dominant_direction():
    effects, p = np.array([0.5, 0.2, 0.1, -0.4]), np.array([0.01, 0.04, 0.3, 0.01])
    assert curve_statistics(effects, p) == (pytest.approx(0.15), 0.5)


def test_labels_are_exchanged_between_whole_units_or_within_them():
    table = pd.DataFrame({"stimulus": [f"s{i}" for i in range(12)], "condition": ["a", "a", "b", "b"] * 3})
    table["item"] = np.repeat([f"i{i}" for i in range(6)], 2)
    for labels in exchanged_labels(table, ["condition"], 20, seed=0):
        values = labels["condition"].to_numpy()
        assert (values[::2] == values[1::2]).all()
        assert sorted(values) == sorted(table["condition"])
    table["family"] = np.repeat(["x", "y", "z"], 4)
    for labels in exchanged_labels(table, ["condition"], 20, seed=0):
        assert (labels["condition"].to_numpy().reshape(3, 4) == "a").sum(axis=1).tolist() == [2, 2, 2]


def test_order_of_stimuli_does_not_change_contrasts_and_results_survive_storage(tmp_path):
    responses = pool_tokens(RECORDING)
    options = {"test": ["welch", "pooled"]}
    found = multiverse(responses, "A > B", options, ask="contrast", roi=ROI)
    turned = multiverse(
        responses.isel(stimulus=slice(None, None, -1)), "A > B", options, ask="contrast", roi=ROI
    )
    np.testing.assert_allclose(found["effect"], turned["effect"])
    save_netcdf(found, tmp_path / "curve.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "curve.nc"), found)


def test_specifications_that_a_design_refuses_say_why_and_the_others_stand():
    found = multiverse(noise_responses(), "A > B", {"unit": ["item", "speaker"]}, ask="map")
    assert np.isnan(found["effect"].values).tolist() == [False, True]
    assert "'speaker'" in str(found["note"].values[1])
    with pytest.raises(DesignError, match="none of 1 specifications"):
        multiverse(noise_responses(), "A > B", {"unit": ["speaker"]}, ask="map")


@pytest.mark.parametrize(
    ("options", "settings", "message"),
    [
        ({"rule": ["signed"]}, {"ask": "opinion"}, "ask is 'opinion'"),
        ({"window": ["all"]}, {}, "Give the recording"),
        ({"correct": ["max_t"]}, {}, "none of ask='localizer'"),
        ({"rule": "signed"}, {}, "needs a list of values"),
        ({"rule": []}, {}, "needs a list of values"),
        ({}, {}, "no options are given"),
        ({"test": ["welch"]}, {"ask": "contrast"}, "needs roi="),
    ],
)
def test_questions_and_options_out_of_range_are_refused(options, settings, message):
    with pytest.raises(DesignError, match=message):
        multiverse(noise_responses(), "A > B", options, **settings)


def test_figure_sorts_effects_and_marks_options():
    options = {"test": ["welch", "rank"], "nuisance": [(), ("n_tokens",)]}
    found = multiverse(pool_tokens(RECORDING), "A > B", options, ask="contrast", roi=ROI, n_curves=19)
    ax = plot_multiverse(found)
    effects = np.concatenate(
        [points.get_offsets()[:, 1] for points in ax.collections if len(points.get_offsets()) > 1]
    )
    assert sorted(effects) == sorted(found["effect"].values)
    below = next(each for each in ax.figure.axes if each is not ax)
    labels = [label.get_text() for label in below.get_yticklabels()]
    assert labels == ["test: welch", "test: rank", "nuisance: none", "nuisance: n_tokens"]
    assert ax.get_ylabel() == "Hedges g of the ROI (SD)"
    assert "4 specifications" in ax.get_title(loc="left")


def test_figure_refuses_axes_outside_a_grid():
    found = multiverse(pool_tokens(RECORDING), "A > B", {"test": ["welch"]}, ask="contrast", roi=ROI)
    with pytest.raises(DesignError, match="grid of subplots"):
        plot_multiverse(found, ax=Figure().add_axes((0, 0, 1, 1)))
