"""What a section of a report is made of."""

from dataclasses import dataclass

from neurosae.report.figures import Picture
from neurosae.report.findings import Finding


@dataclass(frozen=True)
class Table:
    """A small table; ``numeric`` are the numbers of the columns set flush right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """One part of the report: what was found, in words, tables, figures and numbers."""

    title: str
    anchor: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    findings: tuple[Finding, ...] = ()
