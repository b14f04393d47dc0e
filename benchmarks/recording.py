"""How much of the bare Hugging Face forward is left when activations are recorded.

Run by hand, on a quiet machine:

    python benchmarks/recording.py              each ratio of the table
    python benchmarks/recording.py --memory     64 and then 640 texts, in processes of their own: peak memory
    python benchmarks/recording.py --device cuda

Every ratio is tokens per second over those of a named peer on the same texts in the same run, best of some
interleaved runs. A finished session includes tokenizing, hashing, syncing to disk and opening.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from neurosae.protocol.models import Protocol
from neurosae.recording.runner import record
from neurosae.subject.batching import batches, run_all
from neurosae.subject.catalogue import load_subject

TEXTS, TOKENS, REPEATS = 16, 64, 5
WORDS = ("river", "house", "time", "people", "water", "school", "country", "number", "world", "city", "night")
PEERS = {
    "in hand": "bare",
    "on disk": "bare",
    "TransformerLens": "bare",
    "in hand, surprisal": "bare, logits",
    "on disk, surprisal": "bare, logits",
    "layers to 9": "in hand",
    "layers to 19": "in hand",
}


def single_words(subject) -> list[str]:
    """Words that are one token each."""
    n_first = len(subject.tokenize(["the"])[0])
    return [word for word in WORDS if len(subject.tokenize([f"the {word}"])[0]) == n_first + 1]


def stimuli(subject, lengths: Sequence[int]) -> pd.DataFrame:
    """Texts of exactly so many tokens."""
    n_first, words = len(subject.tokenize(["the"])[0]), single_words(subject)
    rng = np.random.default_rng(0)
    texts = [" ".join(["the", *rng.choice(words, length - n_first)]) for length in lengths]
    return pd.DataFrame({"stimulus": [f"s{i}" for i in range(len(texts))], "text": texts, "condition": "a"})


def protocol(*, surprisal: bool) -> Protocol:
    return Protocol(
        name="benchmark", stimuli=Path("x"), subject="smollm2-135m", recording={"surprisal": surprisal}
    )


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def best(runs: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Shortest time of each, run in turns; the first turn warms up and is not counted."""
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(repeats + 1)]
    return {name: min(turn[name] for turn in times[1:]) for name in runs}


def bare(model, tokens) -> None:
    """The plain forward pass of texts of one length."""
    ids = torch.tensor(np.array([text.token_id for text in tokens])).to(model.device)
    with torch.inference_mode():
        model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)


def cached(subject, tokens) -> None:
    """What TransformerLens offers for the same: every residual stream in a cache."""
    ids = torch.tensor(np.array([text.token_id for text in tokens])).to(subject.model.device)
    names = [f"blocks.{layer}.hook_out" for layer in range(subject.n_layers)]
    with torch.inference_mode():
        _, cache = subject.bridge.run_with_cache(ids, names_filter=names)
    for name in names:
        cache[name].cpu().numpy()


def of_one_length(subject, folder: Path) -> dict[str, Callable[[], object]]:
    table = stimuli(subject, [TOKENS] * TEXTS)
    tokens, base = subject.tokenize(table["text"].tolist()), subject.model.model

    def session(*, surprisal: bool) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            record(subject, protocol(surprisal=surprisal), Path(place) / "s", stimuli=table)

    def in_hand(n_layers: int, *, surprisal: bool = False) -> None:
        subject.run(tokens, sites={"resid_post": range(n_layers)}, surprisal=surprisal)

    return {
        "bare": partial(bare, base, tokens),
        "bare, logits": partial(bare, subject.model, tokens),
        "TransformerLens": partial(cached, subject, tokens),
        "in hand": partial(in_hand, subject.n_layers),
        "in hand, surprisal": partial(in_hand, subject.n_layers, surprisal=True),
        "on disk": partial(session, surprisal=False),
        "on disk, surprisal": partial(session, surprisal=True),
        "layers to 9": partial(in_hand, 10),
        "layers to 19": partial(in_hand, 20),
    }


def of_mixed_length(subject) -> None:
    """Sentences of 6 to 18 tokens: padding, and what batching is worth against one text at a time."""
    lengths = np.random.default_rng(1).integers(6, 19, 128)
    tokens = subject.tokenize(stimuli(subject, lengths)["text"].tolist())
    base, sites = subject.model.model, {"resid_post": range(subject.n_layers)}

    def batched() -> None:
        for _ in run_all(subject, tokens, batch_tokens=1024, sites=sites):
            pass

    def one_by_one() -> None:
        for text in tokens:
            bare(base, [text])

    took = best({"batched": batched, "one by one": one_by_one}, repeats=2)
    padded = sum(max(len(tokens[i]) for i in batch) * len(batch) for batch in batches(tokens, 1024))
    print(
        f"sentences of 6 to 18 tokens: {took['one by one'] / took['batched']:.2f} x a bare batch-of-one loop"
    )
    print(f"padding: {100 * (1 - lengths.sum() / padded):.1f} % of the tokens run")


def speed(device: str) -> None:
    subject = load_subject("smollm2-135m", device=device)
    with tempfile.TemporaryDirectory() as folder:
        took = best(of_one_length(subject, Path(folder)))
    for name, time_taken in took.items():
        peer = PEERS.get(name)
        ratio = f"   {took[peer] / time_taken:.3f} x {peer}" if peer else ""
        print(f"{name:20s} {TEXTS * TOKENS / time_taken:7.0f} tokens/s{ratio}")
    of_mixed_length(subject)


def peak(n: int) -> None:
    subject = load_subject("smollm2-135m", device="cpu")
    study, table = protocol(surprisal=False), stimuli(subject, [TOKENS] * n)
    with tempfile.TemporaryDirectory() as folder:
        took = seconds(lambda: record(subject, study, Path(folder) / "s", stimuli=table))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{n} texts: {n * TOKENS / took:.0f} tokens/s, peak memory {used:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--texts", type=int, default=0, help="record so many texts and print the peak memory")
    asked = parser.parse_args()
    if asked.memory:
        for n in ("64", "640"):
            subprocess.run([sys.executable, __file__, "--texts", n], check=True)
    elif asked.texts:
        peak(asked.texts)
    else:
        speed(asked.device)


if __name__ == "__main__":
    main()
