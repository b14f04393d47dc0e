"""Decoding of labelled responses: planted effects found, nulls calibrated, groups never leak."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom, norm
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, permutation_test_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosae.analysis.decoding import decode
from neurosae.analysis.decoding_design import N_FOLDS, N_REPEATS, decoding_design, exchanges
from neurosae.arrays.ridge_decoder import SHRINKAGE
from neurosae.errors import DesignError


def responses_of(values, conditions, **columns):
    values = np.asarray(values, dtype=float)
    values = values[:, None, :] if values.ndim == 2 else values
    n, n_layers, n_features = values.shape
    columns = {"condition": conditions, **columns}
    return xr.DataArray(
        values,
        dims=("stimulus", "layer", "feature"),
        coords={
            "stimulus": [f"s{i:04d}" for i in range(n)],
            "layer": np.arange(n_layers),
            "feature": np.arange(n_features),
            **{name: ("stimulus", np.asarray(column).astype(str)) for name, column in columns.items()},
        },
        name="response",
        attrs={"units": "a.u.", "site": "resid_post", "basis": "units"},
    )


def families(n_families, n_members, n_layers, n_features, seed, spread=0.05):
    """Near-duplicates: the members of a family differ by a twentieth of the distance between families."""
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(n_families), n_members)
    values = rng.standard_normal((n_families, n_layers, n_features))[family]
    return values + spread * rng.standard_normal(values.shape), family


def planted(effect=1.5, n_per_class=25, n_layers=3, n_features=10, seed=0):
    """Class 'b' exceeds 'a' by ``effect`` at layer 1, features 0 and 1; everything else is noise."""
    rng = np.random.default_rng(seed)
    conditions = np.repeat(["a", "b"], n_per_class)
    values = rng.standard_normal((2 * n_per_class, n_layers, n_features))
    values[conditions == "b", 1, :2] += effect
    return responses_of(values, conditions)


def test_planted_effect_is_decoded_at_its_layer_only():
    found = decode(planted(), "condition")
    assert (found["p_adjusted"].values <= 0.05).tolist() == [False, True, False]
    # Two features 1.5 SD apart: d' = 2.12 and AUROC .933 with known weights; learning them costs a little.
    assert found["auroc"].values[1] == pytest.approx(0.91, abs=0.07)
    assert (found["auroc_lo"] < found["auroc"]).all()
    assert (found["auroc"] < found["auroc_hi"]).all()


def test_one_feature_has_the_auroc_of_its_separation():
    found = decode(
        planted(effect=1.0, n_per_class=250, n_features=1, n_layers=2), "condition", n_permutations=20
    )
    # Standard error of an AUROC of .76 with 250 a class is .021.
    assert found["auroc"].values[1] == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.065)


def test_scores_separate_the_classes_that_they_name():
    rng = np.random.default_rng(1)
    conditions = np.tile(["x", "y", "z"], 15)
    values = rng.standard_normal((45, 6)) + 3 * (conditions[:, None] == ["x", "y", "z", "", "", ""])
    found = decode(responses_of(values, conditions), "condition", n_permutations=19)
    best = found["class"].values[found["score"].isel(layer=0).values.argmax(axis=1)]
    assert np.mean(best == conditions) > 0.9
    assert found["true_class"].values.tolist() == conditions.tolist()
    assert float(found["balanced_accuracy"].item()) == pytest.approx(np.mean(best == conditions))
    assert float(found["auroc"].item()) > 0.95
    assert found.attrs["base_rate"] == pytest.approx(1 / 3)


def test_selection_finds_the_planted_features_among_many():
    responses = planted(effect=2.5, n_features=400)
    with_selection = decode(responses, "condition", select=2, n_permutations=39)
    without = decode(responses, "condition", n_permutations=39)
    assert with_selection["auroc"].values[1] > 0.9
    assert with_selection["auroc"].values[1] > without["auroc"].values[1]


@pytest.mark.parametrize("select", [None, 2])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_kat_30_rate_of_false_positives_of_shuffled_families(select, n_classes):
    # Layers are independent here, so that one call runs 200 simulations.
    values, family = families(18, 3, 200, 6, seed=30 + n_classes, spread=0.5)
    labels = np.random.default_rng(n_classes).permutation(np.arange(18) % n_classes)[family]
    found = decode(
        responses_of(values, labels, family=family), "condition", select=select, n_permutations=99, seed=2
    )
    # Exact .0005 and .9995 binomial limits of 200 simulations at .05.
    assert 0.010 <= (found["p"] <= 0.05).mean() <= 0.105
    assert found["p"].mean() == pytest.approx(0.5, abs=0.08)
    assert found["p_adjusted"].min() > 0.05


def test_kat_30_rate_of_false_positives_within_families():
    values, family = families(20, 2, 400, 5, seed=31, spread=1.0)
    found = decode(
        responses_of(values, np.tile(["a", "b"], 20), family=family), "condition", n_permutations=99, seed=3
    )
    assert found.attrs["scheme"] == "within strata"
    assert 0.0175 <= (found["p"] <= 0.05).mean() <= 0.090


def test_kat_30_p_is_valid_over_folds_and_relabelings_too():
    # Twenty designs with their own folds, shuffles and ten layers each.
    passed = []
    for seed in range(20):
        values, family = families(16, 2, 10, 4, seed=100 + seed, spread=0.5)
        labels = np.random.default_rng(seed).permutation(np.repeat(["a", "b"], 8))[family]
        found = decode(responses_of(values, labels, item=family), "condition", n_permutations=39, seed=seed)
        passed.append(found["p"].values <= 0.05)
    assert 0.010 <= np.mean(passed) <= 0.105


def test_kat_30_families_constant_in_label_are_permuted_as_blocks():
    values, family = families(20, 3, 1, 8, seed=32)
    labels = np.arange(20)[family] % 2
    values[labels == 1, 0, 0] += 3
    found = decode(responses_of(values, labels, family=family), "condition", n_permutations=99)
    assert found.attrs["scheme"] == "blocks within strata"
    assert float(found["null_hi"].item()) > float(found["chance"].item()) + 0.05
    assert float(found["p"].item()) < 0.05
    # sklearn permutes labels within groups, where they are constant: every permuted score is the real one.
    score, permuted, p = permutation_test_score(
        RidgeClassifier(), values[:, 0], labels, groups=family, cv=StratifiedGroupKFold(5), n_permutations=20
    )
    assert (permuted == score).all()
    assert p == 1.0


def test_kat_30_paired_families_are_permuted_within():
    values, family = families(20, 2, 1, 8, seed=33)
    labels = np.tile([0, 1], 20)
    values[labels == 1, 0, 0] += 3
    found = decode(responses_of(values, labels, family=family), "condition", n_permutations=99)
    assert found.attrs["scheme"] == "within strata"
    assert float(found["p"].item()) < 0.05


def cell_effects(labels, family, n_layers, seed, spread=0.4):
    """No class effect, but rows of one family and class share an effect of their own, 1 SD large."""
    rng = np.random.default_rng(seed)
    cell = np.unique(np.stack([family, labels]), axis=1, return_inverse=True)[1].ravel()
    values = rng.standard_normal((cell.max() + 1, n_layers, 3))[cell]
    return values + spread * rng.standard_normal(values.shape)


@pytest.mark.parametrize(("n_mixed", "select"), [(16, None), (8, 1)])
def test_kat_30_paraphrases_that_share_a_cell_effect_keep_the_error_rate(n_mixed, select):
    # Families x classes x 4 paraphrases; beyond the first n_mixed, families of 8 hold one class each.
    family = np.repeat(np.arange(16), 8)
    labels = np.where(family < n_mixed, np.tile(np.repeat([0, 1], 4), 16), family % 2)
    p = []
    for seed in range(10):
        responses = responses_of(cell_effects(labels, family, 40, 500 + seed), labels, family=family)
        found = decode(responses, "condition", select=select, n_permutations=39, seed=seed)
        p.append(found["p"].values)
    lower, upper = binom.ppf([0.0005, 0.9995], 400, 0.05) / 400
    assert lower <= (np.concatenate(p) <= 0.05).mean() <= upper
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)  # 4 standard errors


@pytest.mark.parametrize("n_mixed", [16, 8, 0])
def test_rows_of_one_group_and_class_move_together_and_folds_keep_their_classes(n_mixed):
    family = np.repeat(np.arange(16), 8)
    labels = np.where(family < n_mixed, np.tile(np.repeat([0, 1], 4), 16), family % 2)
    order = np.random.default_rng(0).permutation(128)
    family, labels = family[order], labels[order]
    responses = responses_of(np.zeros((128, 1)), labels, family=family, item=np.arange(128))
    design = decoding_design(responses, "condition", "family", seed=1)
    relabelings = exchanges(design, 99, seed=2)
    for cell in {*zip(family, labels, strict=True)}:
        own = relabelings.labels[:, (family == cell[0]) & (labels == cell[1])]
        assert (own == own[:, :1]).all()
    is_mixed = family < n_mixed
    for fold in range(N_FOLDS):
        held = design.folds[0] == fold
        assert (relabelings.labels[:, held].sum(axis=1) == labels[held].sum()).all()
    for group in range(n_mixed):
        assert (relabelings.labels[:, family == group].sum(axis=1) == 4).all()
    for part in (is_mixed, ~is_mixed):
        assert not part.any() or (relabelings.labels[:, part] != labels[part]).any()


def test_an_effect_across_paraphrases_is_found():
    family = np.repeat(np.arange(16), 8)
    labels = np.tile(np.repeat([0, 1], 4), 16)
    values = cell_effects(labels, family, 2, seed=34)
    values[labels == 1, 1, 0] += 2.5
    found = decode(responses_of(values, labels, family=family), "condition", n_permutations=99)
    assert found.attrs["scheme"] == "blocks within strata"
    assert (found["p_adjusted"].values <= 0.05).tolist() == [False, True]


def test_classes_of_unequal_size_within_groups_cannot_be_exchanged():
    # Ten families with one row of class a and two of b each.
    values, family = families(10, 3, 1, 4, seed=35)
    with pytest.raises(DesignError, match=r"fall in 1 ways only.*classes with equally many rows"):
        decode(responses_of(values, np.tile(["a", "b", "b"], 10), family=family), "condition")


def test_p_names_the_statistic_that_it_belongs_to():
    found = decode(planted(), "condition", n_permutations=19)
    for name in ("p", "p_adjusted"):
        assert "first repeat (auroc_tested)" in found[name].attrs["long_name"]


def test_kat_26_selection_inside_the_folds_does_not_leak():
    rng = np.random.default_rng(26)
    conditions = np.repeat(["a", "b"], 25)
    values = rng.standard_normal((50, 40, 5000))
    found = decode(responses_of(values, conditions), "condition", select=8, n_permutations=20)
    # Forty layers: the standard error of their mean is .018.
    assert float(found["balanced_accuracy"].mean()) == pytest.approx(0.5, abs=0.06)
    outside = []
    for layer in range(4):
        rows = values[:, layer]
        difference = rows[:25].mean(axis=0) - rows[25:].mean(axis=0)
        best = np.argsort(-np.abs(difference / rows.std(axis=0)))[:8]
        outside.append(decode(responses_of(rows[:, best], conditions), "condition", n_permutations=20))
    assert np.mean([one["balanced_accuracy"].item() for one in outside]) > 0.8


def test_kat_26_near_duplicates_leak_unless_they_share_a_fold():
    values, family = families(20, 6, 40, 30, seed=27)
    labels = np.random.default_rng(27).permutation(np.arange(20) % 2)[family]
    responses = responses_of(values, labels, family=family)
    grouped = decode(responses, "condition", n_permutations=20)
    naive = decode(responses.isel(layer=[0, 1]), "condition", groups="stimulus", n_permutations=20)
    assert float(naive["balanced_accuracy"].min()) > 0.98
    assert float(grouped["balanced_accuracy"].mean()) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_fold_scores_are_those_of_sklearn_on_the_same_folds(n_classes):
    values, item = families(30, 2, 1, 12, seed=3, spread=0.5)
    labels = item % n_classes
    values[:, 0, :3] += labels[:, None]
    found = decode(responses_of(values, labels, item=item), "condition", n_permutations=19, seed=5)
    sklearn_ridge = make_pipeline(StandardScaler(), RidgeClassifier(alpha=SHRINKAGE * 12))
    # Group codes sort as text inside decode.
    group = np.unique(item.astype(str), return_inverse=True)[1]
    for repeat, state in enumerate(np.random.SeedSequence(5).generate_state(N_REPEATS)):
        splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=int(state))
        for fold, (train, test) in enumerate(splitter.split(values[:, 0], labels, group)):
            scores = sklearn_ridge.fit(values[train, 0], labels[train]).decision_function(values[test, 0])
            scores = np.column_stack([-scores, scores]) if n_classes == 2 else scores
            areas = [roc_auc_score(labels[test] == k, scores[:, k]) for k in range(n_classes)]
            assert float(found["fold_auroc"][0, repeat, fold]) == pytest.approx(np.mean(areas), abs=1e-12)


def test_chance_is_the_mean_under_permutation_and_p_matches_it():
    found = decode(planted(effect=0.0, n_layers=30), "condition", n_permutations=99)
    assert float(found["chance"].mean()) == pytest.approx(0.5, abs=0.05)
    assert (found["chance"] < found["null_hi"]).all()
    assert ((found["auroc_tested"] > found["null_hi"]) == (found["p"] <= 0.055)).mean() > 0.95
    assert (found["p_adjusted"] >= found["p"]).all()


def test_order_of_stimuli_does_not_change_the_scores():
    values, item = families(20, 2, 2, 6, seed=4, spread=0.5)
    responses = responses_of(values, item % 2, item=item)
    one = decode(responses, "condition", n_permutations=19)
    other = decode(
        responses.isel(stimulus=np.random.default_rng(0).permutation(40)), "condition", n_permutations=19
    )
    xr.testing.assert_allclose(one["auroc"], other["auroc"], atol=1e-9)
    xr.testing.assert_allclose(one["score"], other["score"].sel(unit=one["unit"]), atol=1e-9)


@pytest.mark.parametrize("select", [None, 3])
def test_order_of_features_and_dead_features_do_not_change_anything(select):
    responses = planted()
    dead = xr.zeros_like(responses).assign_coords(feature=responses["feature"] + 100)
    longer = xr.concat([dead, responses.isel(feature=slice(None, None, -1))], "feature")
    one, other = (decode(r, "condition", select=select, n_permutations=39) for r in (responses, longer))
    for name in ("auroc", "p", "p_adjusted", "auroc_lo", "score"):
        xr.testing.assert_allclose(one[name], other[name], atol=1e-9)


def test_one_seed_gives_one_result_and_another_other_folds():
    one, same, other = (decode(planted(), "condition", n_permutations=19, seed=seed) for seed in (1, 1, 2))
    xr.testing.assert_identical(one, same)
    assert not np.array_equal(one["fold_auroc"], other["fold_auroc"])


def test_layers_do_not_change_each_other():
    found = decode(planted(), "condition", n_permutations=19)
    alone = decode(planted().isel(layer=[1]), "condition", n_permutations=19)
    for name in ("auroc", "p", "fold_auroc", "score"):
        np.testing.assert_array_equal(found[name].isel(layer=[1]), alone[name])


def test_families_are_kept_together_where_there_are_any():
    values, family = families(12, 4, 1, 5, seed=6)
    item = np.arange(48) // 2
    responses = responses_of(values, family % 2, family=family, item=item)
    assert decode(responses, "condition", n_permutations=19).attrs["groups"] == "family"
    assert decode(responses.drop_vars("family"), "condition", n_permutations=19).attrs["groups"] == "item"
    assert (
        decode(responses.drop_vars(["family", "item"]), "condition", n_permutations=19).attrs["n_units"] == 48
    )


def test_few_relabelings_are_enumerated():
    values, item = families(10, 1, 1, 5, seed=7)
    found = decode(responses_of(values, item % 2, item=item), "condition", n_permutations=200)
    # Five folds of one group of each class: 2**5 relabelings.
    assert found.attrs["n_permutations"] == 32
    assert float(found["p"].item()) * 32 == pytest.approx(round(float(found["p"].item()) * 32))


def test_result_survives_a_file_and_describes_itself(tmp_path):
    found = decode(planted(), "condition", n_permutations=19)
    found.to_netcdf(tmp_path / "decoding.nc")
    with xr.open_dataset(tmp_path / "decoding.nc") as read:
        xr.testing.assert_identical(read.load(), found)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in found.data_vars.values())
    assert all(isinstance(value, str | int | float) for value in found.attrs.values())


def test_designs_that_cannot_be_decoded_are_refused():
    responses = planted()
    with pytest.raises(DesignError, match="one class only, 'a'"):
        decode(responses.isel(stimulus=slice(25)), "condition")
    with pytest.raises(DesignError, match=r"at least 5 groups.*'b': 4"):
        decode(responses.isel(stimulus=slice(29)), "condition")
    with pytest.raises(DesignError, match="no column 'task'"):
        decode(responses, "task")
    with pytest.raises(DesignError, match=r"no column 'templat' in the stimuli"):
        decode(responses, "condition", groups="templat")
    with pytest.raises(DesignError, match="NaN or infinite"):
        decode(responses.where(responses["stimulus"] != "s0003"), "condition")
    with pytest.raises(DesignError, match="select is 11"):
        decode(responses, "condition", select=11)
    with pytest.raises(DesignError, match="1 stimuli have no 'item'"):
        decode(responses.assign_coords(item=("stimulus", ["", *"i" * 49])), "condition")


def test_too_few_relabelings_are_refused():
    # Families of ten different sizes exchange with none of the others.
    family = np.repeat(np.arange(10), np.arange(1, 11))
    values = np.random.default_rng(0).standard_normal((55, 4))
    with pytest.raises(DesignError, match="the labels can fall in 1 ways only"):
        decode(responses_of(values, family % 2, family=family), "condition")


def test_pairs_stay_in_one_fold_although_their_items_differ():
    rng = np.random.default_rng(3)
    pair, labels = np.repeat(np.arange(20), 2), np.tile(["a", "b"], 20)
    values = 2 * rng.standard_normal((20, 1, 15))[pair] + rng.standard_normal((40, 1, 15))
    responses = responses_of(values, labels, pair=pair, item=np.arange(40), other=np.arange(40))
    found = decode(responses, "condition", n_permutations=19)
    assert (found.attrs["groups"], found.attrs["n_units"]) == ("pair", 20)
    assert found["test_fold"].values[:, ::2].tolist() == found["test_fold"].values[:, 1::2].tolist()
    # Split, the twin of each test row trains with the other label.
    split = decode(responses, "condition", groups="other", n_permutations=19)
    assert abs(found["auroc"].item() - 0.5) < 0.2
    assert split["auroc"].item() < 0.3


def test_lazy_responses_are_decoded_layer_by_layer_to_the_same():
    rng = np.random.default_rng(0)
    responses = responses_of(rng.standard_normal((20, 3, 6)), np.repeat(["a", "b"], 10))
    lazy = responses.chunk({"layer": 1})
    found = decode(lazy, "condition", n_permutations=19)
    xr.testing.assert_identical(found, decode(responses, "condition", n_permutations=19))


def test_a_size_that_is_no_whole_number_is_refused():
    responses = responses_of(np.ones((20, 1, 6)), np.repeat(["a", "b"], 10))
    with pytest.raises(DesignError, match=r"select is 2.5; choose 1 to 6, a whole number"):
        decode(responses, "condition", select=2.5)


def test_the_peak_layer_comes_with_the_layers_it_may_be():
    rng = np.random.default_rng(0)
    values, labels = rng.standard_normal((60, 4, 6)), np.repeat(["a", "b"], 30)
    # Layers 1 and 2 hold the same class code with noise of their own: neither is the peak for certain.
    values[30:, 1:3, 0] += 2.0
    found = decode(responses_of(values, labels), "condition", n_permutations=19)
    assert found["peak_share"].sum().item() == pytest.approx(1.0)
    assert found["peak_share"].values[[0, 3]].max() < 0.02
    assert {found.attrs["peak_lo"], found.attrs["peak_hi"]} <= {1, 2}
    assert found.attrs["peak_layer"] == int(found["auroc"].argmax())
    values[30:, 2, 0] += 6.0
    clear = decode(responses_of(values, labels), "condition", n_permutations=19)
    assert [clear.attrs[name] for name in ("peak_lo", "peak_layer", "peak_hi")] == [2, 2, 2]


def test_layers_that_decode_equally_well_share_the_peak():
    values = np.random.default_rng(0).standard_normal((40, 1, 6)).repeat(3, axis=1)
    found = decode(responses_of(values, np.repeat(["a", "b"], 20)), "condition", n_permutations=19)
    assert found["peak_share"].values.tolist() == pytest.approx([1 / 3] * 3)
    assert (found.attrs["peak_lo"], found.attrs["peak_hi"]) == (0, 2)
