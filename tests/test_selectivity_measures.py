"""Indices of selectivity on arrays: closed forms, known rates in noise, agreement with scipy and sklearn."""

import numpy as np
import pytest
from scipy.stats import f_oneway, norm
from sklearn.metrics import roc_auc_score

from neurosae.arrays.class_averages import class_matrices, class_means
from neurosae.arrays.selectivity_measures import (
    INDICES,
    class_auroc,
    class_dprime,
    explained_variance,
    is_varying,
    normalised_share,
    preferred_against_mean_rest,
    preferred_class,
    share_of_largest,
)

LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2])


def classes_of(labels):
    return class_matrices(np.atleast_2d(labels), int(np.max(labels)) + 1)


def sparse_features(density, n_features, seed):
    rng = np.random.default_rng(seed)
    return rng.gamma(1.0, size=(12, n_features)) * (rng.random((12, n_features)) < density)


@pytest.mark.parametrize(("n_classes", "expected"), [(4, 0.63636), (8, 0.82609)])
def test_kat_24_morcos_of_a_share_of_point_six(n_classes, expected):
    means = np.full((n_classes, 1), 0.4 / (n_classes - 1))
    means[0] = 0.6
    assert share_of_largest(means) == pytest.approx(0.6)
    assert preferred_against_mean_rest(means) == pytest.approx(expected, abs=1e-5)


def test_normalised_share_is_467_thousandths_for_point_six_of_four():
    assert normalised_share(np.array([[6.0], [2.0], [1.0], [1.0]])) == pytest.approx(0.4667, abs=1e-4)


def test_with_two_classes_morcos_is_twice_the_share_minus_one():
    means = np.random.default_rng(0).random((2, 50))
    np.testing.assert_allclose(preferred_against_mean_rest(means), 2 * share_of_largest(means) - 1)


@pytest.mark.parametrize("summary", [share_of_largest, normalised_share, preferred_against_mean_rest])
def test_one_hot_is_one_and_flat_is_the_floor(summary):
    means = np.array([[5.0, 2.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
    floor = 0.25 if summary is share_of_largest else 0.0
    np.testing.assert_allclose(summary(means), [1.0, floor], atol=1e-15)


@pytest.mark.parametrize("name", [name for name in INDICES if name != "auroc"])
def test_dead_feature_is_nan_never_zero(name):
    found = INDICES[name].measure(np.zeros((10, 1)), classes_of(LABELS))
    assert np.isnan(found.value).all()


def test_silent_and_constant_features_do_not_vary():
    values = np.array([[0.0, 3.0, 0.0, 1e6], [0.0, 3.0, 1e-3, 1e6], [0.0, 3.0, 0.0, 1e6 + 1]])
    assert is_varying(values).tolist() == [False, False, True, False]


@pytest.mark.parametrize(("density", "rate"), [(0.05, 0.945), (0.1, 0.885), (0.3, 0.57), (1.0, 0.024)])
def test_kat_22_share_above_point_six_in_noise(density, rate):
    values = sparse_features(density, 20_000, seed=22)
    live = values[:, is_varying(values)]
    share = share_of_largest(class_means(live, classes_of(np.repeat(range(4), 3))))[0]
    assert (share > 0.6).mean() == pytest.approx(rate, abs=0.02)


def test_auroc_is_that_of_sklearn_with_ties():
    values = np.random.default_rng(0).integers(0, 4, (10, 20)).astype(float)
    found = class_auroc(values, classes_of(LABELS))[0]
    expected = [[roc_auc_score(k == LABELS, column) for column in values.T] for k in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_eta2_is_that_of_the_analysis_of_variance():
    values = np.random.default_rng(1).standard_normal((10, 20)) + 5
    f = f_oneway(*(values[k == LABELS] for k in range(3))).statistic
    expected = f * 2 / (f * 2 + 7)
    np.testing.assert_allclose(explained_variance(values, classes_of(LABELS))[0], expected, atol=1e-12)


def test_dprime_is_the_difference_over_the_root_mean_square_sd():
    values = np.random.default_rng(2).standard_normal((10, 20)) * 3 + 100
    found = class_dprime(values, classes_of(LABELS))[0]
    for k in range(3):
        own, rest = values[k == LABELS], values[k != LABELS]
        noise = np.sqrt((own.var(axis=0, ddof=1) + rest.var(axis=0, ddof=1)) / 2)
        np.testing.assert_allclose(found[k], (own.mean(axis=0) - rest.mean(axis=0)) / noise, rtol=1e-9)


def test_dprime_without_noise_is_large_and_finite():
    values = (LABELS == 1).astype(float)[:, None]
    found = class_dprime(values, classes_of(LABELS))[0, 1]
    assert np.isfinite(found).all()
    assert found > 1e5


def test_auroc_of_equal_variance_normals_follows_from_dprime():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], 50_000)
    values = rng.standard_normal((100_000, 1)) + labels[:, None]
    classes = classes_of(labels)
    dprime = class_dprime(values, classes)[0, 1]
    # Standard error of an AUROC of .76 with 50,000 a class is about .0015.
    assert class_auroc(values, classes)[0, 1] == pytest.approx(norm.cdf(dprime / np.sqrt(2)), abs=0.005)


@pytest.mark.parametrize("name", INDICES)
def test_many_labelings_at_once_equal_one_after_the_other(name):
    rng = np.random.default_rng(4)
    values = rng.random((10, 7))
    labels = np.array([rng.permutation(LABELS) for _ in range(5)])
    together = INDICES[name].measure(values, class_matrices(labels, 3)).value
    apart = [INDICES[name].measure(values, classes_of(row)).value[0] for row in labels]
    np.testing.assert_allclose(together, apart, rtol=1e-12)


@pytest.mark.parametrize("name", INDICES)
def test_names_of_classes_do_not_matter(name):
    values = np.random.default_rng(5).random((10, 7))
    renamed = np.array([2, 0, 1])[LABELS]
    np.testing.assert_allclose(
        INDICES[name].measure(values, classes_of(LABELS)).value,
        INDICES[name].measure(values, classes_of(renamed)).value,
        rtol=1e-12,
    )


def test_ties_for_the_preferred_class_go_to_the_first():
    assert preferred_class(np.array([[0.1 + 0.2, 1.0], [0.3, 2.0], [0.3, 2.0]])).tolist() == [0, 1]
