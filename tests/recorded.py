"""Small recordings with codes, and how two sessions are compared bit by bit."""

import numpy as np
import pandas as pd

from neurosae.dictionary.toy import ToyDictionary
from neurosae.protocol.models import Protocol
from neurosae.recording.code_store import open_codes
from neurosae.recording.manifest import TABLES, entries
from neurosae.recording.shard import read_tables

WORDS = ("the keys are here .", "the key", "a dog sees the capital of france today", "so be it")


def stimuli(n=11):
    texts = [f"{WORDS[i % len(WORDS)]} {'so ' * (i % 5)}".strip() for i in range(n)]
    labels = [f"s{i}" for i in range(n)]
    return pd.DataFrame({"stimulus": labels, "text": texts, "condition": (["a", "b"] * n)[:n]})


def protocol(name="demo", **recording):
    settings = {"sites": ["resid_post"], "layers": [1, 2], "batch_tokens": 32, **recording}
    return Protocol(name=name, stimuli="x", subject="toy", recording=settings)


def dictionary(layer=2, site="resid_post", width=32, shift=2.0, seed=0):
    """A dictionary that leaves little of the toy's activations unexplained, and is often silent."""
    return ToyDictionary(width, width, site=site, layer=layer, shift=shift, seed=seed)


def values(session):
    """Arrays and tables of every store of a session, as bytes and frames that can be compared."""
    found = {}
    for site in session.sites:
        recording = session.recording(site, mask=False).compute(scheduler="synchronous")
        found[site] = recording.values.tobytes()
        found[site, "tables"] = tables_of(session.path / site)
    for name, its in session.dictionaries.items():
        codes = open_codes(session.path / its["folder"])
        assert codes.index
        for kind, part in (
            ("rows", codes.rows(0, codes.n_rows)),
            ("columns", codes.columns(0, codes.n_features)),
        ):
            found[name, kind] = tuple(its.tobytes() for its in (part.indptr, part.indices, part.data))
        found[name, "fit"] = (its["fvu"], its["l0"])
        found[name, "tables"] = tables_of(session.path / its["folder"])
    return found


def tables_of(store):
    tables = read_tables(store / TABLES)
    fields = {name: field.tobytes() for name, field in tables.rows.items()}
    return tables.stimuli.to_csv(), fields, tables.norm.tobytes()


def shard_bytes(session):
    """Bytes of every shard, and what the manifests say of it, by its place in the folder."""
    paths = sorted(session.path.rglob("shard-*.nc"))
    known = {store.parent.name: entries(store.parent, "shard") for store in session.path.glob("*/shards")}
    return {str(path.relative_to(session.path)): path.read_bytes() for path in paths}, repr(known)


def same(a, b):
    """Whether two sessions hold the same, and say the same of it."""
    left, right = values(a), values(b)
    assert left.keys() == right.keys()
    differing = [key for key in left if not _equal(left[key], right[key])]
    assert not differing
    assert a.counts == b.counts
    assert a.exclusions.equals(b.exclusions)


def _equal(a, b):
    if isinstance(a, tuple) and a and isinstance(a[0], float):
        return np.array_equal(a, b, equal_nan=True)
    return a == b
