"""The study runner and the self-contained HTML report."""

from neurosae.protocol.models import json_schema
from neurosae.report.page import load_findings, write_report
from neurosae.report.study import (
    StudyPlan,
    available_card,
    check_readable,
    check_study,
    not_run,
    open_study,
    record_study,
    run_study,
)
from neurosae.report.validation import check_output, validate
from neurosae.subject.doctor import diagnose

__all__ = [
    "StudyPlan",
    "available_card",
    "check_output",
    "check_readable",
    "check_study",
    "diagnose",
    "json_schema",
    "load_findings",
    "not_run",
    "open_study",
    "record_study",
    "run_study",
    "validate",
    "write_report",
]
