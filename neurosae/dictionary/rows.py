"""Rows of activations in the order in which training sees them: shuffled anew each time, and resumable."""

from collections.abc import Iterator

import numpy as np

SAMPLE = 50_000
"""Rows that statistics of a whole harvest are taken from."""


def sample(rows: np.ndarray, n: int = SAMPLE) -> np.ndarray:
    """Up to ``n`` rows, spread evenly, as float32; NaN and infinite rows are left out."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(np.int64))
    found = np.asarray(rows[chosen], dtype=np.float32)
    return found[np.isfinite(found).all(axis=1)]


def ordinary(rows: np.ndarray, largest: float) -> np.ndarray:
    """Which rows are finite and no longer than ``largest``, (row,) bool; read in blocks."""
    kept = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(rows), SAMPLE):
        block = np.asarray(rows[start : start + SAMPLE], dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            norm = np.sqrt(np.einsum("rd,rd->r", block, block))
        kept[start : start + SAMPLE] = norm <= largest
    return kept


def batches(
    rows: np.ndarray, kept: np.ndarray, size: int, *, seed: int, first: int = 0
) -> Iterator[np.ndarray]:
    """Batches without end: every kept row once, in a new random order, then again.

    Parameters
    ----------
    rows : (row, d), may be mapped from disk
    kept : (row,) bool
    size : rows a batch, at most as many as are kept
    seed : of the orders
    first : number of the batch to begin with; the batches from there on are those of an uninterrupted run

    Yields
    ------
    (size, d) float32

    Examples
    --------
    >>> rows = np.arange(6.0)[:, None]
    >>> endless = batches(rows, np.ones(6, dtype=bool), 2, seed=0)
    >>> np.sort(np.concatenate([next(endless) for _ in range(3)]).ravel()).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    places = np.flatnonzero(kept)
    per_epoch = len(places) // size
    epoch, number = divmod(first, per_epoch)
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(places)
        for start in range(number * size, per_epoch * size, size):
            # rows in rising order are read from disk faster; within a batch the order does not matter
            yield np.asarray(rows[np.sort(order[start : start + size])], dtype=np.float32)
        epoch, number = epoch + 1, 0
