"""Every test of this folder carries the marker ``faults`` and records in shards of two stimuli."""

from pathlib import Path

import pytest

from neurosae.recording import plan


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 2)
