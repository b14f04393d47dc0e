"""What a folder holds before a session is recorded into it: nothing, a part of this recording, or another."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neurosae.errors import StorageError
from neurosae.recording.lock import is_lock
from neurosae.recording.session import HEADER, read_header
from neurosae.schema.spelling import listed

HOW = ("environment", "shards")
"""Parts of a configuration that may differ where a recording is finished, but not while it is continued."""

_FORMER: Mapping[str, object] = {"dictionaries": []}
"""What sessions mean that say nothing of a part."""

_SHOWN = 3
"""Differences of one part that a refusal shows."""


def output_state(out: Path, same: Mapping[str, object], *, overwrite: bool) -> str:
    """What to do with a folder: 'new', 'continue', 'done' or 'replace'.

    Parameters
    ----------
    out : folder
    same : parts of the configuration that a session in ``out`` must share to be this recording
    overwrite : whether a session may be replaced

    Raises
    ------
    StorageError
        If ``out`` holds another recording and ``overwrite`` is False, or something that is no session.
    """
    if not out.exists() or (out.is_dir() and all(_is_trace(path.name) for path in out.iterdir())):
        return "new"
    if not (out / HEADER).exists():
        raise StorageError(f"{out} exists and holds no session; it is left alone. Choose another folder.")
    if overwrite:
        return "replace"
    header = read_header(out)
    check_same(out, header, same)
    return "done" if header["status"] == "complete" else "continue"


def check_same(out: Path, header: Mapping[str, Any], same: Mapping[str, object]) -> None:
    """Refuse to go on with a session that is another recording.

    Raises
    ------
    StorageError
        With what differs: what it was, and what it is now.
    """
    config, is_done = header["config"], header["status"] == "complete"
    was = {part: config.get(part, _FORMER.get(part)) for part in same}
    other = [part for part in same if was[part] != same[part]]
    if [part for part in other if not (is_done and part in HOW)]:
        told = "; ".join(f"{part} ({_difference(was[part], same[part])})" for part in other)
        advice = " Codes are added to a finished session by encode()." if "dictionaries" in other else ""
        raise StorageError(
            f"{out} holds another recording: it differs in {told}. Choose another folder, or overwrite "
            f"it.{advice}"
        )


def _difference(was: object, given: object) -> str:
    """What differs between two values, as short as may be.

    Examples
    --------
    >>> _difference({"name": "a", "seed": 1}, {"name": "b", "seed": 1})
    "name was 'a', is 'b'"
    """
    left, right = dict(_leaves(was)), dict(_leaves(given))
    keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
    told = [f"{key} was {_brief(left.get(key))}, is {_brief(right.get(key))}".lstrip() for key in keys]
    return listed(told, most=_SHOWN)


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Values inside tables and lists of tables, each under its name."""
    if isinstance(value, list) and all(isinstance(its, Mapping) for its in value):
        value = {str(its.get("name")): its for its in value}
    if isinstance(value, Mapping):
        for key, its in value.items():
            yield from _leaves(its, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _brief(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return f"{len(value)} of them"
    text = str(value)
    return repr(text if len(text) <= 24 else f"{text[:8]}…") if isinstance(value, str) else text


def _is_trace(name: str) -> bool:
    """Whether a file is all that a run leaves behind which was killed before it wrote its stamp."""
    return is_lock(name) or name.startswith(f".{HEADER}.part-")
