"""Read a sae-lens folder with suspicion: files present, whole, finite and of fitting shapes."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from neurosae.dictionary.file_names import CONFIG, WEIGHTS
from neurosae.errors import DictionaryError
from neurosae.schema.foreign_files import PICKLES, mistaken_for

_MOST_TENSORS = 1000


def read_config(folder: Path) -> dict[str, object]:
    """The folder's cfg.json as a dict; DictionaryError if it is missing, no JSON, or lacks the sizes."""
    check_folder(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DictionaryError(f"{folder / CONFIG} is not JSON: {error}. Fetch the file again.") from None
    if not isinstance(config, dict):
        raise DictionaryError(f"{folder / CONFIG} holds no table of settings. Fetch the file again.")
    for key in ("d_in", "d_sae"):
        size = config.get(key)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise DictionaryError(
                f"{folder / CONFIG} gives {key} = {size!r}; a whole number above 0 is needed."
            )
    return config


def check_folder(folder: Path) -> None:
    """Raise DictionaryError unless the path is a folder with configuration and safetensors weights."""
    pickled = [folder] if folder.is_file() else sorted(folder.glob("*")) if folder.is_dir() else []
    has_weights = (folder / WEIGHTS).is_file()
    for path in pickled:
        if path.suffix in PICKLES and not has_weights:
            raise DictionaryError(
                f"{path} can run code when it is read, and is refused. Save the weights as {WEIGHTS}."
            )
    if not folder.is_dir():
        raise DictionaryError(f"no dictionary at {folder}. Give a folder with {CONFIG} and {WEIGHTS}.")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise DictionaryError(f"{folder} has no {name}. A dictionary needs {CONFIG} and {WEIGHTS}.")


def check_weights(folder: Path, d_in: int, d_sae: int) -> None:
    """Raise DictionaryError unless the weights are whole, finite and of the sizes that cfg.json gives."""
    path = folder / WEIGHTS
    what = mistaken_for(path)
    if what:
        raise DictionaryError(f"{path} {what}")
    tensors = _tensors(path)
    for name, shape in {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shape:
            raise DictionaryError(
                f"{name} in {path} has shape {found}, {CONFIG} asks for {shape}. "
                "The two files do not belong together."
            )
    check_finite(tensors, path)


def check_finite(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise DictionaryError if a tensor has values that are not finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DictionaryError(f"{name} in {path} has NaN or infinite values. Use an intact copy.")


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, counted before they are read."""
    try:
        with safe_open(path, "pt") as file:
            count = len(file.keys())
        if count > _MOST_TENSORS:
            raise DictionaryError(
                f"{path} holds {count:,} tensors, and a dictionary a few. Use an intact copy."
            )
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise DictionaryError(f"{path} is truncated or damaged ({error}). Fetch it again.") from None
