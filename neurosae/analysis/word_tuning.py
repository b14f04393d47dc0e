"""From tokens to words: one response a word, so that features are tuned to words, not to pieces of them."""

from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr

from neurosae.errors import DesignError
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.names import FEATURE, LAYER, NO_WORD, RESPONSE_DIMS, STIMULUS, TOKEN
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_recording, stimulus_table
from neurosae.schema.spelling import nearest
from neurosae.schema.units import UNIT_COLUMNS
from neurosae.stimulus.words import word_spans

Labels = xr.DataArray | xr.Dataset
"""A recording, or the labels of one that is sparse."""

_STIMULI, _TOKENS = 64, 2048
"""Stimuli of a dense recording, and tokens of a sparse one, that are read at a time."""


def _sum(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, first, axis=0, dtype=np.float64)


def _mean(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    return _sum(values, first, last) / (last - first + 1)[:, None]


def _max(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    return np.maximum.reduceat(values, first, axis=0)


def _last(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    return values[last]


WORD_POOLINGS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": _mean,
    "last": _last,
    "max": _max,
    "sum": _sum,
}
"""Poolings over the tokens of a word: values (tokens, F), first and last token of each word -> (words, F)."""


def word_responses(recording: xr.DataArray | SparseRecording, how: str = "last") -> xr.DataArray:
    """One response for every word of every stimulus, to be used wherever responses are.

    ``tuning(word_responses(recording), "word")`` is a tuning curve over words. Words of one stimulus share
    their context and are no independent observations: the unit of inference stays that of the stimuli
    (family, pair or item), and where these have none, the stimulus becomes the item.

    Parameters
    ----------
    recording : DataArray (stimulus, token, layer, feature) with word_index; may be lazy, or a sparse
        recording of codes
    how : ``"last"``, the token at which the word is complete; ``"mean"``, ``"max"`` or ``"sum"`` over its
        tokens

    Returns
    -------
    DataArray (stimulus, layer, feature) named ``response``
        One row a word, labelled stimulus/number; columns word (text, lower case), word_position (from 0),
        context (the stimulus), n_tokens, surprisal (bits, sum over its tokens, where recorded), and those of
        the stimuli. Tokens that are not valid or belong to no word are left out.

    Raises
    ------
    DesignError
        If the recording has no word_index, no valid token belongs to a word, or the pooling is unknown.

    Examples
    --------
    >>> from neurosae.testing import planted_recording
    >>> words = word_responses(planted_recording(n_items=2))
    >>> words["stimulus"].values[:3].tolist(), words["word"].values[:3].tolist()
    (['A00_0/0', 'A00_0/1', 'A00_0/2'], ['houses', 'past', 'carries'])
    """
    if isinstance(recording, SparseRecording):
        labels: Labels = recording.labels
    else:
        check_recording(recording)
        labels = recording
    if how not in WORD_POOLINGS:
        known = list(WORD_POOLINGS)
        raise DesignError(f"word pooling {how!r} is unknown{nearest(how, known)} Choose one of {known}.")
    rows, tokens, numbers = _word_tokens(labels)
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (np.diff(rows) != 0) | (np.diff(numbers) != 0)
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(rows)) - 1
    values = _pooled(recording, rows, (first, last), how)
    coords = _columns(labels, rows, tokens, numbers, first, last)
    attrs = {name: labels.attrs[name] for name in ("site", "basis", "units") if name in labels.attrs}
    attrs |= {"long_name": f"response, {how} over a word", **with_step(labels, "word_responses", how=how)}
    kept = {name: labels[name] for name in (LAYER, FEATURE) if name in labels.coords}
    return xr.DataArray(values, dims=RESPONSE_DIMS, coords=kept | coords, name="response", attrs=attrs)


def _word_tokens(recording: Labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stimulus, position and word number of each valid token that belongs to a word, in order."""
    if "word_index" not in recording.coords:
        raise DesignError("the recording has no 'word_index' (stimulus, token); record the stimuli anew.")
    number = recording["word_index"].transpose(STIMULUS, TOKEN).values
    rows, tokens = np.nonzero(recording["valid"].transpose(STIMULUS, TOKEN).values & (number != NO_WORD))
    if not len(rows):
        raise DesignError("no valid token belongs to a word.")
    return rows, tokens, number[rows, tokens]


def _pooled(
    recording: xr.DataArray | SparseRecording, rows: np.ndarray, ends: tuple[np.ndarray, np.ndarray], how: str
) -> np.ndarray:
    first, last = ends
    sizes = recording.sizes
    values = np.empty((len(first), sizes[LAYER], sizes[FEATURE]), dtype=np.float32)
    in_word = (recording["word_index"] != NO_WORD).transpose(STIMULUS, TOKEN).values
    valid = recording["valid"].transpose(STIMULUS, TOKEN).values
    for layer in range(sizes[LAYER]):
        for stimuli, tokens in _blocks(recording, valid, layer):
            inside = slice(*np.searchsorted(rows, [stimuli.start, stimuli.stop]))
            words = slice(*np.searchsorted(first, [inside.start, inside.stop]))
            if words.start < words.stop:
                chosen = tokens[in_word[stimuli][valid[stimuli]]]
                own = (first[words] - inside.start, last[words] - inside.start)
                values[words, layer] = WORD_POOLINGS[how](chosen, *own)
    return values


def _blocks(
    recording: xr.DataArray | SparseRecording, valid: np.ndarray, layer: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Stimuli, and the values (tokens, F) of their valid tokens in order, some stimuli at a time."""
    if isinstance(recording, SparseRecording):
        for stimuli, codes in recording.blocks(int(recording[LAYER].values[layer]), rows=_TOKENS):
            values = codes.toarray()
            values[recording.unknown[stimuli, :, layer][valid[stimuli]]] = np.nan
            yield stimuli, values
        return
    for start in range(0, recording.sizes[STIMULUS], _STIMULI):
        stimuli = slice(start, min(start + _STIMULI, recording.sizes[STIMULUS]))
        yield stimuli, np.asarray(recording.data[stimuli, :, layer])[valid[stimuli]]


def _columns(
    recording: Labels,
    rows: np.ndarray,
    tokens: np.ndarray,
    numbers: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
) -> dict[str, tuple[str, np.ndarray]]:
    table = stimulus_table(recording)
    own = rows[first]
    columns = {str(name): (STIMULUS, table[name].to_numpy()[own]) for name in table if name != STIMULUS}
    context = table[STIMULUS].to_numpy(dtype=str)[own]
    if not set(UNIT_COLUMNS[:-1]) & set(table):
        columns["item"] = (STIMULUS, context)
    labels = [f"{stimulus}/{number}" for stimulus, number in zip(context, numbers[first], strict=True)]
    columns |= {
        STIMULUS: (STIMULUS, np.array(labels)),
        "word": (STIMULUS, _words(recording, rows, tokens, numbers, first, last)),
        "word_position": (STIMULUS, numbers[first].astype(np.int64)),
        "context": (STIMULUS, context),
        "n_tokens": (STIMULUS, last - first + 1),
    }
    if "surprisal" in recording.coords:
        bits = recording["surprisal"].transpose(STIMULUS, TOKEN).values[rows, tokens]
        columns["surprisal"] = (STIMULUS, np.add.reduceat(bits, first))
    return columns


def _words(
    recording: Labels,
    rows: np.ndarray,
    tokens: np.ndarray,
    numbers: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
) -> np.ndarray:
    """Text of each word in lower case: from the stimulus where it is there, else its tokens put together."""
    if "text" in recording.coords:
        texts = recording["text"].values
        spans = [word_spans(str(text)) for text in texts]
        found = [
            str(texts[row])[spans[row][0][number] : spans[row][1][number]]
            for row, number in zip(rows[first], numbers[first], strict=True)
        ]
    else:
        pieces = recording["token_str"].transpose(STIMULUS, TOKEN).values[rows, tokens]
        found = ["".join(pieces[a : b + 1]).strip() for a, b in zip(first, last, strict=True)]
    return np.array([word.casefold() for word in found])
