"""What every dictionary offers: rows of activations to sparse codes and back, as numpy and scipy arrays.

The rest of the package sees this interface only; torch stays behind it.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import scipy.sparse as sp


class Dictionary(Protocol):
    """A sparse autoencoder of one subject, site and layer.

    subject : the model as the dictionary names it
    decoder : (feature, d_in) float32; one row is what a code of 1 writes
    metadata : what is known of its training, and under 'told' what the user said in its place
    """

    name: str
    subject: str
    site: str
    layer: int
    n_features: int
    d_in: int
    decoder: np.ndarray
    metadata: Mapping[str, object]

    def encode(self, rows: np.ndarray) -> sp.csr_array:
        """Codes (n, feature) float32 of activations (n, d_in); never dense beyond one batch of rows."""
        ...

    def decode(self, codes: sp.csr_array) -> np.ndarray:
        """Activations (n, d_in) float32 rebuilt from codes: codes @ decoder + bias."""
        ...

    def describe(self) -> dict[str, object]:
        """Identity for provenance: name, subject, site, layer, sizes, hash of the weights."""
        ...
