"""What is a feature's pattern over tokens? Each stimulus's course as a fixed number of values, never padded.

A window of k tokens gives k values. ``relative:q`` reads the course at q equally spaced points of the text,
linearly between tokens, so that texts of any length can be compared. Every course is a weighted sum of the
tokens of its stimulus, so that one small product a stimulus serves all features.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
import xarray as xr

from neurosae.errors import DesignError
from neurosae.protocol.windows import parse_window
from neurosae.recording.sparse import SparseRecording
from neurosae.recording.token_windows import Positions, fewest_tokens, token_masks, token_positions
from neurosae.schema.names import LAYER, STIMULUS
from neurosae.schema.recordings import check_recording

OVERLAP = "overlap"
"""Window that compares any two texts over the tokens that both have, from the first on."""

FEWEST_SHARED = 5
"""Tokens that two texts must share to be compared over those they share."""

_BLOCK_BYTES = 64 * 2**20
_BLOCK_ROWS = 4096


Recorded: TypeAlias = xr.DataArray | SparseRecording
"""Activations or codes (stimulus, token, layer, feature), dense or sparse."""


@dataclass(frozen=True)
class Profiles:
    """Courses over tokens of a recording's stimuli, read layer by layer.

    recording : DataArray (stimulus, token, layer, feature), or codes that stay sparse
    kept : (n,) numbers of the stimuli that fill the window
    weights : (n, W, token) float32, what each token counts in each value
    n_values : (n,) values that a course has; fewer than W only under ``overlap``
    """

    recording: Recorded
    kept: np.ndarray
    weights: np.ndarray
    n_values: np.ndarray

    @property
    def excluded(self) -> str:
        """Labels of the stimuli left out, joined by ';'."""
        labels = self.recording[STIMULUS].values
        return ";".join(map(str, np.delete(labels, self.kept)))

    def layer(self, number: int) -> np.ndarray:
        """Courses (n, W, feature) in one layer, float32; 0 beyond the end of a course.

        Raises
        ------
        DesignError
            If a token in the window has no finite value.
        """
        if isinstance(self.recording, SparseRecording):
            courses = _fill_sparse(self.recording, number, self.kept, self.weights)
        else:
            courses = _fill_dense(self.recording, number, self.kept, self.weights)
        self._check_finite(courses, number)
        return courses

    def _check_finite(self, courses: np.ndarray, number: int) -> None:
        bad = ~np.isfinite(courses).all(axis=(1, 2))
        if bad.any():
            names = self.recording[STIMULUS].values[self.kept[bad]].tolist()
            label = self.recording[LAYER].values[number]
            raise DesignError(
                f"layer {label}: {len(names)} stimuli have tokens without a finite value in the window "
                f"(first: {names[0]!r}). Leave them out, or take another window."
            )


def token_profiles(recording: Recorded, window: str) -> Profiles:
    """The course of each stimulus over a window, as weighted sums of its tokens.

    Parameters
    ----------
    recording : DataArray (stimulus, token, layer, feature), or codes that stay sparse
    window : ``"first:k"``, ``"last:k"``, ``"centered:k"`` or ``"target:a:b"``, k tokens as they are;
        ``"relative:q"``, q values, linear between the tokens t = 1 … T at (t - .5) / T, taken at
        (j - .5) / q; ``"overlap"``, all tokens, courses of unequal length

    Returns
    -------
    Profiles
        Stimuli that do not fill the window (``overlap``: fewer than 5 tokens) are left out and listed.

    Raises
    ------
    DesignError
        If the window has no fixed number of values, or no two stimuli fill it.

    Examples
    --------
    >>> from neurosae.testing import planted_recording
    >>> profiles = token_profiles(planted_recording(n_items=2), "relative:10")
    >>> profiles.layer(0).shape
    (4, 10, 16)
    """
    positions = _positions(recording)
    kind = OVERLAP if window == OVERLAP else parse_window(window).kind
    if kind not in COURSES:
        raise DesignError(
            f"the window {window!r} has no fixed number of values, so courses cannot be compared; choose "
            f"one of {[*COURSES]}, as in 'relative:10' or 'target:-2:2'."
        )
    fills, weights = COURSES[kind](window, positions)
    return _checked(recording, window, fills, weights)


def token_means(recording: Recorded, window: str) -> Profiles:
    """The mean over a window of each stimulus, as a course of one value.

    Examples
    --------
    >>> from neurosae.testing import planted_recording
    >>> token_means(planted_recording(n_items=2), "all").layer(0).shape
    (4, 1, 16)
    """
    parsed = parse_window(window)
    masks = token_masks(parsed, _positions(recording))
    if len(masks) > 1:
        raise DesignError(f"the window {window!r} has {len(masks)} parts; one value needs one part.")
    count = masks[0].sum(axis=1)
    weights = masks[0][:, None, :] / np.maximum(count, 1)[:, None, None]
    return _checked(recording, window, count >= fewest_tokens(parsed), weights)


def labels_of(recording: Recorded) -> xr.DataArray | xr.Dataset:
    """What carries the coordinates and attributes of a recording."""
    return recording.labels if isinstance(recording, SparseRecording) else recording


def _positions(recording: Recorded) -> Positions:
    if not isinstance(recording, SparseRecording):
        check_recording(recording)
    return token_positions(labels_of(recording))


def _fill_dense(recording: xr.DataArray, number: int, kept: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Courses (n, W, feature) in one layer, some stimuli at a time."""
    data = recording.isel({LAYER: number})
    courses = np.empty((*weights.shape[:2], data.shape[2]), dtype=np.float32)
    read = _picked if (weights.max(axis=2) == 1).all() else _weighted
    step = max(1, _BLOCK_BYTES // max(1, 4 * data.shape[1] * data.shape[2]))
    for start in range(0, len(kept), step):
        rows = slice(start, start + step)
        values = np.asarray(data.isel({STIMULUS: kept[rows]}).data, dtype=np.float32)
        courses[rows] = read(values, weights[rows])
    return courses


def _fill_sparse(
    recording: SparseRecording, number: int, kept: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Courses (n, W, feature) in one layer of codes; no token becomes dense."""
    valid = recording["valid"].values
    width = weights.shape[1]
    courses = np.zeros((len(kept), width, recording.sizes["feature"]), dtype=np.float32)
    row, part, token = np.nonzero(weights)
    for stimuli, codes in recording.blocks(recording[LAYER].values[number], rows=_BLOCK_ROWS):
        first, last = np.searchsorted(kept, [stimuli.start, stimuli.stop])
        own = (row >= first) & (row < last)
        place = np.cumsum(valid[stimuli]).reshape(valid[stimuli].shape) - 1
        entries = (
            weights[row[own], part[own], token[own]],
            ((row[own] - first) * width + part[own], place[kept[row[own]] - stimuli.start, token[own]]),
        )
        combined = sp.csr_array(entries, shape=((last - first) * width, codes.shape[0]))
        courses[first:last] = (combined @ codes).toarray().reshape(last - first, width, -1)
    unknown = recording.unknown[kept, :, number] & (weights != 0).any(axis=1)
    courses[unknown.any(axis=1)] = np.nan
    return courses


def _checked(recording: Recorded, window: str, fills: np.ndarray, weights: np.ndarray) -> Profiles:
    kept = np.flatnonzero(fills)
    if len(kept) < 2:
        raise DesignError(
            f"{len(kept)} of {len(fills)} stimuli fill the window {window!r}; take a shorter one, or "
            "'relative:10'."
        )
    own = weights[kept].astype(np.float32)
    return Profiles(recording, kept, own, (own != 0).any(axis=2).sum(axis=1))


def _picked(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Courses (n, W, F) whose every value is that of one token."""
    return np.take_along_axis(values, weights.argmax(axis=2)[:, :, None], axis=1)


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    counted = (weights != 0).any(axis=1)[:, :, None]
    return weights @ np.where(counted, values, np.float32(0))


def _gathered(order: np.ndarray, mask: np.ndarray, width: int) -> np.ndarray:
    """1 where a token is the j-th of those that count, by their order (n, token): (n, width, token)."""
    return (mask[:, None, :] & (order[:, None, :] == np.arange(width)[:, None])).astype(np.float32)


def _fixed(window: str, at: Positions) -> tuple[np.ndarray, np.ndarray]:
    parsed = parse_window(window)
    width = fewest_tokens(parsed)
    mask = token_masks(parsed, at)[0]
    if not parsed.numbers or mask.sum(axis=1).max(initial=0) > width:
        raise DesignError(
            f"the window {window!r} has no fixed number of values; write how many, as in 'target:-2:2'."
        )
    return mask.sum(axis=1) == width, _gathered(np.cumsum(mask, axis=1) - 1, mask, width)


def _relative(window: str, at: Positions) -> tuple[np.ndarray, np.ndarray]:
    (n_points,) = parse_window(window).numbers
    point = (np.arange(n_points) + 0.5) / n_points * at.count - 0.5
    point = np.clip(point, 0, np.maximum(at.count - 1, 0))
    # A hat function around each token: 1 at its place, 0 at its neighbours'.
    near = 1 - np.abs(point[:, :, None] - at.order[:, None, :])
    return at.count[:, 0] > 0, np.where(at.valid[:, None, :], np.maximum(near, 0), 0)


def _all_shared(window: str, at: Positions) -> tuple[np.ndarray, np.ndarray]:
    longest = int(at.count.max(initial=0))
    return at.count[:, 0] >= FEWEST_SHARED, _gathered(at.order, at.valid, longest)


COURSES: Mapping[str, Callable[[str, Positions], tuple[np.ndarray, np.ndarray]]] = {
    "first": _fixed,
    "last": _fixed,
    "centered": _fixed,
    "target": _fixed,
    "relative": _relative,
    OVERLAP: _all_shared,
}
"""Windows that give a course, by kind: which stimuli fill it (n,), and the weights (n, W, token)."""
