"""What codes of a whole experiment cost: disk, time and memory, at a tenth of the size and at full size.

Run by hand, on a quiet machine: python benchmarks/scale.py [--stimuli 20000] [--folder PLACE] [--encode].
Codes are synthetic: 128 tokens a stimulus, 4 layers of 16,384 features, of which about 50 are active in a
token and a few in every third. They are written shard by shard as a session's are, then opened, pooled and
compared between conditions, each size in a process of its own whose peak memory is printed. --encode instead
compares encoding to disk with the bare dictionary on the same rows. 20,000 stimuli need about 6 GB of disk.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

import neurosae as ns
from neurosae.recording.code_recordings import open_code_recording
from neurosae.recording.code_shard import CodeShard, write_code_shard
from neurosae.recording.code_store import add_code_shard, index_codes
from neurosae.recording.codes import rounded
from neurosae.recording.manifest import entries
from neurosae.recording.shard import Tables, concatenate
from neurosae.recording.sparse import SparseRecording
from neurosae.recording.store import write_tables

TOKENS, LAYERS, FEATURES, ACTIVE = 128, (3, 9, 15, 21), 16_384, 50
STIMULI_A_SHARD = 256
SITE = "resid_post"
STIMULI_OF_16_MILLION = 2500
ATTRS = {"site": SITE, "units": "1"}


class Synthetic:
    """Codes with features of very different rates, and the tables of their tokens."""

    def __init__(self, layer: int) -> None:
        self.layer, self.rng = layer, np.random.default_rng(layer)
        weight = self.rng.permutation(1 / (np.arange(FEATURES) + 20))
        self.cumulative = np.cumsum(weight / weight.sum())
        words = np.random.default_rng(0)
        alphabet = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        self.vocabulary = np.array(
            [" " + "".join(words.choice(alphabet, n)) for n in words.integers(1, 13, size=4000)]
        )

    def codes(self, n_rows: int) -> sp.csr_array:
        """Features drawn by their rates, those drawn twice in a token once."""
        drawn = np.searchsorted(self.cumulative, self.rng.random((n_rows, ACTIVE + 2)), side="right")
        drawn = np.sort(drawn.clip(max=FEATURES - 1), axis=1)
        is_new = np.diff(drawn, axis=1, prepend=-1) > 0
        pointers = np.concatenate([[0], np.cumsum(is_new.sum(axis=1))])
        values = rounded(self.rng.gamma(1.5, 2.0, size=int(pointers[-1])).astype(np.float32))
        return sp.csr_array((values, drawn[is_new].astype(np.int32), pointers), shape=(n_rows, FEATURES))

    def tables(self, first: int, n: int) -> Tables:
        rng = np.random.default_rng([7, first])
        position = np.tile(np.arange(TOKENS), n)
        ids = rng.integers(0, len(self.vocabulary), size=n * TOKENS)
        end = np.cumsum(np.char.str_len(self.vocabulary)[ids].reshape(n, TOKENS), axis=1).ravel()
        rows = {
            "stimulus_index": np.repeat(np.arange(n), TOKENS),
            "token_position": position,
            "word_index": position - 1,
            "rel_target": position - TOKENS // 2,
            "token_id": ids,
            "token": self.vocabulary[ids],
            "char_start": end - np.char.str_len(self.vocabulary)[ids],
            "char_end": end,
            "is_special": position == 0,
        }
        label = np.arange(first, first + n)
        columns = {
            "stimulus": [f"s{i:06d}" for i in label],
            "text": [" ".join(self.vocabulary[ids[i * TOKENS : (i + 1) * TOKENS]]) for i in range(n)],
            "condition": np.array(["a", "b"])[label % 2],
        }
        norm = rng.gamma(50, 2, size=(n * TOKENS, 1)).astype(np.float32)
        return Tables(pd.DataFrame(columns), rows, np.array([self.layer]), norm)


def described(layers) -> list[dict[str, object]]:
    return [{"name": f"synthetic-l{its}", "site": SITE, "layer": its, "folder": f"l{its}"} for its in layers]


def opened(folder: Path, layers=LAYERS) -> SparseRecording:
    return open_code_recording(folder, described(layers), {"subject": {"name": "synthetic"}}, mask=True)


def write_layer(folder: Path, layer: int, n_stimuli: int) -> dict[str, float]:
    """Shards, tables and the file by feature; making the synthetic codes is not counted."""
    made, place, known = Synthetic(layer), folder / f"l{layer}", []
    attrs = {**ATTRS, "id": str(uuid.uuid5(uuid.NAMESPACE_URL, str(folder)))}
    took = n_entries = bare = 0.0
    for number, first in enumerate(range(0, n_stimuli, STIMULI_A_SHARD)):
        n = min(STIMULI_A_SHARD, n_stimuli - first)
        tables, codes = made.tables(first, n), made.codes(n * TOKENS)
        shard = CodeShard(tables.stimuli, tables.rows, layer, tables.norm[:, 0], codes)
        start = time.perf_counter()
        add_code_shard(place, number, shard, attrs)
        took, n_entries = took + time.perf_counter() - start, n_entries + codes.nnz
        bare += tables_bytes(place, shard, attrs)
        is_sink = np.zeros(n * TOKENS, dtype=bool)
        known.append(Tables(tables.stimuli, {**tables.rows, "is_sink": is_sink}, tables.layers, tables.norm))
    write_tables(place, concatenate(known), FEATURES, attrs)
    return {"entries": n_entries, "write": took, "tables": bare}


def tables_bytes(folder: Path, shard: CodeShard, attrs: Mapping[str, object]) -> int:
    """What a shard takes besides its codes."""
    without = replace(shard, codes=sp.csr_array(shard.codes.shape, dtype=np.float32))
    write_code_shard(folder / "tables-only.nc", without, attrs)
    size = (folder / "tables-only.nc").stat().st_size
    (folder / "tables-only.nc").unlink()
    return size


def index_layer(folder: Path, layer: int) -> dict[str, float]:
    return {"index": seconds(lambda: index_codes(folder / f"l{layer}"))}


def analyse(folder: Path, target: Path) -> dict[str, float]:
    """Open, pool, compare, export a block; peak memory after each."""
    found: dict[str, float] = {}

    def step(name: str, function) -> object:
        start = time.perf_counter()
        result = function()
        found[name] = time.perf_counter() - start
        found[f"{name}, peak"] = peak()
        return result

    found["start, peak"] = peak()
    codes = step("open", lambda: opened(folder))
    responses = step("pool", lambda: ns.pool_tokens(codes))
    step("pool, all", lambda: [part.sum() for part in blocks(responses)])
    step(
        "contrast",
        lambda: ns.contrast_map(responses, "a > b", test="welch", correct="max_t", n_permutations=99),
    )
    step("export", lambda: ns.save_netcdf(responses.isel(layer=[0], feature=slice(0, 1024)), target))
    return found


def blocks(responses) -> Iterator[np.ndarray]:
    """Every response, as analyses read them: some features of one layer."""
    for layer in range(responses.sizes["layer"]):
        for start in range(0, FEATURES, 1024):
            yield responses.isel(layer=layer, feature=slice(start, start + 1024)).values


def access(folder: Path, layer: int) -> dict[str, float]:
    """Milliseconds to the codes of one feature over all stimuli: median and longest of 40."""
    codes = opened(folder, [layer])
    chosen = np.random.default_rng(0).integers(0, FEATURES, size=40).tolist()
    read = [1000 * seconds(lambda f=f: codes.sources[0].columns(f, f + 1)) for f in chosen]
    padded = [1000 * seconds(lambda f=f: codes.feature(f)) for f in chosen]
    return {"entries": float(sum(e["entries"] for e in entries(folder / f"l{layer}", "shard").values()))} | {
        f"{name}, {which.__name__}": float(which(times))
        for name, times in (("codes", read), ("padded", padded))
        for which in (np.median, np.max)
    }


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stage(name: str, *args: object) -> dict[str, float]:
    """A function of this script in a process of its own, with its peak memory."""
    command = [sys.executable, __file__, "--stage", name, *map(str, args)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


STAGES = {
    "write": lambda folder, layer, n: write_layer(Path(folder), int(layer), int(n)),
    "index": lambda folder, layer: index_layer(Path(folder), int(layer)),
    "analyse": lambda folder, target: analyse(Path(folder), Path(target)),
    "access": lambda folder, layer: access(Path(folder), int(layer)),
}


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.nc"))


def made(folder: Path, n_stimuli: int, layers=LAYERS) -> None:
    """Write and index every layer, and say what that took."""
    written = [stage("write", folder, layer, n_stimuli) for layer in layers]
    indexed = [stage("index", folder, layer) for layer in layers]
    n_entries = sum(its["entries"] for its in written)
    took = {
        name: sum(its[name] for its in stages) for name, stages in (("write", written), ("index", indexed))
    }
    tables = sum(its["tables"] for its in written)
    shards = sum(bytes_of(folder / f"l{layer}" / "shards") for layer in layers) - tables
    by_feature = sum(bytes_of(folder / f"l{layer}" / "layers") for layer in layers)
    print(f"{n_stimuli} stimuli x {TOKENS} tokens x {len(layers)} layers: {n_entries:,.0f} active codes")
    for name, size, its in (("write", shards, written), ("index", by_feature, indexed)):
        print(
            f"  {name:10s} {took[name]:7.1f} s, {n_entries / took[name] / 1e6:5.2f} M codes/s, "
            f"{size / n_entries:.2f} bytes a code, peak {max(i['peak'] for i in its):,.0f} MiB"
        )
    print(f"  tables of tokens, norms included: {tables / n_entries:.2f} bytes a code more in the shards")


def report(found: dict[str, float], before: dict[str, float] | None) -> None:
    for name in [name for name in found if f"{name}, peak" in found]:
        growth = ""
        if before is not None:
            growth = f", {found[f'{name}, peak'] - before[f'{name}, peak']:+,.0f} MiB"
        print(f"  {name:10s} {found[name]:7.2f} s, peak {found[f'{name}, peak']:,.0f} MiB{growth}")


def report_access(folder: Path, layer: int) -> None:
    its = stage("access", folder, layer)
    print(
        f"  one feature of {its['entries'] / 1e6:.0f} M codes: {its['codes, median']:.1f} ms "
        f"(longest {its['codes, max']:.1f}), labelled {its['padded, median']:.1f} ms"
    )


def scale(folder: Path, n_stimuli: int) -> None:
    place = folder / "sixteen"
    made(place, STIMULI_OF_16_MILLION, LAYERS[:1])
    report_access(place, LAYERS[0])
    shutil.rmtree(place)
    before = None
    for n in (n_stimuli // 10, n_stimuli):
        place = folder / str(n)
        made(place, n)
        report_access(place, LAYERS[0])
        found = stage("analyse", place, place / "block.nc")
        report(found, before)
        before = found
        shutil.rmtree(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stimuli", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where to write; by default the temporary folder")
    parser.add_argument("--stage", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        name, *its = given.stage
        result = STAGES[name](*its)
        print(json.dumps({**result, "peak": peak()}))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        scale(Path(folder), given.stimuli)


if __name__ == "__main__":
    main()
