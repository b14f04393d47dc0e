"""Small recordings and their codes to break, and how to look at what is left of them."""

import os
import signal
import sys
import time

import numpy as np
import pandas as pd

from neurosae.dictionary.toy import ToyDictionary
from neurosae.protocol.models import Protocol
from neurosae.recording.encode_recording import encode
from neurosae.recording.runner import record
from neurosae.recording.session import open_session
from neurosae.subject.toy import ToySubject

SITES = ["resid_post", "mlp_post"]
WORDS = ("the keys are here .", "the key", "a dog sees the capital of france today", "so be it")


def stimuli(n=7):
    texts = [f"{WORDS[i % len(WORDS)]} {'so ' * (i % 5)}".strip() for i in range(n)]
    labels = [f"s{i}" for i in range(n)]
    return pd.DataFrame({"stimulus": labels, "text": texts, "condition": (["a", "b"] * n)[:n]})


def protocol(name="demo", **recording):
    return Protocol(
        name=name, stimuli="x", subject="toy", recording={"sites": SITES, "batch_tokens": 64} | recording
    )


def make(folder, subject=None, table=None, **kwargs):
    """Record the small study."""
    table = stimuli() if table is None else table
    return record(subject or ToySubject(), kwargs.pop("study", protocol()), folder, stimuli=table, **kwargs)


def toys(**kwargs):
    """Dictionaries of two layers in which most of the features of a token are active, and others silent."""
    return [ToyDictionary(32, 32, layer=n, seed=n, threshold=0.5, shift=1.5, **kwargs) for n in (1, 2)]


def encoded(folder, dictionaries=None):
    """Write codes into a session, by default of both dictionaries."""
    encode(open_session(folder), dictionaries or toys())
    return open_session(folder)


def code_values(session):
    """Every code of a session, read by token and by feature, as bytes that can be compared."""
    found = {}
    for name, its in session.dictionaries.items():
        source = session.codes(its["site"], name, mask=False).sources[0]
        read = (source.rows(0, source.n_rows), source.columns(0, source.n_features))
        found[name] = [part.tobytes() for its in read for part in (its.data, its.indices, its.indptr)]
    return found


def values(session):
    """Every activation and surprisal of a session, as bytes that can be compared."""
    lazy = {site: session.recording(site, mask=False) for site in session.sites}
    arrays = {site: array.compute(scheduler="synchronous") for site, array in lazy.items()}
    return {
        site: (array.values.tobytes(), array["surprisal"].values.tobytes(), array["is_sink"].values.tobytes())
        for site, array in arrays.items()
    }


def parts(folder):
    """Names of temporary and lock files."""
    return [path.name for path in folder.rglob(".*") if path.is_file()]


def flip(path, place):
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0x41
    path.write_bytes(data)


def killed(work, delay=None):
    """Do ``work`` in a process of its own and kill that, after ``delay`` seconds or where it says so."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die(*_args, **_kwargs):
    """End this process as SIGKILL does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Never(ToySubject):
    """A subject that must not run."""

    def run(self, tokens, **kwargs):
        raise AssertionError("the subject ran before all was checked")


class Broken(ToySubject):
    """Gives NaN and an infinite value in two tokens of its first text."""

    def run(self, tokens, **kwargs):
        readings = super().run(tokens, **kwargs)
        for activation in readings.activations.values():
            activation[1, 0, 3], activation[2, 1, 0] = np.nan, np.inf
        return readings


def command(*arguments):
    """The command line, as a process takes it."""
    code = "from neurosae.cli import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]
