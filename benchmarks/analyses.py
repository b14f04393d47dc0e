"""How much faster the analyses are than named peers, and the peak memory of each, side by side in one run.

Run by hand, on a quiet machine: python benchmarks/analyses.py [--row contrast-welch] [--list]. Each side of
a row is measured in a process of its own with one thread (OMP_NUM_THREADS=1), the best of a few runs. Peers
that repeat one step a permutation or a feature are measured on few of them and extrapolated linearly.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import xarray as xr
from nilearn.mass_univariate import permuted_ols
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import RDMs, calc_rdm, compare
from scipy.stats import fisher_exact
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import neurosae as ns
from neurosae.arrays.distance import triangle
from neurosae.schema.recordings import recording_array

N, FEATURES, PERMUTATIONS = 200, 16_384, 1000
UNITS, DECODED = 576, 1024
TEXTS, TOKENS = 100, 20
DECODING_PERMUTATIONS, ACTIVE_FEATURES, PAIRS = 200, 2048, 100
REPEATS = 3


class Row(NamedTuple):
    """Two functions that give seconds, and what they are compared on."""

    what: str
    peer: str
    own_seconds: Callable[[], float]
    peer_seconds: Callable[[], float]


def responses(n_a: int = N // 2, n_features: int = FEATURES, *, codes: bool = False) -> xr.DataArray:
    values = np.random.default_rng(0).standard_normal((N, 1, n_features)).astype(np.float32)
    if codes:
        values = np.maximum(values - 1, 0)
    coords = {
        "stimulus": [f"s{i}" for i in range(N)],
        "condition": ("stimulus", np.repeat(["a", "b"], [n_a, N - n_a])),
        "layer": [0],
        "feature": np.arange(n_features),
    }
    return xr.DataArray(values, dims=("stimulus", "layer", "feature"), coords=coords)


def best(function: Callable[[], object], repeats: int = REPEATS) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def extrapolated(function: Callable[[int], object], few: int, more: int, wanted: int) -> float:
    """Seconds for ``wanted`` repetitions, from those for ``few`` and ``more`` of them."""
    first, second = best(partial(function, few)), best(partial(function, more))
    return first + (second - first) / (more - few) * (wanted - few)


def shuffled(labels: np.ndarray, n: int) -> np.ndarray:
    return np.random.default_rng(0).permuted(np.tile(labels, (n, 1)), axis=1)


def category_models(labels: np.ndarray, n: int) -> RDMs:
    drawn = shuffled(labels, n)
    return RDMs(triangle(drawn[:, :, None] != drawn[:, None, :]).astype(float))


def own_contrast(test: str, n_a: int) -> float:
    data = responses(n_a)
    options = {"test": test, "correct": "max_t", "n_permutations": PERMUTATIONS}
    return best(lambda: ns.contrast_map(data, "a > b", **options))


def nilearn_contrast(n_a: int) -> float:
    data = responses(n_a)
    tested, target = (data["condition"].values == "a").astype(float), data.values[:, 0]

    def run(n: int) -> object:
        return permuted_ols(tested, target, n_perm=n, n_jobs=1, random_state=0, verbose=0)

    return extrapolated(run, 100, 300, PERMUTATIONS)


def profiles() -> xr.DataArray:
    shape = (TEXTS, TOKENS, 1, FEATURES)
    labels = np.repeat(["a", "b"], TEXTS // 2)
    stimuli = pd.DataFrame({"stimulus": [f"s{i:03d}" for i in range(TEXTS)], "condition": labels})
    return recording_array(
        np.random.default_rng(0).standard_normal(shape, dtype=np.float32),
        stimuli=stimuli,
        tokens={"valid": np.ones(shape[:2], dtype=bool)},
        layers=[0],
        site="resid_post",
        origin={},
    )


def own_feature_rsa() -> float:
    data = profiles()
    return best(
        lambda: ns.feature_rsa(data, "condition", window=f"first:{TOKENS}", n_permutations=PERMUTATIONS)
    )


def rsatoolbox_features(*, a_call_a_relabeling: bool) -> float:
    """An RDM a feature, compared with the model of each relabeling: all in one call, or a call each."""
    values, labels = profiles().values[:, :, 0], np.repeat([0, 1], TEXTS // 2)
    models = category_models(labels, 20 if a_call_a_relabeling else PERMUTATIONS)

    def features(n: int, calls: list[RDMs]) -> None:
        for feature in range(n):
            rdm = calc_rdm(Dataset(values[:, :, feature]), method="correlation")
            for its in calls:
                compare(rdm, its, method="corr")

    if not a_call_a_relabeling:
        return extrapolated(lambda n: features(n, [models]), 20, 100, FEATURES)
    rdms = best(lambda: features(50, []))
    few = best(lambda: features(50, [models[i] for i in range(20)]))
    return (rdms + (few - rdms) / 20 * PERMUTATIONS) / 50 * FEATURES


def own_category_rsa() -> float:
    data = responses(n_features=UNITS)
    return best(lambda: ns.category_rsa(data, "condition", n_permutations=PERMUTATIONS))


def rsatoolbox_category() -> float:
    values, labels = responses(n_features=UNITS).values[:, 0], np.repeat([0, 1], N // 2)
    models = category_models(labels, 100)

    def run(n: int) -> None:
        rdm = calc_rdm(Dataset(values), method="correlation")
        for i in range(n):
            compare(rdm, models[i], method="rho-a")

    return extrapolated(run, 20, 100, PERMUTATIONS)


def own_decode() -> float:
    data = responses(n_features=DECODED)
    return best(lambda: ns.decode(data, "condition", groups="stimulus", n_permutations=DECODING_PERMUTATIONS))


def sklearn_decode() -> float:
    """A ridge classifier in five folds, trained anew for each of 5 repeats and all permutations."""
    values, labels = responses(n_features=DECODED).values[:, 0], np.repeat([0, 1], N // 2)
    drawn = shuffled(labels, DECODING_PERMUTATIONS)

    def folds(its: np.ndarray) -> None:
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        for train, test in splitter.split(values, its, groups=np.arange(N)):
            decoder = make_pipeline(StandardScaler(), RidgeClassifier(class_weight="balanced"))
            decoder.fit(values[train], its[train]).decision_function(values[test])

    return extrapolated(lambda n: [folds(its) for its in drawn[:n]], 5, 15, DECODING_PERMUTATIONS + 5)


def own_selectivity() -> float:
    data = responses(codes=True)
    return best(
        lambda: ns.selectivity_index(data, "condition", index="maxshare", n_permutations=PERMUTATIONS)
    )


def pandas_selectivity() -> float:
    table = pd.DataFrame(responses(codes=True).values[:, 0])
    drawn = shuffled(np.repeat(["a", "b"], N // 2), 40)

    def run(n: int) -> None:
        for labels in drawn[:n]:
            means = table.groupby(labels).mean()
            means.max() / means.sum()

    return extrapolated(run, 10, 40, PERMUTATIONS)


def own_coactivation() -> float:
    data = responses(n_features=ACTIVE_FEATURES, codes=True)
    return best(lambda: ns.coactivation(data, layer=0, n=PAIRS))


def pandas_coactivation() -> float:
    """The coefficient of all pairs, and Fisher's test of the strongest only; ours tests all of them."""
    values = responses(n_features=ACTIVE_FEATURES, codes=True).values[:, 0]

    def run() -> None:
        active = pd.DataFrame(values > 0).astype(float)
        phi = np.triu(active.corr().values, 1)
        for place in np.argsort(-phi, axis=None)[:PAIRS]:
            pair = active[list(np.unravel_index(place, phi.shape))].values.T
            both, first, second = (pair[0] * pair[1]).sum(), pair[0].sum(), pair[1].sum()
            rest = N - first - second + both
            fisher_exact([[both, first - both], [second - both, rest]], alternative="greater")

    return best(run, repeats=1)


def contrast_row(name: str, test: str, n_a: int) -> Row:
    size = f"`contrast_map` max-T, {name}, {N} × {FEATURES:,}, {PERMUTATIONS} permutations"
    return Row(
        size, "`nilearn.permuted_ols`", partial(own_contrast, test, n_a), partial(nilearn_contrast, n_a)
    )


def feature_rsa_row(peer: str, *, a_call_a_relabeling: bool) -> Row:
    size = f"`feature_rsa`, {TEXTS} × {TOKENS} tokens × {FEATURES:,}, {PERMUTATIONS} permutations"
    loop = partial(rsatoolbox_features, a_call_a_relabeling=a_call_a_relabeling)
    return Row(size, f"loop over rsatoolbox RDMs, {peer}", own_feature_rsa, loop)


ROWS = {
    "contrast-pooled": contrast_row("pooled t", "pooled", 100),
    "contrast-rank": contrast_row("ranks", "rank", 100),
    "contrast-welch": contrast_row("Welch t, 100 + 100", "welch", 100),
    "contrast-welch-unequal": contrast_row("Welch t, 80 + 120", "welch", 80),
    "feature-rsa": feature_rsa_row("a call a relabeling", a_call_a_relabeling=True),
    "feature-rsa-one-call": feature_rsa_row("all relabelings in one call", a_call_a_relabeling=False),
    "category-rsa": Row(
        f"`category_rsa`, {N} stimuli × {UNITS} units, {PERMUTATIONS} permutations, with interval",
        "rsatoolbox RDM, `compare` once a relabeling",
        own_category_rsa,
        rsatoolbox_category,
    ),
    "decode": Row(
        f"`decode`, {N} × {DECODED:,}, 5 × 5 folds, {DECODING_PERMUTATIONS} permutations, with interval",
        "scikit-learn `RidgeClassifier` in 5 folds, fitted anew for each repeat and permutation",
        own_decode,
        sklearn_decode,
    ),
    "selectivity": Row(
        f"`selectivity_index` maxshare, {N} × {FEATURES:,}, {PERMUTATIONS} permutations",
        "pandas `groupby`, once a permutation, index only",
        own_selectivity,
        pandas_selectivity,
    ),
    "coactivation": Row(
        f"`coactivation`, all pairs of {ACTIVE_FEATURES:,} features, exact p of all",
        f"`DataFrame.corr`, then Fisher's test of the {PAIRS} strongest pairs",
        own_coactivation,
        pandas_coactivation,
    ),
}


def measured(row: str, side: str) -> dict[str, float]:
    """Seconds and peak memory in MiB of one side, in a process of its own."""
    command = [sys.executable, __file__, "--row", row, "--side", side]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def rounded(seconds: float) -> str:
    """Three digits, without exponents."""
    digits = float(f"{seconds:.3g}")
    return f"{digits:,.0f}" if digits >= 100 else f"{digits:g}"


def report(name: str) -> None:
    own, peer = measured(name, "own"), measured(name, "peer")
    print(
        f"| {ROWS[name].what} | {rounded(own['seconds'])} s, {own['peak']:,.0f} MiB | {ROWS[name].peer}: "
        f"{rounded(peer['seconds'])} s, {peer['peak']:,.0f} MiB | {peer['seconds'] / own['seconds']:.1f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", choices=ROWS, help="measure this row only")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--side", choices=("own", "peer"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.list:
        print("\n".join(ROWS))
    elif given.side:
        warnings.simplefilter("ignore")
        row = ROWS[given.row]
        seconds = row.own_seconds() if given.side == "own" else row.peer_seconds()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak": peak}))
    else:
        for name in [given.row] if given.row else ROWS:
            report(name)


if __name__ == "__main__":
    main()
