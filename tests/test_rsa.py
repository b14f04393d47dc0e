"""RDMs, model RDMs, their comparison and category structure, through the public functions."""

import itertools
import warnings

import numpy as np
import pytest
import xarray as xr
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import calc_rdm
from scipy.stats import kstest, ortho_group, pearsonr, ttest_ind

import neurosae as ns
from neurosae.arrays.category_index import cdi, class_distances
from neurosae.arrays.distance import dissimilarity, triangle, z_score
from neurosae.errors import DesignError
from neurosae.schema.units import SEEN
from neurosae.testing import noise_responses, planted_responses

EXACT = 1e-10  # float64 sums in another order
PLANTED = [(1, 3), (1, 4), (1, 5)]


def labelled(values, *, basis="units", **columns):
    """Responses (stimulus, layer, feature) of stimuli s0, s1, … with these columns."""
    values = np.asarray(values, dtype=float)
    values = values[:, None, :] if values.ndim == 2 else values
    coords = {name: ("stimulus", np.asarray(column)) for name, column in columns.items()}
    coords |= {"stimulus": [f"s{i}" for i in range(len(values))], "layer": np.arange(values.shape[1])}
    attrs = {"basis": basis, "site": "resid_post"}
    return xr.DataArray(values, dims=("stimulus", "layer", "feature"), coords=coords, attrs=attrs)


def two_classes(n_a=8, n_b=8, n_layers=1, n_features=10, effect=0.0, seed=0, **more):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_a + n_b, n_layers, n_features))
    values[:n_a] += effect
    return labelled(values, condition=np.repeat(["a", "b"], [n_a, n_b]), **more)


def families(n=10, n_layers=1, n_features=6, effect=0.0, seed=0):
    """Families that hold both classes and share a strong pattern of their own."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2 * n, n_layers, n_features)) + np.repeat(
        3 * rng.normal(size=(n, n_layers, n_features)), 2, axis=0
    )
    values[::2] += effect
    return labelled(values, condition=np.tile(["a", "b"], n), family=np.repeat(np.arange(n).astype(str), 2))


def test_auto_is_correlation_of_scaled_units_and_cosine_of_features():
    raw = two_classes()
    codes = two_classes(basis="sae/l15")
    assert np.allclose(ns.rdm(raw)[0], dissimilarity(z_score(raw.values[:, 0]), "correlation"), atol=EXACT)
    assert np.allclose(ns.rdm(codes)[0], dissimilarity(codes.values[:, 0], "cosine"), atol=EXACT)
    assert ns.rdm(raw).attrs["scaling"] == "z-score"


def test_kat_15_rdm_agrees_with_rsatoolbox_for_many_stimuli():
    responses = two_classes(n_layers=2)
    d = ns.rdm(responses, metric="correlation")
    labels = responses.stimulus.values
    for layer in (0, 1):
        data = Dataset(responses.values[:, layer], obs_descriptors={"stimulus": labels})
        theirs = calc_rdm(data, method="correlation", descriptor="stimulus")
        order = [list(theirs.pattern_descriptors["stimulus"]).index(label) for label in labels]
        assert np.allclose(d.sel(layer=layer), theirs.get_matrices()[0][np.ix_(order, order)], atol=EXACT)


def test_rows_of_a_unit_and_condition_are_averaged_first():
    responses = two_classes(4, 4, item=list("xxyyzzww"))
    d = ns.rdm(responses, metric="sqeuclidean")
    means = responses.values[:, 0].reshape(4, 2, -1).mean(axis=1)
    assert d.stimulus.values.tolist() == ["x", "y", "z", "w"]
    assert d.stimulus_2.values.tolist() == ["x", "y", "z", "w"]
    assert np.allclose(d[0], dissimilarity(means, "sqeuclidean"), atol=EXACT)
    assert d.attrs["unit"] == "item"


def test_order_of_stimuli_is_kept_and_changes_nothing_else():
    responses = two_classes()
    order = np.random.default_rng(0).permutation(16)
    d, shuffled = ns.rdm(responses), ns.rdm(responses.isel(stimulus=order))
    assert shuffled.stimulus.values.tolist() == responses.stimulus.values[order].tolist()
    assert np.allclose(shuffled.values, d.values[:, order][:, :, order], atol=EXACT)


def test_order_of_features_does_not_matter():
    responses = two_classes()
    assert np.allclose(ns.rdm(responses), ns.rdm(responses.isel(feature=slice(None, None, -1))), atol=EXACT)


def test_rotation_does_not_change_euclidean_rdms():
    responses = two_classes()
    rotated = responses.copy(data=responses.values @ ortho_group.rvs(10, random_state=0))
    same = ns.rdm(rotated, metric="euclidean").values
    assert np.allclose(same, ns.rdm(responses, metric="euclidean").values, atol=EXACT)


def test_silent_patterns_are_nan_listed_and_counted():
    responses = two_classes(n_layers=2, basis="sae")
    responses.values[5, 1] = 0.0
    d = ns.rdm(responses)
    assert np.isnan(d.sel(layer=1, stimulus="s5")).all()
    assert d.stimulus.values[d.silent.sel(layer=1)].tolist() == ["s5"]
    assert d.n_units.values.tolist() == [16, 15]


def test_layers_with_many_silent_patterns_are_refused():
    responses = two_classes(n_layers=2, basis="sae")
    responses.values[:2, 1] = 0.0
    with pytest.raises(DesignError, match=r"layer 1: 2 of 16 patterns are silent \(first: 's0'\)"):
        ns.rdm(responses)


def test_duplicated_stimuli_are_announced():
    responses = two_classes(n_layers=2)
    responses.values[7] = responses.values[2]
    with pytest.warns(UserWarning, match=r"1 pairs .* distance 0 in every layer \(first: 's2' and 's7'\)"):
        ns.rdm(responses)


def test_patterns_equal_in_one_layer_only_are_no_duplicates():
    responses = two_classes(n_layers=2)
    responses.values[7, 0] = responses.values[2, 0]
    assert ns.rdm(responses).sel(layer=0, stimulus="s2", stimulus_2="s7") == 0


def test_rdm_refuses_unknown_measures_missing_values_and_single_rows():
    responses = two_classes()
    with pytest.raises(DesignError, match="no RDM measure 'pearson'"):
        ns.rdm(responses, metric="pearson")
    with pytest.raises(DesignError, match="NaN"):
        ns.rdm(responses.where(responses.stimulus != "s3"))
    with pytest.raises(DesignError, match="at least two"):
        ns.rdm(responses.isel(stimulus=[0]))


def test_results_survive_netcdf(tmp_path):
    responses = planted_responses(n_items=8)
    d = ns.rdm(responses)
    results = {
        "rdm": d.to_dataset(),
        "fit": ns.compare_rdms(d, ns.model_rdm(responses, "condition"), n_permutations=9),
        "category": ns.category_rsa(responses, "condition", n_permutations=9),
    }
    for name, result in results.items():
        result.to_netcdf(tmp_path / f"{name}.nc", engine="netcdf4")
        with xr.open_dataset(tmp_path / f"{name}.nc", engine="netcdf4") as read:
            xr.testing.assert_equal(read.load(), result)
            assert all("long_name" in variable.attrs for variable in read.data_vars.values())
            assert '"step"' in {**read.attrs, **read.data_vars.get("dissimilarity", read).attrs}["provenance"]


def test_kat_16_categories_are_compared_as_whole_words():
    responses = labelled(np.zeros((4, 2)), condition=["art", "arts", "emotion", "cat"])
    assert np.array_equal(ns.model_rdm(responses, "condition"), 1 - np.eye(4))


def test_numbers_give_absolute_differences():
    responses = labelled(np.zeros((3, 2)), condition=["a"] * 3, length=np.array([3, 5, 4], dtype=np.uint8))
    assert ns.model_rdm(responses, "length").values.tolist() == [[0, 2, 1], [2, 0, 1], [1, 1, 0]]


def test_model_rows_match_those_of_the_rdm():
    responses = families()
    model = ns.model_rdm(responses, "condition")
    assert model.stimulus.values.tolist() == ns.rdm(responses).stimulus.values.tolist()
    assert model.sel(stimulus="0|a", stimulus_2="1|a") == 0
    assert model.sel(stimulus="0|a", stimulus_2="0|b") == 1


def test_model_rdm_refuses_columns_it_cannot_use():
    responses = two_classes(4, 4, item=list("xxyyzzww"), template=list("12121212"), freq=[np.nan, *range(7)])
    with pytest.raises(DesignError, match="'colour' is not a column"):
        ns.model_rdm(responses, "colour")
    with pytest.raises(DesignError, match="'template' differs between stimuli"):
        ns.model_rdm(responses, "template")
    with pytest.raises(DesignError, match="1 stimuli have no 'freq'"):
        ns.model_rdm(responses, "freq", unit="stimulus")


def test_planted_structure_is_found_in_its_layer():
    responses = planted_responses(planted=PLANTED)
    fit = ns.compare_rdms(ns.rdm(responses), ns.model_rdm(responses, "condition"))
    assert fit.p.values[1] == pytest.approx(0.001)
    assert fit.p.values[[0, 2]].min() > 0.05
    assert fit.similarity.values[1] > fit.null_hi.values[1]
    assert 0.6 < fit.auroc.values[1] < 0.75
    assert fit.n_units.values.tolist() == [40, 40, 40]
    assert fit.attrs["maximum"] == pytest.approx(3 * 400 * 380 / (780**2 - 1))


def test_kat_18_mantel_holds_its_level_where_pairwise_p_does_not():
    rng = np.random.default_rng(18)
    values = rng.normal(size=(20, 550, 10))
    values[:, :, 0] *= 3
    rdms = ns.rdm(labelled(values, condition=["a"] * 20), metric="sqeuclidean")
    mantel, naive = [], []
    for model in rdms[500:]:
        layers = rdms[len(naive) : len(naive) + 10]
        fit = ns.compare_rdms(layers, model, method="corr", n_permutations=199)
        mantel += fit.p.values.tolist()
        naive += [pearsonr(triangle(m), triangle(model.values)).pvalue for m in layers.values]
    assert len(mantel) == 500
    assert 0.022 <= (np.array(mantel) <= 0.05).mean() <= 0.084
    assert (np.array(naive) <= 0.05).mean() > 0.12


@pytest.mark.parametrize("method", ["rho-a", "spearman", "corr", "cosine", "tau-a"])
def test_similarities_are_one_sided_and_centred_under_permutation(method):
    responses = noise_responses(n_layers=40, n_items=8)
    d, model = ns.rdm(responses, metric="sqeuclidean"), ns.model_rdm(responses, "condition")
    fit = ns.compare_rdms(d, model, method=method, n_permutations=99)
    assert kstest(fit.p.values, "uniform").pvalue > 0.001
    assert np.isfinite(fit.to_array()).all()
    if method != "cosine":
        assert np.abs(fit.null_mean.values).max() < 0.05


def test_permuting_stimuli_does_not_change_the_fit_and_models_align_by_label():
    responses = planted_responses(planted=PLANTED, n_items=8)
    d, model = ns.rdm(responses), ns.model_rdm(responses, "condition")
    order = np.random.default_rng(0).permutation(16)
    shuffled = ns.rdm(responses.isel(stimulus=order))
    assert np.allclose(
        ns.compare_rdms(shuffled, model).similarity, ns.compare_rdms(d, model).similarity, atol=EXACT
    )


def test_one_layer_can_be_compared_alone():
    responses = planted_responses(planted=PLANTED, n_items=8)
    d, model = ns.rdm(responses), ns.model_rdm(responses, "condition")
    alone, together = ns.compare_rdms(d.sel(layer=1), model), ns.compare_rdms(d, model)
    assert alone.p.values.tolist() == [together.p.values[1]]


def test_graded_models_have_no_auroc_but_a_fit():
    rng = np.random.default_rng(0)
    size = np.arange(12.0)
    responses = labelled(size[:, None] + 0.1 * rng.normal(size=(12, 5)), condition=["a"] * 12, size=size)
    fit = ns.compare_rdms(
        ns.rdm(responses, metric="euclidean"), ns.model_rdm(responses, "size"), method="spearman"
    )
    assert fit.similarity.values[0] > 0.95
    assert np.isnan(fit.auroc.values[0])
    assert "maximum" not in fit.attrs


def test_few_units_are_enumerated_when_the_model_has_enough_arrangements():
    rng = np.random.default_rng(0)
    size = rng.normal(size=5)
    responses = labelled(size[:, None] * rng.normal(size=4), condition=["a"] * 5, size=size)
    fit = ns.compare_rdms(ns.rdm(responses, metric="euclidean"), ns.model_rdm(responses, "size"))
    assert fit.attrs["exact"] == 1
    assert fit.p.values[0] == pytest.approx(1 / 120)


def test_too_few_units_are_refused_with_the_number_needed():
    responses = two_classes(3, 3)
    with pytest.raises(DesignError, match=r"6 units give 10 distinct relabelings.*at least 20"):
        ns.compare_rdms(ns.rdm(responses), ns.model_rdm(responses, "condition"))


def test_rows_exchange_within_units_that_hold_all_conditions():
    responses = families(effect=1.5)
    fit = ns.compare_rdms(ns.rdm(responses, metric="sqeuclidean"), ns.model_rdm(responses, "condition"))
    assert fit.attrs["scheme"] == "within strata"
    assert fit.n_units.values.tolist() == [10]
    assert fit.p.values[0] <= 0.005


def test_whole_units_exchange_if_the_model_is_constant_within_them():
    responses = families(n_layers=300)
    kind = np.repeat(np.repeat(["x", "y"], 5), 2)
    responses = responses.assign_coords(kind=("stimulus", kind))
    fit = ns.compare_rdms(
        ns.rdm(responses, metric="sqeuclidean"), ns.model_rdm(responses, "kind"), n_permutations=199
    )
    assert fit.attrs["scheme"] == "whole units"
    assert 0.01 <= (fit.p.values <= 0.05).mean() <= 0.105


def test_whole_units_exchange_condition_by_condition_whatever_their_order():
    responses = families()
    responses = responses.assign_coords(kind=("stimulus", np.repeat(np.repeat(["x", "y"], 5), 2)))
    order = np.arange(20)
    order[[2, 3]] = 3, 2
    swapped = responses.isel(stimulus=order)
    fits = [
        ns.compare_rdms(ns.rdm(r, metric="sqeuclidean"), ns.model_rdm(r, "kind"))
        for r in (responses, swapped)
    ]
    assert np.allclose(fits[0].null_mean, fits[1].null_mean, atol=EXACT)
    other = responses.assign_coords(condition=("stimulus", ["c", *responses.condition.values[1:]]))
    with pytest.raises(DesignError, match="units hold different conditions"):
        ns.compare_rdms(ns.rdm(other), ns.model_rdm(other, "kind"))


def test_units_with_a_silent_row_leave_a_comparison_of_whole_units_together():
    responses = families()
    responses = responses.assign_coords(kind=("stimulus", np.repeat(np.repeat(["x", "y"], 5), 2)))
    responses.values[3] = 0.0
    fit = ns.compare_rdms(
        ns.rdm(responses, metric="cosine"), ns.model_rdm(responses, "kind"), n_permutations=99
    )
    assert fit.n_units.values.tolist() == [9]
    assert np.isfinite(fit.p.values).all()


def test_compare_rdms_refuses_models_that_do_not_fit():
    responses = two_classes()
    d, model = ns.rdm(responses), ns.model_rdm(responses, "condition")
    with pytest.raises(DesignError, match="no RDM similarity 'kendall'"):
        ns.compare_rdms(d, model, method="kendall")
    with pytest.raises(DesignError, match=r"16 stimuli and the model 15; not in both: \['s0'\]"):
        ns.compare_rdms(d, model.isel(stimulus=slice(1, None), stimulus_2=slice(1, None)))
    with pytest.raises(DesignError, match="is constant"):
        ns.compare_rdms(d, ns.model_rdm(responses, "stimulus"))
    with pytest.raises(DesignError, match="NaN"):
        ns.compare_rdms(d, model.where(model == 0))
    lonely = responses.assign_coords(condition=("stimulus", ["c", *responses.condition.values[1:]]))
    with pytest.raises(DesignError, match=r"1 categories have a single row \(first: 's0'\)"):
        ns.compare_rdms(d, ns.model_rdm(lonely, "condition"))


def test_units_of_mixed_kind_are_refused():
    responses = families().isel(stimulus=slice(1, None))
    with pytest.raises(DesignError, match="1 units have one row and 9 have several"):
        ns.compare_rdms(ns.rdm(responses), ns.model_rdm(responses, "condition"))
    with pytest.raises(DesignError, match="1 units have one row and 9 have several"):
        ns.category_rsa(responses, "condition")


def test_comparisons_carry_the_units_they_saw():
    responses = planted_responses(n_items=8)
    fit = ns.compare_rdms(ns.rdm(responses), ns.model_rdm(responses, "condition"), n_permutations=9)
    result = ns.category_rsa(responses, "condition", n_permutations=9)
    assert "planted-0/item/A00" in fit[SEEN].values
    assert {"planted-0/item/A00", "planted-0/stimulus/A00_0"} <= set(result[SEEN].values.tolist())


def test_planted_classes_are_found_with_their_size():
    responses = two_classes(60, 60, n_layers=40, seed=1)
    responses.values[:60, :20] += 1.0
    result = ns.category_rsa(responses, "condition")
    index = result["index"].values
    # One layer's CDI has SD .12 where classes differ by 1 SD, .014 where they do not.
    assert index[:20].mean() == pytest.approx(1.0, abs=0.1)
    assert index[20:].mean() == pytest.approx(0.0, abs=0.01)
    assert result.p_adjusted.values[:20].max() == pytest.approx(0.001)
    assert result.p_adjusted.values[20:].min() > 0.05
    assert result.attrs["metric"] == "sqeuclidean"


@pytest.mark.parametrize("index", ["CDI", "CMI", "TDI", "COH"])
def test_indices_are_uniform_and_finite_without_classes(index):
    responses = noise_responses(n_layers=60, n_items=8, seed=1)
    result = ns.category_rsa(responses, "condition", index=index, n_permutations=199)
    assert kstest(result.p.values, "uniform").pvalue > 0.001
    assert np.isfinite(result.drop_vars(SEEN).to_array()).all()
    assert (result.p_adjusted >= result.p).all()
    assert result.p_adjusted.values.min() > 0.05


def test_familywise_p_holds_over_layers_of_very_different_scale():
    rates = []
    for seed in range(60):
        responses = two_classes(n_layers=8, n_features=4, seed=seed)
        responses.values[:] *= 10.0 ** np.arange(8)[None, :, None]
        rates.append((ns.category_rsa(responses, "condition", n_permutations=99).p_adjusted <= 0.05).any())
    # .05 with 60 sets: the binomial probability of more than 9 is below .001
    assert np.sum(rates) <= 9


def test_layers_of_small_scale_can_still_be_significant():
    responses = two_classes(n_layers=3, seed=5)
    responses.values[:, 2] *= 1e4
    responses.values[:8, 0] += 1.5
    assert ns.category_rsa(responses, "condition").p_adjusted.values[0] <= 0.005


def profiles_of(strengths, *, seed=0, n=50, n_tokens=50):
    """Profiles over tokens of 50 + 50 stimuli; class a shares a profile, one strength a layer."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n_tokens)
    values = rng.normal(size=(2 * n, len(strengths), n_tokens))
    values[:n] += np.asarray(strengths)[None, :, None] * common
    return labelled(values, condition=np.repeat(["a", "b"], n))


@pytest.mark.parametrize("index", ["CDI", "TDI"])
def test_kat_19_more_coherent_classes_score_higher(index):
    result = ns.category_rsa(
        profiles_of([0.0, 0.3, 1.0]), "condition", index=index, metric="correlation", n_permutations=199
    )
    values = result["index"].values
    assert 0 < values[1] < values[2]
    assert abs(values[0]) < 0.02
    assert result.p.values[1:].tolist() == [0.005, 0.005]


def test_kat_19_without_structure_p_is_uniform():
    result = ns.category_rsa(
        profiles_of(np.zeros(200)), "condition", metric="correlation", n_permutations=199
    )
    assert kstest(result.p.values, "uniform").pvalue > 0.001


def test_kat_19_gains_of_items_mislead_pairwise_t_but_not_relabeling():
    rng = np.random.default_rng(19)
    n_sets, n, n_tokens = 400, 30, 30
    gain = rng.gamma(1.0, 1.0, size=(2 * n, n_sets, 1))
    values = gain * rng.normal(size=(1, n_sets, n_tokens)) + rng.normal(size=(2 * n, n_sets, n_tokens))
    responses = labelled(values, condition=np.repeat(["a", "b"], n))
    result = ns.category_rsa(responses, "condition", metric="correlation", n_permutations=199)
    assert 0.0175 <= (result.p.values <= 0.05).mean() <= 0.090

    def pairwise_p(layer):
        z = np.arctanh(np.clip(np.corrcoef(values[:, layer]), -0.999, 0.999))
        return ttest_ind(triangle(z[:n, :n]), z[:n, n:].ravel()).pvalue

    assert np.mean([pairwise_p(layer) <= 0.05 for layer in range(n_sets)]) > 0.3


def test_coh_and_tdi_follow_dispersion_and_name_their_target():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 10))
    values[:20] *= 0.3
    tight = labelled(values, condition=np.repeat(["a", "b"], 20))
    coh = ns.category_rsa(tight, "condition", index="COH")
    assert coh["index"].values[0] == pytest.approx(2 * (1 - 0.09), abs=0.3)
    assert coh.attrs["target"] == "a"
    assert coh["index"].attrs["long_name"] == "COH of a against b"
    swapped = tight.assign_coords(condition=("stimulus", np.repeat(["b", "a"], 20)))
    other = ns.category_rsa(swapped, "condition", index="COH")
    assert np.allclose(other["index"], -coh["index"], atol=EXACT)
    assert ns.category_rsa(tight, "condition", index="CDI").p.values[0] > 0.05


def test_few_units_are_enumerated_and_p_equals_brute_force():
    responses = two_classes(4, 4, effect=0.6, seed=2)
    result = ns.category_rsa(responses, "condition")
    matrix = dissimilarity(responses.values[:, 0], "sqeuclidean")
    labelings = np.ones((70, 8), dtype=int)
    for row, chosen in zip(labelings, itertools.combinations(range(8), 4), strict=True):
        row[list(chosen)] = 0
    everything = cdi(class_distances(matrix, labelings, 2))
    assert result.attrs["exact"] == 1
    assert result.p.values[0] == pytest.approx((everything >= everything[0] - 1e-12).mean(), abs=1e-12)


def test_labels_are_permuted_within_units_that_hold_all_classes():
    responses = families(n_layers=300)
    result = ns.category_rsa(responses, "condition", n_permutations=199)
    assert result.attrs["scheme"] == "within strata"
    assert result.n_units.values[0] == 10
    assert 0.01 <= (result.p.values <= 0.05).mean() <= 0.105
    # A difference that families repeat is found although families differ far more.
    assert ns.category_rsa(families(effect=1.5), "condition").p.values[0] <= 0.005


def test_order_of_stimuli_and_features_changes_no_index():
    responses = planted_responses(n_items=8)
    order = np.random.default_rng(0).permutation(16)
    for index in ("CDI", "CMI", "TDI", "COH"):
        one = ns.category_rsa(responses, "condition", index=index, n_permutations=9)
        two = ns.category_rsa(
            responses.isel(stimulus=order, feature=slice(None, None, -1)),
            "condition",
            index=index,
            n_permutations=9,
        )
        assert np.allclose(one["index"], two["index"], atol=1e-6)  # responses are float32
        assert np.allclose(one["auroc"], two["auroc"], atol=EXACT)


def test_same_seed_same_result_other_seed_other_null():
    responses = two_classes(12, 12)
    one, two, other = (ns.category_rsa(responses, "condition", seed=seed) for seed in (4, 4, 5))
    xr.testing.assert_identical(one, two)
    assert not np.array_equal(one.null_mean, other.null_mean)


def test_silent_stimuli_are_left_out_of_their_layer_only():
    responses = two_classes(10, 10, n_layers=2, effect=2.0, basis="sae")
    holed = responses.copy(deep=True)
    holed.values[3, 1] = 0.0
    full = ns.category_rsa(responses, "condition", index="CMI")
    result = ns.category_rsa(holed, "condition", index="CMI")
    without = ns.category_rsa(responses.isel(stimulus=np.arange(20) != 3), "condition", index="CMI")
    assert result.n_units.values.tolist() == [20, 19]
    assert result["index"].values[0] == full["index"].values[0]
    assert result["index"].values[1] == pytest.approx(without["index"].values[1], abs=EXACT)
    assert result.p.values.max() <= 0.005


def test_several_classes_are_averaged_over_their_pairs():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(36, 4))
    values[12:24, 0] += 3.0
    result = ns.category_rsa(labelled(values, condition=np.repeat(list("abc"), 12)), "condition")
    assert result["index"].values[0] == pytest.approx((9 + 9 + 0) / 3 / 4, abs=0.5)
    assert result.attrs["classes"] == "a, b, c"


def test_category_rsa_announces_duplicates():
    responses = two_classes()
    responses.values[7] = responses.values[2]
    with pytest.warns(UserWarning, match="Duplicates pass for similarity"):
        ns.category_rsa(responses, "condition", n_permutations=9)


def test_category_rsa_refuses_designs_without_an_answer():
    responses = two_classes()
    with pytest.raises(DesignError, match="'colour' is not a column"):
        ns.category_rsa(responses, "colour")
    with pytest.raises(DesignError, match="no category index 'LDC'"):
        ns.category_rsa(responses, "condition", index="LDC")
    with pytest.raises(DesignError, match="has one class"):
        ns.category_rsa(responses.isel(stimulus=slice(8)), "condition")
    with pytest.raises(DesignError, match=r"classes \['a'\] of 'condition' have fewer than 2 units"):
        ns.category_rsa(responses.isel(stimulus=slice(7, None)), "condition")
    with pytest.raises(DesignError, match=r"2 stimuli have no 'kind' \(first: 's0'\)"):
        ns.category_rsa(responses.assign_coords(kind=("stimulus", ["", "", *"xy" * 7])), "kind")
    with pytest.raises(DesignError, match="TDI compares a target with the rest, but 'kind' has 4 classes"):
        ns.category_rsa(responses.assign_coords(kind=("stimulus", list("wxyz" * 4))), "kind", index="TDI")


def test_a_class_with_one_unit_is_refused_however_many_stimuli_the_unit_has():
    responses = two_classes(4, 12, item=["x"] * 4 + [f"y{i}" for i in range(12)])
    with pytest.raises(DesignError, match="fewer than 2 units"):
        ns.category_rsa(responses, "condition")


@pytest.mark.parametrize(("sizes", "index", "distinct"), [((3, 3), "CDI", 10), ((2, 3), "TDI", 10)])
def test_category_rsa_refuses_too_few_relabelings(sizes, index, distinct):
    with pytest.raises(DesignError, match=f"give {distinct} distinct relabelings.*at least 20"):
        ns.category_rsa(two_classes(*sizes), "condition", index=index)


def test_seven_units_suffice_if_enough_relabelings_differ():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ns.category_rsa(two_classes(3, 4, effect=3.0), "condition").p.values[0] == pytest.approx(
            1 / 35
        )
    assert ns.category_rsa(two_classes(3, 3), "condition", index="TDI").attrs["exact"] == 1


def test_a_class_that_silence_leaves_with_one_unit_is_refused():
    responses = two_classes(2, 18, basis="sae")
    responses.values[0] = 0.0
    with pytest.raises(DesignError, match=r"class 'a' has 1 units, but 2 are needed"):
        ns.category_rsa(responses, "condition", metric="cosine")
