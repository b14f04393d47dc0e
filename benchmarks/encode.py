"""How much of the bare dictionary's speed is left when codes are written to disk: 576 units, 2304 features.

Run by hand, on a quiet machine: python benchmarks/encode.py [--stimuli 1000]. A session of 128 tokens a
stimulus is recorded from a subject whose activations are sums of about 32 random directions, and a dictionary
in sae-lens format is made whose features are these. Bare is dictionary.encode on the rows of one shard after
another, in memory already; to disk is encode(session, dictionary), which reads the activations, judges the
fit, rounds, compresses, checksums and syncs the codes, and writes them again by feature. Best of three.
"""

import argparse
import itertools
import json
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

from neurosae.dictionary.load import load_dictionary
from neurosae.protocol.models import Protocol
from neurosae.recording.encode_recording import encode
from neurosae.recording.manifest import entries
from neurosae.recording.runner import record
from neurosae.recording.session import Session, open_session
from neurosae.recording.store import open_store
from neurosae.subject.interface import Readings
from neurosae.subject.toy import ToySubject

UNITS, FEATURES, ACTIVE, TOKENS, LAYER = 576, 2304, 32, 128, 1
SITE, REPEATS = "resid_post", 3


def directions() -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((FEATURES, UNITS)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Planted(ToySubject):
    """Activations that are sums of a few directions."""

    def run(self, tokens, **kwargs) -> Readings:
        n_rows = sum(len(text) for text in tokens)
        rng = np.random.default_rng(len(tokens[0].token_id) + n_rows)
        active = rng.integers(0, FEATURES, size=n_rows * ACTIVE)
        values = rng.gamma(8, 0.5, size=n_rows * ACTIVE).astype(np.float32)
        codes = sp.csr_array((values, active, np.arange(n_rows + 1) * ACTIVE), shape=(n_rows, FEATURES))
        planted = np.asarray(codes @ directions())[:, None, :]
        return Readings(activations={site: planted for site in kwargs["sites"]}, surprisal=None)


def made_dictionary(folder: Path, rows: np.ndarray):
    """Its threshold is where about 32 features are above it in the rows."""
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=UNITS, d_sae=FEATURES, device="cpu", dtype="float32"))
    with torch.no_grad():
        decoder = directions()
        reached = np.sort((rows @ decoder.T).ravel())[-ACTIVE * len(rows)]
        sae.W_dec.copy_(torch.tensor(decoder))
        sae.W_enc.copy_(torch.tensor(decoder.T.copy()))
        sae.threshold.fill_(float(reached))
    sae.save_model(folder)
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"] = {"model_name": "toy", "hook_name": f"blocks.{LAYER}.hook_{SITE}"}
    (folder / "cfg.json").write_text(json.dumps(config))
    return load_dictionary(folder)


def recorded(folder: Path, n_stimuli: int) -> Session:
    words = np.random.default_rng(1).choice(["the", "keys", "are", "here", "dog"], (n_stimuli, TOKENS - 1))
    table = pd.DataFrame(
        {"stimulus": [f"s{i}" for i in range(n_stimuli)], "text": [" ".join(w) for w in words]}
    )
    protocol = Protocol(name="b", stimuli=Path("x"), subject="toy", recording={"layers": [LAYER]})
    return record(Planted(n_layers=3, d_model=UNITS), protocol, folder, stimuli=table.assign(condition="a"))


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def contestants(session: Session, folder: Path):
    """Name of a run to the seconds it takes."""
    store = open_store(session.path / SITE)
    shards = [store.read(0, start, stop) for start, stop in itertools.pairwise(store.bounds)]
    dictionary = made_dictionary(folder / "dictionary", shards[0][:2000])

    def bare() -> float:
        return seconds(lambda: [dictionary.encode(rows) for rows in shards])

    def on_disk() -> float:
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(session.path, copy)
        return seconds(lambda: encode(open_session(copy), dictionary))

    def in_memory() -> float:
        return seconds(lambda: encode(session[SITE], dictionary))

    return {"bare": bare, "in memory": in_memory, "on disk": on_disk}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stimuli", type=int, default=1000)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*of the variance of these activations unexplained")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        session = recorded(folder / "session", given.stimuli)
        runs = contestants(session, folder)
        best = {name: min(run() for _ in range(REPEATS)) for name, run in runs.items()}
        stored = next(iter(open_session(folder / "copy").dictionaries.values()))
        shards = entries(folder / "copy" / stored["folder"], "shard").values()
        size, n_codes = sum(its["bytes"] for its in shards), sum(its["entries"] for its in shards)
    n_rows = given.stimuli * TOKENS
    for name, took in best.items():
        print(f"{name:10s} {n_rows / took:8,.0f} tokens/s   {best['bare'] / took:.2f} x bare")
    print(f"{n_codes / n_rows:.1f} codes a token, {size / n_codes:.2f} bytes each in shards, tables included")


if __name__ == "__main__":
    main()
