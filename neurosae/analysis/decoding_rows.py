"""What happens in each fold of a decoder: rows of a layer, confounds, selection, scores of unseen rows."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.analysis.decoding_design import DecodingDesign
from neurosae.arrays.classification_scores import macro_auroc
from neurosae.arrays.feature_scores import check_selector
from neurosae.arrays.ridge_decoder import Selection, fold_scores, without_confounds
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, UNITS_BASIS
from neurosae.schema.recordings import stimulus_table
from neurosae.schema.spelling import nearest

Select: TypeAlias = int | tuple[str, int] | None
"""Features a decoder keeps: all, so many by variance between classes, or so many by a named selector."""


def layer_rows(responses: xr.DataArray, layer: int) -> np.ndarray:
    """Responses of one layer (its position), (n, F); of dask-backed ones no other layer is computed."""
    return np.asarray(responses.isel({LAYER: layer}).values)


def is_scaled(responses: xr.DataArray) -> bool:
    """Whether features are z-scored before they are compared: units are, codes of a dictionary are not.

    A few units of transformers vary a hundred times as much as the others; codes share a scale.
    """
    return str(responses.attrs.get("basis", UNITS_BASIS)) == UNITS_BASIS


def selection_of(select: Select, responses: xr.DataArray, n_classes: int, seed: int) -> Selection | None:
    """The features that ``select`` asks for.

    Raises
    ------
    DesignError
        If the number is out of range, or the selector is unknown or cannot compare so many classes.
    """
    if select is None:
        return None
    selector, size = select if isinstance(select, tuple) else ("eta2", select)
    check_selector(selector, n_classes)
    n_features = responses.sizes[FEATURE]
    if not isinstance(size, int | np.integer) or not 1 <= size <= n_features:
        raise DesignError(
            f"select is {size}; choose 1 to {n_features}, a whole number of features, or None for all."
        )
    return Selection(selector, size, is_scaled(responses), seed)


def confound_matrix(responses: xr.DataArray, nuisance: Sequence[str]) -> np.ndarray:
    """Stimulus columns as numbers, (n, Q): a column of numbers as it is, any other as one 0/1 per level.

    Raises
    ------
    DesignError
        If a column is missing, or empty for a stimulus.
    """
    table = stimulus_table(responses)
    missing = [name for name in nuisance if name not in table]
    if missing:
        raise DesignError(
            f"no column {missing[0]!r} in the stimuli{nearest(missing[0], table.columns)} "
            f"Columns: {list(table.columns)}."
        )
    parts = [coded_column(table[name]) for name in nuisance]
    return np.concatenate(parts, axis=1) if parts else np.empty((len(table), 0))


def coded_column(column: pd.Series) -> np.ndarray:
    """A column as numbers (n, 1), or as one 0/1 column for each level but the first.

    Raises
    ------
    DesignError
        If a cell is empty or infinite.

    Examples
    --------
    >>> coded_column(pd.Series(["2", "3.5"])).ravel().tolist()
    [2.0, 3.5]
    >>> coded_column(pd.Series(["card", "note", "card"])).ravel().tolist()
    [0.0, 1.0, 0.0]
    """
    is_empty = column.isna() | (column.astype(str) == "")
    if is_empty.any():
        raise DesignError(
            f"{int(is_empty.sum())} stimuli have no {column.name!r}. Fill the column, or leave it out."
        )
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().all() and np.isfinite(numbers).all():
        return numbers.to_numpy(dtype=float)[:, None]
    return pd.get_dummies(column.astype(str)).to_numpy(dtype=float)[:, 1:]


def out_of_fold(
    values: np.ndarray,
    labels: np.ndarray,
    design: DecodingDesign,
    repeat: int,
    select: Selection | None,
    confounds: np.ndarray | None = None,
) -> np.ndarray:
    """Score of each row from the decoder that has not seen its group, (n, P, C).

    Parameters
    ----------
    values : (n, F)
    labels : (P, n)
    confounds : (n, Q), regressed out inside the fold
    """
    n_classes = len(design.names)
    scores = np.empty((len(values), len(labels), 1 if n_classes == 2 else n_classes))
    for cell, (train, test) in enumerate(design.splits(repeat)):
        if not test.any():
            continue
        rows = values[train], values[test]
        if confounds is not None and confounds.shape[1]:
            rows = without_confounds(*rows, confounds[train], confounds[test])
        chosen = select and select._replace(seed=fold_seed(select.seed, repeat, cell))
        scores[test] = fold_scores(*rows, labels[:, train], n_classes, select=chosen)
    return scores


def fold_seed(seed: int, repeat: int, cell: int) -> int:
    """A seed of its own for each fold, so that random features differ between folds."""
    return int(np.random.SeedSequence([seed, repeat, cell]).generate_state(1)[0])


def split_aurocs(scores: np.ndarray, design: DecodingDesign) -> np.ndarray:
    """AUROC within each test cell, (R, cells); NaN where a cell lacks a class; scores (R, n, C)."""
    areas = np.empty((len(scores), design.n_cells))
    for repeat, cell in np.ndindex(areas.shape):
        test = design.cells[repeat] == cell
        areas[repeat, cell] = macro_auroc(
            scores[repeat][test][:, None], design.labels[None, test], len(design.names)
        )[0]
    return areas
