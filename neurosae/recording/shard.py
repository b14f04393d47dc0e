"""One file of raw activations: ragged rows, one a token, with the tables of its stimuli and tokens inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd

from neurosae.errors import StorageError
from neurosae.recording.files import reading_netcdf, writing_netcdf
from neurosae.recording.portable import CHECKSUM, get_variable, make_variable, put_variable
from neurosae.recording.words import relative_to_target, word_index
from neurosae.schema.names import STIMULUS
from neurosae.schema.recordings import stimulus_coords
from neurosae.subject.interface import Tokens

_CHUNK_BYTES = 2**19  # checksums are three times as fast in the processor's cache

_NO_TABLE = ("token_count", "activation", "active_count", "feature_index")

ROW_ATTRS: Mapping[str, Mapping[str, object]] = {
    "stimulus_index": {
        "long_name": "stimulus of the token",
        "instance_dimension": "stimulus",
        "start_index": 0,
    },
    "token_position": {"long_name": "position of the token in its text", "units": "1", "start_index": 0},
    "token_id": {"long_name": "number of the token in the vocabulary"},
    "token": {"long_name": "text of the token"},
    "char_start": {"long_name": "first character of the token in its text", "start_index": 0},
    "char_end": {"long_name": "end of the token in its text, exclusive", "start_index": 0},
    "word_index": {"long_name": "word the token belongs to, -1 for none", "start_index": 0},
    "is_special": {"long_name": "the token is no part of the text"},
    "rel_target": {"long_name": "position relative to the last token of the target", "units": "1"},
    "surprisal": {"long_name": "surprisal of the token given those before it", "units": "bits"},
    "is_sink": {"long_name": "the token is an attention sink, by its residual norm"},
    "is_missing": {"long_name": "the text of the token did not fit into memory and was not run"},
}
"""Variables over ``row``, with their attributes."""


@dataclass(frozen=True)
class Shard:
    """Activations of some stimuli at one site.

    stimuli : their rows of the stimulus table
    rows : arrays over tokens, one stimulus after another; see `token_rows`
    layers : block numbers
    activation : array (row, layer, feature) float32
    """

    stimuli: pd.DataFrame
    rows: Mapping[str, np.ndarray]
    layers: Sequence[int]
    activation: np.ndarray


@dataclass(frozen=True)
class Tables:
    """The tables of a shard or of a whole store: stimuli, fields over rows, and norm (row, layer)."""

    stimuli: pd.DataFrame
    rows: Mapping[str, np.ndarray]
    layers: np.ndarray
    norm: np.ndarray


def token_rows(stimuli: pd.DataFrame, tokens: Sequence[Tokens]) -> dict[str, np.ndarray]:
    """Fields of all tokens of some stimuli, one stimulus after another."""
    counts = [len(text) for text in tokens]
    starts = _column(stimuli, "target_start")
    ends = _column(stimuli, "target_end")
    per_text = {
        "token_position": [np.arange(count) for count in counts],
        "word_index": [word_index(text, its) for text, its in zip(stimuli["text"], tokens, strict=True)],
        "rel_target": [relative_to_target(its, a, b) for its, a, b in zip(tokens, starts, ends, strict=True)],
        "token_id": [text.token_id for text in tokens],
        "token": [text.token_str for text in tokens],
        "char_start": [text.char_start for text in tokens],
        "char_end": [text.char_end for text in tokens],
        "is_special": [text.is_special for text in tokens],
    }
    joined = {name: np.concatenate(parts) for name, parts in per_text.items()}
    return {"stimulus_index": np.repeat(np.arange(len(tokens)), counts), **joined}


def _column(stimuli: pd.DataFrame, name: str) -> list[int]:
    return stimuli[name].astype(int).tolist() if name in stimuli else [-1] * len(stimuli)


def norms(activation: np.ndarray) -> np.ndarray:
    """Euclidean norm of each token at each layer: (row, layer, feature) to (row, layer) float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        norm = np.sqrt(np.einsum("rlf,rlf->rl", activation, activation))
        if not np.isfinite(norm).all():  # squares of large but finite activations overflow in float32
            norm = np.linalg.norm(activation.astype(np.float64), axis=2).astype(np.float32)
    return norm


def write_shard(path: Path, shard: Shard, attrs: Mapping[str, object]) -> None:
    """Write one shard. Its activations are checksummed but not compressed, which would halve the speed.

    Raises
    ------
    StorageError
        If the file cannot be written; nothing is left behind then.
    """
    tables = Tables(shard.stimuli, shard.rows, np.asarray(shard.layers), norms(shard.activation))
    n_rows, _, n_features = shard.activation.shape
    chunks = (min(max(n_rows, 1), max(1, _CHUNK_BYTES // (4 * n_features))), 1, n_features)
    with writing_netcdf(path) as file:
        put_tables(file, tables)
        variable = put_activation(
            file, ("row", "layer", "feature"), shard.activation.shape, chunks, **CHECKSUM
        )
        variable.set_var_chunk_cache(0, 1, 0.0)  # each chunk is written once, so that caching is a copy
        variable[...] = shard.activation
        file.setncatts(dict(attrs))


def put_activation(
    file: netCDF4.Dataset,
    dims: Sequence[str],
    shape: Sequence[int],
    chunks: Sequence[int],
    **filters: Any,
) -> netCDF4.Variable:
    """An empty variable ``activation`` with its attributes."""
    variable = make_variable(file, "activation", dims, shape, "f4", chunksizes=tuple(chunks), **filters)
    variable.setncatts({"long_name": "activation", "units": "a.u."})
    variable.set_auto_maskandscale(False)
    return variable


def put_tables(file: netCDF4.Dataset, tables: Tables) -> None:
    """Write the stimulus table, the token table, the layers and the norms."""
    for name, (_, values) in stimulus_coords(tables.stimuli).items():
        is_id = name == STIMULUS
        attrs = {"long_name": "label of the stimulus", "cf_role": "timeseries_id"} if is_id else {}
        put_variable(file, "stimulus_id" if is_id else name, (STIMULUS,), values, attrs)
    counts = np.bincount(tables.rows["stimulus_index"], minlength=len(tables.stimuli))
    attrs = {"long_name": "number of tokens of the stimulus", "units": "1", "sample_dimension": "row"}
    put_variable(file, "token_count", (STIMULUS,), counts, attrs)
    for name, values in tables.rows.items():
        put_variable(file, name, ("row",), values, ROW_ATTRS[name])
    put_variable(file, "layer", ("layer",), np.asarray(tables.layers), {"long_name": "block of the subject"})
    norm = {"long_name": "Euclidean norm of the activation", "units": "a.u."}
    put_variable(file, "norm", ("row", "layer"), tables.norm, norm)


def read_tables(path: Path) -> Tables:
    """The tables of a shard or of a store's ``stimuli.nc``, in their original types.

    Raises
    ------
    CorruptFileError
        If the file is truncated or altered.
    """
    with reading_netcdf(path) as file:
        names = [name for name in file.variables if name not in _NO_TABLE]
        variables = {name: get_variable(file, name)[:2] for name in names}
    columns = {name: values for name, (dims, values) in variables.items() if dims == (STIMULUS,)}
    rows = {name: values for name, (dims, values) in variables.items() if dims == ("row",)}
    stimuli = pd.DataFrame({STIMULUS if name == "stimulus_id" else name: c for name, c in columns.items()})
    return Tables(stimuli, rows, variables["layer"][1], variables["norm"][1])


def read_activation(
    path: Path, layer: int | None, start: int, stop: int, features: slice, origin: str = ""
) -> np.ndarray:
    """Activations (row, feature) of some rows: the ``layer``-th of a shard, or (None) of a layer file.

    Raises
    ------
    StorageError
        If ``origin`` is given and the file belongs to another recording than the one of that id.
    CorruptFileError
        If the file fails its checksum.
    """
    key = (slice(start, stop), features) if layer is None else (slice(start, stop), layer, features)
    with reading_netcdf(path) as file:
        if origin and file.getncattr("id") != origin:
            raise StorageError(f"{path} was recorded anew since it was opened. Open the session again.")
        return np.asarray(file["activation"][key])


def concatenate(parts: Sequence[Tables]) -> Tables:
    """The tables of several shards as those of one, stimuli counted through."""
    first = np.cumsum([0, *(len(part.stimuli) for part in parts[:-1])])
    shifted = [part.rows["stimulus_index"] + n for part, n in zip(parts, first, strict=True)]
    names = dict.fromkeys(name for part in parts for name in part.rows)
    rows = {name: np.concatenate([_field(part, name) for part in parts]) for name in names}
    return Tables(
        pd.concat([part.stimuli for part in parts], ignore_index=True),
        {**rows, "stimulus_index": np.concatenate(shifted)},
        parts[0].layers,
        np.concatenate([part.norm for part in parts]),
    )


def _field(part: Tables, name: str) -> np.ndarray:
    """A field over rows; no token is missing where a shard does not say so."""
    if name == "is_missing" and name not in part.rows:
        return np.zeros(len(part.norm), dtype=bool)
    return part.rows[name]
