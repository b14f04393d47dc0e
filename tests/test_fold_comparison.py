"""Comparison of decoders over folds, stability of selections, patterns."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosae.arrays.classification_scores import macro_auroc
from neurosae.arrays.fold_comparison import (
    corrected_resampled_t,
    correlated_posterior,
    haufe_pattern,
    kuncheva_stability,
)


def test_kat_29_posterior_and_p_are_two_sides_of_one_t():
    d = np.random.default_rng(29).normal(0.01, 0.05, size=(6, 50))
    tested = corrected_resampled_t(d, 1 / 4)
    posterior = correlated_posterior(d, 1 / 4, rope=0.0)
    one_sided = np.where(tested.t > 0, tested.p / 2, 1 - tested.p / 2)
    np.testing.assert_allclose(posterior.right, 1 - one_sided, atol=1e-10)
    np.testing.assert_allclose(posterior.left + posterior.right, 1, atol=1e-12)


def test_kat_29_variance_is_that_of_correlated_folds():
    # One repeat of k folds: s² (1/k + 1/(k-1)), as for rho = 1/k.
    d = np.random.default_rng(1).normal(0.02, 0.05, 10)
    error = np.sqrt(d.var(ddof=1) * (1 / 10 + 1 / 9))
    expected = stats.t.cdf(-0.01, 9, loc=d.mean(), scale=error)
    assert correlated_posterior(d, 1 / 9, rope=0.01).left == pytest.approx(expected, abs=1e-12)
    assert corrected_resampled_t(d, 1 / 9).t == pytest.approx(d.mean() / error)


def test_without_correction_it_is_the_ordinary_t_test():
    d = np.random.default_rng(2).normal(0.1, 1, 20)
    expected = stats.ttest_1samp(d, 0)
    found = corrected_resampled_t(d, 0.0)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)), abs=1e-12)


def test_kat_29_equal_decoders_differ_rarely_by_the_corrected_t_and_often_by_the_naive():
    rng = np.random.default_rng(290)
    naive, corrected = [], []
    for _ in range(150):
        labels = np.arange(60) % 2
        sides = rng.standard_normal((2, 60, 5)) + 0.5 * labels[:, None]
        d = []
        for repeat in range(4):
            folds = StratifiedKFold(5, shuffle=True, random_state=repeat).split(labels, labels)
            for train, test in folds:
                scores = [linear_scores(x[train], labels[train], x[test]) for x in sides]
                areas = [macro_auroc(s[:, None, None], labels[None, test], 2)[0] for s in scores]
                d.append(areas[0] - areas[1])
        naive.append(stats.ttest_1samp(d, 0).pvalue <= 0.05)
        corrected.append(corrected_resampled_t(np.array(d), 1 / 4).p <= 0.05)
    assert np.mean(naive) > 0.2
    assert np.mean(corrected) <= 0.12


def linear_scores(train, labels, test):
    centred = train - train.mean(axis=0)
    return (test - train.mean(axis=0)) @ np.linalg.solve(
        centred.T @ centred + np.eye(train.shape[1]), centred.T @ (2 * labels - 1)
    )


def test_differences_without_variance_have_a_named_outcome():
    none, same = corrected_resampled_t(np.zeros(10), 0.25), corrected_resampled_t(np.full(10, 0.1), 0.25)
    assert (float(none.p), float(none.t)) == (1.0, 0.0)
    assert np.isnan(same.p)
    assert float(same.low) == float(same.high) == pytest.approx(0.1)
    posterior = correlated_posterior(np.full(10, 0.1), 0.25)
    assert (float(posterior.left), float(posterior.rope), float(posterior.right)) == (0, 0, 1)
    assert float(correlated_posterior(np.zeros(10), 0.25).rope) == 1


def test_stability_is_1_for_equal_selections_and_0_on_average_by_chance():
    same = np.zeros((4, 20), dtype=bool)
    same[:, :5] = True
    assert kuncheva_stability(same) == pytest.approx(1)
    rng = np.random.default_rng(3)
    drawn = np.array([rng.permutation(np.arange(50) < 8) for _ in range(200)])
    assert kuncheva_stability(drawn) == pytest.approx(0, abs=0.01)
    assert np.isnan(kuncheva_stability(np.ones((3, 4), dtype=bool)))
    assert np.isnan(kuncheva_stability(same[:1]))


def test_kat_28_pattern_finds_the_signal_where_weights_find_the_noise_too():
    rng = np.random.default_rng(28)
    signal, noise = rng.standard_normal((2, 20000))
    x = np.column_stack([signal + noise, noise])
    plain = LinearRegression().fit(x, signal)
    np.testing.assert_allclose(plain.coef_, [1, -1], atol=0.02)
    pattern = haufe_pattern(x, plain.predict(x)[:, None])[:, 0]
    np.testing.assert_allclose(pattern, [1, 0], atol=0.02)
    scaled = make_pipeline(StandardScaler(), LinearRegression()).fit(x, signal)
    np.testing.assert_allclose(haufe_pattern(x, scaled.predict(x)[:, None])[:, 0], pattern, atol=1e-6)


def test_pattern_of_several_scores_is_the_forward_model():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6))
    weights = rng.standard_normal((6, 2))
    scores = x @ weights
    expected = np.cov(x.T) @ weights @ np.linalg.inv(np.cov(scores.T))
    np.testing.assert_allclose(haufe_pattern(x, scores), expected, atol=1e-8)


def test_auroc_of_the_oracle_is_ours():
    rng = np.random.default_rng(5)
    x, labels = rng.standard_normal((80, 3)), np.arange(80) % 2
    x[labels == 1] += 0.4
    score = LogisticRegression().fit(x, labels).decision_function(x)
    found = macro_auroc(score[:, None, None], labels[None], 2)[0]
    assert found == pytest.approx(roc_auc_score(labels, score), abs=1e-12)
