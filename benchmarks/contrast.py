"""How much faster contrast_map's max-T is than nilearn's permuted_ols: 200 units x 16,384 features.

Run by hand, on a quiet machine: python benchmarks/contrast.py. Both use one process and the threads that
OMP_NUM_THREADS allows. nilearn's time for 1000 permutations is extrapolated from 100 and 300.
"""

import time
import warnings

import numpy as np
import xarray as xr
from nilearn.mass_univariate import permuted_ols

from neurosae.analysis.contrast import contrast_map

N, FEATURES, PERMUTATIONS = 200, 16_384, 1000
REPEATS = 5


def responses(n_a: int) -> xr.DataArray:
    values = np.random.default_rng(0).standard_normal((N, 1, FEATURES)).astype(np.float32)
    condition = np.repeat(["a", "b"], [n_a, N - n_a])
    coords = {"stimulus": [f"s{i}" for i in range(N)], "condition": ("stimulus", condition)}
    return xr.DataArray(values, dims=("stimulus", "layer", "feature"), coords=coords)


def best_time(function) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def nilearn_time(data: xr.DataArray) -> float:
    tested = (data["condition"].values == "a").astype(float)
    target = data.values[:, 0]

    def seconds(n_permutations: int) -> float:
        return best_time(
            lambda: permuted_ols(tested, target, n_perm=n_permutations, n_jobs=1, random_state=0, verbose=0)
        )

    few, more = seconds(100), seconds(300)
    return few + (more - few) / 200 * (PERMUTATIONS - 100)


def main() -> None:
    warnings.simplefilter("ignore")
    balanced, unequal = responses(100), responses(80)
    peer = nilearn_time(balanced)
    print(f"nilearn permuted_ols, extrapolated to {PERMUTATIONS} permutations: {peer:.2f} s")
    cases = [("pooled", balanced), ("rank", balanced), ("welch", balanced), ("welch, 80 and 120", unequal)]
    for name, data in cases:
        test = name.split(",")[0]
        own = best_time(
            lambda data=data, test=test: contrast_map(
                data, "a > b", test=test, correct="max_t", n_permutations=PERMUTATIONS
            )
        )
        print(f"contrast_map {name}: {own:.3f} s, {peer / own:.1f} times faster")


if __name__ == "__main__":
    main()
