"""Reading stimulus tables: what is kept as written, and what is refused with its line."""

import hashlib
import json

import pandas as pd
import pytest

from neurosae.errors import StimulusError
from neurosae.stimulus.load import load_stimuli
from neurosae.stimulus.tables import READERS

ROWS = [
    ["stimulus", "text", "condition", "code"],
    ["s1", "A first text.", "null", "001"],
    ["s2", 'She said "no",\tthen left.', "NA", "1e5"],
    ["s3", "Two\nlines", "TRUE", ""],
]


def delimited(separator):
    def cell(text):
        quoted = '"' in text or separator in text or "\n" in text
        return '"' + text.replace('"', '""') + '"' if quoted else text

    return "\n".join(separator.join(map(cell, row)) for row in ROWS) + "\n"


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def tables(tmp_path):
    """The same four rows in every format."""
    records = [json.dumps(dict(zip(ROWS[0], row, strict=True)), ensure_ascii=False) for row in ROWS[1:]]
    pd.DataFrame(ROWS).to_excel(tmp_path / "a.xlsx", header=False, index=False)
    write(tmp_path, "a.tsv", delimited("\t"))
    write(tmp_path, "a.csv", delimited(","))
    write(tmp_path, "a.jsonl", "\n".join(records))
    return tmp_path


@pytest.mark.parametrize("suffix", READERS)
def test_cells_are_kept_as_written_in_every_format(tables, suffix):
    stimuli = load_stimuli(tables / f"a{suffix}")
    assert [list(stimuli.columns), *stimuli.to_numpy().tolist()] == ROWS
    assert stimuli.attrs["name"] == "a"


def test_a_folder_is_named_and_its_table_hashed(tmp_path):
    folder = tmp_path / "concepts"
    folder.mkdir()
    data = delimited("\t").encode()
    write(folder, "stimuli.tsv", data)
    stimuli = load_stimuli(str(folder))
    assert stimuli.attrs == {"name": "concepts", "sha256": hashlib.sha256(data).hexdigest()}
    assert load_stimuli(folder / "stimuli.tsv").attrs["name"] == "concepts"


def test_order_of_rows_is_kept(tmp_path):
    rows = "stimulus\ttext\tcondition\n" + "".join(f"s{n}\tx\tc\n" for n in (3, 1, 2))
    assert load_stimuli(write(tmp_path, "a.tsv", rows))["stimulus"].tolist() == ["s3", "s1", "s2"]


@pytest.mark.parametrize(
    "text",
    [
        "👩‍👩‍👧‍👦 family",
        "שלום עולם",
        "e\u0301 combining",
        "zero\u200bwidth",
        "word" * 25_000,
        "a\u2028b",
        "x\r\ny",
    ],
)
def test_unusual_text_arrives_identical(tmp_path, text):
    path = write(tmp_path, "a.tsv", f'stimulus\ttext\tcondition\ns1\t"{text}"\tc\n')
    assert load_stimuli(path)["text"].tolist() == [text]


def test_byte_order_mark_and_carriage_returns_change_nothing(tmp_path):
    plain = "stimulus\ttext\tcondition\ns1\tOne.\ta\ns2\tTwo.\tb\n"
    marked = b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode()
    expected = load_stimuli(write(tmp_path, "a.tsv", plain))
    pd.testing.assert_frame_equal(load_stimuli(write(tmp_path, "b.tsv", marked)), expected, check_flags=False)


def test_empty_lines_are_no_stimuli(tmp_path):
    path = write(tmp_path, "a.csv", "stimulus,text,condition\n\ns1,One.,a\n\n\ns2,Two.,b\n\n")
    assert load_stimuli(path)["stimulus"].tolist() == ["s1", "s2"]


def test_targets_are_whole_numbers_and_absent_ones_minus_one(tmp_path):
    rows = "stimulus\ttext\tcondition\ttarget_start\ttarget_end\na\tred sky\tc\t0\t3\nb\tsky\tc\t\t\n"
    stimuli = load_stimuli(write(tmp_path, "a.tsv", rows))
    assert stimuli[["target_start", "target_end"]].to_numpy().tolist() == [[0, 3], [-1, -1]]
    assert stimuli["target_end"].dtype == "int64"


def test_psychopy_conditions_without_labels_are_numbered(tmp_path):
    path = write(tmp_path, "conditions.csv", "text,condition,corrAns\nOne.,a,left\nTwo.,b,right\n")
    stimuli = load_stimuli(path)
    assert stimuli["stimulus"].tolist() == ["row_1", "row_2"]
    assert stimuli["corrAns"].tolist() == ["left", "right"]


def test_numbers_in_excel_and_json_read_as_text(tmp_path):
    frame = pd.DataFrame({"text": ["One."], "condition": [7], "score": [1.5], "flag": [True]})
    frame.to_excel(tmp_path / "a.xlsx", index=False)
    write(tmp_path, "a.jsonl", '{"text": "One.", "condition": 1e5, "score": 001.5}\n'.replace("001", "1"))
    assert load_stimuli(tmp_path / "a.xlsx").loc[0, ["condition", "score", "flag"]].tolist() == [
        "7",
        "1.5",
        "TRUE",
    ]
    assert load_stimuli(tmp_path / "a.jsonl").loc[0, ["condition", "score"]].tolist() == ["1e5", "1.5"]


def test_empty_columns_at_the_edge_of_a_sheet_are_dropped(tmp_path):
    pd.DataFrame([["text", "condition", None], ["One.", "a", None], [None, None, None]]).to_excel(
        tmp_path / "a.xlsx", header=False, index=False
    )
    assert load_stimuli(tmp_path / "a.xlsx").columns.tolist() == ["stimulus", "text", "condition"]


@pytest.fixture
def events(tmp_path):
    (tmp_path / "texts").mkdir()
    write(tmp_path, "texts/one.txt", "A first text.\n")
    write(tmp_path, "texts/two.txt", "A second text.")
    rows = "onset\tduration\ttrial_type\tstim_file\n0.0\t1.0\ta\ttexts/one.txt\n1.0\tn/a\tb\ttexts/two.txt\n"
    return write(tmp_path, "sub-01_task-read_events.tsv", rows)


def test_bids_events_become_stimuli(events):
    stimuli = load_stimuli(events)
    assert stimuli["text"].tolist() == ["A first text.", "A second text."]
    assert stimuli["condition"].tolist() == ["a", "b"]
    assert stimuli["duration"].tolist() == ["1.0", "n/a"]
    assert stimuli["stimulus"].tolist() == ["row_1", "row_2"]


def test_the_hash_of_bids_events_covers_their_texts(events):
    before = load_stimuli(events).attrs["sha256"]
    write(events.parent, "texts/two.txt", "Another text.")
    assert load_stimuli(events).attrs["sha256"] != before


def test_bids_events_may_hold_the_text_itself(tmp_path):
    path = write(tmp_path, "events.tsv", "onset\ttrial_type\ttext\n0\ta\tOne.\n")
    assert load_stimuli(path)[["condition", "text"]].to_numpy().tolist() == [["a", "One."]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("onset\tstim_file\n0\ttexts/one.txt\n", "needs the column 'trial_type'"),
        ("trial_type\tcondition\ttext\na\ta\tx\n", "'trial_type' or 'condition', not both"),
        ("trial_type\tonset\na\t0\n", "needs 'stim_file' .* or 'text'"),
        ("trial_type\tstim_file\nn/a\ttexts/one.txt\n", "line 2: trial_type is missing"),
        ("trial_type\tstim_file\na\ttexts/one.txt\na\tn/a\n", "line 3: stim_file is missing"),
        ("trial_type\tstim_file\na\t../secret.txt\n", "line 2: stim_file '../secret.txt' leads out"),
        ("trial_type\tstim_file\na\t/etc/passwd\n", "leads out of the folder"),
        ("trial_type\tstim_file\na\t~/x.txt\n", "leads out of the folder"),
        ("trial_type\tstim_file\na\tfile:///etc/passwd\n", "leads out of the folder"),
        ("trial_type\tstim_file\na\tC:\\x.txt\n", "leads out of the folder"),
        ("trial_type\tstim_file\na\tlink.txt\n", "leads out of the folder"),
        ("trial_type\tstim_file\na\tnone.txt\n", "line 2: stim_file 'none.txt' does not exist"),
        ("trial_type\tstim_file\na\tlatin.txt\n", "latin.txt line 1: byte 0xe9 is not UTF-8"),
    ],
)
def test_bids_events_are_refused(tmp_path, rows, message):
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "texts").mkdir()
    write(tmp_path, "secret.txt", "x")
    write(folder, "texts/one.txt", "One.")
    write(folder, "latin.txt", "é".encode("latin-1"))
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(StimulusError, match=message):
        load_stimuli(write(folder, "events.tsv", rows))


HEAD = "stimulus\ttext\tcondition\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", "a.tsv is empty. The first line names the columns"),
        ("a.tsv", HEAD, "names columns but holds no stimuli"),
        ("a.tsv", HEAD + "s1\tx\n", "a.tsv line 2: 2 cells, but the header names 3 columns"),
        ("a.tsv", HEAD + "s1\tx\tc\ns2\tx\tc\tmore\n", "line 3: 4 cells, but the header names 3"),
        ("a.tsv", HEAD + 's1\t"two\nlines"\tc\ns2\tx\n', "line 4: 2 cells"),
        ("a.tsv", "text\ttext\tcondition\na\tb\tc\n", "column 'text' occurs twice in the header"),
        ("a.tsv", HEAD + 's1\t"No," she said.\tc\n', "after line 1 cannot be read .* its own quotes doubled"),
        ("a.tsv", HEAD + 's1\t"never closed\tc\n', "after line 1 cannot be read"),
        ("a.tsv", (HEAD + "s1\tx\tc\ns2\tcafé\tc\n").encode("latin-1"), "line 3: byte 0xe9 is not UTF-8"),
        ("a.tsv", (HEAD + "s1\tx\tc\n").encode("utf-16"), "a.tsv seems to be UTF-16. Save it as UTF-8"),
        ("a.tsv", (HEAD + "s1\tx\tc\n").encode("utf-16-le"), "a.tsv seems to be UTF-16"),
        ("a.tsv", HEAD + "s1\tx\0y\tc\n", r"'a': row 1 \('s1'\), column 'text': holds a NUL"),
        (
            "a.tsv",
            "stim_id\ttext\tcondition\ns1\tx\tc\n",
            "column 'stim_id' is called 'stimulus' here; rename it",
        ),
        ("a.tsv", "id\ttext\tcondition\ns1\tx\tc\n", "column 'id' is called 'stimulus' here"),
        ("a.tsv", "stimulus\ttxt\tcondition\ns1\tx\tc\n", "no column 'text'; did you mean 'txt'"),
        ("a.xlsx", "no workbook", "a.xlsx is no Excel workbook"),
        ("a.txt", "x", "cannot read '.txt'; stimuli come as .tsv, .csv, .xlsx, .jsonl"),
        ("a", "x", "a file without an ending"),
        ("a.jsonl", "", "a.jsonl is empty"),
        ("a.jsonl", '{"text": "x"\n', "a.jsonl line 1 is not JSON"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.jsonl", '["x"]\n', "line 1 is not a JSON object"),
        ("a.jsonl", '{"text": "x", "text": "y"}', "line 1: key 'text' occurs twice"),
        ("a.jsonl", '{"text": ["x"]}', "line 1, key 'text' holds a list or an object"),
        ("a.jsonl", '{"text": {"x": 1}}', "holds a list or an object"),
        (
            "a.jsonl",
            '{"text": "x", "condition": "a"}\n{"text": "x"}',
            "line 2: keys differ from the first line: condition",
        ),
        ("a.jsonl", '{"text": "\\ud800", "condition": "a"}', "column 'text': holds half of a surrogate pair"),
    ],
)
def test_files_that_would_need_guessing_are_refused(tmp_path, name, content, message):
    path = write(tmp_path, name, content)
    with pytest.raises(StimulusError, match=message):
        load_stimuli(path)


def test_a_missing_file_or_table_is_named(tmp_path):
    with pytest.raises(StimulusError, match=r"nowhere\.tsv does not exist. Name a folder"):
        load_stimuli(tmp_path / "nowhere.tsv")
    with pytest.raises(StimulusError, match="holds no stimuli"):
        load_stimuli(tmp_path)


def test_without_openpyxl_excel_files_are_refused_with_a_remedy(tmp_path, monkeypatch):
    def unavailable(*_, **__):
        raise ImportError("openpyxl")

    monkeypatch.setattr(pd, "read_excel", unavailable)
    with pytest.raises(StimulusError, match=r"install neurosae\[excel\] or save as TSV"):
        load_stimuli(write(tmp_path, "a.xlsx", b"PK"))
