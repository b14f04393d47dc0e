"""What RDM statistics become without each unit: one pass over the pairs, not one analysis a unit.

A unit leaves an RDM with all its rows and columns. The distances between the others are taken as they are:
what they owe to all units, such as z-scores over the stimuli, is not computed anew. Pairs of rows of one unit
never count, see `neurosae.arrays.pairs`. Results are in the order of the sorted units.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from neurosae.arrays.category_index import category_index
from neurosae.arrays.jackknife import leaves_class_alone, rows_kept
from neurosae.arrays.pairs import symmetric, unit_entries, unit_pairs
from neurosae.arrays.rdm_comparison import check_method, is_binary, rho_a_of_auroc, tau_a_of_auroc
from neurosae.arrays.selected_pairs import selected_similarity

_HELD = 1_000_000
"""Pairs times left-out units held at a time (8 MB)."""


def left_out_index(
    matrices: np.ndarray, labels: np.ndarray, units: np.ndarray, n_classes: int, index: str
) -> np.ndarray:
    """A category index without each unit: (U, L); NaN where a class is left with fewer than two units.

    Parameters
    ----------
    matrices : (L, n, n) RDMs, finite
    labels : (n,) int, classes 0 … n_classes - 1
    units : (n,) unit of inference of each row
    n_classes, index : as in `neurosae.arrays.category_index.category_index`

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 2.0, 6.0, 7.0, 8.0])
    >>> distances = np.abs(x[:, None] - x)[None]
    >>> left_out_index(distances, np.repeat([0, 1], 3), np.arange(6), 2, "CDI").round(2).ravel()
    array([4.33, 4.33, 5.33, 5.33, 4.33, 4.33])
    """
    if index == "CMI":
        values = left_out_similarity(matrices, labels[:, None] != labels[None, :], units, "rho-a")
    else:
        rest = np.where(rows_kept(units), labels, -1)
        columns = [category_index(matrix, rest, n_classes, index, units=units) for matrix in matrices]
        values = np.stack(columns, axis=1)
    return np.where(leaves_class_alone(labels, units)[:, None], np.nan, values)


def left_out_similarity(
    matrices: np.ndarray, model: np.ndarray, units: np.ndarray, method: str
) -> np.ndarray:
    """The similarity of RDMs to a model without each unit.

    Parameters
    ----------
    matrices : (L, n, n) RDMs, finite
    model : (n, n) model RDM
    units : (n,) unit of inference of each row
    method : see `neurosae.arrays.rdm_comparison.similarity`

    Returns
    -------
    array (U, L); NaN where it is undefined

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 3.0, 7.0])
    >>> model = np.abs(x[:, None] - x)
    >>> left_out_similarity(model[None] ** 2, model, np.arange(4), "corr").round(2).ravel()
    array([0.99, 1.  , 0.99, 0.99])
    """
    check_method(method)
    entries = unit_entries(model, units)
    if method in OF_AUROC and is_binary(entries):
        between = model > entries.min()
        n_between, n_within = _pair_counts(between, units)
        return np.asarray(OF_AUROC[method](left_out_auroc(matrices, between, units), n_between, n_within))
    kept, vectors = rows_kept(units), unit_entries(matrices, units)
    rows, columns = unit_pairs(len(model), units)
    step = max(1, _HELD // len(entries))
    blocks = [kept[start : start + step] for start in range(0, len(kept), step)]
    parts = [selected_similarity(vectors, entries, b[:, rows] & b[:, columns], method) for b in blocks]
    return np.concatenate(parts)


def left_out_auroc(matrices: np.ndarray, between: np.ndarray, units: np.ndarray) -> np.ndarray:
    """P(d_between > d_within), ties counted half, without each unit.

    Of the wins of all between pairs over within pairs, those go in which either pair has the unit; wins in
    which both have it went twice and come back: W_u = W - Σ_{pairs of u} W_pair + W(pairs of u).

    Parameters
    ----------
    matrices : (L, n, n) RDMs, finite
    between : (n, n) bool, True for rows of different categories
    units : (n,) unit of inference of each row

    Returns
    -------
    array (U, L); NaN where no between or no within pair remains

    Examples
    --------
    >>> distances = np.array([[0, 1, 5, 5], [1, 0, 5, 2], [5, 5, 0, 3], [5, 2, 3, 0.0]])
    >>> between = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], dtype=bool)
    >>> left_out_auroc(distances[None], between, np.arange(4)).ravel()
    array([0.5, 1. , 1. , 1. ])
    """
    kept, is_between = rows_kept(units), unit_entries(between, units)
    per_pair = _wins_of_pairs(unit_entries(matrices, units), is_between)
    everything = per_pair[:, is_between].sum(axis=1)
    touching, both = np.empty((2, len(kept), len(matrices)))
    square = symmetric(per_pair, unit_pairs(len(between), units), len(between))
    for u, rest in enumerate(kept):
        touching[u] = square[:, ~rest].sum(axis=(1, 2))
        both[u] = _wins(_pairs_of(matrices, rest), _pairs_of(between, rest))
    n_compared = np.prod(_pair_counts(between, units), axis=0)
    return (everything - touching + both) / np.where(n_compared > 0, n_compared, np.nan)


OF_AUROC: dict[str, Callable[..., np.ndarray | float]] = {"rho-a": rho_a_of_auroc, "tau-a": tau_a_of_auroc}
"""Similarities to a category model that are linear in the AUROC."""


def _pair_counts(between: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of between and of within pairs without each unit: (U, 1) each."""
    selected = rows_kept(units).astype(float)
    differ = units[:, None] != units[None, :]
    n_between, n_pairs = (
        np.einsum("un,un->u", selected @ pairs, selected)[:, None] / 2 for pairs in (between & differ, differ)
    )
    return n_between, n_pairs - n_between


def _pairs_of(matrices: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Entries (..., m) of the pairs of a row of one unit and a row of the rest."""
    across = matrices[..., ~rest, :][..., rest]
    return across.reshape(*across.shape[:-2], -1)


def _wins(vectors: np.ndarray, between: np.ndarray) -> np.ndarray:
    """How often a between entry exceeds a within entry, ties counted half: (L, m), (m,) -> (L,)."""
    n = int(between.sum())
    return rankdata(vectors, axis=-1)[:, between].sum(axis=-1) - n * (n + 1) / 2


def _wins_of_pairs(vectors: np.ndarray, between: np.ndarray) -> np.ndarray:
    """In how many wins each between pair, or within pair, takes part: (L, N)."""
    others = rankdata(vectors, axis=-1)
    for own in (between, ~between):
        others[:, own] -= rankdata(vectors[:, own], axis=-1)
    return np.where(between, others, between.sum() - others)
