"""The study scripts run: on a toy subject, whole, with a report that says what it may say."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from neurosae.dictionary.toy import ToyDictionary
from neurosae.recording.netcdf import load_netcdf
from neurosae.stimulus.load import load_stimuli
from neurosae.subject.toy import ToySubject

SCRIPT = Path(__file__).parents[1] / "analyses" / "pipeline_comparison.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pipeline_comparison_study", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def study(script, tmp_path_factory):
    subject = ToySubject()
    out = tmp_path_factory.mktemp("study")
    stimuli = script.first_concepts(load_stimuli(script.STIMULI), 1)
    dictionary = ToyDictionary(subject.d_model, subject.d_model, layer=2, shift=2.0)
    report = script.run(subject, dictionary, stimuli, out, n_repeats=1)
    return report, load_netcdf(out / "pipelines.nc"), out


def test_the_study_compares_all_spaces_of_a_concept_and_decides_nothing_from_one(study):
    report, found, out = study
    assert found["space"].values.tolist() == ["raw", "codes", "raw_axes", "codes_thinned", "random"]
    assert found["concept"].values.tolist() == ["abundance"]
    assert found.attrs["patterns"] == "windows"
    assert np.isfinite(found["auroc"].sel(space="raw")).all()
    assert report.count("not decided: 1 concepts, at least 10 are needed") >= 3
    assert (out / "report.txt").read_text(encoding="utf-8") == report + "\n"


def test_the_table_gives_means_over_concepts_with_t_intervals(script):
    mean, low, high = script._mean_interval(np.array([0.5, 0.6, 0.7]))
    assert mean == pytest.approx(0.6)
    assert (low, high) == pytest.approx((0.6 - 4.302653 * 0.1 / 3**0.5, 0.6 + 4.302653 * 0.1 / 3**0.5))


def test_a_dictionary_of_another_layer_is_refused_before_the_subject_is_loaded(script, monkeypatch, capsys):
    monkeypatch.setitem(vars(script.ns), "load_dictionary", lambda path: ToyDictionary(layer=2))
    with pytest.raises(SystemExit):
        script.main(["--dictionary", "x"])
    assert "of resid_post, layer 2; the study was asked for resid_post, layer 15" in capsys.readouterr().err
