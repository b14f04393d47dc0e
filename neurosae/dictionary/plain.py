"""What dictionaries in plain numpy share: a decoder and a bias that rebuild, and an identity made of them."""

import hashlib
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp


class PlainDictionary:
    """Decodes by codes @ decoder + bias; subclasses set the attributes and encode.

    decoder : (feature, d_in) float32
    bias : (d_in,) float32
    """

    name: str
    subject: str
    site: str
    layer: int
    n_features: int
    d_in: int
    decoder: np.ndarray
    bias: np.ndarray
    metadata: Mapping[str, object]

    def decode(self, codes: sp.csr_array) -> np.ndarray:
        """Activations (n, d_in) float32 rebuilt from codes."""
        return np.asarray(codes @ self.decoder + self.bias, dtype=np.float32)

    def describe(self) -> dict[str, object]:
        """Identity for provenance."""
        weights = hashlib.sha256(self.decoder.tobytes() + self.bias.tobytes()).hexdigest()
        return {
            "name": self.name,
            "subject": self.subject,
            "site": self.site,
            "layer": self.layer,
            "n_features": self.n_features,
            "d_in": self.d_in,
            "weights_sha256": weights,
            **self.metadata,
        }
