"""The verbs record and merge: codes, shares, a cluster, and what could not be run."""

import json

import pytest
from typer.testing import CliRunner

import neurosae as ns
from neurosae.cli.app import app
from neurosae.recording import plan
from neurosae.subject.toy import ToySubject
from tests.recorded import same, stimuli

PROTOCOL = """
name     = "codes"
stimuli  = "words.tsv"
subject  = "toy"

[recording]
layers       = [1, 2]
dictionaries = ["toy"]
"""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 3)


@pytest.fixture
def study(tmp_path):
    stimuli().to_csv(tmp_path / "words.tsv", sep="\t", index=False)
    (tmp_path / "codes.toml").write_text(PROTOCOL)
    return tmp_path / "codes.toml"


def verb(*arguments, exit_code=0):
    result = CliRunner().invoke(app, ["-q", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


def test_record_stores_activations_and_codes(study, tmp_path):
    said = json.loads(verb("record", study, "-o", tmp_path / "out", "--json"))
    assert said["stimuli"] == 11
    assert said["sites"] == "resid_post"
    assert said["dictionaries"] == "toy-resid_post-l2"
    opened = ns.open_session(tmp_path / "out")
    assert opened["resid_post", "toy-resid_post-l2"].sizes["layer"] == 1


def test_shares_are_recorded_and_merged_from_the_command_line(study, tmp_path):
    verb("record", study, "-o", tmp_path / "whole")
    out = tmp_path / "out"
    assert f"next: neurosae merge {out}" in verb("record", study, "-o", out, "--shard", "1/2")
    assert "4 of 4" not in verb("merge", out, exit_code=3)
    assert "--shard 2/2" in verb("merge", out, exit_code=3)
    verb("record", study, "-o", out, "--shard", "2/2")
    assert "stimuli: 11" in verb("merge", out)
    same(ns.open_session(tmp_path / "whole"), ns.open_session(out))


@pytest.mark.filterwarnings("ignore:1 stimuli did not fit")
def test_stimuli_that_could_not_be_run_end_with_exit_code_4(study, tmp_path, monkeypatch):
    run = ToySubject.run

    def cramped(self, tokens, **kwargs):
        if max(map(len, tokens)) > 10:
            raise MemoryError
        return run(self, tokens, **kwargs)

    monkeypatch.setattr(ToySubject, "run", cramped)
    assert "not run: s2" in verb("record", study, "-o", tmp_path / "out", exit_code=4)
    assert "not run: s2" in verb("record", study, "-o", tmp_path / "out", exit_code=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shard", "4/3"), "share 4 of 3"),
        (("--shard", "1/2", "--overwrite"), "cannot overwrite"),
        (("--shard", "1/2", "--cluster", "local:1"), "a share and a client"),
        (("--cluster", "here"), "it must be local:N"),
    ],
)
def test_what_does_not_go_together_is_refused(study, tmp_path, options, message):
    assert message in verb("record", study, "-o", tmp_path / "out", *options, exit_code=3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('["toy"]', '["tyo"]'), "no dictionary 'tyo'; did you mean 'toy'?"),
        (("layers ", "sites = []\nlayers "), ""),
    ],
)
def test_dictionaries_are_checked_before_a_model_is_loaded(study, tmp_path, monkeypatch, change, message):
    study.write_text(PROTOCOL.replace(*change))
    if message:
        monkeypatch.setattr(ToySubject, "run", None)
        assert message in verb("record", study, "-o", tmp_path / "out", exit_code=3)
    else:
        assert "dictionaries: toy-resid_post-l2" in verb("record", study, "-o", tmp_path / "out")


def test_analyses_without_a_site_are_refused(study, tmp_path):
    analysis = '[[rsa]]\nname = "x"\n'
    study.write_text(PROTOCOL.replace("layers ", "sites = []\nlayers ") + analysis)
    assert "rsa need a site" in verb("record", study, "-o", tmp_path / "out", exit_code=3)
