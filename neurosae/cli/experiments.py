"""Verbs on the running subject: lesion and stimulate, each beside intact and shams."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import neurosae as ns
from neurosae.cli.console import progress, say_summary
from neurosae.cli.options import AsJson, How, Out, Overwrite, Seed, SessionPath, Site, SubjectName, Window

if TYPE_CHECKING:  # xarray takes longer to import than the help to print
    import xarray as xr

Stimuli = Annotated[Path, typer.Option("--stimuli", help="Stimulus set that the subject is tested on.")]
Readouts = Annotated[
    list[str] | None, typer.Option("--readout", help="minimal_pair or surprisal; repeat for both.")
]
Controls = Annotated[int, typer.Option("--controls", min=1, help="Number of shams.")]
DEFAULT_READOUTS = ("minimal_pair", "surprisal")


def lesion(
    session: SessionPath,
    roi: Annotated[Path, typer.Argument(help="A stored ROI.")],
    stimuli: Stimuli,
    out: Out,
    kind: Annotated[str, typer.Option("--lesion", help="mean or zero.")] = "mean",
    readout: Readouts = None,
    controls: Controls = 99,
    site: Site = None,
    subject: SubjectName = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Lesion an ROI and compare with intact and with matched shams."""
    ns.report.check_output(out, overwrite=overwrite)
    opened = ns.open_session(session)
    reference = opened.recording(site)
    act = ns.Lesion(ns.load_netcdf(roi), how=kind, reference=reference)
    name = subject or str(opened.provenance["subject"]["name"])
    table = ns.load_stimuli(stimuli)
    ns.report.check_readable(table, ns.report.available_card(name), "none")
    loaded = ns.load_subject(name)
    result = ns.run_causal(
        loaded,
        table,
        {"lesion": act},
        readouts=readout or DEFAULT_READOUTS,
        controls=controls,
        seed=seed,
        progress=progress("lesion"),
    )
    _store(result, out, overwrite, as_json=as_json)


def stimulate(
    session: SessionPath,
    contrast: Annotated[str, typer.Argument(help="Contrast whose direction is added, 'a > b'.")],
    stimuli: Stimuli,
    out: Out,
    layer: Annotated[int, typer.Option("--layer", help="Layer at which the direction is added.")],
    dose: Annotated[
        list[float], typer.Option("--dose", help="Multiples of the median norm; repeat, include 0.")
    ],
    readout: Readouts = None,
    controls: Controls = 19,
    site: Site = None,
    window: Window = "all",
    how: How = "mean",
    subject: SubjectName = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Add the direction of a contrast in several doses, beside random directions of equal norm."""
    ns.report.check_output(out, overwrite=overwrite)
    opened = ns.open_session(session)
    recording = opened.recording(site)
    responses = ns.pool_tokens(recording, window=window, how=how)
    direction = ns.Direction.from_contrast(responses, contrast, layer=layer, reference=recording)
    name = subject or str(opened.provenance["subject"]["name"])
    table = ns.load_stimuli(stimuli)
    ns.report.check_readable(table, ns.report.available_card(name), "none")
    loaded = ns.load_subject(name)
    result = ns.run_causal(
        loaded,
        table,
        {"stimulation": ns.Stimulation(direction, dose=dose)},
        readouts=readout or DEFAULT_READOUTS,
        controls=controls,
        seed=seed,
        progress=progress("stimulation"),
    )
    _store(result, out, overwrite, as_json=as_json)


def _store(result: "xr.Dataset", out: Path, overwrite: bool, *, as_json: bool) -> None:
    ns.save_netcdf(result, out, overwrite=overwrite)
    rows = {
        f"{act} {readout}": f"{float(one['effect']):+.3g} [{float(one['effect_lo']):.3g}, "
        f"{float(one['effect_hi']):.3g}], p = {float(one['p']):.3g} against {one.sizes['sham']} shams"
        for act in result["perturbation"].values
        for readout in result["readout"].values
        for one in [result.sel(perturbation=act, readout=readout)]
    }
    say_summary({**rows, "file": out}, as_json=as_json)
