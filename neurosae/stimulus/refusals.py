"""How a refused stimulus table is described: its name, then the row and column to correct."""

import pandas as pd

from neurosae.errors import StimulusError
from neurosae.schema.names import STIMULUS
from neurosae.schema.spelling import listed, nearest

_SHOWN = 40


def table_error(stimuli: pd.DataFrame, problem: str) -> StimulusError:
    """An error about the whole table; ``attrs["name"]``, if present, names it."""
    name = stimuli.attrs.get("name", "")
    return StimulusError(f"stimuli {name!r}: {problem}" if name else f"stimuli: {problem}")


def cell_error(stimuli: pd.DataFrame, row: int, column: str, problem: str) -> StimulusError:
    """An error about one cell; ``row`` counts from 0 here and from 1 in the message."""
    label = str(stimuli[STIMULUS].iloc[row])
    shown = label if len(label) <= _SHOWN else label[:_SHOWN] + "…"
    return table_error(stimuli, f"row {row + 1} ({shown!r}), column {column!r}: {problem}")


def column_error(stimuli: pd.DataFrame, column: str) -> StimulusError:
    """An error about a column that is not there, with the nearest that is."""
    columns = [str(name) for name in stimuli.columns]
    return table_error(stimuli, f"no column {column!r}{nearest(column, columns)} Columns: {listed(columns)}.")
