"""Equally many tokens of every stimulus, where a measure grows with their number."""

import numpy as np
import xarray as xr

from neurosae.errors import DesignError
from neurosae.schema.names import STIMULUS, TOKEN
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_recording


def equal_tokens(recording: xr.DataArray, n_tokens: int | None = None, *, seed: int = 0) -> xr.DataArray:
    """The recording with equally many valid tokens in each stimulus, drawn at random.

    Longer texts have more chances to drive a feature once: which features are ever active, or their maximum,
    is compared between classes of texts of different length only after this.

    Parameters
    ----------
    recording : DataArray (stimulus, token, layer, feature); may be lazy, nothing is read
    n_tokens : tokens of each stimulus, by default as many as the shortest one has
    seed : root of the random numbers; the draw of a stimulus depends on its place among the stimuli

    Returns
    -------
    DataArray (stimulus, token, layer, feature)
        ``valid`` marks the tokens drawn. Stimuli with fewer tokens are left out; attribute ``excluded`` lists
        them, joined by ';'.

    Raises
    ------
    DesignError
        If ``n_tokens`` is below 1, or no stimulus has that many valid tokens.

    Source
    ------
    Hurlbert 1971, Ecology 52:577 (rarefaction).

    Examples
    --------
    >>> from neurosae.testing import planted_recording
    >>> equal_tokens(planted_recording(n_items=2))["valid"].sum("token").values
    array([4, 4, 4, 4])
    """
    check_recording(recording)
    valid = recording["valid"].transpose(STIMULUS, TOKEN).values
    count = valid.sum(axis=1)
    wanted = int(count.min()) if n_tokens is None else n_tokens
    is_kept = count >= wanted
    if wanted < 1 or not is_kept.any():
        raise DesignError(
            f"{wanted} tokens of each stimulus are wanted, and stimuli have {count.min()} to {count.max()} "
            "valid ones. Ask for at least 1 and at most the largest number."
        )
    keys = np.where(valid, np.random.default_rng(seed).random(valid.shape), np.inf)
    drawn = np.zeros_like(valid)
    np.put_along_axis(drawn, np.argsort(keys, axis=1)[:, :wanted], True, axis=1)
    kept = recording.isel({STIMULUS: is_kept}).assign_coords(valid=((STIMULUS, TOKEN), drawn[is_kept]))
    excluded = ";".join(map(str, recording[STIMULUS].values[~is_kept]))
    step = with_step(recording, "equal_tokens", n_tokens=wanted, seed=seed)
    return kept.assign_attrs(excluded=excluded, **step)
