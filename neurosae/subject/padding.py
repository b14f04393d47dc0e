"""One batch of texts as the rectangular tensors a model reads, right padded, and which cells are real."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neurosae.errors import SubjectError
from neurosae.subject.interface import Tokens


@dataclass(frozen=True)
class Batch:
    """Tensors (text, position) of a batch; ``rows`` are the flat positions of real tokens, text by text."""

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    is_open: Tensor
    rows: Tensor
    lengths: np.ndarray

    def predicting(self) -> tuple[np.ndarray, Tensor]:
        """Rows that are predicted (numbers into all rows), and the flat positions that predict them."""
        is_first = np.zeros(int(self.lengths.sum()), dtype=bool)
        is_first[np.cumsum(self.lengths)[:-1]] = True
        is_first[:1] = True
        predicted = np.flatnonzero(~is_first)
        return predicted, self.rows[torch.from_numpy(predicted).to(self.rows.device)] - 1


def pad(tokens: Sequence[Tokens], *, pad_id: int, context_length: int, device: torch.device) -> Batch:
    """Right-padded batch of texts.

    Parameters
    ----------
    tokens : tokens of each text
    pad_id : token put after the end; no real token attends to it
    context_length : most tokens the subject reads
    device : where the tensors are put

    Raises
    ------
    SubjectError
        If there is no text, or one is empty or too long.
    """
    lengths = np.array([len(text) for text in tokens], dtype=np.int64)
    _check_lengths(lengths, context_length)
    width = int(lengths.max())
    is_real = np.arange(width) < lengths[:, None]
    input_ids, is_open = np.full(is_real.shape, pad_id, dtype=np.int64), np.zeros_like(is_real)
    input_ids[is_real] = np.concatenate([text.token_id for text in tokens])
    is_open[is_real] = ~np.concatenate([text.is_special for text in tokens]).astype(bool)
    return Batch(
        input_ids=torch.from_numpy(input_ids).to(device),
        attention_mask=torch.from_numpy(is_real.astype(np.int64)).to(device),
        position_ids=torch.arange(width, device=device).expand(len(lengths), width),
        is_open=torch.from_numpy(is_open).to(device),
        rows=torch.from_numpy(np.flatnonzero(is_real)).to(device),
        lengths=lengths,
    )


def _check_lengths(lengths: np.ndarray, context_length: int) -> None:
    if not len(lengths):
        raise SubjectError("no text was given to run; at least one is needed.")
    if lengths.min() == 0:
        raise SubjectError(
            f"text {int(lengths.argmin())} of the batch has no tokens; give a text that is not empty."
        )
    if lengths.max() > context_length:
        raise SubjectError(
            f"text {int(lengths.argmax())} of the batch has {int(lengths.max())} tokens; the subject reads "
            f"at most {context_length}. Shorten the text."
        )
