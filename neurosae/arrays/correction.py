"""Multiple comparisons: p-values adjusted for a family of tests."""

import numpy as np
from statsmodels.stats.multitest import multipletests

from neurosae.errors import DesignError

CORRECTIONS = {
    "none": "p-values as they are",
    "bonferroni": "family-wise error, any dependence (Bonferroni)",
    "holm": "family-wise error, any dependence, step down (Holm 1979)",
    "fdr_bh": "false discovery rate, independent or positively dependent tests (Benjamini & Hochberg 1995)",
    "fdr_by": "false discovery rate, any dependence (Benjamini & Yekutieli 2001)",
}


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
