"""Partial RSA: regression of RDMs on models, its permutation test and its shares of variance."""

import numpy as np
import pytest
import statsmodels.api as sm
import xarray as xr
from scipy.stats import kstest, rankdata
from statsmodels.stats.outliers_influence import variance_inflation_factor

import neurosae as ns
from neurosae.analysis.nuisance_rdms import nuisance_models, word_overlap
from neurosae.analysis.rdm_partials import rdm_regression
from neurosae.arrays.distance import dissimilarity, triangle
from neurosae.arrays.permutation import p_value
from neurosae.arrays.rdm_partialling import rdm_regression_null
from neurosae.errors import DesignError
from neurosae.testing import planted_responses
from tests.responses import families, labelled

EXACT = 1e-10  # float64 least squares by another route


def graded(n=24, n_layers=1, effects=(1.0, 1.0, 0.0), correlated=0.5, seed=0):
    """Stimuli with sizes a, b, c; layers follow them by ``effects``; b depends on a."""
    rng = np.random.default_rng(seed)
    a, c = rng.normal(size=(2, n))
    b = correlated * a + np.sqrt(1 - correlated**2) * rng.normal(size=n)
    values = sum(
        effect * size[:, None, None] * rng.normal(size=(1, n_layers, 8))
        for effect, size in zip(effects, (a, b, c), strict=True)
    )
    values = values + rng.normal(size=(n, n_layers, 8))
    responses = labelled(values, condition=["x"] * n, a=a, b=b, c=c)
    models = {name: ns.model_rdm(responses, name) for name in "abc"}
    return ns.rdm(responses, metric="euclidean"), models


@pytest.mark.parametrize("ranks", [True, False])
def test_regression_agrees_with_statsmodels(ranks):
    d, models = graded(n_layers=2)
    fit = rdm_regression(d, models, ranks=ranks, n_permutations=9)
    prepare = rankdata if ranks else np.asarray
    entries = [prepare(triangle(m.values)) for m in models.values()]
    design = np.column_stack([(x - x.mean()) / x.std() for x in entries])
    for layer in range(2):
        y = prepare(triangle(d.values[layer]))
        full = sm.OLS((y - y.mean()) / y.std(), sm.add_constant(design)).fit()
        assert fit.coefficient.values[layer] == pytest.approx(full.params[1:], abs=EXACT)
        assert fit.r2.values[layer] == pytest.approx(full.rsquared, abs=EXACT)
        expected = full.tvalues[1:] / np.sqrt(full.tvalues[1:] ** 2 + full.df_resid)
        assert fit.partial.values[layer] == pytest.approx(expected, abs=EXACT)
        for k, name in enumerate("abc"):
            rest = sm.OLS((y - y.mean()) / y.std(), sm.add_constant(np.delete(design, k, axis=1))).fit()
            unique = full.rsquared - rest.rsquared
            assert float(fit.unique.sel(model=name)[layer]) == pytest.approx(unique, abs=EXACT)
    vif = [variance_inflation_factor(sm.add_constant(design), k + 1) for k in range(3)]
    assert fit.vif.values == pytest.approx(vif, abs=1e-8)


def test_shares_add_up_to_what_all_models_explain():
    d, models = graded(n_layers=3, correlated=0.8)
    fit = rdm_regression(d, models, n_permutations=9)
    assert fit.component.values.tolist() == ["a", "b", "c", "a+b", "a+c", "b+c", "a+b+c"]
    assert np.allclose(fit.share.sum("component"), fit.r2, atol=EXACT)
    assert np.allclose(fit.share.sel(component=list("abc")).values, fit.unique, atol=EXACT)
    assert float(fit.share.sel(component="a+b").mean()) > 0.02


def test_what_only_a_nuisance_explains_is_not_credited_to_the_model():
    d, models = graded(n_layers=60, effects=(0.0, 1.5, 0.0), correlated=0.7, n=20)
    alone = ns.compare_rdms(d, models["a"], method="spearman", n_permutations=199)
    fit = rdm_regression(d, {name: models[name] for name in "ab"}, n_permutations=199)
    assert (alone.p <= 0.05).mean() > 0.4
    # .9995 limit of 60 tests at rate .05; the layers share their stimuli
    assert (fit.p.sel(model="a") <= 0.05).sum() <= 10
    assert (fit.p.sel(model="b") <= 0.05).mean() > 0.9


def test_double_semi_partialling_holds_its_level_over_sets_of_stimuli():
    # RDMs are sums of RDMs of independent stimuli, so that the models are right and the entries dependent.
    p = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        parts = [dissimilarity(rng.normal(size=(14, 2)) * [3, 1], "euclidean") for _ in range(3)]
        models = np.stack([parts[0] + parts[1], parts[0]])
        orders = np.array([rng.permutation(14) for _ in range(99)])
        fit = rdm_regression_null((parts[0] + parts[2])[None], models, [orders] * 2, ranks=False)
        p.append(p_value(fit.partial[0, 0], fit.null[0][:, 0], exact=False, alternative="greater"))
    # exact .0005 and .9995 binomial limits of 400 simulations at .05
    assert 0.0175 <= np.mean(np.array(p) <= 0.05) <= 0.090
    assert kstest(p, "uniform").pvalue > 0.001


def test_one_model_alone_is_the_mantel_test():
    d, models = graded(n_layers=3)
    fit = rdm_regression(d, {"a": models["a"]}, n_permutations=199)
    alone = ns.compare_rdms(d, models["a"], method="spearman", n_permutations=199)
    assert fit.partial.values[:, 0] == pytest.approx(alone.similarity.values, abs=EXACT)
    assert fit.p.values[:, 0].tolist() == alone.p.values.tolist()


def test_order_of_stimuli_and_models_does_not_matter():
    d, models = graded()
    order = np.random.default_rng(2).permutation(24)
    names = d.stimulus.values[order]
    shuffled = d.sel(stimulus=names, stimulus_2=names)
    one = rdm_regression(d, models, n_permutations=9)
    two = rdm_regression(shuffled, dict(reversed(models.items())), n_permutations=9)
    assert np.allclose(one.partial, two.partial.sel(model=one.model), atol=EXACT)
    assert np.allclose(one.vif, two.vif.sel(model=one.model), atol=1e-8)


def test_models_exchange_rows_as_they_differ_within_units():
    responses = families(n_layers=2, effect=1.5)
    responses = responses.assign_coords(kind=("stimulus", np.repeat(np.repeat(["x", "y"], 5), 2)))
    models = {name: ns.model_rdm(responses, name) for name in ("condition", "kind")}
    fit = rdm_regression(ns.rdm(responses, metric="sqeuclidean"), models, n_permutations=199)
    assert fit.attrs["scheme"] == "within strata, whole units"
    assert fit.p.sel(model="condition").values.max() <= 0.01
    assert fit.p.sel(model="kind").values.min() > 0.01


def test_silent_rows_are_left_out_of_their_layer():
    d, models = graded(n_layers=2)
    holed = d.copy(deep=True)
    holed.values[1, 5], holed.values[1, :, 5] = np.nan, np.nan
    fit = rdm_regression(holed, models, n_permutations=19)
    rest = np.arange(24) != 5
    alone = rdm_regression(
        d.isel(stimulus=rest, stimulus_2=rest),
        {name: m.isel(stimulus=rest, stimulus_2=rest) for name, m in models.items()},
        n_permutations=19,
    )
    assert np.allclose(fit.partial[1], alone.partial[1], atol=EXACT)
    assert np.allclose(fit.unique[1], alone.unique[1], atol=EXACT)
    assert fit.n_units.values.tolist() == [24, 23]


def test_overlapping_models_are_announced_and_determined_ones_refused():
    d, models = graded(correlated=0.99)
    with pytest.warns(UserWarning, match="variance inflation of a .*, b .* \\(above 5\\)"):
        fit = rdm_regression(d, models, n_permutations=9)
    assert fit.vif.sel(model="a") > 5
    with pytest.raises(DesignError, match=r"models \['a', 'again'\] are determined by the other models"):
        rdm_regression(d, models | {"again": 2 * models["a"]}, n_permutations=9)
    with pytest.raises(DesignError, match="no model is given"):
        rdm_regression(d, {})


def test_results_survive_a_file(tmp_path):
    d, models = graded(n_layers=2)
    result = rdm_regression(d, models, n_permutations=9)
    ns.save_netcdf(result, tmp_path / "fit.nc")
    xr.testing.assert_identical(ns.load_netcdf(tmp_path / "fit.nc"), result)


def test_four_models_have_unique_variance_but_no_shares():
    d, models = graded()
    other = models["a"].copy(data=np.abs(np.subtract.outer(np.arange(24) % 5, np.arange(24) % 5)) * 1.0)
    more = models | {"d": other}
    fit = rdm_regression(d, more, n_permutations=9)
    assert "share" not in fit
    assert np.isfinite(fit.unique).all()


def test_nuisances_are_what_varies_in_the_stimuli():
    responses = planted_responses(n_items=6, n_templates=2).assign_coords(
        surprisal_mean=("stimulus", np.arange(24.0)), log_freq=("stimulus", np.full(24, np.nan))
    )
    models = nuisance_models(responses, unit="stimulus")
    assert list(models) == ["n_tokens", "surprisal_mean", "template", "words", "layer_0"]
    assert models["surprisal_mean"].values[0, 3] == 3
    assert models["template"].values[0, :3].tolist() == [0, 1, 0]
    assert np.array_equal(models["layer_0"].values, ns.rdm(responses, unit="stimulus").values[0])
    # Averaged over templates, texts and lengths of a row differ.
    assert list(nuisance_models(responses)) == ["layer_0"]


def test_nuisances_go_into_a_regression_as_they_are():
    responses = planted_responses(planted=[(1, f) for f in range(8)])
    fit = rdm_regression(
        ns.rdm(responses),
        {"condition": ns.model_rdm(responses, "condition")} | nuisance_models(responses),
        n_permutations=199,
    )
    assert fit.p.sel(model="condition").values[1] == 0.005
    assert fit.partial.sel(model="layer_0").values[0] == pytest.approx(1.0)


def test_words_are_compared_as_sets_whatever_their_case():
    assert word_overlap(["A a b", "b A", "c"]).tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


def test_a_silent_first_layer_is_no_nuisance():
    responses = planted_responses(n_items=6)
    values = responses.values.copy()
    values[:, 0] = 2.0
    assert "layer_0" in nuisance_models(responses)
    assert "layer_0" not in nuisance_models(responses.copy(data=values))
