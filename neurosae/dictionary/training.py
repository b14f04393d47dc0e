"""Train a dictionary on activations, step by step, so that a run that was stopped goes on bit for bit."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sae_lens import SAETrainer
from sae_lens.config import SAETrainerConfig

from neurosae.dictionary.architectures import autoencoder
from neurosae.dictionary.remedies import resample
from neurosae.dictionary.rows import batches, ordinary, sample
from neurosae.errors import DictionaryError
from neurosae.protocol.recipe import Recipe

LOG, CHECKPOINT, RECIPE = "training.jsonl", "checkpoint", "recipe.json"
LOG_EVERY = 50
CHECKPOINT_EVERY = 500
DIVERGED = 10.0
"""A loss so many times the mean squared norm of the rows ends the training: rebuilding nothing gives 1."""

Progress = Callable[[int, int], object]
Watch = Callable[[Mapping[str, float]], object]


@dataclass(frozen=True)
class Statistics:
    """Of the rows that are trained on: mean (d,), mean norm, and the largest norm that counts as ordinary."""

    mean: np.ndarray
    norm: float
    largest: float


def statistics(rows: np.ndarray, recipe: Recipe) -> Statistics:
    """Statistics over a sample of the rows, sinks left out.

    Raises
    ------
    DictionaryError
        If the rows are fewer than a batch, or none is finite.
    """
    if len(rows) < recipe.batch:
        raise DictionaryError(
            f"{len(rows)} rows are fewer than one batch of {recipe.batch}. Harvest more, or make it smaller."
        )
    found = sample(rows)
    if not len(found):
        raise DictionaryError("none of the rows sampled is finite. Check where the activations come from.")
    norm = np.linalg.norm(found, axis=1)
    largest = float(recipe.max_norm * np.median(norm))
    usual = found[norm <= largest]
    return Statistics(usual.mean(axis=0, dtype=np.float64), float(norm[norm <= largest].mean()), largest)


def fit(
    rows: np.ndarray,
    recipe: Recipe,
    folder: Path,
    *,
    blocked: np.ndarray | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Any:
    """A trained autoencoder of sae-lens, its scale folded into the weights.

    Parameters
    ----------
    rows : (row, d) activations
    recipe : how it is trained
    folder : where the log and the checkpoint are kept; a run of the same recipe is continued
    blocked : (n, d) orthonormal directions that the encoder may not see, those of attention sinks
    device : where it is trained
    progress : called as ``progress(n_steps_done, n_steps)``
    watch : called with each line of the log: step, loss, explained_variance, l0, dead, k

    Raises
    ------
    DictionaryError
        If the folder holds a run of another recipe, the rows are too few, or the loss diverges; the last good
        checkpoint stays.
    """
    known = statistics(rows, recipe)
    kept = ordinary(rows, known.largest)
    if kept.sum() < recipe.batch:
        raise DictionaryError(f"{int(kept.sum())} ordinary rows are fewer than one batch of {recipe.batch}.")
    trainer = _trainer(recipe, rows.shape[1], known, device)
    first = _resumed(trainer, folder, recipe)
    provider = batches(rows, kept, recipe.batch, seed=recipe.seed, first=first)
    directions = None if blocked is None else torch.tensor(blocked, dtype=torch.float32, device=device)
    limit = None if recipe.winsorize is None else recipe.winsorize * known.norm
    power = float(rows.shape[1] if recipe.normalize else known.norm**2)
    for step in range(first, recipe.n_steps):
        batch = torch.from_numpy(_winsorized(next(provider), limit))
        trainer.maybe_reset_sparsity()
        output = trainer.step(batch)
        trainer.n_training_steps += 1
        _keep_blocked(trainer.sae, directions)
        if recipe.remedy == "resampling" and (step + 1) % recipe.resample_every == 0:
            _resample(trainer, batch.to(device), step)
        loss = float(output.loss.detach())
        if not loss <= DIVERGED * power:
            raise DictionaryError(
                f"the loss is {loss:.4g} at step {step}, and rebuilding nothing gives {power:.4g}: training "
                f"diverges. Lower the learning rate; {_last_good(folder)}."
            )
        if (step + 1) % LOG_EVERY == 0 or step + 1 == recipe.n_steps:
            state = _state(trainer, output, step)
            _log(folder, state)
            if watch is not None:
                watch(state)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == recipe.n_steps:
            _checkpoint(trainer, folder, recipe)
        if progress is not None:
            progress(step + 1, recipe.n_steps)
    sae = trainer.sae
    if trainer.activation_scaler.scaling_factor is not None:
        sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    return sae


def _last_good(folder: Path) -> str:
    place = folder / CHECKPOINT
    return f"the last good checkpoint is {place}" if place.exists() else "no checkpoint was reached"


def _trainer(recipe: Recipe, d_in: int, known: Statistics, device: str) -> SAETrainer[Any, Any]:
    n = recipe.n_steps
    config = SAETrainerConfig(
        total_training_samples=n * recipe.batch,
        train_batch_size_samples=recipe.batch,
        lr=recipe.learning_rate,
        lr_end=recipe.learning_rate / 10,
        lr_warm_up_steps=int(recipe.warm_up * n),
        lr_decay_steps=int(recipe.decay * n),
        device=device,
        autocast=recipe.autocast,
        dead_feature_window=recipe.dead_after,
        feature_sampling_window=max(2, min(500, n)),
    )
    sae = autoencoder(recipe, d_in, device=device)
    trainer = SAETrainer(config, sae, iter(()))
    scale = d_in**0.5 / known.norm if recipe.normalize else 1.0
    if recipe.normalize:
        trainer.activation_scaler.scaling_factor = scale
    # sae-lens begins with a zero bias, though most of a residual stream is its mean
    sae.b_dec.data = torch.tensor(known.mean * scale, dtype=torch.float32, device=device)
    return trainer


def _winsorized(rows: np.ndarray, limit: float | None) -> np.ndarray:
    if limit is None:
        return rows
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norm > limit, rows * (limit / norm), rows).astype(np.float32)


@torch.no_grad()
def _keep_blocked(sae: Any, directions: torch.Tensor | None) -> None:
    """Take the blocked directions out of every encoder column."""
    if directions is not None:
        sae.W_enc.data -= directions.T @ (directions @ sae.W_enc.data)


def _resample(trainer: SAETrainer[Any, Any], batch: torch.Tensor, step: int) -> None:
    sae, scaled = trainer.sae, trainer.activation_scaler(batch)
    with torch.no_grad():
        residual = scaled - sae.decode(sae.encode(scaled))
    generator = torch.Generator(device=scaled.device).manual_seed(step)
    dead = trainer.dead_neurons
    resample(sae.W_enc.data, sae.b_enc.data, sae.W_dec.data, dead, scaled, residual, generator)
    trainer.n_forward_passes_since_fired[dead] = 0
    for parameter in (sae.W_enc, sae.b_enc, sae.W_dec):
        state = trainer.optimizer.state.get(parameter, {})
        for name in ("exp_avg", "exp_avg_sq"):
            if name in state:
                moments = state[name] if parameter is not sae.W_enc else state[name].T
                moments[dead] = 0


def _state(trainer: SAETrainer[Any, Any], output: Any, step: int) -> dict[str, float]:
    with torch.no_grad():
        centred = output.sae_in - output.sae_in.mean(dim=0)
        residual = output.sae_in - output.sae_out
        explained = 1 - float(residual.pow(2).sum() / centred.pow(2).sum())
        l0 = float((output.feature_acts > 0).sum() / len(output.sae_in))
    return {
        "step": step + 1,
        "loss": float(output.loss.detach()),
        "explained_variance": explained,
        "l0": l0,
        "dead": float(trainer.dead_neurons.float().mean()),
        "k": trainer.sae.recipe.k_at(step),
    }


def _log(folder: Path, state: Mapping[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOG, "a", encoding="utf-8") as file:
        file.write(json.dumps(dict(state)) + "\n")


def _checkpoint(trainer: SAETrainer[Any, Any], folder: Path, recipe: Recipe) -> None:
    """Replace the checkpoint as a whole."""
    part, old = folder / f".{CHECKPOINT}.part", folder / f".{CHECKPOINT}.old"
    shutil.rmtree(part, ignore_errors=True)
    trainer.sae.save_model(part)
    trainer.save_trainer_state(part)
    (part / RECIPE).write_text(recipe.model_dump_json(), encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if (folder / CHECKPOINT).exists():
        os.rename(folder / CHECKPOINT, old)
    os.rename(part, folder / CHECKPOINT)
    shutil.rmtree(old, ignore_errors=True)


def _resumed(trainer: SAETrainer[Any, Any], folder: Path, recipe: Recipe) -> int:
    """Load the checkpoint of an earlier run of the same recipe; how many steps it did."""
    place = folder / CHECKPOINT
    if not place.exists() and (folder / f".{CHECKPOINT}.old").exists():
        os.rename(folder / f".{CHECKPOINT}.old", place)
    if not place.exists():
        return 0
    known = json.loads((place / RECIPE).read_text(encoding="utf-8"))
    other = [key for key, value in json.loads(recipe.model_dump_json()).items() if known.get(key) != value]
    if other:
        raise DictionaryError(
            f"{folder} holds a training by another recipe: {other[0]} was {known.get(other[0])!r}. Choose "
            "another folder."
        )
    trainer.sae.load_weights_from_checkpoint(place)
    trainer.load_trainer_state(place)
    return int(trainer.n_training_steps)
