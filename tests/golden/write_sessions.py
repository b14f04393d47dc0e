"""Write the golden sessions of a schema once, when it is released: ``python -m tests.golden.write_sessions``.

Later versions open them and must find the same values; they are never written again for the same schema.
"""

import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from neurosae.dictionary.toy import ToyDictionary
from neurosae.protocol.models import Protocol
from neurosae.recording.encode_recording import encode
from neurosae.recording.manifest import SCHEMA
from neurosae.recording.runner import record
from neurosae.recording.session import open_session
from neurosae.subject.toy import ToySubject

FOLDER = Path(__file__).parent


def contents(session):
    """What a golden session says, as plain JSON."""
    recording = session.recording("resid_post", mask=False).compute(scheduler="synchronous")
    valid = recording["valid"].values
    codes = {name: session["resid_post", name].csr(1) for name in session.dictionaries}
    return {
        "stimuli": session.stimuli.astype(str).to_dict("list"),
        "counts": dict(session.counts),
        "tokens": recording["token_str"].values[valid].tolist(),
        "surprisal": np.nan_to_num(recording["surprisal"].values[valid], nan=-1).tolist(),
        "activation": recording.values[valid][:, 0].tolist(),
        "codes": {name: its.toarray().tolist() for name, its in codes.items()},
    }


def write(name, *, coded):
    """Write one session as ``NAME.tar.xz`` and what it says as ``NAME.json``."""
    texts = ["the naïve key", "so be it"]
    table = pd.DataFrame({"stimulus": ["a", "b"], "text": texts, "condition": ["x", "y"], "item": [1, 2]})
    recording = {"sites": ["resid_post"], "layers": [1]}
    study = Protocol(name="golden", stimuli="none", subject="toy", recording=recording)
    with tempfile.TemporaryDirectory() as folder:
        session = record(ToySubject(), study, Path(folder) / name, stimuli=table)
        if coded:
            encode(session, ToyDictionary(32, 32, layer=1, seed=1, threshold=0.5, shift=1.5))
        session = open_session(session.path)
        text = json.dumps(contents(session), ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        with tarfile.open(FOLDER / f"{name}.tar.xz", "w:xz") as archive:
            archive.add(session.path, name)


if __name__ == "__main__":
    version = SCHEMA.split("/")[1]
    write(f"raw-{version}", coded=False)
    write(f"codes-{version}", coded=True)
