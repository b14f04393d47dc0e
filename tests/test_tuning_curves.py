"""Tuning curves and strongest stimuli: hand-made cases, planted classes, refusals, files."""

import numpy as np
import pytest
import xarray as xr

from neurosae.analysis.tuning_curves import cell_tuning, top_stimuli, tuning
from neurosae.errors import DesignError
from tests.responses import noise, planted, responses_of


def test_tuning_is_mean_and_standard_error_of_items():
    values = np.array([1.0, 3.0, 5.0, 7.0, 4.0])[:, None]
    responses = responses_of(values, ["z", "z", "z", "z", "a"], item=["i", "i", "j", "j", "k"])
    curve = tuning(responses, "condition")
    assert curve["condition"].values.tolist() == ["z", "a"]
    # Items i and j average 2 and 6: mean 4, standard error 2; one item alone has none.
    np.testing.assert_allclose(curve["mean"].values.ravel(), [4.0, 4.0])
    np.testing.assert_allclose(curve["se"].values.ravel(), [2.0, np.nan])
    assert curve["n"].values.tolist() == [2, 1]


def test_tuning_does_not_depend_on_the_order_of_stimuli():
    responses = planted()
    one, other = (
        tuning(responses, "condition"),
        tuning(responses.isel(stimulus=slice(None, None, -1)), "condition"),
    )
    xr.testing.assert_allclose(one, other.sel(condition=one["condition"]), rtol=1e-12)


def test_tuning_peaks_at_the_planted_class_and_is_flat_in_noise():
    curve = tuning(planted(), "condition")
    assert str(curve["mean"].sel(layer=0, feature=0).idxmax("condition").values) == "place"
    flat = tuning(noise(2, 100, seed=1), "condition")
    z = (flat["mean"] - 1.0) / flat["se"]
    # Means of ten exponentials: t-like, so a little wider than normal.
    assert float((abs(z) > 3).mean()) < 0.06


def test_tuning_refuses_unknown_columns_and_nan():
    with pytest.raises(DesignError, match="no column 'task'"):
        tuning(planted(), "task")
    with pytest.raises(DesignError, match="NaN or infinite"):
        tuning(planted().where(planted()["stimulus"] != "s003"), "condition")


def test_top_stimuli_are_sorted_with_ties_in_their_order():
    values = np.array([1.0, 3.0, 2.0, 3.0, 0.0])[:, None]
    top = top_stimuli(responses_of(values, list("abcde")), layer=0, feature=0, n=4)
    assert top["stimulus"].values.tolist() == ["s001", "s003", "s002", "s000"]
    assert top["response"].values.tolist() == [3.0, 3.0, 2.0, 1.0]
    assert top["condition"].values.tolist() == ["b", "d", "c", "a"]
    assert top["text"].values.tolist() == ["text s001", "text s003", "text s002", "text s000"]
    assert top["rank_order"].values.tolist() == [1, 2, 3, 4]


def test_top_stimuli_of_a_planted_feature_are_of_its_class():
    top = top_stimuli(planted(), layer=0, feature=0, n=10)
    assert set(top["condition"].values) == {"place"}


def test_top_stimuli_agree_with_sorting_and_stop_at_the_last():
    responses = noise(1, 3, seed=6)
    top = top_stimuli(responses, layer=0, feature=2, n=1000)
    np.testing.assert_array_equal(top["response"], np.sort(responses.values[:, 0, 2])[::-1])


def test_top_stimuli_refuse_what_is_not_there():
    with pytest.raises(DesignError, match="layer 7 is not in the responses"):
        top_stimuli(planted(), layer=7, feature=0)
    with pytest.raises(DesignError, match="feature 99 is not in the responses"):
        top_stimuli(planted(), layer=0, feature=99)
    with pytest.raises(DesignError, match="n is 0"):
        top_stimuli(planted(), layer=0, feature=0, n=0)


def test_cell_tuning_is_the_tuning_of_each_cell():
    responses = noise(2, 5, seed=3)
    size = np.tile(["big", "small"], 20)
    size[:10] = "big"  # art is never small
    found = cell_tuning(responses.assign_coords(size=("stimulus", size)), ("condition", "size"))
    assert found["n"].values.tolist() == [[10, 0], [5, 5], [5, 5], [5, 5]]
    assert np.isnan(found["mean"].sel(first="art", second="small")).all()
    own = (responses["condition"].values == "tool") & (size == "small")
    values = responses.values[own]
    cell = found.sel(first="tool", second="small")
    np.testing.assert_allclose(cell["mean"], values.mean(axis=0))
    np.testing.assert_allclose(cell["se"], values.std(axis=0, ddof=1) / np.sqrt(5))
    with pytest.raises(DesignError, match="no column 'colour'"):
        cell_tuning(responses, ("condition", "colour"))


@pytest.mark.parametrize(
    "make",
    [
        lambda r: tuning(r, "condition"),
        lambda r: top_stimuli(r, layer=0, feature=0),
        lambda r: cell_tuning(r, ("condition", "text")),
    ],
)
def test_results_survive_a_file(make, tmp_path):
    result = make(planted())
    result.to_netcdf(tmp_path / "result.nc")
    with xr.open_dataset(tmp_path / "result.nc") as read:
        xr.testing.assert_identical(read.load(), result)


def test_every_variable_tells_its_name_and_units():
    result = tuning(planted(), "condition")
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in result.data_vars.values())
    assert all(isinstance(value, str | int | float) for value in result.attrs.values())
