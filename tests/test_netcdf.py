"""Results survive NetCDF unchanged, in files that other programs read."""

import dask.array as da
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosae.errors import CorruptFileError, DesignError, StorageError
from neurosae.recording.netcdf import load_netcdf, save_netcdf, to_table
from neurosae.recording.portable import check_portable
from neurosae.schema.recordings import recording_array
from neurosae.schema.units import with_seen

EMOJI = "naïve 👩‍👩‍👧 שלום e\u0301 \ufeff\u200b“q”"


def contrast():
    rng = np.random.default_rng(0)
    dims = ("layer", "feature")
    return with_seen(
        xr.Dataset(
            {
                "effect": (dims, rng.normal(size=(2, 40)), {"long_name": "effect", "units": "a.u."}),
                "p_unc": (
                    dims,
                    np.where(rng.random((2, 40)) < 0.1, np.nan, 0.5),
                    {"long_name": "p", "units": "1"},
                ),
                "n_active": (dims, rng.integers(0, 9, (2, 40)), {"long_name": "active", "units": "1"}),
                "valid": (dims, rng.random((2, 40)) < 0.5, {"long_name": "valid", "units": "1"}),
                "preferred": (dims, np.full((2, 40), "émotion"), {"long_name": "class", "units": "1"}),
                "n_units": ((), 12, {"long_name": "units", "units": "1"}),
            },
            coords={"layer": [6, 12], "feature": np.arange(40), "site": ((), "resid_post")},
            attrs={"contrast": "a > b", "seed": 0, "level": 0.95, "provenance": '{"steps": []}', "empty": ""},
        ),
        {"set/stimulus/b", "set/stimulus/a"},
    )


def texts():
    values = np.array([["", " a ", "\n\t"], [EMOJI, "x" * 100_000, "001"]])
    return xr.DataArray(values, dims=("stimulus", "token"), coords={"stimulus": ["s1", "NA"]}, name="text")


def nothing():
    no_text = np.array([], dtype=str)
    member = (("fold", "layer"), np.zeros((0, 0), dtype=bool))
    return xr.Dataset(
        {"member": member, "label": ("fold", no_text)},
        coords={"seen_unit": ("seen_unit", no_text), "layer": np.array([], dtype=np.int64)},
    )


def numbers():
    kinds = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", ">f8", "?")
    return xr.Dataset(
        {f"v_{kind.strip('>')}_{kind[0] == '>'}": ("x", np.array([0, 1, 1], dtype=kind)) for kind in kinds}
    )


def wide():
    data = xr.Dataset({"count": ("x", np.array([0, 2**53, -(2**40)]))}, attrs={"seed": 2**40, "nan": np.nan})
    return data.assign(one=xr.DataArray(2**33))


def recording(n=5, tokens=7, layers=3, features=4):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(n, tokens, layers, features)).astype(np.float32)
    valid = np.arange(tokens) < rng.integers(2, tokens, n)[:, None]
    values[~valid] = np.nan
    table = pd.DataFrame(
        {"stimulus": [f"s{i}" for i in range(n)], "text": [EMOJI] * n, "target_start": range(n)}
    )
    fields = {
        "valid": valid,
        "token_str": np.full(valid.shape, " Ġthe"),
        "surprisal": rng.random(valid.shape),
    }
    return recording_array(
        values,
        stimuli=table,
        tokens=fields,
        layers=[0, 5, 7],
        site="resid_post",
        origin={"subject": {"name": "toy"}},
    )


def unnamed():
    return xr.DataArray(np.float32(3.5))


def named_like_a_coordinate():
    return xr.DataArray([1.0, 2.0], dims="layer", coords={"layer": [1, 2]}, name="layer")


RESULTS = [contrast, texts, nothing, numbers, wide, recording, unnamed, named_like_a_coordinate]


@pytest.mark.parametrize("make", RESULTS)
def test_a_result_comes_back_identical(make, tmp_path):
    result = make()
    loaded = load_netcdf(save_netcdf(result, tmp_path / "r.nc"))
    xr.testing.assert_identical(loaded, result)
    pairs = [(result.coords[name], loaded.coords[name]) for name in result.coords]
    pairs += [(result[name], loaded[name]) for name in getattr(result, "data_vars", ())]
    assert {a.dtype.kind for a, _ in pairs} == {b.dtype.kind for _, b in pairs}
    assert all(a.dtype.kind == "U" or a.dtype.newbyteorder("=") == b.dtype for a, b in pairs)


@pytest.mark.parametrize("make", RESULTS)
def test_every_file_is_portable(make, tmp_path):
    assert check_portable(save_netcdf(make(), tmp_path / "r.nc")) == []


def test_attributes_keep_their_types(tmp_path):
    loaded = load_netcdf(save_netcdf(contrast().assign_attrs(big=2**40), tmp_path / "r.nc"))
    types = {name: type(value) for name, value in loaded.attrs.items()}
    assert types == {
        "contrast": str,
        "seed": int,
        "level": float,
        "provenance": str,
        "empty": str,
        "big": int,
    }


def test_a_lazy_recording_is_written_chunk_by_chunk(tmp_path):
    eager = recording()
    lazy = eager.copy(data=da.from_array(eager.values, chunks=(2, 7, 1, 4)))
    xr.testing.assert_identical(load_netcdf(save_netcdf(lazy, tmp_path / "r.nc")), eager)


def test_other_engines_read_the_same_values(tmp_path):
    result = contrast()
    path = save_netcdf(result, tmp_path / "r.nc")
    for engine in ("h5netcdf", "netcdf4"):
        with xr.open_dataset(path, engine=engine) as other:
            np.testing.assert_array_equal(other["effect"], result["effect"])
            np.testing.assert_array_equal(other["n_active"], result["n_active"])
            assert other["valid"].dtype == bool
            assert set(other["preferred"].values.ravel()) == {"émotion"}
            assert other["effect"].attrs["units"] == "a.u."
            assert "site" in other.coords


def test_text_reads_the_same_through_h5netcdf(tmp_path):
    path = save_netcdf(texts(), tmp_path / "r.nc")
    with xr.open_dataset(path, engine="h5netcdf") as other:
        assert other["text"].values.tolist() == texts().values.tolist()


@pytest.mark.parametrize("value", [None, True, np.True_, [1], {"a": 1}, np.arange(2), 1j])
def test_attributes_that_are_no_text_or_number_are_refused(value, tmp_path):
    for result in (contrast().assign_attrs(odd=value), contrast()["effect"].assign_attrs(odd=value)):
        with pytest.raises(StorageError, match=r"attribute 'odd' of .*Attributes are text or numbers"):
            save_netcdf(result, tmp_path / "r.nc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array(["a\0b", "c"]), "NUL character"),
        (np.array(["\ud800", "c"]), "no valid Unicode"),
        (np.array(["a", 1], dtype=object), "mixes text with int"),
        (np.array([2**60, 0]), "beyond 2\\*\\*53"),
        (np.array([1j, 0]), "complex128"),
        (np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[ns]"), "datetime64"),
    ],
)
def test_values_without_a_portable_form_are_refused(value, message, tmp_path):
    with pytest.raises(StorageError, match=message):
        save_netcdf(xr.Dataset({"odd": ("x", value)}), tmp_path / "r.nc")


@pytest.mark.parametrize("name", ["a/b", " a", "a\n", "e\u0301", 3])
def test_names_that_netcdf_would_change_are_refused(name, tmp_path):
    with pytest.raises(StorageError, match="the name"):
        save_netcdf(xr.Dataset({name: ("x", [1.0])}), tmp_path / "r.nc")


def test_a_nul_in_an_attribute_is_refused(tmp_path):
    with pytest.raises(StorageError, match="NUL"):
        save_netcdf(contrast().assign_attrs(odd="a\0b"), tmp_path / "r.nc")


def test_a_multi_index_is_refused(tmp_path):
    stacked = contrast()[["effect"]].stack(both=("layer", "feature"))
    with pytest.raises(StorageError, match=r"reset_index\('both'\)"):
        save_netcdf(stacked, tmp_path / "r.nc")


def test_a_reserved_attribute_is_refused(tmp_path):
    with pytest.raises(StorageError, match="'Conventions' of the result is one that neurosae writes"):
        save_netcdf(contrast().assign_attrs(Conventions="CF-1.8"), tmp_path / "r.nc")


def test_an_existing_file_is_replaced_only_on_request(tmp_path):
    path = save_netcdf(contrast(), tmp_path / "r.nc")
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"exists\. Write overwrite=True"):
        save_netcdf(texts(), path)
    assert path.read_bytes() == before
    save_netcdf(texts(), path, overwrite=True)
    xr.testing.assert_identical(load_netcdf(path), texts())


def test_saving_the_same_result_twice_gives_the_same_bytes(tmp_path):
    paths = [save_netcdf(contrast(), tmp_path / name) for name in ("a.nc", "b.nc")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_file_of_another_program_is_refused(tmp_path):
    with netCDF4.Dataset(tmp_path / "other.nc", "w") as file:
        file.title = "temperature"
    with pytest.raises(StorageError, match=r"other\.nc is a NetCDF file of another program"):
        load_netcdf(tmp_path / "other.nc")


def test_a_newer_format_is_refused(tmp_path):
    path = save_netcdf(contrast(), tmp_path / "r.nc")
    with netCDF4.Dataset(path, "a") as file:
        file.neurosae_schema = "neurosae-result/2"
    with pytest.raises(StorageError, match="has format neurosae-result/2"):
        load_netcdf(path)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_result_is_corrupt(kept, tmp_path):
    path = save_netcdf(contrast(), tmp_path / "r.nc")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CorruptFileError, match=r"r\.nc"):
        load_netcdf(path)


def test_a_flipped_byte_never_changes_a_value_unnoticed(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, 5000).astype(np.float32)
    path = save_netcdf(xr.DataArray(values, dims="x", name="v"), tmp_path / "r.nc")
    good, n_noticed = path.read_bytes(), 0
    for place in range(100, len(good), 401):
        path.write_bytes(good[:place] + bytes([255 - good[place]]) + good[place + 1 :])
        try:
            np.testing.assert_array_equal(load_netcdf(path).values, values)
        except StorageError:
            n_noticed += 1
    assert n_noticed > 5


def test_check_portable_names_each_problem(tmp_path):
    path = tmp_path / "odd.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createGroup("g")
        file.createDimension("x", None)
        file.createVariable("s", str, ("x",))
        file.createVariable("i", "i8", ("x",))
        file.createVariable("z", "f4", ("x",), compression="zstd")
        file.big = np.int64(3)
    problems = "; ".join(check_portable(path))
    for word in (
        "NETCDF4",
        "group 'g'",
        "'x' is unlimited",
        "'s' has type",
        "int64",
        "zstd",
        "'big' of the file",
    ):
        assert word in problems


def test_a_table_has_one_row_a_combination_of_labels():
    result = contrast()
    table = to_table(result)
    assert len(table) == 80
    assert list(table.columns[:3]) == ["layer", "feature", "site"]
    row = table[(table.layer == 12) & (table.feature == 7)].iloc[0]
    assert row.effect == result.effect.sel(layer=12, feature=7).item()
    assert row.n_units == 12
    assert table.attrs["left_out"] == ["seen_unit"]


def test_a_table_over_other_dims_holds_their_variables():
    result = contrast().assign(score=(("unit", "layer"), np.arange(6.0).reshape(3, 2)))
    table = to_table(result, dims=("unit", "layer"))
    assert table.score.tolist() == [0, 1, 2, 3, 4, 5]
    assert table.layer.tolist() == [6, 12] * 3
    assert "effect" in table.attrs["left_out"]


def test_a_table_of_scalars_has_one_row():
    assert to_table(xr.Dataset({"p": 0.5, "g": 1.5})).to_dict("records") == [{"p": 0.5, "g": 1.5}]


def test_a_table_over_unknown_dims_is_refused():
    with pytest.raises(DesignError, match="no dim 'token'; dims: layer, feature, seen_unit"):
        to_table(contrast(), dims=["token"])
