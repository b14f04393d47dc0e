"""How another process makes the same subject: a few words that travel where weights would not."""

from dataclasses import dataclass
from pathlib import Path

from neurosae.errors import SubjectError
from neurosae.subject.catalogue import TOY, load_subject
from neurosae.subject.interface import Subject
from neurosae.subject.toy import ToySubject

_CONTENT = ("weights_sha256", "tokenizer_sha256", "dtype", "bos", "prepend_bos")
"""What must be the same in a subject that was made elsewhere."""


@dataclass(frozen=True)
class Recipe:
    """A subject by its name, or its folder, and how it was loaded.

    content : what must come out, see `make_subject`
    sizes : of a toy: its layers, units and seed
    """

    name: str
    dtype: str
    device: str
    content: tuple[tuple[str, str], ...]
    sizes: tuple[int, ...] = ()


def recipe(subject: Subject) -> Recipe:
    """The recipe of a subject that `load_subject` gave, or of a toy.

    Examples
    --------
    >>> recipe(ToySubject(seed=3)).sizes
    (4, 32, 3)
    """
    said = subject.describe()
    is_toy = said["name"] == TOY
    sizes = tuple(int(str(said[key])) for key in ("n_layers", "d_model", "seed")) if is_toy else ()
    name = str(Path(subject.name).absolute()) if Path(subject.name).is_dir() else subject.name
    return Recipe(name, str(said["dtype"]), str(said["device"]), _content(subject), sizes)


def make_subject(its: Recipe) -> Subject:
    """The subject of a recipe.

    Raises
    ------
    SubjectError
        If it is not on this machine, or another one is found under its name.

    Examples
    --------
    >>> make_subject(recipe(ToySubject(seed=3))).describe()["seed"]
    3
    """
    if its.sizes:
        subject: Subject = ToySubject(*its.sizes)
    else:
        subject = load_subject(its.name, device=its.device, dtype=its.dtype)
    other = [key for key, value in its.content if (key, value) not in _content(subject)]
    if other:
        raise SubjectError(
            f"the subject {its.name!r} of this machine differs in {', '.join(other)} from the one that is "
            "recorded. Give all machines the same files."
        )
    return subject


def _content(subject: Subject) -> tuple[tuple[str, str], ...]:
    said = subject.describe()
    return tuple((key, str(said[key])) for key in _CONTENT if key in said)
