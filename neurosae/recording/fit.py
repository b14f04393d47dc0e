"""How well a dictionary rebuilds the activations it is to encode, judged on a sample before work is spent."""

import warnings
from typing import NamedTuple

import numpy as np

from neurosae.dictionary.guards import fraction_unexplained
from neurosae.dictionary.interface import Dictionary

FEWEST_ROWS = 32
"""Tokens below which a fraction of variance says nothing."""

MOST_ROWS = 2048
FVU_WARNING = 0.5


class Fit(NamedTuple):
    """fvu : variance left unexplained, 0 to 1; l0 : active features a token; NaN where tokens are too few."""

    fvu: float
    l0: float


def check_fit(dictionary: Dictionary, rows: np.ndarray, *, seed: int = 0) -> Fit:
    """Rebuild a sample of activations, and refuse a dictionary that was made for others.

    Parameters
    ----------
    dictionary : Dictionary
    rows : (n, d_in) float32, activations of ordinary tokens; a sample of at most 2048 is taken
    seed : of the sample

    Returns
    -------
    Fit
        NaN and NaN below 32 finite rows.

    Raises
    ------
    DictionaryError
        If FVU is 1 or more.

    Warns
    -----
    UserWarning
        If FVU exceeds 0.5.

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> toy = ToyDictionary(4, 8)
    >>> codes = np.random.default_rng(0).gamma(1, size=(40, 4))
    >>> fit = check_fit(toy, (toy.bias + codes @ toy.decoder).astype(np.float32))
    >>> fit.fvu < 0.01, 3 < fit.l0 <= 4
    (True, True)
    """
    finite = rows[np.isfinite(rows).all(axis=1)]
    if len(finite) < FEWEST_ROWS:
        return Fit(float("nan"), float("nan"))
    if len(finite) > MOST_ROWS:
        finite = finite[np.sort(np.random.default_rng(seed).choice(len(finite), MOST_ROWS, replace=False))]
    fvu, l0 = fraction_unexplained(dictionary, finite)
    if fvu > FVU_WARNING:
        warnings.warn(
            f"{dictionary.name} leaves {fvu:.2f} of the variance of these activations unexplained. Its "
            "features may mean little here: check subject, site, layer and the kind of text it is made for.",
            stacklevel=3,
        )
    return Fit(fvu, l0)
