"""RDMs and their comparison with models, through the public functions."""

import numpy as np
import pytest
import xarray as xr
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import calc_rdm
from scipy.stats import kstest, ortho_group, pearsonr, t

import neurosae as ns
from neurosae.arrays.distance import dissimilarity, triangle, z_score
from neurosae.errors import DesignError
from neurosae.schema.units import SEEN
from neurosae.testing import noise_responses, planted_responses
from tests.responses import families, labelled, two_classes

EXACT = 1e-10  # float64 sums in another order
PLANTED = [(1, 3), (1, 4), (1, 5)]


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


def test_lazy_responses_give_the_same_rdms_layer_by_layer():
    responses = planted_responses(n_items=8, n_templates=2)
    lazy = responses.chunk({"layer": 1, "feature": 5})
    xr.testing.assert_identical(ns.rdm(lazy), ns.rdm(responses))
    xr.testing.assert_identical(
        ns.category_rsa(lazy, "condition", n_permutations=9),
        ns.category_rsa(responses, "condition", n_permutations=9),
    )


def test_more_rows_than_memory_holds_are_refused():
    many = labelled(np.zeros((2001, 1)), condition=["a"] * 2001)
    with pytest.raises(DesignError, match="2001 rows; an RDM takes at most 2000"):
        ns.rdm(many)


def test_an_rdm_of_equal_distances_follows_no_model():
    responses = labelled(np.eye(16)[:, None, :].repeat(2, axis=1), condition=["a", "b"] * 8)
    responses.values[:, 1] = np.random.default_rng(0).normal(size=(16, 16))
    d = ns.rdm(responses, metric="sqeuclidean")
    fit = ns.compare_rdms(d, ns.model_rdm(responses, "condition"), n_permutations=19)
    assert np.isnan(fit.similarity.values).tolist() == [True, False]
    assert np.isnan(fit.p.values).tolist() == [True, False]
    assert fit.auroc.values[0] == 0.5


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
    assert np.isnan([fit.auroc, fit.auroc_lo, fit.auroc_hi]).all()
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


def test_what_families_share_does_not_lower_the_fit():
    shared, plain = (
        families(40, n_layers=60, effect=1.0, seed=2),
        families(40, n_layers=60, effect=1.0, seed=2),
    )
    plain.values[:] -= np.repeat(plain.values.reshape(40, 2, 60, 6).mean(axis=1), 2, axis=0)
    fits = [
        ns.compare_rdms(ns.rdm(r, metric="sqeuclidean"), ns.model_rdm(r, "condition"), n_permutations=9)
        for r in (shared, plain)
    ]
    # Families as strong as these blur the classes but may not turn them round.
    assert 0.5 < fits[0].auroc.values.mean() < fits[1].auroc.values.mean()
    assert fits[0].attrs["maximum"] == pytest.approx(6 * 1560**2 / 2 / (3120**2 - 1))


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
    with pytest.raises(DesignError, match=r"1 categories have a single unit \(first: 's0'\)"):
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


@pytest.mark.parametrize("method", ["rho-a", "corr"])
def test_intervals_cover_the_similarity_of_many_sets(method):
    responses = two_classes(15, 15, n_layers=400, effect=1.0, seed=11)
    d, model = ns.rdm(responses, metric="sqeuclidean"), ns.model_rdm(responses, "condition")
    fit = ns.compare_rdms(d, model, method=method, n_permutations=9)
    # The mean of 400 sets stands for the expectation: its standard error is a twentieth of the SD of one.
    truth = fit.similarity.values.mean()
    covered = ((fit.similarity_lo <= truth) & (truth <= fit.similarity_hi)).values.mean()
    # Exact .0005 and .9995 binomial limits of 400 simulations at .95 are .91 and .9825; a little more is
    # granted above because the expectation of a jackknife variance is never too small (Efron & Stein 1981).
    assert 0.91 <= covered <= 0.985


@pytest.mark.parametrize("make", [lambda: two_classes(9, 7, effect=1.0), lambda: families(8, effect=1.0)])
@pytest.mark.parametrize("method", ["rho-a", "spearman", "corr", "cosine", "tau-a"])
def test_intervals_equal_leaving_out_each_unit_and_starting_over(make, method):
    responses = make()
    d, model = ns.rdm(responses, metric="euclidean"), ns.model_rdm(responses, "condition")
    fit = ns.compare_rdms(d, model, method=method, n_permutations=9)
    units = d[d.attrs["unit"]].values
    left_out = []
    for unit in np.unique(units):
        kept = {"stimulus": units != unit, "stimulus_2": units != unit}
        part = ns.compare_rdms(d.isel(kept), model.isel(kept), method=method, n_permutations=1)
        left_out.append([part.similarity.values[0], part.auroc.values[0]])
    n = len(left_out)
    half = t.ppf(0.975, n - 1) * np.sqrt((n - 1) * np.var(left_out, axis=0))
    for name, own, limits in zip(("similarity", "auroc"), half, ((-1, 1), (0, 1)), strict=True):
        observed = fit[name].values[0]
        expected = np.clip([observed - own, observed + own], *limits)
        assert [fit[f"{name}_lo"].values[0], fit[f"{name}_hi"].values[0]] == pytest.approx(
            expected, abs=EXACT
        )


def test_order_of_stimuli_changes_no_interval():
    responses = planted_responses(planted=PLANTED, n_items=8)
    model = ns.model_rdm(responses, "condition")
    shuffled = responses.isel(stimulus=np.random.default_rng(0).permutation(16))
    one, two = (ns.compare_rdms(ns.rdm(r), model, n_permutations=9) for r in (responses, shuffled))
    assert np.allclose(one.similarity_lo, two.similarity_lo, atol=EXACT)
    assert np.allclose(one.similarity_hi, two.similarity_hi, atol=EXACT)


def test_a_category_of_two_units_has_a_similarity_but_no_interval():
    responses = two_classes(2, 14)
    fit = ns.compare_rdms(ns.rdm(responses), ns.model_rdm(responses, "condition"), n_permutations=9)
    assert np.isfinite(fit.similarity).all()
    assert np.isnan([fit.similarity_lo, fit.similarity_hi, fit.auroc_lo, fit.auroc_hi]).all()


def test_silent_rows_leave_the_interval_of_their_layer_to_the_others():
    responses = two_classes(10, 10, n_layers=2, effect=1.0, basis="sae")
    responses.values[3, 1] = 0.0
    fit = ns.compare_rdms(ns.rdm(responses), ns.model_rdm(responses, "condition"), n_permutations=9)
    rest = responses.isel(stimulus=np.arange(20) != 3, layer=[1])
    alone = ns.compare_rdms(ns.rdm(rest), ns.model_rdm(rest, "condition"), n_permutations=9)
    assert np.allclose(fit.similarity_lo[1], alone.similarity_lo[0], atol=EXACT)
    assert np.isfinite(fit.similarity_hi).all()


def test_intervals_survive_a_file(tmp_path):
    responses = two_classes(n_layers=2)
    fit = ns.compare_rdms(ns.rdm(responses), ns.model_rdm(responses, "condition"), n_permutations=9)
    ns.save_netcdf(fit, tmp_path / "fit.nc")
    read = ns.load_netcdf(tmp_path / "fit.nc")
    xr.testing.assert_identical(read.similarity_lo, fit.similarity_lo)
    xr.testing.assert_identical(read.similarity_hi, fit.similarity_hi)


def test_a_layer_whose_units_are_all_constant_is_refused():
    responses = two_classes(n_layers=2)
    values = responses.values.copy()
    values[:, 1] = 3.0
    with pytest.raises(DesignError, match="layer 1: 16 of 16 patterns are silent"):
        ns.rdm(responses.copy(data=values))
