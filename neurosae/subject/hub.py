"""Where a subject's files lie: a local folder, or a snapshot in the local Hugging Face cache."""

import re
from pathlib import Path

from huggingface_hub import scan_cache_dir, snapshot_download
from huggingface_hub.errors import CacheNotFound, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from neurosae.errors import SubjectError
from neurosae.subject.folder import CONFIG_FILE, LAYOUT, TOKENIZER_FILE

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ("*.json", "*.safetensors", "*.jinja")


def local_folder(name: str) -> Path | None:
    """Folder of the model called ``name`` if it is on this machine, else None.

    Parameters
    ----------
    name : a local model folder, or a Hugging Face name such as 'openai-community/gpt2'

    Raises
    ------
    SubjectError
        If ``name`` is a path that holds no model, or can be no name.
    """
    return _folder_at(name) or _snapshot(name, local_files_only=True)


def downloaded_folder(name: str) -> Path:
    """Folder of the model called ``name``; what the Hugging Face cache lacks is fetched over the network.

    Raises
    ------
    SubjectError
        If it cannot be fetched, or is no model.
    """
    try:
        folder = _folder_at(name) or _snapshot(name, local_files_only=False)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise SubjectError(f"{name!r} cannot be fetched: {error}. {how_to_get(name)}") from error
    if folder is None:
        raise SubjectError(f"{name!r} cannot be fetched, or has no {CONFIG_FILE}. {how_to_get(name)}")
    return folder


def how_to_get(name: str) -> str:
    """The command that fetches a Hugging Face model, and what to do without a network."""
    return (
        f"Get it with: hf download {name} (or load_subject({name!r}, offline=False)); without a network, "
        f"copy a folder with {LAYOUT} here and give its path."
    )


def cached_names() -> list[str]:
    """Names of the models in the local Hugging Face cache that have a configuration and a fast tokenizer."""
    try:
        models = [entry for entry in scan_cache_dir().repos if entry.repo_type == "model"]
    except CacheNotFound:
        return []
    return sorted(entry.repo_id for entry in models if _is_complete(_snapshot(entry.repo_id, True)))


def _folder_at(name: str) -> Path | None:
    """The local folder that ``name`` is the path of, or None if it looks like a Hugging Face name."""
    path = Path(name).expanduser()
    if (path / CONFIG_FILE).is_file():
        return path
    if path.is_dir() or not _HUB_NAME.fullmatch(name):
        raise SubjectError(
            f"{name!r} is no model folder: {path / CONFIG_FILE} is missing. A model folder holds {LAYOUT}. "
            "A Hugging Face name looks like 'openai-community/gpt2'."
        )
    return None


def _is_complete(folder: Path | None) -> bool:
    return folder is not None and (folder / TOKENIZER_FILE).is_file()


def _snapshot(name: str, local_files_only: bool) -> Path | None:
    try:
        found = snapshot_download(name, allow_patterns=list(_HUB_FILES), local_files_only=local_files_only)
    except LocalEntryNotFoundError:
        return None
    folder = Path(found)
    return folder if (folder / CONFIG_FILE).is_file() else None
