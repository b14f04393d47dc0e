"""Large lazy responses: read once a block, with the same result bit for bit however they are stored."""

import tracemalloc

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from threadpoolctl import threadpool_limits

from neurosae.analysis.averaging import average_units
from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.factors import factor_map
from neurosae.analysis.response_blocks import feature_blocks
from neurosae.analysis.two_part import two_part_map
from neurosae.errors import DesignError
from tests.responses import responses_of


def codes(n=40, n_layers=2, n_features=2500, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.gamma(1, size=(n, n_layers, n_features)) * (rng.random((n, n_layers, n_features)) < 0.5)
    data = responses_of(values.astype(np.float32), np.tile(["a", "b"], n // 2))
    return data.astype(np.float32).assign_attrs(data.attrs | {"basis": "toy"})


@pytest.mark.parametrize("width", [100, 1000, 1024, 4000])
@pytest.mark.parametrize("used", [np.arange(40), np.arange(1, 40, 3)])
def test_blocks_are_the_same_however_responses_are_stored(width, used):
    data = codes()
    blocks = list(feature_blocks(data.chunk({"feature": width, "layer": 1}), 1, used))
    assert [block.shape[1] for block in blocks] == [1024, 1024, 452]
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), data.values[used, 1])


def test_a_lazy_chunk_is_read_once():
    data, read = codes(), []

    def count(block, block_info=None):
        read.append(block_info[0]["chunk-location"])
        return block

    lazy = data.copy(data=da.from_array(data.values, chunks=(40, 1, 700)).map_blocks(count, dtype=np.float32))
    read.clear()
    list(feature_blocks(lazy, 0, np.arange(40)))
    assert sorted(read) == [(0, 0, k) for k in range(4)]


@pytest.mark.parametrize(
    "analysis",
    [
        lambda data: contrast_map(data, "a > b", correct="max_t", n_permutations=99),
        lambda data: contrast_map(data, "a > b", correct="step_down", test="welch", n_permutations=99),
        lambda data: factor_map(data, "condition", correct="max_t", n_permutations=99),
        lambda data: two_part_map(data, "a > b", correct="max_t", n_permutations=99),
    ],
    ids=["contrast", "step_down", "factor", "two_part"],
)
def test_kat_36_chunks_change_no_bit(analysis):
    data = codes()
    whole = analysis(data)
    for chunks in ({"feature": 1000, "layer": 1}, {"feature": 4000}, {"stimulus": 16, "feature": 700}):
        xr.testing.assert_identical(analysis(data.chunk(chunks)), whole)


def test_kat_36_the_number_of_threads_changes_no_p():
    data = codes()
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            found.append(contrast_map(data, "a > b", test="welch", correct="max_t", n_permutations=99))
    for name in ("p_unc", "p_adjusted"):
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_lazy_averages_stay_lazy_and_are_the_same():
    data = codes().assign_coords(item=("stimulus", np.repeat(np.arange(10).astype(str), 4)))
    lazy = average_units(data.chunk({"stimulus": 7, "feature": 1000, "layer": 1}))
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), average_units(data))


def test_memory_does_not_grow_with_the_features():
    def block(block_info=None):
        (_, _), (layer, _), (first, last) = block_info[None]["array-location"]
        return np.random.default_rng([layer, first]).random((40, 1, last - first), dtype=np.float32)

    def peak(n_chunks):
        lazy = da.map_blocks(block, chunks=((40,), (1,), (1024,) * n_chunks), dtype=np.float32)
        coords = {"stimulus": np.arange(40), "condition": ("stimulus", np.tile(["a", "b"], 20))}
        data = xr.DataArray(lazy, dims=("stimulus", "layer", "feature"), coords=coords)
        tracemalloc.start()
        result = contrast_map(data, "a > b", correct="max_t", n_permutations=99)
        used = tracemalloc.get_traced_memory()[1] - result.nbytes
        tracemalloc.stop()
        return used

    small, large = peak(4), peak(32)
    data_bytes = 40 * 28 * 1024 * 4
    assert large - small < 2 * data_bytes  # results and their copies, not the responses in double precision


@pytest.mark.parametrize("chunked", [False, True])
def test_stimuli_with_values_that_are_not_finite_are_named(chunked):
    data = codes()
    data.values[7, 1, 2400] = np.inf
    with pytest.raises(DesignError, match="'s007'"):
        contrast_map(data.chunk({"feature": 1000}) if chunked else data, "a > b")
