"""Sessions of released schemas open in this version with the values they were written with."""

import json
import tarfile
from pathlib import Path

import pytest

from neurosae.recording.session import open_session
from neurosae.recording.upkeep import consolidate, damaged
from neurosae.recording.validation import misfits, unportable
from tests.golden.write_sessions import contents

FOLDER = Path(__file__).parent / "golden"
NAMES = ("raw-1", "codes-1")


@pytest.fixture(params=NAMES)
def golden(request, tmp_path):
    """Folder of a golden session, and what it said when it was written."""
    with tarfile.open(FOLDER / f"{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / request.param, json.loads((FOLDER / f"{request.param}.json").read_text("utf-8"))


def test_a_golden_session_opens_with_the_same_values(golden):
    folder, expected = golden
    assert contents(open_session(folder)) == expected


def test_a_golden_session_passes_every_check(golden):
    folder, _ = golden
    assert damaged(folder) == []
    assert misfits(folder) == []
    assert unportable(folder) == []


def test_a_golden_session_is_consolidated_without_a_change(golden):
    folder, expected = golden
    assert contents(consolidate(folder)) == expected


def test_golden_sessions_stay_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 60_000
