"""Which subjects there are, what each is like before it is loaded, and how to load one."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from neurosae.errors import SubjectError
from neurosae.schema.spelling import nearest
from neurosae.subject import hub, smollm2
from neurosae.subject.folder import TOKENIZER_FILE, model_sizes
from neurosae.subject.interface import Subject, Tokens
from neurosae.subject.tokenizer import SubjectTokenizer

TOY = "toy"
_CLASSES = {
    TOY: ("neurosae.subject.toy", "ToySubject"),
    "bridge": ("neurosae.subject.bridge", "BridgeSubject"),
}
"""Kind of subject → module and class; by name, because the second loads torch."""


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
    how_to_get : how it becomes available, with the command
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
    name: str,
    *,
    device: str = "auto",
    dtype: str = "float32",
    offline: bool = True,
    untrained: int | None = None,
) -> Subject:
    """The subject called ``name``, ready to run.

    Parameters
    ----------
    name : 'smollm2-135m', 'toy', a local model folder, or a Hugging Face name such as 'openai-community/gpt2'
    device : 'auto', 'cpu', 'cuda', 'mps'; the toy ignores it
    dtype : 'float32'; 'bfloat16' or 'float16'; 'mixed' keeps weights and residual stream in float32 and
        multiplies matrices in bfloat16; the toy ignores it
    offline : True uses only what is on this machine; False may download a Hugging Face model
    untrained : a seed gives an untrained copy, a null model: the same architecture and tokenizer, with the
        random weights that training would start from. It is called ``name-untrained-seed``, and dictionaries
        of the trained subject do not fit it

    Returns
    -------
    Subject

    Raises
    ------
    SubjectError
        If the subject is not on this machine; the message holds the command that gets it. If an untrained
        toy is asked for.

    Examples
    --------
    >>> load_subject("toy").n_layers
    4
    """
    if name == TOY and untrained is not None:
        raise SubjectError("the toy is built, not trained, so that there is no untrained copy of it.")
    if name == TOY:
        return cast(Subject, _class_of(TOY)())
    folder, known = _locate(name, offline)
    settings = {"device": device, "dtype": dtype, "known": known, "untrained": untrained}
    return cast(Subject, _class_of("bridge")(name, folder, **settings))


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
    return _CARDS.get(name, _folder_card)(name)


def list_subjects() -> list[SubjectCard]:
    """Cards of the built-in subjects and of the models in the local Hugging Face cache.

    Examples
    --------
    >>> [card.name for card in list_subjects()][:2]
    ['toy', 'smollm2-135m']
    """
    return [subject_card(name) for name in (*_CARDS, *hub.cached_names())]


def _toy_card(name: str) -> SubjectCard:
    toy = _class_of(TOY)()
    special = tuple(str(piece) for piece in toy.tokenize([""])[0].token_str)
    sizes = (toy.n_layers, toy.d_model, toy.context_length)
    return SubjectCard(name, *sizes, True, "It is part of neurosae.", special, lambda: toy)


def _smollm2_card(name: str) -> SubjectCard:
    return SubjectCard(
        name,
        **smollm2.SIZES,
        available=smollm2.is_available(),
        how_to_get=f"Get it with: {smollm2.HOW_TO_GET}",
        special_strings=smollm2.SPECIAL_STRINGS,
        load_tokenizer=lambda: SubjectTokenizer(smollm2.model_folder()[0]),
    )


def _folder_card(name: str) -> SubjectCard:
    folder = hub.local_folder(name)
    if folder is None:
        advice = nearest(name, _CARDS)[2:].capitalize()
        how_to_get = f"{advice} {hub.how_to_get(name)}".strip()
        return SubjectCard(name, 0, 0, 0, False, how_to_get, (), lambda: _refuse(name))
    tokenizer = SubjectTokenizer(folder)
    return SubjectCard(
        name,
        **model_sizes(folder),
        available=True,
        how_to_get=f"It is in {folder}.",
        special_strings=tokenizer.special_strings,
        load_tokenizer=lambda: tokenizer,
    )


_CARDS: dict[str, Callable[[str], SubjectCard]] = {TOY: _toy_card, smollm2.NAME: _smollm2_card}
"""Built-in subject → its card; any other name is a folder or a Hugging Face name."""


def _locate(name: str, offline: bool) -> tuple[Path, dict[str, object]]:
    """Folder of a subject, and facts about it that are known already."""
    if name == smollm2.NAME:
        folder, record = smollm2.model_folder()
        known = {"source": smollm2.SOURCE, "source_sha256": record["source_sha256"]}
        return folder, {**known, "weights_sha256": record["files"]["model.safetensors"]["sha256"]}
    folder_or_none = hub.local_folder(name) if offline else hub.downloaded_folder(name)
    return folder_or_none or _refuse(name), {}


def _refuse(name: str) -> Any:
    built_in = ", ".join(_CARDS)
    raise SubjectError(
        f"subject {name!r} is not here{nearest(name, _CARDS)} It is neither built in ({built_in}) "
        f"nor a local folder with {TOKENIZER_FILE}, nor in the Hugging Face cache. {hub.how_to_get(name)}"
    )


def _class_of(kind: str) -> Any:
    module, name = _CLASSES[kind]
    return getattr(importlib.import_module(module), name)
