"""Principal components in the place of a dictionary: what rotation alone achieves with as many numbers."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from neurosae.dictionary.interface import Dictionary
from neurosae.dictionary.plain import PlainDictionary
from neurosae.errors import DictionaryError


class PcaDictionary(PlainDictionary):
    """The k principal components that are strongest at a token are its codes; they may be negative.

    decode(codes) = codes @ components + mean. As a token may use any of d components, k codes rebuild more
    than the first k components do.

    Parameters
    ----------
    rows : (n, d_in) float, activations whose components are taken, n > 1
    k : codes of one token, 1 to d_in
    subject, site, layer : where the rows are from

    Raises
    ------
    DictionaryError
        If there are fewer than two rows, or k is out of range.

    Examples
    --------
    >>> rows = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    >>> pca = PcaDictionary(rows, k=4)
    >>> bool(np.allclose(pca.decode(pca.encode(rows)), rows, atol=1e-5))
    True
    """

    def __init__(
        self,
        rows: np.ndarray,
        k: int,
        *,
        subject: str = "toy",
        site: str = "resid_post",
        layer: int = 0,
    ) -> None:
        exact = np.asarray(rows, dtype=np.float64)
        if exact.ndim != 2 or len(exact) < 2:
            raise DictionaryError(f"rows have shape {exact.shape}; principal components need (n > 1, d).")
        if not 1 <= k <= exact.shape[1]:
            raise DictionaryError(f"k is {k}; of {exact.shape[1]} components 1 to all can be used.")
        mean = exact.mean(axis=0)
        components = np.linalg.eigh(np.cov(exact - mean, rowvar=False).reshape(len(mean), -1))[1].T[::-1]
        self.bias: np.ndarray = mean.astype(np.float32)
        self.decoder: np.ndarray = np.ascontiguousarray(components, dtype=np.float32)
        self.n_features = self.d_in = exact.shape[1]
        self.name = f"pca-{site}-l{layer}-k{k}"
        self.subject, self.site, self.layer, self.k = subject, site, layer, k
        self.metadata: Mapping[str, object] = {"architecture": "pca", "k": k}

    def encode(self, rows: np.ndarray) -> sp.csr_array:
        """Codes (n, component) float32 of activations (n, d_in)."""
        scores = (np.asarray(rows, dtype=np.float32) - self.bias) @ self.decoder.T
        features = np.sort(np.argpartition(-np.abs(scores), self.k - 1, axis=1)[:, : self.k], axis=1)
        pointers = np.arange(0, self.k * len(scores) + 1, self.k)
        values = np.take_along_axis(scores, features, axis=1).ravel()
        return sp.csr_array((values, features.ravel(), pointers), shape=scores.shape)


def pca_dictionary(like: Dictionary, rows: np.ndarray) -> PcaDictionary:
    """Principal components in the place of ``like``: as many active at a token as it has codes on average.

    Parameters
    ----------
    like : the dictionary that is compared
    rows : (n, d_in) activations of ordinary tokens, other ones than those that both are judged on

    Returns
    -------
    PcaDictionary

    Raises
    ------
    DictionaryError
        If rows are of another width, or fewer than two.

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> toy = ToyDictionary(8, 16)
    >>> pca_dictionary(toy, np.random.default_rng(0).standard_normal((50, 16))).k
    4
    """
    rows = np.asarray(rows, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != like.d_in or len(rows) < 2:
        raise DictionaryError(f"rows have shape {rows.shape}; {like.name} needs (n, {like.d_in}), n > 1.")
    k = int(np.clip(round(like.encode(rows).nnz / len(rows)), 1, like.d_in))
    return PcaDictionary(rows, k, subject=like.subject, site=like.site, layer=like.layer)
