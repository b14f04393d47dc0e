"""Which tokens of a recording lie in a window: one mask, or one for each of several bins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import DesignError
from neurosae.protocol.windows import Window
from neurosae.schema.names import NO_TARGET, STIMULUS, TOKEN
from neurosae.schema.recordings import stimulus_table
from neurosae.schema.spans import character_spans
from neurosae.schema.spelling import listed, nearest
from neurosae.stimulus.targets import TARGET_COLUMNS, tokens_in_span


@dataclass(frozen=True)
class Positions:
    """What windows are made of: arrays (stimulus, token), and the table of the stimuli.

    valid : real tokens that count
    rel_target : position relative to the last token of the target
    char_start, char_end : characters of each token, end exclusive; None if the recording has none
    stimuli : one row a stimulus
    """

    valid: np.ndarray
    rel_target: np.ndarray
    char_start: np.ndarray | None
    char_end: np.ndarray | None
    stimuli: pd.DataFrame

    @property
    def order(self) -> np.ndarray:
        """Position among the valid tokens, from 0; meaningless at tokens that are not valid."""
        return np.cumsum(self.valid, axis=1) - 1

    @property
    def count(self) -> np.ndarray:
        """(stimulus, 1) number of valid tokens."""
        return self.valid.sum(axis=1, keepdims=True)


def token_positions(recording: xr.DataArray | xr.Dataset) -> Positions:
    """Where the tokens of a recording, or of its labels, are; nothing is read from its activations."""
    fields = {name: _field(recording, name) for name in ("valid", "rel_target", "char_start", "char_end")}
    valid, relative, start, end = fields.values()
    if valid is None:
        raise DesignError("the recording has no coordinate 'valid' (stimulus, token).")
    relative = np.full(valid.shape, NO_TARGET) if relative is None else relative
    return Positions(valid, relative, start, end, stimulus_table(recording))


def _field(recording: xr.DataArray | xr.Dataset, name: str) -> np.ndarray | None:
    return recording.coords[name].transpose(STIMULUS, TOKEN).values if name in recording.coords else None


def token_masks(window: Window, at: Positions) -> np.ndarray:
    """Which tokens each part of a window holds.

    Parameters
    ----------
    window : Window
    at : Positions

    Returns
    -------
    (part, stimulus, token) bool
        One part; for 'relative:q', q of them.

    Raises
    ------
    DesignError
        If a span window needs what the recording lacks: its columns, or the characters of its tokens.
    StimulusError
        If the columns of a span window hold no spans.

    Examples
    --------
    >>> four = np.ones((1, 4), dtype=bool)
    >>> at = Positions(four, np.zeros((1, 4)), None, None, pd.DataFrame({"stimulus": ["a"]}))
    >>> token_masks(Window("relative", (2,)), at).astype(int).tolist()
    [[[1, 1, 0, 0]], [[0, 0, 1, 1]]]
    """
    masks = MASKS[window.kind](at, *window.numbers, *window.columns)
    return masks if masks.ndim == 3 else masks[None]


def fewest_tokens(window: Window) -> int:
    """How many tokens each part of a window asks for: its length if that is written, otherwise 1."""
    if window.kind == "target" and window.numbers:
        first, last = window.numbers
        return last - first + 1
    return window.numbers[0] if window.kind in ("first", "last", "centered") else 1


def _all(at: Positions) -> np.ndarray:
    return at.valid


def _first(at: Positions, k: int) -> np.ndarray:
    return at.valid & (at.order < k)


def _last(at: Positions, k: int) -> np.ndarray:
    return at.valid & (at.order >= at.count - k)


def _centered(at: Positions, k: int) -> np.ndarray:
    start = (at.count - k) // 2
    return at.valid & (at.order >= start) & (at.order < start + k)


def _target(at: Positions, *between: int) -> np.ndarray:
    if between:
        return at.valid & (at.rel_target >= between[0]) & (at.rel_target <= between[1])
    if at.char_start is None or at.char_end is None or TARGET_COLUMNS[0] not in at.stimuli:
        return at.valid & (at.rel_target == 0)
    return _overlapping(at, at.stimuli[list(TARGET_COLUMNS)].to_numpy())


def _relative(at: Positions, q: int) -> np.ndarray:
    longest = at.count.max(initial=0)
    if q > longest:
        raise DesignError(
            f"the window 'relative:{q}' needs {q} valid tokens, one for each part; the longest stimulus has "
            f"{longest}. Take fewer parts."
        )
    # floor(q (t - .5) / T) for the t-th of T tokens, in whole numbers so that no bin edge is rounded
    bins = q * (2 * at.order + 1) // np.maximum(2 * at.count, 1)
    return at.valid & (bins == np.arange(q)[:, None, None])


def _span(at: Positions, start: int | str, end: int | str) -> np.ndarray:
    if isinstance(start, str) and isinstance(end, str):
        for name in (start, end):
            _check_column(name, at.stimuli)
        return _overlapping(at, character_spans(at.stimuli, start, end))
    return _overlapping(at, np.array([[start, end]]))


def _check_column(name: str, stimuli: pd.DataFrame) -> None:
    if name not in stimuli:
        advice = f"{nearest(name, stimuli.columns)} Columns: {listed(stimuli.columns)}."
        raise DesignError(f"the recording has no stimulus column {name!r} for the span{advice}")


def _overlapping(at: Positions, spans: np.ndarray) -> np.ndarray:
    """Valid tokens that overlap the spans (stimulus or 1, 2)."""
    if at.char_start is None or at.char_end is None:
        raise DesignError(
            "a span window needs the characters of each token, and this recording has no coordinates "
            "'char_start' and 'char_end'. Take another window, or record again."
        )
    return at.valid & tokens_in_span(at.char_start, at.char_end, spans[:, :1], spans[:, 1:])


MASKS: Mapping[str, Callable[..., np.ndarray]] = {
    "all": _all,
    "first": _first,
    "last": _last,
    "centered": _centered,
    "target": _target,
    "relative": _relative,
    "span": _span,
}
"""Windows by kind: positions, and what is written behind the kind, to (stimulus, token) bool; several
parts come first, as (part, stimulus, token)."""
