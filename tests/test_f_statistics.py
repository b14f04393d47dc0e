"""F of a term on plain arrays: closed forms, intervals that cover, relabelings by hand."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import ncf

from neurosae.arrays.contrast_null import relabeled_statistics, unit_norm
from neurosae.arrays.f_statistics import eta_squared_interval, f_estimate, f_form, term_model
from neurosae.errors import DesignError


def design(n=30, seed=0):
    rng = np.random.default_rng(seed)
    tested = rng.standard_normal((n, 2))
    return tested, np.column_stack([np.ones(n), rng.standard_normal(n) + tested[:, 0]])


def residuals(values, model):
    return values - model.nuisance @ (model.nuisance.T @ values)


def test_kat_01_f_and_coefficients_agree_with_statsmodels():
    tested, rest = design()
    values = np.random.default_rng(1).standard_normal((30, 6)) + tested[:, :1]
    model = term_model(tested, rest)
    found = f_estimate(residuals(values, model), model, scale=0.5**0.5)
    for feature in range(6):
        fit = sm.OLS(values[:, feature], np.column_stack([tested, rest])).fit()
        assert found.stat[feature] == pytest.approx(fit.f_test(np.eye(2, 4)).fvalue, abs=1e-8)
        assert found.effect[feature] == pytest.approx(np.sqrt(np.mean(fit.params[:2] ** 2)), abs=1e-10)


def test_null_agrees_with_refitting_each_reordered_residual():
    tested, rest = design()
    values = np.random.default_rng(2).standard_normal((30, 4))
    model = term_model(tested, rest)
    data = residuals(values, model)
    rows = np.stack([np.random.default_rng(k).permutation(30) for k in range(5)])
    form = f_form(model, rows, flips=False, dtype=np.dtype(np.float64))
    found = relabeled_statistics(form, unit_norm(data, np.dtype(np.float64)))
    full = np.column_stack([tested, rest])
    for number, row in enumerate(rows):
        # Column j of the form is read at the places the order names: the inverse order moves the data.
        moved = np.empty_like(data)
        moved[row] = data
        fits = [sm.OLS(column, full).fit().f_test(np.eye(2, 4)).fvalue for column in moved.T]
        np.testing.assert_allclose(found[number] ** 2, fits, rtol=1e-9)


def test_bounds_of_eta_squared_are_quantiles_of_the_noncentral_f():
    f, df1, df2 = np.array([3.0, 8.0, 40.0]), 3, 56
    low, high = eta_squared_interval(f, df1, df2)
    for bound, probability in ((low, 0.975), (high, 0.025)):
        noncentrality = bound * (df1 + df2 + 1) / (1 - bound)
        # scipy's inverse stops at a relative step of 1e-4
        np.testing.assert_allclose(ncf.cdf(f[1:], df1, df2, noncentrality[1:]), probability, atol=3e-4)


def test_bounds_of_eta_squared_go_on_beyond_where_scipy_stops():
    low, high = eta_squared_interval(np.array([2500.0, 4000.0, 1e6]), 3, 100)
    assert (np.diff(low) > 0).all()
    assert (np.diff(high) > 0).all()
    assert high[-1] < 1


def test_what_is_explained_by_the_rest_is_refused():
    tested, rest = design()
    with pytest.raises(DesignError, match="1 of 2 degrees of freedom of the term are explained"):
        term_model(np.column_stack([tested[:, 0], rest[:, 1]]), rest)
    with pytest.raises(DesignError, match="leave no residual degree of freedom"):
        term_model(np.eye(3)[:, :2], np.ones((3, 1)))
