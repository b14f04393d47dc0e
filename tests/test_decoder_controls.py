"""Controls of decoders: surface of the text, layer 0, control tasks, confounds, unseen templates."""

import numpy as np
import pytest
import xarray as xr

from neurosae.analysis import control_tasks
from neurosae.analysis.control_tasks import control_task
from neurosae.analysis.decoder_comparison import compare_decoders
from neurosae.analysis.decoding import decode
from neurosae.analysis.decoding_design import decoding_design
from neurosae.analysis.surface import surface_features
from neurosae.arrays.ridge_decoder import without_confounds
from neurosae.errors import DesignError
from neurosae.testing import planted_recording, planted_responses
from tests.responses import responses_of


def crossed(n_items=20, n_templates=4, n_features=8, effect=0.0, template=0.0, seed=0, n_layers=1):
    """Items (half in each class) in all templates; an effect of class in feature 0."""
    rng = np.random.default_rng(seed)
    item, frame = np.divmod(np.arange(n_items * n_templates), n_templates)
    values = rng.standard_normal((len(item), n_layers, n_features))
    values += template * rng.standard_normal((n_templates, n_layers, n_features))[frame]
    labels = np.array(["a", "b"])[item % 2]
    values[labels == "b", :, 0] += effect
    return responses_of(values, labels, item=item.astype(str), template=frame.astype(str))


# Unseen item and unseen template


def test_kat_26c_double_out_cells_share_neither_item_nor_template_with_their_training_rows():
    responses = crossed(n_items=24, n_templates=7)
    design = decoding_design(responses, "condition", "item", seed=1, crossed="template")
    item, template = responses["item"].values, responses["template"].values
    for repeat in range(len(design.folds)):
        tested = np.zeros(len(item), dtype=int)
        for train, test in design.splits(repeat):
            assert not set(item[train]) & set(item[test])
            assert not set(template[train]) & set(template[test])
            tested += test
        assert (tested == 1).all()


def test_double_out_finds_what_holds_over_templates_and_not_what_is_tied_to_one():
    responses = crossed(n_items=30, effect=2.5)
    found = decode(responses, "condition", groups=("item", "template"), n_permutations=19)
    assert float(found["auroc"].item()) > 0.85
    assert found.attrs["groups"] == "item x template"
    # Another feature codes the class in each template: unseen templates have theirs untrained.
    tied = crossed(n_items=30, n_features=4)
    frame = tied["template"].values.astype(int)
    is_b = tied["condition"].values == "b"
    tied.values[is_b, 0, frame[is_b]] += 5
    within = decode(tied, "condition", groups="item", n_permutations=19)
    across = decode(tied, "condition", groups=("item", "template"), n_permutations=19)
    assert float(within["auroc"].item()) > 0.85
    assert float(across["auroc"].item()) < 0.75


def test_double_out_p_is_uniform_without_an_effect():
    found = decode(
        crossed(n_layers=80, template=0.7, seed=3),
        "condition",
        groups=("item", "template"),
        n_permutations=39,
    )
    # The .9995 binomial limit of 80 simulations at .05 is 12; 4 standard errors of the mean of p are .13.
    assert (found["p"] <= 0.05).sum() <= 12
    assert float(found["p"].mean()) == pytest.approx(0.5, abs=0.13)


def test_columns_that_are_not_crossed_are_refused():
    responses = crossed()
    own = responses.assign_coords(template=("stimulus", responses["condition"].values))
    with pytest.raises(DesignError, match="does not hold all classes of 'condition'"):
        decode(own, "condition", groups=("item", "template"))
    one = responses.assign_coords(template=("stimulus", ["t"] * responses.sizes["stimulus"]))
    with pytest.raises(DesignError, match="has one level only, 't'"):
        decode(one, "condition", groups=("item", "template"))
    with pytest.raises(DesignError, match="two different ones"):
        decode(responses, "condition", groups=("item", "item"))
    # Items of class b stand in template 1 but for one, which the test cell takes away.
    bare = responses.isel(
        stimulus=(responses["condition"] == "a")
        | (responses["template"] == "1")
        | ((responses["template"] == "0") & (responses["item"] == "1"))
    ).isel(stimulus=slice(None))
    two = bare.isel(stimulus=bare["template"].isin(["0", "1"]).values)
    with pytest.raises(DesignError, match="no row of class 'b' is left to train on"):
        decode(two, "condition", groups=("item", "template"))


# Selectors and confounds inside folds


@pytest.mark.parametrize("selector", ["meandiff", "welch", "CDI", "rank", "max", "random"])
def test_kat_26_no_selector_leaks_from_test_folds(selector):
    rng = np.random.default_rng(26)
    values = rng.standard_normal((50, 12, 600))
    found = decode(
        responses_of(values, np.repeat(["a", "b"], 25)),
        "condition",
        select=(selector, 8),
        n_permutations=20,
    )
    # Twelve layers: the standard error of their mean is .03 or less.
    assert float(found["auroc"].mean()) == pytest.approx(0.5, abs=0.1)
    assert found.attrs["selector"] == selector


@pytest.mark.parametrize("selector", ["meandiff", "welch", "CDI", "CMI", "rank"])
def test_selectors_that_see_labels_find_the_planted_feature_and_blind_ones_do_not(selector):
    values = np.random.default_rng(1).standard_normal((60, 1, 200))
    values[30:, 0, 7] += 3
    responses = responses_of(values, np.repeat(["a", "b"], 30))
    found = decode(responses, "condition", select=(selector, 2), n_permutations=19)
    blind = decode(responses, "condition", select=("random", 2), n_permutations=19)
    assert float(found["auroc"].item()) > 0.9
    assert float(blind["auroc"].item()) < 0.75


def test_a_number_selects_by_variance_between_classes():
    responses = planted_responses()
    one = decode(responses, "condition", select=3, n_permutations=19)
    other = decode(responses, "condition", select=("eta2", 3), n_permutations=19)
    xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())


def test_a_confound_that_makes_the_difference_is_removed_and_a_true_effect_stays():
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 40)
    length = labels * 2.0 + rng.standard_normal(80)
    values = rng.standard_normal((80, 2, 5)) + 2 * length[:, None, None] * np.array([1, 0, 0, 0, 0])
    values[labels == 1, 1, 2] += 5
    responses = responses_of(values, np.array(["a", "b"])[labels], n_words=length)
    plain = decode(responses, "condition", n_permutations=39)
    clean = decode(responses, "condition", nuisance=["n_words"], n_permutations=39)
    assert (plain["auroc"] > 0.85).all()
    assert float(clean["auroc"][0]) < 0.65
    assert float(clean["auroc"][1]) > 0.85
    assert clean.attrs["nuisance"] == "n_words"


def test_confounds_are_learned_from_training_rows_alone():
    rng = np.random.default_rng(3)
    x, z = rng.standard_normal((30, 4)), rng.standard_normal((30, 2))
    _, one = without_confounds(x[:20], x[20:], z[:20], z[20:])
    _, other = without_confounds(x[:20], np.vstack([x[20:21], 1e3 * x[21:]]), z[:20], z[20:])
    np.testing.assert_allclose(one[0], other[0])
    rest, _ = without_confounds(x[:20], x[20:], z[:20], z[20:])
    np.testing.assert_allclose(z[:20].T @ rest, 0, atol=1e-10)


def test_what_confounds_explain_wholly_is_constant_and_no_feature():
    labels = np.repeat(["a", "b"], 20)
    length = np.arange(40.0)
    found = decode(
        responses_of(3 * length[:, None] + 7, labels, n_words=length),
        "condition",
        nuisance=["n_words"],
        n_permutations=19,
    )
    assert float(found["auroc"].item()) == 0.5


# Surface


def test_surface_counts_what_the_text_holds():
    texts = ["A cat, a cat.", "Dogs!"]
    stimuli = responses_of(np.zeros((2, 1, 1)), ["x", "y"]).assign_coords(text=("stimulus", texts))
    found = surface_features(stimuli, parts=["length", "bag"])
    row = dict(zip(found["feature_name"].values.tolist(), found.values[0, 0].tolist(), strict=True))
    assert row["n_words"] == 4
    assert row["n_chars"] == 13
    assert row["punctuation"] == 2
    assert row["word a"] == 2
    assert found["condition"].values.tolist() == ["x", "y"]
    assert found.attrs["basis"] == "surface"


def test_surface_of_a_recording_uses_its_tokens_but_not_padding_or_special_ones():
    recording = planted_recording(n_items=4)
    found = surface_features(recording)
    names = found["feature_name"].values
    bag = np.char.startswith(names, "token ")
    assert "token <bos>" not in names
    assert "token " not in names
    assert (found.values[:, 0, bag].sum(axis=1) == recording["valid"].sum("token").values).all()
    counted = found.isel(feature=int(np.flatnonzero(names == "n_tokens")[0])).values.ravel()
    assert (counted == recording["valid"].sum("token").values).all()


def test_a_condition_of_the_surface_is_decoded_from_it_and_the_model_adds_nothing():
    rng = np.random.default_rng(4)
    labels = np.repeat(["short", "long"], 30)
    n_words = np.where(labels == "long", 9, 5) + rng.integers(-1, 2, 60)
    texts = [" ".join(rng.choice(["red", "blue", "green"], n)) for n in n_words]
    values = rng.standard_normal((60, 2, 6)) + n_words[:, None, None] * np.array([1.0, 0, 0, 0, 0, 0])
    responses = responses_of(values, labels).assign_coords(text=("stimulus", texts))
    own = decode(responses, "condition", n_permutations=19)
    surface = decode(surface_features(responses), "condition", n_permutations=19)
    assert float(surface["auroc"].item()) > 0.95
    gain = compare_decoders(own, surface)
    assert (gain["p_right"] < 0.5).all()
    # Spelling alone sees neither length nor order here, words of one letter run being shared.
    assert set(surface_features(responses, parts=["spelling"]).dims) == {"stimulus", "layer", "feature"}


def test_the_target_counts_the_tokens_that_its_word_is_cut_into():
    recording = planted_recording(n_items=2)
    words = recording["word_index"].values.copy()
    # Tokens 2 and 3 of the first stimulus become one word, which is its target; the others' is token 1.
    words[0, 3] = words[0, 2]
    relative = np.arange(words.shape[1]) - np.array([3, 1, 1, 1])[:, None]
    marked = recording.assign_coords(
        word_index=(("stimulus", "token"), words), rel_target=(("stimulus", "token"), relative)
    )
    found = surface_features(marked, parts=["length"])
    names = found["feature_name"].values.tolist()
    assert found.values[:, 0, names.index("target_tokens")].tolist() == [2, 1, 1, 1]


def test_matched_features_can_fall_below_chance_but_a_bag_of_telling_words_cannot():
    # Each length occurs equally often in both classes: training folds lack what the test fold has.
    n_words = np.tile(np.repeat(np.arange(3, 9), 5), 2)
    labels = np.repeat(["a", "b"], 30)
    texts = [" ".join(["word"] * n) for n in n_words]
    stimuli = responses_of(np.zeros((60, 1, 1)), labels).assign_coords(text=("stimulus", texts))
    matched = decode(surface_features(stimuli, parts=["length"]), "condition", n_permutations=19)
    assert float(matched["auroc"].item()) < 0.55
    telling = [
        f"{text} {'red' if label == 'a' else 'blue'}" for text, label in zip(texts, labels, strict=True)
    ]
    found = decode(
        surface_features(stimuli.assign_coords(text=("stimulus", telling)), parts=["bag"]),
        "condition",
        n_permutations=19,
    )
    assert float(found["auroc"].item()) == 1


def test_covariates_join_the_surface():
    responses = planted_responses(n_items=5).assign_coords(
        zipf=("stimulus", np.linspace(1, 2, 10)), list_name=("stimulus", ["p", "q"] * 5)
    )
    found = surface_features(responses, parts=[], covariates=["zipf", "list_name"])
    assert found["feature_name"].values.tolist() == ["zipf", "list_name"]
    assert found.values[:3, 0, 1].tolist() == [0.0, 1.0, 0.0]


def test_surfaces_that_cannot_be_described_are_refused():
    responses = planted_responses(n_items=5)
    with pytest.raises(DesignError, match="no surface part 'syntax'"):
        surface_features(responses, parts=["syntax"])
    with pytest.raises(DesignError, match="no column 'text'"):
        surface_features(responses.drop_vars("text"))
    with pytest.raises(DesignError, match="no column 'zipf'"):
        surface_features(responses, covariates=["zipf"])
    with pytest.raises(DesignError, match="nothing to describe"):
        surface_features(responses, parts=[])
    with pytest.raises(DesignError, match="1 stimuli have no 'zipf'"):
        surface_features(responses.assign_coords(zipf=("stimulus", ["", *"123456789"])), covariates=["zipf"])


# Comparison


def test_a_better_decoder_is_told_from_a_worse_one_and_from_itself():
    found = decode(planted_responses(n_items=40, effect=3.0), "condition", n_permutations=19)
    gain = compare_decoders(found.sel(layer=[1]), found.sel(layer=[0]))
    assert float(gain["difference"].item()) > 0.25
    assert float(gain["difference_lo"].item()) > 0
    assert float(gain["p_right"].item()) > 0.95
    same = compare_decoders(found, found)
    assert (same["difference"] == 0).all()
    assert (same["p"] == 1).all()
    assert (same["p_rope"] == 1).all()


def test_comparison_is_antisymmetric_and_broadcasts_a_baseline():
    found = decode(planted_responses(effect=3.0), "condition", n_permutations=19)
    one, other = compare_decoders(found, found.sel(layer=[0])), compare_decoders(found.sel(layer=[0]), found)
    np.testing.assert_allclose(one["difference"], -other["difference"])
    np.testing.assert_allclose(one["p_left"], other["p_right"])
    np.testing.assert_allclose(one["p"], other["p"])
    assert one["layer"].values.tolist() == other["layer"].values.tolist() == [0, 1, 2]


def test_comparison_survives_a_file_and_describes_itself(tmp_path):
    found = decode(planted_responses(effect=3.0), "condition", n_permutations=19)
    gain = compare_decoders(found, found.sel(layer=[0]))
    gain.to_netcdf(tmp_path / "gain.nc")
    with xr.open_dataset(tmp_path / "gain.nc") as read:
        xr.testing.assert_identical(read.load(), gain)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in gain.data_vars.values())
    assert all(isinstance(value, str | int | float) for value in gain.attrs.values())


def test_decoders_of_other_stimuli_classes_folds_or_layers_are_not_compared():
    responses = planted_responses()
    found = decode(responses, "condition", n_permutations=19)
    shorter = decode(responses.isel(stimulus=slice(2, None)), "condition", n_permutations=19)
    with pytest.raises(DesignError, match="tested on different stimuli"):
        compare_decoders(found, shorter)
    with pytest.raises(DesignError, match="had different folds"):
        compare_decoders(found, decode(responses, "condition", n_permutations=19, seed=1))
    swapped = responses.assign_coords(condition=("stimulus", ["B"] * 20 + ["A"] * 20))
    with pytest.raises(DesignError, match="had different classes"):
        compare_decoders(found, decode(swapped, "condition", n_permutations=19))
    with pytest.raises(DesignError, match="3 and 2 layers"):
        compare_decoders(found, found.isel(layer=slice(2)))
    with pytest.raises(DesignError, match="align them first"):
        compare_decoders(found, found.assign_coords(layer=[4, 5, 6]))
    with pytest.raises(DesignError, match="rope is"):
        compare_decoders(found, found, rope=-0.1)
    with pytest.raises(DesignError, match="give two results of decode"):
        compare_decoders(found, found.drop_vars("test_fold"))


# Control tasks


def test_item_identity_is_memorised_by_control_tasks_and_class_codes_are_selective():
    identity = crossed(n_items=24, n_templates=6, n_features=60, seed=5)
    rng = np.random.default_rng(5)
    item = identity["item"].values.astype(int)
    identity = identity.copy(data=identity.values + 3 * rng.standard_normal((24, 1, 60))[item])
    found = control_task(identity, "condition", groups="template")
    assert float(found["control_auroc"].item()) > 0.9
    assert float(found["selectivity"].item()) == pytest.approx(0, abs=0.08)
    assert float(found["p"].item()) > 0.05
    coded = crossed(n_items=24, n_templates=6, effect=4.0, seed=6)
    selective = control_task(coded, "condition", groups="template")
    assert float(selective["selectivity"].item()) > 0.3
    assert float(selective["p"].item()) < 0.05
    assert selective.attrs["share_recurring"] == 1


def test_control_tasks_that_could_not_be_learned_are_refused():
    responses = crossed()
    with pytest.raises(DesignError, match="no 'item' of a test fold occurs in its training folds"):
        control_task(responses, "condition", groups="item")
    with pytest.raises(DesignError, match="2 types for 2 classes"):
        control_task(responses, "condition", types="condition")
    with pytest.raises(DesignError, match="no column 'word'"):
        control_task(responses, "condition", types="word")


def test_control_tasks_survive_a_file(tmp_path):
    found = control_task(crossed(n_items=12), "condition", n_controls=5)
    found.to_netcdf(tmp_path / "controls.nc")
    with xr.open_dataset(tmp_path / "controls.nc") as read:
        xr.testing.assert_identical(read.load(), found)


def test_control_labels_leave_no_training_fold_without_a_class():
    rng = np.random.default_rng(0)
    types = np.tile(np.arange(10), 2).astype(str)
    responses = responses_of(rng.standard_normal((20, 1, 5)), np.resize(list("abcd"), 20), type=types)
    found = control_task(responses, "condition", types="type", groups="stimulus", n_controls=60)
    assert np.isfinite(found["control_auroc"]).all()
    with pytest.raises(DesignError, match="only one column can be held out here"):
        control_task(responses, "condition", types="type", groups=("type", "stimulus"))


def test_control_labels_that_no_fold_could_learn_are_refused(monkeypatch):
    monkeypatch.setattr(control_tasks, "_DRAWS", 0)
    with pytest.raises(DesignError, match="always lacked a class"):
        control_task(crossed(n_templates=5), "condition", groups="template", n_controls=2)
