"""What RDM statistics become without each unit: one pass over the pairs, not one analysis a unit.

A unit leaves an RDM with all its rows and columns. The distances between the others are taken as they are:
what they owe to all units, such as z-scores over the stimuli, is not computed anew.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from neurosae.arrays.category_index import category_index
from neurosae.arrays.distance import live_rows, triangle
from neurosae.arrays.jackknife import jackknife_interval, leaves_class_alone, rows_kept
from neurosae.arrays.rdm_comparison import check_method, is_binary, rho_a_of_auroc, tau_a_of_auroc
from neurosae.arrays.selected_pairs import selected_similarity

_HELD = 1_000_000
"""Pairs times left-out units held at a time (8 MB)."""


def similarity_interval(
    matrices: np.ndarray,
    model: np.ndarray,
    units: np.ndarray,
    observed: np.ndarray,
    method: str,
    *,
    classes: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of the similarity of RDMs to a model, by leaving out units.

    Parameters
    ----------
    matrices : (L, n, n) RDMs; rows and columns of stimuli without a pattern are NaN and left out
    model : (n, n) model RDM
    units : (n,) unit of inference of each row
    observed : (L,) the similarities
    method : see `neurosae.arrays.rdm_comparison.similarity`
    classes : (n,) int, the classes of a category model

    Returns
    -------
    lower and upper bound, each (L,), within ±1; NaN where a class is left with fewer than two rows

    Source
    ------
    See `neurosae.arrays.jackknife.jackknife_interval`.

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 3.0, 4.0, 6.0])
    >>> model = np.abs(x[:, None] - x)
    >>> low, high = similarity_interval(model[None] ** 2, model, np.arange(5), np.array([0.96]), "corr")
    >>> low.round(2), high.round(2)
    (array([0.94]), array([0.98]))
    """
    bounds = np.full((2, len(matrices)), np.nan)
    for mask, layers in live_rows(matrices):
        kept = rows_kept(units[mask])
        live = matrices[layers][:, mask][:, :, mask]
        values = left_out_similarity(live, model[np.ix_(mask, mask)], kept, method)
        if classes is not None:
            values[leaves_class_alone(classes[mask], kept)] = np.nan
        bounds[:, layers] = jackknife_interval(observed[layers], values, limit=1.0)
    return bounds[0], bounds[1]


def left_out_index(
    dissimilarities: np.ndarray, labels: np.ndarray, units: np.ndarray, n_classes: int, index: str
) -> np.ndarray:
    """A category index without each unit: (U,); NaN where a class is left with fewer than two rows.

    Parameters
    ----------
    dissimilarities : (n, n) symmetric, finite
    labels : (n,) int, classes 0 … n_classes - 1
    units : (n,) unit of inference of each row
    n_classes, index : as in `neurosae.arrays.category_index.category_index`

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 2.0, 6.0, 7.0, 8.0])
    >>> left_out_index(np.abs(x[:, None] - x), np.repeat([0, 1], 3), np.arange(6), 2, "CDI").round(2)
    array([4.33, 4.33, 5.33, 5.33, 4.33, 4.33])
    """
    kept = rows_kept(units)
    if index == "CMI":
        between = labels[:, None] != labels[None, :]
        values = left_out_similarity(dissimilarities[None], between, kept, "rho-a")[:, 0]
    else:
        values = category_index(dissimilarities, np.where(kept, labels, -1), n_classes, index)
    return np.where(leaves_class_alone(labels, kept), np.nan, values)


def left_out_similarity(matrices: np.ndarray, model: np.ndarray, kept: np.ndarray, method: str) -> np.ndarray:
    """The similarity of RDMs to a model in each of many selections of their rows.

    Parameters
    ----------
    matrices : (L, n, n) RDMs, finite
    model : (n, n) model RDM
    kept : (U, n) bool, the rows of each selection
    method : see `neurosae.arrays.rdm_comparison.similarity`

    Returns
    -------
    array (U, L); NaN where it is undefined

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 3.0, 7.0])
    >>> model = np.abs(x[:, None] - x)
    >>> left_out_similarity(model[None] ** 2, model, rows_kept(np.arange(4)), "corr").round(2).ravel()
    array([0.99, 1.  , 0.99, 0.99])
    """
    check_method(method)
    entries = triangle(model)
    if method in OF_AUROC and is_binary(entries):
        between = model > entries.min()
        n_between, n_within = _pair_counts(between, kept)
        return np.asarray(OF_AUROC[method](left_out_auroc(matrices, between, kept), n_between, n_within))
    vectors, (rows, columns) = triangle(matrices), np.triu_indices(len(model), 1)
    step = max(1, _HELD // len(entries))
    blocks = [kept[start : start + step] for start in range(0, len(kept), step)]
    parts = [selected_similarity(vectors, entries, b[:, rows] & b[:, columns], method) for b in blocks]
    return np.concatenate(parts)


def left_out_auroc(matrices: np.ndarray, between: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """P(d_between > d_within), ties counted half, without each unit.

    Of the wins of all between pairs over within pairs, those go in which either pair has the unit; wins in
    which both have it went twice and come back: W_u = W - Σ_{pairs of u} W_pair + W(pairs of u).

    Parameters
    ----------
    matrices : (L, n, n) RDMs, finite
    between : (n, n) bool, True for rows of different categories
    kept : (U, n) bool, the rows without each unit

    Returns
    -------
    array (U, L); NaN where no between or no within pair remains

    Examples
    --------
    >>> distances = np.array([[0, 1, 5, 5], [1, 0, 5, 2], [5, 5, 0, 3], [5, 2, 3, 0.0]])
    >>> between = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], dtype=bool)
    >>> left_out_auroc(distances[None], between, rows_kept(np.arange(4))).ravel()
    array([0.5, 1. , 1. , 1. ])
    """
    per_pair = _wins_of_pairs(triangle(matrices), triangle(between))
    everything = per_pair[:, triangle(between)].sum(axis=1)
    touching, both = np.empty((2, len(kept), len(matrices)))
    square = _squares(per_pair, len(between))
    for u, rest in enumerate(kept):
        touching[u] = square[:, ~rest].sum(axis=(1, 2)) - triangle(square[:, ~rest][:, :, ~rest]).sum(axis=1)
        both[u] = _wins(_pairs_of(matrices, rest), _pairs_of(between, rest))
    n_compared = np.prod(_pair_counts(between, kept), axis=0)
    return (everything - touching + both) / np.where(n_compared > 0, n_compared, np.nan)


OF_AUROC: dict[str, Callable[..., np.ndarray | float]] = {"rho-a": rho_a_of_auroc, "tau-a": tau_a_of_auroc}
"""Similarities to a category model that are linear in the AUROC."""


def _pair_counts(between: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of between and of within pairs among the rows kept (U, n): (U, 1) each."""
    selected = kept.astype(float)
    n_between = np.einsum("un,un->u", selected @ between, selected) / 2
    n = selected.sum(axis=1)
    return n_between[:, None], (n * (n - 1) / 2 - n_between)[:, None]


def _pairs_of(matrices: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Entries (..., m) of the pairs of which at least one row is not in the rest."""
    own = matrices[..., ~rest, :]
    across = own[..., rest]
    return np.concatenate([across.reshape(*across.shape[:-2], -1), triangle(own[..., ~rest])], axis=-1)


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


def _squares(vectors: np.ndarray, n: int) -> np.ndarray:
    squares = np.zeros((len(vectors), n, n))
    rows, columns = np.triu_indices(n, 1)
    squares[:, rows, columns] = squares[:, columns, rows] = vectors
    return squares
