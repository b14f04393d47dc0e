"""Kinds of value that protocol keys hold: strict types with their ranges, nothing is converted silently."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from neurosae.errors import ProtocolError
from neurosae.protocol.windows import parse_window
from neurosae.schema.spelling import listed, nearest

MAX_PERMUTATIONS = 1_000_000

POOLINGS = ("mean", "last", "target", "max", "sum", "rate", "mean_active", "topm")
"""Ways to pool the tokens of a window; topm:3 is the mean of the three largest."""


def _plain(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("text without NUL characters is needed.")
    return text


def _window(text: str) -> str:
    try:
        parse_window(text)
    except ProtocolError as error:
        raise ValueError(str(error)) from None
    return text


def _pooling(text: str) -> str:
    if text not in POOLINGS and not re.fullmatch(r"topm:[1-9][0-9]{0,5}", text):
        raise ValueError(
            f"no pooling {text!r}{nearest(text, POOLINGS)} Poolings: {listed(POOLINGS)}, topm:3."
        )
    return text


def _layers(value: object) -> object:
    """Checked before the types are, so that one sentence covers both spellings."""
    if value == "all":
        return value
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    sound = all(type(number) is int and number >= 0 for number in numbers)
    if not numbers or not sound or len(set(numbers)) < len(numbers):
        raise ValueError("'all' or a list of different block numbers from 0 is needed, such as [6, 12].")
    return tuple(numbers)


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a name occurs twice.")
    return values


Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "attn_z", "mlp_out", "mlp_post"]
Readout = Literal["minimal_pair", "surprisal"]
PlainCorrection = Literal["fdr_bh", "max_t", "bonferroni", "holm", "fdr_by", "none"]
Correction = Literal[PlainCorrection, "step_down", "min_p", "hierarchical", "cluster", "tfce"]
Metric = Literal[
    "auto", "correlation", "cosine", "euclidean", "sqeuclidean", "jaccard", "braycurtis", "poisson"
]

Text = Annotated[str, AfterValidator(_plain)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
WindowText = Annotated[str, AfterValidator(_window)]
PoolingText = Annotated[str, AfterValidator(_pooling)]
Layers = Annotated[Literal["all"] | tuple[int, ...], BeforeValidator(_layers)]
Sites = Annotated[tuple[Site, ...], AfterValidator(_distinct)]
Readouts = Annotated[tuple[Readout, ...], Field(min_length=1), AfterValidator(_distinct)]
Columns = Annotated[tuple[Text, ...], AfterValidator(_distinct)]

Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1)]
Permutations = Annotated[int, Field(strict=True, ge=1, le=MAX_PERMUTATIONS)]
Layer = Annotated[int, Field(strict=True, ge=0)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
Proportion = Annotated[float, Field(strict=True, gt=0, lt=1)]
Dose = Annotated[float, Field(strict=True, allow_inf_nan=False)]
