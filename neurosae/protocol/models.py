"""What a protocol may say: one frozen model a table, one described field a key, nothing else allowed."""

import hashlib
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from neurosae.errors import ProtocolError
from neurosae.protocol.refusals import protocol_error
from neurosae.protocol.toml import toml_text
from neurosae.protocol.windows import parse_window
from neurosae.schema.spelling import listed, nearest

Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "attn_z", "mlp_out", "mlp_post"]
Index = Literal["CDI", "CMI", "TDI", "COH"]
Metric = Literal["auto", "correlation", "cosine", "euclidean", "sqeuclidean", "jaccard", "braycurtis"]


def _plain(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("text is needed here, without NUL characters.")
    return text


def _window(text: str) -> str:
    try:
        parse_window(text)
    except ProtocolError as error:
        raise ValueError(str(error)) from None
    return text


def _layers(value: object) -> object:
    listed_once = isinstance(value, list | tuple) and len(value) > 0 and len(set(map(repr, value))) == len(value)
    if value == "all":
        return value
    if not listed_once or any(type(layer) is not int or layer < 0 for layer in value):  # type: ignore[attr-defined]
        raise ValueError("layers are 'all' or a list of different block numbers from 0, such as [6, 12].")
    return tuple(value)  # type: ignore[arg-type]
