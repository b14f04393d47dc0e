"""A small session of the toy subject with codes in two layers, and a reference that is plainly dense."""

import numpy as np
import pandas as pd

import neurosae as ns
from neurosae.dictionary.toy import ToyDictionary
from neurosae.protocol.models import Protocol
from neurosae.recording import plan
from neurosae.recording.encode_recording import encode
from neurosae.recording.runner import record
from neurosae.subject.toy import ToySubject

TEXTS = ["naïve 👩‍👩‍👧 שלום", "the key", "a dog sees the capital", "NA", "so"]
NAMES = ("toy-resid_post-l0", "toy-resid_post-l2")
N_FEATURES = 12


class Broken(ToySubject):
    """Gives NaN in one token of every batch's first text."""

    def run(self, tokens, **kwargs):
        readings = super().run(tokens, **kwargs)
        for activation in readings.activations.values():
            activation[1, 0, 3] = np.nan
        return readings


def write_codes(folder, monkeypatch, *, broken=True):
    """Record and encode the session in ``folder``, two stimuli a shard."""
    monkeypatch.setattr(plan, "SHARD_STIMULI", 2)
    labels = [f"s{i}" for i in range(len(TEXTS))]
    length = [0.5, float("nan"), 1 / 3, 2, -1]
    stimuli = pd.DataFrame({"stimulus": labels, "text": TEXTS, "condition": list("ababa"), "length": length})
    protocol = Protocol(
        name="demo", stimuli="x", subject="toy", recording={"sites": ["resid_post"], "layers": [0, 2]}
    )
    record(Broken() if broken else ToySubject(), protocol, folder, stimuli=stimuli)
    width = ns.open_session(folder)["resid_post"].sizes["feature"]
    dictionaries = [ToyDictionary(N_FEATURES, width, layer=layer, seed=layer) for layer in (0, 2)]
    encode(ns.open_session(folder), dictionaries)
    return ns.open_session(folder).codes("resid_post", *NAMES)


def dense_rows(codes, layer):
    """Codes (valid token, feature) of a layer; NaN where they are not known."""
    return codes.to_xarray().sel(layer=layer).values[codes["valid"].values]
