"""How much would an RDM statistic change with other units? Jackknife intervals, layer by layer.

Layers with the same live rows are computed together. See `neurosae.arrays.jackknife.jackknife_interval` for
what the intervals are, and where they are too wide.
"""

from collections.abc import Callable

import numpy as np

from neurosae.arrays.distance import live_rows
from neurosae.arrays.jackknife import jackknife_interval, leaves_class_alone
from neurosae.arrays.left_out import left_out_auroc, left_out_index, left_out_similarity
from neurosae.arrays.pairs import unit_entries
from neurosae.arrays.rdm_comparison import is_binary


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
    units : (n,) unit of inference of each row; pairs within a unit do not count
    observed : (L,) the similarities
    method : see `neurosae.arrays.rdm_comparison.similarity`
    classes : (n,) int, the classes of a category model

    Returns
    -------
    lower and upper bound, each (L,), within ±1; NaN where a class is left with fewer than two units

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 3.0, 4.0, 6.0])
    >>> model = np.abs(x[:, None] - x)
    >>> low, high = similarity_interval(model[None] ** 2, model, np.arange(5), np.array([0.96]), "corr")
    >>> low.round(2), high.round(2)
    (array([0.94]), array([0.98]))
    """

    def without_units(live: np.ndarray, mask: np.ndarray) -> np.ndarray:
        values = left_out_similarity(live, model[np.ix_(mask, mask)], units[mask], method)
        return _with_pairs(values, classes, units, mask)

    return _bounds(matrices, observed, without_units, (-1.0, 1.0))


def auroc_interval(
    matrices: np.ndarray,
    model: np.ndarray,
    units: np.ndarray,
    observed: np.ndarray,
    *,
    classes: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of P(d_between > d_within), by leaving out units.

    Parameters
    ----------
    matrices, units, classes : as in `similarity_interval`
    model : (n, n) model RDM, larger between categories than within
    observed : (L,) the AUROCs

    Returns
    -------
    lower and upper bound, each (L,), within 0 … 1; NaN where the model is not binary, or a class is left with
    fewer than two units

    Examples
    --------
    >>> x, labels = np.array([0.0, 1.0, 3.0, 2.0, 5.0, 6.0]), np.repeat([0, 1], 3)
    >>> model = (labels[:, None] != labels).astype(float)
    >>> distances = np.abs(x[:, None] - x)[None]
    >>> low, high = auroc_interval(distances, model, np.arange(6), np.array([0.704]), classes=labels)
    >>> low.round(2), high.round(2)
    (array([0.]), array([1.]))
    """

    def without_units(live: np.ndarray, mask: np.ndarray) -> np.ndarray:
        own, own_units = model[np.ix_(mask, mask)], units[mask]
        entries = unit_entries(own, own_units)
        if not is_binary(entries):
            return np.full((len(np.unique(own_units)), len(live)), np.nan)
        return _with_pairs(left_out_auroc(live, own > entries.min(), own_units), classes, units, mask)

    return _bounds(matrices, observed, without_units, (0.0, 1.0))


def index_interval(
    matrices: np.ndarray,
    labels: np.ndarray,
    units: np.ndarray,
    observed: np.ndarray,
    index: str,
) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a category index, by leaving out units.

    Parameters
    ----------
    matrices, units : as in `similarity_interval`
    labels : (n,) int, classes 0 … K - 1
    observed : (L,) the indices
    index : see `neurosae.arrays.category_index.category_index`

    Returns
    -------
    lower and upper bound, each (L,), of CMI within ±1; NaN where a class is left with fewer than two units

    Examples
    --------
    >>> x, labels = np.array([0.0, 1.0, 3.0, 6.0, 8.0, 9.0]), np.repeat([0, 1], 3)
    >>> distances = np.abs(x[:, None] - x)[None]
    >>> low, high = index_interval(distances, labels, np.arange(6), np.array([4.333]), "CDI")
    >>> low.round(2), high.round(2)
    (array([-1.09]), array([9.75]))
    """
    n_classes = labels.max() + 1

    def without_units(live: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return left_out_index(live, labels[mask], units[mask], n_classes, index)

    return _bounds(matrices, observed, without_units, (-1.0, 1.0) if index == "CMI" else (-np.inf, np.inf))


def _bounds(
    matrices: np.ndarray,
    observed: np.ndarray,
    without_units: Callable[[np.ndarray, np.ndarray], np.ndarray],
    limits: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals from a statistic without each unit: (live matrices (L', m, m), rows (n,)) -> (U, L')."""
    bounds = np.full((2, len(matrices)), np.nan)
    for mask, layers in live_rows(matrices):
        values = without_units(matrices[layers][:, mask][:, :, mask], mask)
        bounds[:, layers] = jackknife_interval(observed[layers], values, limits=limits)
    return bounds[0], bounds[1]


def _with_pairs(
    values: np.ndarray, classes: np.ndarray | None, units: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Values (U, L), NaN for units without which a class has no pair."""
    if classes is None:
        return values
    return np.where(leaves_class_alone(classes[mask], units[mask])[:, None], np.nan, values)
