"""A planted dictionary in numpy: orthonormal features, so that codes put in come out exactly."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from neurosae.dictionary.plain import PlainDictionary
from neurosae.errors import DictionaryError


class ToyDictionary(PlainDictionary):
    """Orthonormal features with a threshold: codes of decoded codes are the codes themselves.

    code = p if p > threshold else 0, where p = (x - bias) · decoder row.

    Parameters
    ----------
    n_features : at most d_in
    d_in : width of the activations
    threshold : at least 0; smaller projections are silent
    shift : added to every projection; with a large one, all features are active and nothing is lost
    subject, site, layer : where the dictionary belongs
    seed : of the random features and bias

    Raises
    ------
    DictionaryError
        If n_features exceeds d_in, or the threshold is negative.

    Examples
    --------
    >>> toy = ToyDictionary(3, 8)
    >>> codes = sp.csr_array(np.array([[0, 2, 0], [1, 0, 3]], dtype=np.float32))
    >>> toy.encode(toy.decode(codes)).toarray().round(4).tolist()
    [[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]
    """

    def __init__(
        self,
        n_features: int = 8,
        d_in: int = 16,
        *,
        threshold: float = 0.1,
        shift: float = 0.0,
        subject: str = "toy",
        site: str = "resid_post",
        layer: int = 0,
        seed: int = 0,
    ) -> None:
        if not 1 <= n_features <= d_in:
            raise DictionaryError(
                f"{n_features} features in {d_in} dimensions: a toy dictionary needs 1 to {d_in} features."
            )
        if not threshold >= 0:
            raise DictionaryError(f"threshold {threshold} is given; it must be at least 0.")
        rng = np.random.default_rng(seed)
        directions = np.linalg.qr(rng.standard_normal((d_in, n_features)))[0]
        self.decoder: np.ndarray = directions.T.astype(np.float32)
        bias = rng.standard_normal(d_in).astype(np.float32)
        self.bias: np.ndarray = bias - np.float32(shift) * self.decoder.sum(axis=0)
        self.threshold = threshold
        self.name = f"toy-{site}-l{layer}"
        self.subject, self.site, self.layer = subject, site, layer
        self.n_features, self.d_in = n_features, d_in
        self.metadata: Mapping[str, object] = {"architecture": "toy", "seed": seed, "threshold": threshold}

    def encode(self, rows: np.ndarray) -> sp.csr_array:
        """Codes (n, feature) float32 of activations (n, d_in)."""
        projections = (np.asarray(rows, dtype=np.float32) - self.bias) @ self.decoder.T
        return sp.csr_array(np.where(projections > self.threshold, projections, np.float32(0)))
