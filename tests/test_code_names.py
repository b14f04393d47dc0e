"""Names of dictionaries and sessions without activations: every refusal before anything is written."""

import shutil

import pytest
from typer.testing import CliRunner

from neurosae.cli.app import app
from neurosae.dictionary.toy import ToyDictionary
from neurosae.errors import CorruptFileError, DesignError, DictionaryError, StorageError
from neurosae.recording import plan
from neurosae.recording.encode_recording import encode
from neurosae.recording.session import open_session
from neurosae.recording.upkeep import consolidate, damaged
from neurosae.report.validation import validate
from neurosae.subject.toy import ToySubject
from tests.faults.recordings import flip, make, protocol, stimuli


class Stopped(ToySubject):
    """Is interrupted at its fourth batch."""

    n_runs = 0

    def run(self, tokens, **kwargs):
        self.n_runs += 1
        if self.n_runs > 3:
            raise KeyboardInterrupt
        return super().run(tokens, **kwargs)


def named(name, layer=1, **kwargs):
    dictionary = ToyDictionary(32, 32, layer=layer, shift=2.0, **kwargs)
    dictionary.name = name
    return dictionary


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names") / "session"
    make(folder, study=protocol(sites=["resid_post"]))
    encode(open_session(folder), named("team/one"))
    return folder


@pytest.mark.parametrize("name", ["team.one", "TEAM/One"])
def test_a_name_whose_folder_another_dictionary_has_is_refused_with_both(session, name):
    before = sorted(path.name for path in session.iterdir())
    with pytest.raises(DictionaryError, match=rf"{name}.*would lie in the folder of 'team/one'"):
        encode(open_session(session), named(name, seed=1))
    assert sorted(path.name for path in session.iterdir()) == before


@pytest.mark.parametrize("name", ["", "x" * 300, "a\0b", "a\nb"])
def test_a_name_that_no_folder_can_have_is_refused(session, name):
    with pytest.raises(DictionaryError, match="no folder can be called after"):
        encode(open_session(session), named(name))


def test_two_names_of_one_folder_are_refused_before_the_first_is_written(session):
    with pytest.raises(DictionaryError, match="nearly its name"):
        encode(open_session(session), [named("pair/x", 1), named("pair.x", 2)])
    assert list(open_session(session).dictionaries) == ["team/one"]


def test_a_dictionary_whose_codes_are_there_may_be_given_again(session):
    assert encode(open_session(session), named("team/one")).attrs["basis"] == "team/one"


def test_a_dictionary_of_a_site_that_was_not_recorded_is_refused_with_both_sites(tmp_path):
    other = make(tmp_path / "mlp", study=protocol(sites=["mlp_out"]))
    assert other["mlp_out"].sizes["feature"] == 32  # so that the width gives nothing away
    with pytest.raises(DictionaryError, match=r"of site 'resid_post'; the recording holds \['mlp_out'\]"):
        encode(other, named("x"))


def test_what_is_no_source_and_no_dictionary_is_refused(session):
    with pytest.raises(DesignError, match="got str"):
        encode(str(session), named("x"))
    with pytest.raises(DesignError, match="no dictionary is given"):
        encode(open_session(session), [])


def test_a_session_of_codes_alone_says_that_it_holds_no_activations(tmp_path):
    alone = make(
        tmp_path / "codes", study=protocol(sites=[], dictionaries=["only"]), dictionaries=[named("only")]
    )
    with pytest.raises(StorageError, match=r"holds codes alone, in: only \(resid_post\)"):
        alone.recording()
    with pytest.raises(StorageError, match=r"site 'mlp_out' was not recorded; it holds codes alone"):
        alone["mlp_out"]
    with pytest.raises(DictionaryError, match="the recording holds 'no activations, only codes'"):
        encode(alone, named("second"))


def test_without_a_site_the_first_is_taken(session):
    opened = open_session(session)
    assert opened.recording().attrs["site"] == "resid_post"


def lost(folder, tmp_path, store):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / store)
    return copy


def test_a_lost_store_of_codes_is_named_and_encode_makes_it_again(session, tmp_path):
    folder = lost(session, tmp_path, "resid_post+team.one")
    before = open_session(session).codes("resid_post", "team/one").csr(1)
    with pytest.raises(StorageError, match=r"resid_post\+team.one/stimuli.nc is missing. Make the codes"):
        open_session(folder).codes("resid_post", "team/one")
    assert damaged(folder) == ["resid_post+team.one/stimuli.nc"]
    with pytest.raises(StorageError, match="is missing"):  # it is not said to be done
        make(folder, study=protocol(sites=["resid_post"]))
    again = encode(open_session(folder), named("team/one")).csr(1)
    assert (again != before).nnz == 0
    assert damaged(folder) == []


def test_a_lost_store_of_activations_is_no_recording_to_go_on_with(session, tmp_path):
    folder = lost(session, tmp_path, "resid_post")
    with pytest.raises(CorruptFileError, match=r"resid_post/stimuli\.nc is missing\. Restore"):
        open_session(folder)
    assert damaged(folder) == ["resid_post/stimuli.nc"]


def test_altered_tables_of_a_session_of_codes_alone_are_seen_on_opening(tmp_path):
    study = protocol(sites=[], dictionaries=["only"])
    make(tmp_path / "codes", study=study, dictionaries=[named("only")])
    flip(tmp_path / "codes" / "resid_post+only" / "stimuli.nc", 3000)
    with pytest.raises(CorruptFileError, match=r"stimuli\.nc is not what was written"):
        open_session(tmp_path / "codes")


def test_slices_of_labels_take_both_ends(session):
    codes = open_session(session).codes("resid_post", "team/one")
    assert codes.sel(stimulus=slice("s1", "s3"))["stimulus"].values.tolist() == ["s1", "s2", "s3"]
    assert codes.sel(feature=slice(3, 5))["feature"].values.tolist() == [3, 4, 5]
    with pytest.raises(DesignError, match="along stimulus from 's1' to 'zz'"):
        codes.sel(stimulus=["s3", "s1", "s2"]).sel(stimulus=slice("s1", "zz"))


def test_an_unfinished_session_is_told_to_go_on_and_not_to_be_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 2)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "half", Stopped())
    with pytest.raises(StorageError, match="not finished; every shard that it has is what was written"):
        validate(tmp_path / "half")
    shard = next((tmp_path / "half").rglob("shard-000000.nc"))
    flip(shard, 3000)
    with pytest.raises(CorruptFileError, match=r"shard-000000\.nc\. Record makes them anew"):
        validate(tmp_path / "half")


@pytest.mark.parametrize("verb", ["report", "run", "export", "contrast"])
def test_verbs_know_sessions_of_codes_alone(tmp_path, verb):
    study = tmp_path / "study.toml"
    stimuli().assign(item=list("1234567")).to_csv(tmp_path / "set.tsv", sep="\t", index=False)
    study.write_text(
        'name = "codes"\nstimuli = "set.tsv"\nsubject = "toy"\n'
        '[recording]\nsites = []\nlayers = [2]\ndictionaries = ["toy"]\n'
    )
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["run", str(study), "-o", str(out)])
    assert (done.exit_code, (out / "report.html").is_file()) == (0, True), done.output
    arguments = {
        "report": [str(out)],
        "run": [str(study), "-o", str(out)],
        "export": [str(out), "--for", "numpy", "-o", str(tmp_path / "x")],
        "contrast": [str(out), "a > b", "-o", str(tmp_path / "x.nc")],
    }
    again = CliRunner().invoke(app, [verb, *arguments[verb]])
    if verb in ("report", "run"):
        assert again.exit_code == 0, again.output
    else:
        assert again.exit_code == 3
        assert "holds codes alone" in again.stderr


def test_an_encoding_killed_before_a_consolidation_is_done_anew_after_it(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 2)
    make(tmp_path / "session", study=protocol(sites=["resid_post"]))
    whole = encode(open_session(tmp_path / "session")["resid_post"], named("one")).csr(1)

    def stop(done, _total):
        if done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(open_session(tmp_path / "session"), named("one"), progress=stop)
    consolidate(tmp_path / "session")
    codes = encode(open_session(tmp_path / "session"), named("one")).csr(1)
    assert (codes != whole).nnz == 0
    assert damaged(tmp_path / "session") == []
