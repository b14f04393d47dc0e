"""Where a dictionary is that has a name and no path: part of neurosae, or a release known to sae-lens."""

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import constants, try_to_load_from_cache

from neurosae.dictionary.file_names import CONFIG, WEIGHTS
from neurosae.errors import DictionaryError
from neurosae.schema.spelling import nearest

SHIPPED = Path(__file__).parent / "shipped"
"""Folder of the dictionaries that are part of neurosae: SUBJECT/NAME, in sae-lens format."""

LOCAL = "NEUROSAE_DICTIONARIES"
"""Environment variable: a folder of repositories, as OWNER/REPOSITORY/PATH."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)+", flags=re.ASCII)
_FILES: Mapping[str, tuple[str, ...]] = {
    "": (CONFIG, WEIGHTS),
    "gemma_2": ("params.npz",),
    "llama_scope": ("hyperparams.json", "checkpoints/final.safetensors"),
}
"""Format of a release → its files; the empty one is that of sae-lens."""


@dataclass(frozen=True)
class Found:
    """folder : of the files; release, format, repository, path : of a release, else empty.

    subject : as the release names it; scale : what activations are multiplied by, where the release says
    """

    folder: Path
    release: str = ""
    format: str = ""
    repository: str = ""
    path: str = ""
    subject: str | None = None
    scale: float | None = None
    published: Mapping[str, Any] = field(default_factory=dict)


def shipped_folder(name: str) -> Path | None:
    """Folder of a dictionary that is part of neurosae, such as 'smollm2-135m/l15-btk', or None."""
    folder = SHIPPED / name
    return folder if _NAME.fullmatch(name) and (folder / CONFIG).is_file() else None


def shipped_names() -> list[str]:
    """Names of the dictionaries that are part of neurosae."""
    return sorted("/".join(path.parts[-3:-1]) for path in SHIPPED.glob(f"*/*/{CONFIG}"))


def find_release(name: str) -> Found | None:
    """Files of RELEASE/ID on this machine; None if ``name`` is no release that sae-lens knows.

    They are looked for in ``NEUROSAE_DICTIONARIES``, then in the cache of Hugging Face; nothing is fetched.

    Raises
    ------
    DictionaryError
        If the release has no such dictionary, its files are not on this machine, or it is of a kind that is
        not read.

    Examples
    --------
    >>> find_release("no-such-release/1") is None
    True
    >>> find_release("gpt2-small-res-jb/blocks.6.hook_resid_per")
    Traceback (most recent call last):
    neurosae.errors.DictionaryError: release gpt2-small-res-jb has no dictionary 'blocks.6.hook_resid_per'...
    """
    release, _, its_id = name.partition("/")
    if not _NAME.fullmatch(name) or release not in _directory():
        return None
    known = _directory()[release]
    entries = {str(entry["id"]): entry for entry in known["saes"]}
    if its_id not in entries:
        raise DictionaryError(f"release {release} has no dictionary {its_id!r}{nearest(its_id, entries)}")
    kind = str(known.get("conversion_func") or "")
    _check_kind(name, kind, known)
    repository, path = str(known["repo_id"]), str(entries[its_id]["path"])
    folder = _local(repository, path, _FILES[kind]) or _cached(repository, path, _FILES[kind])
    if folder is None:
        raise DictionaryError(_absent(name, repository, path, _FILES[kind]))
    published = {key: entries[its_id][key] for key in ("l0", "variance_explained") if key in entries[its_id]}
    scale = entries[its_id].get("norm_scaling_factor")
    return Found(folder, release, kind, repository, path, str(known["model"]), scale, published)


def _check_kind(name: str, kind: str, known: Mapping[str, Any]) -> None:
    if "transcoder" in kind or "transcoder" in name:
        raise DictionaryError(
            f"{name} is a transcoder: it reads one site and writes another. neurosae reads dictionaries that "
            "rebuild the site they encode; take an autoencoder of that layer."
        )
    if kind not in _FILES:
        raise DictionaryError(
            f"{name}, of {known['model']}, is published in the format {kind!r}, which is not read. Load it "
            "with sae-lens where there is a network, call save_inference_model(FOLDER) and open FOLDER."
        )


def _local(repository: str, path: str, files: tuple[str, ...]) -> Path | None:
    root = os.environ.get(LOCAL)
    folder = Path(root) / repository / path if root else None
    return folder if folder is not None and all((folder / name).is_file() for name in files) else None


def _cached(repository: str, path: str, files: tuple[str, ...]) -> Path | None:
    found = [try_to_load_from_cache(repository, f"{path}/{name}", constants.HF_HUB_CACHE) for name in files]
    if not all(isinstance(file, str) for file in found):
        return None
    first = Path(str(found[0]))
    return first.parents[len(Path(files[0]).parts) - 1]


def _absent(name: str, repository: str, path: str, files: tuple[str, ...]) -> str:
    return (
        f"{name} is not on this machine. Fetch it with: hf download {repository} --include '{path}/*'. "
        f"Without a network, copy {' and '.join(files)} to {repository}/{path}/ below a folder, and set "
        f"{LOCAL} to the path of that folder."
    )


@cache
def _directory() -> dict[str, Any]:
    """What sae-lens knows of published dictionaries, read without importing sae-lens, which loads torch."""
    spec = importlib.util.find_spec("sae_lens")
    if spec is None or spec.origin is None:
        return {}
    text = Path(spec.origin).with_name("pretrained_saes.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return dict(yaml.load(text, Loader=loader))  # noqa: S506 - both are safe loaders
