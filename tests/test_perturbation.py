from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from neurosae.causal.perturbation import Direction, Lesion, Stimulation
from neurosae.causal.reference import reference_statistics
from neurosae.errors import ContrastError, DesignError
from neurosae.schema.names import SINK_RATIO
from neurosae.schema.units import unit_keys
from neurosae.subject.toy import ToySubject
from neurosae.testing import planted_recording, planted_responses


@pytest.fixture(scope="module")
def recording():
    return planted_recording()


@pytest.fixture(scope="module")
def responses():
    return planted_responses()


def _roi(*members, n_layers=3, n_features=16, **attrs):
    member = np.zeros((n_layers, n_features), dtype=bool)
    for layer, feature in members:
        member[layer, feature] = True
    coords = {"layer": np.arange(n_layers), "feature": np.arange(n_features)}
    attrs = {"site": "resid_post", "basis": "units"} | attrs
    return xr.Dataset({"member": (("layer", "feature"), member)}, coords=coords, attrs=attrs)


def test_mean_lesion_holds_units_at_the_mean_over_valid_reference_tokens(recording):
    edits = Lesion(_roi((0, 2), (0, 5), (2, 1)), reference=recording).edits()
    assert [(edit.site, edit.layer) for edit in edits] == [("resid_post", 0), ("resid_post", 2)]
    assert edits[0].features.tolist() == [2, 5]
    valid = recording["valid"].values
    expected = recording.values[valid][:, 0, [2, 5]].astype(float).mean(axis=0)
    np.testing.assert_allclose(edits[0].offset, expected, rtol=1e-12)
    assert all(not edit.gain.any() for edit in edits)


def test_zero_lesion_needs_no_reference_and_then_knows_no_sinks(recording):
    [edit] = Lesion(_roi((1, 4)), how="zero").edits()
    assert (edit.offset.tolist(), edit.max_norm) == ([0.0], np.inf)
    [bounded] = Lesion(_roi((1, 4)), how="zero", reference=recording).edits()
    assert bounded.offset.tolist() == [0.0]
    assert bounded.max_norm < np.inf


def test_sinks_are_ten_times_the_median_norm_of_the_layer(recording):
    [edit] = Lesion(_roi((1, 4)), reference=recording).edits()
    norms = np.linalg.norm(recording.values[recording["valid"].values][:, 1].astype(float), axis=1)
    assert edit.max_norm == pytest.approx(SINK_RATIO * np.median(norms), rel=1e-12)


def test_reference_statistics_do_not_depend_on_padding_or_order_of_stimuli(recording):
    padded = recording.pad(token=(0, 3)).assign_coords(
        valid=(("stimulus", "token"), np.pad(recording["valid"].values, ((0, 0), (0, 3))))
    )
    expected = reference_statistics(recording, [0, 1])
    for other in (padded, recording[::-1]):
        xr.testing.assert_allclose(reference_statistics(other, [0, 1]), expected, rtol=1e-12)


def test_reference_may_be_lazy(recording):
    lazy = reference_statistics(recording.chunk(stimulus=7, layer=1), [2])
    xr.testing.assert_identical(lazy, reference_statistics(recording, [2]))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "a mean lesion needs a reference recording"),
        ({"how": "noise"}, "unknown lesion 'noise'; choose one of mean, zero"),
    ],
)
def test_incomplete_lesions_are_refused(kwargs, message):
    with pytest.raises(DesignError, match=message):
        Lesion(_roi((1, 4)), **kwargs)


def test_rois_without_members_or_of_a_dictionary_are_refused(recording):
    with pytest.raises(DesignError, match="the ROI has no member"):
        Lesion(_roi(), reference=recording)
    with pytest.raises(DesignError, match="features of 'sae'; a lesion acts on units"):
        Lesion(_roi((1, 4), basis="sae"), reference=recording)


def test_references_that_do_not_fit_the_roi_are_refused(recording):
    with pytest.raises(DesignError, match="record that site"):
        Lesion(_roi((1, 4), site="mlp_out"), reference=recording)
    with pytest.raises(DesignError, match=r"no layers \[4\] in the reference recording"):
        Lesion(_roi((4, 4), n_layers=5), reference=recording)
    with pytest.raises(DesignError, match=r"lacks features \[16\]"):
        Lesion(_roi((1, 16), n_features=20), reference=recording)
    with pytest.raises(DesignError, match="holds no valid token"):
        Lesion(_roi((1, 4)), reference=recording.assign_coords(valid=recording["valid"] & False)).edits()


def test_contrast_direction_is_the_unit_norm_difference_of_condition_means(responses):
    direction = Direction.from_contrast(responses, "A > B", layer=1)
    is_a = responses["condition"].values == "A"
    values = responses.sel(layer=1).values.astype(float)
    difference = values[is_a].mean(axis=0) - values[~is_a].mean(axis=0)
    np.testing.assert_allclose(direction.vector, difference / np.linalg.norm(difference), rtol=1e-12)
    assert (direction.site, direction.layer) == ("resid_post", 1)
    assert direction.reference == pytest.approx(np.median(np.linalg.norm(values, axis=1)))
    assert set(direction.seen) == unit_keys(responses)


def test_swapping_the_contrast_flips_the_direction(responses):
    forth, back = (Direction.from_contrast(responses, text, layer=1).vector for text in ("A > B", "B > A"))
    np.testing.assert_allclose(forth, -back, rtol=1e-12)


def test_a_reference_recording_scales_doses_by_tokens(recording, responses):
    direction = Direction.from_contrast(responses, "A > B", layer=1, reference=recording)
    expected = float(reference_statistics(recording, [1])["median_norm"][0])
    assert direction.reference == pytest.approx(expected)
    assert direction.max_norm == pytest.approx(SINK_RATIO * expected)
    assert direction.reference > Direction.from_contrast(responses, "A > B", layer=1).reference


def test_directions_that_make_no_sense_are_refused(recording, responses):
    with pytest.raises(DesignError, match=r"no layers \[7\] in the responses"):
        Direction.from_contrast(responses, "A > B", layer=7)
    with pytest.raises(ContrastError, match="no condition 'C'"):
        Direction.from_contrast(responses, "A > C", layer=1)
    with pytest.raises(DesignError, match="the conditions do not differ at all"):
        Direction.from_contrast(responses * 0 + 1, "A > B", layer=1)
    with pytest.raises(DesignError, match=r"use Direction\.from_feature"):
        Direction.from_contrast(responses.assign_attrs(basis="sae"), "A > B", layer=1)
    with pytest.raises(DesignError, match="record that site"):
        Direction.from_contrast(responses, "A > B", layer=1, reference=recording.assign_attrs(site="mlp_out"))


def test_feature_direction_adds_what_its_reference_maximum_decodes_to():
    rows = np.random.default_rng(0).standard_normal((5, 8))
    dictionary = SimpleNamespace(
        name="d", site="resid_post", layer=2, decoder=rows, reference_max=np.array([1, 2, 3, 0, 5.0])
    )
    [edit] = Stimulation(Direction.from_feature(dictionary, 2), [0, 0.5]).edits(0.5)
    np.testing.assert_allclose(edit.offset @ edit.decoder, 0.5 * 3 * rows[2], rtol=1e-12)
    with pytest.raises(DesignError, match="d has features 0 to 4, not 5"):
        Direction.from_feature(dictionary, 5)
    with pytest.raises(DesignError, match="feature 3 of d is dead"):
        Direction.from_feature(dictionary, 3)


def test_a_dose_shifts_every_ordinary_token_by_its_reference(responses):
    direction = Direction("resid_post", 1, np.eye(32)[20], reference=3.0, dose_unit="norm")
    toy = ToySubject()
    tokens = toy.tokenize(["the keys are here"])
    before, after = (
        toy.run(tokens, sites={"resid_post": [1]}, edits=edits).activations["resid_post"][:, 0]
        for edits in ([], Stimulation(direction, [0, -2]).edits(-2))
    )
    np.testing.assert_allclose((after - before)[1:, 20], -6, rtol=1e-5)
    np.testing.assert_array_equal(after[0], before[0])


def test_kat_31_dose_zero_is_the_intact_model_bit_for_bit(responses):
    direction = Direction("resid_post", 1, np.full(32, 32**-0.5), reference=3.0, dose_unit="norm")
    toy = ToySubject()
    tokens = toy.tokenize(["the keys are here"])
    edited = toy.run(tokens, surprisal=True, edits=Stimulation(direction, [0]).edits(0))
    np.testing.assert_array_equal(edited.surprisal, toy.run(tokens, surprisal=True).surprisal)
    assert edited.shift == (0.0,)


@pytest.mark.parametrize(
    ("doses", "message"),
    [
        ([1, 2], "lack 0"),
        ([0, 1, 1], "differ from each other"),
        ([0, np.inf], "must be finite"),
        ([], "lack 0"),
    ],
)
def test_doses_without_zero_or_repeated_are_refused(doses, message):
    direction = Direction("resid_post", 1, np.eye(4)[0], reference=1.0, dose_unit="norm")
    with pytest.raises(DesignError, match=message):
        Stimulation(direction, doses)
