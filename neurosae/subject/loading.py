"""How a subject's weights get into memory: the plain model, and a TransformerBridge that shares them."""

import copy
import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neurosae.errors import SubjectError
from neurosae.schema.spelling import nearest
from neurosae.subject.folder import weight_files

# Warnings while importing these are about their own dependencies; nobody here can act on them.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

MIXED = "mixed"
"""float32 weights and residual stream, matrix products in bfloat16: nearly as exact, up to twice as fast."""

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    MIXED: torch.float32,
}
DEVICES = ("auto", "cpu", "cuda", "mps")


def load_model(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The plain Hugging Face model of a folder, ready to run; safetensors only, no network, no remote code.

    Raises
    ------
    SubjectError
        If the folder's files do not make a causal language model.
    """
    weight_files(folder)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise SubjectError(f"the model in {folder} cannot be loaded: {error}") from error
    return model.to(device).eval().requires_grad_(False)


def untrained_model(folder: Path, device: torch.device, dtype: torch.dtype, *, seed: int) -> Any:
    """A model of a folder's configuration with the random weights that training would start from.

    The global random state is left as it was.

    Raises
    ------
    SubjectError
        If the configuration does not make a causal language model.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except (OSError, ValueError) as error:
        raise SubjectError(f"no model can be made of the configuration in {folder}: {error}") from error
    return model.to(device).eval().requires_grad_(False)


def parameters_sha256(model: nn.Module) -> str:
    """SHA-256 of all parameters of a model, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.named_parameters()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def boot_bridge(model: nn.Module, folder: Path) -> Any:
    """TransformerBridge over a copy of ``model`` whose parameters and buffers are the same tensors.

    Raises
    ------
    SubjectError
        If TransformerLens does not know the architecture.
    """
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    twin = copy.deepcopy(model, shared)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    try:
        return TransformerBridge.boot_transformers(
            str(folder), hf_model=twin, tokenizer=tokenizer, device=next(model.parameters()).device
        )
    except ValueError as error:
        raise SubjectError(
            f"TransformerBridge has no adapter for {type(model).__name__} in {folder}: {error}"
        ) from error


def find_device(name: str) -> torch.device:
    """The torch device called ``name``; 'auto' takes a CUDA device if there is one.

    Raises
    ------
    SubjectError
        If the device is unknown or absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.partition(":")[0]
    if kind not in DEVICES:
        raise SubjectError(f"unknown device {name!r}{nearest(name, DEVICES)} Devices: {', '.join(DEVICES)}.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise SubjectError(f"device {name!r} was asked for, but torch finds no CUDA here; use device='cpu'.")
    return torch.device(name)


def find_dtype(name: str) -> torch.dtype:
    """The torch dtype of the weights of a subject of dtype ``name``, a key of `DTYPES`.

    Raises
    ------
    SubjectError
        If it is another.
    """
    if name not in DTYPES:
        raise SubjectError(f"unknown dtype {name!r}{nearest(name, DTYPES)} Known: {', '.join(DTYPES)}.")
    return DTYPES[name]
