"""Which texts run together, and what happens when they do not fit into memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from neurosae.errors import SubjectError
from neurosae.subject.interface import Readings, Subject, Tokens

_LOG = logging.getLogger(__name__)

WASTE = 0.05
"""Largest share of padding among the tokens that are run."""

_ALLOWANCES = (64, 32, 16, 8, 4, 2, 1, 0)
"""Padding tokens a small batch may hold beyond that share: fewer batches first, less padding if need be."""


class TooLargeError(SubjectError):
    """One text alone does not fit into memory; ``position`` is its place among those that were to run."""

    def __init__(self, position: int, n_tokens: int) -> None:
        super().__init__(
            f"a text of {n_tokens} tokens alone does not fit into memory; shorten it, ask for fewer "
            "layers or sites, or load the subject with dtype='bfloat16'."
        )
        self.position = position


def batches(tokens: Sequence[Tokens], batch_tokens: int) -> list[np.ndarray]:
    """Which texts to run together so that little of a batch is padding.

    Texts are sorted by length, longest first, and cut where a batch would exceed ``batch_tokens`` padded
    tokens (texts × longest text) or the padding of all batches would exceed 5 % of the tokens run.

    Parameters
    ----------
    tokens : tokens of each text
    batch_tokens : most padded tokens in a batch, at least 1; a longer text makes a batch of its own

    Returns
    -------
    list of int arrays
        Positions in ``tokens``; every text is in exactly one batch.

    Raises
    ------
    SubjectError
        If ``batch_tokens`` is below 1.

    Examples
    --------
    >>> from neurosae.subject.toy import ToySubject
    >>> texts = ToySubject().tokenize(["a", "the keys are here", "a", "the key is here"])
    >>> [batch.tolist() for batch in batches(texts, 64)]
    [[1, 3], [0, 2]]
    """
    if batch_tokens < 1:
        raise SubjectError(f"batch_tokens is {batch_tokens}; at least 1 is needed (about 4096 suits a CPU).")
    lengths = np.array([len(text) for text in tokens], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    cut: list[np.ndarray] = []
    for allowance in _ALLOWANCES:
        cut = np.split(order, _cuts(lengths[order], batch_tokens, allowance))
        padded = sum(int(lengths[batch[0]]) * len(batch) for batch in cut if len(batch))
        if padded - lengths.sum() <= WASTE * padded:
            break
    return [batch for batch in cut if len(batch)]


def _cuts(lengths: np.ndarray, batch_tokens: int, allowance: int) -> list[int]:
    """Positions at which texts sorted by length, longest first, are cut into batches."""
    cuts: list[int] = []
    first, real = 0, 0
    for position, length in enumerate(lengths.tolist()):
        padded = int(lengths[first]) * (position - first + 1)
        waste = padded - real - length
        if position > first and (padded > batch_tokens or waste > max(allowance, WASTE * padded)):
            cuts.append(position)
            first, real = position, 0
        real += length
    return cuts


def run_all(
    subject: Subject,
    tokens: Sequence[Tokens],
    *,
    batch_tokens: int,
    progress: Callable[[int], object] | None = None,
    leave_out: Callable[[TooLargeError], object] | None = None,
    **kwargs: Any,
) -> Iterator[tuple[np.ndarray, Readings]]:
    """What the subject gives back for many texts, batch by batch.

    When a batch does not fit into memory, the budget is halved for texts of about its length, down to half of
    it; shorter ones start with the full budget again. Batches already handed out are kept.

    Parameters
    ----------
    subject : the model
    tokens : tokens of each text
    batch_tokens : most padded tokens in a batch
    progress : called after each batch with the number of texts in it
    leave_out : called with the error of a text that does not fit into memory even alone; the others go on
    **kwargs : ``sites``, ``surprisal`` and ``edits`` of `neurosae.subject.interface.Subject.run`

    Yields
    ------
    (int array, Readings)
        Positions in ``tokens`` of the texts that were run together, and their readings in that order.

    Raises
    ------
    TooLargeError
        If one text alone does not fit into memory, and there is no ``leave_out``.

    Examples
    --------
    >>> from neurosae.subject.toy import ToySubject
    >>> toy = ToySubject()
    >>> texts = toy.tokenize(["the keys are here", "the key"])
    >>> parts = run_all(toy, texts, batch_tokens=5, surprisal=True)
    >>> [(numbers.tolist(), readings.surprisal.size) for numbers, readings in parts]
    [([0], 5), ([1], 3)]
    """
    waiting = batches(tokens, batch_tokens)[::-1]
    while waiting:
        batch = waiting.pop()
        readings = _attempt(subject, [tokens[number] for number in batch], kwargs)
        if readings is not None:
            yield batch, readings
            if progress is not None:
                progress(len(batch))
        elif len(batch) > 1:
            waiting = _smaller(tokens, [batch, *waiting[::-1]], batch_tokens)[::-1]
        else:
            _refuse(TooLargeError(int(batch[0]), len(tokens[batch[0]])), leave_out)


def _smaller(tokens: Sequence[Tokens], left: Sequence[np.ndarray], batch_tokens: int) -> list[np.ndarray]:
    """What is left to run, the first of it too large: half as much at a time, but only of such long texts.

    How much a token takes grows with the length of its text, so that shorter texts may well fit.
    """
    longest = max(len(tokens[number]) for number in left[0])
    halved = max(1, longest * len(left[0]) // 2)
    _LOG.info("batches of texts of %d tokens hold at most %d tokens from here on", longest, halved)
    every = np.concatenate(left)
    is_long = np.array([2 * len(tokens[number]) > longest for number in every])
    parts = ((every[is_long], halved), (every[~is_long], batch_tokens))
    return [
        some[batch]
        for some, budget in parts
        for batch in batches([tokens[number] for number in some], budget)
    ]


def _refuse(error: TooLargeError, leave_out: Callable[[TooLargeError], object] | None) -> None:
    if leave_out is None:
        raise error
    leave_out(error)


def _attempt(subject: Subject, tokens: Sequence[Tokens], kwargs: dict[str, Any]) -> Readings | None:
    """Readings of one batch, or None if it is too large for the memory."""
    try:
        return subject.run(tokens, **kwargs)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _LOG.info("a batch of %d texts does not fit into memory (%s)", len(tokens), type(error).__name__)
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the machine or of an accelerator, ran out.

    Examples
    --------
    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(error)
