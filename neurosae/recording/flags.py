"""Tokens that analyses leave out or must know of, judged by the norms of their activations."""

import numpy as np

from neurosae.recording.shard import Tables
from neurosae.schema.names import SINK_RATIO


def sinks(tables: Tables) -> np.ndarray:
    """Which tokens are attention sinks, judged by their residual norms.

    is_sink = norm > SINK_RATIO x median norm of the layer over non-special tokens, at any layer. A norm that
    is NaN or infinite makes no sink: such a token stays in sight.

    Returns
    -------
    array (row,) bool

    Source
    ------
    Sun et al. 2024 (massive activations).
    """
    norm = np.where(np.isfinite(tables.norm), tables.norm, np.nan)
    ordinary = norm[~tables.rows["is_special"]]
    is_known = np.isfinite(ordinary).any(axis=0)
    median = np.nanmedian(ordinary[:, is_known], axis=0)
    return (norm[:, is_known] > SINK_RATIO * median).any(axis=1) & np.isfinite(tables.norm).all(axis=1)


def non_finite(tables: Tables) -> np.ndarray:
    """Which tokens have a NaN or infinite activation at any layer: (row,) bool."""
    return ~np.isfinite(tables.norm).all(axis=1)
