"""The report of a study: one self-contained HTML file, made from what the session folder holds."""

import json
import math
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from neurosae.errors import StorageError
from neurosae.recording.files import write_text
from neurosae.report.analysis_sections import (
    contrast_section,
    decoding_section,
    rsa_section,
    selectivity_section,
)
from neurosae.report.causal_sections import causal_section, dissociation_section
from neurosae.report.causal_steps import dissociable
from neurosae.report.context import Study
from neurosae.report.findings import Finding, number
from neurosae.report.methods import methods_section, stimuli_section
from neurosae.report.section import Section

REPORT, FINDINGS = "report.html", "findings.json"


def write_report(study: Study) -> Path:
    """Write ``report.html`` and ``findings.json`` of a finished study and return the report's path.

    The page holds its figures and style, loads nothing and works offline.

    Parameters
    ----------
    study : a study whose steps have all been computed
    """
    sections = report_sections(study)
    findings = [finding for section in sections for finding in section.findings]
    folder = study.session.path
    write_text(folder / FINDINGS, json.dumps([_plain(finding) for finding in findings], indent=1))
    write_text(folder / REPORT, _page(study, sections, findings))
    return folder / REPORT


def _plain(finding: Finding) -> dict[str, object]:
    """The finding as JSON values; NaN, which JSON lacks, becomes null."""
    return {key: None if value != value else value for key, value in asdict(finding).items()}


def load_findings(folder: Path) -> list[Finding]:
    """The findings of a report that was written before.

    Raises
    ------
    StorageError
        If the folder holds no finished study.
    """
    try:
        stored = json.loads((folder / FINDINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise StorageError(f"{folder} holds no findings: no study was finished there. Run one.") from None
    return [_finding(one) for one in stored]


def _finding(stored: dict[str, Any]) -> Finding:
    """A finding from its JSON values, null read as NaN."""
    values: dict[str, Any] = {key: math.nan if value is None else value for key, value in stored.items()}
    return Finding(**values)


def report_sections(study: Study) -> list[Section]:
    """All sections of the report: stimuli, results in the protocol's order, methods."""
    protocol = study.protocol
    return [
        stimuli_section(study),
        *(contrast_section(study, table) for table in protocol.contrasts),
        *(rsa_section(study, table) for table in protocol.rsa),
        *(selectivity_section(study, table) for table in protocol.selectivity),
        *(decoding_section(study, table) for table in protocol.decoding),
        *(causal_section(study, table) for table in protocol.causal),
        *(dissociation_section(study, first, second) for first, second in dissociable(protocol)),
        methods_section(study),
    ]


def _page(study: Study, sections: list[Section], findings: list[Finding]) -> str:
    origin = study.session.provenance
    facts = {
        "Subject": origin["subject"]["name"],
        "protocol": origin["protocol"]["sha256"][:12],
        "recorded": origin["recording"]["created"],
        "neurosae": origin["recording"]["neurosae"],
    }
    return _template().render(
        title=study.protocol.name.replace("_", " "),
        question=study.protocol.question,
        meta=" · ".join(f"{key} {value}" for key, value in facts.items()),
        sections=sections,
        findings=findings,
        headlines=[finding for finding in findings if finding.headline],
        number=number,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("neurosae", "report"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html")
