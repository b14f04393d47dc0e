"""The shipped stimulus sets: rebuilt byte for byte, complete, balanced as their cards promise."""

import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

STIMULI = Path(__file__).parents[1] / "stimuli"
SETS = ("sentences_nonwords", "concepts", "minimal_pairs", "facts", "concept_pairs")
PAIRED = ("minimal_pairs", "facts")
MARKED = ("concepts", *PAIRED)
SIBLINGS = ("lexicon", "facts")


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(STIMULI / name / "stimuli.tsv", sep="\t", dtype=str, keep_default_na=False)


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+", text)


def marked_words(stimuli: pd.DataFrame) -> list[str]:
    spans = zip(stimuli.text, stimuli.target_start.astype(int), stimuli.target_end.astype(int), strict=True)
    return [text[start:end] for text, start, end in spans]


@pytest.fixture
def load_build(monkeypatch):
    """Imports a set's build.py with its sibling modules, and forgets both afterwards."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(name):
        for sibling in SIBLINGS:
            monkeypatch.delitem(sys.modules, sibling, raising=False)
        monkeypatch.syspath_prepend(str(STIMULI / name))
        spec = importlib.util.spec_from_file_location(f"build_{name}", STIMULI / name / "build.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for sibling in SIBLINGS:
        sys.modules.pop(sibling, None)


@pytest.mark.parametrize("name", SETS)
def test_build_reproduces_the_shipped_table_byte_for_byte(name, load_build, tmp_path):
    built = load_build(name).build(tmp_path)
    assert built.read_bytes() == (STIMULI / name / "stimuli.tsv").read_bytes()


@pytest.mark.parametrize("name", SETS)
def test_ids_are_unique_and_safe_as_file_names(name):
    ids = table(name).stimulus
    assert ids.is_unique
    assert ids.str.fullmatch(r"[a-z0-9-]+").all()


@pytest.mark.parametrize("name", SETS)
def test_no_text_comes_twice_and_all_end_in_a_full_stop(name):
    texts = table(name).text
    assert texts.is_unique
    assert texts.str.fullmatch(r"[A-Z][A-Za-z, ]*[a-z]\.").all()
    assert not texts.str.contains("  ", regex=False).any()


@pytest.mark.parametrize("name", SETS)
def test_columns_start_as_a_stimulus_table_does_and_a_card_lies_beside(name):
    assert list(table(name).columns[:3]) == ["stimulus", "text", "condition"]
    card = (STIMULI / name / "README.md").read_text(encoding="utf-8")
    assert all(f"`{column}`" in card for column in table(name).columns)


@pytest.mark.parametrize("name", MARKED)
def test_marked_spans_are_whole_words_of_the_text(name):
    stimuli = table(name)
    for text, word in zip(stimuli.text, marked_words(stimuli), strict=True):
        assert word in words(text)


@pytest.mark.parametrize("name", PAIRED)
def test_every_pair_has_one_good_and_one_bad_row_with_as_many_words(name):
    stimuli = table(name).assign(n_words=lambda rows: rows.text.map(words).map(len))
    for _, pair in stimuli.groupby("pair"):
        assert list(pair.condition) == ["good", "bad"]
        assert pair.n_words.nunique() == 1


@pytest.mark.parametrize("name", SETS)
def test_conditions_have_as_many_rows_each(name):
    assert table(name).condition.value_counts().nunique() == 1


def test_sentence_set_has_180_sentences_of_10_to_12_words_in_18_topics():
    sentences = table("sentences_nonwords").query("condition == 'sentence'")
    assert len(sentences) == 180
    assert sentences.text.map(words).map(len).between(10, 12).all()
    assert set(sentences.topic.value_counts()) == {10}


def test_no_two_sentences_open_with_the_same_three_words():
    sentences = table("sentences_nonwords").query("condition == 'sentence'").text
    assert sentences.map(lambda text: tuple(words(text)[:3])).is_unique


def test_each_nonword_list_copies_the_shape_of_its_sentence():
    stimuli = table("sentences_nonwords").set_index("stimulus")
    for _, row in stimuli.iterrows():
        partner = stimuli.loc[row.match]
        assert partner.condition != row.condition
        assert re.sub("[a-z]", "x", re.sub("[A-Z]", "X", row.text)) == re.sub(
            "[a-z]", "x", re.sub("[A-Z]", "X", partner.text)
        )


def test_a_sentence_and_its_list_are_two_units_of_inference():
    stimuli = table("sentences_nonwords")
    assert stimuli.item.is_unique
    assert not {"pair", "family"} & set(stimuli.columns)


def test_nonwords_are_never_words_of_the_sentences_nor_rejected_ones():
    stimuli = table("sentences_nonwords")
    by_condition = stimuli.groupby("condition").text.agg(" ".join).str.lower().map(words)
    nonwords = set(by_condition["nonword"])
    rejected = (STIMULI / "sentences_nonwords" / "rejected.txt").read_text(encoding="utf-8").split()
    assert not nonwords & set(by_condition["sentence"])
    assert not nonwords & set(rejected)


def test_long_nonwords_come_once_and_no_list_repeats_one_of_two_letters_or_more():
    lists = table("sentences_nonwords").query("condition == 'nonword'").text.str.lower().map(words)
    assert max(Counter(w for words_ in lists for w in words_ if len(w) >= 4).values()) == 1
    for nonwords in lists:
        longer = [word for word in nonwords if len(word) > 1]
        assert len(set(longer)) == len(longer)


def test_concepts_cross_24_words_of_four_concepts_with_six_frames():
    stimuli = table("concepts")
    crossing = stimuli.groupby(["condition", "item"]).template.nunique()
    assert len(stimuli) == 4 * 24 * 6
    assert set(crossing) == {6}
    assert set(crossing.groupby("condition").size()) == {24}


def test_no_word_belongs_to_two_concepts_and_the_target_is_the_item():
    stimuli = table("concepts")
    assert (stimuli.groupby("item").condition.nunique() == 1).all()
    assert marked_words(stimuli) == list(stimuli["item"])


def test_concepts_have_the_same_word_lengths():
    items = table("concepts").drop_duplicates("item")
    lengths = items.groupby("condition")["item"].agg(lambda column: tuple(sorted(map(len, column))))
    assert lengths.nunique() == 1


def test_concept_frames_are_the_same_over_concepts():
    stimuli = table("concepts")
    frames = [text.replace(word, "_", 1) for text, word in zip(stimuli.text, stimuli["item"], strict=True)]
    assert (stimuli.assign(frame=frames).groupby("template").frame.nunique() == 1).all()


def test_minimal_pairs_have_eight_phenomena_of_100_pairs():
    pairs = table("minimal_pairs").drop_duplicates("pair")
    assert set(pairs.phenomenon.value_counts()) == {100}
    assert pairs.phenomenon.nunique() == 8


def test_minimal_pairs_differ_in_the_critical_word_or_in_the_licensor_before_it():
    stimuli = table("minimal_pairs").assign(target=lambda rows: marked_words(rows))
    stimuli["before"] = [t[: int(s)] for t, s in zip(stimuli.text, stimuli.target_start, strict=True)]
    stimuli["after"] = [t[int(e) :] for t, e in zip(stimuli.text, stimuli.target_end, strict=True)]
    kinds = stimuli.groupby(["phenomenon", "pair"])[["before", "target", "after"]].nunique()
    assert (kinds.after == 1).all()
    licensing = kinds.index.get_level_values("phenomenon") == "npi-licensing"
    assert (kinds[licensing][["before", "target"]] == [2, 1]).all(axis=None)
    assert (kinds[~licensing][["before", "target"]] == [1, 2]).all(axis=None)


def test_agreement_and_case_pairs_are_half_singular_half_plural():
    pairs = table("minimal_pairs").drop_duplicates("pair")
    counts = pairs[~pairs.phenomenon.isin(["reflexive", "npi-licensing"])].groupby("phenomenon").number
    assert all(set(numbers.value_counts()) == {50} for _, numbers in counts)


def test_agreement_verbs_are_as_often_good_as_bad():
    stimuli = table("minimal_pairs").assign(target=lambda rows: marked_words(rows))
    verbs = stimuli[stimuli.phenomenon.str.startswith("agreement")]
    ends_in_s = verbs.target.str.endswith("s")
    assert ends_in_s[verbs.condition == "good"].sum() == ends_in_s[verbs.condition == "bad"].sum() == 200


def test_reflexives_come_as_good_and_bad_about_equally_often():
    stimuli = table("minimal_pairs").query("phenomenon == 'reflexive'")
    counts = pd.crosstab(pd.Series(marked_words(stimuli)), stimuli.condition.to_numpy())
    assert set(counts.index) == {"himself", "herself", "themselves"}
    assert (counts.good - counts.bad).abs().max() <= 2


def test_facts_hold_at_least_120_pairs_over_ten_topics():
    pairs = table("facts").drop_duplicates("pair")
    assert len(pairs) >= 120
    assert pairs.topic.nunique() == 10
    assert pairs.topic.value_counts().min() >= 15


def test_each_answer_is_as_often_the_foil_as_the_truth_within_its_topic():
    stimuli = table("facts").assign(target=lambda rows: marked_words(rows))
    for _, topic in stimuli.groupby("topic"):
        good, bad = (Counter(topic.target[topic.condition == c]) for c in ("good", "bad"))
        assert good == bad


def test_foils_are_neither_true_nor_half_true_nor_the_question(load_build):
    build = load_build("facts")
    true = {
        build.completed(group, question, answer)[0]
        for groups in build.TOPICS.values()
        for group in groups
        for question, answer in group.facts.items()
    }
    loose = {
        build.completed(group, question, answer)[0]
        for groups in build.TOPICS.values()
        for group in groups
        for question in group.facts
        for answer in (*group.near.get(question, "").split(), question)
    }
    stimuli = table("facts")
    assert set(stimuli.text[stimuli.condition == "good"]) == true
    assert not set(stimuli.text[stimuli.condition == "bad"]) & (true | loose)


def test_concept_pairs_cross_ten_families_of_twelve_concepts_with_class_and_five_frames():
    stimuli = table("concept_pairs")
    assert set(stimuli.groupby(["concept", "family", "condition"]).template.nunique()) == {5}
    assert set(stimuli.groupby("concept").family.nunique()) == {10}
    assert stimuli.concept.nunique() == 12
    assert set(stimuli.groupby(["concept", "condition"]).size()) == {50}
    assert (stimuli.groupby("item").condition.nunique() == 1).all()
    assert (stimuli.groupby("family").item.nunique() == 2).all()


def test_concept_pairs_match_in_characters_within_each_concept():
    stimuli = table("concept_pairs").assign(length=lambda rows: rows.text.str.len())
    cells = stimuli.groupby(["concept", "condition"]).length
    means, variances = cells.mean().unstack(), cells.var().unstack()
    d = (means.target - means.other) / variances.mean(axis=1) ** 0.5
    assert d.abs().max() < 0.1
