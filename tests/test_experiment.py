import dataclasses

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from neurosae.causal.direction import Direction
from neurosae.causal.effects import dissociate
from neurosae.causal.experiment import run_causal
from neurosae.causal.perturbation import Lesion, Stimulation
from neurosae.errors import DesignError, ManipulationError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.schema.provenance import provenance
from neurosae.schema.recordings import recording_array, stimulus_coords
from neurosae.schema.units import unit_keys, with_seen
from neurosae.subject.toy import ToySubject
from neurosae.subject.toy_weights import UNITS
from neurosae.testing import planted_pairs

TOY = ToySubject()


def _recorded(stimuli, subject=TOY, site="resid_post"):
    """A recording of a toy, all texts of the same number of tokens; the first, BOS, is not valid."""
    tokens = subject.tokenize(stimuli["text"].tolist())
    values = subject.run(tokens, sites={site: range(4)}).activations[site]
    values = values.reshape(len(stimuli), -1, *values.shape[1:])
    valid = np.ones(values.shape[:2], dtype=bool)
    valid[:, 0] = False
    values[~valid] = np.nan
    origin = {"stimuli": {"name": stimuli.attrs["name"]}}
    return recording_array(
        values, stimuli=stimuli, tokens={"valid": valid}, layers=range(4), site=site, origin=origin
    )


@pytest.fixture(scope="module")
def recording():
    return _recorded(planted_pairs(60, seed=9))


@pytest.fixture(scope="module")
def pairs():
    return planted_pairs(30)


def _roi(layer, units, **variables):
    width = variables["stat"][1].shape[1] if "stat" in variables else 32
    member = np.zeros((4, width), dtype=bool)
    member[layer, list(units)] = True
    coords = {"layer": np.arange(4), "feature": np.arange(width)}
    return xr.Dataset(
        {"member": (("layer", "feature"), member)} | variables,
        coords=coords,
        attrs={"site": "resid_post", "basis": "units"},
    )


def _push(doses, unit=UNITS["agreement"], layer=2, **changes):
    direction = Direction("resid_post", layer, np.eye(32)[unit], reference=1.0, dose_unit="units", **changes)
    return Stimulation(direction, doses)


@pytest.fixture(scope="module")
def lesioned(recording, pairs):
    lesion = Lesion(_roi(1, [UNITS["number"], 20, 25]), reference=recording)
    return run_causal(TOY, pairs, {"number": lesion}, controls=39)


def test_planted_lesion_beats_all_its_shams(lesioned):
    one = lesioned.sel(perturbation="number", readout="log_odds")
    assert float(one["p"]) == pytest.approx(1 / 40)
    assert float(one["z"]) < -4
    assert float(one["p_unit"]) < 0.001
    assert float(one["effect_hi"]) < 0
    accuracy = lesioned["score"].sel(readout="accuracy", perturbation="number").mean()
    assert float(lesioned["score_intact"].sel(readout="accuracy").mean()) > 0.9
    assert 0.3 < float(accuracy) < 0.7


def test_an_unrelated_task_is_spared(recording, lesioned):
    facts = planted_pairs(30, task="fact")
    lesion = Lesion(_roi(1, [UNITS["number"], 20, 25]), reference=recording)
    spared = run_causal(TOY, facts, {"number": lesion}, controls=39).sel(readout="log_odds")
    assert float(spared["p"][0]) > 0.05
    assert abs(float(spared["effect"][0])) < 0.1 * abs(float(lesioned["effect"].sel(readout="log_odds")[0]))


def test_effect_is_the_mean_change_with_a_bootstrap_interval(lesioned):
    change = (lesioned["score"] - lesioned["score_intact"]).mean("unit")
    xr.testing.assert_allclose(lesioned["effect"], change.rename("effect"), rtol=1e-12)
    inside = (lesioned["effect_lo"] <= lesioned["effect"]) & (lesioned["effect"] <= lesioned["effect_hi"])
    assert inside.all()
    sham = lesioned["score_sham"] - lesioned["score_intact"].mean("unit")
    np.testing.assert_allclose(lesioned["effect_sham"], sham, rtol=1e-12)
    by_sham = lesioned["score_sham"].mean("sham")
    np.testing.assert_allclose(by_sham, lesioned["score_sham_unit"].mean("unit"), rtol=1e-9)


def test_one_lesion_by_hand_agrees(recording, pairs, lesioned):
    edits = Lesion(_roi(1, [UNITS["number"], 20, 25]), reference=recording).edits()
    bits = TOY.run(TOY.tokenize(pairs["text"].tolist()), surprisal=True, edits=edits)
    total = np.nansum(bits.surprisal.reshape(60, -1), axis=1)
    one = lesioned.sel(perturbation="number")
    np.testing.assert_allclose(one["score"].sel(readout="log_odds"), total[1::2] - total[::2], rtol=1e-6)
    np.testing.assert_allclose(one["score"].sel(readout="surprisal"), total[::2] / 4, rtol=1e-6)
    assert float(one["shift"]) == pytest.approx(bits.shift[0] / bits.edited[0], rel=1e-6)
    assert int(one["n_edited"]) == bits.edited[0] == 60 * 4


def test_null_lesions_have_p_that_is_roughly_uniform():
    wide = ToySubject(d_model=200)
    recording, stat = _recorded(planted_pairs(40, seed=9), wide), np.zeros((4, 200))
    stat[1, [UNITS[name] for name in ("word", "noun", "own_number", "number")]] = (
        9  # so that no sham has them
    )
    rng = np.random.default_rng(0)
    targets = [rng.choice(np.arange(15, 200), 4, replace=False) for _ in range(50)]
    lesions = {
        f"{number}": Lesion(_roi(1, units, stat=(("layer", "feature"), stat)), reference=recording)
        for number, units in enumerate(targets)
    }
    result = run_causal(wide, planted_pairs(10), lesions, readouts=["surprisal"], controls=19)
    p = result["p"].sel(readout="surprisal").values
    assert p.min() >= 1 / 20
    assert (p <= 0.1).mean() < 0.25  # binomial(50, .1), upper .9995 bound
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_shams_are_matched_within_their_layer(recording, pairs):
    stat = np.zeros((4, 32))
    stat[1, UNITS["own_number"]] = 9
    lesion = Lesion(_roi(1, [UNITS["number"]], stat=(("layer", "feature"), stat)), reference=recording)
    result = run_causal(TOY, pairs, {"number": lesion}, controls=99)
    # 17 free units, word and noun; the others are silent, members or the most selective of the layer
    assert int(result["n_sham"][0]) == result.sizes["sham"] <= 19
    assert float(result["p"].sel(readout="log_odds")[0]) == pytest.approx(1 / (result.sizes["sham"] + 1))


def test_fewer_shams_than_elsewhere_are_missing_values(recording, pairs):
    acts = {
        "one": Lesion(_roi(1, [UNITS["number"]]), reference=recording),
        "three": Lesion(_roi(1, [UNITS["number"], 20, 25]), reference=recording),
    }
    result = run_causal(TOY, pairs, acts, controls=30, readouts=["minimal_pair"])
    n = result["n_sham"].values
    assert n[0] < n[1] == 30
    assert (np.isfinite(result["effect_sham"]).sum("sham") == result["n_sham"]).all()
    assert (np.isfinite(result["shift_sham"]).sum("sham") == result["n_sham"]).all()
    assert result["p"].sel(perturbation="one", readout="log_odds") == pytest.approx(1 / (n[0] + 1))
    assert np.isfinite(result["z"]).all()


def test_kat_31_dose_zero_is_the_intact_model_and_other_doses_are_not(pairs):
    result = run_causal(TOY, pairs, {"push": _push([-1, 0, 1])}, controls=5)
    assert result["perturbation"].values.tolist() == ["push -1", "push 0", "push 1"]
    assert result["act"].values.tolist() == ["push"] * 3
    assert result["dose"].values.tolist() == [-1, 0, 1]
    zero = result.sel(perturbation="push 0")
    np.testing.assert_array_equal(zero["score"], zero["score_intact"])
    assert float(zero["shift"]) == 0
    assert (zero["effect_sham"] == 0).all()
    assert (zero["p"] == 1).all()
    assert (zero["p_unit"] == 1).all()
    assert np.isnan(zero["z"]).all()
    assert (result["shift"].values == [1, 0, 1]).all()
    np.testing.assert_allclose(result["shift_sham"].values, [[1] * 5, [0] * 5, [1] * 5], rtol=1e-5)


def test_pushing_towards_plural_favours_are(pairs):
    result = run_causal(TOY, pairs, {"push": _push([0, 2])}, readouts=["minimal_pair"], controls=19)
    score = result["score"].sel(readout="log_odds", perturbation="push 2") - result["score_intact"].sel(
        readout="log_odds"
    )
    is_plural = pairs.loc[pairs["condition"] == "good", "text"].str.contains(" are ").to_numpy()
    assert (score.values[is_plural] > 0).all()
    assert (score.values[~is_plural] < 0).all()


def test_same_seed_same_result_and_another_seed_other_shams(recording, pairs):
    lesion = {"number": Lesion(_roi(1, [UNITS["number"], 20, 25]), reference=recording)}
    first, again, other = (run_causal(TOY, pairs, lesion, controls=9, seed=seed) for seed in (1, 1, 2))
    xr.testing.assert_identical(first, again)
    assert not np.array_equal(first["score_sham"], other["score_sham"])
    np.testing.assert_array_equal(first["score"], other["score"])


def test_order_of_stimuli_does_not_change_a_unit(recording, pairs):
    lesion = {"number": Lesion(_roi(1, [UNITS["number"], 20]), reference=recording)}
    forth = run_causal(TOY, pairs, lesion, controls=5)
    back = run_causal(TOY, pairs.iloc[::-1], lesion, controls=5)
    assert back["unit"].values.tolist() == forth["unit"].values.tolist()[::-1]
    # texts run in another order within a batch; float32 products may round differently
    np.testing.assert_allclose(back["score"].sel(unit=forth["unit"]), forth["score"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(back["effect_sham"], forth["effect_sham"], rtol=1e-3, atol=1e-5)


def test_plain_texts_are_scored_by_surprisal_over_items(recording):
    table = planted_pairs(12).rename(columns={"pair": "item"}).assign(condition="text")
    lesion = {"number": Lesion(_roi(1, [UNITS["number"], 20]), reference=recording)}
    result = run_causal(TOY, table, lesion, readouts=["surprisal"], controls=5)
    assert result.attrs["unit"] == "item"
    assert result.sizes["unit"] == 12


def test_acts_shams_and_texts_are_recognised_in_another_experiment(recording, pairs):
    def lesion(how="mean", units=(UNITS["number"], 20)):
        return {"n": Lesion(_roi(1, units), how=how, reference=recording)}

    facts = planted_pairs(10, task="fact")
    first = run_causal(TOY, pairs, lesion(), controls=5)
    same = run_causal(TOY, facts, lesion(), controls=5)
    assert first["how"].values.tolist() == ["mean"]
    assert first["act_id"].equals(same["act_id"])
    assert first["sham_id"].equals(same["sham_id"])
    assert len(np.unique(first["sham_id"])) == 5
    zero = run_causal(TOY, facts, lesion(how="zero"), controls=5, seed=1)
    assert first["act_id"].item() != zero["act_id"].item()
    assert not set(first["sham_id"].values.ravel()) & set(zero["sham_id"].values.ravel())
    again = run_causal(TOY, pairs.iloc[::-1].assign(text=pairs["text"].str.upper()), lesion(), controls=5)
    np.testing.assert_array_equal(first["unit_texts"].sortby("unit"), again["unit_texts"].sortby("unit"))
    assert not set(first["unit_texts"].values) & set(same["unit_texts"].values)


def test_one_lesion_dissociates_two_tasks_and_not_a_task_from_itself(recording, pairs):
    lesion = {"number": Lesion(_roi(1, [UNITS["number"], 20, 25]), reference=recording)}
    number, fact = (
        run_causal(TOY, task, lesion, controls=39, readouts=["minimal_pair"])
        for task in (pairs, planted_pairs(30, task="fact"))
    )
    assert float(dissociate(number, fact)["p"]) == pytest.approx(1 / 40)
    with pytest.raises(DesignError, match="30 units of the first task have texts of the second"):
        dissociate(number, number)
    other_seed = run_causal(TOY, pairs, lesion, controls=39, readouts=["minimal_pair"], seed=1)
    with pytest.raises(DesignError, match="are not the same; run both with the same controls and seed"):
        dissociate(other_seed, fact)


def test_progress_counts_every_run(recording, pairs):
    seen = []
    acts = {"number": Lesion(_roi(1, [UNITS["number"], 20]), reference=recording), "push": _push([0, 1])}
    run_causal(TOY, pairs, acts, controls=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 12) for done in range(1, 13)]  # intact, 1 + 4 lesions, dose 0, dose 1 + 4 others


def test_result_carries_provenance_and_survives_storage(lesioned, tmp_path):
    origin = provenance(lesioned)
    assert origin["subject"]["name"] == "toy"
    assert origin["stimuli"]["name"] == "number-0"
    assert origin["steps"][-1]["step"] == "run_causal"
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in lesioned.data_vars.values())
    xr.testing.assert_identical(load_netcdf(save_netcdf(lesioned, tmp_path / "c.nc")), lesioned)


def test_stimuli_an_roi_was_selected_on_are_refused_unless_stamped(recording, pairs):
    coords = xr.Dataset(coords=stimulus_coords(pairs), attrs=_recorded(pairs).attrs)
    roi = with_seen(_roi(1, [UNITS["number"], 20]), unit_keys(coords))
    lesion = {"number": Lesion(roi, reference=recording)}
    with pytest.raises(DesignError, match="the test would be circular"):
        run_causal(TOY, pairs, lesion, controls=3)
    assert run_causal(TOY, pairs, lesion, controls=3, circular=True).attrs["circular"] == "CIRCULAR"
    others = planted_pairs(10, seed=5)
    is_known = others.groupby("pair")["text"].transform(lambda texts: texts.isin(pairs["text"]).any())
    others = others[~is_known].reset_index(drop=True)
    assert run_causal(TOY, others, lesion, controls=3).attrs["circular"] == "no"
    # allowed, but not what happened
    assert run_causal(TOY, others, lesion, controls=3, circular=True).attrs["circular"] == "no"


def test_the_same_texts_are_refused_under_another_name(recording, pairs):
    coords = xr.Dataset(coords=stimulus_coords(pairs), attrs=_recorded(pairs).attrs)
    roi = with_seen(_roi(1, [UNITS["number"], 20]), unit_keys(coords))
    renamed = pairs.assign(stimulus="x" + pairs["stimulus"], pair="x" + pairs["pair"])
    renamed.attrs["name"] = "other"
    with pytest.raises(DesignError, match="the test would be circular"):
        run_causal(TOY, renamed, {"number": Lesion(roi, reference=recording)}, controls=3)


def test_stimuli_a_direction_was_taken_from_are_refused(pairs):
    seen = tuple(unit_keys(_recorded(pairs)))
    with pytest.raises(DesignError, match="the test would be circular"):
        run_causal(TOY, pairs, {"push": _push([0, 1], seen=seen)}, controls=3)


def test_experiments_without_acts_shams_or_matching_subject_are_refused(recording, pairs):
    roi = _roi(1, [UNITS["number"]])
    with pytest.raises(DesignError, match="there is no perturbation"):
        run_causal(TOY, pairs, {})
    with pytest.raises(DesignError, match="at least one matched sham"):
        run_causal(TOY, pairs, {"n": Lesion(roi, reference=recording)}, controls=0)
    with pytest.raises(DesignError, match="'n' has no reference recording, on which its shams are matched"):
        run_causal(TOY, pairs, {"n": Lesion(roi, how="zero")})
    narrow = recording.isel(feature=slice(0, 20))
    with pytest.raises(DesignError, match="has 20 features, toy has 32 at resid_post"):
        run_causal(TOY, pairs, {"n": Lesion(roi, reference=narrow)})
    with pytest.raises(DesignError, match=r"the stimuli lack the columns \['text'\]"):
        run_causal(TOY, pairs.drop(columns="text"), {"n": Lesion(roi, reference=recording)})


def test_incomplete_pairs_and_empty_texts_are_refused(pairs):
    with pytest.raises(DesignError, match="1 pairs are not one good and one bad text"):
        run_causal(TOY, pairs.iloc[1:], {"push": _push([0, 1])})
    empty = pairs.assign(text=["", *pairs["text"].tolist()[1:]])
    with pytest.raises(DesignError, match=r"1 texts have no token to predict: \['number000_good'\]"):
        run_causal(TOY, empty, {"push": _push([0, 1])})


def test_a_lesion_that_changes_nothing_is_refused(recording, pairs):
    silent = _roi(1, [UNITS["sink"], 20])
    with pytest.raises(DesignError, match="1 of 2 units to be matched never respond"):
        run_causal(TOY, pairs, {"n": Lesion(silent, reference=recording)})
    facts = planted_pairs(20, task="fact", seed=3)
    roi = _roi(1, [UNITS["entity"]])
    with pytest.raises(ManipulationError, match="n changed nothing on 240 tokens: its units already hold"):
        # zero on number texts, which mention no country, is what the unit already holds
        run_causal(TOY, pairs, {"n": Lesion(roi, how="zero", reference=_recorded(facts))}, controls=3)


def test_shams_that_change_nothing_are_refused(pairs):
    # units of countries alone vary in the reference, and the texts under test mention no country
    reference = _recorded(planted_pairs(40, task="fact", seed=3))
    keys = np.arange(6, 14)
    reference.values[..., np.setdiff1d(np.arange(32), [*keys, 20])] = 1.0
    roi = _roi(1, [20])
    with pytest.raises(ManipulationError, match="8 of 8 shams of n changed nothing"):
        run_causal(TOY, pairs, {"n": Lesion(roi, how="zero", reference=reference)}, controls=8)


def test_a_stimulation_that_meets_no_token_is_refused(pairs):
    with pytest.raises(ManipulationError, match=r"push 0: the edit at resid_post of layer 2 met no token"):
        run_causal(TOY, pairs, {"push": _push([0, 1], max_norm=0.1)}, controls=3)


class _Leaky(ToySubject):
    """A subject whose identity edits are not exact."""

    def run(self, tokens, *, sites=None, surprisal=False, edits=()):
        read = super().run(tokens, sites=sites, surprisal=surprisal, edits=edits)
        return dataclasses.replace(read, surprisal=read.surprisal + 1e-9 * len(edits))


def test_an_identity_that_changes_scores_is_refused(pairs):
    with pytest.raises(
        ManipulationError, match="push 0 has gain 1 and offset 0 but changed tokens by 0 or a score"
    ):
        run_causal(_Leaky(), pairs, {"push": _push([0, 1])}, controls=3)


class _Failing(ToySubject):
    """A subject that breaks off under an edit."""

    def run(self, tokens, *, sites=None, surprisal=False, edits=()):
        read = super().run(tokens, sites=sites, surprisal=surprisal, edits=edits)
        if edits and edits[0].offset.any():
            raise RuntimeError("interrupted")
        return read


def test_the_subject_is_intact_after_an_experiment_that_failed(pairs):
    subject = _Failing()
    tokens = subject.tokenize(pairs["text"].tolist())
    before = subject.run(tokens, surprisal=True).surprisal
    with pytest.raises(RuntimeError, match="interrupted"):
        run_causal(subject, pairs, {"push": _push([0, 1])}, controls=3)
    np.testing.assert_array_equal(subject.run(tokens, surprisal=True).surprisal, before)
