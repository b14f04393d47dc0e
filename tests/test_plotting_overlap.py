"""Figures of overlap, co-activation, criteria and tuning: values written, marks drawn, labels."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from neurosae import plotting
from neurosae.analysis.coactive_pairs import coactivation
from neurosae.analysis.level_tuning import parametric_tuning
from neurosae.analysis.monosemanticity import monosemantic_features
from neurosae.analysis.overlap_of_classes import feature_overlap
from neurosae.analysis.tuning_curves import cell_tuning
from neurosae.plotting.style import ACCENT
from tests.responses import planted, responses_of


@pytest.fixture(scope="module")
def overlap():
    return feature_overlap(planted(), "condition", k=5, n_permutations=19)


def test_overlap_writes_every_value_and_names_every_class(overlap):
    ax = plotting.plot_overlap(overlap, layer=0)
    written = [float(text.get_text()) for text in ax.texts]
    np.testing.assert_allclose(written, overlap["overlap"].values[0].ravel(), atol=0.006)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == overlap["skill"].values.tolist()
    assert ax.images[0].get_clim()[0] == 0.0


def test_adjusted_overlap_is_centred_on_zero_and_leaves_the_diagonal_empty(overlap):
    ax = plotting.plot_overlap(overlap, layer=1, variable="adjusted")
    low, high = ax.images[0].get_clim()
    assert low == -high
    assert len(ax.texts) == 12
    assert ax.get_title(loc="left") == "layer 1"


def test_overlap_over_layers_is_a_layer_profile(overlap):
    ax = plotting.plot_layer_profile(overlap, "index")
    assert ax.get_ylabel() == "overlap within classes minus between"
    assert "mean under permutation" in ax.get_legend_handles_labels()[1]


def test_coactivation_fills_significant_pairs_only():
    active = np.random.default_rng(0).random((60, 20)) < 0.3
    active[:, 7] = active[:, 3]
    found = coactivation(responses_of(active.astype(float), ["a"] * 60), layer=0, n=4)
    ax = plotting.plot_coactivation(found)
    assert ax.get_yticklabels()[0].get_text() == "3 – 7"
    marks = {collection.get_label(): collection for collection in ax.collections}
    filled = marks["both active, corrected p ≤ 0.05"]
    assert to_hex(filled.get_facecolor()[0]) == ACCENT
    assert filled.get_offsets()[0].tolist() == [float(found["n_both"][0]), 0.0]
    assert len(filled.get_offsets()) + len(marks["both active, not significant"].get_offsets()) == 4
    assert ax.get_xlabel() == "units of inference, of 60"


def test_at_most_thirty_pairs_are_drawn():
    active = np.random.default_rng(1).random((40, 20)) < 0.4
    found = coactivation(responses_of(active.astype(float), ["a"] * 40), layer=0, n=100)
    assert len(plotting.plot_coactivation(found).get_yticks()) == 30


def test_criteria_count_features():
    found = monosemantic_features(planted(), "condition", n_splits=5, n_permutations=99)
    ax = plotting.plot_criteria(found)
    widths = [patch.get_width() for patch in ax.patches]
    assert widths[0] == int(found["is_alive"].sum())
    assert widths[-1] == int(found["monosemantic"].sum())
    assert ax.get_yticklabels()[-1].get_text() == "all of these"


def test_parametric_tuning_highlights_the_best_model():
    level = np.tile(np.arange(8.0), 6)
    values = np.exp(-((level - 3) ** 2) / 4) + 0.1 * np.random.default_rng(2).normal(size=48)
    responses = responses_of(values[:, None], ["a"] * 48, length=level)
    found = parametric_tuning(responses, "length", n_permutations=19)
    ax = plotting.plot_parametric_tuning(found, layer=0, feature=0)
    accented = [line.get_label() for line in ax.lines if line.get_color() == ACCENT]
    assert accented[0].startswith("gaussian: held-out R²")
    assert accented[1].startswith("preferred level 2.9")
    assert ax.get_xlabel() == "length"
    assert ax.get_title(loc="left") == "layer 0, feature 0: gaussian, p ≤ 0.05"


def test_cell_tuning_draws_one_line_a_level():
    responses = responses_of(
        np.random.default_rng(3).normal(size=(16, 1)),
        ["a"] * 16,
        mood=np.repeat(["bad", "good"], 8),
        number=np.tile(["one", "two"], 8),
    )
    found = cell_tuning(responses, ("mood", "number"))
    ax = plotting.plot_cell_tuning(found, layer=0, feature=0)
    assert ax.get_legend_handles_labels()[1] == ["bad", "good"]
    drawn = np.asarray(ax.containers[1].lines[0].get_ydata(), dtype=float)
    np.testing.assert_allclose(drawn, found["mean"].values[1, :, 0, 0])
    assert ax.get_xlabel() == "number"
