"""What the stimuli are: a table read from a folder or file, checked, every cell as it was written."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from neurosae.errors import StimulusError
from neurosae.schema.names import STIMULUS
from neurosae.schema.spelling import listed
from neurosae.stimulus.bids import from_events, is_events_file
from neurosae.stimulus.checks import FORMER_IDS, check_stimuli
from neurosae.stimulus.tables import READERS, RawTable
from neurosae.stimulus.targets import TARGET_COLUMNS, target_values

TABLE_NAME = "stimuli.tsv"
"""The table in a folder that holds a stimulus set."""


def load_stimuli(path: str | Path) -> pd.DataFrame:
    r"""The stimuli of a study, one row each, in the order of the file.

    Parameters
    ----------
    path : str or Path
        A folder that holds ``stimuli.tsv``, or a table: ``.tsv``, ``.csv``, ``.xlsx`` (first sheet) or
        ``.jsonl`` (one object a line). Text is UTF-8. A file named ``events.tsv`` or ``…_events.tsv`` is read
        as BIDS events: trial_type is the condition, stim_file a text file in the same folder. A PsychoPy
        conditions file serves as it is if it has the columns text and condition.

    Returns
    -------
    DataFrame
        Columns ``stimulus`` (unique labels; row_1, row_2, … if the file has none), ``text``, ``condition``,
        and any others. Cells are str, exactly as written ('NA', 'TRUE', '001' stay what they are), except
        ``target_start`` and ``target_end``: int64, characters of the target in the text, end exclusive, -1
        where there is none. ``attrs``: name (of the folder, or of the file without its ending) and sha256
        (of the bytes of the file, then of the text files of BIDS events).

    Raises
    ------
    StimulusError
        If the file cannot be read, or breaks a rule of `neurosae.stimulus.checks`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "words.csv")
    ...     _ = file.write_text("stimulus,text,condition\ns1,Yes.,short\n")
    ...     stimuli = load_stimuli(file)
    >>> stimuli.loc[0].to_dict(), stimuli.attrs["name"]
    ({'stimulus': 's1', 'text': 'Yes.', 'condition': 'short'}, 'words')
    """
    file = _table_file(Path(path))
    data = file.read_bytes()
    table = READERS[file.suffix.lower()](data, file.name)
    texts: tuple[bytes, ...] = ()
    if is_events_file(file):
        table, texts = from_events(table, file.parent, file.name)
    stimuli = _frame(table)
    stimuli.attrs["name"] = file.parent.resolve().name if file.name == TABLE_NAME else file.stem
    check_stimuli(stimuli)
    stimuli = _typed(stimuli)
    stimuli.attrs["sha256"] = hashlib.sha256(b"".join((data, *texts))).hexdigest()
    return stimuli


def _table_file(path: Path) -> Path:
    file = path / TABLE_NAME if path.is_dir() else path
    if not file.is_file():
        what = f"holds no {TABLE_NAME}" if path.is_dir() else "does not exist"
        raise StimulusError(f"{path} {what}. Name a folder with {TABLE_NAME}, or a table: {listed(READERS)}.")
    if file.suffix.lower() not in READERS:
        raise StimulusError(
            f"{path}: cannot read {file.suffix or 'a file without an ending'!r}; "
            f"stimuli come as {listed(READERS)}."
        )
    return file


def _frame(table: RawTable) -> pd.DataFrame:
    """The cells as Python strings: an odd character must reach the checks, not a string array."""
    frame = pd.DataFrame(list(table.rows), columns=list(table.header), dtype=object)
    if STIMULUS not in frame and not set(FORMER_IDS) & set(frame):
        frame.insert(0, STIMULUS, [f"row_{number}" for number in range(1, len(frame) + 1)])
    return frame


def _typed(stimuli: pd.DataFrame) -> pd.DataFrame:
    targets = {
        name: target_values(stimuli, name).astype(np.int64) for name in TARGET_COLUMNS if name in stimuli
    }
    return stimuli.astype(str).assign(**targets)
