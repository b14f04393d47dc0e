"""How recording speeds up with worker processes: the real model, shards of 4 texts of about 30 tokens.

Run by hand, on a quiet machine of at least two cores: python benchmarks/cluster.py. Each worker has one
thread (OMP_NUM_THREADS=1) and has loaded the model before the clock starts, as it does once a process.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from neurosae.protocol.models import Protocol
from neurosae.recording import plan
from neurosae.recording.cluster import connected
from neurosae.recording.runner import record
from neurosae.subject.catalogue import load_subject

TEXTS, WORDS = 64, ("river", "house", "time", "people", "water", "school", "country", "number", "world")


def stimuli(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    texts = [" ".join(["the", *rng.choice(WORDS, 30)]) for _ in range(n)]
    return pd.DataFrame({"stimulus": [f"s{i}" for i in range(n)], "text": texts, "condition": "a"})


def seconds(subject, folder: Path, n_workers: int) -> float:
    study = Protocol(name="benchmark", stimuli=Path("x"), subject=subject.name, recording={"layers": [15]})
    with connected(f"local:{n_workers}") as client:
        record(subject, study, folder / f"warm{n_workers}", stimuli=stimuli(8 * n_workers), client=client)
        start = time.perf_counter()
        record(subject, study, folder / f"out{n_workers}", stimuli=stimuli(TEXTS), client=client)
        return time.perf_counter() - start


def main() -> None:
    plan.SHARD_STIMULI = 4
    subject = load_subject("smollm2-135m", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        took = {n: seconds(subject, Path(folder), n) for n in (1, 2)}
    for n, its in took.items():
        print(f"{n} workers: {its:5.1f} s, {took[1] / its:.2f} x one worker")


if __name__ == "__main__":
    main()
