"""How well rows are rebuilt, summed up over blocks of rows: variance, angle, length."""

from collections.abc import Mapping

import numpy as np


class ReconstructionSums:
    """Sums over rows and their reconstructions, from which `measures` follow; blocks come in any order.

    Parameters
    ----------
    width : columns of the rows

    Source
    ------
    Rajamanoharan et al. 2024, equation 10 (reconstruction bias); Karvonen et al. 2025 (SAEBench, core).

    Examples
    --------
    >>> sums = ReconstructionSums(2)
    >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    >>> sums.add(rows, rows / 2)
    >>> {name: round(value, 3) for name, value in sums.measures().items()}
    {'mse': 0.917, 'explained_variance': 0.484, 'fvu': 0.516, 'cosine': 1.0, 'bias': 0.5, 'length_ratio': 0.5}
    """

    def __init__(self, width: int) -> None:
        self.n_rows = 0
        self._total = np.zeros(width)
        self._squares = self._residual = self._rebuilt = self._product = self._cosine = self._ratio = 0.0

    def add(self, rows: np.ndarray, rebuilt: np.ndarray) -> None:
        """Take in rows (row, d) and what they were rebuilt as; where either is zeros the cosine is 0."""
        x, y = np.asarray(rows, dtype=np.float64), np.asarray(rebuilt, dtype=np.float64)
        square, rebuilt_square = np.einsum("rd,rd->r", x, x), np.einsum("rd,rd->r", y, y)
        product = np.einsum("rd,rd->r", x, y)
        self.n_rows += len(x)
        self._total += x.sum(axis=0)
        self._squares += float(square.sum())
        self._residual += float(((x - y) ** 2).sum())
        self._rebuilt += float(rebuilt_square.sum())
        self._product += float(product.sum())
        lengths = np.sqrt(square * rebuilt_square)
        self._cosine += float((product / np.where(lengths > 0, lengths, 1)).sum())
        self._ratio += float(np.sqrt(rebuilt_square / np.where(square > 0, square, 1)).sum())

    def measures(self) -> Mapping[str, float]:
        """Measures of all rows so far; all NaN without rows, a share of variance NaN where there is none.

        mse = mean |x - x'|^2; fvu = mse / (mean |x|^2 - |mean x|^2); explained_variance = 1 - fvu; cosine =
        mean cos(x, x'); bias = mean |x'|^2 / mean <x, x'> (1 = none, below 1 = shrunk); length_ratio =
        mean |x'| / |x|.
        """
        n = self.n_rows or np.nan
        mean = self._total / n
        variance = self._squares / n - float(mean @ mean)
        mse = self._residual / n
        fvu = mse / variance if variance > 1e-10 * self._squares / n else np.nan
        return {
            "mse": mse,
            "explained_variance": 1 - fvu,
            "fvu": fvu,
            "cosine": self._cosine / n,
            "bias": self._rebuilt / self._product if self._product else np.nan,
            "length_ratio": self._ratio / n,
        }


def log_rate_histogram(rate: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Number of features with a firing rate between powers of ten; silent features are left out.

    Parameters
    ----------
    rate : (feature,) 0 to 1
    edges : (bin + 1,) rising exponents of ten; the last bin includes its upper edge

    Returns
    -------
    int array (bin,)

    Examples
    --------
    >>> log_rate_histogram(np.array([0.0, 0.002, 0.5, 1.0]), np.array([-3.0, -2.0, -1.0, 0.0])).tolist()
    [1, 0, 2]
    """
    alive = np.asarray(rate)[np.asarray(rate) > 0]
    return np.histogram(np.log10(alive), bins=edges)[0]
