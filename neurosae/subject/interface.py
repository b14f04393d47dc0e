"""What every subject offers: tokenize texts, run them once, hand back numpy arrays.

The rest of the package sees this interface only; torch stays behind it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np


@dataclass(frozen=True)
class Tokens:
    """One text as the subject reads it; all arrays have length ``n_tokens``.

    Character spans index the text, end exclusive; a special token that is not in the text (BOS) has an
    empty span at 0.
    """

    token_id: np.ndarray
    token_str: np.ndarray
    char_start: np.ndarray
    char_end: np.ndarray
    is_special: np.ndarray

    def __len__(self) -> int:
        return len(self.token_id)


@dataclass(frozen=True)
class Edit:
    """One affine edit in a basis: codes c become gain·c + offset, x becomes x + decode(c′) − decode(c).

    ``features`` alone edits units: c = x[features]. With ``encoder`` (d, k) and ``decoder`` (k, d) the codes
    are c = x @ encoder and decode is c @ decoder; a direction v with unit norm is encoder = v[:, None],
    decoder = v[None, :]. gain 1 and offset 0 leave x unchanged bit for bit.

    Special tokens, and tokens whose norm at the site exceeds ``max_norm`` (attention sinks), pass through.
    """

    site: str
    layer: int
    gain: np.ndarray
    offset: np.ndarray
    features: np.ndarray | None = None
    encoder: np.ndarray | None = None
    decoder: np.ndarray | None = None
    max_norm: float = float("inf")


@dataclass(frozen=True)
class Splice:
    """One replacement: activations at a site become a function of themselves.

    function : rows (n, feature) float32 → rows of the same shape; the identity leaves x unchanged bit for bit
    everywhere : whether special tokens are replaced as well; those of `Edit` pass through otherwise

    Tokens whose norm at the site exceeds ``max_norm`` (attention sinks) pass through.
    """

    site: str
    layer: int
    function: Callable[[np.ndarray], np.ndarray]
    max_norm: float = float("inf")
    everywhere: bool = False


Change: TypeAlias = Edit | Splice


@dataclass(frozen=True)
class Readings:
    """What one run gave back; rows are the tokens of all texts, one after another, padding dropped.

    activations : site → array (row, layer, feature) float32, layers in the order asked for
    surprisal : (row,) float64 bits, −log2 p(token | tokens before it); NaN at the first token
    shift : per edit, the summed L2 norm of the change it made, over edited rows (manipulation check)
    edited : per edit, the number of rows it changed or would have changed (rows not passed through)
    divergence : (row,) float64 bits, KL(intact || edited) of the predictions of a token; NaN at the first
    """

    activations: Mapping[str, np.ndarray] = field(default_factory=dict)
    surprisal: np.ndarray | None = None
    shift: tuple[float, ...] = ()
    edited: tuple[int, ...] = ()
    divergence: np.ndarray | None = None


class Subject(Protocol):
    """A language model under study, with its tokenizer."""

    name: str
    n_layers: int
    d_model: int
    context_length: int

    def describe(self) -> dict[str, object]:
        """Identity for provenance: name, hashes of weights and tokenizer, dtype, device, BOS policy."""
        ...

    def n_features(self, site: str) -> int:
        """Number of features at ``site``; raises SubjectError for a site the subject lacks."""
        ...

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each text, BOS first where the subject's policy is to prepend it."""
        ...

    def run(
        self,
        tokens: Sequence[Tokens],
        *,
        sites: Mapping[str, Sequence[int]] | None = None,
        surprisal: bool = False,
        divergence: bool = False,
        edits: Sequence[Change] = (),
    ) -> Readings:
        """One forward pass over a batch of texts, right padded, masked, hooks removed whatever happens.

        Stops after the deepest layer that ``sites`` asks for unless ``surprisal`` is True. With ``edits`` the
        activations are those of the edited model; ``divergence`` compares its predictions with those of the
        intact model, which takes a second pass.
        """
        ...
