"""The rows of a decoder: which stimuli stay in one fold, which labels may be exchanged, what is resampled."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from sklearn.model_selection import StratifiedGroupKFold

from neurosae.analysis.classes import class_labels
from neurosae.arrays.permutation import Relabelings, count_relabelings, relabel
from neurosae.errors import DesignError
from neurosae.schema.recordings import stimulus_table
from neurosae.schema.spelling import nearest
from neurosae.schema.units import unit_column

N_FOLDS = 5
N_REPEATS = 5
N_BOOTSTRAP = 2000

_FEWEST_RELABELINGS = 20
"""With fewer no p-value can reach .05."""


class DecodingDesign(NamedTuple):
    """Rows of the decoder: classes, the groups kept together, and the fold of each row in each repeat."""

    names: np.ndarray
    labels: np.ndarray
    group_names: np.ndarray
    group: np.ndarray
    folds: np.ndarray


def decoding_design(responses: xr.DataArray, by: str, column: str, seed: int) -> DecodingDesign:
    """Classes ``by`` of the stimuli, groups ``column``, and folds that keep groups whole.

    Raises
    ------
    DesignError
        If a label is empty, there is one class only, or a class has fewer groups than folds.
    """
    names, labels = class_labels(responses, by)
    group_names, group = np.unique(responses[column].values.astype(str), return_inverse=True)
    if len(names) < 2:
        raise DesignError(
            f"column {by!r} holds one class only, {str(names[0])!r}; decoding needs two or more."
        )
    n_groups = {str(name): len(np.unique(group[labels == k])) for k, name in enumerate(names)}
    if min(n_groups.values()) < N_FOLDS:
        raise DesignError(
            f"each class needs at least {N_FOLDS} groups, one a fold; {column!r} gives {n_groups}. "
            "Add stimuli, or name a finer column with groups=."
        )
    return DecodingDesign(names, labels, group_names, group, _folds(labels, group, seed))


def _folds(labels: np.ndarray, group: np.ndarray, seed: int) -> np.ndarray:
    """Fold of each row in each repeat, (N_REPEATS, n)."""
    folds = np.empty((N_REPEATS, len(labels)), dtype=int)
    for repeat, state in enumerate(np.random.SeedSequence(seed).generate_state(N_REPEATS)):
        splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=int(state))
        for fold, (_, test) in enumerate(splitter.split(labels[:, None], labels, group)):
            folds[repeat, test] = fold
    return folds


def exchanges(design: DecodingDesign, n_permutations: int, seed: int) -> Relabelings:
    """Relabelings that leave groups, and the rows of one group and class, together and folds as balanced.

    Raises
    ------
    DesignError
        If fewer than 20 relabelings are possible.
    """
    # Folds are stratified by the observed labels, so a free permutation would meet folds less balanced than
    # the observed ones. Exchanging labels within a fold keeps the class counts of every fold. If labels have
    # nothing to do with responses, exchanging the responses of two groups of one fold leaves labels and
    # folds as they are and the data as probable as before: the p-value is exact given the folds. The folds
    # of other repeats are not kept by these exchanges, therefore p refers to the first repeat alone.
    scheme = _exchange_scheme(design)
    n_possible = count_relabelings(design.labels, **scheme)
    if n_possible < _FEWEST_RELABELINGS:
        raise DesignError(
            f"the labels can fall in {n_possible} ways only; p = .05 needs {_FEWEST_RELABELINGS}. "
            "Within a group that holds several classes they exchange between classes with equally many rows, "
            "else between groups of equal size: balance the rows, or name another column with groups=."
        )
    return relabel(design.labels, n_permutations, seed=seed, **scheme)


def _exchange_scheme(design: DecodingDesign) -> dict[str, np.ndarray]:
    """Strata and blocks of the relabelings: all rows of one group and class move together.

    Rows of one group and class (paraphrases, templates) may share an effect of their own, so that single rows
    are not exchangeable between the classes of a group, but their sets are. A group that holds several
    classes exchanges them within itself, which keeps every fold; one of a single class exchanges with others
    of its fold.
    """
    cell = np.unique(np.stack([design.group, design.labels]), axis=1, return_inverse=True)[1].ravel()
    n_classes = np.bincount(np.unique(np.stack([design.group, cell]), axis=1)[0])
    strata = np.where(n_classes[design.group] > 1, N_FOLDS + design.group, design.folds[0])
    is_single_rows = len(np.unique(cell)) == len(cell)
    return {"strata": strata} if is_single_rows else {"strata": strata, "blocks": cell}


def bootstrap_weights(design: DecodingDesign, seed: int) -> np.ndarray:
    """How often each row occurs in each resample of groups, which replace others with the same classes."""
    holds = np.zeros((design.group.max() + 1, len(design.names)), dtype=bool)
    holds[design.group, design.labels] = True
    kind = np.unique(holds, axis=0, return_inverse=True)[1].ravel()
    rng = np.random.default_rng(seed)
    counts = np.empty((N_BOOTSTRAP, len(kind)), dtype=int)
    for same in (np.flatnonzero(kind == value) for value in np.unique(kind)):
        counts[:, same] = rng.multinomial(len(same), np.full(len(same), 1 / len(same)), N_BOOTSTRAP)
    return counts[:, design.group]


def group_column(responses: xr.DataArray, groups: str) -> str:
    """The column whose stimuli stay in one fold; ``"item"`` means families, else items, else the unit.

    Raises
    ------
    DesignError
        If there is no such column, or a stimulus has no group.
    """
    table = stimulus_table(responses)
    if groups == "item":
        column = next((name for name in ("family", "item") if name in table), unit_column(table))
    elif groups in table:
        column = groups
    else:
        known = list(table.columns)
        raise DesignError(f"no column {groups!r} in the stimuli{nearest(groups, known)} Columns: {known}.")
    n_empty = int((table[column].isna() | (table[column].astype(str) == "")).sum())
    if n_empty:
        raise DesignError(
            f"{n_empty} stimuli have no {column!r}, which keeps groups in one fold. Fill the column."
        )
    return column
