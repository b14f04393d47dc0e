"""Codes of many tokens in one dictionary: how they are made of activations, and read by row or by feature."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from neurosae.dictionary.interface import Dictionary

DIGITS = 10
"""Binary digits that are kept of a code, after the first: as many as in float16, to a relative 2**-11."""

_DROPPED = 23 - DIGITS


class Codes(Protocol):
    """Codes of ``n_rows`` tokens in one dictionary, wherever they are."""

    @property
    def n_rows(self) -> int:
        """Number of tokens."""
        ...

    @property
    def n_features(self) -> int:
        """Number of features."""
        ...

    def rows(self, start: int, stop: int) -> sp.csr_array:
        """Codes (stop - start, n_features) float32 of consecutive tokens."""
        ...

    def columns(self, start: int, stop: int) -> sp.csc_array:
        """Codes (n_rows, stop - start) float32 of consecutive features, of every token."""
        ...


@dataclass(frozen=True)
class HeldCodes:
    """Codes in memory, as (row, feature)."""

    codes: sp.csr_array

    @property
    def n_rows(self) -> int:
        """Number of tokens."""
        return int(self.codes.shape[0])

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.codes.shape[1])

    def rows(self, start: int, stop: int) -> sp.csr_array:
        """Codes of consecutive tokens."""
        return self.codes[start:stop]

    def columns(self, start: int, stop: int) -> sp.csc_array:
        """Codes of consecutive features."""
        return sp.csc_array(self.codes[:, start:stop])


def encoded(dictionary: Dictionary, activation: np.ndarray, is_encoded: np.ndarray) -> sp.csr_array:
    """Codes of the tokens that have some, rounded as files hold them; the other rows are empty.

    Special tokens have no codes, nor have rows that are NaN or infinite: what these would be is not known,
    and their norm says so.

    Parameters
    ----------
    dictionary : Dictionary
    activation : (row, d_in) float32
    is_encoded : (row,) bool

    Returns
    -------
    csr_array (row, feature) float32, its features rising within a row, no zeros kept

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> toy = ToyDictionary(2, 4)
    >>> rows = toy.decode(sp.csr_array(np.array([[1, 0], [0, 3], [1, 1]], dtype=np.float32)))
    >>> encoded(toy, rows, np.array([True, True, False])).toarray().round(2).tolist()
    [[1.0, 0.0], [0.0, 3.0], [0.0, 0.0]]
    """
    kept = np.flatnonzero(is_encoded & np.isfinite(activation).all(axis=1))
    found = sp.csr_array(dictionary.encode(np.ascontiguousarray(activation[kept])), dtype=np.float32)
    found.sort_indices()
    found.eliminate_zeros()
    count = np.zeros(len(activation), dtype=np.int64)
    count[kept] = np.diff(found.indptr)
    pointers = np.concatenate([[0], np.cumsum(count)])
    shape = (len(activation), dictionary.n_features)
    return sp.csr_array((rounded(found.data), found.indices, pointers), shape=shape)


def rounded(values: np.ndarray) -> np.ndarray:
    """float32 values rounded to `DIGITS` binary digits after the first, halves to even; zeros compress well.

    Examples
    --------
    >>> rounded(np.array([1.0, 3.14159265, np.nan], dtype=np.float32)).tolist()
    [1.0, 3.140625, nan]
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    half = np.uint32((1 << (_DROPPED - 1)) - 1)
    odd = (bits >> np.uint32(_DROPPED)) & np.uint32(1)
    near = ((bits + half + odd) >> np.uint32(_DROPPED)) << np.uint32(_DROPPED)
    return np.where(np.isfinite(values), near.view(np.float32), values).astype(np.float32)


def reordered(parts: list[tuple[np.ndarray, sp.csr_array]], n_features: int) -> sp.csr_array:
    """Codes of several batches as those of one shard: each comes with the rows it belongs to."""
    if not parts:
        return sp.csr_array((0, n_features), dtype=np.float32)
    places = np.concatenate([place for place, _ in parts])
    joined = sp.csr_array(sp.vstack([codes for _, codes in parts], format="csr"))
    return sp.csr_array(joined[np.argsort(places)])
