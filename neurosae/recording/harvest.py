"""Activations of a corpus to train dictionaries on, in files that grow as the pass goes on.

One pass gives every site and layer. The windows of all documents are shuffled before it, so that what is at
the beginning of the files is already a fair sample of the corpus; a pass that was killed is continued.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurosae.errors import StimulusError, StorageError
from neurosae.recording.files import check_free_space, write_json
from neurosae.subject.batching import run_all
from neurosae.subject.interface import Subject, Tokens

STATE = "harvest.json"

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
    """

    folder: Path
    places: tuple[tuple[str, int], ...]
    n_rows: int

    def rows(self, site: str, layer: int) -> np.ndarray:
        """Activations (row, d) float16 of a place, mapped from disk."""
        found = np.load(self.folder / file_name(site, layer), mmap_mode="r", allow_pickle=False)
        return np.asarray(found)[: self.n_rows] if found.ndim == 2 else found


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
    windows = shuffled_windows(subject, texts, context, seed)
    places = tuple((site, int(layer)) for site, layers in sites.items() for layer in layers)
    state = _begun(folder, subject, texts, places, n_tokens, context, seed)
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
    return Harvest(folder, places, int(state["rows"]))


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
        begin, body = tokens.token_id[:n_leading], tokens.token_id[n_leading:]
        size = context - n_leading
        for start in range(0, len(body), size):
            part = body[start : start + size]
            if len(part) >= size // 2 or (start == 0 and len(part)):
                yield _plain(np.concatenate([begin, part]), n_leading)


def _plain(token_id: np.ndarray, n_special: int) -> Tokens:
    """Tokens by number alone, as a forward pass needs them."""
    none = np.zeros(len(token_id), dtype=np.int64)
    return Tokens(token_id, np.full(len(token_id), ""), none, none, np.arange(len(token_id)) < n_special)


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
    }
    if not (folder / STATE).exists():
        return {"asked": asked, "rows": 0, "windows": 0}
    state = dict(json.loads((folder / STATE).read_text(encoding="utf-8")))
    other = [key for key, value in asked.items() if state["asked"].get(key) != value]
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
