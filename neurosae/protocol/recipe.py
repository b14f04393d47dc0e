"""How a dictionary is trained: one frozen model of the recipe, read from TOML, and the schedule of k."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from neurosae.errors import DictionaryError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]

SPARSE = ("topk", "batchtopk", "matryoshka")
"""Architectures that keep k features active; the others pay for activity."""

Architecture = Literal["standard", "topk", "batchtopk", "matryoshka", "jumprelu", "gated"]
Remedy = Literal["none", "auxk", "ghost_grads", "resampling"]


class Recipe(BaseModel):
    """[training]: everything that decides what a dictionary becomes, but for the activations.

    Examples
    --------
    >>> recipe = Recipe(width=64, k=4, k_start=16, n_tokens=10_240)
    >>> recipe.n_steps, [recipe.k_at(step) for step in (0, 1, 2, 9)]
    (10, [16.0, 12.0, 8.0, 4.0])
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture = Field(default="batchtopk", description="Kind of sparse autoencoder.")
    width: int = Field(ge=1, description="Number of features.")
    n_tokens: int = Field(ge=1, description="Rows of activations trained on, repetitions counted.")
    batch: int = Field(default=1024, ge=2, description="Rows a step.")
    learning_rate: Positive = Field(default=2.5e-3, description="Largest learning rate.")
    warm_up: Share = Field(default=0.02, description="Share of the steps in which the rate rises.")
    decay: Share = Field(default=0.2, description="Share of the steps, at the end, in which it falls to 0.")
    k: Positive = Field(default=32, description="Features active in a token, at the end and in use.")
    k_start: Positive | None = Field(default=None, description="The same at the beginning; k if left out.")
    k_warm_up: Share = Field(default=0.3, description="Share of the steps in which k_start becomes k.")
    l1: Positive = Field(default=5, description="Weight of the penalty on activity (standard, gated).")
    l0: Positive = Field(default=1, description="Weight of the penalty on activity (jumprelu).")
    penalty_warm_up: Share = Field(default=0.05, description="Share of the steps in which it rises.")
    levels: tuple[int, ...] = Field(default=(), description="Widths of the inner dictionaries (matryoshka).")
    remedy: Remedy = Field(default="auxk", description="What is done for features that never fire.")
    remedy_weight: Positive = Field(default=1 / 32, description="Weight of that loss.")
    dead_after: int = Field(default=200, ge=1, description="Steps without firing until a feature is dead.")
    resample_every: int = Field(default=1000, ge=1, description="Steps between resamplings.")
    tied: bool = Field(default=False, description="Whether the encoder is the transposed decoder.")
    pre_bias: bool = Field(
        default=True, description="Whether the decoder's bias is taken off before encoding."
    )
    normalize: bool = Field(default=True, description="Whether activations are scaled to a norm of sqrt(d).")
    winsorize: Positive | None = Field(
        default=None, description="Largest norm of a row, in means; longer rows are shortened to it."
    )
    max_norm: Positive = Field(
        default=3,
        description="Rows of a norm above so many medians are left out, attention sinks among them.",
    )
    sink_safe: bool = Field(default=True, description="Whether attention sinks pass through unharmed.")
    autocast: bool = Field(default=True, description="Whether matrices are multiplied in bfloat16.")
    seed: int = Field(default=0, ge=0, description="Seed of weights and order of rows.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.architecture in SPARSE and self.k > self.width:
            raise ValueError(f"k is {self.k:g}, and the dictionary has only {self.width} features.")
        if self.k_start is not None and (self.architecture not in SPARSE or self.k_start > self.width):
            raise ValueError("k_start needs an architecture with k, and may not exceed the width.")
        if self.batch > self.n_tokens:
            raise ValueError(f"{self.n_tokens} tokens are fewer than one batch of {self.batch}.")
        if self.remedy == "auxk" and self.architecture not in SPARSE:
            raise ValueError(
                "auxk needs topk, batchtopk or matryoshka. Take ghost_grads, resampling or none."
            )
        if self.warm_up + self.decay > 1:
            raise ValueError("warm_up and decay together exceed the whole training.")
        if (self.architecture == "matryoshka") != bool(self.levels):
            raise ValueError("levels and the architecture matryoshka need each other.")
        return self

    @property
    def n_steps(self) -> int:
        """Steps of training."""
        return self.n_tokens // self.batch

    def k_at(self, step: int) -> float:
        """Features active in a token at a step: k_start, falling in a line to k over ``k_warm_up``."""
        start = self.k if self.k_start is None else self.k_start
        n_falling = max(1, int(self.k_warm_up * self.n_steps))
        return float(start + (self.k - start) * min(step / n_falling, 1.0))


def read_recipe(table: dict[str, Any], label: str) -> Recipe:
    """A recipe from the [training] table of a file.

    Raises
    ------
    DictionaryError
        With the key that is wrong.
    """
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the recipe"
        message = str(first["msg"]).removeprefix("Value error, ")
        raise DictionaryError(f"{label}: {where}: {message}") from None


def load_recipe(path: Path | str) -> Recipe:
    """A recipe from a TOML file with a table [training].

    Raises
    ------
    DictionaryError
        If the file cannot be read, or a key is wrong.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DictionaryError(f"{path}: cannot be read as TOML ({error}).") from error
    return read_recipe(dict(document.get("training", {})), str(path))
