"""Text files as the documents of a corpus."""

import json
from collections.abc import Sequence
from pathlib import Path

from neurosae.errors import StimulusError


def read_corpus(files: Sequence[Path | str]) -> list[str]:
    """Documents of text files: one a line of .jsonl (its key "text"), one a file of any other kind.

    Parameters
    ----------
    files : paths

    Returns
    -------
    list of str
        In the order of files and lines.

    Raises
    ------
    StimulusError
        If a file cannot be read as UTF-8, or a line is no JSON object with a text.

    Examples
    --------
    >>> read_corpus(["no/such/file.txt"])
    Traceback (most recent call last):
    neurosae.errors.StimulusError: no/such/file.txt cannot be read ...
    """
    return [text for path in map(Path, files) for text in _documents(path)]


def _documents(path: Path) -> list[str]:
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StimulusError(f"{path} cannot be read as text in UTF-8 ({error}).") from error
    if path.suffix != ".jsonl":
        return [content]
    lines = content.split("\n")
    return [_text(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()]


def _text(line: str, path: Path, number: int) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise StimulusError(f'{path}, line {number}: no JSON object with a key "text" that holds text.')
    return text
