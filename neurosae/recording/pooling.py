"""From tokens to one value a stimulus: which tokens count (window) and how they are pooled.

A stimulus whose window is too short is left out and listed, never padded.
"""

import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping

import dask.array as da
import numpy as np
import xarray as xr

from neurosae.errors import DesignError
from neurosae.protocol.windows import parse_window
from neurosae.recording.token_windows import fewest_tokens, token_masks, token_positions
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, WINDOW, WINDOWED_DIMS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_recording
from neurosae.schema.spelling import listed, nearest

TOP = 5
"""Number of tokens that 'topm' averages unless it is written 'topm:3'."""

_BLOCK_BYTES = 64 * 2**20
_GROWING = ("max", "sum")


def _mean(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    return _sum(values, window) / window.sum(axis=1)[:, None]


def _sum(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    return np.where(window[..., None], values, 0).sum(axis=1, dtype=np.float64)


def _final(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    last = window.shape[1] - 1 - np.argmax(window[:, ::-1], axis=1)
    return values[np.arange(len(values)), last]


def _max(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    return np.where(window[..., None], values, -np.inf).max(axis=1)


def _rate(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    return _mean(np.where(np.isnan(values), np.nan, values > 0), window)


def _mean_active(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    is_active = ~(values <= 0) & window[..., None]  # NaN counts as active, so that it shows in the result
    total, count = np.where(is_active, values, 0).sum(axis=1, dtype=np.float64), is_active.sum(axis=1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _top(values: np.ndarray, window: np.ndarray, m: int) -> np.ndarray:
    ranked = np.sort(np.where(window[..., None], values, -np.inf), axis=1)[:, ::-1][:, :m]
    is_there = np.arange(ranked.shape[1]) < window.sum(axis=1)[:, None]
    return _mean(ranked, is_there)


POOLINGS: Mapping[str, Callable[..., np.ndarray]] = {
    "mean": _mean,
    "last": _final,
    "target": _final,
    "max": _max,
    "sum": _sum,
    "rate": _rate,
    "mean_active": _mean_active,
    "topm": _top,
}
"""Poolings by name: values (stimulus, token, feature) and window (stimulus, token) to (stimulus, feature)."""


def pool_tokens(
    recording: xr.DataArray, window: str = "all", how: str = "mean", *, minimum: int | None = None
) -> xr.DataArray:
    """One response per stimulus, layer and feature: activations pooled over a window of valid tokens.

    'relative:q' gives q responses a stimulus. Analyses take one, as in ``responses.isel(window=0)``.

    Parameters
    ----------
    recording : DataArray (stimulus, token, layer, feature)
    window : which valid tokens count.
        'all';
        'first:k'; 'last:k'; 'centered:k', k tokens from floor((T - k) / 2) of T;
        'target', the tokens that overlap the target (where the recording has no character spans, its last
        token); 'target:a:b', from a to b tokens relative to the last token of the target, both included;
        'relative:q', q equal parts of the stimulus: token t = 1 … T is in part floor(q (t - .5) / T);
        'span:start:end', the tokens that overlap these characters of the text, counted from 0, end
        exclusive; 'span:critical_start:critical_end', the characters that two stimulus columns give, -1 or
        empty in both where there are none
    how : 'mean'; 'last', the last token of the window; 'target', the last token of the target; 'max'; 'sum';
        'rate', the fraction of tokens above 0; 'mean_active', the mean of the values above 0 (NaN if there
        are none); 'topm:m', the mean of the m largest ('topm' alone is m = 5)
    minimum : fewest tokens in a window, and in each part of 'relative:q'; by default the length the window
        asks for (1 if it names none, at least m for 'topm:m')

    Returns
    -------
    DataArray (stimulus, layer, feature) named ``response``
        Coordinates of the stimuli, ``n_tokens`` (tokens in the window), layer, feature. Stimuli with fewer
        tokens than ``minimum`` are left out; attrs ``excluded`` lists them, joined by ';'. 'relative:q' gives
        (stimulus, window, layer, feature), window 0 … q - 1, and n_tokens (stimulus, window).

    Raises
    ------
    ProtocolError
        If the window is none.
    DesignError
        If the pooling is unknown, a span names no column or the recording has no characters of tokens, or no
        stimulus fills the window.
    StimulusError
        If the columns of a span hold no character positions, or a span is half given or empty.

    Warns
    -----
    UserWarning
        If windows differ in length under 'max' or 'sum', whose expectation grows with the length.

    Examples
    --------
    >>> import xarray as xr
    >>> values = np.array([1.0, 2.0, 6.0, np.nan]).reshape(1, 4, 1, 1)
    >>> valid = (("stimulus", "token"), [[True, True, True, False]])
    >>> recording = xr.DataArray(values, dims=("stimulus", "token", "layer", "feature"),
    ...                          coords={"stimulus": ["a"], "valid": valid})
    >>> pool_tokens(recording).item(), pool_tokens(recording, "last:2").item()
    (3.0, 4.0)

    A course over the stimulus, of which an analysis takes one part:

    >>> course = pool_tokens(recording, "relative:3")
    >>> course.dims, course.values.ravel().tolist()
    (('stimulus', 'window', 'layer', 'feature'), [1.0, 2.0, 6.0])
    >>> course.isel(window=2).dims
    ('stimulus', 'layer', 'feature')
    """
    check_recording(recording)
    parsed, positions = parse_window(window), token_positions(recording)
    pooling, m = _pooling(how)
    counted = token_masks(parsed, positions)
    fewest = max(fewest_tokens(parsed), m or 1) if minimum is None else max(minimum, 1)
    pooled = counted & (positions.rel_target == 0) if how == "target" else counted
    n_tokens = counted.sum(axis=2)
    is_kept = ((n_tokens >= fewest) & pooled.any(axis=2)).all(axis=0)
    _check_some_kept(is_kept, n_tokens, fewest, window)
    _warn_of_lengths(how, n_tokens[:, is_kept])
    extra = () if m is None else (m,)
    values = np.empty((len(is_kept), len(counted), *recording.shape[2:]), dtype=recording.dtype)
    for layer, stimuli, block in _blocks(recording, is_kept):
        for part, mask in enumerate(pooled):
            values[stimuli, part, layer] = pooling(block, mask[stimuli], *extra)
    responses = _labelled(recording, values[is_kept], is_kept, n_tokens, {"window": window, "how": how})
    return responses if parsed.has_parts else responses.isel({WINDOW: 0}, drop=True)


def _check_some_kept(is_kept: np.ndarray, n_tokens: np.ndarray, fewest: int, window: str) -> None:
    if is_kept.any():
        return
    if (n_tokens >= fewest).all(axis=0).any():
        raise DesignError(
            f"no stimulus has its target in the window {window!r}. Pool otherwise than 'target'."
        )
    where = "each part of the window" if len(n_tokens) > 1 else "the window"
    raise DesignError(f"no stimulus has {fewest} valid tokens in {where} {window!r}. Choose another.")


def _pooling(how: str) -> tuple[Callable[..., np.ndarray], int | None]:
    name, _, number = str(how).partition(":")
    if name not in POOLINGS or (number and name != "topm"):
        raise DesignError(f"unknown pooling {how!r}{nearest(name, POOLINGS)} Poolings: {listed(POOLINGS)}.")
    if name != "topm":
        return POOLINGS[name], None
    if number and not re.fullmatch(r"[1-9]\d{0,8}", number):
        raise DesignError(f"pooling {how!r} needs a whole number of at least 1, as in 'topm:3'.")
    return POOLINGS[name], int(number or TOP)


def _warn_of_lengths(how: str, n_tokens: np.ndarray) -> None:
    if how in _GROWING and n_tokens.min() < n_tokens.max():
        warnings.warn(
            f"windows hold {n_tokens.min()} to {n_tokens.max()} tokens, and {how!r} grows with their number. "
            "Take windows of one length, or enter n_tokens as a nuisance.",
            stacklevel=3,
        )


def _blocks(recording: xr.DataArray, is_kept: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Layer, numbers of the kept stimuli and their values; each chunk on disk is read once."""
    data = recording.data
    n_stimuli, n_tokens, n_layers, n_features = data.shape
    at_once = max(1, _BLOCK_BYTES // max(1, n_tokens * n_features * data.dtype.itemsize))
    bounds = np.arange(0, n_stimuli + at_once, at_once).clip(max=n_stimuli)
    if isinstance(data, da.Array):
        bounds = np.cumsum([0, *data.chunks[0]])
    for layer in range(n_layers):
        for start, stop in itertools.pairwise(bounds):
            kept = np.flatnonzero(is_kept[start:stop])
            if len(kept):
                yield layer, kept + start, np.asarray(data[start:stop, :, layer])[kept]


def _labelled(
    recording: xr.DataArray,
    values: np.ndarray,
    is_kept: np.ndarray,
    n_tokens: np.ndarray,
    settings: Mapping[str, str],
) -> xr.DataArray:
    coords = {
        name: coord.isel({STIMULUS: is_kept}) if STIMULUS in coord.dims else coord
        for name, coord in recording.coords.items()
        if set(coord.dims) <= {STIMULUS, LAYER, FEATURE}
    }
    coords["n_tokens"] = xr.DataArray(n_tokens[:, is_kept].T, dims=(STIMULUS, WINDOW))
    coords[WINDOW] = xr.DataArray(np.arange(len(n_tokens)), dims=WINDOW)
    inherited = {name: recording.attrs[name] for name in ("site", "basis") if name in recording.attrs}
    attrs = {
        "long_name": f"response, {settings['how']} over {settings['window']}",
        "units": "1" if settings["how"] == "rate" else str(recording.attrs.get("units", "a.u.")),
        **inherited,
        **settings,
        "excluded": ";".join(map(str, recording[STIMULUS].values[~is_kept])),
        **with_step(recording, "pool_tokens", **settings),
    }
    return xr.DataArray(values, dims=WINDOWED_DIMS, coords=coords, name="response", attrs=attrs)
