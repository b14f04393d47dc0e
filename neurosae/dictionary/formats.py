"""Published dictionaries, each format turned into configuration and weights of sae-lens, and checked."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sae_lens import SAE
from sae_lens.loading.pretrained_sae_loaders import get_gemma_2_config_from_hf, handle_config_defaulting
from safetensors import SafetensorError
from safetensors.torch import load_file

from neurosae.dictionary.file_names import WEIGHTS
from neurosae.dictionary.releases import Found
from neurosae.dictionary.weights import check_finite, check_weights, read_config
from neurosae.errors import DictionaryError
from neurosae.schema.foreign_files import mistaken_for

GEMMA_SCOPE, LLAMA_SCOPE = "params.npz", "checkpoints/final.safetensors"


@dataclass(frozen=True)
class Read:
    """config : as sae-lens has it, with d_in, d_sae, architecture, metadata; weights : the file they are in.

    tensors : None where sae-lens reads the folder itself
    """

    config: Mapping[str, Any]
    weights: Path
    tensors: Mapping[str, torch.Tensor] | None = None

    def autoencoder(self) -> SAE:
        """The autoencoder in float32, ready to encode."""
        if self.tensors is None:
            sae: SAE = SAE.load_from_disk(self.weights.parent, device="cpu", dtype="float32")
        else:
            sae = SAE.from_dict({**self.config, "device": "cpu", "dtype": "float32"})
            sae.load_state_dict({name: its.float() for name, its in self.tensors.items()})
        return sae.eval().requires_grad_(False)


def read_format(found: Found) -> Read:
    """Configuration and weights of files that were found, whole, finite and of fitting shapes.

    Raises
    ------
    DictionaryError
        If they are not.
    """
    kind = found.format or ("gemma_2" if _is_gemma_scope(found.folder) else "")
    return _READERS[kind](found)


def _is_gemma_scope(folder: Path) -> bool:
    return (folder / GEMMA_SCOPE).is_file() and not (folder / WEIGHTS).is_file()


def _native(found: Found) -> Read:
    config = read_config(found.folder)
    check_weights(found.folder, int(str(config["d_in"])), int(str(config["d_sae"])))
    if "metadata" not in config:  # before sae-lens 6 all settings were on one level
        sizes = {"d_in": config["d_in"], "d_sae": config["d_sae"]}
        config = {**handle_config_defaulting(config), **sizes}
    return Read(config, found.folder / WEIGHTS)


def _gemma_scope(found: Found) -> Read:
    path = found.folder / GEMMA_SCOPE
    what = mistaken_for(path)
    if what:
        raise DictionaryError(f"{path} {what}")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            read = {key: torch.from_numpy(np.asarray(arrays[key], dtype=np.float32)) for key in arrays}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DictionaryError(f"{path} is truncated, damaged or pickled ({error}). Fetch it again.") from None
    tensors = {"W_" + key[2:] if key.startswith("w_") else key: its for key, its in read.items()}
    scale = tensors.pop("scaling_factor", torch.ones(1))
    if not bool((scale == 1).all()):
        raise DictionaryError(f"{path} scales features after encoding, which is not read.")
    d_in, width = _checked_sizes(tensors, path)
    known = get_gemma_2_config_from_hf(found.repository, found.path, "cpu") if found.repository else {}
    metadata = {key: known[key] for key in ("model_name", "hook_name", "prepend_bos") if key in known}
    return Read(_jumprelu(d_in, width, metadata), path, tensors)


def _llama_scope(found: Found) -> Read:
    path = found.folder / LLAMA_SCOPE
    try:
        settings = json.loads((found.folder / "hyperparams.json").read_text(encoding="utf-8"))
        norm, threshold = settings["dataset_average_activation_norm"]["in"], settings["jump_relu_threshold"]
        read = load_file(path)
        tensors = {
            "W_enc": read["encoder.weight"].T.float().contiguous(),
            "W_dec": read["decoder.weight"].T.float().contiguous(),
            "b_enc": read["encoder.bias"].float(),
            "b_dec": read["decoder.bias"].float(),
        }
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise DictionaryError(
            f"{found.folder} is incomplete or damaged ({error!r}). Fetch it again."
        ) from None
    tensors["threshold"] = torch.full(tensors["b_enc"].shape, threshold * len(tensors["b_dec"]) ** 0.5 / norm)
    d_in, width = _checked_sizes(tensors, path)
    metadata = {"model_name": found.subject, "hook_name": settings["hook_point_in"], "prepend_bos": True}
    config = {**_jumprelu(d_in, width, metadata), "normalize_activations": "expected_average_only_in"}
    return Read(config, path, tensors)


def _jumprelu(d_in: int, width: int, metadata: Mapping[str, object]) -> dict[str, object]:
    return {
        "architecture": "jumprelu",
        "d_in": d_in,
        "d_sae": width,
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "metadata": dict(metadata),
    }


def _checked_sizes(tensors: Mapping[str, torch.Tensor], path: Path) -> tuple[int, int]:
    """d_in and width, after all shapes were found to agree and all values to be finite."""
    encoder = tensors.get("W_enc", torch.empty(0))
    d_in, width = tuple(encoder.shape) if encoder.ndim == 2 else (0, 0)
    expected = {
        "W_enc": (d_in, width),
        "W_dec": (width, d_in),
        "b_enc": (width,),
        "b_dec": (d_in,),
        "threshold": (width,),
    }
    for name, shape in expected.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shape or not width:
            raise DictionaryError(f"{name} in {path} has shape {found}; beside W_enc, {shape} is needed.")
    check_finite(tensors, path)
    return d_in, width


_READERS: Mapping[str, Callable[[Found], Read]] = {
    "": _native,
    "gemma_2": _gemma_scope,
    "llama_scope": _llama_scope,
}
"""Format → how it is read."""
