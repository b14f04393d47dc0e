"""From trained weights to a folder that loads anywhere: threshold, attention sinks, metadata, precision."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from neurosae.dictionary.file_names import CONFIG, WEIGHTS

ROWS_AT_ONCE = 4096


def inference_weights(sae: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and configuration of a trained autoencoder as sae-lens saves it for use, in float32."""
    with TemporaryDirectory() as place:
        sae.save_inference_model(place)
        weights = load_file(Path(place) / WEIGHTS)
        config = json.loads((Path(place) / CONFIG).read_text(encoding="utf-8"))
    return {name: its.float() for name, its in weights.items()}, config


def with_sink_features(
    weights: Mapping[str, Tensor], directions: np.ndarray, rows: np.ndarray
) -> tuple[dict[str, Tensor], int]:
    """Features more, at the end, that carry attention sinks: encoder and decoder are the directions of sinks.

    Each direction gets one feature for either sign. It fires where |(x - b_dec) . u| exceeds 1.5 times the
    largest value among ordinary tokens, so that a sink is rebuilt by these and hardly anything else.

    Parameters
    ----------
    weights : of a dictionary with thresholds, whose encoder does not see the directions
    directions : (n, d) orthonormal
    rows : (row, d) ordinary activations

    Returns
    -------
    (weights, number of features added)
    """
    signed = torch.tensor(np.concatenate([directions, -directions]), dtype=torch.float32)
    along = (torch.tensor(rows, dtype=torch.float32) - weights["b_dec"]) @ signed.T
    return {
        **weights,
        "W_enc": torch.cat([weights["W_enc"], signed.T], dim=1),
        "W_dec": torch.cat([weights["W_dec"], signed]),
        "b_enc": torch.cat([weights["b_enc"], torch.zeros(len(signed))]),
        "threshold": torch.cat([weights["threshold"], 1.5 * along.clamp(min=1e-3).amax(dim=0)]),
    }, len(signed)


def halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights rounded to float16, as they are saved; thresholds and biases stay in float32."""
    return {
        name: its.half().contiguous() if name in ("W_enc", "W_dec") else its.contiguous()
        for name, its in weights.items()
    }


def calibrated(
    weights: Mapping[str, Tensor], rows: np.ndarray, l0: float, *, n_fixed: int = 0
) -> dict[str, Tensor]:
    """Weights with one threshold for all features, at which ``l0`` of them are active in a row on average.

    Parameters
    ----------
    weights : of a dictionary with thresholds
    rows : (row, d) ordinary activations
    l0 : active features aimed at
    n_fixed : features at the end whose threshold stays
    """
    n_free = len(weights["b_enc"]) - n_fixed
    found: list[Tensor] = []
    n_kept = round(l0 * len(rows))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        block = torch.tensor(np.asarray(rows[start : start + ROWS_AT_ONCE], dtype=np.float32))
        pre = (block - weights["b_dec"]) @ weights["W_enc"][:, :n_free].float() + weights["b_enc"][:n_free]
        largest = torch.cat([*found, pre[pre > 0]])
        found = [largest.topk(min(n_kept, len(largest))).values]
    threshold = weights["threshold"].clone()
    threshold[:n_free] = found[0][-1] if len(found[0]) == n_kept else 0.0
    return {**weights, "threshold": threshold}


def save_dictionary(
    folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any], metadata: Mapping[str, object]
) -> None:
    """Write a folder that `neurosae.load_dictionary` and sae-lens read; readable by everybody."""
    folder.mkdir(parents=True, exist_ok=True)
    d_in, width = weights["W_enc"].shape
    known = {**config.get("metadata", {}), **metadata}
    written = {**config, "d_in": d_in, "d_sae": width, "device": "cpu", "dtype": "float32", "metadata": known}
    part = folder / f".{WEIGHTS}.part"
    save_file({name: its.contiguous() for name, its in weights.items()}, part)
    os.chmod(part, 0o644)
    os.replace(part, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def sink_directions(sinks: np.ndarray, mean: np.ndarray, n: int = 2) -> np.ndarray:
    """Orthonormal directions (n, d) in which attention sinks (row, d) differ from the ordinary mean.

    The first singular vectors of sinks - mean, not centred: the first carries nearly all, the second most of
    what is left.
    """
    away = np.asarray(sinks, dtype=np.float64) - mean
    return np.asarray(np.linalg.svd(away, full_matrices=False)[2][: min(n, len(away))])
