import numpy as np
import pytest
import xarray as xr
from scipy import stats

from neurosae.causal.direction import Direction
from neurosae.causal.effects import dissociate, dose_response
from neurosae.causal.experiment import run_causal
from neurosae.causal.inference import against_shams, sign_flip_p
from neurosae.causal.perturbation import Stimulation
from neurosae.errors import DesignError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.subject.toy import ToySubject
from neurosae.testing import planted_pairs


def _causal(changes, sham_means, *, labels=("language",), doses=None, task="a"):
    """A result as run_causal gives it: changes (perturbation, unit), sham_means (perturbation, sham)."""
    changes, shams = np.asarray(changes, dtype=float), np.asarray(sham_means, dtype=float)
    n_units = changes.shape[1]
    by_unit = ("perturbation", "readout", "unit")
    average = np.broadcast_to(np.nanmean(shams, axis=1)[:, None, None], (len(shams), 1, n_units))
    return xr.Dataset(
        {
            "score_intact": (("readout", "unit"), np.zeros((1, n_units))),
            "score": (by_unit, changes[:, None, :]),
            "score_sham": (("perturbation", "sham", "readout"), shams[:, :, None]),
            "score_sham_unit": (by_unit, average),
            "effect": (("perturbation", "readout"), changes.mean(axis=1)[:, None]),
            "effect_sham": (("perturbation", "sham", "readout"), shams[:, :, None]),
        },
        coords={
            "perturbation": list(labels),
            "readout": ["log_odds"],
            "unit": [f"u{number}" for number in range(n_units)],
            "sham": np.arange(shams.shape[1]),
            "act": ("perturbation", ["push" if doses else label for label in labels]),
            "dose": ("perturbation", doses or [np.nan] * len(labels)),
            "how": ("perturbation", ["mean"] * len(labels)),
            "act_id": ("perturbation", [f"act-{label}" for label in labels]),
            "sham_id": (
                ("perturbation", "sham"),
                [[f"{label}-{number}" for number in range(shams.shape[1])] for label in labels],
            ),
            "unit_texts": ("unit", [f"{task}{number}-good {task}{number}-bad" for number in range(n_units)]),
        },
    )


def _doses(doses, n_units=10, slope=2.0, seed=0):
    rng = np.random.default_rng(seed)
    own = rng.normal(slope, 0.3, n_units)
    intercept = rng.normal(0, 5, n_units)
    shams = np.outer(doses, rng.normal(0, 0.1, 19))
    scores = np.outer(doses, own) + intercept
    return _causal(scores, shams, labels=[f"push {dose:g}" for dose in doses], doses=list(doses)), own


def test_rank_p_counts_shams_at_least_as_far_from_the_centre():
    p, z = against_shams(np.array([10.0, 0.0]), np.array([[1.0, 1.0], [2.0, -1.0], [3.0, 3.0]]))
    assert p.tolist() == [0.25, 0.75]  # centres 4 and 0.75
    assert z[0] == pytest.approx((10 - 2) / 1)


def test_rank_p_is_two_sided_and_symmetric():
    shams = np.random.default_rng(0).standard_normal((19, 1)) + 5
    high, low = (against_shams(np.array([5 + shift]), shams)[0] for shift in (9.0, -9.0))
    assert high == low == 1 / 20


def test_rank_p_of_an_exchangeable_target_is_uniform():
    drawn = np.random.default_rng(0).standard_normal((20, 4000)) ** 3
    p, _ = against_shams(drawn[0], drawn[1:])
    counts = np.bincount(np.round(p * 20).astype(int), minlength=21)[1:]
    assert stats.chisquare(counts).pvalue > 0.001


def test_missing_shams_are_left_out_and_none_give_no_p():
    with_gap = against_shams(np.array([9.0]), np.array([[1.0], [0.0], [np.nan]]))
    assert with_gap[0] == 1 / 3
    p, z = against_shams(np.array([9.0]), np.full((2, 1), np.nan))
    assert np.isnan(p).all()
    assert np.isnan(z).all()


def test_z_is_missing_where_shams_do_not_differ():
    p, z = against_shams(np.array([9.0]), np.ones((5, 1)))
    assert p == 1 / 6
    assert np.isnan(z)


def test_sign_flips_agree_with_scipy_on_all_sign_patterns():
    x = np.random.default_rng(1).normal(0.5, 1, 10)
    expected = stats.permutation_test(
        (x,), lambda sample, axis: sample.mean(axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert float(sign_flip_p(x, seed=0)) == pytest.approx(expected.pvalue, abs=1e-12)


def test_slope_of_each_unit_is_recovered_from_small_doses():
    causal, own = _doses([-1, -0.5, 0, 0.5, 1])
    found = dose_response(causal).sel(act="push", readout="log_odds")
    np.testing.assert_allclose(found["slope_unit"], own, rtol=1e-9)
    assert float(found["slope"]) == pytest.approx(own.mean())
    assert float(found["slope_lo"]) < own.mean() < float(found["slope_hi"])
    assert float(found["p"]) == pytest.approx(2 / 2**10)
    assert float(found["p_sham"]) == pytest.approx(1 / 20)
    assert int(found["n_sham"]) == 19
    assert found.attrs["n_permutations"] == 9999
    assert dose_response(causal, seed=4).attrs["seed"] == 4


def test_slopes_agree_with_linregress():
    rng = np.random.default_rng(3)
    doses = [-0.5, 0, 0.25, 1]
    scores = rng.standard_normal((4, 3))
    causal = _causal(scores, rng.standard_normal((4, 5)), labels=[f"push {d:g}" for d in doses], doses=doses)
    expected = [stats.linregress(doses, scores[:, unit]).slope for unit in range(3)]
    np.testing.assert_allclose(dose_response(causal)["slope_unit"][0, 0], expected, rtol=1e-9)


def test_large_doses_do_not_enter_the_slope():
    causal, _ = _doses([-1, 0, 1, 4])
    broken = causal.copy(deep=True)
    broken["score"].loc[{"perturbation": "push 4"}] = 1e6
    xr.testing.assert_identical(dose_response(causal), dose_response(broken))


def test_order_of_doses_does_not_change_the_slope():
    causal, _ = _doses([-1, 0, 1])
    xr.testing.assert_allclose(dose_response(causal), dose_response(causal.isel(perturbation=[2, 0, 1])))


def test_slopes_without_effect_have_uniform_p():
    p = []
    for seed in range(200):
        causal, _ = _doses([-1, 0, 1], n_units=8, slope=0.0, seed=seed)
        p.append(float(dose_response(causal)["p"][0, 0]))
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.105  # binomial(200, .05), .0005 and .9995


def test_the_toy_favours_plural_with_dose_and_not_along_random_directions():
    direction = Direction("resid_post", 3, np.eye(32)[4], reference=1.0, dose_unit="plural nouns")
    pairs = planted_pairs(40)
    plural = pairs[pairs.groupby("pair")["text"].transform("first").str.contains(" are ")]
    causal = run_causal(
        ToySubject(),
        plural,
        {"push": Stimulation(direction, [-1, 0, 1, 3])},
        readouts=["minimal_pair"],
        controls=19,
    )
    found = dose_response(causal).sel(act="push", readout="log_odds")
    # 'are' gains 4 nats on 'is' per unit of agreement; the word after the verb changes by up to 3 % of that
    np.testing.assert_allclose(found["slope_unit"], 4 / np.log(2), rtol=0.05)
    assert float(found["p_sham"]) == 1 / 20


def test_results_without_doses_are_refused():
    with pytest.raises(DesignError, match="the result holds no stimulation"):
        dose_response(_causal(np.zeros((1, 3)), np.zeros((1, 3))))
    causal, _ = _doses([0, 2, 4])
    with pytest.raises(DesignError, match="'push' has 1 doses of at most 1"):
        dose_response(causal)


def _task(mean, seed, n=20, sd=1.0):
    rng = np.random.default_rng(seed)
    shams = rng.standard_normal(50)
    shams = (shams - shams.mean()) / shams.std(ddof=1)
    return _causal(rng.normal(mean, sd, (1, n)), shams[None], task=f"task{seed}-")


def _region_among_shams(rng, planted=0.0, n_shams=19, n_units=30):
    """Two tasks on which target and shams are drawn alike, but for what is planted on the first."""
    regions = rng.standard_normal((n_shams + 1, 2)) @ [[3, 1], [0, 0.5]]  # a region tends to matter to both
    regions[0, 0] += planted
    noise = stats.zscore(rng.standard_normal((2, 1, n_units)), axis=2)  # shams have no noise in their means
    return tuple(
        _causal(own[0] + around, own[None, 1:], task=task)
        for own, around, task in zip(regions.T, noise, ("first", "second"), strict=True)
    )


def test_a_lesion_of_one_task_alone_dissociates():
    found = dissociate(_task(-4, 1), _task(0, 2), "language")
    assert float(found["interaction"]) == pytest.approx(-4, abs=1)
    assert float(found["interaction_hi"]) < 0
    assert float(found["p"]) == pytest.approx(1 / 51)
    assert float(found["p_unit"]) <= 0.001
    assert float(found["specificity"]) > 0.7
    assert found["n_units"].values.tolist() == [20, 20]


def test_z_is_the_effect_in_standard_deviations_of_shams():
    first, second = _task(-4, 1), _task(0, 2)
    wide = second.copy()
    wide["score"], wide["effect_sham"] = second["score"] * 3, second["effect_sham"] * 3
    expected = [float(first["score"].mean()), float(second["score"].mean())]
    np.testing.assert_allclose(dissociate(first, wide)["z"], expected, atol=1e-12)


def test_swapping_tasks_flips_the_interaction():
    forth, back = dissociate(_task(-4, 1), _task(-1, 2)), dissociate(_task(-1, 2), _task(-4, 1))
    assert float(forth["interaction"]) == -float(back["interaction"])
    assert float(forth["stat"]) == pytest.approx(-float(back["stat"]))
    assert float(forth["p"]) == float(back["p"])
    assert float(forth["p_unit"]) == pytest.approx(float(back["p_unit"]), abs=0.001)  # others are drawn


def test_welch_t_agrees_with_scipy():
    first, second = _task(-1, 1, n=12, sd=3), _task(0, 2, n=30)
    expected = stats.ttest_ind(first["score"].values.ravel(), second["score"].values.ravel(), equal_var=False)
    assert float(dissociate(first, second)["stat"]) == pytest.approx(expected.statistic)


def test_specificity_of_two_small_effects_is_not_reported():
    assert np.isnan(dissociate(_task(0, 1, sd=0.1), _task(0, 2, sd=0.1))["specificity"])


def test_kat_34_interaction_is_calibrated_over_regions_and_powerful():
    rng = np.random.default_rng(0)

    def p_values(planted, n_simulations, name="p"):
        pairs = [_region_among_shams(rng, planted) for _ in range(n_simulations)]
        return np.array([float(dissociate(*pair, n_permutations=99)[name]) for pair in pairs])

    p = p_values(0, 500)
    counts = np.bincount(np.round(p * 20).astype(int), minlength=21)[1:]
    assert 0.022 <= np.mean(p <= 0.05) <= 0.084  # binomial(500, .05), .0005 and .9995
    assert stats.chisquare(counts).pvalue > 0.001
    assert np.mean(p_values(9, 60) <= 0.05) > 0.85  # three SD of the shams' effects
    # units tell an arbitrary region from its shams, which is why they are not the primary test
    assert np.mean(p_values(0, 60, "p_unit") <= 0.05) > 0.25


def test_units_are_calibrated_for_a_region_that_is_the_mean_of_its_shams():
    def rate(mean, n_simulations):
        p = [
            float(dissociate(_task(mean, 2 * s), _task(0, 2 * s + 1), n_permutations=199)["p_unit"])
            for s in range(n_simulations)
        ]
        return np.mean(np.array(p) <= 0.05)

    assert 0.01 <= rate(0, 200) <= 0.105  # binomial(200, .05), .0005 and .9995
    assert rate(1.1, 60) > 0.8  # theory .92


def test_each_sham_is_standardised_as_if_it_were_the_target():
    first, second = _region_among_shams(np.random.default_rng(3), n_shams=9)
    found = dissociate(first, second)
    regions = [np.append(one["effect"].values, one["effect_sham"].values) for one in (first, second)]
    expected = []
    for region in range(10):
        others = [np.delete(effects, region) for effects in regions]
        z = [(e[region] - o.mean()) / o.std(ddof=1) for e, o in zip(regions, others, strict=True)]
        expected.append(z[0] - z[1])
    assert float(found["interaction"]) == pytest.approx(expected[0])
    np.testing.assert_allclose(found["interaction_sham"], expected[1:])
    distance = np.abs(np.array(expected) - np.mean(expected))
    assert float(found["p"]) == np.mean(distance >= distance[0])
    assert int(found["n_sham"]) == 9


def test_a_region_that_changes_both_tasks_strongly_but_unequally_dissociates():
    found = dissociate(_task(-400, 1), _task(-100, 2))
    assert float(found["p"]) == pytest.approx(1 / 51)


def test_a_sham_unlike_all_others_which_are_equal_leaves_p_finite():
    shams = np.array([[0, 0, 0, 0, 3.0]])
    found = dissociate(_causal(np.zeros((1, 5)), shams), _causal(np.zeros((1, 5)), shams[:, ::-1], task="b"))
    assert np.isfinite(found["interaction_sham"]).all()
    assert float(found["p"]) == 1


def test_dissociation_survives_storage_and_needs_no_name_for_an_only_perturbation(tmp_path):
    found = dissociate(_task(-4, 1), _task(0, 2))
    xr.testing.assert_equal(found, dissociate(_task(-4, 1), _task(0, 2), "language"))
    xr.testing.assert_identical(load_netcdf(save_netcdf(found, tmp_path / "d.nc")), found)
    slopes = dose_response(_doses([-1, 0, 1])[0])
    xr.testing.assert_identical(load_netcdf(save_netcdf(slopes, tmp_path / "s.nc")), slopes)


def test_dissociations_that_cannot_be_made_are_refused():
    both = _causal(np.zeros((2, 5)), np.random.default_rng(0).standard_normal((2, 9)), labels=("a", "b"))
    with pytest.raises(DesignError, match=r"the result holds the perturbations \['a', 'b'\]; name"):
        dissociate(both, both)
    with pytest.raises(DesignError, match=r"no perturbation 'vision'; it has \['language'\]"):
        dissociate(_task(0, 1), _task(0, 2), "vision")
    with pytest.raises(DesignError, match="no readout 'accuracy'"):
        dissociate(_task(0, 1), _task(0, 2), "language", readout="accuracy")
    alike = _causal(np.zeros((1, 5)), np.zeros((1, 50)))
    with pytest.raises(DesignError, match="the shams of 'language' do not differ in log_odds"):
        dissociate(alike, _task(0, 2))


def test_experiments_with_other_acts_shams_or_the_same_texts_are_refused():
    first, second = _task(-4, 1), _task(0, 2)
    zero = second.assign_coords(how=("perturbation", ["zero"]), act_id=("perturbation", ["other"]))
    with pytest.raises(DesignError, match=r"not the same act \(how: 'mean' and 'zero'\)"):
        dissociate(first, zero)
    with pytest.raises(DesignError, match="the 50 shams of the first task and the 49 of the second are not"):
        dissociate(first, second.isel(sham=slice(0, 49)))
    other_shams = second.assign_coords(sham_id=second["sham_id"].copy(data=second["sham_id"].values[:, ::-1]))
    with pytest.raises(DesignError, match="the 50 shams of the first task and the 50 of the second are not"):
        dissociate(first, other_shams)
    texts = second["unit_texts"].values.copy()
    texts[3] = "task2-3-good task1-7-bad"
    with pytest.raises(DesignError, match="1 units of the first task have texts of the second, first: 'u7'"):
        dissociate(first, second.assign_coords(unit_texts=("unit", texts)))
    with pytest.raises(DesignError, match=r"lacks \['sham_id'\]; run the experiment again"):
        dissociate(first.drop_vars("sham_id"), second)
