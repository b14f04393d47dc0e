"""How far apart are conditions, noise taken out? Distances between patterns of independent runs.

Runs are independent renderings of the same conditions: templates, paraphrases, contexts. A distance whose two
differences come from different runs has expectation 0 where conditions do not differ; negative values are
part of that and are kept.
"""

from collections.abc import Callable

import numpy as np
from scipy.linalg import solve_triangular

from neurosae.arrays.distance import poisson_kernel_distance, sqeuclidean_sums
from neurosae.errors import DesignError


def crossnobis(runs: np.ndarray) -> np.ndarray:
    """Cross-validated squared Euclidean distance of conditions, per channel.

    d_ij = 1 / (M (M - 1)) sum over m != m' of (x_i^m - x_j^m) . (x_i^m' - x_j^m') / P, which equals the mean
    over left-out runs. Of patterns whitened by `whitened`, it is the cross-validated Mahalanobis distance.

    Parameters
    ----------
    runs : (M, n, P) patterns of n conditions in each of M >= 2 runs, finite

    Returns
    -------
    array (n, n), symmetric, zero diagonal; may be negative. Under no difference and noise of variance s^2 in
    each channel its variance is 8 s^4 / (P M (M - 1)).

    Raises
    ------
    DesignError
        If there are fewer than two runs.

    Source
    ------
    Walther et al. 2016, NeuroImage 137:188; Diedrichsen, Provost & Zareamoghaddam 2016, arXiv:1607.01371.

    Examples
    --------
    >>> crossnobis(np.array([[[0.0], [2.0]], [[0.0], [3.0]]]))
    array([[0., 6.],
           [6., 0.]])
    """
    n_runs = _check_runs(runs)
    runs = np.asarray(runs, dtype=np.float64)
    # Products of different runs are those of the sum over runs less those of each run with itself.
    total = sqeuclidean_sums(runs.sum(axis=0)) - sum(sqeuclidean_sums(run) for run in runs)
    return np.asarray(total) / (n_runs * (n_runs - 1) * runs.shape[2])


def poisson_cv(runs: np.ndarray) -> np.ndarray:
    """Cross-validated symmetrised Kullback-Leibler divergence of Poisson rates, per channel.

    Mean over runs m of sum (a_i - a_j) (log b_i - log b_j) / P, with a the rates of the mean of the other
    runs and b those of run m; rates shrunk as in the measure ``poisson`` of
    `neurosae.arrays.distance.dissimilarity`.

    Parameters
    ----------
    runs : (M, n, P) rates >= 0 of n conditions in each of M >= 2 runs

    Returns
    -------
    array (n, n), symmetric, zero diagonal; may be negative

    Raises
    ------
    DesignError
        If there are fewer than two runs, or a rate is negative.

    Source
    ------
    Schuett et al. 2023, eLife 12:e82566 (measure).

    Notes
    -----
    rsatoolbox 0.3 returns the last fold instead of the mean of all.

    Examples
    --------
    >>> poisson_cv(np.array([[[0.0], [2.0]], [[0.0], [3.0]]])).round(2)
    array([[0.  , 7.27],
           [7.27, 0.  ]])
    """
    n_runs = _check_runs(runs)
    runs = np.asarray(runs, dtype=np.float64)
    others = (runs.sum(axis=0) - runs) / (n_runs - 1)
    folds = [poisson_kernel_distance(train, test) for train, test in zip(others, runs, strict=True)]
    return np.asarray(np.mean(folds, axis=0))


def run_residuals(runs: np.ndarray) -> np.ndarray:
    """What runs differ by: patterns less the mean of their condition, (M, n, P) -> (M n, P).

    They have M n - n degrees of freedom.

    Examples
    --------
    >>> run_residuals(np.array([[[0.0], [2.0]], [[2.0], [2.0]]])).ravel()
    array([-1.,  0.,  1.,  0.])
    """
    residuals = runs - runs.mean(axis=0)
    return np.asarray(residuals.reshape(-1, runs.shape[2]))


def shrunk_covariance(residuals: np.ndarray, dof: int) -> np.ndarray:
    """Covariance of noise, its off-diagonal shrunk towards 0 as far as it is uncertain.

    Correlations r_jk are multiplied by 1 - lambda, lambda = sum var(r_jk) / sum r_jk^2 over j != k, within
    0 … 1.

    Parameters
    ----------
    residuals : (N, P) with mean 0 and some variance in each channel
    dof : their degrees of freedom

    Returns
    -------
    array (P, P), positive definite

    Source
    ------
    Schaefer & Strimmer 2005, Stat Appl Genet Mol Biol 4:32.

    Examples
    --------
    >>> shrunk_covariance(np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]), 4)
    array([[1., 0.],
           [0., 1.]])
    """
    n = len(residuals)
    covariance = residuals.T @ residuals / dof
    scaled = residuals / np.sqrt(np.diag(covariance))
    mean, square = scaled.T @ scaled / (n - 1), (scaled**2).T @ scaled**2 / (n - 1)
    off = ~np.eye(len(mean), dtype=bool)
    certain = (mean[off] ** 2).sum()
    uncertain = n / dof**2 * (square - mean**2)[off].sum()
    shrinkage = np.clip(uncertain / certain, 0, 1) if certain > 0 else 1.0
    return np.where(off, (1 - shrinkage) * covariance, covariance)


def whitened(runs: np.ndarray, noise: str) -> np.ndarray:
    """Patterns in units of the noise between runs, so that products are x' S^-1 y.

    Parameters
    ----------
    runs : (M, n, P)
    noise : one of ``NOISE``: ``"shrinkage"``, x L^-T with S = L L' the shrunk covariance of `run_residuals`;
        ``"diagonal"``, x over the SD of each channel; ``"none"``, x. Channels that do not differ between
        runs are left out, but with ``"none"``

    Returns
    -------
    array (M, n, P') float64

    Raises
    ------
    DesignError
        If the noise model is unknown, there are fewer than two runs, or no channel differs between runs.

    Examples
    --------
    >>> whitened(np.array([[[0.0, 5.0], [4.0, 5.0]], [[2.0, 5.0], [2.0, 5.0]]]), "diagonal").ravel()
    array([0.        , 2.82842712, 1.41421356, 1.41421356])
    """
    if noise not in NOISE:
        raise DesignError(f"no noise model {noise!r}; choose one of {list(NOISE)}.")
    _check_runs(runs)
    runs = np.asarray(runs, dtype=np.float64)
    if noise == "none":
        return runs
    residuals = run_residuals(runs)
    differs = (residuals**2).mean(axis=0) > 1e-20 * (runs**2).mean(axis=(0, 1))
    if not differs.any():
        raise DesignError("the runs of each level are identical, so there is no noise; take noise='none'.")
    return NOISE[noise](runs[:, :, differs], residuals[:, differs], len(residuals) - runs.shape[1])


def _by_covariance(runs: np.ndarray, residuals: np.ndarray, dof: int) -> np.ndarray:
    lower = np.linalg.cholesky(shrunk_covariance(residuals, dof))
    return solve_triangular(lower, runs.reshape(-1, len(lower)).T, lower=True).T.reshape(runs.shape)


def _by_variance(runs: np.ndarray, residuals: np.ndarray, dof: int) -> np.ndarray:
    return np.asarray(runs / np.sqrt((residuals**2).sum(axis=0) / dof))


NOISE: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "shrinkage": _by_covariance,
    "diagonal": _by_variance,
    "none": lambda runs, residuals, dof: runs,
}
"""Noise models by name: runs (M, n, P), their residuals (M n, P) and degrees of freedom -> whitened runs."""


def _check_runs(runs: np.ndarray) -> int:
    if len(runs) < 2:
        raise DesignError(
            f"{len(runs)} run; distances across runs need at least two independent templates, paraphrases or "
            "contexts of every condition."
        )
    return len(runs)
