"""A protocol read from its file: bounded, contained, checked before any model is loaded."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurosae.errors import ProtocolError
from neurosae.protocol.models import Protocol, read_document
from neurosae.protocol.refusals import key_path
from neurosae.schema.paths import contained

MAX_BYTES = 1_000_000

MAX_DOTS = 200
"""Most dots in a line: the time to read a dotted key grows with the square of its parts."""


def load_protocol(path: str | Path) -> Protocol:
    r"""The protocol in a TOML file.

    Parameters
    ----------
    path : str or Path
        The file. Paths in it are relative to its folder and may reach the folder above it, no further:
        ``../stimuli/x`` is fine, an absolute path, ``~`` or a link that leads out is not. They must exist.

    Returns
    -------
    Protocol
        Frozen; ``sha256`` is the hash of its content.

    Raises
    ------
    ProtocolError
        If the file is no TOML of at most 1 MB, a key is unknown, missing or out of range, a reference leads
        nowhere, or a path is refused. The line or the key is named.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "words.tsv").write_text("")
    ...     file = Path(folder, "study.toml")
    ...     _ = file.write_text("name = 'study'\nstimuli = 'words.tsv'\nsubject = 'toy'\nsed = 1")
    ...     load_protocol(file)
    Traceback (most recent call last):
    neurosae.errors.ProtocolError: study.toml: unknown key sed; did you mean 'seed'? Keys there: ...
    """
    file = Path(path)
    if not file.is_file():
        raise ProtocolError(f"no protocol file {file}.")
    text = _text(file)
    document = _parsed(text, file.name)
    folder = file.resolve().parent
    return read_document(_with_paths(document, folder, file.name), folder=folder, text=text, label=file.name)


def _text(file: Path) -> str:
    with file.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ProtocolError(f"{file.name} is larger than {MAX_BYTES} bytes; a protocol is a page of text.")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ProtocolError(f"{file.name} line 1: starts with a byte order mark. Save it as plain UTF-8.")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProtocolError(f"{file.name} line {line}: not UTF-8. Save the file as UTF-8.") from None


def _parsed(text: str, label: str) -> dict[str, Any]:
    deep = next(
        (number for number, line in enumerate(text.split("\n"), 1) if line.count(".") > MAX_DOTS), None
    )
    if deep is not None:
        raise ProtocolError(
            f"{label} line {deep}: more than {MAX_DOTS} dots; keys are not nested that deeply."
        )
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ProtocolError(f"{label}: lists or tables are nested too deeply.") from None
    except ValueError as error:
        raise ProtocolError(f"{label}: no valid TOML: {error}.") from None


def _with_paths(document: Mapping[str, Any], folder: Path, label: str) -> dict[str, Any]:
    """The document with its paths joined to ``folder``; what is no text is left for the models to refuse."""
    resolved = dict(document)
    if isinstance(document.get("stimuli"), str):
        resolved["stimuli"] = _joined(document["stimuli"], folder, f"{label}: stimuli")
    if isinstance(document.get("recording"), dict):
        _check_dictionaries(document["recording"].get("dictionaries"), folder, label)
    if isinstance(document.get("causal"), list):
        resolved["causal"] = [
            _causal_with_path(table, folder, f"{label}: {key_path(('causal', number, 'stimuli'))}")
            for number, table in enumerate(document["causal"])
        ]
    return resolved


def _check_dictionaries(written: Any, folder: Path, label: str) -> None:
    """Refuse dictionaries whose paths lead out; they stay as written, as they may be names."""
    for number, name in enumerate(written if isinstance(written, list) else ()):
        if isinstance(name, str) and contained(name, folder, folder.parent) is None:
            where = f"{label}: {key_path(('recording', 'dictionaries', number))}"
            raise _leads_out(name, folder, where)


def _leads_out(written: str, folder: Path, where: str) -> ProtocolError:
    return ProtocolError(
        f"{where}: {written!r} leads out of {folder.parent.name!r}, the folder above the protocol. Give "
        "a path relative to the file, such as '../stimuli/x'."
    )


def _causal_with_path(table: Any, folder: Path, where: str) -> Any:
    if not isinstance(table, dict) or not isinstance(table.get("stimuli"), str):
        return table
    return {**table, "stimuli": _joined(table["stimuli"], folder, where)}


def _joined(written: str, folder: Path, where: str) -> Path:
    target = contained(written, folder, folder.parent)
    if target is None:
        raise _leads_out(written, folder, where)
    if not target.exists():
        raise ProtocolError(f"{where}: {written!r} does not exist.")
    # joined as written, links unresolved, so that the hash depends on nothing outside the file
    return Path(os.path.normpath(folder / written))
