"""The rows of a decoder: which stimuli stay in one fold, which labels may be exchanged, what is resampled."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
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
    """Rows of the decoder: classes, the groups kept together, and the fold of each row in each repeat.

    ``folds`` (R, n) are the folds of groups. If a second column is crossed with the groups, ``crossed``
    (R, n) are the folds of its levels, else 0: a test cell is one fold of each, and its training rows share
    neither.
    """

    names: np.ndarray
    labels: np.ndarray
    group_names: np.ndarray
    group: np.ndarray
    folds: np.ndarray
    crossed: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        """Number of the test cell of each row in each repeat, (R, n)."""
        return self.folds * (self.crossed.max() + 1) + self.crossed

    @property
    def n_cells(self) -> int:
        """Test cells of one repeat."""
        return int(N_FOLDS * (self.crossed.max() + 1))

    @property
    def test_ratio(self) -> float:
        """Rows tested over rows trained on, mean over the cells of all repeats."""
        sizes = [(test.sum(), train.sum()) for r in range(len(self.folds)) for train, test in self.splits(r)]
        return float(np.divide(*np.sum(sizes, axis=0)))

    def splits(self, repeat: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Training and test rows of each cell of a repeat, (n,) bool each, in the order of cells."""
        folds, crossed = self.folds[repeat], self.crossed[repeat]
        for cell in range(self.n_cells):
            fold, other = divmod(cell, int(self.crossed.max()) + 1)
            unseen = (crossed != other) if self.crossed.any() else True
            yield (folds != fold) & unseen, self.cells[repeat] == cell


def decoding_design(
    responses: xr.DataArray,
    by: str,
    column: str,
    seed: int,
    *,
    crossed: str | None = None,
    n_repeats: int = N_REPEATS,
) -> DecodingDesign:
    """Classes ``by`` of the stimuli, groups ``column``, and folds that keep groups whole.

    Parameters
    ----------
    crossed : a second column, crossed with the groups and with the classes: rows are tested by decoders that
        have seen neither their group nor their level of it

    Raises
    ------
    DesignError
        If a label is empty, there is one class only, a class has fewer groups than folds, or the crossed
        column has one level only, is not crossed with the classes, or leaves a training cell without a class.
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
    folds = group_folds(labels, group, seed, n_repeats)
    if crossed is None:
        return DecodingDesign(names, labels, group_names, group, folds, np.zeros_like(folds))
    _check_crossed(responses, by, crossed)
    levels = np.unique(responses[crossed].values.astype(str), return_inverse=True)[1]
    design = DecodingDesign(names, labels, group_names, group, folds, _level_folds(levels, n_repeats, seed))
    _check_cells(design, column, crossed)
    return design


def _check_crossed(responses: xr.DataArray, by: str, crossed: str) -> None:
    counts = pd.crosstab(responses[crossed].values.astype(str), responses[by].values.astype(str))
    if len(counts) < 2:
        raise DesignError(
            f"column {crossed!r} has one level only, {str(counts.index[0])!r}; testing on unseen levels "
            "needs two or more."
        )
    partial = counts.index[(counts == 0).any(axis=1)]
    if len(partial):
        raise DesignError(
            f"{crossed!r} {str(partial[0])!r} does not hold all classes of {by!r}, so that telling classes "
            f"apart could be telling {crossed!r} apart. Cross the two, or leave {crossed!r} out."
        )


def _check_cells(design: DecodingDesign, column: str, crossed: str) -> None:
    for repeat in range(len(design.folds)):
        for train, test in design.splits(repeat):
            present = np.unique(design.labels[train])
            if test.any() and len(present) < len(design.names):
                missing = np.setdiff1d(np.arange(len(design.names)), present)[0]
                raise DesignError(
                    f"without the {column!r} and {crossed!r} of a test cell no row of class "
                    f"{str(design.names[missing])!r} is left to train on. Add stimuli, or hold out one "
                    "column."
                )


def _level_folds(levels: np.ndarray, n_repeats: int, seed: int) -> np.ndarray:
    """Fold of each row by the levels of a second column, at most N_FOLDS, shuffled in each repeat."""
    n_levels = levels.max() + 1
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    return np.stack([(rng.permutation(n_levels) % N_FOLDS)[levels] for _ in range(n_repeats)])


def group_folds(labels: np.ndarray, group: np.ndarray, seed: int, n_repeats: int = N_REPEATS) -> np.ndarray:
    """Fold of each row in each repeat, (R, n): groups whole, classes balanced as far as groups allow."""
    folds = np.empty((n_repeats, len(labels)), dtype=int)
    for repeat, state in enumerate(np.random.SeedSequence(seed).generate_state(n_repeats)):
        splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=int(state))
        for fold, (_, test) in enumerate(splitter.split(labels[:, None], labels, group)):
            folds[repeat, test] = fold
    return folds


def exchanges(
    design: DecodingDesign, n_permutations: int, seed: int, *, within: np.ndarray | None = None
) -> Relabelings:
    """Relabelings that leave groups, and the rows of one group and class, together and folds as balanced.

    Parameters
    ----------
    within : (n,) int, levels of a column; labels exchange between sets of rows with the same numbers of rows
        in each level, so that each level keeps its class counts too

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
    scheme = _exchange_scheme(design, within)
    n_possible = count_relabelings(design.labels, **scheme)
    if n_possible < _FEWEST_RELABELINGS:
        raise DesignError(
            f"the labels can fall in {n_possible} ways only; p = .05 needs {_FEWEST_RELABELINGS}. "
            "Within a group that holds several classes they exchange between classes with equally many rows, "
            "else between groups of equal size: balance the rows, or name another column with groups=."
        )
    return relabel(design.labels, n_permutations, seed=seed, **scheme)


def _exchange_scheme(design: DecodingDesign, within: np.ndarray | None) -> dict[str, np.ndarray]:
    """Strata and blocks of the relabelings: all rows of one group and class move together.

    Rows of one group and class (paraphrases, templates) may share an effect of their own, so that single rows
    are not exchangeable between the classes of a group, but their sets are. A group that holds several
    classes exchanges them within itself, which keeps every fold; one of a single class exchanges with others
    of its fold.
    """
    cell = np.unique(np.stack([design.group, design.labels]), axis=1, return_inverse=True)[1].ravel()
    n_classes = np.bincount(np.unique(np.stack([design.group, cell]), axis=1)[0])
    strata = np.where(n_classes[design.group] > 1, N_FOLDS + design.group, design.folds[0])
    if within is not None:
        composition = np.unique(pd.crosstab(cell, within).to_numpy(), axis=0, return_inverse=True)[1].ravel()
        strata = np.unique(np.stack([strata, composition[cell]]), axis=1, return_inverse=True)[1].ravel()
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


def group_columns(responses: xr.DataArray, groups: str | tuple[str, str]) -> tuple[str, str | None]:
    """The column whose stimuli stay in one fold, and the one crossed with it if two are named."""
    if isinstance(groups, str):
        return group_column(responses, groups), None
    if len(groups) != 2 or groups[0] == groups[1]:
        raise DesignError(
            f"groups={tuple(groups)!r}: name one column, or two different ones such as ('item', 'template')."
        )
    return group_column(responses, groups[0]), group_column(responses, groups[1])


def group_column(responses: xr.DataArray, groups: str) -> str:
    """The column whose stimuli stay in one fold; ``"item"`` means the widest of family, pair, item, stimulus.

    Raises
    ------
    DesignError
        If there is no such column, several are named, or a stimulus has no group.
    """
    if not isinstance(groups, str):
        raise DesignError(f"groups={groups!r}: only one column can be held out here; name one.")
    table = stimulus_table(responses)
    if groups == "item":
        column = unit_column(table)
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
