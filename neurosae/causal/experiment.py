"""Does the model need what was localized? Perturbations, each beside the intact model and matched shams."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import xarray as xr

from neurosae.causal.acts import Act, Perturbation, check_selection, plan_acts
from neurosae.causal.measurement import measure, measure_act, open_bench
from neurosae.causal.outcome import tabulate
from neurosae.causal.readouts import ReadoutDesign, read_design
from neurosae.errors import DesignError
from neurosae.schema.names import STIMULUS
from neurosae.schema.provenance import provenance_attrs, with_step
from neurosae.schema.recordings import stimulus_coords
from neurosae.schema.units import text_digest
from neurosae.subject.interface import Subject


def run_causal(
    subject: Subject,
    stimuli: pd.DataFrame,
    perturbations: Mapping[str, Perturbation],
    *,
    readouts: Sequence[str] = ("minimal_pair", "surprisal"),
    controls: int = 99,
    seed: int = 0,
    circular: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """What each perturbation does to each read-out, and whether matched shams do as much.

    effect = mean over units of (score - score of the intact model). A lesion is compared with lesions of
    random units matched by layer and magnitude (`neurosae.causal.controls.matched_roi`), a stimulation with
    random directions of equal norm at each dose. p is the rank of the effect's distance from the mean of
    target and shams, two-sided, (1 + #) / (R + 1) for R shams: the primary test, of whether these units or
    this direction matter more than others like them. p_unit, sign flips over units of target minus mean sham,
    is conditional on this ROI or direction: it asks whether the difference holds over texts, which it also
    does for most regions drawn at random. Neither is corrected for multiple comparisons.

    Parameters
    ----------
    subject : the model
    stimuli : table with ``stimulus``, ``text``, ``condition``; for minimal pairs two rows a pair, conditions
        ``good`` and ``bad``, and a column ``pair``
    perturbations : by name
    readouts : of `neurosae.causal.readouts.READOUTS`
    controls : shams of each perturbation; a small ROI in a small layer may have fewer different ones
    seed : of shams, bootstrap and sign flips
    circular : allow stimuli that an ROI or direction was selected on; the result is stamped CIRCULAR if
        there are such
    progress : called with runs done and runs in all

    Returns
    -------
    Dataset
        score_intact (readout, unit); score (perturbation, readout, unit); score_sham (perturbation, sham,
        readout) mean over units; score_sham_unit (perturbation, readout, unit) mean over shams;
        effect, effect_lo, effect_hi (95 % bootstrap over units, conditional on the ROI or direction), p, z
        (SD over shams), p_unit (perturbation, readout); effect_sham (perturbation, sham, readout); shift,
        mean L2 change of an edited token, a.u., n_edited and n_sham (perturbation); shift_sham and n_outside,
        units matched beyond the caliper (perturbation, sham). Where one perturbation has fewer shams than
        another, the rest is NaN. Coordinates: act, the perturbation's name, and dose, NaN for lesions; a dose
        is labelled ``<name> <dose>``; how (perturbation), what units are set to, or ``stimulation``; act_id
        (perturbation) and sham_id (perturbation, sham; empty where there is none), hashes of the edits, and
        unit_texts (unit), hashes of the unit's texts, by which `neurosae.causal.effects.dissociate` compares
        experiments. Read-outs: log_odds in bits, accuracy, surprisal in bits per token.

    Raises
    ------
    DesignError
        If stimuli were seen by a selection, pairs are incomplete, a read-out or a perturbation does not fit,
        or shams cannot be matched.
    ManipulationError
        If a perturbation or most of its shams leave the model unchanged, or dose 0 does not.

    Source
    ------
    AlKhamissi et al. 2025, NAACL (lesions of localized units against random ones); Phipson & Smyth 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosae.causal.direction import Direction
    >>> from neurosae.causal.perturbation import Stimulation
    >>> from neurosae.subject.toy import ToySubject
    >>> from neurosae.testing import planted_pairs
    >>> plural = Direction("resid_post", 2, np.eye(32)[4], reference=1.0, dose_unit="plural nouns")
    >>> result = run_causal(ToySubject(), planted_pairs(), {"push": Stimulation(plural, [0, 2])}, controls=9)
    >>> result["score"].sel(readout="accuracy").mean("unit").round(2).values.tolist()
    [1.0, 0.5]
    """
    design = read_design(stimuli, readouts)
    tested = _tested(subject, stimuli)
    is_circular = check_selection(perturbations, tested, circular=circular)
    acts = plan_acts(subject, perturbations, controls, seed)
    bench = open_bench(subject, stimuli, design, readouts)
    tick = _ticker(acts, progress)
    intact = measure(bench)
    tick()
    measured = [measure_act(bench, act, intact, tick) for act in acts]
    settings = {"readouts": " ".join(readouts), "controls": controls, "seed": seed}
    stamp = "CIRCULAR" if is_circular else "no"
    result = tabulate(acts, measured, intact, design, readouts, seed)
    return result.assign_coords(unit_texts=_unit_texts(stimuli, design)).assign_attrs(
        subject=subject.name,
        unit=design.unit,
        n_units=len(design.labels),
        alternative="two-sided",
        circular=stamp,
        **settings,
        **with_step(tested, "run_causal", circular=stamp, **settings),
    )


def _tested(subject: Subject, stimuli: pd.DataFrame) -> xr.Dataset:
    """The stimuli as coordinates, with their origin; what selections are checked against."""
    missing = [name for name in (STIMULUS, "text", "condition") if name not in stimuli]
    if missing:
        raise DesignError(f"the stimuli lack the columns {missing}; load them with load_stimuli.")
    name, digest = (str(stimuli.attrs.get(key, "")) for key in ("name", "sha256"))
    origin = {"subject": subject.describe(), "stimuli": {"name": name, "sha256": digest}}
    return xr.Dataset(coords=stimulus_coords(stimuli), attrs=provenance_attrs(origin))


def _unit_texts(stimuli: pd.DataFrame, design: ReadoutDesign) -> tuple[str, list[str], dict[str, str]]:
    """Hashes of the texts of each unit, joined by spaces; case and white space make no other text."""
    hashes = pd.Series([text_digest(text) for text in stimuli["text"]])
    of_unit = hashes.groupby(stimuli[design.unit].astype(str).to_numpy()).agg(_joined)
    return "unit", of_unit.loc[design.labels].tolist(), {"long_name": "hashes of the texts", "units": "1"}


def _joined(hashes: pd.Series) -> str:
    return " ".join(sorted(hashes))


def _ticker(acts: Sequence[Act], progress: Callable[[int, int], None] | None) -> Callable[[], None]:
    n_runs = 1 + sum(1 if act.is_identity else 1 + len(act.shams) for act in acts)
    done = itertools.count(1)

    def tick() -> None:
        if progress is not None:
            progress(next(done), n_runs)

    return tick
