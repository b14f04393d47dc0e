"""Whether the stimuli hold what a protocol asks of them; all of it before a model is loaded."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from neurosae.errors import ProtocolError, StimulusError
from neurosae.protocol.contrast import parse_contrast
from neurosae.protocol.models import Protocol
from neurosae.protocol.windows import parse_window
from neurosae.schema.spans import character_spans
from neurosae.schema.spelling import listed, nearest

MINIMAL_PAIR = ("bad", "good")


def check_protocol(protocol: Protocol, stimuli_by_path: Mapping[Path, pd.DataFrame]) -> None:
    """Refuse a protocol that its stimuli cannot serve.

    Parameters
    ----------
    protocol : Protocol
    stimuli_by_path : mapping from path to DataFrame
        The stimuli, under ``protocol.stimuli`` and under the ``stimuli`` of each causal experiment.

    Raises
    ------
    ContrastError
        If a contrast names what the stimuli lack.
    ProtocolError
        If a column is missing, holds one class only, or is no number where one is needed; if the columns of
        a span window mark no spans; if minimal pairs are asked of stimuli that are none; if a set of stimuli
        is not given.

    Examples
    --------
    >>> protocol = Protocol(name="demo", stimuli="demo.tsv", subject="toy",
    ...     contrasts=[{"name": "a", "contrast": "x > z"}])
    >>> check_protocol(protocol, {Path("demo.tsv"): pd.DataFrame({"condition": ["x", "y"]})})
    Traceback (most recent call last):
    neurosae.errors.ContrastError: contrast 'x > z': no condition 'z'. Conditions: x, y.
    """
    table = _stimuli(protocol.stimuli, stimuli_by_path, "stimuli")
    for number, plan in enumerate(protocol.contrasts):
        parse_contrast(plan.contrast, table)
        _check_unit(plan.unit, table, f"contrasts[{number}].unit")
        for name in plan.nuisance:
            _check_numbers(name, table, f"contrasts[{number}].nuisance")
    for where, column in _class_columns(protocol):
        _check_classes(column, table, where)
    for where, unit in _unit_columns(protocol):
        _check_unit(unit, table, where)
    _check_window(protocol.responses.window, table)
    _check_causal(protocol, stimuli_by_path)


def _check_window(window: str, table: pd.DataFrame) -> None:
    parsed = parse_window(window)
    if parsed.has_parts:
        raise ProtocolError(
            f"responses.window: {window!r} gives several bins a stimulus; a study needs one response. Use "
            "all, first:k, last:k, centered:k, target or span:start:end."
        )
    if parsed.kind == "target":
        _check_column("target_start", table, "responses.window")
    if parsed.columns:
        _check_spans(parsed.columns, table)


def _check_spans(columns: tuple[str, ...], table: pd.DataFrame) -> None:
    for name in columns:
        _check_column(name, table, "responses.window")
    start, end = columns
    try:
        character_spans(table, start, end)
    except StimulusError as error:
        raise ProtocolError(f"responses.window: {error}") from None


def _class_columns(protocol: Protocol) -> Iterator[tuple[str, str]]:
    for kind in ("rsa", "selectivity", "decoding"):
        for number, plan in enumerate(getattr(protocol, kind)):
            yield f"{kind}[{number}].condition", plan.condition


def _unit_columns(protocol: Protocol) -> Iterator[tuple[str, str]]:
    for kind in ("rsa", "selectivity"):
        for number, plan in enumerate(getattr(protocol, kind)):
            yield f"{kind}[{number}].unit", plan.unit
    for number, decoder in enumerate(protocol.decoding):
        # without items, the default grouping is the unit of inference
        yield f"decoding[{number}].groups", "auto" if decoder.groups == "item" else decoder.groups


def _stimuli(path: Path, given: Mapping[Path, pd.DataFrame], where: str) -> pd.DataFrame:
    if path not in given:
        raise ProtocolError(f"{where}: no stimuli were given for {path}. Load them and pass them by path.")
    return given[path]


def _check_column(name: str, table: pd.DataFrame, where: str) -> None:
    if name not in table:
        columns = [str(column) for column in table.columns]
        advice = f"{nearest(name, columns)} Columns: {listed(columns)}."
        raise ProtocolError(f"{where}: the stimuli have no column {name!r}{advice}")


def _check_unit(name: str, table: pd.DataFrame, where: str) -> None:
    if name != "auto":
        _check_column(name, table, where)


def _check_numbers(name: str, table: pd.DataFrame, where: str) -> None:
    _check_column(name, table, where)
    if pd.to_numeric(table[name], errors="coerce").isna().any():
        raise ProtocolError(f"{where}: column {name!r} holds cells that are no numbers.")


def _check_classes(name: str, table: pd.DataFrame, where: str) -> None:
    _check_column(name, table, where)
    classes = table[name].astype(str).unique()
    if len(classes) < 2:
        raise ProtocolError(
            f"{where}: column {name!r} holds one class only, {listed(classes)}; two are needed."
        )


def _check_new_texts(tested: pd.DataFrame, selecting: pd.DataFrame, where: str) -> None:
    shared = sorted(set(tested["text"]) & set(selecting["text"]))
    if shared:
        raise ProtocolError(
            f"{where}: {len(shared)} texts are also among the stimuli that select (first: {shared[0]!r}), so "
            "that the test would be circular. Test other texts."
        )


def _check_causal(protocol: Protocol, stimuli_by_path: Mapping[Path, pd.DataFrame]) -> None:
    for number, plan in enumerate(protocol.causal):
        table = _stimuli(plan.stimuli, stimuli_by_path, f"causal[{number}].stimuli")
        _check_new_texts(table, stimuli_by_path[protocol.stimuli], f"causal[{number}].stimuli")
        if "minimal_pair" not in plan.readouts:
            continue
        _check_column("pair", table, f"causal[{number}].readouts: minimal_pair")
        conditions = sorted(table["condition"].astype(str).unique())
        if conditions != list(MINIMAL_PAIR):
            raise ProtocolError(
                f"causal[{number}].readouts: minimal_pair needs the conditions 'good' and 'bad'; "
                f"the stimuli have {listed(conditions)}."
            )
