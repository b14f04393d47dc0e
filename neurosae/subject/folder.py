"""What a local model folder says about itself: sizes, special tokens, hashes; read without torch."""

import hashlib
import json
from pathlib import Path
from typing import Any

from neurosae.errors import SubjectError

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
LAYOUT = f"{CONFIG_FILE}, {TOKENIZER_FILE}, tokenizer_config.json and one or more *.safetensors"
_SIZES = {
    "n_layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "d_model": ("hidden_size", "n_embd", "d_model"),
    "context_length": ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"),
}
"""Each size and the names that model configurations have for it."""

_UNNAMED = {"context_length": 2048}
"""Models without learned or rotary positions name no context length; the oldest were trained on this one."""


def read_config(folder: Path) -> dict[str, Any]:
    """The model configuration of a folder.

    Raises
    ------
    SubjectError
        If ``config.json`` is missing or is no JSON object.
    """
    return _read_json(folder / CONFIG_FILE)


def model_sizes(folder: Path) -> dict[str, int]:
    """``n_layers``, ``d_model`` and ``context_length`` of the model in a folder.

    Raises
    ------
    SubjectError
        If the configuration names no such size.
    """
    config = read_config(folder)
    text = config.get("text_config", config)
    return {size: _first(text, size, folder) for size in _SIZES}


def bos_string(folder: Path) -> str | None:
    """The string of the token that begins a text, or None if the tokenizer names none."""
    path = folder / "tokenizer_config.json"
    bos = _read_json(path).get("bos_token") if path.exists() else None
    return bos.get("content") if isinstance(bos, dict) else bos


def tokenizer_path(folder: Path) -> Path:
    """The file of the fast tokenizer in a folder.

    Raises
    ------
    SubjectError
        If the folder has none.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise SubjectError(
            f"{folder} has no {TOKENIZER_FILE}; neurosae needs the fast tokenizer for character spans. "
            f"Save it there with AutoTokenizer.from_pretrained(...).save_pretrained({str(folder)!r})."
        )
    return path


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, by name.

    Raises
    ------
    SubjectError
        If there is none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise SubjectError(
            f"{folder} has no *.safetensors; only this format is read, because pickled weights can run code. "
            f"Expected there: {LAYOUT}."
        )
    return files


def file_sha256(path: Path) -> str:
    """SHA-256 of one file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(folder: Path) -> str:
    """SHA-256 of the weights: of the one file, or of the hashes of several in order of name."""
    digests = [file_sha256(path) for path in weight_files(folder)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _first(config: dict[str, Any], size: str, folder: Path) -> int:
    named = [config[name] for name in _SIZES[size] if isinstance(config.get(name), int)]
    if named or size in _UNNAMED:
        return int((named or [_UNNAMED[size]])[0])
    raise SubjectError(
        f"{folder / CONFIG_FILE} has none of {', '.join(_SIZES[size])}; a decoder-only model is needed."
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SubjectError(f"{path} is missing; a model folder holds {LAYOUT}.") from None
    except (OSError, ValueError) as error:
        raise SubjectError(f"{path} cannot be read ({error}); fetch or save the model again.") from error
    if not isinstance(content, dict):
        raise SubjectError(f"{path} holds a {type(content).__name__}; a JSON object is needed.")
    return content
