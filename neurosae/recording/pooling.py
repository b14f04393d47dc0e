"""From tokens to one value a stimulus: which tokens count (window) and how they are pooled.

A stimulus whose window is too short is left out and listed, never padded.
"""

import re
import warnings
from collections.abc import Mapping

import numpy as np
import xarray as xr

from neurosae.errors import DesignError
from neurosae.protocol.windows import parse_window
from neurosae.recording.pooled_arrays import POOLINGS, pool_arrays
from neurosae.recording.pooled_codes import pool_codes
from neurosae.recording.sparse import SparseRecording
from neurosae.recording.token_windows import fewest_tokens, token_masks, token_positions
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, WINDOW, WINDOWED_DIMS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_recording
from neurosae.schema.spelling import listed, nearest

TOP = 5
"""Number of tokens that 'topm' averages unless it is written 'topm:3'."""

_GROWING = ("max", "sum")


def pool_tokens(
    recording: xr.DataArray | SparseRecording,
    window: str = "all",
    how: str = "mean",
    *,
    minimum: int | None = None,
) -> xr.DataArray:
    """One response per stimulus, layer and feature: activations pooled over a window of valid tokens.

    'relative:q' gives q responses a stimulus. Analyses take one, as in ``responses.isel(window=0)``. Codes
    are pooled as they are stored, silence as 0; the result is that of ``codes.to_xarray()``.

    Parameters
    ----------
    recording : DataArray (stimulus, token, layer, feature), or codes of a dictionary
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

        Of codes, more than 256 MB are lazy: a block of features of one layer is pooled when it is used, so
        take a layer or some features before ``.values``. ``.isel(layer=...)`` and ``.isel(feature=...)`` stay
        lazy.

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
    labels = _labels(recording)
    parsed, positions = parse_window(window), token_positions(labels)
    name, m = _pooling(how)
    counted = token_masks(parsed, positions)
    fewest = max(fewest_tokens(parsed), m or 1) if minimum is None else max(minimum, 1)
    pooled = counted & (positions.rel_target == 0) if name == "target" else counted
    n_tokens = counted.sum(axis=2)
    is_kept = ((n_tokens >= fewest) & pooled.any(axis=2)).all(axis=0)
    _check_some_kept(is_kept, n_tokens, fewest, window)
    _warn_of_lengths(how, n_tokens[:, is_kept])
    if isinstance(recording, SparseRecording):
        values = pool_codes(recording, pooled, is_kept, name, m)
    else:
        values = pool_arrays(recording, pooled, is_kept, name, m)
    responses = _labelled(labels, values, is_kept, n_tokens, {"window": window, "how": how})
    return responses if parsed.has_parts else responses.isel({WINDOW: 0}, drop=True)


def _labels(recording: xr.DataArray | SparseRecording) -> xr.DataArray | xr.Dataset:
    if isinstance(recording, SparseRecording):
        return recording.labels
    check_recording(recording)
    return recording


def _check_some_kept(is_kept: np.ndarray, n_tokens: np.ndarray, fewest: int, window: str) -> None:
    if is_kept.any():
        return
    if (n_tokens >= fewest).all(axis=0).any():
        raise DesignError(
            f"no stimulus has its target in the window {window!r}. Pool otherwise than 'target'."
        )
    where = "each part of the window" if len(n_tokens) > 1 else "the window"
    raise DesignError(f"no stimulus has {fewest} valid tokens in {where} {window!r}. Choose another.")


def _pooling(how: str) -> tuple[str, int | None]:
    """Name of the pooling, and for 'topm' how many tokens."""
    name, _, number = str(how).partition(":")
    if name not in POOLINGS or (number and name != "topm"):
        raise DesignError(f"unknown pooling {how!r}{nearest(name, POOLINGS)} Poolings: {listed(POOLINGS)}.")
    if name != "topm":
        return name, None
    if number and not re.fullmatch(r"[1-9]\d{0,8}", number):
        raise DesignError(f"pooling {how!r} needs a whole number of at least 1, as in 'topm:3'.")
    return name, int(number or TOP)


def _warn_of_lengths(how: str, n_tokens: np.ndarray) -> None:
    if how in _GROWING and n_tokens.min() < n_tokens.max():
        warnings.warn(
            f"windows hold {n_tokens.min()} to {n_tokens.max()} tokens, and {how!r} grows with their number. "
            "Take windows of one length, or enter n_tokens as a nuisance.",
            stacklevel=3,
        )


def _labelled(
    recording: xr.DataArray | xr.Dataset,
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
