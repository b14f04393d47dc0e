"""What of a feature is compared between stimuli: its course over tokens, its mean, or a set of features.

Patterns are read a layer at a time and handed out in blocks of features, rows of one unit and class averaged.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import average_units, group_means, unit_rows
from neurosae.analysis.profiles import OVERLAP, Recorded, token_means, token_profiles
from neurosae.errors import DesignError
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.names import (
    FEATURE,
    LAYER,
    RECORDING_DIMS,
    RESPONSE_DIMS,
    STIMULUS,
    WINDOW,
    WINDOWED_DIMS,
)
from neurosae.schema.recordings import stimulus_table
from neurosae.schema.units import unit_column

SUPPORT = 50
"""Units of largest encoder weight that are a feature's support."""

NEIGHBOURS = 32
"""Features of nearest decoder direction that are a feature's neighbourhood, itself included."""

_CHUNK = 1024
"""Features whose nearest neighbours are searched at a time."""


@dataclass(frozen=True)
class PatternSource:
    """Patterns of features, one row for each unit and class.

    stimuli : the coordinates of the stimuli that are in
    rows : one element a row, with the columns that are constant within it
    codes : (n_stimuli,) row of each stimulus
    read : layer number -> values (n_stimuli, W, feature of the recording)
    members : (F, m) features that make up each pattern, or None if each has its own
    n_values : (n_stimuli,) values of each course where they differ, else None
    """

    stimuli: xr.Dataset
    rows: xr.DataArray
    codes: np.ndarray
    read: Callable[[int], np.ndarray]
    members: np.ndarray | None
    n_values: np.ndarray | None
    coords: dict[str, np.ndarray]
    n_layers: int
    width: int
    unit: str
    window: str
    excluded: str

    @property
    def n_features(self) -> int:
        """How many features get an index."""
        return len(self.coords[FEATURE])

    def blocks(self, layer: int, at_once: int) -> Iterator[np.ndarray]:
        """Patterns (row, W, F) of one block of features after the other."""
        values = self.read(layer)
        averages = len(self.rows) < len(self.codes)
        for start in range(0, self.n_features, at_once):
            features = slice(start, min(start + at_once, self.n_features))
            block = _members_of(values, features, self.members)
            yield group_means(block, self.codes) if averages else block


def pattern_source(
    recording: Recorded,
    pattern: str,
    *,
    by: str,
    window: str,
    weights: np.ndarray | None,
    unit: str,
) -> PatternSource:
    """How the patterns of a recording or of responses are read.

    Raises
    ------
    DesignError
        If the pattern is unknown, or does not go with the dims, the window or the weights.
    """
    if pattern not in PATTERNS:
        raise DesignError(f"no pattern {pattern!r}; choose one of {list(PATTERNS)}.")
    window = (PATTERNS[pattern] if window == "auto" else window) if _is_recording(recording) else ""
    read, kept, width, n_values, excluded = _reader(recording, pattern, window)
    members = _members(recording, pattern, weights)
    stimuli = xr.Dataset(coords={n: c for n, c in recording.coords.items() if c.dims == (STIMULUS,)})
    stimuli = stimuli.isel({STIMULUS: kept}).assign_attrs(recording.attrs)
    rows, codes, column = _rows(stimuli, by, unit)
    if n_values is not None and len(rows) < len(codes):
        raise DesignError(
            "courses of unequal length cannot be averaged over the stimuli of a unit; take the window "
            "'relative:10', or unit='stimulus' if stimuli are independent."
        )
    return PatternSource(
        stimuli=stimuli,
        rows=rows,
        codes=codes,
        read=_scaled_reader(read) if pattern == "support" else read,
        members=members,
        n_values=n_values,
        coords=_map_coords(recording, members, pattern),
        n_layers=recording.sizes[LAYER],
        width=width if members is None else members.shape[1],
        unit=column,
        window=window,
        excluded=excluded,
    )


def nearest_features(directions: np.ndarray, n: int) -> np.ndarray:
    """The n features whose directions have the highest cosine with each one's: (F, d) -> (F, n), sorted.

    Examples
    --------
    >>> nearest_features(np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]]), 2)
    array([[0, 1],
           [0, 1],
           [1, 2]])
    """
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    units = directions / np.where(length > 0, length, 1)
    parts = [
        np.argpartition(-(units[start : start + _CHUNK] @ units.T), n - 1, axis=1)[:, :n]
        for start in range(0, len(units), _CHUNK)
    ]
    return np.sort(np.concatenate(parts), axis=1)


def largest_weights(weights: np.ndarray, n: int) -> np.ndarray:
    """The n units of largest absolute weight of each feature: (F, unit) -> (F, n), sorted.

    Examples
    --------
    >>> largest_weights(np.array([[0.0, -3.0, 1.0, 2.0]]), 2)
    array([[1, 3]])
    """
    return np.sort(np.argpartition(-np.abs(weights), n - 1, axis=1)[:, :n], axis=1)


PATTERNS: Mapping[str, str] = {
    "profile": "relative:10",
    "scalar": "all",
    "support": "all",
    "neighbourhood": "all",
}
"""Patterns of a feature, each with the window over tokens that it takes unless told."""

_Reader = tuple[Callable[[int], np.ndarray], np.ndarray, int, "np.ndarray | None", str]


def _is_recording(recording: Recorded) -> bool:
    return tuple(recording.dims) == RECORDING_DIMS


def _reader(recording: Recorded, pattern: str, window: str) -> _Reader:
    """Values of a layer (n, W, feature), stimuli kept, W, lengths of courses if unequal, those left out."""
    if isinstance(recording, SparseRecording) or _is_recording(recording):
        profiles = (token_profiles if pattern == "profile" else token_means)(recording, window)
        n_values = profiles.n_values if window == OVERLAP else None
        return profiles.layer, profiles.kept, profiles.weights.shape[1], n_values, profiles.excluded
    everyone = np.arange(recording.sizes.get(STIMULUS, 0))
    dims = {"profile": WINDOWED_DIMS}.get(pattern, RESPONSE_DIMS)
    if tuple(recording.dims) != dims:
        raise DesignError(
            f"a {pattern} needs a recording {RECORDING_DIMS} or responses {dims}, got dims "
            f"{tuple(recording.dims)}."
        )
    width = recording.sizes.get(WINDOW, 1)

    def read(layer: int) -> np.ndarray:
        values = np.asarray(recording.isel({LAYER: layer}).data)
        if not np.isfinite(values).all():
            raise DesignError(f"responses of layer number {layer} hold NaN or infinite values; exclude them.")
        return values.reshape(len(values), width, -1)

    return read, everyone, width, None, ""


def _members(recording: Recorded, pattern: str, weights: np.ndarray | None) -> np.ndarray | None:
    if pattern in ("profile", "scalar"):
        return None
    if weights is None or np.ndim(weights) != 2:
        raise DesignError(
            f"the pattern {pattern!r} needs weights (feature, unit): the encoder's for support, the "
            "decoder's for neighbourhood."
        )
    if recording.sizes[LAYER] != 1:
        raise DesignError(
            f"a dictionary belongs to one layer, and the recording has {recording.sizes[LAYER]}; select it."
        )
    weights, n_own = np.asarray(weights), recording.sizes[FEATURE]
    axis = 1 if pattern == "support" else 0
    if weights.shape[axis] != n_own:
        raise DesignError(
            f"weights (feature, unit) are {weights.shape}, but the recording has {n_own} "
            f"{('features', 'units')[axis]}; give the weights of this dictionary."
        )
    if pattern == "support":
        return largest_weights(weights, min(SUPPORT, n_own))
    return nearest_features(weights, min(NEIGHBOURS, n_own))


def _members_of(values: np.ndarray, features: slice, members: np.ndarray | None) -> np.ndarray:
    if members is None:
        return values[:, :, features]
    return np.ascontiguousarray(np.moveaxis(values[:, 0][:, members[features]], 1, 2))


def _scaled_reader(read: Callable[[int], np.ndarray]) -> Callable[[int], np.ndarray]:
    """Values in SD of each unit over the stimuli; constant units are 0."""

    def scaled(layer: int) -> np.ndarray:
        values = read(layer)
        centred, sd = values - values.mean(axis=0), values.std(axis=0, ddof=1)
        return np.divide(centred, sd, out=np.zeros_like(centred), where=sd > 0)

    return scaled


def _rows(stimuli: xr.Dataset, by: str, unit: str) -> tuple[xr.DataArray, np.ndarray, str]:
    table = stimulus_table(stimuli)
    column = unit_column(table, unit)
    n = stimuli.sizes[STIMULUS]
    frame = xr.DataArray(np.zeros((n, 1, 1)), dims=RESPONSE_DIMS, coords=stimuli.coords)
    codes = np.arange(n) if column == STIMULUS else unit_rows(table, unit=unit, by=(by,))[0]
    return average_units(frame, unit=unit, by=(by,))[:, 0, 0], codes, column


def _map_coords(recording: Recorded, members: np.ndarray | None, pattern: str) -> dict[str, np.ndarray]:
    layers = recording[LAYER].values if LAYER in recording.coords else np.arange(recording.sizes[LAYER])
    n_features = recording.sizes[FEATURE] if members is None else len(members)
    own = FEATURE in recording.coords and pattern != "support"
    return {LAYER: layers, FEATURE: recording[FEATURE].values if own else np.arange(n_features)}
