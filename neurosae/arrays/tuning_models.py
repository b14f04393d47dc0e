"""Which curve describes how a response depends on a parameter: none, a line, a bell or a step, many features.

Every curve is offset + amplitude · shape(level; centre, width). Shapes are taken from a grid of centres and
widths; offset and amplitude follow by least squares, so that all features are fitted by one matrix product
and no start value decides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FWHM = 2 * np.sqrt(2 * np.log(2))
"""Full width at half maximum of a Gaussian, in standard deviations."""


def _line(level: np.ndarray, centre: np.ndarray, width: np.ndarray) -> np.ndarray:
    return (level - centre) / width


def _bell(level: np.ndarray, centre: np.ndarray, width: np.ndarray) -> np.ndarray:
    return np.exp(-((level - centre) ** 2) / (2 * width**2))


def _step(level: np.ndarray, centre: np.ndarray, width: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip((level - centre) / width, -500, 500)))


def _one(span: float, n: int) -> np.ndarray:
    return np.array([span])


def _bell_widths(span: float, n: int) -> np.ndarray:
    return np.geomspace(span / 16, span, n)


def _step_widths(span: float, n: int) -> np.ndarray:
    return np.geomspace(span / 64, span / 2, n)


@dataclass(frozen=True)
class Shape:
    """A curve: its shape, widths to try for a span of levels, and whether its amplitude must be positive."""

    curve: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    widths: Callable[[float, int], np.ndarray]
    is_peak: bool = False
    has_centre: bool = True


SHAPES = {
    "linear": Shape(_line, _one, has_centre=False),
    "gaussian": Shape(_bell, _bell_widths, is_peak=True),
    "logistic": Shape(_step, _step_widths),
}
"""Curves by name; beside them stands ``"const"``, the mean."""

MODELS = ("const", *SHAPES)


class Grid(NamedTuple):
    """Candidates of one shape: centre and width (G,), and their values at the levels (G, m)."""

    centre: np.ndarray
    width: np.ndarray
    values: np.ndarray


class Fit(NamedTuple):
    """Least-squares curve of each feature: offset, amplitude, centre, width, each (F,)."""

    offset: np.ndarray
    amplitude: np.ndarray
    centre: np.ndarray
    width: np.ndarray


def grid_of(name: str, levels: np.ndarray, n_centres: int = 25, n_widths: int = 12) -> Grid:
    """Candidates of a shape for these levels: centres over their range, widths from narrow to flat.

    Examples
    --------
    >>> grid_of("gaussian", np.arange(5.0), 9, 4).values.shape
    (36, 5)
    """
    shape, span = SHAPES[name], float(np.ptp(levels))
    centres = np.linspace(levels.min(), levels.max(), n_centres) if shape.has_centre else levels[:1]
    centre, width = (a.ravel() for a in np.meshgrid(centres, shape.widths(span, n_widths), indexing="ij"))
    return Grid(centre, width, shape.curve(levels[None], centre[:, None], width[:, None]))


def curve(name: str, level: np.ndarray, fit: Fit) -> np.ndarray:
    """Fitted response at each level: (m,) -> (m, F); the offset everywhere for ``"const"``.

    Examples
    --------
    >>> one = Fit(np.array([1.0]), np.array([2.0]), np.array([0.0]), np.array([1.0]))
    >>> curve("gaussian", np.array([0.0, 5.0]), one).round(3).ravel()
    array([3., 1.])
    """
    if name == "const":
        return np.broadcast_to(fit.offset, (len(level), len(fit.offset))).copy()
    return fit.offset + fit.amplitude * SHAPES[name].curve(level[:, None], fit.centre, fit.width)


def fit_curve(name: str, grid: Grid, sums: np.ndarray, counts: np.ndarray) -> Fit:
    """Least-squares curve of each feature among the candidates of a grid.

    Parameters
    ----------
    name : one of ``SHAPES``
    grid : see `grid_of`
    sums : (m, F) summed responses at each level
    counts : (m,) units at each level

    Examples
    --------
    >>> levels = np.arange(5.0)
    >>> fit = fit_curve("linear", grid_of("linear", levels), 2 * levels[:, None], np.ones(5))
    >>> curve("linear", levels, fit).ravel().round(9)
    array([0., 2., 4., 6., 8.])
    """
    best, projection, _, mean_shape, length = _chosen(name, grid, sums, counts)
    amplitude = projection / length[best]
    offset = sums.sum(axis=0) / counts.sum() - amplitude * mean_shape[best]
    return Fit(offset, amplitude, grid.centre[best], grid.width[best])


def _chosen(
    name: str, grid: Grid, sums: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Best candidate of each feature and its projection; centred unit shapes, their means and lengths."""
    mean_shape = grid.values @ counts / counts.sum()
    centred = grid.values - mean_shape[:, None]
    length = np.sqrt(centred**2 @ counts)
    flat = length <= 1e-9 * np.abs(grid.values).max()
    length = np.where(flat, np.inf, length)
    unit = centred / length[:, None]
    projection = unit @ sums
    best = (projection if SHAPES[name].is_peak else np.abs(projection)).argmax(axis=0)
    own = np.take_along_axis(projection, best[None], axis=0)[0]
    if SHAPES[name].is_peak:
        own = np.maximum(own, 0.0)
    return best, own, unit, mean_shape, length


def held_out_r2(
    values: np.ndarray, level: np.ndarray, folds: np.ndarray, grids: dict[str, Grid]
) -> np.ndarray:
    """Variance of held-out responses that each model explains: R² = 1 - SSE / SST, (n, F) -> (M, F).

    SST is about the mean of all units, so that the constant model is at or a little below 0.

    Parameters
    ----------
    values : (n, F)
    level : (n,) int, number of each unit's level
    folds : (n,) int
    grids : of every shape in ``SHAPES``, on the same levels

    Returns
    -------
    (M, F), models in the order of ``MODELS``; NaN for a constant feature

    Examples
    --------
    >>> levels = np.repeat(np.arange(5.0), 4)
    >>> grids = {name: grid_of(name, np.arange(5.0)) for name in SHAPES}
    >>> held_out_r2(3 * levels[:, None], levels.astype(int), np.tile(range(4), 5), grids)[1].round(2)
    array([1.])
    """
    n_levels = next(iter(grids.values())).values.shape[1]
    member = (level == np.arange(n_levels)[:, None]).astype(float)
    centred = values - values.mean(axis=0)
    error = np.zeros((len(MODELS), values.shape[1]))
    for fold in np.unique(folds):
        train, test = member * (folds != fold), member * (folds == fold)
        sums, counts = train @ centred, train.sum(axis=1)
        held_sums, held_counts = test @ centred, test.sum(axis=1)
        mean = sums.sum(axis=0) / counts.sum()
        for row, name in enumerate(MODELS):
            predicted = mean[None] if name == "const" else mean + _deviation(name, grids[name], sums, counts)
            error[row] += held_counts @ (predicted**2 * np.ones((n_levels, 1)))
            error[row] -= 2 * (predicted * held_sums).sum(axis=0)
    total = (centred**2).sum(axis=0)
    return -error / np.where(total > 0, total, np.nan)


def _deviation(name: str, grid: Grid, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Fitted response at each level, less the mean: (m, F)."""
    best, projection, unit, _, _ = _chosen(name, grid, sums, counts)
    return projection * unit[best].T
