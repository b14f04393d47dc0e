"""Power from a pilot: what theory says, alpha kept, and no promise beyond the data."""

import numpy as np
import pytest
import xarray as xr
from statsmodels.stats.power import TTestIndPower, TTestPower

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.localizer import localize
from neurosae.analysis.power import power_contrast, power_lesion
from neurosae.analysis.power_decoding import power_decoder
from neurosae.analysis.reliability import localizer_reliability
from neurosae.errors import DesignError
from neurosae.plotting.power import plot_power, plot_reliability
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.testing import noise_responses, planted_responses
from tests.responses import labelled

ROI = xr.Dataset({"member": (("layer", "feature"), [[True, False]])}, coords={"layer": [0]})


def pilot(effect, n=30, paired=False, seed=0):
    """A pilot whose first feature has exactly this standardised effect."""
    noise = np.random.default_rng(seed).standard_normal((2, n, 2))
    if paired:
        difference = noise[0] - noise[1]
        difference = (difference - difference.mean(0)) / difference.std(0, ddof=1) + effect
        noise = np.stack([difference, np.zeros_like(difference)]) + noise[1]
    else:
        noise = (noise - noise.mean(1, keepdims=True)) / noise.std(1, ddof=1, keepdims=True)
        noise[0] += effect
    columns = {"item": np.tile([f"i{k}" for k in range(n)], 2)} if paired else {}
    return labelled(noise.reshape(2 * n, 2), condition=np.repeat(["a", "b"], n), **columns)


def test_power_between_units_is_that_of_the_t_test():
    found = power_contrast(pilot(0.8), "a > b", ROI, n_units=[10, 26, 50], n_simulations=600)
    theory = [TTestIndPower().power(0.8, n, 0.05) for n in (10, 26, 50)]
    # three standard errors of 600 experiments are .06 at most
    np.testing.assert_allclose(found["power"], theory, atol=0.07)
    assert float(found["n_needed"]) in (26.0, 50.0)


def test_power_within_units_is_that_of_the_paired_t_test():
    found = power_contrast(pilot(0.5, paired=True), "a > b", ROI, n_units=[12, 34], n_simulations=600)
    theory = [TTestPower().power(0.5, n, 0.05) for n in (12, 34)]
    np.testing.assert_allclose(found["power"], theory, atol=0.07)


@pytest.mark.parametrize("test", ["welch", "rank"])
def test_alpha_is_kept_and_the_safeguard_asks_for_more(test):
    found = power_contrast(pilot(0.8), "a > b", ROI, n_units=[10, 40], test=test, n_simulations=600)
    # three standard errors of .05 in 600 experiments are .027
    assert (np.abs(found["alpha_kept"] - 0.05) <= 0.03).all()
    assert (found["safeguard"] <= found["power"]).all()
    assert float(found["es_lo"]) < 0.8 < float(found["es_hi"])


def test_a_pilot_without_effect_has_no_power_and_needs_no_number():
    found = power_contrast(pilot(0.0), "a > b", ROI, n_units=[20], n_simulations=400)
    assert abs(float(found["power"][0]) - 0.05) <= 0.035
    assert np.isnan(float(found["n_needed"]))


def test_power_is_blind_to_the_order_of_stimuli_within_cells_of_seeds_and_survives_storage(tmp_path):
    found = power_contrast(pilot(0.8), "a > b", ROI, n_units=[20, 10])
    xr.testing.assert_identical(found, power_contrast(pilot(0.8), "a > b", ROI, n_units=[10, 20]))
    save_netcdf(found, tmp_path / "power.nc")
    xr.testing.assert_identical(load_netcdf(tmp_path / "power.nc"), found)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())


def test_an_roi_that_the_pilot_chose_is_refused():
    responses = planted_responses()
    roi = localize(contrast_map(responses, "A > B", n_permutations=19), n=1)
    with pytest.raises(DesignError, match="circular"):
        power_contrast(responses, "A > B", roi)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_units": [2]}, "at least 3"),
        ({"n_units": []}, "at least 3"),
        ({"alpha": 0.001}, "alpha is 0.001"),
        ({"n_simulations": 0}, "n_simulations is 0"),
    ],
)
def test_options_out_of_range_are_refused(settings, message):
    with pytest.raises(DesignError, match=message):
        power_contrast(pilot(0.5), "a > b", ROI, **settings)


def lesion(effect, n=40):
    rng = np.random.default_rng(0)
    sham = rng.standard_normal(n)
    difference = rng.standard_normal(n)
    difference = (difference - difference.mean()) / difference.std(ddof=1) + effect
    dims = ("perturbation", "readout", "unit")
    scores = {"score": (dims, (sham + difference)[None, None]), "score_sham_unit": (dims, sham[None, None])}
    return xr.Dataset(scores, coords={"perturbation": ["cut"], "readout": ["surprisal"]})


def test_power_of_a_lesion_is_that_of_its_differences_from_shams():
    found = power_lesion(lesion(0.5), "cut", "surprisal", n_units=[15, 35], n_simulations=600)
    theory = [TTestPower().power(0.5, n, 0.05) for n in (15, 35)]
    np.testing.assert_allclose(found["power"], theory, atol=0.07)
    assert (np.abs(found["alpha_kept"] - 0.05) <= 0.03).all()


def test_unknown_effects_of_lesions_are_refused():
    with pytest.raises(DesignError, match="no perturbation 'push'"):
        power_lesion(lesion(0.5), "push", "surprisal")
    with pytest.raises(DesignError, match="3 are needed"):
        power_lesion(lesion(0.5).isel(unit=slice(0, 2)), "cut", "surprisal")


def test_decoders_need_enough_groups_and_find_nothing_in_noise():
    strong = power_decoder(planted_responses(effect=5.0), "condition", n_units=[6, 20], n_simulations=8)
    assert float(strong["power"][1]) >= 0.8
    assert float(strong["auroc"][1]) > float(strong["auroc"][0]) - 0.05
    noise = power_decoder(noise_responses(), "condition", n_units=[10], n_simulations=20)
    assert float(noise["alpha_kept"][0]) <= 0.2  # 20 parts: three standard errors of .05 are .15


def test_more_groups_than_the_pilot_has_are_refused():
    with pytest.raises(DesignError, match="allows 5 to 20 groups"):
        power_decoder(planted_responses(), "condition", n_units=[40])
    with pytest.raises(DesignError, match="no column 'kind'"):
        power_decoder(planted_responses(), "kind")


def test_figures_show_curves_level_and_needed_number():
    found = power_contrast(pilot(0.8), "a > b", ROI, n_units=[10, 40], n_simulations=100)
    ax = plot_power(found)
    assert len([line for line in ax.lines if line.get_marker() == "o"]) == 3
    assert "needed for a power of 0.8: 40" in ax.get_title(loc="left")
    assert ax.get_xlabel() == "units per cell"
    curve = localizer_reliability(planted_responses(), "A > B", n_splits=3)
    assert plot_reliability(curve).get_ylabel() == "agreement of separate units"
