"""The labels of codes as tables for other programs, and the codes themselves a part at a time."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
import scipy.sparse as sp
import xarray as xr

from neurosae.recording.shard import ROW_ATTRS
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, TOKEN_FIELDS
from neurosae.schema.recordings import stimulus_table

ROWS_AT_ONCE = 4096
"""Tokens in memory while codes are written as a table, whose lines take far more room than codes."""

_UNKNOWN = {"long_name": "the activation of the token was NaN or infinite, so that its codes are not known"}
_COUNT = {"long_name": "number of valid tokens of the stimulus", "units": "1", "sample_dimension": "row"}


def code_tables(codes: SparseRecording) -> xr.Dataset:
    """Everything about codes but the codes: stimuli, their valid tokens (``row``), layers and features.

    Returns
    -------
    Dataset
        Over ``stimulus``: ``stimulus_id``, the columns of the stimuli, ``token_count``. Over ``row``, the
        valid tokens of one stimulus after another: ``stimulus_index``, ``token_position``, ``token``, and the
        other token fields. ``layer``, ``feature``, and ``is_unknown`` (row, layer).
    """
    valid = codes["valid"].values
    stimulus, token = np.nonzero(valid)
    names = [name for name in TOKEN_FIELDS if name in codes.coords and name != "valid"]
    fields = {"token" if name == "token_str" else name: codes[name].values[valid] for name in names}
    rows = {"stimulus_index": stimulus, "token_position": token, **fields}
    stimuli = {
        "stimulus_id" if name == STIMULUS else str(name): (STIMULUS, column.to_numpy())
        for name, column in stimulus_table(codes.labels).items()
    }
    return xr.Dataset(
        coords={
            **stimuli,
            "token_count": (STIMULUS, valid.sum(axis=1), _COUNT),
            **{name: ("row", values, dict(ROW_ATTRS.get(name, {}))) for name, values in rows.items()},
            LAYER: codes[LAYER].values,
            FEATURE: codes[FEATURE].values,
            "is_unknown": (("row", LAYER), codes.unknown[valid], _UNKNOWN),
        },
        attrs=dict(codes.attrs),
    )


def parts_of(codes: SparseRecording, layer: int) -> Callable[[], Iterable[sp.csr_array]]:
    """What gives the codes (row, feature) of a layer part by part, from the first row on, at every call."""
    return lambda: (part for _, part in codes.blocks(layer))


def layers_of(codes: SparseRecording) -> list[int]:
    """Labels of the layers."""
    return [int(layer) for layer in codes[LAYER].values]


def row_pointers(codes: SparseRecording, layer: int) -> np.ndarray:
    """Where the codes of each row begin: (n_rows + 1,) int64, the last the number of codes that are not 0."""
    counts = [np.diff(part.indptr) for part in parts_of(codes, layer)()]
    return np.concatenate([[0], np.cumsum(np.concatenate(counts))] if counts else [[0]]).astype(np.int64)


def active_tables(codes: SparseRecording) -> Iterator[pd.DataFrame]:
    """Active codes as tables that follow one another: stimulus, token, token_str, layer, feature, value.

    In the order of layers, stimuli, tokens and features. Silent tokens have no line.
    """
    valid = codes["valid"].values
    for layer in layers_of(codes):
        for stimuli, part in codes.blocks(layer, rows=ROWS_AT_ONCE):
            which, token = np.nonzero(valid[stimuli])
            row = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
            at = (which[row] + stimuli.start, token[row])
            yield pd.DataFrame(
                {
                    "stimulus": codes[STIMULUS].values[at[0]],
                    "token": at[1],
                    "token_str": codes["token_str"].values[at],
                    "layer": layer,
                    "feature": codes[FEATURE].values[part.indices],
                    "value": part.data,
                }
            )


def count_unknown(codes: SparseRecording) -> int:
    """Number of valid tokens, at all layers, whose codes are not known."""
    return int((codes.unknown & codes["valid"].values[..., None]).sum())
