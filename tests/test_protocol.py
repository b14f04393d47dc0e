"""Protocols: what a file may say, how it is refused, what a changed copy keeps."""

import time
import tomllib
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from neurosae.analysis.family import ALL_CORRECTIONS
from neurosae.arrays.distance import MEASURES
from neurosae.errors import ContrastError, ProtocolError
from neurosae.protocol.checks import check_protocol
from neurosae.protocol.fields import Correction, Metric, Site
from neurosae.protocol.load import load_protocol
from neurosae.protocol.models import Protocol, json_schema
from neurosae.protocol.tables import ContrastPlan
from neurosae.protocol.windows import Window, parse_window
from neurosae.schema.names import SITES

STUDY = """\
name     = "language_network"   # a comment
question = "Which units prefer sentences, and does the model need them?"
stimuli  = "../stimuli/sentences"
subject  = "smollm2-135m"
seed     = 3

[recording]
sites  = ["resid_post", "mlp_out"]
layers = [6, 12]

[responses]
window = "target:-2:2"

[[contrasts]]
name = "language"
contrast = "sentence > nonword"
test = "welch"
correct = "max_t"
nuisance = ["frequency"]
localize = { fraction = 0.01 }

[[contrasts]]
name = "late"
contrast = "late > early"
site = "mlp_out"

[[rsa]]
condition = "condition"
index = "CDI"

[[selectivity]]
index = "auroc"

[[decoding]]
name = "words"
groups = "template"

[[causal]]
name = "grammar"
lesion = { roi = "language", how = "mean" }
stimuli = "../stimuli/pairs.tsv"

[[causal]]
name = "push"
stimulation = { contrast = "late", layer = 6, dose = [0, 0.5, 1] }
stimuli = "../stimuli/pairs.tsv"
readouts = ["surprisal"]
max_pairs = 10
"""


@pytest.fixture
def study(tmp_path):
    """Folder of a study, with the stimuli that its protocol names."""
    (tmp_path / "study" / "protocols").mkdir(parents=True)
    (tmp_path / "study" / "stimuli" / "sentences").mkdir(parents=True)
    (tmp_path / "study" / "stimuli" / "pairs.tsv").write_text("")
    (tmp_path / "secret.tsv").write_text("")
    return tmp_path / "study"


def written(study, text):
    path = study / "protocols" / "study.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def protocol(study):
    return load_protocol(written(study, STUDY))


def test_every_table_is_read(protocol, study):
    assert protocol.name == "language_network"
    assert protocol.stimuli == (study / "stimuli" / "sentences").resolve()
    assert (protocol.seed, protocol.planned) == (3, True)
    assert protocol.recording.sites == ("resid_post", "mlp_out")
    assert protocol.recording.layers == (6, 12)
    assert protocol.responses.window == "target:-2:2"
    assert protocol.contrasts[0].localize.fraction == 0.01
    assert protocol.contrasts[1].site == "mlp_out"
    assert protocol.causal[0].lesion.roi == "language"
    assert protocol.causal[1].stimulation.dose == (0, 0.5, 1)
    assert protocol.causal[1].stimuli == (study / "stimuli" / "pairs.tsv").resolve()


def test_a_minimal_protocol_has_the_documented_defaults(study):
    minimal = load_protocol(written(study, 'name = "m"\nstimuli = "../stimuli/pairs.tsv"\nsubject = "toy"\n'))
    assert minimal.recording.model_dump() == {
        "sites": ("resid_post",),
        "layers": "all",
        "dictionaries": (),
        "surprisal": True,
        "truncate": "none",
        "batch_tokens": 1024,
    }
    assert minimal.responses.model_dump() == {"window": "all", "how": "mean"}
    assert minimal.contrasts == minimal.rsa == minimal.selectivity == minimal.decoding == minimal.causal == ()


def test_unnamed_analyses_are_named_after_column_and_index(protocol):
    names = [protocol.rsa[0].name, protocol.selectivity[0].name, protocol.decoding[0].name]
    assert names == ["condition_CDI", "condition_auroc", "words"]


def test_a_protocol_cannot_be_changed_in_place(protocol):
    with pytest.raises(ValueError, match="frozen"):
        protocol.seed = 4
    with pytest.raises(ValueError, match="frozen"):
        protocol.recording.layers = (1,)


def test_at_reaches_the_first_level_recording_and_responses(protocol):
    changed = protocol.at(layers="all", window="last:1", seed=9, sites=["resid_post", "mlp_out"])
    assert (changed.recording.layers, changed.responses.window, changed.seed) == ("all", "last:1", 9)
    assert (protocol.recording.layers, protocol.responses.window, protocol.seed) == (
        (6, 12),
        "target:-2:2",
        3,
    )
    assert changed.contrasts == protocol.contrasts
    assert changed.sha256 != protocol.sha256
    assert changed.at(layers=[6, 12], window="target:-2:2", seed=3).sha256 == protocol.sha256


def test_at_reads_paths_from_the_folder_of_the_protocol(protocol, study):
    changed = protocol.at(
        stimuli="../other", causal=[{**dict(protocol.causal[0]), "stimuli": "../stimuli/pairs.tsv"}]
    )
    assert 'stimuli = "../other"' in changed.to_toml()
    assert 'stimuli = "../stimuli/pairs.tsv"' in changed.to_toml()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": [6]}, "a protocol has no key 'layer'; did you mean 'layers'\\? Keys: name, question"),
        ({"layers": []}, "protocol 'language_network': recording.layers: 'all' or a list"),
        ({"layers": [12]}, r"causal\[1\].stimulation.layer: layer 6 is not recorded. Recorded layers: 12"),
        ({"contrasts": []}, r"causal\[0\].lesion.roi: no contrast 'language' with localize"),
        ({"causal": [{"name": "x"}]}, r"causal\[0\].stimuli is needed"),
        (
            {"causal": [{"name": "x", "stimuli": "y"}]},
            "exactly one of lesion and stimulation is needed, not neither",
        ),
    ],
)
def test_at_refuses_what_a_file_would_be_refused(protocol, change, message):
    with pytest.raises(ProtocolError, match=message):
        protocol.at(**change)


def test_text_written_by_to_toml_reads_as_the_same_protocol(protocol, study):
    again = load_protocol(written(study, protocol.to_toml()))
    assert again.sha256 == protocol.sha256
    assert again.model_dump() == protocol.model_dump()


def test_text_with_any_character_survives_to_toml(protocol, study):
    odd = 'a "quote", \\ back, tab\t, newline\n, é 👩‍👧 \x7f \u2028'
    again = load_protocol(written(study, protocol.at(question=odd).to_toml()))
    assert again.question == odd


def test_source_is_the_file_and_of_a_copy_its_toml(protocol):
    assert protocol.source == STUDY
    changed = protocol.at(seed=4)
    assert changed.source == changed.to_toml()
    assert tomllib.loads(changed.source)["seed"] == 4


def test_the_hash_ignores_layout_and_place_and_sees_every_value(protocol, study, tmp_path):
    tidy = STUDY.replace("   # a comment", "").replace("name     =", "name =").replace("\n", "\r\n")
    assert load_protocol(written(study, tidy)).sha256 == protocol.sha256
    study.rename(tmp_path / "moved")
    moved = load_protocol(tmp_path / "moved" / "protocols" / "study.toml")
    assert moved.sha256 == protocol.sha256
    assert protocol.at(seed=4).sha256 != protocol.sha256


def test_spelled_out_defaults_do_not_change_the_hash(protocol, study):
    spelled = STUDY.replace("[recording]\n", '[recording]\nsurprisal = true\ntruncate = "none"\n')
    assert load_protocol(written(study, spelled)).sha256 == protocol.sha256


HEAD = 'name = "m"\nstimuli = "../stimuli/sentences"\nsubject = "toy"\n'
CONTRAST = HEAD + '[[contrasts]]\nname = "c"\ncontrast = "a > b"\n'
CAUSAL = '[[causal]]\nname = "x"\nstimuli = "../stimuli/pairs.tsv"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", r"study.toml: no valid TOML: Invalid value \(at end of document\)"),
        (HEAD + "seed = = 1\n", r"study.toml: no valid TOML: Invalid value \(at line 4, column 8\)"),
        (HEAD + 'name = "n"\n', r"no valid TOML: Cannot overwrite a value \(at line 4"),
        (HEAD + "[recording]\n[recording]\n", r"no valid TOML: .*line 5"),
        (b"\xef\xbb\xbf" + HEAD.encode(), "line 1: starts with a byte order mark"),
        (HEAD.encode("utf-16"), "starts with a byte order mark"),
        ((HEAD + 'question = "é"\n').encode("latin-1"), "study.toml line 4: not UTF-8"),
        (HEAD + "question = 'a\0b'\n", r"no valid TOML: .*line 4"),
        (
            HEAD + 'subject_ = "x"\n',
            r"unknown key subject_; did you mean 'subject'\? Keys there: name, question",
        ),
        (HEAD + "[recording]\nlayer = 3\n", "unknown key recording.layer; did you mean 'layers'"),
        (HEAD + "[recordings]\n", "unknown key recordings; did you mean 'recording'"),
        (CONTRAST + "tset = 'welch'\n", r"unknown key contrasts\[0\].tset; did you mean 'test'"),
        (
            CONTRAST + "localize = { fractoin = 0.1 }\n",
            r"key contrasts\[0\].localize.fractoin; did you mean 'frac",
        ),
        ('name = "m"\nsubject = "toy"\n', "stimuli is needed."),
        (HEAD + "seed = '0'\n", "seed is '0'; it should be a valid integer"),
        (HEAD + "seed = true\n", "seed is True; it should be a valid integer"),
        (HEAD + "seed = -1\n", "seed is -1; it should be greater than or equal to 0"),
        (HEAD + "planned = 1\n", "planned is 1; it should be a valid boolean"),
        (HEAD + "recording = 3\n", "recording is 3; it should be a table"),
        (HEAD + "causal = [3]\n", r"causal\[0\] is 3; it should be a table"),
        (HEAD + "contrasts = { name = 'c' }\n", "contrasts is a table; it should be a list"),
        (HEAD.replace('"m"', '"a b"'), "name is 'a b'; letters, digits, '_' and '-' are allowed"),
        (HEAD.replace('"toy"', '" "'), "subject: text without NUL characters is needed"),
        (HEAD.replace('"toy"', '"a\\u0000"'), "subject: text without NUL characters is needed"),
        (HEAD.replace('"../stimuli/sentences"', "3"), "stimuli is 3; it should be a path"),
        (
            HEAD + "[recording]\nsites = ['resid']\n",
            r"recording.sites\[0\] is 'resid'; it must be 'resid_pre', ",
        ),
        (HEAD + "[recording]\nsites = []\n", "recording: neither sites nor dictionaries are given"),
        (HEAD + "[recording]\nsites = ['mlp_out', 'mlp_out']\n", "recording.sites: a name occurs twice"),
        (
            HEAD + "[recording]\nlayers = 'some'\n",
            "recording.layers: 'all' or a list of different block numbers",
        ),
        (HEAD + "[recording]\nlayers = [1, 1]\n", "recording.layers: 'all' or a list of different"),
        (HEAD + "[recording]\nlayers = [1.0]\n", "recording.layers: 'all' or a list"),
        (HEAD + "[recording]\nlayers = [-1]\n", "recording.layers: 'all' or a list"),
        (HEAD + "[recording]\ndictionaries = ['a', 'a']\n", "recording: dictionaries: a name occurs twice"),
        (
            HEAD + "[recording]\ndictionaries = ['a', '/b']\n",
            r"recording.dictionaries\[1\]: '/b' leads out of",
        ),
        (
            HEAD + "[recording]\ntruncate = 'middle'\n",
            "recording.truncate is 'middle'; it must be 'none', 'left' or",
        ),
        (
            HEAD + "[recording]\nbatch_tokens = 0\n",
            "recording.batch_tokens is 0; it should be greater than or equal",
        ),
        (
            HEAD + "[responses]\nwindow = 'frist:5'\n",
            "responses.window: no window 'frist:5'; did you mean 'first'",
        ),
        (
            HEAD + "[responses]\nhow = 'median'\n",
            "responses.how: no pooling 'median'.* Poolings: mean, last, target",
        ),
        (HEAD + "[responses]\nhow = 'topm:0'\n", "responses.how: no pooling 'topm:0'; did you mean 'topm'"),
        (CONTRAST + "correct = 'fdr'\n", r"contrasts\[0\].correct is 'fdr'; it must be 'fdr_bh', 'max_t'"),
        (CONTRAST + "correct = 'tfce'\nsite = 'mlp_out'\n", "'tfce' joins .* not those of site 'mlp_out'"),
        (CONTRAST + "correct = 'min_p'\n", "needs n_permutations = 9999 or more, not 999"),
        (CONTRAST + "n_permutations = 0\n", r"contrasts\[0\].n_permutations is 0"),
        (CONTRAST + "localize = {}\n", "exactly one of fraction, n and q is needed, not none"),
        (CONTRAST + "localize = { n = 3, q = 0.05 }\n", "is needed, not n and q"),
        (CONTRAST + "localize = { n = 3, folds = 2 }\n", "folds need fraction, not n"),
        (CONTRAST + "localize = { fraction = 1.5 }\n", "localize.fraction is 1.5; it should be less than 1"),
        (
            CONTRAST + "site = 'mlp_out'\n",
            r"contrasts\[0\].site: 'mlp_out' is not recorded. Recorded sites: resid_p",
        ),
        (CONTRAST + CONTRAST.removeprefix(HEAD), "contrasts: the name 'c' occurs 2 times"),
        (HEAD + "[[rsa]]\nindex = 'XYZ'\n", r"rsa\[0\].index is 'XYZ'; it must be 'CDI', 'CMI'"),
        (HEAD + "[[rsa]]\n[[rsa]]\n", "rsa: the name 'condition_CDI' occurs 2 times"),
        (HEAD + "[[decoding]]\nselect = 0\n", r"decoding\[0\].select is 0"),
        (CONTRAST + CAUSAL, r"causal\[0\]: exactly one of lesion and stimulation is needed, not neither"),
        (
            CONTRAST
            + CAUSAL
            + "lesion = { roi = 'c' }\nstimulation = { contrast = 'c', layer = 1, dose = [0, 1] }\n",
            "is needed, not both",
        ),
        (
            CONTRAST + CAUSAL + "lesion = { roi = 'c' }\n",
            r"lesion.roi: contrast 'c' has no localize; add it",
        ),
        (
            CONTRAST + "localize = { n = 3 }\n" + CAUSAL + "lesion = { roi = 'cc' }\n",
            r"lesion.roi: no contrast 'cc' with localize; did you mean 'c'\?",
        ),
        (
            CONTRAST + CAUSAL + "stimulation = { contrast = 'd', layer = 1, dose = [0, 1] }\n",
            "stimulation.contrast: no contrast 'd'",
        ),
        (
            CONTRAST + CAUSAL + "stimulation = { contrast = 'c', layer = 1, dose = [] }\n",
            "stimulation.dose is an empty list; at least one",
        ),
        (
            CONTRAST + CAUSAL + "stimulation = { contrast = 'c', layer = 1, dose = [inf] }\n",
            r"stimulation.dose\[0\] is inf; it should be a finite number",
        ),
        (
            CONTRAST
            + "localize = { n = 3 }\n"
            + CAUSAL.replace("pairs.tsv", "sentences")
            + "lesion = { roi = 'c' }\n",
            r"causal\[0\].stimuli: the same stimuli as those that select would make the test circular",
        ),
        (HEAD + "seed = 'x'\nplanned = 'y'\n", r"seed is 'x'.* \(1 more to correct\)"),
    ],
)
def test_protocols_are_refused_with_line_or_key(study, text, message):
    with pytest.raises(ProtocolError, match=message):
        load_protocol(written(study, text))


@pytest.mark.parametrize(
    "path", ["../../secret.tsv", "/etc/passwd", "~/x", "file:///etc/passwd", "C:\\x", "link", "", "a\\u0000b"]
)
def test_paths_that_leave_the_study_are_refused(study, path):
    (study / "protocols" / "link").symlink_to(study.parent / "secret.tsv")
    text = HEAD.replace("../stimuli/sentences", path.replace("C:\\", "C:\\\\"))
    with pytest.raises(
        ProtocolError, match=r"study.toml: stimuli: .* leads out of 'study', the folder above"
    ):
        load_protocol(written(study, text))
    causal = CONTRAST + CAUSAL.replace("../stimuli/pairs.tsv", path.replace("C:\\", "C:\\\\"))
    with pytest.raises(ProtocolError, match=r"study.toml: causal\[0\].stimuli: .* leads out"):
        load_protocol(written(study, causal))


def test_stimuli_that_do_not_exist_are_refused(study):
    with pytest.raises(ProtocolError, match=r"stimuli: '../stimuli/none' does not exist"):
        load_protocol(written(study, HEAD.replace("sentences", "none")))
    with pytest.raises(ProtocolError, match="no protocol file"):
        load_protocol(study / "none.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "x = " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        (HEAD + "x = " + "{a = " * 3000 + "1" + "}" * 3000, "nested too deeply"),
        (HEAD + "seed." + ".".join("a" * 100) + " = 1", "seed is a table; it should be a valid integer"),
        (HEAD + "a." * 100 + "a = 1", "unknown key a"),
        (HEAD + "a." * 400_000 + "a = 1", "line 4: more than 200 dots; keys are not nested that deeply"),
        (HEAD + "seed = " + "9" * 5000, "no valid TOML: Exceeds the limit"),
        (HEAD + "#" * 2_000_000, "larger than 1000000 bytes"),
    ],
)
def test_oversized_and_deep_files_are_refused_at_once(study, text, message):
    path = written(study, text)
    start = time.perf_counter()
    with pytest.raises(ProtocolError, match=message):
        load_protocol(path)
    assert time.perf_counter() - start < 1


def test_the_messages_read_as_whole_sentences(study):
    with pytest.raises(ProtocolError) as refused:
        load_protocol(written(study, HEAD + "[responses]\nwidnow = 'all'\n"))
    assert str(refused.value) == (
        "study.toml: unknown key responses.widnow; did you mean 'window'? Keys there: window, how."
    )


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("all", Window("all")),
        ("first:5", Window("first", (5,))),
        ("last:1", Window("last", (1,))),
        ("centered:8", Window("centered", (8,))),
        ("target", Window("target")),
        ("target:-2:2", Window("target", (-2, 2))),
        ("relative:10", Window("relative", (10,))),
        ("span:0:20", Window("span", (0, 20))),
        ("span:critical_start:critical_end", Window("span", columns=("critical_start", "critical_end"))),
    ],
)
def test_windows_are_read(text, window):
    assert parse_window(text) == window


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("middle:3", "no window 'middle:3'. Windows: all, first:5"),
        ("first", "'first' cannot be followed by ''"),
        ("first:0", "'first' cannot be followed by '0'"),
        ("first:x", "'first' cannot be followed by 'x'"),
        ("all:1", "'all' cannot be followed by '1'"),
        ("target:1", "'target' cannot be followed by '1'"),
        ("target:2:-2", "ends before it starts. Write target:-2:2"),
        ("first:٣", "'first' cannot be followed by"),
        ("relative", "'relative' cannot be followed by ''"),
        ("relative:0", "'relative' cannot be followed by '0'"),
        ("span", "'span' cannot be followed by ''. Windows: .*span:0:20"),
        ("span:3", "'span' cannot be followed by '3'"),
        ("span:-1:3", "'span' cannot be followed by '-1:3'"),
        ("span:0:critical_end", "'span' cannot be followed by '0:critical_end'"),
        ("span:a b:c", "'span' cannot be followed by 'a b:c'"),
        ("span:4:4", "'span:4:4' holds no character: the end is exclusive"),
        ("span:4:3", "'span:4:3' holds no character"),
    ],
)
def test_what_is_no_window_is_refused(text, message):
    with pytest.raises(ProtocolError, match=message):
        parse_window(text)


def test_every_key_is_described_in_the_schema():
    schema = json_schema()
    tables = {"Protocol": schema, **schema["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, table in tables.items()
        for key, field in table["properties"].items()
        if not field.get("description")
    ]
    assert not bare
    assert {table["additionalProperties"] for table in tables.values()} == {False}


def test_corrections_of_protocols_are_those_of_contrast_maps():
    assert set(get_args(Correction)) == set(ALL_CORRECTIONS)


def test_metrics_of_protocols_are_those_of_rdms():
    assert set(get_args(Metric)) == {"auto", *MEASURES}


@pytest.mark.parametrize("correct", ["step_down", "hierarchical", "cluster", "tfce"])
def test_a_contrast_plan_takes_any_correction(correct):
    assert ContrastPlan(name="x", contrast="A > B", correct=correct).correct == correct


def test_sites_of_protocols_are_those_of_recordings():
    assert get_args(Site) == SITES


@pytest.fixture
def tables(protocol):
    sentences = pd.DataFrame(
        {
            "stimulus": list("abcd"),
            "text": ["x"] * 4,
            "condition": ["sentence", "sentence", "nonword", "nonword"],
            "order": ["early", "late", "early", "late"],
            "template": ["t", "u", "t", "u"],
            "frequency": ["1", "2.5", "-3", "1e2"],
            "target_start": [0] * 4,
            "target_end": [1] * 4,
        }
    )
    pairs = pd.DataFrame(
        {"stimulus": list("ab"), "text": ["u", "v"], "pair": ["p", "p"], "condition": ["good", "bad"]}
    )
    return {protocol.stimuli: sentences, protocol.causal[0].stimuli: pairs}


def changed_tables(tables, protocol, *, drop=(), **columns):
    return {**tables, protocol.stimuli: tables[protocol.stimuli].assign(**columns).drop(columns=list(drop))}


def test_a_protocol_that_its_stimuli_serve_passes(protocol, tables):
    check_protocol(protocol, tables)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"condition": ["sentence", "word"] * 2}, "'sentence > nonword': no condition 'nonword'"),
        ({"drop": ["frequency"]}, r"contrasts\[0\].nuisance: the stimuli have no column 'frequency'"),
        (
            {"frequency": ["1", "2", "n/a", "3"]},
            r"contrasts\[0\].nuisance: column 'frequency' holds cells that are no",
        ),
        ({"drop": ["template"]}, r"decoding\[0\].groups: the stimuli have no column 'template'"),
        ({"drop": ["target_start"]}, "responses.window: the stimuli have no column 'target_start'"),
    ],
)
def test_stimuli_that_lack_what_is_asked_are_refused(protocol, tables, change, message):
    with pytest.raises(ProtocolError, match=message):
        check_protocol(protocol, changed_tables(tables, protocol, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rsa": [{"condition": "kind"}]}, r"rsa\[0\].condition: the stimuli have no column 'kind'"),
        ({"rsa": [{"condition": "text"}]}, r"rsa\[0\].condition: column 'text' holds one class only, x; two"),
        ({"rsa": [{"unit": "famly"}]}, r"rsa\[0\].unit: the stimuli have no column 'famly'"),
        ({"selectivity": [{"condition": "kind"}]}, r"selectivity\[0\].condition: the stimuli have no column"),
        ({"decoding": [{"condition": "ordre"}]}, "no column 'ordre'; did you mean 'order'"),
    ],
)
def test_analyses_of_columns_that_do_not_exist_are_refused(protocol, tables, change, message):
    with pytest.raises(ProtocolError, match=message):
        check_protocol(protocol.at(**change), tables)


def test_decoding_by_item_falls_back_where_there_are_no_items(protocol, tables):
    check_protocol(protocol.at(decoding=[{}]), tables)


def test_a_span_of_characters_or_columns_passes(protocol, tables):
    words = {"critical_start": ["0", "", "-1", "0"], "critical_end": ["1", "", "-1", "1"]}
    check_protocol(protocol.at(window="span:0:20"), tables)
    check_protocol(
        protocol.at(window="span:critical_start:critical_end"), changed_tables(tables, protocol, **words)
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "responses.window: the stimuli have no column 'critical_start'"),
        ({"critical_start": "0"}, "no column 'critical_end'; did you mean 'critical_start'"),
        (
            {"critical_start": "0", "critical_end": "end"},
            "responses.window: stimulus 'a', column 'critical_end': 'end' is no character position",
        ),
        (
            {"critical_start": "0", "critical_end": ["1", "9", "1", "1"]},
            "stimulus 'b': the span 0 to 9 of columns 'critical_start' and 'critical_end' is half given",
        ),
    ],
)
def test_columns_that_mark_no_span_are_refused_before_a_model_is_loaded(protocol, tables, columns, message):
    changed = changed_tables(tables, protocol, **columns)
    with pytest.raises(ProtocolError, match=message):
        check_protocol(protocol.at(window="span:critical_start:critical_end"), changed)


def test_a_course_over_the_stimulus_is_no_window_of_a_study(protocol, tables):
    with pytest.raises(ProtocolError, match=r"'relative:4' gives several bins .* target or span:start:end"):
        check_protocol(protocol.at(window="relative:4"), tables)


def test_minimal_pairs_need_pairs_of_good_and_bad(protocol, tables):
    path = protocol.causal[0].stimuli
    with pytest.raises(
        ProtocolError, match=r"causal\[0\].readouts: minimal_pair: the stimuli have no column 'pair'"
    ):
        check_protocol(protocol, {**tables, path: tables[path].drop(columns="pair")})
    with pytest.raises(
        ProtocolError, match="needs the conditions 'good' and 'bad'; the stimuli have bad, worse"
    ):
        check_protocol(protocol, {**tables, path: tables[path].assign(condition=["bad", "worse"])})
    check_protocol(
        protocol.at(causal=[dict(protocol.causal[1])]), {**tables, path: tables[path].drop(columns="pair")}
    )


def test_stimuli_must_be_given_by_path(protocol, tables):
    with pytest.raises(ProtocolError, match=r"causal\[0\].stimuli: no stimuli were given for"):
        check_protocol(protocol, {protocol.stimuli: tables[protocol.stimuli]})


def test_a_contrast_that_cannot_be_read_is_a_protocol_error(protocol, tables):
    broken = protocol.at(contrasts=[dict(protocol.contrasts[0]) | {"contrast": "a > b > c"}], causal=[])
    with pytest.raises(ContrastError, match="not a chain"):
        check_protocol(broken, tables)


def test_a_protocol_can_be_built_without_a_file():
    built = Protocol(name="toy", stimuli=Path("stimuli/toy"), subject="toy")
    assert tomllib.loads(built.source)["stimuli"] == "stimuli/toy"
    assert len(built.sha256) == 64


def test_texts_that_select_cannot_be_tested(protocol, tables):
    path = protocol.causal[0].stimuli
    with pytest.raises(ProtocolError, match=r"causal\[0\].stimuli: 1 texts are also among .*'x'"):
        check_protocol(protocol, {**tables, path: tables[path].assign(text=["x", "v"])})


def test_held_out_response_with_nuisance_is_refused(study):
    file = study / "protocols" / "study.toml"
    file.write_text(STUDY.replace("{ fraction = 0.01 }", "{ fraction = 0.01, folds = 2 }"))
    with pytest.raises(ProtocolError, match="without removing nuisance"):
        load_protocol(file)
