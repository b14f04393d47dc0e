"""The recipes in docs/formats.md give the same numbers in every program that is installed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import neurosae as ns
from neurosae.dictionary.toy import ToyDictionary
from neurosae.export.layer_files import RECIPES
from neurosae.protocol.models import Protocol
from neurosae.recording import plan
from neurosae.recording.encode_recording import encode
from neurosae.recording.runner import record
from neurosae.subject.toy import ToySubject

TEXTS = ["naïve 👩‍👩‍👧 שלום", "the key", "a dog sees the capital", "NA", "so"]
DOCS = Path(__file__).parents[1] / "docs" / "formats.md"
PROGRAMS = {
    "R": ["Rscript", "--vanilla"],
    "m": ["octave-cli", "--norc", "--quiet"],
    "py": [sys.executable],
}


def recipe(name):
    found = re.findall(
        rf"```\w+\n([#%] recipe: {re.escape(name)}\n.*?)```", DOCS.read_text("utf-8"), re.DOTALL
    )
    assert len(found) == 1, name
    return found[0]


def has(ending):
    """Whether the program of a recipe is here with its package for NetCDF."""
    checks = {
        "R": ["Rscript", "-e", "library(ncdf4)"],
        "m": ["octave-cli", "--norc", "--quiet", "--eval", "pkg load netcdf"],
    }
    command = checks.get(ending)
    if command is None:
        return True
    return bool(shutil.which(command[0])) and not subprocess.run(command, capture_output=True).returncode


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    labels = [f"s{i}" for i in range(len(TEXTS))]
    stimuli = pd.DataFrame({"stimulus": labels, "text": TEXTS, "condition": list("ababa")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SHARD_STIMULI", 2)
        protocol = Protocol(name="demo", stimuli="x", subject="toy", recording={"sites": ["resid_post"]})
        record(ToySubject(), protocol, folder / "session", stimuli=stimuli)
    width = ns.open_session(folder / "session")["resid_post"].sizes["feature"]
    encode(ns.open_session(folder / "session"), ToyDictionary(12, width, threshold=0.5))
    responses = pooled(folder)
    responses[3, 2, 5] = float("nan")
    ns.export.to_r(responses, folder / "responses.nc")
    return folder


def pooled(folder, kind="session"):
    key = ("resid_post", "toy-resid_post-l0") if kind == "codes" else "resid_post"
    return ns.pool_tokens(ns.open_session(folder / "session")[key])


def expected(folder, kind):
    responses = pooled(folder, kind)
    first = responses.sel(layer=0).isel(feature=0).groupby("condition").mean()
    means = [f"{c} {float(v):.6f}" for c, v in zip(first["condition"].values, first.values, strict=True)]
    return means if kind != "result" else [*means, TEXTS[0], "1"]


@pytest.mark.parametrize("ending", PROGRAMS)
@pytest.mark.parametrize("kind", ["result", "session", "codes"])
def test_a_recipe_prints_the_numbers_of_neurosae(folder, kind, ending):
    if not has(ending):
        pytest.skip(f"no program for {kind}.{ending}")
    script = folder / f"{kind}.{ending}"
    first_line = "pkg load netcdf\n" if ending == "m" else ""
    script.write_text(first_line + recipe(script.name), encoding="utf-8")
    done = subprocess.run(
        [*PROGRAMS[ending], str(script)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == expected(folder, kind), done.stderr


@pytest.mark.parametrize("name", RECIPES)
def test_the_readers_of_an_export_are_those_in_the_text(name):
    assert RECIPES[name] in DOCS.read_text("utf-8")
