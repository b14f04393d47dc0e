"""Run the subject over the stimuli of one shard: the activations that are kept, and codes made on the way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from neurosae.dictionary.interface import Dictionary
from neurosae.recording.code_shard import CodeShard
from neurosae.recording.codes import encoded, reordered
from neurosae.recording.fit import MOST_ROWS, Fit, check_fit
from neurosae.recording.flags import sinks
from neurosae.recording.plan import Order, Plan
from neurosae.recording.shard import Shard, Tables, norms, token_rows
from neurosae.subject.batching import TooLargeError, run_all
from neurosae.subject.interface import Readings, Subject, Tokens


@dataclass(frozen=True)
class Portion:
    """The stimuli of one shard.

    number : of the shard
    stimuli : their rows of the stimulus table, counted anew
    tokens : of each stimulus
    """

    number: int
    stimuli: pd.DataFrame
    tokens: Sequence[Tokens]


@dataclass(frozen=True)
class Made:
    """What one shard holds: activations by site, codes of each dictionary, and its fit if that was judged."""

    number: int
    raw: Mapping[str, Shard]
    codes: tuple[CodeShard, ...]
    fits: tuple[Fit, ...]


@dataclass(frozen=True)
class _Part:
    """Codes of one batch: the rows they belong to, their norms, and rows that are kept to judge the fit."""

    place: np.ndarray
    codes: sp.csr_array
    norm: np.ndarray
    sampled: np.ndarray
    sample: np.ndarray


@dataclass(frozen=True)
class _Room:
    """What the batches of a shard leave, filled in place: activations by site, codes, surprisal."""

    order: Order
    dictionaries: Sequence[Dictionary]
    is_special: np.ndarray
    is_sampled: np.ndarray
    bits: np.ndarray
    widths: Mapping[str, int]
    values: dict[str, np.ndarray]
    parts: tuple[list[_Part], ...]


def portion(stimuli: pd.DataFrame, plan: Plan, number: int) -> Portion:
    """The stimuli of the shard of that number."""
    start, stop = plan.shards[number]
    return Portion(number, stimuli.iloc[start:stop].reset_index(drop=True), plan.tokens[start:stop])


def run_portion(
    subject: Subject,
    dictionaries: Sequence[Dictionary],
    order: Order,
    its: Portion,
    *,
    judged: bool = False,
    report: Callable[[int], object] | None = None,
) -> Made:
    """Run the stimuli of one shard once, for all sites and dictionaries.

    A text that does not fit into memory is left out: its tokens are marked as missing.

    Parameters
    ----------
    subject, dictionaries, order : who is run, and what is kept
    its : the stimuli
    judged : also judge the fit of each dictionary
    report : called after each batch with the number of stimuli done

    Raises
    ------
    DictionaryError
        If the fit is judged, and a dictionary explains nothing.
    """
    rows = token_rows(its.stimuli, its.tokens)
    first = np.cumsum([0, *(len(text) for text in its.tokens)])
    widths = {site: subject.n_features(site) for site in order.sites}
    room = _room(order, dictionaries, rows["is_special"], widths, seed=its.number if judged else None)
    too_large: list[TooLargeError] = []
    options: dict[str, Any] = {"sites": order.asked, "surprisal": order.surprisal}
    options |= {"batch_tokens": order.batch_tokens, "leave_out": too_large.append}
    n_done = 0
    for indices, readings in run_all(subject, its.tokens, **options):
        _put(room, readings, _rows_of(first, indices))
        n_done += len(indices)
        if report is not None:
            report(n_done)
    rows |= {"surprisal": room.bits} if order.surprisal else {}
    return _made(room, its, rows | _missing(first, [error.position for error in too_large]))


def _room(
    order: Order,
    dictionaries: Sequence[Dictionary],
    is_special: np.ndarray,
    widths: Mapping[str, int],
    *,
    seed: int | None,
) -> _Room:
    """Empty room; with a ``seed``, some tokens are chosen to judge the fit of dictionaries on."""
    is_sampled = np.zeros(len(is_special), dtype=bool)
    if seed is not None:  # more than are needed, as sinks are only known when the shard is complete
        ordinary = np.random.default_rng(seed).permutation(np.flatnonzero(~is_special))
        is_sampled[ordinary[: MOST_ROWS + MOST_ROWS // 4]] = True
    bits = np.full(len(is_special), np.nan)
    parts: tuple[list[_Part], ...] = tuple([] for _ in dictionaries)
    return _Room(order, dictionaries, is_special, is_sampled, bits, widths, {}, parts)


def _put(room: _Room, readings: Readings, place: slice | np.ndarray) -> None:
    """Keep what a batch gave: activations in their rows, codes as parts."""
    n_rows = len(room.bits)
    for site in room.order.sites:
        read = _layers(readings, room.order, site)
        if len(read) == n_rows and isinstance(place, slice):
            room.values[site] = read  # the whole shard in one batch needs no copy
            continue
        if site not in room.values:
            room.values[site] = np.full((n_rows, *read.shape[1:]), np.nan, dtype=np.float32)
        room.values[site][place] = read
    for dictionary, parts in zip(room.dictionaries, room.parts, strict=True):
        layer = room.order.asked[dictionary.site].index(dictionary.layer)
        parts.append(_part(dictionary, readings.activations[dictionary.site][:, layer], room, place))
    if readings.surprisal is not None:
        room.bits[place] = readings.surprisal


def _layers(readings: Readings, order: Order, site: str) -> np.ndarray:
    """Activations of the layers that are kept, among those that were read."""
    read = order.asked[site]
    if read == order.layers:
        return readings.activations[site]
    return readings.activations[site][:, [read.index(layer) for layer in order.layers]]


def _part(dictionary: Dictionary, rows: np.ndarray, room: _Room, place: slice | np.ndarray) -> _Part:
    is_sampled, numbers = room.is_sampled[place], np.arange(len(room.bits))[place]
    return _Part(
        place=numbers,
        codes=encoded(dictionary, rows, ~room.is_special[place]),
        norm=norms(rows[:, None])[:, 0],
        sampled=numbers[is_sampled],
        sample=rows[is_sampled],
    )


def _missing(first: np.ndarray, positions: Sequence[int]) -> dict[str, np.ndarray]:
    """Which tokens were not run, if there are any."""
    is_missing = np.zeros(first[-1], dtype=bool)
    for position in positions:
        is_missing[first[position] : first[position + 1]] = True
    return {"is_missing": is_missing} if positions else {}


def _made(room: _Room, its: Portion, rows: Mapping[str, np.ndarray]) -> Made:
    layers = room.order.layers
    raw = {site: Shard(its.stimuli, rows, layers, _values(room, site)) for site in room.order.sites}
    pairs = list(zip(room.dictionaries, room.parts, strict=True))
    codes = tuple(_code_shard(dictionary, its.stimuli, rows, parts) for dictionary, parts in pairs)
    judged = zip(pairs, codes, strict=True) if room.is_sampled.any() else ()
    fits = tuple(_fit(dictionary, shard, parts) for (dictionary, parts), shard in judged)
    return Made(its.number, raw, codes, fits)


def _values(room: _Room, site: str) -> np.ndarray:
    """Activations of a site; none but NaN where not one text was run."""
    shape = (len(room.bits), len(room.order.layers), room.widths[site])
    return room.values[site] if site in room.values else np.full(shape, np.nan, dtype=np.float32)


def _code_shard(
    dictionary: Dictionary, stimuli: pd.DataFrame, rows: Mapping[str, np.ndarray], parts: Sequence[_Part]
) -> CodeShard:
    """Codes of a shard, rows in their order; those that were not run are empty, their norm is NaN."""
    n_rows = len(rows["is_special"])
    norm = np.full(n_rows, np.nan, dtype=np.float32)
    for part in parts:
        norm[part.place] = part.norm
    left = np.flatnonzero(rows.get("is_missing", np.zeros(n_rows, dtype=bool)))
    empty = sp.csr_array((len(left), dictionary.n_features), dtype=np.float32)
    codes = reordered([*((part.place, part.codes) for part in parts), (left, empty)], dictionary.n_features)
    return CodeShard(stimuli, rows, dictionary.layer, norm, codes)


def _fit(dictionary: Dictionary, shard: CodeShard, parts: Sequence[_Part]) -> Fit:
    """The fit on a sample of ordinary tokens, whatever batches they were in."""
    if not parts:
        return Fit(float("nan"), float("nan"))
    numbers = np.concatenate([part.sampled for part in parts])
    order = np.argsort(numbers)
    rows = np.concatenate([part.sample for part in parts])[order]
    tables = Tables(shard.stimuli, shard.rows, np.array([shard.layer]), shard.norm[:, None])
    return check_fit(dictionary, rows[~sinks(tables)[numbers[order]]])


def _rows_of(first: np.ndarray, indices: Sequence[int] | np.ndarray) -> slice | np.ndarray:
    """Rows of some texts, as a slice where they are consecutive: no index, and no copy of a whole shard."""
    if (np.diff(indices) == 1).all():
        return slice(int(first[indices[0]]), int(first[indices[-1] + 1]))
    return np.concatenate([np.arange(first[index], first[index + 1]) for index in indices])
