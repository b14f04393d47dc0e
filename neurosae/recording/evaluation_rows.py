"""Texts that a dictionary is judged on: windows, activations at a site, and which tokens are ordinary."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from neurosae.errors import DesignError
from neurosae.schema.names import SINK_RATIO
from neurosae.subject.batching import run_all
from neurosae.subject.interface import Subject, Tokens

SCOPES = ("ordinary", "with_sinks", "everywhere")
"""Tokens that are rebuilt: neither special nor sinks; not special; all."""


@dataclass(frozen=True)
class EvaluationRows:
    """Activations (row, d) float32 of a site at all tokens of some windows.

    is_special : (row,) bool
    max_norm : longest activation of an ordinary token; longer ones are attention sinks
    """

    values: np.ndarray
    is_special: np.ndarray
    max_norm: float

    def scopes(self) -> Mapping[str, np.ndarray]:
        """Scope → which rows belong to it, (row,) bool."""
        is_sink = np.linalg.norm(self.values, axis=1) > self.max_norm
        chosen = (~self.is_special & ~is_sink, ~self.is_special, np.ones(len(is_sink), dtype=bool))
        return dict(zip(SCOPES, chosen, strict=True))

    @property
    def ordinary(self) -> np.ndarray:
        """Activations of the ordinary tokens."""
        return self.values[self.scopes()["ordinary"]]


def evaluation_windows(
    subject: Subject, texts: Sequence[str], *, n_tokens: int, context: int = 128
) -> list[Tokens]:
    """Windows of texts in their order, each begun by what begins a text, until there are enough tokens.

    Raises
    ------
    DesignError
        If there is nothing to judge, or ``context`` is below 2.
    """
    if context < 2 or context > subject.context_length:
        raise DesignError(f"context is {context}; windows have 2 to {subject.context_length} tokens.")
    chosen: list[Tokens] = []
    n_left = n_tokens
    for text in texts:
        for window in _windows(subject.tokenize([text])[0], context):
            chosen.append(window)
            n_left -= int((~window.is_special).sum())
            if n_left <= 0:
                return chosen
    if n_tokens - n_left < 2:
        raise DesignError(f"{len(texts)} texts hold {n_tokens - n_left} tokens; at least 2 are needed.")
    return chosen


def _windows(tokens: Tokens, context: int) -> Iterator[Tokens]:
    n_leading = len(tokens) if tokens.is_special.all() else int(np.argmin(tokens.is_special))
    leading = np.arange(n_leading)[: context - 1]
    for start in range(n_leading, len(tokens), context - len(leading)):
        body = np.arange(start, min(len(tokens), start + context - len(leading)))
        at = np.concatenate([leading, body])
        yield Tokens(**{field.name: getattr(tokens, field.name)[at] for field in fields(Tokens)})


def tokens_sha256(windows: Sequence[Tokens]) -> str:
    """Hash of the tokens of windows: results with the same hash were judged on the same tokens."""
    digest = hashlib.sha256()
    for window in windows:
        digest.update(len(window).to_bytes(8, "little") + window.token_id.astype("<i8").tobytes())
    return digest.hexdigest()


def evaluation_rows(
    subject: Subject,
    windows: Sequence[Tokens],
    site: str,
    layer: int,
    *,
    sink_ratio: float = SINK_RATIO,
    batch_tokens: int = 2048,
) -> EvaluationRows:
    """Activations of a site at every token of some windows, and which of them are ordinary.

    Raises
    ------
    DesignError
        If fewer than two tokens are ordinary.
    """
    parts = list(run_all(subject, windows, batch_tokens=batch_tokens, sites={site: [layer]}))
    values = np.concatenate([readings.activations[site][:, 0] for _, readings in parts])
    is_special = np.concatenate([windows[number].is_special for numbers, _ in parts for number in numbers])
    norms = np.linalg.norm(values[~is_special], axis=1)
    rows = EvaluationRows(values, is_special.astype(bool), sink_ratio * float(np.median(norms)))
    if len(rows.ordinary) < 2:
        raise DesignError(
            f"{len(rows.ordinary)} tokens are ordinary; give more texts or a larger sink_ratio."
        )
    return rows
