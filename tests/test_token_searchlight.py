"""RSA at every layer and place in the text, and RDMs of whole token sequences."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import neurosae as ns
from neurosae.analysis.sequences import sequence_rdm
from neurosae.analysis.token_searchlight import searchlight_rsa
from neurosae.arrays.alignment import sequence_distance
from neurosae.arrays.distance import z_score
from neurosae.errors import DesignError
from neurosae.schema.recordings import recording_array
from neurosae.testing import noise_recording, planted_recording

EXACT = 1e-6  # recordings are float32


def recording_of(n_tokens, *, n_layers=2, n_features=8, seed=0, basis="units", **columns):
    """Texts of these lengths, noise; class a is every other one."""
    rng = np.random.default_rng(seed)
    n, longest = len(n_tokens), max(n_tokens)
    values = rng.normal(size=(n, longest, n_layers, n_features))
    valid = np.arange(longest) < np.asarray(n_tokens)[:, None]
    values[~valid] = np.nan
    stimuli = pd.DataFrame(
        {"stimulus": [f"s{i:02d}" for i in range(n)], "condition": np.resize(["a", "b"], n), **columns}
    )
    return recording_array(
        values.astype(np.float32),
        stimuli=stimuli,
        tokens={"valid": valid},
        layers=range(n_layers),
        site="resid_post",
        origin={},
        basis=basis,
    )


def model_of(recording, unit="auto"):
    return ns.model_rdm(ns.pool_tokens(recording), "condition", unit=unit)


def test_a_model_is_found_where_it_holds_and_nowhere_else():
    recording = recording_of([12] * 32)
    recording.values[::2, 6:9, 1] += np.resize([1.5, -1.5], 8)
    result = searchlight_rsa(recording, model_of(recording), window="relative:4")
    found = result.p_adjusted.values <= 0.05
    assert found.tolist() == [[False] * 4, [False, False, True, False]]
    assert result.similarity.values[1, 2] > 0.3
    assert (result.p_adjusted >= result.p).all()


def test_no_cell_is_found_without_structure_more_often_than_asked():
    rates = []
    for seed in range(60):
        recording = recording_of([8] * 12, seed=seed)
        result = searchlight_rsa(
            recording, model_of(recording), window="first:8", n_permutations=99, seed=seed
        )
        rates.append((result.p_adjusted <= 0.05).any())
    # .9995 limit of 60 simulations at rate .05
    assert np.sum(rates) <= 9


def test_a_cell_is_the_comparison_of_the_rdm_of_its_window():
    recording = recording_of([9] * 16)
    result = searchlight_rsa(recording, model_of(recording), window="first:6", width=2, n_permutations=99)
    assert result.window.values.tolist() == [0, 1, 2, 3, 4]
    pooled = recording.isel(token=[2, 3]).mean("token", keep_attrs=True)
    expected = ns.compare_rdms(ns.rdm(pooled), model_of(recording), n_permutations=99)
    assert np.allclose(result.similarity[:, 2], expected.similarity, atol=EXACT)
    assert np.allclose(result.auroc[:, 2], expected.auroc, atol=EXACT)
    assert result.p[:, 2].values.tolist() == expected.p.values.tolist()


def test_windows_of_responses_and_lazy_recordings_give_the_same():
    recording = planted_recording(n_items=8, n_templates=2)
    model = model_of(recording)
    one = searchlight_rsa(recording, model, window="relative:3", n_permutations=9)
    lazy = searchlight_rsa(
        recording.chunk({"stimulus": 5, "layer": 1}), model, window="relative:3", n_permutations=9
    )
    xr.testing.assert_identical(one, lazy)
    course = ns.pool_tokens(recording, "first:3", how="mean")
    windows = xr.concat([course, 2 * course], "window").transpose("stimulus", "window", "layer", "feature")
    result = searchlight_rsa(windows, model, n_permutations=9)
    assert np.allclose(result.similarity[:, 0], result.similarity[:, 1], atol=EXACT)


def test_searchlights_survive_a_file_and_refuse_what_they_cannot_do(tmp_path):
    recording = noise_recording(n_items=6)
    model = model_of(recording)
    result = searchlight_rsa(recording, model, window="first:4", n_permutations=9)
    ns.save_netcdf(result, tmp_path / "r.nc")
    xr.testing.assert_identical(ns.load_netcdf(tmp_path / "r.nc"), result)
    with pytest.raises(DesignError, match="width 5: a cell averages 1 to 4 values"):
        searchlight_rsa(recording, model, window="first:4", width=5)
    with pytest.raises(DesignError, match="courses of unequal length have no common places"):
        searchlight_rsa(recording, model, window="overlap")
    silent = recording.copy(deep=True).assign_attrs(basis="sae")
    silent.values[:3, :, 1] = silent.values[:3, :, 1] * 0
    with pytest.raises(DesignError, match="layer 1, window 0: 3 of 12 patterns are silent"):
        searchlight_rsa(silent, model, window="first:4")


@pytest.mark.parametrize("method", ["cloud", "softalign", "dtw", "overlap"])
def test_sequences_are_compared_pair_by_pair_over_valid_tokens(method):
    recording = recording_of([7, 7, 7, 7])
    d = sequence_rdm(recording, method=method)
    scaled = np.split(z_score(recording.values[:, :, 1].reshape(28, 8)), 4)
    assert d.sel(layer=1).values[0, 3] == pytest.approx(
        sequence_distance(scaled[0], scaled[3], method), abs=EXACT
    )
    assert np.array_equal(d.values, d.values.swapaxes(1, 2))


def test_padding_changes_no_bit_of_a_sequence_rdm():
    recording = recording_of([6, 7, 8, 9])
    longer = recording.pad(token=(0, 5))
    valid = np.pad(recording["valid"].values, ((0, 0), (0, 5)))
    longer = longer.assign_coords(token=np.arange(14), valid=(("stimulus", "token"), valid))
    assert np.array_equal(sequence_rdm(recording).values, sequence_rdm(longer).values)


def test_clouds_find_classes_and_lengths_alone_are_none():
    lengths = np.resize([6, 12], 24)
    recording = recording_of(lengths, n_layers=20)
    recording.values[::2, :, :4] += 1.0
    d = sequence_rdm(recording)
    assert d.n_tokens.values.tolist() == lengths.tolist()
    fit = ns.compare_rdms(d, model_of(recording), n_permutations=199)
    assert (fit.p.values[:4] == 0.005).all()
    # .9995 limit of 16 tests at rate .05
    assert (fit.p.values[4:] <= 0.05).sum() <= 5


def test_measures_that_depend_on_length_say_so():
    recording = recording_of([6, 7, 8, 9])
    for method in ("dtw", "softalign", "overlap"):
        with pytest.warns(UserWarning, match=f"texts have 6 to 9 tokens, and '{method}' depends on it"):
            sequence_rdm(recording, method=method)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sequence_rdm(recording)
        sequence_rdm(recording_of([6, 6, 6]), method="dtw")


def test_short_texts_are_left_out_and_listed_and_codes_are_not_scaled(tmp_path):
    recording = recording_of([6, 4, 8, 9], basis="sae")
    d = sequence_rdm(recording)
    assert d.attrs["excluded"] == "s01"
    assert d.attrs["scaling"] == "none"
    a, b = (recording.values[i, :n, 0] for i, n in ((0, 6), (2, 8)))
    assert d.values[0, 0, 1] == pytest.approx(sequence_distance(a, b, "cloud"), abs=EXACT)
    ns.save_netcdf(d, tmp_path / "d.nc")
    xr.testing.assert_identical(ns.load_netcdf(tmp_path / "d.nc"), d)


def test_sequences_without_direction_are_refused():
    recording = recording_of([6] * 8, basis="sae")
    recording.values[:2, 3] = 0.0
    assert np.isfinite(sequence_rdm(recording)).all()
    with pytest.raises(DesignError, match="layer number 0: 2 of 8 patterns are silent"):
        sequence_rdm(recording, method="dtw")
    with pytest.raises(DesignError, match="no alignment 'warp'"):
        sequence_rdm(recording, method="warp")


def test_stimuli_need_no_condition_if_the_model_has_none():
    rng = np.random.default_rng(0)
    coords = {"stimulus": [f"s{i}" for i in range(12)], "z": ("stimulus", rng.normal(size=12))}
    windows = xr.DataArray(
        rng.normal(size=(12, 2, 1, 5)), dims=("stimulus", "window", "layer", "feature"), coords=coords
    )
    model = ns.model_rdm(windows.isel(window=0), "z")
    assert searchlight_rsa(windows, model, n_permutations=19)["p"].shape == (1, 2)
