"""How much of the bare Hugging Face forward is left when everything is recorded: 16 texts of 64 tokens.

Run by hand, on a quiet machine: python benchmarks/recording.py [--memory]. All layers of resid_post are
recorded. Each ratio is tokens per second over those of the bare model on the same batch, the best of a few
interleaved runs each; the finished session includes tokenizing, hashing, syncing to disk and opening.
--memory records 64 and then 640 texts in processes of their own and prints their peak memory.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from neurosae.protocol.models import Protocol
from neurosae.recording.runner import record
from neurosae.subject.catalogue import load_subject

TEXTS, TOKENS, REPEATS = 16, 64, 5
WORDS = ("river", "house", "time", "people", "water", "school", "country", "number", "world", "city", "night")


def stimuli(subject, n: int) -> pd.DataFrame:
    """Texts of exactly 64 tokens: words that are one token each."""
    n_first = len(subject.tokenize(["the"])[0])
    single = [word for word in WORDS if len(subject.tokenize([f"the {word}"])[0]) == n_first + 1]
    rng = np.random.default_rng(0)
    texts = [" ".join(["the", *rng.choice(single, TOKENS - n_first)]) for _ in range(n)]
    return pd.DataFrame({"stimulus": [f"s{i}" for i in range(n)], "text": texts, "condition": "a"})


def protocol(*, surprisal: bool) -> Protocol:
    return Protocol(
        name="benchmark", stimuli=Path("x"), subject="smollm2-135m", recording={"surprisal": surprisal}
    )


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def contestants(subject, table: pd.DataFrame, folder: Path) -> dict:
    tokens = subject.tokenize(table["text"].tolist())
    ids = torch.tensor(np.array([text.token_id for text in tokens]))
    mask = torch.ones_like(ids)
    base, sites = subject.model.model, {"resid_post": range(subject.n_layers)}

    def bare(model):
        with torch.inference_mode():
            model(input_ids=ids, attention_mask=mask, use_cache=False)

    def session(*, surprisal: bool):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            record(subject, protocol(surprisal=surprisal), Path(place) / "s", stimuli=table)

    return {
        "bare": lambda: bare(base),
        "bare, logits": lambda: bare(subject.model),
        "in hand": lambda: subject.run(tokens, sites=sites),
        "in hand, surprisal": lambda: subject.run(tokens, sites=sites, surprisal=True),
        "on disk": lambda: session(surprisal=False),
        "on disk, surprisal": lambda: session(surprisal=True),
    }


PEERS = {
    "in hand": "bare",
    "on disk": "bare",
    "in hand, surprisal": "bare, logits",
    "on disk, surprisal": "bare, logits",
}


def speed() -> None:
    subject = load_subject("smollm2-135m", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        runs = contestants(subject, stimuli(subject, TEXTS), Path(folder))
        times = {name: [] for name in runs}
        for repeat in range(REPEATS + 1):
            for name, run in runs.items():
                took = seconds(run)
                if repeat:
                    times[name].append(took)
    best = {name: min(taken) for name, taken in times.items()}
    for name, took in best.items():
        peer = PEERS.get(name)
        ratio = f"   {best[peer] / took:.3f} x {peer}" if peer else ""
        print(f"{name:20s} {TEXTS * TOKENS / took:7.0f} tokens/s{ratio}")


def peak(n: int) -> None:
    subject = load_subject("smollm2-135m", device="cpu")
    study, table = protocol(surprisal=False), stimuli(subject, n)
    with tempfile.TemporaryDirectory() as folder:
        took = seconds(lambda: record(subject, study, Path(folder) / "s", stimuli=table))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{n} texts: {n * TOKENS / took:.0f} tokens/s, peak memory {used:.0f} MiB")


def main() -> None:
    if "--memory" in sys.argv:
        for n in ("64", "640"):
            subprocess.run([sys.executable, __file__, n], check=True)
    elif len(sys.argv) > 1:
        peak(int(sys.argv[1]))
    else:
        speed()


if __name__ == "__main__":
    main()
