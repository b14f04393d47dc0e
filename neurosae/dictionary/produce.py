"""From rows of activations to a folder with a dictionary: trained, safe for sinks, measured, described."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neurosae.dictionary.card import write_card
from neurosae.dictionary.file_names import CONFIG, WEIGHTS
from neurosae.dictionary.finish import (
    calibrated,
    halved,
    inference_weights,
    save_dictionary,
    sink_directions,
    with_sink_features,
)
from neurosae.dictionary.interface import Dictionary
from neurosae.dictionary.load import load_dictionary
from neurosae.dictionary.rows import ordinary, sample
from neurosae.dictionary.training import Progress, Statistics, Watch, fit, statistics
from neurosae.dictionary.weights import read_config
from neurosae.errors import DictionaryError
from neurosae.protocol.recipe import SPARSE, Recipe

WORK, ROWS = "training", "rows.json"
HELD_OUT, MEASURED, MOST_SINKS = 10_000, 300_000, 10_000
"""Rows that are never trained on, rows in which features are counted as dead, sinks that are looked at."""

_AT_ONCE = 4096


@dataclass(frozen=True)
class TrainingRows:
    """What a dictionary is trained on.

    rows : (row, d) activations of tokens that are not special
    special : (token, d) activations of special tokens, which may be attention sinks
    metadata : model_name and hook_name at least; context_size, prepend_bos, hashes of the corpus
    """

    rows: np.ndarray
    special: np.ndarray
    metadata: Mapping[str, object] = field(default_factory=dict)


def produce(
    source: TrainingRows,
    recipe: Recipe,
    folder: Path,
    *,
    progress: Progress | None = None,
    watch: Watch | None = None,
    device: str = "cpu",
) -> Dictionary:
    """Train a dictionary and write it; a stopped run is continued, a finished one opened.

    The last twentieth of the rows, at most 10,000, is kept out of training, and the folder's metadata say how
    well it is rebuilt.

    Parameters
    ----------
    source : activations and where they come from
    recipe : how it is trained
    folder : gets cfg.json, sae_weights.safetensors, README.md, and training/ with the log and the checkpoint
    progress : called as ``progress(n_steps_done, n_steps)``
    watch : called with each line of the log
    device : where it is trained

    Raises
    ------
    DictionaryError
        If the folder holds another dictionary or a training on other rows, the rows are too few, or the loss
        diverges.
    """
    if (folder / CONFIG).exists():
        return _finished(source, recipe, folder)
    n_held = min(HELD_OUT, len(source.rows) // 20)
    rows = source.rows[: len(source.rows) - n_held]
    known = statistics(rows, recipe)
    _check_rows(source, folder / WORK)
    directions = _directions(source, rows, recipe, known)
    sae = fit(
        rows,
        recipe,
        folder / WORK,
        blocked=directions if len(directions) else None,
        device=device,
        progress=progress,
        watch=watch,
    )
    weights, config, n_added = _weights(sae, rows, recipe, directions, known.largest)
    metadata: dict[str, object] = {
        **source.metadata,
        "training_tokens": recipe.n_steps * recipe.batch,
        "unique_tokens": len(rows),
        "seed": recipe.seed,
        "recipe": json.loads(recipe.model_dump_json()),
        "rows_sha256": rows_sha256(source),
        "sink_features": n_added,
        "largest_norm": known.largest,
    }
    save_dictionary(folder / WORK, weights, config, metadata)
    trained = load_dictionary(folder / WORK)
    measured = {
        **_held_out(trained, source.rows[len(rows) :], known.largest),
        "num_dead_features": _n_silent(trained, source.rows, n_added),
    }
    save_dictionary(folder, weights, config, {**metadata, **measured})
    for name in (CONFIG, WEIGHTS):
        (folder / WORK / name).unlink()
    write_card(folder, read_config(folder))
    return load_dictionary(folder)


def rows_sha256(source: TrainingRows) -> str:
    """Hash of the number of rows and of a thousand of them, which tells one source from another."""
    rows = source.rows
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(1000, len(rows))).astype(np.int64))
    digest = hashlib.sha256(repr((rows.shape, str(rows.dtype))).encode())
    digest.update(np.ascontiguousarray(rows[chosen]).tobytes())
    return digest.hexdigest()


def _weights(
    sae: Any, rows: np.ndarray, recipe: Recipe, directions: np.ndarray, largest: float
) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Weights and configuration for use, and how many features at the end carry attention sinks."""
    usual = sample(rows)
    usual = usual[ordinary(usual, largest)]
    weights, config = inference_weights(sae.to("cpu"))
    n_added = 0
    if len(directions):
        weights, n_added = with_sink_features(weights, directions, usual)
    weights = halved(weights)
    if recipe.architecture in SPARSE and "threshold" in weights:
        weights = calibrated(weights, usual, recipe.k, n_fixed=n_added)
    return weights, config, n_added


def _finished(source: TrainingRows, recipe: Recipe, folder: Path) -> Dictionary:
    """The dictionary in a folder, if it is the one that would be trained."""
    metadata = read_config(folder).get("metadata")
    known: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    same = known.get("recipe") == json.loads(recipe.model_dump_json())
    if not same or known.get("rows_sha256") != rows_sha256(source):
        what = "other activations" if same else "another recipe"
        raise DictionaryError(f"{folder} holds a dictionary by {what}. Choose another folder.")
    return load_dictionary(folder)


def _check_rows(source: TrainingRows, work: Path) -> None:
    """Refuse to continue a training on other rows; note the rows of a new one."""
    digest, path = rows_sha256(source), work / ROWS
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != digest:
        raise DictionaryError(f"{work} holds a training on other activations. Choose another folder.")
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(digest), encoding="utf-8")


def _directions(source: TrainingRows, rows: np.ndarray, recipe: Recipe, known: Statistics) -> np.ndarray:
    """Directions (n, d) of attention sinks: rows and special tokens of extreme norm. None if there is none.

    Only dictionaries with thresholds can carry sinks; the others are trained and saved plain.
    """
    none = np.empty((0, rows.shape[1]))
    if not recipe.sink_safe or recipe.architecture not in ("batchtopk", "matryoshka", "jumprelu"):
        return none
    places = np.flatnonzero(~ordinary(rows, known.largest))[:MOST_SINKS]
    found = [np.asarray(rows[places], dtype=np.float32), source.special.astype(np.float32)]
    sinks = np.concatenate([its[np.isfinite(its).all(axis=1)] for its in found])
    sinks = sinks[np.linalg.norm(sinks, axis=1) > known.largest]
    return sink_directions(sinks, known.mean) if len(sinks) else none


def _held_out(dictionary: Dictionary, held: np.ndarray, largest: float) -> dict[str, object]:
    """L0 and explained variance of rows that were not trained on, attention sinks left out."""
    rows = np.asarray(held, dtype=np.float32)
    rows = rows[ordinary(rows, largest)]
    if len(rows) < 2:
        return {}
    codes = dictionary.encode(rows)
    residual = float(((rows - dictionary.decode(codes)).astype(np.float64) ** 2).sum())
    total = float(((rows - rows.mean(axis=0, dtype=np.float64)) ** 2).sum())
    explained = 1 - residual / total if total > 0 else float("nan")
    return {"l0": codes.nnz / len(rows), "explained_variance": explained, "held_out_tokens": len(rows)}


def _n_silent(dictionary: Dictionary, rows: np.ndarray, n_sink: int) -> int:
    """How many features never fire in the first rows, those for attention sinks not counted."""
    fired = np.zeros(dictionary.n_features, dtype=bool)
    for start in range(0, min(MEASURED, len(rows)), _AT_ONCE):
        block = np.asarray(rows[start : start + _AT_ONCE], dtype=np.float32)
        fired[dictionary.encode(block[np.isfinite(block).all(axis=1)]).indices] = True
    return int((~fired[: dictionary.n_features - n_sink]).sum())
