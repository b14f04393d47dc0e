"""Run a study from its protocol alone: check, record, analyse, lesion, report."""

from pathlib import Path

import pandas as pd

from neurosae.protocol.checks import check_protocol
from neurosae.protocol.load import load_protocol
from neurosae.protocol.models import Protocol
from neurosae.recording.runner import check_recordable, record
from neurosae.recording.session import Session, open_session
from neurosae.report.page import REPORT, write_report
from neurosae.report.shelf import Shelf
from neurosae.report.steps import Progress, Study, run_steps
from neurosae.stimulus.load import load_stimuli
from neurosae.subject.catalogue import load_subject, subject_card


def silent(_step: str) -> object:
    """Announce nothing: the progress of a script without a terminal."""
    return lambda _done, _total: None
