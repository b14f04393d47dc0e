"""Whether conditions differ in length, frequency or surprisal, and how well the design is filled."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd

from neurosae.errors import StimulusError
from neurosae.schema.names import STIMULUS
from neurosae.schema.units import UNIT_COLUMNS, unit_column
from neurosae.stimulus.refusals import column_error
from neurosae.stimulus.targets import TARGET_COLUMNS
from neurosae.stimulus.words import word_spans

_LABELS = (*UNIT_COLUMNS, "text", "condition", "template", *TARGET_COLUMNS)
_COUNTED = ("item", "pair", "template", "family")


def balance_report(
    stimuli: pd.DataFrame,
    covariates: Mapping[str, np.ndarray] | None = None,
    by: str = "condition",
) -> pd.DataFrame:
    """How far the conditions differ in length and other covariates.

    The largest standardised difference is the largest |d| over pairs of conditions, d = (m1 - m2) / s, with s
    the pooled standard deviation of the two. It describes the stimuli at hand; it is no test.

    Parameters
    ----------
    stimuli : DataFrame
        One row a stimulus. Words and characters are counted, unless the table has n_words or n_chars; every
        further column that holds only numbers is a covariate, its empty cells missing.
    covariates : mapping of (n_stimuli,) float, optional
        Further covariates, such as n_tokens or mean surprisal; NaN is missing.
    by : str
        Column whose levels are compared.

    Returns
    -------
    DataFrame
        One row a covariate and level: covariate, ``by``, n, mean, sd (n - 1 in the denominator), largest_d
        and pair ('high > low', '' if equal), the last two repeated over the levels of a covariate. NaN where
        fewer values than needed exist, inf where conditions differ but do not vary.

    Raises
    ------
    StimulusError
        If ``by`` is no column, or a covariate has another length than the table.

    Source
    ------
    Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, eq. 2.5.1.

    Examples
    --------
    >>> table = pd.DataFrame({"text": ["a b", "a b c", "a", "a b"], "condition": ["x", "x", "y", "y"]})
    >>> balance_report(table).query("covariate == 'n_words'").round(2)
      covariate condition  n  mean    sd  largest_d   pair
    0   n_words         x  2   2.5  0.71       1.41  x > y
    1   n_words         y  2   1.5  0.71       1.41  x > y
    """
    if by not in stimuli:
        raise column_error(stimuli, by)
    values = {**_counts(stimuli["text"]), **_numeric_columns(stimuli, by), **(covariates or {})}
    levels = list(dict.fromkeys(stimuli[by].astype(str)))
    rows: list[dict[str, object]] = []
    for name, column in values.items():
        groups = _groups(name, np.asarray(column, dtype=np.float64), stimuli[by].astype(str), levels)
        moments = {level: _moments(group) for level, group in groups.items()}
        d, pair = _largest_difference(moments)
        for level, (n, mean, sd) in moments.items():
            rows.append(
                {"covariate": name, by: level, "n": n, "mean": mean, "sd": sd, "largest_d": d, "pair": pair}
            )
    return pd.DataFrame(rows)


def _counts(texts: pd.Series) -> dict[str, np.ndarray]:
    return {
        "n_words": np.array([len(word_spans(text)[0]) for text in texts]),
        "n_chars": np.array([len(text) for text in texts]),
    }


def _numeric_columns(stimuli: pd.DataFrame, by: str) -> dict[str, np.ndarray]:
    """Columns that hold finite numbers and nothing else but empty cells."""
    found = {}
    for name in (str(column) for column in stimuli.columns if column not in (*_LABELS, by)):
        cells = stimuli[name].replace("", np.nan)
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
        if np.isfinite(numbers).any() and np.array_equal(np.isfinite(numbers), cells.notna().to_numpy()):
            found[name] = numbers
    return found


def _groups(name: str, values: np.ndarray, labels: pd.Series, levels: Sequence[str]) -> dict[str, np.ndarray]:
    if values.shape != (len(labels),):
        raise StimulusError(
            f"covariate {name!r} has shape {values.shape}; the table has {len(labels)} stimuli."
        )
    present = np.isfinite(values)
    return {level: values[present & (labels == level).to_numpy()] for level in levels}


def _moments(values: np.ndarray) -> tuple[int, float, float]:
    mean = float(values.mean()) if len(values) else np.nan
    return len(values), mean, float(values.std(ddof=1)) if len(values) > 1 else np.nan


def _largest_difference(moments: Mapping[str, tuple[int, float, float]]) -> tuple[float, str]:
    largest, pair = np.nan, ""
    for first, second in combinations(moments, 2):
        d = _cohen_d(moments[first], moments[second])
        if not np.isnan(d) and not abs(d) <= largest:
            largest, pair = abs(d), f"{first} > {second}" if d > 0 else f"{second} > {first}"
    return largest, pair if largest else ""


def _cohen_d(first: tuple[int, float, float], second: tuple[int, float, float]) -> float:
    n_values, difference = first[0] + second[0], first[1] - second[1]
    if np.isnan(difference) or n_values < 3:
        return np.nan
    squares = sum((n - 1) * sd**2 for n, _, sd in (first, second) if n > 1)
    pooled = float(np.sqrt(squares / (n_values - 2)))
    if pooled == 0:
        return float(np.copysign(np.inf, difference)) if difference else 0.0
    return difference / pooled


def design_report(stimuli: pd.DataFrame, factors: Sequence[str] = ("condition",)) -> pd.DataFrame:
    """How many stimuli and independent units fill each cell of a factorial design.

    Parameters
    ----------
    stimuli : DataFrame
        One row a stimulus.
    factors : sequence of str
        Columns that are crossed.

    Returns
    -------
    DataFrame
        One row a combination of levels, empty cells included: the factors, n_stimuli, n_item, n_pair,
        n_template and n_family where these columns exist, and n_units. ``attrs["unit"]`` names the column
        that is the unit of inference.

    Raises
    ------
    StimulusError
        If a factor is no column.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"stimulus": ["1", "2", "3"], "item": ["a", "a", "b"], "condition": ["x", "x", "y"]})
    >>> design_report(table)
      condition  n_stimuli  n_item  n_units
    0         x          2       1        1
    1         y          1       1        1
    """
    missing = [name for name in factors if name not in stimuli]
    if missing:
        raise column_error(stimuli, missing[0])
    unit = unit_column(stimuli)
    counted = {STIMULUS: "n_stimuli", **{name: f"n_{name}" for name in _COUNTED if name in stimuli}}
    grouped = stimuli.groupby(list(factors), sort=False)
    filled = pd.DataFrame(
        {label: grouped[name].nunique() for name, label in [*counted.items(), (unit, "n_units")]}
    )
    levels = [list(dict.fromkeys(stimuli[name])) for name in factors]
    report = pd.DataFrame(list(product(*levels)), columns=list(factors))
    report = report.merge(filled.reset_index(), how="left", on=list(factors))
    report = report.fillna(0).astype({name: np.int64 for name in filled})
    report.attrs["unit"] = unit
    return report
