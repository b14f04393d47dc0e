"""How improbable each token was: −log2 p(token | tokens before it), in bits."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

_CELLS = 2**25
"""Most logits held at a time (128 MiB in float32)."""


def token_bits(hidden: Tensor, following: Tensor, logits_of: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Surprisal of the token that follows each row: log2 Σ exp(logits) − logit of the token, over ln 2.

    Only rows that predict a token are unembedded, in chunks, so that no array of vocabulary × tokens exists.

    Parameters
    ----------
    hidden : Tensor (row, d_model), what enters the unembedding
    following : int Tensor (row,), the token that came next
    logits_of : rows → logits (row, vocabulary)

    Returns
    -------
    array (row,)
        Bits, float64.
    """
    if not len(hidden):
        return np.zeros(0)
    first = logits_of(hidden[:1])
    size = max(1, _CELLS // first.shape[-1])
    bits = [
        _bits(logits_of(rows), ids)
        for rows, ids in zip(hidden.split(size), following.split(size), strict=True)
    ]
    return torch.cat(bits).cpu().numpy()


def token_divergence(intact: Tensor, edited: Tensor, logits_of: Callable[[Tensor], Tensor]) -> np.ndarray:
    """KL(intact || edited) of the predictions after each row: sum p (log2 p - log2 q).

    Parameters
    ----------
    intact, edited : Tensors (row, d_model), what enters the unembedding in the two passes
    logits_of : rows → logits (row, vocabulary)

    Returns
    -------
    array (row,)
        Bits, float64.
    """
    if not len(intact):
        return np.zeros(0)
    size = max(1, _CELLS // (2 * logits_of(intact[:1]).shape[-1]))
    bits = [
        _divergence(logits_of(rows), logits_of(others))
        for rows, others in zip(intact.split(size), edited.split(size), strict=True)
    ]
    return torch.cat(bits).cpu().numpy()


def _divergence(intact: Tensor, edited: Tensor) -> Tensor:
    log_p, log_q = intact.float().log_softmax(-1), edited.float().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).double() / np.log(2)


def _bits(logits: Tensor, following: Tensor) -> Tensor:
    wide = logits.float()
    nats = wide.logsumexp(-1).double() - wide.gather(-1, following[:, None])[:, 0].double()
    return nats / np.log(2)
