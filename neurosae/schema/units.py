"""The unit of inference: which stimuli are one observation, and which units a selection has seen.

A model is deterministic, so tokens and repetitions are no replicates; items are. Selections (an ROI, a
contrast map) carry the units they saw, so that a later test on the same units can be refused.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import DesignError
from neurosae.schema.names import STIMULUS
from neurosae.schema.provenance import Labelled, stimulus_set

UNIT_COLUMNS = ("family", "pair", "item", STIMULUS)
"""Columns that may define the unit of inference, the widest first: the default is the first present."""

SEEN = "seen_unit"


def unit_column(table: pd.DataFrame, unit: str = "auto") -> str:
    """Name of the column that defines the unit of inference.

    Raises
    ------
    DesignError
        If ``unit`` is not a column of the stimulus table.

    Examples
    --------
    >>> unit_column(pd.DataFrame({"stimulus": ["a"], "item": ["x"]}))
    'item'
    """
    if unit == "auto":
        return next(name for name in UNIT_COLUMNS if name in table)
    if unit not in table:
        raise DesignError(f"unit {unit!r} is not a column of the stimuli; columns: {list(table.columns)}.")
    return unit


def unit_keys(labelled: Labelled, unit: str = "auto") -> set[str]:
    """Keys by which a stimulus is recognised when it turns up again, whatever the unit of either analysis.

    One key for each label in ``unit`` and in every column of `UNIT_COLUMNS` that is there, prefixed by the
    stimulus set so that sets do not collide; and one for each text, without prefix, because the same text is
    the same observation in whatever set it stands.

    Examples
    --------
    >>> table = {"stimulus": ["s1"], "item": ("stimulus", ["x"]), "text": ("stimulus", ["A  word."])}
    >>> sorted(unit_keys(xr.Dataset(coords=table)))
    ['/item/x', '/stimulus/s1', 'text/96bc89526f92']
    """
    columns = {str(n): c.values for n, c in labelled.coords.items() if c.dims == (STIMULUS,)}
    prefix = stimulus_set(labelled)
    named = {name for name in UNIT_COLUMNS if name in columns} | {unit_column(pd.DataFrame(columns), unit)}
    keys = {f"{prefix}/{column}/{label}" for column in named for label in columns[column] if label != ""}
    return keys | {f"text/{text_digest(text)}" for text in columns.get("text", ())}


def text_digest(text: str) -> str:
    """Hash of a text, upper and lower case and runs of white space alike."""
    return hashlib.sha256(" ".join(str(text).casefold().split()).encode()).hexdigest()[:12]


def with_seen(selection: xr.Dataset, keys: Iterable[str]) -> xr.Dataset:
    """``selection`` with the units it was computed from, as coordinate ``seen_unit``."""
    return selection.assign_coords({SEEN: (SEEN, np.array(sorted(set(keys)), dtype=str))})


def check_unseen(
    selection: xr.Dataset, tested: Labelled, *, circular: bool = False, unit: str = "auto"
) -> None:
    """Refuse a test of ``selection`` on stimuli or units it was selected on.

    Raises
    ------
    DesignError
        If a unit of ``tested`` was seen by ``selection`` and ``circular`` is False
        (Kriegeskorte et al. 2009, Nat Neurosci 12:535).
    """
    if SEEN not in selection.coords or circular:
        return
    shared = sorted(set(selection[SEEN].values.tolist()) & unit_keys(tested, unit))
    if shared:
        raise DesignError(
            f"{len(shared)} of the units tested were used to select (first: {shared[0]!r}): the test would "
            "be circular. Test on other stimuli, hold out with cross_localize, or write circular=True to "
            "get a result stamped CIRCULAR."
        )
