"""One sentence on what is wrong in a protocol, with the key that it concerns and the nearest that exists."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from neurosae.errors import ProtocolError
from neurosae.schema.spelling import listed, nearest

_SHOWN = 40

_NEEDED = {
    "path_type": "it should be a path",
    "model_type": "it should be a table",
    "tuple_type": "it should be a list",
    "too_short": "at least one is needed",
    "string_pattern_mismatch": "letters, digits, '_' and '-' are allowed",
}
"""What is needed, for problems that pydantic describes in Python's terms."""


def protocol_error(error: ValidationError, root: type[BaseModel], label: str) -> ProtocolError:
    """The first problem that pydantic found, in our words; unknown keys come first.

    Parameters
    ----------
    error : what validation raised
    root : model that was validated, whose keys are suggested for unknown ones
    label : name of the file or protocol
    """
    problems = error.errors(include_url=False)
    problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
    others = f" ({len(problems) - 1} more to correct)" if len(problems) > 1 else ""
    return ProtocolError(f"{label}: {_sentence(problems[0], root)}{others}")


def _sentence(problem: Mapping[str, Any], root: type[BaseModel]) -> str:
    location, given = problem["loc"], _shown(problem["input"])
    key, kind, context = key_path(location), problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = list(_model_at(root, location[:-1]).model_fields)
        return f"unknown key {key}{nearest(str(location[-1]), known)} Keys there: {listed(known)}."
    if kind == "missing":
        return f"{key} is needed."
    if kind == "value_error":
        return f"{key}: {context['error']}" if key else str(context["error"])
    if kind == "literal_error":
        return f"{key} is {given}; it must be {context['expected']}."
    if kind in _NEEDED:
        return f"{key} is {given}; {_NEEDED[kind]}."
    message = problem["msg"]
    if message.startswith("Input should"):
        return f"{key} is {given}; it {message.removeprefix('Input ')}."
    return f"{key}: {message[0].lower()}{message[1:]}."


def key_path(location: Sequence[str | int]) -> str:
    """A place in a protocol as it is spoken of: tables by name, the tables of a list by number from 0.

    Examples
    --------
    >>> key_path(("contrasts", 0, "test"))
    'contrasts[0].test'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _shown(value: object) -> str:
    """What was given, short; tables and lists may be deep and are not spelled out."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _model_at(root: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel]:
    model = root
    for part in location:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as ``tuple[Model, ...]`` or ``Model | None`` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
