"""Stimuli from a BIDS events file: trial_type names the condition, stim_file the text."""

from pathlib import Path

from neurosae.errors import StimulusError
from neurosae.schema.paths import contained
from neurosae.stimulus.tables import RawTable, decoded

TRIAL_TYPE, STIM_FILE, MISSING = "trial_type", "stim_file", "n/a"


def is_events_file(path: Path) -> bool:
    """Whether a file is named as BIDS events are.

    Examples
    --------
    >>> is_events_file(Path("sub-01_task-reading_events.tsv"))
    True
    """
    return path.name == "events.tsv" or path.name.endswith("_events.tsv")


def from_events(events: RawTable, folder: Path, label: str) -> tuple[RawTable, tuple[bytes, ...]]:
    """Events as a stimulus table: trial_type becomes condition, the text of stim_file becomes text.

    Parameters
    ----------
    events : table with trial_type, and stim_file or text; other columns are kept
    folder : folder that stim_file starts from and may not leave
    label : name of the file, for messages

    Returns
    -------
    The table, and the bytes of the text files in the order of the rows.

    Raises
    ------
    StimulusError
        If a column is missing, a cell is n/a, or a text file is absent, outside ``folder`` or not UTF-8.
    """
    _check_header(events.header, label)
    header = tuple("condition" if name == TRIAL_TYPE else name for name in events.header)
    _check_given(events, TRIAL_TYPE, label)
    if "text" in header:
        return RawTable(header, events.rows, events.lines), ()
    _check_given(events, STIM_FILE, label)
    column = events.header.index(STIM_FILE)
    numbered = list(zip(events.lines, events.rows, strict=True))
    files = tuple(_text_file(cells[column], folder, f"{label} line {line}") for line, cells in numbered)
    texts = [
        decoded(data, cells[column]).rstrip("\r\n") for data, cells in zip(files, events.rows, strict=True)
    ]
    rows = tuple((*cells, text) for cells, text in zip(events.rows, texts, strict=True))
    return RawTable((*header, "text"), rows, events.lines), files


def _check_header(header: tuple[str, ...], label: str) -> None:
    if TRIAL_TYPE not in header:
        raise StimulusError(
            f"{label}: an events file needs the column 'trial_type', which names the condition."
        )
    if "condition" in header:
        raise StimulusError(f"{label}: an events file holds 'trial_type' or 'condition', not both.")
    if "text" not in header and STIM_FILE not in header:
        raise StimulusError(f"{label}: an events file needs 'stim_file' (a text file) or 'text'.")


def _check_given(events: RawTable, name: str, label: str) -> None:
    column = events.header.index(name)
    for line, cells in zip(events.lines, events.rows, strict=True):
        if cells[column] in ("", MISSING):
            raise StimulusError(f"{label} line {line}: {name} is missing. Remove events that show no text.")


def _text_file(written: str, folder: Path, where: str) -> bytes:
    path = contained(written, folder, folder)
    if path is None:
        raise StimulusError(f"{where}: stim_file {written!r} leads out of the folder of the events file.")
    if not path.is_file():
        raise StimulusError(f"{where}: stim_file {written!r} does not exist beside the events file.")
    return path.read_bytes()
