"""Fault 14: what a session holds is read alike by every program: values, NaN, text beyond ASCII."""

import codecs
import re
import shutil
import subprocess

import h5netcdf
import h5py
import netCDF4
import numpy as np
import pytest

from neurosae.recording.files import reading_netcdf
from neurosae.recording.portable import get_variable
from tests.code_sessions import TEXTS, write_codes
from tests.test_formats import has

CODES = "resid_post+toy-resid_post-l0"
FILES = {
    "resid_post/stimuli.nc": (["length", "surprisal", "norm", "is_special"], ["text", "token"]),
    "resid_post/shards/shard-000000.nc": (["activation", "norm", "stimulus_index"], ["text", "token"]),
    f"{CODES}/shards/shard-000000.nc": (
        ["active_count", "feature_index", "activation", "norm", "length"],
        ["stimulus_id", "text", "token"],
    ),
    f"{CODES}/layers/layer-00.nc": (["row_count", "row_index", "activation", "activation_sum"], []),
}


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers") / "session"
    with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="NaN or infinite"):
        write_codes(folder, patch)
    return folder


@pytest.fixture(params=FILES)
def file(request, session):
    return request.param, session / request.param


def expected(path, names):
    """Values in the order of the file, as neurosae reads them."""
    with reading_netcdf(path) as file:
        return {name: np.asarray(get_variable(file, name)[1]).ravel() for name in names}


def joined(characters):
    """Texts of an array of UTF-8 characters, padded with NUL."""
    rows = np.ascontiguousarray(characters).astype("S1").reshape(-1, characters.shape[-1])
    return [b"".join(row).rstrip(b"\0").decode("utf-8") for row in rows]


def h5py_values(path, name):
    with h5py.File(path) as file:
        return file[name][()]


def h5netcdf_values(path, name):
    with h5netcdf.File(path) as file:
        return file.variables[name][...]


def netcdf4_values(path, name):
    with netCDF4.Dataset(path) as file:
        file.set_auto_chartostring(False)
        return np.ma.getdata(file[name][...])


@pytest.mark.parametrize("read", [h5py_values, h5netcdf_values, netcdf4_values])
def test_python_reads_the_same_without_neurosae(file, read):
    numbers, texts = FILES[file[0]]
    for name, values in expected(file[1], numbers).items():
        found = np.asarray(read(file[1], name)).ravel()
        assert found.dtype == values.dtype or values.dtype == bool or found.dtype == np.int32
        np.testing.assert_array_equal(found, values, err_msg=name)
    for name, values in expected(file[1], texts).items():
        assert joined(read(file[1], name)) == values.tolist()


def test_the_files_hold_what_is_hard_to_read(session):
    shard = expected(session / "resid_post/shards/shard-000000.nc", ["activation", "text"])
    codes = expected(session / CODES / "shards/shard-000000.nc", ["norm", "activation"])
    assert shard["text"].tolist() == TEXTS[:2]
    assert np.isnan(shard["activation"]).sum() == np.isnan(codes["norm"]).sum() == 2
    assert len(codes["activation"]) > 10


def numbers_of(words):
    return np.array([np.nan if word in ("NaN", "NA", "NaNf") else float(word) for word in words])


def compare(path, numbers, texts, found):
    for name, values in expected(path, numbers).items():
        np.testing.assert_allclose(numbers_of(found[name]), values.astype(float), rtol=1e-8, err_msg=name)
    for name, values in expected(path, texts).items():
        assert found[name] == values.tolist(), name


def sections(output):
    """Lines of a program's output by the name that stands before them."""
    parts = re.split(r"^# (\w+)\n", output, flags=re.MULTILINE)[1:]
    return {name: text.splitlines() for name, text in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.skipif(not has("R"), reason="R or ncdf4 is not installed")
def test_r_reads_the_same(session, tmp_path):
    script = [
        "library(ncdf4)",
        "show <- function(f, n, s) cat(paste0('# ', n), sprintf(s, as.vector(ncvar_get(f, n))), sep = '\\n')",
    ]
    for path, (numbers, texts) in FILES.items():
        script += [f"cat('@ {path}\\n'); f <- nc_open('{session / path}')"]
        script += [f"show(f, '{name}', '%.9g')" for name in numbers] + [
            f"show(f, '{name}', '%s')" for name in texts
        ]
    (tmp_path / "read.R").write_text("\n".join(script))
    check_program(session, ["Rscript", "--vanilla", str(tmp_path / "read.R")])


@pytest.mark.skipif(not has("m"), reason="Octave or its netcdf package is not installed")
def test_octave_reads_the_same(session, tmp_path):
    script = ["pkg load netcdf"]
    for path, (numbers, texts) in FILES.items():
        script += [f"p = '{session / path}'; printf('@ {path}\\n');"]
        script += [
            f"printf('# {name}\\n'); x = ncread(p, '{name}'); printf('%.9g\\n', x(:));" for name in numbers
        ]
        script += [
            f"printf('# {name}\\n'); x = cellstr(ncread(p, '{name}')');"
            "printf('%s\\n', regexprep(x, '\\0+$', ''){:});"
            for name in texts
        ]
    (tmp_path / "read.m").write_text("\n".join(script))
    check_program(session, ["octave-cli", "--norc", "--quiet", str(tmp_path / "read.m")])


def check_program(session, command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    parts = re.split(r"^@ (.+)\n", done.stdout, flags=re.MULTILINE)[1:]
    assert parts[::2] == list(FILES), done.stderr
    for path, output in zip(parts[::2], parts[1::2], strict=True):
        compare(session / path, *FILES[path], sections(output))


def unescaped(text):
    """A string of ncdump, which writes what is beyond ASCII as octal bytes."""
    return codecs.escape_decode(text.encode("utf-8"))[0].decode("utf-8")


@pytest.mark.skipif(not shutil.which("ncdump"), reason="ncdump is not installed")
def test_ncdump_reads_the_same(file):
    numbers, texts = FILES[file[0]]
    command = ["ncdump", "-p", "9,17", "-v", ",".join(numbers + texts), str(file[1])]
    data = (
        subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8").split("\ndata:\n")[1]
    )
    found = {}
    for name in numbers:
        values = re.search(rf"^ {name} =(.*?);", data, re.DOTALL | re.MULTILINE)[1]
        found[name] = [word.strip() for word in values.split(",")]
    for name in texts:
        values = re.search(rf"^ {name} =(.*?) ;\n", data, re.DOTALL | re.MULTILINE)[1]
        found[name] = [unescaped(text) for text in re.findall(r'"((?:[^"\\]|\\.)*)"', values)]
    compare(file[1], numbers, texts, found)
