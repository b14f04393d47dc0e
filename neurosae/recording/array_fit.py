"""Whether an array fits the stimuli that it is said to belong to, and which of its values are padding."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd

from neurosae.errors import DesignError
from neurosae.recording.array_files import ArrayFile
from neurosae.schema.names import FEATURE, LAYER, RECORDING_DIMS, RESPONSE_DIMS, STIMULUS, TOKEN
from neurosae.schema.spelling import listed

USUAL_DIMS: Mapping[int, tuple[str, ...]] = {
    2: (STIMULUS, FEATURE),
    3: RESPONSE_DIMS,
    4: RECORDING_DIMS,
}
"""Dims of an array that says nothing of them, by their number."""

_BLOCK_BYTES = 64 * 2**20
_SAY_LENGTHS = "If they are padding, write lengths=, or NaN instead of zeros."
_NAN_RULE = "Padding is NaN at all layers and features of a token."


def array_dims(found: ArrayFile, dims: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the dims of an array: as given, as the file says, or as is usual.

    Raises
    ------
    DesignError
        If they do not fit the array, or it holds no numbers.
    """
    shape = tuple(found.values.shape)
    names = tuple(dims) if dims is not None else found.dims or USUAL_DIMS.get(len(shape), ())
    if len(names) != len(shape) or not {STIMULUS, FEATURE} <= set(names) <= set(RECORDING_DIMS):
        raise DesignError(
            f"an array of shape {shape} has dims {names or 'that are not known'}. Write dims=, one name a "
            f"dim, of {listed(RECORDING_DIMS)}, each once; stimulus and feature are needed."
        )
    if len(set(names)) < len(names):
        raise DesignError(f"dims {names} name one twice.")
    if found.values.dtype.kind not in "fiu" or not all(shape):
        raise DesignError(f"an array of shape {shape} and type {found.values.dtype} holds no activations.")
    return names


def arranged(values: Any, names: tuple[str, ...]) -> da.Array:
    """Values lazily as float32, dims in the order of recordings or responses, a layer for none."""
    array = values if isinstance(values, da.Array) else _lazy(values, names)
    wanted = RECORDING_DIMS if TOKEN in names else RESPONSE_DIMS
    ordered = array.transpose([names.index(dim) for dim in wanted if dim in names])
    return (ordered if LAYER in names else ordered[..., None, :]).astype(np.float32)


def _lazy(values: Any, names: tuple[str, ...]) -> da.Array:
    shape, itemsize = values.shape, values.dtype.itemsize
    each = int(np.prod([n for n, dim in zip(shape, names, strict=True) if dim not in (STIMULUS, LAYER)]))
    at_once = max(1, _BLOCK_BYTES // max(1, each * itemsize))
    sizes = {STIMULUS: at_once, LAYER: 1}
    return da.from_array(values, chunks=tuple(sizes.get(dim, -1) for dim in names), name=False)


def file_order(labels: Mapping[str, np.ndarray], stimuli: pd.DataFrame) -> np.ndarray:
    """Place in the file of each stimulus of the table."""
    wanted = pd.Index(stimuli[STIMULUS])
    if STIMULUS not in labels:
        return np.arange(len(wanted))
    held = pd.Index(np.asarray(labels[STIMULUS]).astype(str))
    differing = [*wanted.difference(held), *held.difference(wanted)]
    if differing or held.has_duplicates:
        raise DesignError(
            f"the file has {len(held)} labels of stimuli and the table {len(wanted)}; not in both, or twice: "
            f"{listed(map(repr, differing or held[held.duplicated()]), 5)}. Give the stimuli of this file."
        )
    return np.asarray(held.get_indexer(wanted))


def in_order(values: da.Array, labels: Mapping[str, np.ndarray], stimuli: pd.DataFrame) -> da.Array:
    """``values`` in the order of ``stimuli``, of which each must have some.

    Raises
    ------
    DesignError
        If the two do not fit each other.
    """
    missing = {STIMULUS, "text"} - set(stimuli)
    if missing:
        raise DesignError(f"stimuli has no column {sorted(missing)[0]!r}. Load the table with load_stimuli.")
    if len(stimuli) != values.shape[0]:
        raise DesignError(
            f"the array has {values.shape[0]} stimuli and the table {len(stimuli)}. Give the stimuli of this "
            "file, in its order, or say with dims= which dim they are."
        )
    order = file_order(labels, stimuli)
    return values if (order == np.arange(len(order))).all() else values[order]


def layer_labels(labels: Mapping[str, np.ndarray], layers: Sequence[int] | None, size: int) -> list[int]:
    """Block numbers: as the file says, or as given.

    Raises
    ------
    DesignError
        If neither says, both differ, or their number does not fit.
    """
    held = [int(layer) for layer in labels[LAYER]] if LAYER in labels else None
    if held is not None and layers is not None and held != list(layers):
        raise DesignError(f"the file has layers {held}, not {list(layers)}. Leave layers out.")
    known = held if held is not None else layers
    if known is None:
        raise DesignError(f"the file does not say which {size} layers it holds. Write layers=[...].")
    if len(known) != size or len(set(known)) != size:
        raise DesignError(f"the array has {size} layers, and {list(known)} are named. Name each once.")
    return list(known)


def feature_labels(labels: Mapping[str, np.ndarray], size: int) -> np.ndarray:
    """Labels of the features: as the file says, else counted from 0.

    Raises
    ------
    DesignError
        If their number does not fit.
    """
    features = np.asarray(labels.get(FEATURE, np.arange(size)))
    if features.shape != (size,):
        raise DesignError(f"the array has {size} features, and the file {features.size} labels of them.")
    return features


def valid_tokens(values: da.Array, stimuli: pd.DataFrame, lengths: Sequence[int] | None) -> np.ndarray:
    """Which tokens are no padding (stimulus, token), after a look at every value.

    Raises
    ------
    DesignError
        If lengths do not fit; values are infinite, or NaN in part of a token; tokens are zeros at the end, or
        are values beyond the lengths; or a stimulus has no token.
    """
    inside = None if lengths is None else _inside(lengths, values.shape[:2])
    valid = np.zeros(values.shape[:2], dtype=bool)
    labels = stimuli[STIMULUS].tolist()
    for stimulus, block in _by_stimuli(values):
        absent, is_zero = np.isnan(block), (block == 0).all(axis=(2, 3))
        is_absent = absent.all(axis=(2, 3))
        part = slice(stimulus, stimulus + len(block))
        if inside is None:
            padding = is_absent
            _refuse(is_zero[:, -1] & ~is_absent[:, -1], labels[part], "end in tokens of zeros", _SAY_LENGTHS)
        else:
            padding = ~inside[part]
            _refuse((padding & ~(is_absent | is_zero)).any(axis=1), labels[part], "go on after their lengths")
        uneven = (absent.any(axis=(2, 3)) & ~padding).any(axis=1)
        _refuse(uneven, labels[part], "have NaN in a token that is no padding", _NAN_RULE)
        _refuse(np.isinf(block).any(axis=(1, 2, 3)), labels[part], "have infinite values")
        valid[part] = ~padding
        _refuse(~valid[part].any(axis=1), labels[part], "have no token")
    return valid


def _by_stimuli(values: da.Array) -> Iterator[tuple[int, np.ndarray]]:
    """The values a chunk of stimuli at a time, each with its first stimulus."""
    start = 0
    for size in values.chunks[0]:
        yield start, values[start : start + size].compute(scheduler="synchronous")
        start += size


def _inside(lengths: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    counts = np.asarray(lengths)
    if (
        counts.shape != shape[:1]
        or counts.dtype.kind not in "iu"
        or not ((counts > 0) & (counts <= shape[1])).all()
    ):
        raise DesignError(
            f"lengths must be {shape[0]} whole numbers from 1 to {shape[1]}, one a stimulus; got "
            f"{listed(map(str, counts.ravel().tolist()), 5)}."
        )
    return np.arange(shape[1]) < counts[:, None]


def _refuse(is_bad: Any, labels: Sequence[str], what: str, remedy: str = "") -> None:
    if is_bad.any():
        named = [label for label, bad in zip(labels, is_bad, strict=True) if bad]
        remedy = remedy or "Leave these stimuli out, or correct the file."
        raise DesignError(f"activations of {listed(map(repr, named), 5)} {what}. {remedy}")


def check_finite(values: da.Array, stimuli: pd.DataFrame, lengths: Sequence[int] | None) -> None:
    """Refuse responses that are NaN or infinite, and lengths where there are no tokens.

    Raises
    ------
    DesignError
        Naming the first stimuli.
    """
    if lengths is not None:
        raise DesignError("the array has no tokens, so that lengths mean nothing; leave them out.")
    labels = stimuli[STIMULUS].tolist()
    for start, block in _by_stimuli(values):
        is_bad = ~np.isfinite(block).all(axis=(1, 2))
        _refuse(is_bad, labels[start : start + len(block)], "have NaN or infinite values")
