"""Every test of this folder carries the marker ``faults`` and records in shards of two stimuli."""

import shutil
from pathlib import Path

import pytest

from neurosae.recording import plan
from neurosae.recording.session import open_session
from tests.faults.recordings import encoded, make, values


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 2)


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    """A session without codes and one with those of two dictionaries, made once."""
    folder = tmp_path_factory.mktemp("templates")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SHARD_STIMULI", 2)
        make(folder / "raw")
        shutil.copytree(folder / "raw", folder / "coded")
        encoded(folder / "coded")
    return folder


@pytest.fixture(scope="session")
def recorded(templates):
    """Every value of the session without codes, as bytes."""
    return values(open_session(templates / "raw"))


@pytest.fixture
def raw(templates, tmp_path):
    """Folder of a session without codes, to be broken."""
    return Path(shutil.copytree(templates / "raw", tmp_path / "out"))


@pytest.fixture
def coded(templates, tmp_path):
    """Folder of a session with the codes of two dictionaries, to be broken."""
    return Path(shutil.copytree(templates / "coded", tmp_path / "coded"))
