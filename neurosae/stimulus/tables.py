"""Rows and columns of a table file, every cell as the text that the file holds.

Readers take bytes and refuse whatever they would otherwise have to guess: another encoding, rows of another
length than the header, two columns of one name. What the columns mean is decided elsewhere.
"""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import pandas as pd

from neurosae.errors import StimulusError


@dataclass(frozen=True)
class RawTable:
    """Cells as text; ``lines`` are the lines (or sheet rows) on which the rows end, counted from 1."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]


def decoded(data: bytes, label: str) -> str:
    r"""Text of a UTF-8 file, with or without a byte order mark.

    Raises
    ------
    StimulusError
        If ``data`` is not UTF-8; the line is named.

    Examples
    --------
    >>> decoded(b"\xef\xbb\xbftext", "a.tsv")
    'text'
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data.split(b"\n", 1)[0]:
        raise StimulusError(f"{label} seems to be UTF-16. Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x}"
        raise StimulusError(f"{label} line {line}: {found} is not UTF-8. Save the file as UTF-8.") from None


def read_tsv(data: bytes, label: str) -> RawTable:
    """A tab-separated table; a cell in double quotes may hold tabs, line breaks and doubled quotes."""
    return _read_delimited(data, label, "\t")


def read_csv(data: bytes, label: str) -> RawTable:
    """A comma-separated table; a cell in double quotes may hold commas, line breaks and doubled quotes."""
    return _read_delimited(data, label, ",")


def _read_delimited(data: bytes, label: str, delimiter: str) -> RawTable:
    reader = csv.reader(io.StringIO(decoded(data, label), newline=""), delimiter=delimiter, strict=True)
    numbered = _numbered(reader, label)
    return _rectangular(label, [(line, cells) for line, cells in numbered if cells])


def _numbered(reader: Iterable[list[str]], label: str) -> Iterator[tuple[int, list[str]]]:
    line = 0
    try:
        for cells in reader:
            line = getattr(reader, "line_num", line + 1)
            yield line, cells
    except csv.Error as error:
        raise StimulusError(
            f"{label}: the row after line {line} cannot be read ({error}). A cell that starts with a double "
            'quote must be quoted as a whole, its own quotes doubled: """Yes,"" she said."'
        ) from None


def read_jsonl(data: bytes, label: str) -> RawTable:
    """One JSON object a line, all with the same keys; numbers keep their spelling, null is an empty cell."""
    lines = decoded(data, label).split("\n")
    records = [
        (number, _record(line, f"{label} line {number}"))
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    header = list(records[0][1]) if records else []
    rows = []
    for number, record in records:
        if set(record) != set(header):
            odd = sorted(set(record) ^ set(header))
            raise StimulusError(f"{label} line {number}: keys differ from the first line: {', '.join(odd)}.")
        rows.append((number, [record[name] for name in header]))
    return _rectangular(label, [(1, header), *rows] if header else [])


def _record(line: str, where: str) -> dict[str, str]:
    try:
        pairs = json.loads(line, object_pairs_hook=_Pairs, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise StimulusError(f"{where} is not JSON: {error}.") from None
    if not isinstance(pairs, _Pairs):
        raise StimulusError(f'{where} is not a JSON object such as {{"text": "…", "condition": "a"}}.')
    names = [name for name, _ in pairs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise StimulusError(f"{where}: key {repeated[0]!r} occurs twice.")
    return {name: _json_cell(value, f"{where}, key {name!r}") for name, value in pairs}


class _Pairs(list[tuple[str, object]]):
    """Keys and values of a JSON object in the order written, repeats kept."""


def _json_cell(value: object, where: str) -> str:
    if isinstance(value, list):
        raise StimulusError(f"{where} holds a list or an object; a cell holds text or a number.")
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def read_xlsx(data: bytes, label: str) -> RawTable:
    """The first sheet of an Excel workbook; the first row holds the column names.

    Raises
    ------
    StimulusError
        If the file is no workbook, or openpyxl is not installed.
    """
    try:
        sheet = pd.read_excel(
            io.BytesIO(data),
            header=None,
            dtype=object,
            keep_default_na=False,
            na_filter=False,
            engine="openpyxl",
        )
    except ImportError:
        raise StimulusError(
            f"{label}: Excel files need openpyxl; install neurosae[excel] or save as TSV."
        ) from None
    except (zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        raise StimulusError(f"{label} is no Excel workbook: {error}.") from None
    rows = [
        (number, [_excel_cell(cell) for cell in cells]) for number, cells in enumerate(sheet.to_numpy(), 1)
    ]
    filled = [(number, cells) for number, cells in rows if any(cells)]
    return _rectangular(label, _without_empty_columns(filled))


def _excel_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    return value.isoformat() if isinstance(value, date) else str(value)


def _without_empty_columns(rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Formatted but empty columns at the right edge of a sheet are no columns."""
    width = max((last for _, cells in rows for last, cell in enumerate(cells, 1) if cell), default=0)
    return [(number, cells[:width]) for number, cells in rows]


def _rectangular(label: str, numbered: list[tuple[int, list[str]]]) -> RawTable:
    if not numbered:
        raise StimulusError(f"{label} is empty. The first line names the columns: stimulus, text, condition.")
    header = numbered[0][1]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise StimulusError(f"{label}: column {repeated[0]!r} occurs twice in the header.")
    if len(numbered) == 1:
        raise StimulusError(f"{label} names columns but holds no stimuli.")
    for line, cells in numbered[1:]:
        if len(cells) != len(header):
            raise StimulusError(
                f"{label} line {line}: {len(cells)} cells, but the header names {len(header)} columns. "
                "An empty cell is nothing between two separators; a cell that holds a separator is quoted."
            )
    rows = tuple(tuple(cells) for _, cells in numbered[1:])
    return RawTable(tuple(header), rows, tuple(line for line, _ in numbered[1:]))


READERS: Mapping[str, Callable[[bytes, str], RawTable]] = {
    ".tsv": read_tsv,
    ".csv": read_csv,
    ".xlsx": read_xlsx,
    ".jsonl": read_jsonl,
}
"""Readers by the ending of the file name."""
