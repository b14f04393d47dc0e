"""A dictionary is refused at the door of a recording that it was not made for."""

import numpy as np
import pytest
import xarray as xr

from neurosae.dictionary.guards import check_fits, fraction_unexplained
from neurosae.dictionary.toy import ToyDictionary
from neurosae.errors import DictionaryError
from neurosae.schema.provenance import provenance_attrs

TOY = ToyDictionary(4, 6, subject="Toy", site="resid_pre", layer=2)
TOY.metadata = {"prepend_bos": True}


def recording(site="resid_pre", layers=(1, 2), width=6, basis="units", **subject):
    origin = {"subject": {"name": "toy", "prepend_bos": True} | subject}
    return xr.DataArray(
        np.ones((1, 2, len(layers), width), dtype=np.float32),
        dims=("stimulus", "token", "layer", "feature"),
        coords={
            "stimulus": ["a"],
            "layer": list(layers),
            "valid": (("stimulus", "token"), [[True, True]]),
        },
        attrs={"site": site, "basis": basis, **provenance_attrs(origin)},
    )


def test_a_dictionary_fits_the_recording_it_was_made_for():
    assert check_fits(TOY, recording()) is None


def test_the_embedded_subject_is_known_by_its_published_name():
    toy = ToyDictionary(4, 6, subject="HuggingFaceTB/SmolLM2-135M-Instruct", site="resid_pre", layer=2)
    assert check_fits(toy, recording(name="smollm2-135m")) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"site": "mlp_out"}, "of site 'resid_pre'; the recording holds 'mlp_out'"),
        ({"layers": (0, 1)}, r"of layer 2; the recording holds \[0, 1\]"),
        ({"width": 7}, "of width 6; the recording holds 7"),
        ({"basis": "x"}, "of basis 'units'; the recording holds 'x'"),
        ({"name": "gpt2"}, "of subject 'Toy'; the recording holds 'gpt2'"),
        ({"prepend_bos": False}, "of prepend_bos True; the recording holds False"),
    ],
)
def test_another_recording_is_refused_with_both_values(changed, message):
    with pytest.raises(DictionaryError, match=message):
        check_fits(TOY, recording(**changed))


def test_unexplained_variance_of_planted_codes_is_zero():
    codes = np.random.default_rng(0).random((50, 4)) + 1
    fvu, l0 = fraction_unexplained(TOY, TOY.bias + codes @ TOY.decoder)
    assert fvu < 1e-9
    assert l0 == 4


@pytest.mark.parametrize("spread", [0, 1])
def test_activations_of_another_place_are_refused(spread):
    rows = 100 + spread * np.random.default_rng(0).standard_normal((50, 6))
    with pytest.raises(DictionaryError, match=r"leaves .* of the variance unexplained"):
        fraction_unexplained(TOY, rows)
