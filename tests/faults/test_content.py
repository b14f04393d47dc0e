"""Faults 12, 13, 18, 20, 21, 32, 33 and 36: what stimuli, activations and memory may hold.

Faults 30 and 31, batches and padding, are the tests ``test_kat_30_…`` and ``test_kat_31_…`` of
``tests/test_subject.py``; tables read from files are in ``tests/test_stimulus_checks.py``.
"""

import json

import numpy as np
import pytest

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.decoding import decode
from neurosae.errors import DesignError, StimulusError, StorageError
from neurosae.recording import plan
from neurosae.recording.netcdf import save_netcdf
from neurosae.recording.pooling import pool_tokens
from neurosae.recording.session import open_session
from neurosae.recording.shares import merge
from neurosae.recording.validation import misfits
from neurosae.subject.toy import ToySubject
from tests.faults.recordings import Broken, Never, code_values, make, parts, protocol, stimuli, toys, values


@pytest.mark.parametrize(
    ("column", "cell", "problem"),
    [
        ("stimulus", "a\0b", "NUL"),
        ("text", "a\0b", "NUL"),
        ("note", "a\0b", "NUL"),
        ("stimulus", "\ud83d", "surrogate"),
        ("text", "the \udc00 key", "surrogate"),
    ],
)
def test_fault_12_and_13_nul_and_half_a_surrogate_are_refused_by_row_and_column(
    tmp_path, column, cell, problem
):
    table = stimuli(3).assign(note="x").astype(object)
    table.loc[1, column] = cell
    with pytest.raises(StimulusError, match=rf"row 2 .*column '{column}': holds .*{problem}"):
        make(tmp_path / "out", Never(), table=table)
    assert list(tmp_path.iterdir()) == []


def test_fault_12_nul_in_an_attribute_is_refused(tmp_path):
    recording = make(tmp_path / "out")["resid_post"]
    with pytest.raises(StorageError, match="NUL"):
        save_netcdf(recording.assign_attrs(note="a\0b"), tmp_path / "one.nc")
    assert not (tmp_path / "one.nc").exists()


def test_fault_13_unusual_text_is_kept_to_the_letter(tmp_path):
    texts = ["a 👩‍👩‍👧‍👦 b", "שלום ab עולם", "e\u0301 ö", "\ufeffa b", "a\u200bb c", "w" * 100_000]
    table = stimuli(6).assign(text=texts, note=texts[::-1])
    session = make(tmp_path / "out", table=table)
    for column in ("text", "note"):
        assert session.stimuli[column].tolist() == table[column].tolist()
        assert session["resid_post"][column].values.tolist() == table[column].tolist()


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (["a", "a", "b"], "1 labels .* occur more than once: 'a'"),
        (["a", "x/y", "b"], "row 2 .*holds '/'"),
        (["a", "b", ".."], "row 3 .*holds '/'"),
        (["a\nb", "c", "d"], "row 1 .*line break"),
        (["x" * 256, "c", "d"], "row 1 .*longer than 255 bytes"),
    ],
)
def test_fault_18_labels_that_cannot_be_told_apart_or_kept_are_refused(tmp_path, labels, problem):
    with pytest.raises(StimulusError, match=problem):
        make(tmp_path / "out", Never(), table=stimuli(3).assign(stimulus=labels))


def test_fault_20_texts_without_tokens_and_tables_without_texts_are_refused(tmp_path):
    with pytest.raises(StimulusError, match=r"row 2 .*no token"):
        make(tmp_path / "out", Never(), table=stimuli(3).assign(text=["a", " ", "b"]))
    with pytest.raises(StimulusError, match="holds no stimuli"):
        make(tmp_path / "out", Never(), table=stimuli(3)[:0])


def test_fault_21_too_long_texts_are_refused_or_cut_on_request_and_listed(tmp_path):
    table = stimuli(3).assign(text=["so", "the key " * 400, "so"])
    with pytest.raises(StimulusError, match=r"row 2 .*801 tokens, but the subject reads 512"):
        make(tmp_path / "out", Never(), table=table)
    session = make(tmp_path / "out", table=table, study=protocol(truncate="right"))
    assert session.exclusions.values.tolist() == [["s1", "cut from 801 to 512 tokens"]]


def test_fault_32_statistics_do_not_depend_on_shards_and_p_only_on_the_seed(tmp_path, monkeypatch):
    study, table = protocol(batch_tokens=1), stimuli(12)
    maps = []
    for size in (3, 12):
        monkeypatch.setattr(plan, "SHARD_STIMULI", size)
        responses = pool_tokens(make(tmp_path / str(size), study=study, table=table)["resid_post"])
        for seed in (1, 1, 2):
            maps.append(
                contrast_map(responses, "a > b", n_permutations=99, correct="max_t", seed=seed).drop_attrs()
            )
    one, again, other, *rest = maps
    for same in (again, *rest[:2]):
        assert one.equals(same)
    assert other.equals(rest[2])
    assert not one["p_adjusted"].equals(other["p_adjusted"])


def test_fault_32_a_recording_shared_by_four_processes_is_that_of_one(tmp_path):
    table, study = stimuli(8), protocol(sites=["resid_post"], layers=[1, 2])
    alone = make(tmp_path / "one", table=table, study=study, dictionaries=toys())
    for number in (3, 1, 4, 2):
        make(tmp_path / "four", table=table, study=study, dictionaries=toys(), shard=(number, 4))
    shared = merge(tmp_path / "four")
    assert values(shared) == values(alone)
    assert code_values(shared) == code_values(alone)
    assert misfits(tmp_path / "four") == []
    statistics = [
        contrast_map(pool_tokens(its["resid_post"]), "a > b", n_permutations=49, seed=0).drop_attrs()
        for its in (alone, shared)
    ]
    assert statistics[0].equals(statistics[1])


def test_fault_33_nan_and_infinite_activations_are_kept_counted_flagged_and_refused(tmp_path):
    study, table = protocol(batch_tokens=1), stimuli()
    with pytest.warns(UserWarning, match=r"14 tokens of 7 stimuli have NaN or infinite .* first: 's0'"):
        session = make(tmp_path / "out", Broken(), study=study, table=table)
    header = json.loads((session.path / "session.json").read_text())
    assert header["counts"]["non_finite"] == session.counts["non_finite"] == 14
    assert header["non_finite"] == [[f"s{i}", 2] for i in range(7)]
    recording = open_session(session.path)["resid_post"].compute()
    assert recording["valid"].values[:, 1:3].all()
    assert not recording["is_sink"].values[:, 1:].any()
    assert np.isnan(recording.values[:, 1, 0, 3]).all()
    assert np.isposinf(recording.values[:, 2, 1, 0]).all()
    assert np.isfinite(recording.values[:, 1:3]).sum() == recording.values[:, 1:3].size - 14
    responses = pool_tokens(recording)
    for statistic in (lambda: contrast_map(responses, "a > b"), lambda: decode(responses, "condition")):
        with pytest.raises(DesignError, match=r"7 stimuli hold NaN or infinite values, first: .*s0"):
            statistic()


def test_fault_33_a_sound_recording_counts_none(tmp_path):
    session = make(tmp_path / "out")
    assert session.counts["non_finite"] == 0
    assert json.loads((session.path / "session.json").read_text())["non_finite"] == []


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


class Cramped(ToySubject):
    """Runs out of memory above a number of padded tokens."""

    def __init__(self, most, error=OutOfMemoryError):
        super().__init__()
        self.most, self.error, self.seen = most, error, 0

    def run(self, tokens, **kwargs):
        if len(tokens) * max(map(len, tokens)) > self.most:
            raise self.error("out of memory")
        self.seen += len(tokens)
        return super().run(tokens, **kwargs)


@pytest.mark.parametrize("error", [OutOfMemoryError, MemoryError])
def test_fault_36_lack_of_memory_halves_the_batch_and_loses_nothing(tmp_path, monkeypatch, error, caplog):
    monkeypatch.setattr(plan, "SHARD_STIMULI", 100)
    whole = make(tmp_path / "whole", table=stimuli(20))["resid_post"].compute()
    cramped = Cramped(24, error)
    with caplog.at_level("INFO"):
        session = make(tmp_path / "out", cramped, table=stimuli(20))
    assert cramped.seen == 20
    assert "hold at most" in caplog.text
    np.testing.assert_allclose(session["resid_post"].values, whole.values, rtol=1e-5, atol=1e-6)


def test_fault_36_a_text_too_large_alone_is_excluded_and_the_others_are_what_they_would_be(tmp_path):
    table = stimuli(7)
    table.loc[5, "text"] = "so " * 60
    with pytest.warns(UserWarning, match=r"1 stimuli did not fit into memory.*'s5'.*excluded"):
        session = make(tmp_path / "out", Cramped(40), table=table, study=protocol(batch_tokens=1))
    assert session.exclusions["stimulus"].tolist() == ["s5"]
    assert parts(tmp_path / "out") == []
    assert misfits(tmp_path / "out") == []
    rest = [label for label in table["stimulus"] if label != "s5"]
    whole = make(tmp_path / "whole", table=table, study=protocol(batch_tokens=1))["resid_post"].compute()
    recording = session["resid_post"].compute()
    assert not recording["valid"].sel(stimulus="s5").any()
    np.testing.assert_array_equal(recording.sel(stimulus=rest), whole.sel(stimulus=rest))


def test_fault_36_other_errors_are_not_swallowed(tmp_path):
    with pytest.raises(ZeroDivisionError):
        make(tmp_path / "out", Cramped(4, ZeroDivisionError))
    with pytest.raises(RuntimeError, match="out of memory"):
        make(tmp_path / "out", Cramped(4, RuntimeError))
