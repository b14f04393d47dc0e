"""Which subjects there are, what each is like before it is loaded, and how to load one."""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from huggingface_hub import scan_cache_dir, snapshot_download
from huggingface_hub.errors import CacheNotFound, HfHubHTTPError, LocalEntryNotFoundError

from neurosae.errors import SubjectError
from neurosae.schema.spelling import nearest
from neurosae.subject import smollm2
from neurosae.subject.folder import CONFIG_FILE, LAYOUT, file_sha256, model_sizes
from neurosae.subject.interface import Subject, Tokens
from neurosae.subject.tokenizer import SubjectTokenizer

_CLASSES = {"toy": ("neurosae.subject.toy", "ToySubject"), "bridge": ("neurosae.subject.bridge", "BridgeSubject")}
"""Kind of subject → module and class; by name, because the second loads torch."""

BUILT_IN = ("toy", smollm2.NAME)
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HUB_FILES = ("*.json", "*.safetensors", "*.jinja")


class Tokenizer(Protocol):
    """Whatever cuts texts into tokens."""

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each text."""
        ...


@dataclass(frozen=True)
class SubjectCard:
    """What is known of a subject without loading its weights; sizes are 0 where it is not available.

    name : as given to `load_subject`
    n_layers, d_model, context_length : sizes
    available : whether `load_subject` would find it on this machine
    how_to_get : the command or layout that makes it available
    special_strings : texts that stand for control tokens; in a stimulus they are read as plain characters
    load_tokenizer : gives an object whose ``tokenize`` returns the very tokens that the subject will
    """

    name: str
    n_layers: int
    d_model: int
    context_length: int
    available: bool
    how_to_get: str
    special_strings: tuple[str, ...]
    load_tokenizer: Callable[[], Tokenizer]


def load_subject(
    name: str, *, device: str = "auto", dtype: str = "float32", offline: bool = True
) -> Subject:
    """The subject called ``name``, ready to run.

    Parameters
    ----------
    name : 'smollm2-135m', 'toy', a local model folder, or a Hugging Face name such as 'openai-community/gpt2'
    device : 'auto', 'cpu', 'cuda', 'mps'; the toy ignores it
    dtype : 'float32', 'bfloat16' or 'float16'; the toy ignores it
    offline : True uses only what is on this machine; False may download a Hugging Face model

    Returns
    -------
    Subject

    Raises
    ------
    SubjectError
        If the subject is not on this machine; the message holds the command that gets it.

    Examples
    --------
    >>> load_subject("toy").n_layers
    4
    """
    if name == "toy":
        return cast(Subject, _class_of("toy")())
    folder, known = _locate(name, offline)
    return cast(Subject, _class_of("bridge")(name, folder, device=device, dtype=dtype, known=known))


def subject_card(name: str) -> SubjectCard:
    """What the subject called ``name`` is like, from its configuration and tokenizer; loads no weights.

    Parameters
    ----------
    name : as for `load_subject`

    Returns
    -------
    SubjectCard

    Raises
    ------
    SubjectError
        If ``name`` can be no subject, or its folder is incomplete.

    Examples
    --------
    >>> card = subject_card("toy")
    >>> card.available, card.n_layers, card.d_model
    (True, 4, 32)
    """
    if name == "toy":
        toy = _class_of("toy")()
        sizes = {"n_layers": toy.n_layers, "d_model": toy.d_model, "context_length": toy.context_length}
        return SubjectCard(name, **sizes, available=True, **_ABOUT_TOY, load_tokenizer=lambda: toy)
    if name == smollm2.NAME:
        return SubjectCard(
            name,
            **smollm2.SIZES,
            available=smollm2.is_available(),
            how_to_get=smollm2.HOW_TO_GET,
            special_strings=smollm2.SPECIAL_STRINGS,
            load_tokenizer=lambda: SubjectTokenizer(smollm2.model_folder()[0]),
        )
    return _folder_card(name)


def list_subjects() -> list[SubjectCard]:
    """Cards of the built-in subjects and of the models in the local Hugging Face cache.

    Examples
    --------
    >>> [card.name for card in list_subjects()][:2]
    ['toy', 'smollm2-135m']
    """
    cached = [subject_card(name) for name in _cached_names()]
    return [*(subject_card(name) for name in BUILT_IN), *(card for card in cached if card.available)]


def _folder_card(name: str) -> SubjectCard:
    how_to_get = _how_to_get(name)
    try:
        folder, _ = _locate(name, offline=True)
    except _NotHereError:
        return SubjectCard(name, 0, 0, 0, False, how_to_get, (), lambda: _refuse(name))
    tokenizer = SubjectTokenizer(folder)
    sizes = model_sizes(folder)
    return SubjectCard(
        name,
        **sizes,
        available=True,
        how_to_get=how_to_get,
        special_strings=tokenizer.special_strings,
        load_tokenizer=lambda: tokenizer,
    )
