"""Multiple comparisons: p-values adjusted for a family of tests."""

import numpy as np
from statsmodels.stats.multitest import multipletests

from neurosae.errors import DesignError

HIERARCHICAL = "hierarchical"

CORRECTIONS = {
    "none": "p-values as they are",
    "bonferroni": "family-wise error, any dependence (Bonferroni)",
    "holm": "family-wise error, any dependence, step down (Holm 1979)",
    "fdr_bh": "false discovery rate, independent or positively dependent tests (Benjamini & Hochberg 1995)",
    "fdr_by": "false discovery rate, any dependence (Benjamini & Yekutieli 2001)",
}

NOT_FAMILY_WISE = ("none", "fdr_bh", "fdr_by", HIERARCHICAL)
"""Corrections that do not bound the chance of a single false discovery in the family."""


def adjust(p: np.ndarray, method: str) -> np.ndarray:
    """P-values adjusted for the family they form: compare them with alpha directly.

    Parameters
    ----------
    p : (m,) p-values; NaN (features that were not tested) stay NaN and do not count
    method : one of ``CORRECTIONS``

    Returns
    -------
    (m,) adjusted p-values

    Raises
    ------
    DesignError
        If ``method`` is unknown.

    Examples
    --------
    >>> adjust(np.array([0.01, np.nan, 0.04]), "holm")
    array([0.02,  nan, 0.04])
    """
    if method not in CORRECTIONS:
        raise DesignError(f"correction {method!r} is unknown; choose one of {list(CORRECTIONS)}.")
    p = np.asarray(p, dtype=float)
    tested = ~np.isnan(p)
    adjusted = p.copy()
    # multipletests turns the whole family into NaN if one p-value is.
    if method != "none" and tested.any():
        adjusted[tested] = multipletests(p[tested], method=method)[1]
    return adjusted


def simes(p: np.ndarray) -> float:
    """P-value that no test of a set shows an effect: min over k of m p_(k) / k; NaN takes no part.

    Source
    ------
    Simes 1986, Biometrika 73:751.

    Examples
    --------
    >>> round(simes(np.array([0.01, 0.04, np.nan])), 3)
    0.02
    """
    tested = np.sort(p[~np.isnan(p)])
    if not len(tested):
        return float("nan")
    return float((len(tested) * tested / np.arange(1, len(tested) + 1)).min())


def adjust_hierarchical(p: np.ndarray) -> np.ndarray:
    """P-values adjusted in two steps, sets first: false discovery rate over sets, then within those found.

    At level q the sets (layers) are chosen by Benjamini & Hochberg over their Simes p; in the R chosen of L
    sets the tests with a Benjamini-Hochberg p of at most q R / L are found. The adjusted p is the
    smallest q at which a test is found. It holds the expected share of false discoveries, averaged over the
    sets that are chosen.

    Parameters
    ----------
    p : (L, m) p-values, a row for each set; NaN (not tested) stays NaN and does not count

    Returns
    -------
    (L, m) adjusted p-values

    Source
    ------
    Benjamini & Bogomolov 2014, J R Stat Soc B 76:297.

    Examples
    --------
    >>> adjust_hierarchical(np.array([[0.001, 0.5], [0.4, 0.9]])).round(3)
    array([[0.004, 0.8  ],
           [0.8  , 0.9  ]])
    """
    p = np.asarray(p, dtype=float)
    within = np.stack([adjust(row, "fdr_bh") for row in p])
    by_set = adjust(np.array([simes(row) for row in p]), "fdr_bh")
    tested = by_set[~np.isnan(by_set)]
    adjusted = np.full(p.shape, np.nan)
    for level in np.unique(tested):
        share = np.count_nonzero(tested <= level) / len(tested)
        adjusted = np.fmin(adjusted, np.maximum(np.maximum(by_set[:, None], level), within / share))
    return np.where(np.isnan(p), np.nan, np.fmin(adjusted, 1.0))
