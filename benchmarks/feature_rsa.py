"""How much faster feature_rsa is than a loop over rsatoolbox RDMs: 100 stimuli x 20 tokens x 16,384 features.

Run by hand, on a quiet machine: python benchmarks/feature_rsa.py. Both test each feature by 1000 relabelings.
The loop computes a feature's correlation RDM once and compares it with the category model of each relabeling,
one call of compare a relabeling or, at its fastest, all of them in one call. Its time is extrapolated from
200 features, and where each relabeling is a call from 20 relabelings.
"""

import time

import numpy as np
import pandas as pd
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import RDMs, calc_rdm, compare

from neurosae.analysis.feature_maps import feature_rsa
from neurosae.arrays.distance import triangle
from neurosae.schema.recordings import recording_array

STIMULI, TOKENS, FEATURES, PERMUTATIONS = 100, 20, 16_384, 1000
MEASURED, FEW = 200, 20
REPEATS = 3


def recording():
    shape = (STIMULI, TOKENS, 1, FEATURES)
    names = [f"s{i:03d}" for i in range(STIMULI)]
    stimuli = pd.DataFrame({"stimulus": names, "condition": np.repeat(["a", "b"], STIMULI // 2)})
    return recording_array(
        np.random.default_rng(0).standard_normal(shape, dtype=np.float32),
        stimuli=stimuli,
        tokens={"valid": np.ones(shape[:2], dtype=bool)},
        layers=[0],
        site="resid_post",
        origin={},
    )


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def category_models(n: int) -> RDMs:
    labels = np.repeat([0, 1], STIMULI // 2)
    drawn = np.random.default_rng(0).permuted(np.tile(labels, (n, 1)), axis=1)
    return RDMs(triangle(drawn[:, :, None] != drawn[:, None, :]).astype(float))


def loop_time(values: np.ndarray, calls: list[RDMs]) -> float:
    """Seconds for all features: an RDM each, compared with these models, one call after the other."""

    def loop() -> None:
        for feature in range(MEASURED):
            rdm = calc_rdm(Dataset(values[:, :, feature]), method="correlation")
            for models in calls:
                compare(rdm, models, method="corr")

    return seconds(loop) / MEASURED * FEATURES


def main() -> None:
    data = recording()
    values = data.values[:, :, 0]
    rdms = loop_time(values, [])
    models = category_models(FEW)
    many = rdms + (loop_time(values, [models[i] for i in range(FEW)]) - rdms) / FEW * PERMUTATIONS
    one = loop_time(values, [category_models(PERMUTATIONS)])
    print(f"loop over rsatoolbox, a call a relabeling: {many:.0f} s; all in one call: {one:.0f} s")
    for window in ("first:20", "relative:10"):
        own = min(
            seconds(lambda w=window: feature_rsa(data, "condition", window=w, n_permutations=PERMUTATIONS))
            for _ in range(REPEATS)
        )
        print(f"feature_rsa, {window}: {own:.1f} s, {many / own:.0f} and {one / own:.0f} times faster")


if __name__ == "__main__":
    main()
