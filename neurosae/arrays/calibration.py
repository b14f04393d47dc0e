"""Do probabilities mean what they say? Calibration error, parts of the Brier score, reliability curve."""

from typing import NamedTuple

import numpy as np

N_BINS = 10


class Calibration(NamedTuple):
    """Quality of probabilities, and of each bin its mean forecast, observed share and number of rows."""

    ece: float
    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    log_loss: float
    forecast: np.ndarray
    observed: np.ndarray
    n_rows: np.ndarray


def measure_calibration(
    probability: np.ndarray, is_event: np.ndarray, *, n_bins: int = N_BINS
) -> Calibration:
    """How far forecasts are from the shares of events that follow them, in bins of equal numbers of rows.

    ECE = sum n_b/n |o_b - f_b|; Brier = mean (f - y)² = reliability - resolution + uncertainty + within, with
    reliability sum n_b/n (f_b - o_b)², resolution sum n_b/n (o_b - o)², uncertainty o (1 - o), and what
    varies within bins, which vanishes where all forecasts of a bin are equal.

    Parameters
    ----------
    probability : (n,) forecasts in [0, 1]
    is_event : (n,) bool
    n_bins : rows are sorted by forecast and split into this many bins; fewer if there are fewer rows, and
        equal forecasts share a bin

    Source
    ------
    Murphy 1973, J Appl Meteorol 12:595 (decomposition); Naeini, Cooper & Hauskrecht 2015, AAAI (ECE).

    Examples
    --------
    >>> forecast, event = np.array([0.2, 0.2, 0.8, 0.8]), np.array([False, False, True, False])
    >>> found = measure_calibration(forecast, event, n_bins=2)
    >>> round(found.ece, 3), round(found.brier, 3), found.observed.tolist()
    (0.25, 0.19, [0.0, 0.5])
    """
    probability, event = np.asarray(probability, dtype=float), np.asarray(is_event, dtype=float)
    bins = _bins(probability, n_bins)
    count = np.bincount(bins)
    forecast, observed = (np.bincount(bins, v) / count for v in (probability, event))
    share, rate = count / len(event), event.mean()
    clipped = np.clip(np.where(event > 0, probability, 1 - probability), np.finfo(float).eps, 1)
    return Calibration(
        ece=float(share @ np.abs(observed - forecast)),
        brier=float(np.mean((probability - event) ** 2)),
        reliability=float(share @ (forecast - observed) ** 2),
        resolution=float(share @ (observed - rate) ** 2),
        uncertainty=float(rate * (1 - rate)),
        log_loss=float(-np.log(clipped).mean()),
        forecast=forecast,
        observed=observed,
        n_rows=count,
    )


def _bins(probability: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin 0 … B-1 of each row; the bin of equal forecasts is that of the first of them in sorted order."""
    ordered = np.sort(probability)
    first = np.searchsorted(ordered, probability)
    bins = first * min(n_bins, len(probability)) // len(probability)
    return np.unique(bins, return_inverse=True)[1]
