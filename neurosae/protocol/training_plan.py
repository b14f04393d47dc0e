"""What a file of dictionaries to train says: where activations come from, how, and which dictionaries."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neurosae.errors import DictionaryError
from neurosae.protocol.fields import Count, Layer, Name, Seed, Site
from neurosae.protocol.recipe import Recipe, read_recipe


class Source(BaseModel):
    """[source]: the text, and the subject whose activations in it are trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str = Field(description="Name of the subject, or the folder of its model.")
    dtype: str = Field(default="float32", description="Precision in which the subject runs.")
    corpus: tuple[Path, ...] = Field(default=(), description="Files .txt or .jsonl, from this file's folder.")
    n_tokens: Count = Field(description="Tokens of the corpus to harvest.")
    context: Annotated[int, Field(ge=2)] = Field(default=128, description="Tokens of a window, BOS counted.")
    seed: Seed = Field(default=0, description="Seed of the order of windows.")


class Planned(BaseModel):
    """[[dictionary]]: one dictionary, and where its recipe departs from [training]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="Name of its folder.")
    site: Site = Field(description="Site of the activations.")
    layer: Layer = Field(description="Block, from 0.")
    training: dict[str, Any] = Field(default={}, description="Keys of [training] that differ.")


class TrainingPlan(BaseModel):
    """source : where activations come from; dictionaries and recipes : one each, in the same order."""

    model_config = ConfigDict(frozen=True)

    source: Source
    dictionaries: tuple[Planned, ...]
    recipes: tuple[Recipe, ...]

    @property
    def sites(self) -> dict[str, tuple[int, ...]]:
        """Site → layers, as one pass over the corpus needs them."""
        found: dict[str, tuple[int, ...]] = {}
        for its in self.dictionaries:
            known = found.get(its.site, ())
            found[its.site] = known if its.layer in known else (*known, its.layer)
        return found


def load_training_plan(path: Path | str, *, corpus: tuple[Path, ...] = ()) -> TrainingPlan:
    """The plan in a TOML file with [source], [training] and one [[dictionary]] or more.

    Parameters
    ----------
    path : of the file
    corpus : files of text to take in place of those that the plan names

    Raises
    ------
    DictionaryError
        If the file cannot be read, a key is wrong, a name occurs twice, or no corpus is named.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DictionaryError(f"{path}: cannot be read as TOML ({error}).") from error
    unknown = sorted(set(document) - {"source", "training", "dictionary"})
    if unknown:
        raise DictionaryError(
            f"{path}: unknown section {unknown[0]!r}. Sections: [source], [training], [[dictionary]]."
        )
    source = _checked(Source, document.get("source", {}), f"{path}: source")
    planned = tuple(_checked(Planned, its, f"{path}: dictionary") for its in document.get("dictionary", []))
    _check_names(planned, path)
    files = corpus or tuple(path.parent / its for its in source.corpus)
    if not files:
        raise DictionaryError(f"{path}: source.corpus names no text. Name files there, or with --corpus.")
    training = dict(document.get("training", {}))
    return TrainingPlan(
        source=source.model_copy(update={"corpus": files}),
        dictionaries=planned,
        recipes=tuple(read_recipe({**training, **its.training}, f"{path}: {its.name}") for its in planned),
    )


def _checked(model: type, table: object, label: str) -> Any:
    try:
        return model.model_validate(table)  # type: ignore[attr-defined]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([label, *(str(part) for part in first["loc"])])
        raise DictionaryError(f"{where}: {str(first['msg']).removeprefix('Value error, ')}") from None


def _check_names(planned: tuple[Planned, ...], path: Path) -> None:
    names = [its.name for its in planned]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DictionaryError(f"{path}: two dictionaries are called {twice[0]!r}. Rename one.")
    if not planned:
        raise DictionaryError(f"{path}: no [[dictionary]] is planned. Add one with name, site and layer.")
