"""A protocol as TOML text."""

import json
from collections.abc import Mapping, Sequence


def toml_text(document: Mapping[str, object]) -> str:
    """TOML for plain values, then a section a table and a section for each table of a list.

    None and empty lists of the first level are left out. Keys must be plain words.

    Examples
    --------
    >>> print(toml_text({"seed": 0, "recording": {"layers": [6]}, "rsa": [{"index": "CDI"}]}), end="")
    seed = 0
    <BLANKLINE>
    [recording]
    layers = [6]
    <BLANKLINE>
    [[rsa]]
    index = "CDI"
    """
    given = {key: value for key, value in document.items() if value is not None and value != []}
    sections = [_lines({key: value for key, value in given.items() if not _is_section(value)})]
    for key, value in given.items():
        if isinstance(value, Mapping):
            sections.append(f"[{key}]\n{_lines(value)}")
        elif isinstance(value, Sequence) and _is_section(value):
            sections.extend(f"[[{key}]]\n{_lines(table)}" for table in value)
    return "\n".join(sections)


def _is_section(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(part, Mapping) for part in value)
    return isinstance(value, Mapping)


def _lines(table: Mapping[str, object]) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in table.items() if value is not None)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{key} = {_value(part)}" for key, part in value.items() if part is not None)
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(part) for part in value) + "]"
    # TOML strings escape as JSON strings do, and DEL besides; characters beyond ASCII stand for themselves
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
