"""What a recording will hold, settled and checked before the subject runs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurosae.dictionary.guards import check_belongs
from neurosae.dictionary.interface import Dictionary
from neurosae.errors import StimulusError, SubjectError
from neurosae.protocol.models import Protocol
from neurosae.recording.code_recordings import check_code_folders, code_folder
from neurosae.recording.encoding import check_name, encode
from neurosae.recording.files import check_free_space, check_writable
from neurosae.recording.output import output_state
from neurosae.schema.names import RESERVED
from neurosae.schema.recordings import stimulus_coords
from neurosae.schema.spelling import listed
from neurosae.stimulus.checks import (
    check_characters,
    check_duplicates,
    check_ids,
    check_lengths,
    check_tokenized,
)
from neurosae.subject.catalogue import SubjectCard
from neurosae.subject.interface import Subject, Tokens

IDENTITY = ("name", "weights_sha256", "tokenizer_sha256", "dtype", "bos", "prepend_bos")
"""What makes two subjects the same."""

SHARD_STIMULI = 256
SHARD_BYTES = 128 * 2**20
"""A shard ends at 256 stimuli or 128 MiB of activations and codes, whichever comes first."""

CODE_BYTES = 1024
"""Room for the codes of one token in one dictionary: about 128 of them, in the shards and by feature."""


@dataclass(frozen=True)
class Order:
    """What is asked of the subject in every stimulus.

    sites, layers : where activations are kept
    encoded : site and layer of each dictionary whose codes are kept
    surprisal : whether the surprisal of each token is kept
    batch_tokens : most tokens in one pass, padding counted
    """

    sites: tuple[str, ...]
    layers: tuple[int, ...]
    encoded: tuple[tuple[str, int], ...]
    surprisal: bool
    batch_tokens: int

    @property
    def asked(self) -> dict[str, tuple[int, ...]]:
        """Layers that are read at each site, be it to be kept or to be encoded."""
        wanted = {site: set(self.layers) for site in self.sites}
        for site, layer in self.encoded:
            wanted.setdefault(site, set()).add(layer)
        return {site: tuple(sorted(layers)) for site, layers in wanted.items()}


@dataclass(frozen=True)
class Plan:
    """One recording to be made.

    order : what is asked of the subject
    tokens : of each stimulus, cut to the context where the protocol allows it
    lengths : tokens of each stimulus before any cut
    shards : first stimulus of each shard, and the one after its last
    n_features : features of each store, by its folder
    config : everything that decides the content of the files
    """

    order: Order
    tokens: tuple[Tokens, ...]
    lengths: tuple[int, ...]
    shards: tuple[tuple[int, int], ...]
    n_features: Mapping[str, int]
    config: Mapping[str, Any]

    @property
    def config_sha256(self) -> str:
        """Hash of ``config``: recordings with the same hash hold the same content."""
        return _digest(self.config)


def check_recordable(
    subject: Subject | SubjectCard,
    protocol: Protocol,
    stimuli: pd.DataFrame,
    out: Path | str,
    *,
    overwrite: bool = False,
) -> None:
    """Refuse a recording that could not be made; with a card, before any weights are loaded.

    Parameters
    ----------
    subject : the subject, or its card (`neurosae.subject.catalogue.subject_card`)
    protocol : what is to be recorded
    stimuli : stimulus table
    out : folder of the session
    overwrite : whether a session in ``out`` may be replaced

    Raises
    ------
    SubjectError
        If the subject is not on this machine, or a layer is out of range.
    StimulusError
        If a text has no tokens or too many, or a column has a name that recordings use themselves.
    StorageError
        If ``out`` cannot be written or holds something else, or the stimuli hold what NetCDF cannot keep.
    """
    if isinstance(subject, SubjectCard) and not subject.available:
        raise SubjectError(f"subject {subject.name!r} is not on this machine. {subject.how_to_get}")
    check_inputs(subject, protocol, stimuli, Path(out), overwrite=overwrite)
    tokenizer = subject.load_tokenizer() if isinstance(subject, SubjectCard) else subject
    checked_tokens(tokenizer.tokenize(stimuli["text"].tolist()), stimuli, subject, protocol)


def check_inputs(
    subject: Subject | SubjectCard, protocol: Protocol, stimuli: pd.DataFrame, out: Path, *, overwrite: bool
) -> None:
    """The part of `check_recordable` that tokenizes nothing."""
    chosen_layers(protocol, subject)
    check_columns(stimuli)
    same = {"protocol": protocol.sha256, "stimuli": table_sha256(stimuli)}
    if output_state(out, same, overwrite=overwrite) != "done":
        check_writable(out)


def checked_tokens(
    tokens: Sequence[Tokens], stimuli: pd.DataFrame, subject: Subject | SubjectCard, protocol: Protocol
) -> Sequence[Tokens]:
    """``tokens`` if each text has some, and no more than the subject reads or the protocol truncates."""
    check_tokenized(stimuli, [int((~text.is_special).sum()) for text in tokens])
    lengths = [len(text) for text in tokens]
    check_lengths(stimuli, lengths, subject.context_length, protocol.recording.truncate)
    return tokens


def chosen_layers(protocol: Protocol, subject: Subject | SubjectCard) -> tuple[int, ...]:
    """The layers of the protocol in rising order, each of them a block of the subject."""
    wanted = protocol.recording.layers
    layers = range(subject.n_layers) if wanted == "all" else sorted(set(wanted))
    outside = [layer for layer in layers if not 0 <= layer < subject.n_layers]
    if outside:
        raise SubjectError(
            f"{subject.name} has layers 0 to {subject.n_layers - 1}; the protocol asks for "
            f"{listed(map(str, outside))}."
        )
    return tuple(layers)


def check_columns(stimuli: pd.DataFrame) -> None:
    """Refuse stimuli that files could not keep: odd or repeated labels, NUL, columns that recordings use."""
    if stimuli.empty:
        raise StimulusError("the table holds no stimuli, and at least one is needed.")
    check_characters(stimuli)
    check_ids(stimuli)
    check_duplicates(stimuli)
    for name, (_, values) in stimulus_coords(stimuli).items():
        if name in RESERVED:
            raise StimulusError(
                f"the stimulus column {name!r} has a name that recordings use themselves. Rename it."
            )
        encode(values, check_name(name))


def table_sha256(stimuli: pd.DataFrame) -> str:
    """Hash of the content of a stimulus table, whatever file it came from."""
    return hashlib.sha256(table_text(stimuli).encode("utf-8", errors="surrogatepass")).hexdigest()


def table_text(stimuli: pd.DataFrame) -> str:
    """The table as tab-separated text, quoted where a cell holds a tab, quote or line break."""
    return stimuli.to_csv(sep="\t", index=False, lineterminator="\n")


def make_plan(
    subject: Subject, protocol: Protocol, stimuli: pd.DataFrame, dictionaries: Sequence[Dictionary] = ()
) -> Plan:
    """Tokenize the stimuli and settle what will be recorded.

    Raises
    ------
    StimulusError
        If a text has no tokens, or more than the subject reads while the protocol does not truncate.
    SubjectError
        If the subject lacks a site or layer.
    DictionaryError
        If a dictionary is of another subject, layer, width or BOS policy, or has no folder of its own.
    """
    check_dictionaries(dictionaries, subject)
    order = _order(subject, protocol, dictionaries)
    whole = checked_tokens(subject.tokenize(stimuli["text"].tolist()), stimuli, subject, protocol)
    tokens = tuple(shortened(text, subject.context_length, protocol.recording.truncate) for text in whole)
    described = _described(subject)
    n_features = {site: subject.n_features(site) for site in order.sites}
    row_bytes = 4 * len(order.layers) * sum(n_features.values()) + CODE_BYTES * len(dictionaries)
    shards = shard_bounds([len(text) for text in tokens], row_bytes)
    return Plan(
        order=order,
        tokens=tokens,
        lengths=tuple(len(text) for text in whole),
        shards=shards,
        n_features=n_features | {code_folder(its.site, its.name): its.n_features for its in dictionaries},
        config={
            "subject": {key: described[key] for key in IDENTITY if key in described},
            "stimuli": table_sha256(stimuli),
            "protocol": protocol.sha256,
            "dictionaries": described_dictionaries(dictionaries),
            "environment": described,
            "shards": [list(shard) for shard in shards],
        },
    )


def _order(subject: Subject, protocol: Protocol, dictionaries: Sequence[Dictionary]) -> Order:
    wanted = protocol.recording
    return Order(
        sites=wanted.sites,
        layers=chosen_layers(protocol, subject) if wanted.sites else (),
        encoded=tuple((its.site, its.layer) for its in dictionaries),
        surprisal=wanted.surprisal,
        batch_tokens=wanted.batch_tokens,
    )


def check_dictionaries(dictionaries: Sequence[Dictionary], subject: Subject) -> None:
    """Refuse dictionaries that do not belong to the subject, or whose codes would lie in one folder."""
    described = subject.describe()
    for dictionary in dictionaries:
        width = subject.n_features(dictionary.site)
        check_belongs(dictionary, described, layers=range(subject.n_layers), width=width)
    check_code_folders(dictionaries)


def described_dictionaries(dictionaries: Sequence[Dictionary]) -> list[dict[str, Any]]:
    """Identity of each dictionary as JSON gives it back, with the folder of its codes."""
    found = [{"folder": code_folder(its.site, its.name), **its.describe()} for its in dictionaries]
    return list(json.loads(json.dumps(found, default=str)))


def shortened(tokens: Tokens, most: int, truncate: str) -> Tokens:
    """At most ``most`` tokens of a text; special tokens at its beginning stay when its left end is cut."""
    excess = len(tokens) - most
    if excess <= 0:
        return tokens
    keep = np.ones(len(tokens), dtype=bool)
    if truncate == "right":
        keep[most:] = False
    else:
        n_leading = int(np.argmin(tokens.is_special))
        keep[n_leading : n_leading + excess] = False
    fields = ("token_id", "token_str", "char_start", "char_end", "is_special")
    return replace(tokens, **{name: np.asarray(getattr(tokens, name))[keep] for name in fields})


def shard_bounds(n_tokens: Sequence[int], row_bytes: int) -> tuple[tuple[int, int], ...]:
    """Consecutive stimuli of each shard, as (first, end).

    Examples
    --------
    >>> shard_bounds([4, 4, 4], row_bytes=40 * 2**20)
    ((0, 1), (1, 2), (2, 3))
    """
    bounds, start, size = [], 0, 0
    for number, count in enumerate(n_tokens):
        is_full = number - start >= SHARD_STIMULI or size + count * row_bytes > SHARD_BYTES
        if is_full and number > start:
            bounds.append((start, number))
            start, size = number, 0
        size += count * row_bytes
    return (*bounds, (start, len(n_tokens)))


def check_room(plan: Plan, out: Path) -> None:
    """Refuse a recording that the disk has no room for; the room that codes take is a guess."""
    features = sum(plan.n_features[site] for site in plan.order.sites)
    row_bytes = 4 * len(plan.order.layers) * features + CODE_BYTES * len(plan.order.encoded)
    check_free_space(out, int(1.05 * row_bytes * sum(len(text) for text in plan.tokens)))


def _described(subject: Subject) -> dict[str, Any]:
    """Identity of a subject as JSON gives it back, without its place on this machine."""
    described = dict(json.loads(json.dumps(subject.describe(), default=str)))
    return {key: value for key, value in described.items() if key != "source"}


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
