"""Every result carries what its methods section has to say."""

import json

import pytest
import xarray as xr

from neurosae.analysis.category import category_rsa
from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.decoding import decode
from neurosae.analysis.localizer import cross_localize, localize, roi_responses
from neurosae.analysis.selectivity import selectivity_index
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.recording.pooling import pool_tokens
from neurosae.schema.provenance import provenance, provenance_attrs, software, with_step
from neurosae.schema.record_fields import FIELDS, methods_record
from neurosae.testing import planted_recording

RESPONSES = pool_tokens(planted_recording())
ANALYSES = {
    "contrast_map": lambda: contrast_map(RESPONSES, "A > B", n_permutations=99),
    "cross_localize": lambda: cross_localize(RESPONSES, "A > B", fraction=0.05),
    "decode": lambda: decode(RESPONSES, "condition", n_permutations=19),
    "category_rsa": lambda: category_rsa(RESPONSES, "condition", n_permutations=19),
    "selectivity_index": lambda: selectivity_index(RESPONSES, "condition", index="auroc", n_permutations=19),
}


@pytest.mark.parametrize("name", list(ANALYSES))
def test_results_say_how_they_were_made(name, tmp_path):
    result = ANALYSES[name]()
    save_netcdf(result, tmp_path / "result.nc")
    record = methods_record(load_netcdf(tmp_path / "result.nc"))
    assert record["analysis"]["analysis"] == name
    assert {"n_permutations", "seed"} <= set(record["analysis"])
    assert record["software"]["software"] == dict(software())
    assert record["recording"]["window"] == "all"
    assert json.loads(json.dumps(record, default=str))["stimuli"]["stimuli"] == "planted-0"


def test_contrast_maps_name_their_family_and_correction():
    record = methods_record(ANALYSES["contrast_map"]())
    assert record["multiplicity"] == {
        "correct": "fdr_bh",
        "family": "valid features of all layers",
        "family_size": 48,
    }
    assert record["inference"] == {"n_units": 40, "circular": "no"}
    assert record["analysis"]["unit"] == "item"


def test_a_circular_result_says_so():
    roi = localize(ANALYSES["contrast_map"](), n=1)
    record = methods_record(roi_responses(RESPONSES, roi, circular=True))
    assert str(record["inference"]["circular"]).startswith("CIRCULAR")


def test_model_and_protocol_come_from_provenance_and_what_lacks_is_named():
    origin = {
        "subject": {"name": "toy", "weights_sha256": "w", "dtype": "float32"},
        "protocol": {"name": "words", "sha256": "p"},
    }
    record = methods_record(xr.Dataset(attrs={"subject": "toy", **provenance_attrs(origin)}))
    assert record["model"] == {"subject": "toy", "weights_sha256": "w", "dtype": "float32"}
    assert record["design"] == {"protocol": "words", "protocol_sha256": "p"}
    assert {"device", "test", "software"} <= set(record["missing"])
    assert set(record) == {*FIELDS, "missing", "steps"}


def test_a_step_adds_the_software_and_keeps_earlier_steps():
    first = xr.Dataset(attrs=with_step(xr.Dataset(), "one", n=1))
    second = provenance(xr.Dataset(attrs=with_step(first, "two")))
    assert [step["step"] for step in second["steps"]] == ["one", "two"]
    assert set(second["software"]) >= {"numpy", "xarray"}
