"""One file is one study: run, resumed, reported; the report holds everything and loads nothing."""

import json
import re
from html.parser import HTMLParser

import pytest

import neurosae as ns
from neurosae.errors import DesignError, ProtocolError, StimulusError, StorageError, SubjectError
from neurosae.report.findings import Finding
from neurosae.report.prose import say
from tests.studies import PROTOCOL, write_study


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    plan = ns.report.check_study(write_study(folder))
    steps = []

    def progress(step):
        steps.append(step)
        return lambda done, total: None

    return plan, ns.report.run_study(plan, folder / "out", progress=progress), steps


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.scripts, self.images, self.words = [], 0, 0, []

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.images += tag == "img"
        self.links += [value for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


def page_of(study):
    page = Page()
    page.feed((study.session.path / "report.html").read_text(encoding="utf-8"))
    return page


def test_report_is_one_file_that_loads_nothing(done):
    page = page_of(done[1])
    assert page.scripts == 0
    assert page.images >= 12
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)


def test_report_escapes_text_of_the_protocol(done):
    text = (done[1].session.path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;words&lt;/b&gt; &amp; does" in text


def test_report_states_methods_exclusions_and_all_numbers(done):
    text = " ".join(" ".join(page_of(done[1]).words).split())
    for part in (
        "No stimulus was excluded",
        "Inference.",
        "never tokens",
        "permutations",
        "Manipulation check",
        "Record. Weights SHA-256",
        "Analysed with neurosae",
        "The surface of the texts alone",
    ):
        assert part in text
    for finding in ns.report.load_findings(done[1].session.path):
        assert finding.label in text
    assert "nan" not in text.lower().split()


def test_findings_have_n_effect_interval_and_p(done):
    findings = {finding.label: finding for finding in ns.report.load_findings(done[1].session.path)}
    held_out = findings["held-out response of the words ROI"]
    assert held_out.n == 24
    assert held_out.lo < held_out.effect < held_out.hi
    assert 0 < held_out.p < 0.05
    lesion = findings["lesion, grammar: change of log odds"]
    assert lesion.lo <= lesion.effect <= lesion.hi
    assert sum(finding.headline for finding in findings.values()) == 4


def test_hash_of_the_protocol_is_stored_with_the_session(done):
    plan, study, _ = done
    header = json.loads((study.session.path / "session.json").read_text())
    assert header["registered"]["protocol_sha256"] == plan.protocol.sha256


def test_finished_study_is_not_repeated(done):
    plan, study, _ = done
    before = {path: path.stat().st_mtime_ns for path in (study.session.path / "derived").iterdir()}
    again = ns.report.run_study(plan, study.session.path)
    assert {path: path.stat().st_mtime_ns for path in (again.session.path / "derived").iterdir()} == before


def test_interrupted_study_goes_on_and_gives_the_same_numbers(done, tmp_path):
    plan, study, _ = done

    def interrupt(step):
        if step.startswith("decoding"):
            raise KeyboardInterrupt
        return lambda done, total: None

    with pytest.raises(KeyboardInterrupt):
        ns.report.run_study(plan, tmp_path / "out", progress=interrupt)
    kept = (tmp_path / "out/derived/contrast_map-words.nc").stat().st_mtime_ns
    ns.report.run_study(plan, tmp_path / "out")
    assert (tmp_path / "out/derived/contrast_map-words.nc").stat().st_mtime_ns == kept
    assert ns.report.load_findings(tmp_path / "out") == ns.report.load_findings(study.session.path)


def test_opened_study_writes_the_same_report(done):
    study = done[1]
    before = (study.session.path / "report.html").read_text(encoding="utf-8")
    ns.report.write_report(ns.report.open_study(study.session.path))
    assert (study.session.path / "report.html").read_text(encoding="utf-8") == before


def test_other_numbers_of_shams_and_pairs_are_used_and_recorded(tmp_path):
    plan = ns.report.check_study(write_study(tmp_path), controls=3, max_pairs=6)
    assert {(table.controls, table.max_pairs) for table in plan.protocol.causal} == {(3, 6)}
    study = ns.report.run_study(plan, tmp_path / "out")
    causal = study.shelf.dataset("causal-grammar")
    assert causal.sizes["sham"] == 3
    assert causal.sizes["unit"] == 6
    assert "max_pairs = 6" in (tmp_path / "out/protocol.toml").read_text()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (("word > string", "wrod > string"), ProtocolError, "no condition 'wrod'; did you mean 'word'"),
        (('name      = "kind"', 'nmae      = "kind"'), ProtocolError, "unknown key .*nmae.*'name'"),
        (("layer = 2", "layer = 9"), SubjectError, r"toy has layers 0 to 3; the protocol names \[9\]"),
        (('subject  = "toy"', 'subject  = "nowhere/model"'), SubjectError, "huggingface|hf download"),
        (("[[rsa]]", '[responses]\nwindow = "relative:5"\n\n[[rsa]]'), ProtocolError, "relative"),
    ],
)
def test_protocol_is_refused_before_anything_is_written(tmp_path, change, error, text):
    path = write_study(tmp_path, PROTOCOL.replace(*change, 1))
    with pytest.raises(error, match=text):
        ns.report.check_study(path)


def test_text_longer_than_the_context_is_refused_unless_truncated(tmp_path):
    path = write_study(tmp_path)
    table = tmp_path / "stimuli/words.tsv"
    table.write_text(table.read_text() + f"long\t{'word ' * 600}.\tword\tlong\n")
    with pytest.raises(StimulusError, match="512"):
        ns.report.check_study(path)
    path.write_text(PROTOCOL.replace("[[contrasts]]", '[recording]\ntruncate = "right"\n\n[[contrasts]]', 1))
    assert len(ns.report.check_study(path).stimuli[ns.load_protocol(path).stimuli]) == 25


def test_folder_of_something_else_is_left_alone(tmp_path):
    plan = ns.report.check_study(write_study(tmp_path / "in"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(StorageError, match="holds no session"):
            ns.report.run_study(plan, tmp_path / "out", overwrite=overwrite)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_validation_prints_design_balance_and_plan(tmp_path):
    path = write_study(tmp_path)
    checked = ns.report.validate(path)
    assert re.search(r"word +12 .*12", checked.text)
    assert "n_tokens" in checked.text
    assert checked.summary["causal"] == "grammar, facts, push"
    assert (
        "surprisal" in ns.report.validate(tmp_path / "stimuli/words.tsv", subject="toy", surprisal=True).text
    )


def test_validation_of_a_session_names_the_damaged_file(done, tmp_path):
    plan = done[0]
    study = ns.report.run_study(plan, tmp_path / "out")
    assert "every file is what was written" in ns.report.validate(study.session.path).text
    victim = max((study.session.path / "resid_post").rglob("*.nc"), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.raises(StorageError, match=victim.name):
        ns.report.validate(study.session.path)


def test_changed_pairs_do_not_pass_for_the_old_result(done, tmp_path):
    path = write_study(tmp_path)
    ns.report.run_study(ns.report.check_study(path), tmp_path / "out")
    pairs = tmp_path / "stimuli/pairs.tsv"
    pairs.write_text(pairs.read_text().replace("here", "there"))
    with pytest.raises(StorageError, match=r"grammar: pairs\.tsv has changed"):
        ns.report.run_study(ns.report.check_study(path), tmp_path / "out")


def test_roi_without_folds_is_reported(tmp_path):
    text = PROTOCOL.split("[[rsa]]")[0].replace("fraction = 0.05, folds = 2", "n = 4")
    study = ns.report.run_study(ns.report.check_study(write_study(tmp_path, text)), tmp_path / "out")
    words = " ".join(" ".join(page_of(study).words).split())
    assert "The ROI holds 4 features" in words
    assert "folds" not in words


@pytest.mark.parametrize(
    ("n_sham", "verdict"), [(9, "too few shams"), (99, "stronger than that of its shams")]
)
def test_verdict_depends_on_what_the_shams_can_tell(n_sham, verdict):
    floor = 1 / (n_sham + 1)
    finding = Finding("lesion", "bits", -4.0, p=floor, p_floor=floor)
    assert verdict in say("verdict", finding=finding, sham_mean=-1.0)


@pytest.mark.parametrize("kept", [4, 12])
def test_too_few_groups_for_the_folds_are_refused_before_a_model_is_loaded(tmp_path, kept):
    path = write_study(tmp_path)
    table = tmp_path / "stimuli/words.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[: 1 + 2 * kept]) + "\n")
    if kept == 12:
        ns.report.check_study(path)
        return
    with pytest.raises(DesignError, match="groups"):
        ns.report.check_study(path)
