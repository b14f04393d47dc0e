"""Activations of a corpus to train dictionaries on, in files that grow as the pass goes on.

One pass gives every site and layer. The windows of all documents are shuffled before it, so that what is at
the beginning of the files is already a fair sample of the corpus; a pass that was killed is continued.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neurosae.errors import StimulusError, StorageError
from neurosae.recording.files import check_free_space, write_json
from neurosae.subject.batching import run_all
from neurosae.subject.interface import Subject, Tokens

STATE, SPECIAL = "harvest.json", "special.npz"

TEXTS_AT_ONCE = 256
WINDOWS_AT_ONCE = 64
"""Windows between two entries in the state, and so the most that a kill loses."""

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Harvest:
    """Activations of a corpus on disk.

    folder : with one ``SITE-LAYER.npy`` a place, float16 (row, d)
    places : (site, layer) of each file
    n_rows : rows, the same in every file
    asked : subject (hash of its weights), texts (hash), context, seed; and what the subject says of itself
        under ``described``, where the harvest was begun by a version that kept it
    """

    folder: Path
    places: tuple[tuple[str, int], ...]
    n_rows: int
    asked: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, site: str, layer: int) -> np.ndarray:
        """Activations (row, d) float16 of a place, mapped from disk."""
        found = np.load(self.folder / file_name(site, layer), mmap_mode="r", allow_pickle=False)
        return np.asarray(found)[: self.n_rows] if found.ndim == 2 else found

    def special(self, site: str, layer: int) -> np.ndarray:
        """Activations (token, d) float32 of special tokens at the beginning of a window; none if not kept."""
        path = self.folder / SPECIAL
        if not path.exists():
            return np.empty((0, self.rows(site, layer).shape[1]), dtype=np.float32)
        with np.load(path, allow_pickle=False) as kept:
            return np.asarray(kept[file_name(site, layer)])


def open_harvest(folder: Path | str) -> Harvest:
    """A harvest that is on disk, finished or not.

    Raises
    ------
    StorageError
        If the folder holds none, or one whose state or files are damaged.

    Examples
    --------
    >>> open_harvest("no/such/folder")
    Traceback (most recent call last):
    neurosae.errors.StorageError: no/such/folder holds no harvest ...
    """
    folder = Path(folder)
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        places = tuple((str(site), int(layer)) for site, layer in state["asked"]["places"])
        return Harvest(folder, places, int(state["rows"]), _known(state))
    except OSError as error:
        raise StorageError(f"{folder} holds no harvest ({error}). Make one with harvest().") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{folder / STATE} is damaged ({error!r}). Harvest again.") from error


def file_name(site: str, layer: int) -> str:
    """File of a place.

    Examples
    --------
    >>> file_name("resid_post", 7)
    'resid_post-07.npy'
    """
    return f"{site}-{layer:02d}.npy"


def harvest(
    subject: Subject,
    texts: Sequence[str],
    folder: Path | str,
    sites: Mapping[str, Sequence[int]],
    *,
    n_tokens: int,
    context: int = 128,
    seed: int = 0,
    batch_tokens: int = 2048,
    progress: Progress | None = None,
) -> Harvest:
    """Run a corpus through a subject once and keep the activations of every token that is not special.

    Every text is cut into windows of ``context`` tokens, each begun by the subject's BOS where it has one,
    and the windows of all texts are shuffled. Attention sinks are kept: training leaves them out.

    Parameters
    ----------
    subject : the model
    texts : documents
    folder : where the files are; an earlier pass with the same arguments is continued
    sites : site → layers
    n_tokens : rows to keep; fewer if the texts hold fewer
    context : tokens of a window, BOS counted, at least 2
    seed : of the order of windows
    batch_tokens : most tokens in one forward pass
    progress : called as ``progress(n_rows, n_tokens)``

    Returns
    -------
    Harvest

    Raises
    ------
    StimulusError
        If the texts hold no token.
    StorageError
        If the folder holds another harvest, or the disk has no room.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from neurosae.subject.toy import ToySubject
    >>> with TemporaryDirectory() as place:
    ...     kept = harvest(ToySubject(), ["the keys are here ."] * 9, place, {"resid_post": [1]}, n_tokens=20)
    ...     kept.rows("resid_post", 1).shape
    (20, 32)
    """
    folder = Path(folder)
    places = tuple((site, int(layer)) for site, layers in sites.items() for layer in layers)
    state = _begun(folder, subject, texts, places, n_tokens, context, seed)
    if not (folder / SPECIAL).exists():
        _keep_special(subject, texts, sites, folder)
    if state["rows"] >= n_tokens:
        return Harvest(folder, places, int(state["rows"]), _known(state))
    windows = shuffled_windows(subject, texts, context, seed)
    files = _open_files(folder, subject, places, n_tokens, is_new=state["windows"] == 0)
    while state["rows"] < n_tokens and state["windows"] < len(windows):
        some = windows[state["windows"] : state["windows"] + WINDOWS_AT_ONCE]
        kept = _of_text(subject, some, sites, batch_tokens)
        room = min(len(next(iter(kept.values()))), n_tokens - state["rows"])
        for place, values in kept.items():
            files[place][state["rows"] : state["rows"] + room] = values[:room]
            files[place].flush()
        state |= {"rows": state["rows"] + room, "windows": state["windows"] + len(some)}
        write_json(folder / STATE, state)
        if progress is not None:
            progress(state["rows"], n_tokens)
    return Harvest(folder, places, int(state["rows"]), _known(state))


def shuffled_windows(subject: Subject, texts: Sequence[str], context: int, seed: int) -> list[Tokens]:
    """Windows of all texts in random order; the last of a text is left out if it is shorter than half.

    Raises
    ------
    StimulusError
        If there is none.
    """
    parts = [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]
    cut = [window for part in parts for window in _windows(subject, part, context)]
    if not cut:
        raise StimulusError(f"{len(texts)} texts hold no token to train on. Give longer texts.")
    order = np.random.default_rng(seed).permutation(len(cut))
    return [cut[i] for i in order]


def _windows(subject: Subject, texts: Sequence[str], context: int) -> Iterator[Tokens]:
    for tokens in subject.tokenize(list(texts)):
        n_leading = int(np.argmin(tokens.is_special)) if len(tokens) else 0
        if tokens.is_special.all():
            continue
        size = context - n_leading
        for start in range(n_leading, len(tokens), size):
            part = np.arange(start, min(start + size, len(tokens)))
            if len(part) >= size // 2 or start == n_leading:
                yield _plain(tokens, np.concatenate([np.arange(n_leading), part]), n_leading)


def _plain(tokens: Tokens, chosen: np.ndarray, n_special: int) -> Tokens:
    """Tokens without their places in the text, each string held once, as a forward pass needs them."""
    strings = np.array([sys.intern(str(its)) for its in tokens.token_str[chosen]], dtype=object)
    none = np.zeros(len(chosen), dtype=np.int8)
    return Tokens(tokens.token_id[chosen], strings, none, none, np.arange(len(chosen)) < n_special)


def _begun(
    folder: Path,
    subject: Subject,
    texts: Sequence[str],
    places: Sequence[tuple[str, int]],
    n_tokens: int,
    context: int,
    seed: int,
) -> dict[str, Any]:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", errors="surrogatepass") + b"\x00")
    asked = {
        "subject": subject.describe().get("weights_sha256", subject.name),
        "texts": digest.hexdigest(),
        "places": [list(place) for place in places],
        "n_tokens": n_tokens,
        "context": context,
        "seed": seed,
        "dtype": subject.describe().get("dtype"),
    }
    if not (folder / STATE).exists():
        return {"asked": asked, "described": subject.describe(), "rows": 0, "windows": 0}
    state = dict(json.loads((folder / STATE).read_text(encoding="utf-8")))
    # the first harvests did not keep the precision in which the subject ran
    other = [key for key, value in asked.items() if state["asked"].get(key, value) != value]
    if other:
        raise StorageError(
            f"{folder} holds another harvest: it differs in {other[0]}. Choose another folder."
        )
    return state


def _open_files(
    folder: Path, subject: Subject, places: Sequence[tuple[str, int]], n_tokens: int, *, is_new: bool
) -> dict[tuple[str, int], np.memmap]:
    folder.mkdir(parents=True, exist_ok=True)
    widths = {place: subject.n_features(place[0]) for place in places}
    if is_new:
        check_free_space(folder, 2 * n_tokens * sum(widths.values()))
    return {
        place: np.lib.format.open_memmap(
            folder / file_name(*place),
            mode="w+" if is_new else "r+",
            dtype=np.float16 if is_new else None,
            shape=(n_tokens, width) if is_new else None,
        )
        for place, width in widths.items()
    }


def _known(state: Mapping[str, Any]) -> dict[str, Any]:
    return {**state["asked"], "described": dict(state.get("described", {}))}


def _keep_special(
    subject: Subject, texts: Sequence[str], sites: Mapping[str, Sequence[int]], folder: Path
) -> None:
    """Store the activations of the special tokens before a text: BOS mostly is an attention sink."""
    first = subject.tokenize([texts[0][:100] if texts else ""])[0]
    n_leading = int(np.argmin(first.is_special)) if len(first) and not first.is_special.all() else len(first)
    begin = _plain(first, np.arange(n_leading), n_leading)
    read = subject.run([begin], sites=sites).activations if n_leading else {}
    kept = {
        file_name(site, int(layer)): read[site][:, slot].astype(np.float32)
        if n_leading
        else np.empty((0, subject.n_features(site)), dtype=np.float32)
        for site, layers in sites.items()
        for slot, layer in enumerate(layers)
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / SPECIAL, **kept)  # type: ignore[arg-type]


def _of_text(
    subject: Subject, windows: Sequence[Tokens], sites: Mapping[str, Sequence[int]], batch_tokens: int
) -> dict[tuple[str, int], np.ndarray]:
    """Activations (row, d) float16 of each place, at tokens that are not special."""
    parts: dict[tuple[str, int], list[np.ndarray]] = {}
    for indices, readings in run_all(subject, windows, batch_tokens=batch_tokens, sites=sites):
        is_text = ~np.concatenate([windows[i].is_special for i in indices])
        for site, layers in sites.items():
            for slot, layer in enumerate(layers):
                values = readings.activations[site][is_text, slot]
                parts.setdefault((site, int(layer)), []).append(values.astype(np.float16))
    return {place: np.concatenate(its) for place, its in parts.items()}
