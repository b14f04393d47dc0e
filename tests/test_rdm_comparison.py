"""Similarities of RDMs and Mantel permutations against rsatoolbox, scipy and closed forms."""

import numpy as np
import pytest
from rsatoolbox.rdm import RDMs, compare
from scipy.stats import kendalltau

from neurosae.arrays.distance import dissimilarity, triangle
from neurosae.arrays.mantel import mantel, permuted_similarity, restrict_orders
from neurosae.arrays.permutation import orders
from neurosae.arrays.rdm_comparison import (
    METHODS,
    category_auroc,
    rho_a_of_auroc,
    similarity,
    tau_a_of_auroc,
)
from neurosae.errors import DesignError

ALL_METHODS = [*METHODS, "tau-a"]
EXACT = 1e-12  # closed forms and products differ by rounding only
CLASSES = np.repeat([0, 1, 2], [6, 6, 8])


def rdms(n=20, n_layers=3, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([dissimilarity(rng.normal(size=(n, 15)), "sqeuclidean") for _ in range(n_layers)])


def category_model(classes=CLASSES):
    return (classes[:, None] != classes[None, :]).astype(float)


def graded_model(n=20):
    size = np.arange(n, dtype=float) ** 1.5
    return np.abs(size[:, None] - size[None, :])


@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize("model", [category_model(), graded_model()], ids=["category", "graded"])
def test_kat_16_similarities_agree_with_rsatoolbox(method, model):
    vectors = triangle(rdms())
    theirs = compare(RDMs(vectors), RDMs(triangle(model)[None]), method=method)[:, 0]
    assert np.allclose(similarity(vectors, triangle(model), method), theirs, atol=EXACT)


def test_kat_16_closed_forms_of_category_models():
    vectors, between = triangle(rdms()), triangle(category_model()) == 1
    auroc = category_auroc(vectors, between)
    n_between, n_within, n_pairs = 132, 58, 190
    pearson = (
        (vectors[:, between].mean(axis=1) - vectors[:, ~between].mean(axis=1))
        * np.sqrt(n_between * n_within)
        / (n_pairs * vectors.std(axis=1))
    )
    model = between.astype(float)
    assert np.allclose(similarity(vectors, model, "rho-a"), rho_a_of_auroc(auroc, 132, 58), atol=EXACT)
    assert np.allclose(similarity(vectors, model, "tau-a"), tau_a_of_auroc(auroc, 132, 58), atol=EXACT)
    assert np.allclose(similarity(vectors, model, "corr"), pearson, atol=EXACT)
    assert rho_a_of_auroc(1.0, 132, 58) == pytest.approx(0.636250, abs=1e-6)


def test_kat_16_a_perfect_rdm_reaches_the_maximum_of_the_design():
    model = triangle(category_model())
    perfect = model + np.linspace(0, 0.5, len(model))
    assert similarity(perfect, model, "rho-a") == pytest.approx(0.636250, abs=1e-6)
    assert category_auroc(perfect, model == 1) == 1.0


def test_auroc_counts_ties_half():
    assert category_auroc(np.array([1.0, 1.0, 2.0]), np.array([True, False, True])) == 0.75


@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize("model", [category_model(), graded_model()], ids=["category", "graded"])
def test_gathered_permutations_equal_permuting_the_model_and_starting_over(method, model):
    matrices = rdms()
    drawn = orders(20, 5, seed=0).labels
    again = [similarity(triangle(matrices), triangle(model[np.ix_(o, o)]), method) for o in drawn]
    assert np.allclose(permuted_similarity(triangle(matrices), model, drawn, method), again, atol=EXACT)


def test_permuting_the_model_equals_permuting_the_rdm_backwards():
    matrices, model = rdms(n_layers=1), graded_model()
    order = orders(20, 1, seed=3).labels[0]
    backwards = np.argsort(order)
    moved = triangle(matrices[0][np.ix_(backwards, backwards)])
    expected = similarity(moved, triangle(model), "rho-a")
    assert np.allclose(
        permuted_similarity(triangle(matrices), model, order[None], "rho-a"), expected, atol=EXACT
    )


@pytest.mark.parametrize("method", ["rho-a", "spearman", "corr", "tau-a"])
def test_rdms_without_variation_have_no_similarity(method):
    vectors = np.stack([np.ones(190), triangle(rdms())[0]])
    values = similarity(vectors, triangle(graded_model()), method)
    assert np.isnan(values[0])
    assert np.isfinite(values[1])


def test_tau_a_of_graded_models_counts_pairs():
    x, y = np.array([1.0, 2.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0, 2.0])
    pairs = [(i, j) for i in range(4) for j in range(i)]
    counted = sum(np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in pairs) / 6
    assert similarity(x, y, "tau-a") == pytest.approx(counted, abs=EXACT)
    assert similarity(x, y, "tau-a") != pytest.approx(kendalltau(x, y).statistic)


def test_layers_with_silent_rows_are_compared_on_the_others():
    matrices, model = rdms(), category_model()
    holed = matrices.copy()
    holed[1, 4], holed[1, :, 4] = np.nan, np.nan
    drawn = orders(20, 50, seed=0).labels
    observed, auroc, null = mantel(holed, model, drawn, "rho-a")
    full = mantel(matrices, model, drawn, "rho-a")
    kept = np.delete(np.arange(20), 4)
    part = np.ix_(kept, kept)
    assert np.array_equal(null[:, [0, 2]], full[2][:, [0, 2]])
    assert observed[1] == similarity(triangle(matrices[1][part]), triangle(model[part]), "rho-a")
    assert auroc[1] == category_auroc(triangle(matrices[1][part]), triangle(model[part]) == 1)
    assert np.isfinite(null).all()


@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize(
    "model", [category_model(np.arange(20) % 2), graded_model()], ids=["category", "graded"]
)
def test_pairs_within_units_count_neither_in_the_fit_nor_in_its_null(method, model):
    matrices, units = rdms(), np.repeat(np.arange(10), 2)
    drawn = orders(20, 4, seed=0, strata=units).labels
    rows, columns = np.array([(i, j) for i in range(20) for j in range(i + 1, 20) if i // 2 != j // 2]).T
    observed, auroc, null = mantel(matrices, model, drawn, method, units=units)
    vectors = matrices[:, rows, columns]
    assert np.allclose(observed, similarity(vectors, model[rows, columns], method), atol=EXACT)
    again = [similarity(vectors, model[np.ix_(o, o)][rows, columns], method) for o in drawn]
    assert np.allclose(null, again, atol=EXACT)
    if model.max() == 1:
        assert np.array_equal(auroc, category_auroc(vectors, model[rows, columns] == 1))
    hidden = np.where(units[:, None] == units, 50.0 * (1 - np.eye(20)), matrices)
    assert np.array_equal(mantel(hidden, model, drawn, method, units=units)[2], null)


@pytest.mark.parametrize("method", ALL_METHODS)
def test_units_of_one_row_change_no_bit(method):
    drawn, units = orders(20, 5, seed=0).labels, np.random.default_rng(0).permutation(20)
    for model in (category_model(), graded_model()):
        one = mantel(rdms(), model, drawn, method)
        two = mantel(rdms(), model, drawn, method, units=units)
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, two, strict=True))


def test_restricted_orders_cover_the_smaller_group_evenly_and_stay_in_strata():
    everything = orders(4, 24, seed=0).labels
    kept = np.array([True, False, True, True])
    values, counts = np.unique(restrict_orders(everything, kept), axis=0, return_counts=True)
    assert len(values) == 6
    assert (counts == 4).all()
    strata = np.array([0, 1, 0, 1, 0, 1])
    drawn = orders(6, 30, seed=0, strata=strata).labels
    kept = np.array([True, True, False, True, True, True])
    smaller = strata[kept]
    assert (smaller[restrict_orders(drawn, kept)] == smaller).all()


def test_unknown_similarity_is_refused_with_the_known_ones():
    with pytest.raises(DesignError, match=r"no RDM similarity 'rho'.*'rho-a'.*'tau-a'"):
        similarity(np.ones(3), np.ones(3), "rho")
