"""The pipeline comparison: nulls, planted codes, verdicts that need their controls, retrieval by name."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from neurosae.analysis.pipeline_comparison import compare_pipelines
from neurosae.analysis.pipeline_verdicts import (
    HYPOTHESES,
    Across,
    across_concepts,
    holm,
    over_items,
    verdicts,
    within_concepts,
)
from neurosae.analysis.retrieval import retrieve
from neurosae.errors import DesignError
from tests.responses import responses_of

N_PLANTED = 8


def sparse_codes(seed, n=100, n_features=256, is_planted=True):
    """Codes that fire at rates of their own; 8 of them fire in 60 % of the target and 10 % of the rest."""
    rng = np.random.default_rng(seed)
    is_target = np.arange(n) < n // 2
    fires = np.tile(rng.uniform(0.05, 0.5, n_features), (n, 1))
    scale = np.exp(0.2 * rng.standard_normal(n_features))
    if is_planted:
        fires[:, :N_PLANTED] = np.where(is_target, 0.6, 0.1)[:, None]
        scale[:N_PLANTED] = 1.6
    codes = (rng.random((n, n_features)) < fires) * rng.gamma(2.0, 0.5, (n, n_features)) * scale
    return codes, np.where(is_target, "yes", "no")


def spaces_of(seeds, n_units=64, with_random=False, **more):
    """Codes of several concepts, units that mix them with noise, and codes that know nothing."""
    parts = [sparse_codes(seed, **more) for seed in seeds]
    rng = np.random.default_rng(99)
    codes = np.concatenate([values for values, _ in parts])
    mixing = rng.standard_normal((codes.shape[1], n_units)) / np.sqrt(n_units)
    raw = codes @ mixing + 0.5 * rng.standard_normal((len(codes), n_units))
    labels = np.concatenate([names for _, names in parts])
    concept = np.repeat([f"c{seed:02d}" for seed in seeds], [len(names) for _, names in parts])
    found = {"raw": responses_of(raw, labels, concept=concept), "codes": None}
    found["codes"] = responses_of(codes, labels, concept=concept).assign_attrs(basis="toy/l0")
    if with_random:
        shuffled = rng.permuted(codes, axis=0)
        found["random"] = responses_of(shuffled, labels, concept=concept).assign_attrs(basis="toy/random")
    return found


@pytest.fixture(scope="module")
def planted():
    return compare_pipelines(spaces_of(range(6)), "condition", target="yes", n_repeats=1)


def mean_auroc(found, space, selector):
    return float(found["auroc"].sel(space=space, selector=selector).mean())


def n_planted_selected(found, selector):
    chosen = found["selected"].sel(space="codes", selector=selector)
    return float((chosen < N_PLANTED).sum("rank").mean())


def test_kat_36_planted_codes_are_found_by_the_selectors_that_should_find_them(planted):
    assert mean_auroc(planted, "codes", "welch") >= 0.90
    assert mean_auroc(planted, "codes", "CDI") >= 0.85
    assert mean_auroc(planted, "codes", "random") <= 0.65
    raw = planted["auroc"].sel(space="raw").mean(["concept", "repeat", "fold"])
    assert (raw <= 0.75).all()
    assert n_planted_selected(planted, "welch") >= 6.5
    assert n_planted_selected(planted, "CDI") >= 4.5
    assert 1 <= n_planted_selected(planted, "max") <= 4
    assert n_planted_selected(planted, "TDI") <= 1


def test_within_each_concept_the_planted_differences_are_found(planted):
    rsa = planted["difference_lo"].sel(hypothesis="H2")
    assert (rsa > 0).sum() >= 5
    assert (planted["p_right"].sel(hypothesis="H2") > 0.95).sum() >= 5


def test_six_concepts_decide_nothing_however_clear(planted):
    for name in ("H1", "H2", "H3"):
        verdict = str(planted["verdict"].sel(hypothesis=name).values)
        assert verdict.startswith("not decided: 6 concepts, at least 10 are needed")
    assert int(planted["across_n_concepts"].sel(hypothesis="H2")) == 6
    # Six values of one sign: 2 of 64 flips are as far out.
    assert float(planted["across_p"].sel(hypothesis="H2")) == 2 / 64


def test_kat_36_one_seed_gives_one_result_and_a_file_keeps_it(planted, tmp_path):
    one, again = (
        compare_pipelines(
            spaces_of([1], n_units=12, n=40, n_features=24), "condition", target="yes", n_repeats=1
        )
        for _ in range(2)
    )
    xr.testing.assert_identical(again, one)
    planted.to_netcdf(tmp_path / "pipelines.nc")
    with xr.open_dataset(tmp_path / "pipelines.nc") as read:
        xr.testing.assert_identical(read.load(), planted)
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in planted.data_vars.values())
    assert all(isinstance(value, str | int | float) for value in planted.attrs.values())
    assert '"step": "compare_pipelines"' in planted.attrs["provenance"]


def test_kat_36_single_and_double_precision_select_the_same_features():
    spaces = spaces_of([1], n_units=16, n=60, n_features=60)
    one = compare_pipelines(spaces, "condition", target="yes", n_repeats=1)
    single = {name: space.astype(np.float32) for name, space in spaces.items()}
    other = compare_pipelines(single, "condition", target="yes", n_repeats=1)
    same = (one["selected"] == other["selected"]).sel(space=["raw", "codes"])
    assert float(same.mean()) > 0.99


@pytest.fixture(scope="module")
def null():
    spaces = spaces_of(range(20), n_units=24, n=60, n_features=40, is_planted=False)
    return compare_pipelines(spaces, "condition", target="yes", n_repeats=1)


def test_kat_35_null_recordings_are_at_chance_in_every_cell_and_decide_nothing(null):
    cells = null["auroc"].mean(["concept", "repeat", "fold"])
    for space in ("raw", "codes"):
        for selector in ("max", "CMI", "CDI"):
            assert float(cells.sel(space=space, selector=selector)) == pytest.approx(0.5, abs=0.04)
    assert float(cells.mean()) == pytest.approx(0.5, abs=0.04)
    for name in ("H1", "H2", "H3"):
        assert (null["p"].sel(hypothesis=name) < 0.05).sum() <= 3
        verdict = str(null["verdict"].sel(hypothesis=name).values)
        assert verdict.startswith(("not decided", "no difference"))
        assert float(null["across_p_holm"].sel(hypothesis=name)) > 0.05


def test_kat_35_names_of_classes_do_not_matter_but_for_the_direction_of_retrieval():
    spaces = spaces_of([2], n_units=16, n_features=60)
    swapped = {
        name: space.assign_coords(
            condition=("stimulus", np.where(space["condition"] == "yes", "a target", "the rest"))
        )
        for name, space in spaces.items()
    }
    one = compare_pipelines(spaces, "condition", target="yes", n_repeats=1)
    other = compare_pipelines(swapped, "condition", target="a target", n_repeats=1)
    # Class names in another order give other folds of as good a split.
    for selector in ("welch", "CDI"):
        assert mean_auroc(one, "codes", selector) == pytest.approx(
            mean_auroc(other, "codes", selector), abs=0.07
        )
    known = spaces["codes"]
    corpus, truth = sparse_codes(3, n_features=60)
    corpus = responses_of(corpus, truth).assign_attrs(known.attrs)
    corpus = corpus.assign_coords(
        stimulus=[f"x{i}" for i in range(100)], text=("stimulus", [f"corpus {i}" for i in range(100)])
    )
    wanted = retrieve(known, corpus, "condition", target="yes")
    unwanted = retrieve(known, corpus, "condition", target="no")
    renamed = retrieve(swapped["codes"], corpus, "condition", target="a target")
    np.testing.assert_allclose(wanted["score"], -unwanted["score"], atol=1e-4)
    np.testing.assert_allclose(wanted["score"], renamed["score"], atol=1e-4)
    is_target = dict(zip(corpus["stimulus"].values.tolist(), (truth == "yes").tolist(), strict=True))
    top = [is_target[name] for name in wanted["listed"].sel(list="top").values.tolist()]
    assert np.mean(top) > 0.9
    drawn = set(wanted["listed"].sel(list="random").values.tolist())
    assert not drawn & set(wanted["listed"].sel(list="top").values.tolist())


def test_each_cell_is_tested_against_chance_by_relabeling():
    spaces = spaces_of([4], n_units=12, n=50, n_features=30)
    noise = np.random.default_rng(4).standard_normal(spaces["raw"].shape)
    spaces["raw"] = spaces["raw"].copy(data=noise)
    found = compare_pipelines(spaces, "condition", target="yes", n_repeats=1, n_permutations=19)
    assert float(found["chance_p"].sel(space="codes", selector="welch")) == 0.05
    # Ten cells of one data set share their rows: their mean p has a standard error of about .2.
    assert 0.1 < float(found["chance_p"].sel(space="raw").mean()) < 1
    assert np.isnan(found["chance_p"].sel(space="raw_axes")).all()
    tested = found["chance_p_holm"].sel(space=["raw", "codes"])
    assert (tested >= found["chance_p"].sel(space=["raw", "codes"])).all()


def test_windows_let_the_category_indices_see_the_course_over_a_stimulus():
    # Feature 0 rises in the target and falls in the rest: its mean over windows says nothing.
    rng = np.random.default_rng(6)
    labels = np.repeat(["yes", "no"], 40)
    course = np.where(labels == "yes", 1.0, -1.0)[:, None] * np.array([-1.0, -0.3, 0.3, 1.0])
    values = rng.standard_normal((80, 4, 30))
    values[:, :, 0] += 2 * course
    flat = responses_of(values.mean(axis=1), labels, concept=["c"] * 80)
    windowed = xr.DataArray(
        values[:, :, None],
        dims=("stimulus", "window", "layer", "feature"),
        coords=dict(flat.coords.items()),
        attrs=flat.attrs,
    )
    found = compare_pipelines({"raw": windowed, "codes": windowed}, "condition", target="yes", n_repeats=1)
    chosen = {s: found["selected"].sel(space="codes", selector=s) for s in ("CDI", "CMI", "welch")}
    share = {name: float((one == 0).any("rank").mean()) for name, one in chosen.items()}
    assert share["CDI"] == share["CMI"] == 1
    assert share["welch"] < 1
    assert found.attrs["patterns"] == "windows"


def test_too_few_codes_alive_in_training_are_nan_and_counted():
    spaces = spaces_of([7], n_units=12, n=60, n_features=12)
    codes = spaces["codes"].values.copy()
    # Five features fire in five stimuli only: alive over all, not in every training fold.
    codes[:, :, 4:9] = 0
    codes[10:15, :, 4:9] = 1 + np.random.default_rng(0).random((5, 1, 5))
    spaces["codes"] = spaces["codes"].copy(data=codes)
    found = compare_pipelines(spaces, "condition", target="yes", n_repeats=1)
    failed = found["n_failed"].sel(space="codes", selector="welch")
    assert 1 <= int(failed.item()) <= 5
    missing = np.isnan(found["auroc"].sel(space="codes", selector="welch"))
    assert int(missing.sum()) == int(failed.item())
    assert (found["selected"].sel(space="codes", selector="welch") == -1).any()
    assert int(found["n_failed"].sel(space="raw", selector="welch").item()) == 0


# Verdicts


def across(effect=0.1, low=0.05, high=0.15, p=0.001, p_rope=0.0, n_concepts=12):
    return Across(effect, low, high, p, p, 0.0, p_rope, 1.0 - p_rope, n_concepts, n_concepts, 5)


def all_across(**changed):
    return {name: across() for name in HYPOTHESES} | changed


def test_the_gain_of_codes_is_claimed_only_beside_its_controls():
    none = across_concepts(np.full(12, np.nan), seed=0)
    cases = {
        "first is better": all_across(),
        "not claimed: no codes of random weights": all_across(codes_random=none),
        "not claimed: no gain in as many codes as units": all_across(thinned_raw=across(low=-0.01)),
        "not claimed: no gain in codes minus codes of random": all_across(codes_random=across(low=-0.2)),
    }
    for start, found in cases.items():
        assert verdicts(found, holm(found))["H2"].startswith(start)


def test_verdicts_name_what_was_found():
    cases = {
        "second is better: -0.100": across(effect=-0.1, low=-0.15, high=-0.05),
        "no difference above 0.02": across(effect=0.001, low=-0.01, high=0.01, p=0.8, p_rope=0.99),
        "not decided: +0.100 [-0.010, +0.150]": across(low=-0.01, p=0.2),
        "not decided: 9 concepts": across(n_concepts=9),
    }
    for start, one in cases.items():
        found = all_across(H3=one)
        assert verdicts(found, holm(found))["H3"].startswith(start)
    assert "against welch the difference is +0.100" in verdicts(all_across(), holm(all_across()))["H1"]


def test_contrasts_over_concepts_are_tested_over_concepts():
    values = np.array([0.05, 0.06, 0.04, 0.07, 0.05, 0.06, 0.03, 0.08, 0.05, 0.06])
    found = across_concepts(values, seed=0)
    assert found.p == 2 / 2**10
    assert found.low < values.mean() < found.high
    assert found.n_same_sign == 10
    assert found.p_right > 0.99
    # Spread .04 and a difference of .03 need 16 concepts.
    spread = np.array([-0.04, 0.04]) / np.sqrt(2)
    assert across_concepts(spread, seed=0).n_needed == 16


def test_concepts_without_folds_have_no_difference():
    found = within_concepts(np.array([[np.nan, np.nan, np.nan], [0.1, 0.2, np.nan]]), np.array([0.25, 0.25]))
    assert np.isnan(found["difference"][0])
    assert found["difference"][1] == pytest.approx(0.15)


# Refusals


def test_spaces_and_concepts_that_do_not_fit_are_refused():
    spaces = spaces_of([8], n_units=12, n=40, n_features=20)
    with pytest.raises(DesignError, match=r"spaces \['raw'\]: give 'raw' \(units\) and 'codes'"):
        compare_pipelines({"raw": spaces["raw"]}, "condition", target="yes")
    with pytest.raises(DesignError, match="'codes' has other stimuli"):
        compare_pipelines(spaces | {"codes": spaces["codes"][::-1]}, "condition", target="yes")
    both = xr.concat([spaces["codes"], spaces["codes"].assign_coords(layer=[1])], "layer")
    with pytest.raises(DesignError, match="'codes' has 2 layers; fix one in advance"):
        compare_pipelines(spaces | {"codes": both}, "condition", target="yes")
    with pytest.raises(DesignError, match=r"concept 'c08' has classes \['no', 'yes'\].*'maybe'"):
        compare_pipelines(spaces, "condition", target="maybe")
    with pytest.raises(DesignError, match="fewer than 8 features alive in 'codes'"):
        compare_pipelines(spaces | {"codes": spaces["codes"][:, :, :7]}, "condition", target="yes")
    with pytest.raises(DesignError, match="no column 'topic'"):
        compare_pipelines(spaces, "condition", target="yes", concept="topic")


def test_corpora_that_cannot_be_searched_are_refused():
    known = spaces_of([9], n_units=12, n=40, n_features=20)["codes"]
    values, truth = sparse_codes(10, n=60, n_features=20)
    corpus = responses_of(values, truth).assign_attrs(known.attrs)
    corpus = corpus.assign_coords(
        stimulus=[f"x{i}" for i in range(60)], text=("stimulus", [f"corpus {i}" for i in range(60)])
    )
    with pytest.raises(DesignError, match="are in the corpus and were trained on"):
        retrieve(known, known, "condition", target="yes", n=5)
    with pytest.raises(DesignError, match="of different bases"):
        retrieve(known, corpus.assign_attrs(basis="units"), "condition", target="yes")
    with pytest.raises(DesignError, match="two lists of 31 need 62"):
        retrieve(known, corpus, "condition", target="yes", n=31)
    with pytest.raises(DesignError, match="need two, 'maybe' among them"):
        retrieve(known, corpus, "condition", target="maybe")
    few = known.isel(feature=slice(5)), corpus.isel(feature=slice(5))
    with pytest.raises(DesignError, match="5 are alive"):
        retrieve(*few, "condition", target="yes")


def test_items_save_log_loss_where_codes_hold_the_truth(planted):
    saving = planted["item_saving"].sel(hypothesis="H2")
    assert (planted["item_saving_lo"].sel(hypothesis="H2") > 0).all()
    assert (planted["item_p"].sel(hypothesis="H2") <= 0.001).all()
    loss = planted["item_log_loss"].sel(selector=["max", "CMI", "CDI"]).mean("selector")
    expected = (loss.sel(space="raw") - loss.sel(space="codes")).mean()
    # Concepts have as many items each.
    assert saving.mean().item() == pytest.approx(expected.item())


def test_savings_of_items_are_tested_over_groups():
    rng = np.random.default_rng(0)
    losses = rng.random((2, 1, 12))
    group = np.repeat(np.arange(6), 2)
    weights = {("raw", "max"): 1.0, ("codes", "max"): -1.0}
    mean, low, high, p = over_items(losses, group, ["raw", "codes"], ["max"], weights, seed=0)
    values = (losses[1, 0] - losses[0, 0]).reshape(6, 2).mean(axis=1)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (mean, low, high) == pytest.approx((values.mean(), *expected))
    flips = np.array(list(np.ndindex(*[2] * 6))) * 2 - 1
    assert p == (np.abs(flips @ values) >= abs(values.sum()) - 1e-12).mean()


def test_a_sign_flip_p_of_items_is_uniform_without_a_difference():
    rng = np.random.default_rng(1)
    weights = {("raw", "max"): 1.0, ("codes", "max"): -1.0}
    given = (["raw", "codes"], ["max"], weights)
    p = [over_items(rng.random((2, 1, 10)), np.arange(10), *given, seed=0)[3] for _ in range(200)]
    # .0005 and .9995 binomial limits of 200 at .05.
    assert 2 <= (np.array(p) <= 0.05).sum() <= 21


def test_losses_of_one_group_or_of_failed_decoders_are_no_evidence():
    weights = {("raw", "max"): 1.0}
    for losses, group in ((np.ones((1, 1, 4)), np.zeros(4)), (np.full((1, 1, 4), np.nan), np.arange(4))):
        assert np.isnan(over_items(losses, group, ["raw"], ["max"], weights, seed=0)).all()
