"""Whether a specification curve as a whole exceeds chance: the same curve with exchanged labels."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from neurosae.analysis.multiverse_questions import ALPHA
from neurosae.arrays.permutation import orders, p_value, relabel
from neurosae.schema.units import unit_column


def curve_statistics(effects: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """Median effect, less its null value, and the share of specifications with p <= .05 of its sign.

    Specifications that could not be answered (NaN) do not count.

    Examples
    --------
    >>> curve_statistics(np.array([0.2, 0.4, -0.5, np.nan]), np.array([0.01, 0.2, 0.01, np.nan]))
    (0.2, 0.3333333333333333)
    """
    answered = np.isfinite(effects)
    median = float(np.median(effects[answered]))
    passed = (p[answered] <= ALPHA) & (np.sign(effects[answered]) == np.sign(median))
    return median, float(passed.mean())


def exchanged_labels(
    table: pd.DataFrame, columns: Sequence[str], n_permutations: int, *, seed: int
) -> list[pd.DataFrame]:
    """Labels that the stimuli could have had, had the condition no effect: tables by stimulus.

    Labels are exchanged within the widest units where these hold several, else between whole units of equal
    size.
    """
    unit = table[unit_column(table)].astype(str).to_numpy()
    labels = table[list(columns)].reset_index(drop=True)
    number = labels.groupby(list(columns), sort=False).ngroup().to_numpy()
    is_constant = pd.Series(number).groupby(unit).nunique().max() == 1
    if is_constant:
        # A block stands for its first row, whose labels all rows of the block share.
        first = pd.Series(np.arange(len(unit))).groupby(unit).transform("first").to_numpy()
        drawn = relabel(first, n_permutations, seed=seed, blocks=unit)
    else:
        drawn = orders(len(unit), n_permutations, seed=seed, strata=unit)
    return [labels.iloc[order].set_axis(table["stimulus"].to_numpy()) for order in drawn.labels]


def curve_test(
    observed: tuple[float, float],
    null_curve: Callable[[pd.DataFrame], tuple[float, float]],
    exchanged: Sequence[pd.DataFrame],
) -> dict[str, float]:
    """How often curves with exchanged labels reach the observed median (in size) and share; NaN without any.

    Source
    ------
    Simonsohn, Simmons & Nelson 2020, Nat Hum Behav 4:1208.
    """
    median, share = observed
    found = {"median": median, "share": share}
    if not exchanged:
        return {**found, "median_p": np.nan, "share_p": np.nan, "median_lo": np.nan, "median_hi": np.nan}
    null = np.array([null_curve(labels) for labels in exchanged])
    low, high = np.quantile(null[:, 0], [0.025, 0.975])
    return {
        **found,
        "median_p": float(p_value(median, null[:, 0], exact=False)),
        "share_p": float(p_value(share, null[:, 1], exact=False, alternative="greater")),
        "median_lo": float(low),
        "median_hi": float(high),
    }
