"""Category structure of single features, through the public function."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xarray as xr
from scipy.stats import kstest, ttest_ind

import neurosae as ns
from neurosae.analysis.category import category_rsa
from neurosae.analysis.feature_maps import feature_rsa
from neurosae.arrays.pairwise_t import inverted_pairwise_t
from neurosae.errors import DesignError
from neurosae.recording.codes import HeldCodes
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.recordings import recording_array
from neurosae.schema.units import SEEN
from neurosae.testing import planted_recording, planted_responses
from tests.responses import families, labelled, two_classes

SINGLE = 2e-5  # sums of float32 data in another order, relative to distances of about 1


def recording_of(texts, conditions, **columns):
    """One layer; each text an array (T, F). Special tokens and padding are not valid, and NaN."""
    n, longest, n_features = len(texts), max(map(len, texts)), texts[0].shape[1]
    values = np.full((n, 1 + longest, 1, n_features), np.nan, dtype=np.float32)
    valid = np.zeros((n, 1 + longest), dtype=bool)
    for row, text in enumerate(texts):
        values[row, 1 : 1 + len(text), 0] = text
        valid[row, 1 : 1 + len(text)] = True
    names = [f"s{i:03d}" for i in range(n)]
    stimuli = pd.DataFrame({"stimulus": names, "condition": conditions, **columns})
    return recording_array(
        values, stimuli=stimuli, tokens={"valid": valid}, layers=[0], site="resid_post", origin={}
    )


def coherent(strengths, *, n=50, n_tokens=50, seed=0):
    """Texts of one length; class a shares a course, with one strength a feature."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2 * n, n_tokens, len(strengths)))
    values[:n] += np.asarray(strengths) * rng.normal(size=(n_tokens, 1))
    return recording_of(list(values), np.repeat(["a", "b"], n))


@pytest.mark.parametrize(("index", "expected"), [("CDI", (0.044, 0.252)), ("TDI", (0.079, 0.481))])
def test_kat_19_more_coherent_features_score_higher(index, expected):
    result = feature_rsa(
        coherent([0.0, 0.3, 1.0]), "condition", index=index, window="first:50", n_permutations=199
    )
    values = result["index"].values[0]
    assert values[0] < values[1] < values[2]
    # The expectation depends on the draw of the shared course, by a fifth in 50 tokens.
    assert values[1:] == pytest.approx(expected, rel=0.3)
    assert abs(values[0]) < 0.02
    assert result.p.values[0, 1:].tolist() == [0.005, 0.005]
    assert result.p_adjusted.values[0, 1:].tolist() == [0.005, 0.005]


@pytest.mark.parametrize("index", ["CDI", "TDI", "COH", "CMI"])
def test_kat_19_without_structure_p_is_uniform_over_features(index):
    result = feature_rsa(
        coherent(np.zeros(150), n=12, n_tokens=12), "condition", index=index, n_permutations=199
    )
    assert kstest(result.p.values[0], "uniform").pvalue > 0.001
    assert result.p_adjusted.values.min() > 0.01
    assert np.isfinite(result.drop_vars(SEEN).to_array()).all()


def test_kat_19_gains_of_items_do_not_raise_the_error_rate():
    rng = np.random.default_rng(19)
    n, n_tokens, n_features = 30, 30, 400
    values = rng.gamma(1.0, 1.0, size=(2 * n, 1, n_features)) * rng.normal(size=(1, n_tokens, n_features))
    values = values + rng.normal(size=(2 * n, n_tokens, n_features))
    recording = recording_of(list(values), np.repeat(["a", "b"], n))
    result = feature_rsa(recording, "condition", window="first:30", n_permutations=199)
    assert 0.0175 <= (result.p.values <= 0.05).mean() <= 0.090


def test_kat_19_the_published_score_has_the_wrong_sign_and_drops_half_of_the_pairs():
    profiles = coherent([0.0, 0.3, 1.0]).values[:, 1:, 0].astype(float)
    in_class = np.arange(100) < 50
    nothing, weak, strong = (inverted_pairwise_t(profiles[:, :, f], in_class) for f in range(3))
    assert nothing.kept == pytest.approx(0.5, abs=0.05)
    assert weak.t < -3
    assert strong.t < -40


def test_family_wise_p_holds_over_correlated_features():
    rates = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(20, 8, 3)) @ rng.normal(size=(3, 40))
        result = feature_rsa(
            recording_of(list(values), np.repeat(["a", "b"], 10)),
            "condition",
            window="first:8",
            n_permutations=99,
            seed=seed,
        )
        rates.append((result.p_adjusted <= 0.05).any())
    # .9995 limit of 100 simulations at rate .05
    assert np.sum(rates) <= 13


def test_kat_20_appended_invalid_tokens_change_no_bit():
    recording = planted_recording()
    longer = recording.pad(token=(0, 6))
    valid = np.pad(recording["valid"].values, ((0, 0), (0, 6)))
    longer = longer.assign_coords(token=np.arange(14), valid=(("stimulus", "token"), valid))
    for window in ("relative:10", "first:4", "overlap"):
        one, two = (
            feature_rsa(r, "condition", window=window, n_permutations=19) for r in (recording, longer)
        )
        assert np.array_equal(one["index"], two["index"], equal_nan=True)
        assert np.array_equal(one.p, two.p, equal_nan=True)


@pytest.mark.parametrize("index", ["CDI", "TDI"])
def test_kat_20_length_alone_is_no_structure_under_overlap(index):
    rng = np.random.default_rng(20)
    lengths = np.concatenate([rng.integers(20, 24, 20), rng.integers(26, 30, 20)])
    texts = [2 + rng.normal(size=(length, 60)) for length in lengths]
    recording = recording_of(texts, np.repeat(["a", "b"], 20))
    result = feature_rsa(recording, "condition", index=index, window="overlap", n_permutations=99)
    assert (result.p.values > 0.05).mean() >= 0.9
    padded = np.nan_to_num(recording.values[:, 1:])
    zeros = labelled(np.moveaxis(padded[:, :, 0], 1, 2), condition=recording.condition.values)
    misled = category_rsa(zeros, "condition", index=index, metric="correlation", n_permutations=99)
    assert (misled.p.values <= 0.05).all()


@pytest.mark.parametrize("window", ["relative:10", "first:20", "last:20"])
def test_length_alone_is_no_structure_under_windows_of_noise(window):
    rng = np.random.default_rng(21)
    lengths = np.concatenate([rng.integers(20, 24, 20), rng.integers(26, 30, 20)])
    texts = [2 + rng.normal(size=(length, 200)) for length in lengths]
    recording = recording_of(texts, np.repeat(["a", "b"], 20))
    result = feature_rsa(recording, "condition", window=window, n_permutations=99)
    assert (result.p.values > 0.05).mean() >= 0.9


def test_kat_21_scalar_index_is_the_univariate_contrast():
    recording = planted_recording(n_features=5)
    means = ns.pool_tokens(recording)
    result = feature_rsa(recording, "condition", pattern="scalar", n_permutations=9)
    a, b = (means.values[means.condition.values == name].astype(float) for name in "AB")
    squared_error = a.var(axis=0, ddof=1) / 20 + b.var(axis=0, ddof=1) / 20
    t = ttest_ind(a, b, equal_var=False).statistic
    assert np.allclose(result["index"], squared_error * (t**2 - 1), atol=SINGLE)
    assert "Welch" in result.attrs["note"]
    exact = feature_rsa(means.astype(float), "condition", pattern="scalar", n_permutations=9)
    assert np.allclose(exact["index"], squared_error * (t**2 - 1), atol=1e-10)  # float64 sums


@pytest.mark.parametrize("index", ["CDI", "CMI", "TDI", "COH"])
@pytest.mark.parametrize("metric", ["correlation", "sqeuclidean"])
@pytest.mark.parametrize("make", [lambda: two_classes(7, 9, 1, 12, 0.5), lambda: families(9, 1, 12, 0.5)])
def test_one_feature_is_category_rsa_of_its_course(make, metric, index):
    courses = make()
    expected = category_rsa(courses, "condition", index=index, metric=metric, n_permutations=99, seed=3)
    windows = (
        courses.rename(feature="window")
        .expand_dims(feature=2)
        .transpose("stimulus", "window", "layer", "feature")
    )
    result = feature_rsa(windows, "condition", index=index, metric=metric, n_permutations=99, seed=3)
    for name in ("index", "index_lo", "index_hi", "p"):
        assert result[name].values[0] == pytest.approx(expected[name].values[[0, 0]], abs=1e-8)
    assert np.allclose(result.p_adjusted[0], expected.p[0], atol=0.011)  # one relabeling either way
    assert result.attrs["scheme"] == expected.attrs["scheme"]


def test_few_units_are_enumerated_and_swapped_names_tie():
    values = np.random.default_rng(0).normal(size=(8, 6, 1, 40)).astype(np.float32)
    windows = xr.DataArray(
        values,
        dims=("stimulus", "window", "layer", "feature"),
        coords={"stimulus": list("stuvwxyz"), "condition": ("stimulus", np.repeat(["a", "b"], 4))},
    )
    result = feature_rsa(windows, "condition")
    assert result.attrs["exact"] == 1
    # 70 relabelings are 35 partitions: every p is an even number of seventieths.
    assert np.allclose(result.p.values * 35, np.round(result.p.values * 35), atol=1e-9)


def test_blocks_and_lazy_recordings_change_no_result(monkeypatch):
    recording = planted_recording(n_templates=2, n_features=40)
    one = feature_rsa(recording, "condition", n_permutations=49)
    lazy = recording.chunk({"stimulus": 7, "layer": 1})
    two = feature_rsa(lazy, "condition", n_permutations=49)
    xr.testing.assert_identical(one, two)
    monkeypatch.setattr("neurosae.analysis.feature_maps._HELD", 20_000)
    monkeypatch.setattr("neurosae.analysis.profiles._BLOCK_BYTES", 20_000)
    three = feature_rsa(recording, "condition", n_permutations=49)
    assert one.attrs["unit"] == "item"
    assert np.allclose(one["index"], three["index"], atol=SINGLE)
    assert np.array_equal(one.p, three.p)


def sparse(recording):
    """The same values as codes: one row a token of each text, special tokens and gaps included."""
    n, longest, n_layers, n_features = recording.shape
    values = np.nan_to_num(recording.values).reshape(n * longest, n_layers, n_features)
    return SparseRecording(
        labels=xr.Dataset(coords=recording.coords, attrs=recording.attrs),
        sources=tuple(HeldCodes(sp.csr_array(values[:, layer])) for layer in range(n_layers)),
        first=np.arange(n + 1) * longest,
        picked=np.arange(n),
        unknown=np.zeros((n, longest, n_layers), dtype=bool),
    )


@pytest.mark.parametrize("window", ["relative:10", "last:5", "overlap"])
def test_sparse_codes_give_what_dense_ones_give(window, monkeypatch):
    recording = planted_recording(n_items=12)
    recording.values[:] = np.where(recording > 0.5, recording, recording * 0)
    dense = feature_rsa(recording, "condition", window=window, n_permutations=19)
    monkeypatch.setattr("neurosae.analysis.profiles._BLOCK_ROWS", 30)
    codes = feature_rsa(sparse(recording), "condition", window=window, n_permutations=19)
    assert np.array_equal(dense.valid, codes.valid)
    assert np.allclose(dense["index"], codes["index"], atol=SINGLE, equal_nan=True)
    assert codes.attrs["excluded"] == dense.attrs["excluded"]
    mean = feature_rsa(sparse(recording), "condition", pattern="scalar", n_permutations=19)
    expected = feature_rsa(ns.pool_tokens(recording), "condition", pattern="scalar", n_permutations=19)
    assert np.allclose(mean["index"], expected["index"], atol=SINGLE, equal_nan=True)


def test_order_of_stimuli_and_features_changes_no_index():
    recording = planted_recording(n_features=6)
    order = np.random.default_rng(0).permutation(recording.sizes["stimulus"])
    shuffled = recording.isel(stimulus=order, feature=slice(None, None, -1))
    one, two = (feature_rsa(r, "condition", n_permutations=9) for r in (recording, shuffled))
    assert np.allclose(one["index"], two["index"].sel(feature=one.feature), atol=SINGLE)
    assert np.allclose(one.index_lo, two.index_lo.sel(feature=one.feature), atol=1e-4)


def test_silent_features_are_nan_and_no_part_of_the_family():
    values = np.random.default_rng(1).normal(size=(20, 8, 6))
    values[:, :, 1] = 3.0
    values[:7, :, 2] = 0.0
    values[:4, :, 3] = 0.0
    recording = recording_of(list(values), np.repeat(["a", "b"], 10))
    result = feature_rsa(recording, "condition", window="first:8", n_permutations=49)
    assert result.valid.values[0].tolist() == [True, False, False, True, True, True]
    assert result.n_live.values[0].tolist() == [20, 0, 13, 16, 20, 20]
    assert np.isnan(result["index"].values[0, 1:3]).all()
    assert result.attrs["family_size"] == 4
    without = feature_rsa(
        recording.isel(feature=[0, 3, 4, 5]), "condition", window="first:8", n_permutations=49
    )
    assert np.array_equal(result.p_adjusted.values[0, [0, 3, 4, 5]], without.p_adjusted.values[0])


def test_stimuli_that_do_not_fill_the_window_are_left_out_and_listed():
    texts = [np.random.default_rng(i).normal(size=(6 if i else 3, 4)) for i in range(16)]
    recording = recording_of(texts, np.repeat(["a", "b"], 8))
    result = feature_rsa(recording, "condition", window="first:6", n_permutations=9)
    rest = feature_rsa(recording[1:], "condition", window="first:6", n_permutations=9)
    assert result.attrs["excluded"] == "s000"
    assert np.array_equal(result["index"], rest["index"])
    # Points between tokens need no minimum.
    assert feature_rsa(recording, "condition", n_permutations=9).attrs["excluded"] == ""


def test_support_is_the_rdm_of_the_units_of_largest_weight():
    rng = np.random.default_rng(2)
    responses = two_classes(12, 12, 1, 80, seed=2)
    responses.values[:12, 0, :50] += 1.0
    weights = rng.normal(size=(3, 80)) * 0.1
    weights[0, :50] += 5.0
    weights[1, 30:] += 5.0
    weights[2] = weights[0] * -2
    result = feature_rsa(responses, "condition", pattern="support", weights=weights, n_permutations=99)
    scaled = (responses - responses.mean("stimulus")) / responses.std("stimulus", ddof=1)
    expected = [
        category_rsa(scaled.isel(feature=units), "condition", n_permutations=9)["index"].item()
        for units in (slice(50), slice(30, None), slice(50))
    ]
    assert result["index"].values[0] == pytest.approx(expected, abs=1e-10)
    assert result["index"].values[0, 0] > 2 * result["index"].values[0, 1]


def test_neighbourhood_is_the_rdm_of_the_features_of_nearest_direction():
    rng = np.random.default_rng(3)
    codes = two_classes(12, 12, 1, 64, seed=3, basis="sae")
    directions = np.repeat(np.eye(2, 10), 32, axis=0) + 0.1 * rng.normal(size=(64, 10))
    codes.values[:12, 0, :32] += 1.0
    result = feature_rsa(codes, "condition", pattern="neighbourhood", weights=directions, n_permutations=99)
    expected = category_rsa(codes.isel(feature=slice(32)), "condition", n_permutations=9)["index"].item()
    assert result["index"].values[0, :32] == pytest.approx(expected, abs=1e-10)
    assert result.p.values[0, :32].max() == 0.01
    assert result["index"].values[0, 32:].max() < 0.2


def test_results_survive_a_file_and_name_what_they_saw(tmp_path):
    result = feature_rsa(planted_recording(n_items=8), "condition", n_permutations=9)
    ns.save_netcdf(result, tmp_path / "map.nc")
    xr.testing.assert_identical(ns.load_netcdf(tmp_path / "map.nc"), result)
    assert "planted-0/item/A00" in result[SEEN].values
    assert '"step": "feature_rsa"' in result.attrs["provenance"]


def test_refusals_say_what_is_needed():
    recording, responses = planted_recording(n_items=8), planted_responses(n_items=8)
    with pytest.raises(DesignError, match="no pattern 'course'"):
        feature_rsa(recording, "condition", pattern="course")
    with pytest.raises(DesignError, match="'colour' is not a column"):
        feature_rsa(recording, "colour")
    with pytest.raises(DesignError, match="no measure 'cosine' of features"):
        feature_rsa(recording, "condition", metric="cosine")
    with pytest.raises(DesignError, match="one number a stimulus has no correlation"):
        feature_rsa(recording, "condition", pattern="scalar", metric="correlation")
    with pytest.raises(DesignError, match="a profile needs a recording"):
        feature_rsa(responses, "condition")
    with pytest.raises(DesignError, match="'all' has no fixed number of values"):
        feature_rsa(recording, "condition", window="all")
    with pytest.raises(DesignError, match="'target' has no fixed number"):
        feature_rsa(recording, "condition", window="target")
    with pytest.raises(DesignError, match="0 of 16 stimuli fill the window 'first:30'"):
        feature_rsa(recording, "condition", window="first:30")
    with pytest.raises(DesignError, match="has 3 parts; one value needs one part"):
        feature_rsa(recording, "condition", pattern="scalar", window="relative:3")
    with pytest.raises(DesignError, match=r"'support' needs weights \(feature, unit\)"):
        feature_rsa(responses.isel(layer=[0]), "condition", pattern="support")
    with pytest.raises(DesignError, match="belongs to one layer, and the recording has 3"):
        feature_rsa(responses, "condition", pattern="support", weights=np.ones((4, 16)))
    with pytest.raises(DesignError, match=r"are \(4, 15\), but the recording has 16 units"):
        feature_rsa(responses.isel(layer=[0]), "condition", pattern="support", weights=np.ones((4, 15)))
    with pytest.raises(DesignError, match="cannot be averaged over the stimuli of a unit"):
        feature_rsa(planted_recording(n_templates=2), "condition", window="overlap", unit="item")
    holed = recording.copy(deep=True)
    holed.values[2, 2, 1] = np.nan
    with pytest.raises(DesignError, match=r"layer 1: 1 stimuli have tokens without a finite value"):
        feature_rsa(holed, "condition")
    with pytest.raises(DesignError, match="fewer than 2 units"):
        feature_rsa(recording[7:], "condition")
