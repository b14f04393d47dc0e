"""Fault 7, exhaustively: whichever byte of a session is altered, what is read is equal or an error."""

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from neurosae.errors import NeurosaeError
from neurosae.recording.session import open_session
from neurosae.recording.upkeep import damaged
from tests.faults.recordings import code_values, make, protocol, stimuli, toys, values

N_FLIPS = int(os.environ.get("NEUROSAE_FLIPS", "105"))
KINDS = {
    "raw shard": "resid_post/shards/*.nc",
    "shard of codes": "*+*/shards/*.nc",
    "file by feature": "*+*/layers/*.nc",
    "tables": "*/stimuli.nc",
    "manifest": "*/manifest.jsonl",
    "header": "session.json",
    "protocol": "protocol.toml",
}


def everything(folder):
    """All that analyses read of a session."""
    session = open_session(folder)
    labels = session["resid_post"].coords["condition"].values.tolist()
    tables = (session.stimuli.to_csv(), session.exclusions.to_csv(), sorted(session.counts.items()))
    said = (session.protocol_text, repr(session.provenance), repr(session.dictionaries))
    return values(session), code_values(session), labels, tables, said


def flips(folder):
    """Kind, file, place and bit of each byte to be altered: kinds in turn, everything else at random."""
    rng = np.random.default_rng(7)
    files = {kind: sorted(folder.glob(pattern)) for kind, pattern in KINDS.items()}
    for number in range(N_FLIPS):
        kind = list(KINDS)[number % len(KINDS)]
        path = files[kind][rng.integers(len(files[kind]))]
        yield kind, path, int(rng.integers(path.stat().st_size)), int(rng.integers(8))


def outcome(folder, expected):
    """'refused', or 'equal' where what is read is what was written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a torn last line is announced, and the rest counts
        try:
            return "equal" if everything(folder) == expected else "silent"
        except NeurosaeError:
            return "refused"


def noticed(folder):
    """Whether looking at every byte finds something."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bool(damaged(folder))
        except NeurosaeError:
            return True


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flips") / "out"
    study = protocol(sites=["resid_post"], layers=[1])
    make(folder, study=study, table=stimuli(3), dictionaries=toys()[:1])
    return folder


def altered(folder):
    """Outcomes by kind of file, and the flips that nobody noticed."""
    expected = everything(folder)
    counts = {kind: {"refused": 0, "equal": 0, "silent": 0} for kind in KINDS}
    unseen = []
    for kind, path, place, bit in flips(folder):
        good = path.read_bytes()
        bad = bytearray(good)
        bad[place] ^= 1 << bit
        path.write_bytes(bad)
        found = outcome(folder, expected)
        counts[kind][found] += 1
        if found == "silent" or (found == "equal" and path.suffix != ".jsonl" and not noticed(folder)):
            unseen.append((kind, path.name, place, bit))
        path.write_bytes(good)
    assert everything(folder) == expected
    return counts, unseen


def test_fault_07_no_altered_byte_of_a_session_is_ever_read_as_data(small):
    counts, unseen = altered(small)
    assert unseen == [], counts
    assert sum(its["refused"] for its in counts.values()) > 0.8 * N_FLIPS


@pytest.mark.parametrize("kind", ["raw shard", "shard of codes", "file by feature"])
def test_fault_07_an_altered_byte_after_the_first_reading_is_noticed_when_the_file_changed(
    small, tmp_path, kind
):
    folder = Path(shutil.copytree(small, tmp_path / "out"))
    everything(folder)
    path = next(folder.glob(KINDS[kind]))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(NeurosaeError, match=f"{path.name} was altered"):
        everything(folder)
