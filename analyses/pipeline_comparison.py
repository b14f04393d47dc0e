"""Which way of finding the features of a concept is best, over twelve concepts, in one model.

Run it: python analyses/pipeline_comparison.py --dictionary PATH [--subject smollm2-135m] [--layer 15]
[--out results/pipeline_comparison] [--concepts N] [--repeats 10] [--permutations 0]. PATH is a folder of
sae-lens or the name of a dictionary.

Three hypotheses, fixed before anything was run, two-sided, Holm over the three:

* H1: selectors by representational similarity (CMI, CDI) find better features than the largest mean (max).
* H2: codes of a dictionary are better features than units.
* H3: the discriminative index (CDI) finds better features than the categorical one (CMI).

The layer is fixed in advance, too. Concepts are the unit of inference: with fewer than ten, no hypothesis
is decided.
"""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

import neurosae as ns
from neurosae.dictionary.interface import Dictionary
from neurosae.dictionary.random_weights import random_dictionary
from neurosae.protocol.models import Protocol
from neurosae.subject.interface import Subject

STIMULI = Path(__file__).parents[1] / "stimuli" / "concept_pairs"
SITE, WINDOW, TARGET = "resid_post", "relative:10", "target"
FLAGGED = 0.8


def first_concepts(stimuli: pd.DataFrame, n: int | None) -> pd.DataFrame:
    """The stimuli of the first ``n`` concepts by name, or of all."""
    kept = sorted(stimuli["concept"].unique())[:n]
    return stimuli[stimuli["concept"].isin(kept)].reset_index(drop=True)


def recorded(subject: Subject, stimuli: pd.DataFrame, layer: int, out: Path) -> xr.DataArray:
    """Raw activations of one layer; a session in ``out`` is continued or opened."""
    settings = {"sites": [SITE], "layers": [layer], "surprisal": False}
    protocol = Protocol(
        name="pipeline_comparison", stimuli=STIMULI.name, subject=subject.name, recording=settings
    )
    return ns.record(subject, protocol, out / "session", stimuli=stimuli)[SITE]


def spaces_of(recording: xr.DataArray, dictionary: Dictionary) -> dict[str, xr.DataArray]:
    """Units, codes, and codes of random weights, in ten parts of each sentence.

    The random dictionary is as wide and as sparse as the other on these very tokens. It never sees a class.
    """
    rows = recording.values[recording["valid"].values][:, 0]
    null = random_dictionary(dictionary, rows[np.isfinite(rows).all(axis=1)])
    codes = ns.encode(recording, dictionary)
    with warnings.catch_warnings():
        # Random weights leave much of the variance unexplained: that is what they are for.
        warnings.filterwarnings("ignore", message=".*of the variance of these activations unexplained")
        control = ns.encode(recording, null)
    given = {"raw": recording, "codes": codes, "random": control}
    return {name: ns.pool_tokens(one, WINDOW) for name, one in given.items()}


def surface_table(recording: xr.DataArray) -> pd.DataFrame:
    """AUROC of the text itself for each concept, families held out; above .8 a concept is flagged."""
    responses = ns.pool_tokens(recording)
    rows = []
    for concept in sorted(set(responses["concept"].values.tolist())):
        own = responses.isel(stimulus=np.flatnonzero(responses["concept"].values == concept))
        found = {
            part: ns.decode(ns.surface_features(own, parts=[part]), "condition", n_permutations=19)
            for part in ("length", "bag", "spelling")
        }
        rows.append({"concept": concept} | {part: float(one["auroc"][0]) for part, one in found.items()})
    table = pd.DataFrame(rows).set_index("concept")
    return table.assign(flagged=table.max(axis=1) > FLAGGED)


def auroc_table(found: xr.Dataset) -> pd.DataFrame:
    """Mean AUROC of each pipeline over concepts, with a 95 % t interval over concepts."""
    by_concept = found["auroc"].mean(["repeat", "fold"])
    rows = []
    for space in found["space"].values.tolist():
        for selector in found["selector"].values.tolist():
            values = by_concept.sel(space=space, selector=selector).dropna("concept").values
            if len(values):
                rows.append((space, selector, *_mean_interval(values)))
    return pd.DataFrame(rows, columns=["space", "selector", "auroc", "low", "high"])


def _mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    if len(values) < 2:
        return float(values[0]), np.nan, np.nan
    low, high = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    return float(values.mean()), float(low), float(high)


def printed(surface: pd.DataFrame, found: xr.Dataset) -> str:
    """The report: surface, table of pipelines, references, verdicts."""
    references = found["reference_auroc"].mean(["concept", "repeat", "fold"]).to_pandas().round(3)
    verdicts = found["verdict"].to_pandas()
    lines = [
        f"{name} ({found['contrast'].sel(hypothesis=name).item()}): {verdicts[name]}"
        for name in verdicts.index
    ]
    return "\n\n".join(
        (
            f"AUROC of the text itself, families held out\n{surface.round(3)}",
            f"Held-out AUROC of 8 features, mean and 95 % interval over {found.sizes['concept']} concepts\n"
            f"{auroc_table(found).round(3).to_string(index=False)}",
            f"All features, and the difference of class means\n{references}",
            "Verdicts\n" + "\n".join(lines),
        )
    )


def run(
    subject: Subject,
    dictionary: Dictionary,
    stimuli: pd.DataFrame,
    out: Path,
    *,
    n_repeats: int = 10,
    n_permutations: int = 0,
) -> str:
    """The whole study; writes pipelines.nc and report.txt into ``out`` and returns the report."""
    # One pass through the model; the dictionary says at which layer.
    recording = recorded(subject, stimuli, dictionary.layer, out)

    # What the words alone give away. A concept that is flagged says little about meaning.
    surface = surface_table(recording)

    # Sentences are compared by their course over ten parts: from one number a sentence, CDI is Welch's t.
    spaces = spaces_of(recording, dictionary)

    # Families (both versions of one content, in all frames) stay in one fold.
    found = ns.compare_pipelines(
        spaces, "condition", target=TARGET, n_repeats=n_repeats, n_permutations=n_permutations
    )
    ns.save_netcdf(found, out / "pipelines.nc")
    report = printed(surface, found)
    (out / "report.txt").write_text(report + "\n", encoding="utf-8")
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subject", default="smollm2-135m")
    parser.add_argument("--dictionary", required=True)
    parser.add_argument("--layer", type=int, default=15, help="refused if the dictionary is of another")
    parser.add_argument("--out", type=Path, default=Path("results/pipeline_comparison"))
    parser.add_argument("--concepts", type=int, help="the first N only, to try it out")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--permutations", type=int, default=0)
    given = parser.parse_args(arguments)
    dictionary = ns.load_dictionary(given.dictionary)
    if (dictionary.layer, dictionary.site) != (given.layer, SITE):
        parser.error(
            f"{dictionary.name} is of {dictionary.site}, layer {dictionary.layer}; the study was asked for "
            f"{SITE}, layer {given.layer}. Name that layer, or another dictionary."
        )
    stimuli = first_concepts(ns.load_stimuli(STIMULI), given.concepts)
    study = run(
        ns.load_subject(given.subject),
        dictionary,
        stimuli,
        given.out,
        n_repeats=given.repeats,
        n_permutations=given.permutations,
    )
    print(study)


if __name__ == "__main__":
    main()
