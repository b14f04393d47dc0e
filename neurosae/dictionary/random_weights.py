"""A dictionary that has learned nothing: random directions, as many active for a token as asked for."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from neurosae.dictionary.interface import Dictionary
from neurosae.dictionary.plain import PlainDictionary
from neurosae.errors import DictionaryError


class RandomDictionary(PlainDictionary):
    """Random unit directions; the k that a token projects on most strongly, above 0, are its codes.

    What an analysis finds in its codes comes from the subject and from sparse coding, not from training.
    decode(codes) = codes @ decoder + bias rebuilds little: directions are not orthogonal.

    Parameters
    ----------
    n_features : number of directions
    d_in : width of the activations
    k : codes of one token, at most
    bias : (d_in,) subtracted before encoding, such as the mean activation; zeros if left out
    subject, site, layer : where the dictionary is used
    seed : of the directions

    Raises
    ------
    DictionaryError
        If k is not in 1 … n_features, or the bias is of another width.

    Source
    ------
    Heap et al. 2025 (dictionaries of random transformers look interpretable, too).

    Examples
    --------
    >>> codes = RandomDictionary(64, 8, k=4).encode(np.ones((2, 8)))
    >>> codes.shape, int(np.diff(codes.indptr).max())
    ((2, 64), 4)
    """

    def __init__(
        self,
        n_features: int,
        d_in: int,
        *,
        k: int = 32,
        bias: np.ndarray | None = None,
        subject: str = "toy",
        site: str = "resid_post",
        layer: int = 0,
        seed: int = 0,
    ) -> None:
        if not 1 <= k <= n_features:
            raise DictionaryError(f"k is {k}; of {n_features} features 1 to {n_features} can be active.")
        self.bias = np.zeros(d_in, np.float32) if bias is None else np.asarray(bias, dtype=np.float32)
        if self.bias.shape != (d_in,):
            raise DictionaryError(f"the bias has shape {self.bias.shape}; activations have width {d_in}.")
        directions = np.random.default_rng(seed).standard_normal((n_features, d_in))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self.decoder: np.ndarray = directions.astype(np.float32)
        self.name = f"random-{n_features}-{site}-l{layer}-s{seed}"
        self.subject, self.site, self.layer, self.k = subject, site, layer, k
        self.n_features, self.d_in = n_features, d_in
        self.metadata: Mapping[str, object] = {"architecture": "random", "k": k, "seed": seed}

    def encode(self, rows: np.ndarray) -> sp.csr_array:
        """Codes (n, feature) float32 of activations (n, d_in)."""
        projections = (np.asarray(rows, dtype=np.float32) - self.bias) @ self.decoder.T
        features = np.argpartition(projections, -self.k, axis=1)[:, -self.k :]
        values = np.maximum(np.take_along_axis(projections, features, axis=1), 0)
        at = np.repeat(np.arange(len(projections)), self.k)
        codes = sp.csr_array((values.ravel(), (at, features.ravel())), shape=projections.shape)
        codes.eliminate_zeros()
        codes.sort_indices()
        return codes


def random_dictionary(like: Dictionary, rows: np.ndarray, *, seed: int = 0) -> RandomDictionary:
    """A random dictionary in the place of ``like``: as wide, as sparse on these rows, at the same site.

    Parameters
    ----------
    like : the dictionary whose results are to be compared
    rows : (n, d_in) activations; their mean is the bias, and the codes that ``like`` gives them set k
    seed : of the directions

    Returns
    -------
    RandomDictionary
        With k the mean number of active codes of ``like``, rounded, at least 1.

    Raises
    ------
    DictionaryError
        If there are no rows, or they are of another width.

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> toy = ToyDictionary(8, 16)
    >>> found = random_dictionary(toy, np.random.default_rng(0).standard_normal((50, 16)))
    >>> found.n_features, found.site, found.k
    (8, 'resid_post', 4)
    """
    rows = np.asarray(rows, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != like.d_in or not len(rows):
        raise DictionaryError(f"rows have shape {rows.shape}; {like.name} needs (n, {like.d_in}), n > 0.")
    k = max(1, round(like.encode(rows).nnz / len(rows)))
    return RandomDictionary(
        like.n_features,
        like.d_in,
        k=k,
        bias=rows.mean(axis=0),
        subject=like.subject,
        site=like.site,
        layer=like.layer,
        seed=seed,
    )
