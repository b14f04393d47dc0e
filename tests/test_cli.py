"""The verbs: what they print, what they write, and how they refuse."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import neurosae as ns
from neurosae.cli.app import app
from tests.studies import PROTOCOL, write_study
from tests.test_record_codes import saved_dictionary


def neurosae(*arguments, cwd=None):
    """Run the command line as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from neurosae.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def verb(*arguments):
    """Run a verb in this process and give back what it printed."""
    result = CliRunner().invoke(app, ["-q", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    verb("record", write_study(folder), "-o", folder / "session")
    return folder / "session"


def files_under(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("little.toml", "word > string", "wrod > string"), ["no condition 'wrod'", "'word'"]),
        (("stimuli/words.tsv", "w1\t", "w0\t"), ["w0"]),
        (("stimuli/words.tsv", "The key is near the old house.", ""), ["text", "empty"]),
        (("stimuli/words.tsv", "The key", "The \0 key"), ["NUL"]),
        (("little.toml", "seed ", "sede "), ["sede", "'seed'"]),
        (("little.toml", "[[rsa]]", "[recording]\nlayers = [2, 7]\n\n[[rsa]]"), ["layers 0 to 3", "7"]),
        (("stimuli/words.tsv", "The key", "The " + "very " * 600 + "key"), ["512", "truncate"]),
        (("little.toml", '"toy"', '"smol/missing"'), ["smol/missing"]),
    ],
)
def test_bad_input_ends_with_one_sentence_and_exit_code_3(tmp_path, change, words):
    path = write_study(tmp_path)
    name, old, new = change
    file = tmp_path / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    before = files_under(tmp_path)
    done = neurosae("run", path, "-o", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("neurosae: ")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 3
    for word in words:
        assert word in done.stderr
    assert files_under(tmp_path) == before


def test_existing_folder_is_refused_without_overwrite(tmp_path, session):
    changed = write_study(tmp_path, PROTOCOL.replace("seed     = 0", "seed     = 1"))
    before = {path: path.read_bytes() for path in files_under(session)}
    done = neurosae("run", changed, "-o", session)
    assert done.returncode == 3
    assert "overwrite" in done.stderr
    assert {path: path.read_bytes() for path in files_under(session)} == before


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root may write everywhere; the check itself is tested in test_files"
)
def test_folder_without_write_permission_is_refused(tmp_path):
    path = write_study(tmp_path / "in")
    (tmp_path / "locked").mkdir(mode=0o500)
    done = neurosae("run", path, "-o", tmp_path / "locked/out")
    assert done.returncode == 3
    assert "locked" in done.stderr


def test_very_verbose_shows_where_an_error_came_from(tmp_path):
    done = neurosae("-vv", "run", tmp_path / "no.toml", "-o", tmp_path / "out")
    assert done.returncode == 3
    assert "Traceback" in done.stderr


def test_wrong_usage_ends_with_exit_code_2():
    assert neurosae("run").returncode == 2
    assert neurosae("rnu").returncode == 2


def test_every_verb_explains_itself():
    for name in (command.name or command.callback.__name__ for command in app.registered_commands):
        assert "Usage" in verb(name, "--help")


def test_verbs_go_from_session_to_lesion(session, tmp_path):
    cmap, roi = tmp_path / "map.nc", tmp_path / "roi.nc"
    verb("contrast", session, "word > string", "-o", cmap, "--permutations", 99)
    assert "features chosen: 5" in verb("localize", cmap, "--n", 5, "-o", roi)
    pairs = session.parent / "stimuli/pairs.tsv"
    printed = verb("lesion", session, roi, "--stimuli", pairs, "-o", tmp_path / "lesion.nc", "--controls", 5)
    assert "lesion log odds" in printed
    assert ns.load_netcdf(tmp_path / "lesion.nc").sizes["sham"] == 5
    doses = ["--dose", -1, "--dose", 0, "--dose", 1]
    out = tmp_path / "push.nc"
    verb(
        "stimulate",
        session,
        "word > string",
        "--stimuli",
        pairs,
        "--layer",
        2,
        *doses,
        "-o",
        out,
        "--controls",
        3,
    )
    assert sorted(ns.load_netcdf(out)["dose"].values.tolist()) == [-1, 0, 1]


def test_encode_then_analyses_read_the_codes_of_a_session(session, tmp_path):
    copy = tmp_path / "session"
    shutil.copytree(session, copy)
    folder = saved_dictionary(tmp_path / "both-signs")
    printed = verb("encode", copy, folder)
    assert "both-signs: " in printed
    assert "features a token, 0.00 of the variance unexplained" in printed
    codes = ("--dictionary", "both-signs")
    out = tmp_path / "map.nc"
    few = ("--permutations", 49)
    verb("contrast", copy, "word > string", *codes, "-o", out, "--correct", "step_down", *few)
    cmap = ns.load_netcdf(out)
    assert (cmap.attrs["correct"], cmap["effect"].shape) == ("step_down", (1, 64))
    for name in ("rsa", "select", "decode"):
        verb(name, copy, *codes, "-o", tmp_path / f"{name}.nc", *few)
        assert ns.load_netcdf(tmp_path / f"{name}.nc")["layer"].values.tolist() == [2]


def test_codes_that_are_not_there_are_refused_with_those_that_are(session, tmp_path):
    done = neurosae("rsa", session, "--dictionary", "missing", "-o", tmp_path / "rsa.nc")
    assert done.returncode == 3
    assert "The session holds codes in: no dictionary" in done.stderr


def test_analyses_print_a_summary_and_store_a_result(session, tmp_path):
    rsa = json.loads(verb("rsa", session, "-o", tmp_path / "rsa.nc", "--permutations", 99, "--json"))
    assert rsa["index"] == "CDI"
    assert rsa["n_units"] == 24
    verb("select", session, "-o", tmp_path / "select.nc", "--permutations", 49)
    verb("decode", session, "-o", tmp_path / "decode.nc", "--permutations", 19)
    assert {path.name for path in tmp_path.iterdir()} == {"rsa.nc", "select.nc", "decode.nc"}


def test_run_prints_headlines_and_where_the_report_is(tmp_path):
    path = write_study(tmp_path)
    printed = verb("run", path, "-o", tmp_path / "out", "--controls", 3, "--max-pairs", 6)
    assert "held-out response of the words ROI: Hedges g" in printed
    assert f"report: {tmp_path / 'out/report.html'}" in printed
    again = verb("report", tmp_path / "out", "--headlines")
    assert again == printed


def test_doctor_and_schema_are_machine_readable():
    assert "subject toy" in json.loads(verb("doctor", "--json"))
    assert "contrasts" in json.loads(verb("schema"))["properties"]


def test_shipped_protocols_validate_for_the_toy():
    for path in sorted(Path(__file__).parents[1].glob("protocols/*.toml")):
        if "layer = 14" not in path.read_text():
            assert "n_tokens" in verb("validate", path, "--subject", "toy")


def test_existing_results_and_wrong_kinds_are_refused_before_any_work(session, tmp_path):
    (tmp_path / "there.nc").write_text("mine")
    done = neurosae("contrast", session, "word > string", "-o", tmp_path / "there.nc")
    assert (done.returncode, (tmp_path / "there.nc").read_text()) == (3, "mine")
    assert "--overwrite" in done.stderr
    verb("rsa", session, "-o", tmp_path / "rsa.nc", "--permutations", 99)
    done = neurosae("localize", tmp_path / "rsa.nc", "-o", tmp_path / "roi.nc", "--n", 3)
    assert (done.returncode, "needs a contrast map" in done.stderr) == (3, True)
    done = neurosae("report", tmp_path, "--headlines")
    assert (done.returncode, "no study was finished there" in done.stderr) == (3, True)


def test_interrupted_run_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ns.report, "run_study", interrupt)
    result = CliRunner().invoke(app, ["run", str(write_study(tmp_path)), "-o", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "goes on where it stopped" in result.stderr
