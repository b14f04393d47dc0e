"""The protocol of a study: all its tables, their cross-references, its hash and its text."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from neurosae.errors import ProtocolError
from neurosae.protocol.fields import Flag, Name, Seed, Text
from neurosae.protocol.refusals import protocol_error
from neurosae.protocol.tables import (
    CausalPlan,
    ContrastPlan,
    DecodingPlan,
    Recording,
    Responses,
    RsaPlan,
    SelectivityPlan,
    Table,
)
from neurosae.protocol.toml import toml_text
from neurosae.schema.spelling import listed, nearest

ANALYSES = ("contrasts", "rsa", "selectivity", "decoding", "causal")
"""The lists of analyses, in the order in which a study runs them."""


class Protocol(Table):
    """A study: stimuli, subject, what is recorded, which analyses are planned.

    Read one with `neurosae.load_protocol`. Frozen: `at` gives a changed copy.

    Examples
    --------
    >>> protocol = Protocol(name="demo", stimuli="stimuli/demo", subject="toy")
    >>> protocol.at(layers=[6], window="last:1").recording.layers
    (6,)
    """

    name: Name = Field(description="Name of the study.")
    question: str = Field(default="", description="What the study asks, in a sentence.")
    stimuli: Path = Field(description="Folder or table of the stimuli, relative to the file.")
    subject: Text = Field(description="Model under study: a catalogue name, Hugging Face name or folder.")
    seed: Seed = Field(default=0, description="Seed of every random choice.")
    planned: Flag = Field(default=True, description="Whether it was fixed before the data were seen.")
    recording: Recording = Field(default=Recording(), description="What is recorded.")
    responses: Responses = Field(default=Responses(), description="How tokens become responses.")
    contrasts: tuple[ContrastPlan, ...] = Field(default=(), description="Comparisons of conditions.")
    rsa: tuple[RsaPlan, ...] = Field(default=(), description="Analyses of representational similarity.")
    selectivity: tuple[SelectivityPlan, ...] = Field(default=(), description="Analyses of selectivity.")
    decoding: tuple[DecodingPlan, ...] = Field(default=(), description="Decoders.")
    causal: tuple[CausalPlan, ...] = Field(default=(), description="Lesions and stimulations.")

    _folder: Path = PrivateAttr(default=Path())
    _text: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problem = next(_inconsistencies(self), None)
        if problem is not None:
            raise ValueError(problem)
        return self

    @property
    def folder(self) -> Path:
        """Folder of the file, where paths of dictionaries begin; the working directory without a file."""
        return self._folder

    @property
    def source(self) -> str:
        """The text of the file it was read from; of a changed copy, the text that `to_toml` writes."""
        return self._text or self.to_toml()

    @property
    def sha256(self) -> str:
        """Hash of the content: of every key with its value, defaults included, whatever the layout.

        Paths count as they are relative to the file, so that a study moved as a whole keeps its hash.
        """
        text = json.dumps(self._document(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_toml(self) -> str:
        """The protocol as TOML, defaults spelled out; reading it gives the same hash."""
        return toml_text(self._document())

    def at(self, **changes: Any) -> "Protocol":
        """A copy with some values changed, checked as a file would be.

        Parameters
        ----------
        changes
            Keys of the first level (name, seed, contrasts, …), of [recording] (sites, layers, surprisal,
            truncate, batch_tokens, …) or of [responses] (window, how), each by its own name. Paths are
            relative to the folder of the protocol, or absolute. Analyses are given as lists of dicts.

        Raises
        ------
        ProtocolError
            If a key does not exist or a value is refused.
        """
        document = self.model_dump()
        for key, value in changes.items():
            table = _table_of(key)
            if table:
                document[table] = {**dict(document[table]), key: value}
            else:
                document[key] = value
        document["stimuli"] = self._folder / document["stimuli"]
        document["causal"] = [self._with_path(plan) for plan in document["causal"]]
        try:
            changed = Protocol.model_validate(document)
        except ValidationError as error:
            raise protocol_error(error, Protocol, f"protocol {self.name!r}") from None
        changed._folder = self._folder
        return changed

    def _with_path(self, plan: Any) -> dict[str, Any]:
        tested = dict(plan).get("stimuli")
        return dict(plan) if tested is None else {**dict(plan), "stimuli": self._folder / tested}

    def _document(self) -> dict[str, Any]:
        """All keys as plain JSON values, paths relative to the folder of the file."""
        document = self.model_dump(mode="json")
        document["stimuli"] = self._relative(self.stimuli)
        for plan, table in zip(self.causal, document["causal"], strict=True):
            table["stimuli"] = self._relative(plan.stimuli)
        return document

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self._folder)).as_posix()


def read_document(document: Mapping[str, Any], *, folder: Path, text: str, label: str) -> Protocol:
    """A protocol from the tables of its file, its paths already resolved.

    Raises
    ------
    ProtocolError
        With the key that is wrong.
    """
    try:
        protocol = Protocol.model_validate(document)
    except ValidationError as error:
        raise protocol_error(error, Protocol, label) from None
    protocol._folder, protocol._text = folder, text
    return protocol


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a protocol, with which editors complete keys and explain them.

    Examples
    --------
    >>> json_schema()["properties"]["seed"]["description"]
    'Seed of every random choice.'
    """
    return Protocol.model_json_schema()


def _table_of(key: str) -> str:
    """Table that a key of `Protocol.at` belongs to, empty for the first level."""
    if key in Protocol.model_fields:
        return ""
    for table, model in (("recording", Recording), ("responses", Responses)):
        if key in model.model_fields:
            return table
    known = [*Protocol.model_fields, *Recording.model_fields, *Responses.model_fields]
    raise ProtocolError(f"a protocol has no key {key!r}{nearest(key, known)} Keys: {listed(known)}.")


def _inconsistencies(protocol: Protocol) -> Iterator[str]:
    """Sentences on names that occur twice or refer to nothing."""
    for kind in ANALYSES:
        names = Counter(plan.name for plan in getattr(protocol, kind))
        yield from (f"{kind}: the name {name!r} occurs {n} times." for name, n in names.items() if n > 1)
    for kind in ANALYSES[:-1]:
        for number, plan in enumerate(getattr(protocol, kind)):
            if plan.site is not None and plan.site not in protocol.recording.sites:
                sites = listed(protocol.recording.sites)
                yield f"{kind}[{number}].site: {plan.site!r} is not recorded. Recorded sites: {sites}."
            yield from (f"{kind}[{number}].dictionary: {its}" for its in _dictionary_problems(plan, protocol))
    for number, plan in enumerate(protocol.causal):
        yield from (f"causal[{number}].{problem}" for problem in _causal_problems(plan, protocol))


def _dictionary_problems(plan: Any, protocol: Protocol) -> Iterator[str]:
    known = protocol.recording.dictionaries
    if plan.dictionary is not None and plan.site is not None:
        yield "a dictionary has its own site; leave out site."
    if plan.dictionary is not None and plan.dictionary not in known:
        yield (
            f"{plan.dictionary!r} is not among those recorded{nearest(plan.dictionary, known)} "
            f"[recording] dictionaries: {listed(known) or 'none'}."
        )


def _causal_problems(plan: CausalPlan, protocol: Protocol) -> Iterator[str]:
    contrasts = {contrast.name: contrast for contrast in protocol.contrasts}
    regions = [name for name, contrast in contrasts.items() if contrast.localize is not None]
    if plan.lesion is not None and plan.lesion.roi not in regions:
        roi = plan.lesion.roi
        without = f"contrast {roi!r} has no localize; add it."
        yield "lesion.roi: " + (
            without if roi in contrasts else f"no contrast {roi!r} with localize{nearest(roi, regions)}"
        )
    named = plan.lesion.roi if plan.lesion is not None else getattr(plan.stimulation, "contrast", "")
    if named in contrasts and (contrasts[named].dictionary is not None or not protocol.recording.sites):
        yield (
            f"contrast {named!r} is one of codes, and lesions and stimulations act on units. Give it a site "
            "of the model."
        )
    if plan.stimulation is not None:
        yield from _stimulation_problems(plan.stimulation.contrast, plan.stimulation.layer, protocol)
    if plan.stimuli == protocol.stimuli:
        yield (
            "stimuli: the same stimuli as those that select would make the test circular. Name another set."
        )


def _stimulation_problems(contrast: str, layer: int, protocol: Protocol) -> Iterator[str]:
    names = [plan.name for plan in protocol.contrasts]
    if contrast not in names:
        yield f"stimulation.contrast: no contrast {contrast!r}{nearest(contrast, names)}"
    layers = protocol.recording.layers
    if layers != "all" and layer not in layers:
        recorded = listed(map(str, layers))
        yield f"stimulation.layer: layer {layer} is not recorded. Recorded layers: {recorded}."
