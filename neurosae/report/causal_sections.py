"""Sections of a report on causal experiments: a lesion against its shams, a stimulation over its doses."""

import xarray as xr

from neurosae.plotting import plot_dose_response, plot_lesion
from neurosae.protocol.tables import CausalPlan
from neurosae.report.context import Study
from neurosae.report.figures import picture
from neurosae.report.findings import Finding, causal_findings, count_units, number
from neurosae.report.prose import say
from neurosae.report.section import Section

MATCHED_SHARE = 0.2
"""Share of a sham's features without a close match beyond which it is not called matched."""


def causal_section(study: Study, table: CausalPlan) -> Section:
    """What one causal experiment of the protocol showed."""
    causal = study.shelf.dataset(f"causal-{table.name}")
    readouts = [str(name) for name in causal["readout"].values]
    headline = "log_odds" if "log_odds" in readouts else readouts[0]
    if table.lesion is not None:
        n_members = int(study.shelf.dataset(f"roi-{table.lesion.roi}")["member"].sum())
        return _lesion(table, causal, readouts, headline, n_members)
    return _stimulation(table, causal, study.shelf.dataset(f"dose_response-{table.name}"), headline)


def _lesion(
    table: CausalPlan, causal: xr.Dataset, readouts: list[str], headline: str, n_members: int
) -> Section:
    findings = causal_findings(f"lesion, {table.name}", causal, table.name, headline=headline)
    main = next(finding for finding in findings if finding.headline)
    one = causal.sel(perturbation=table.name, readout=headline)
    text = say(
        "lesion",
        table=table,
        one=one,
        readout=headline,
        intact=causal["score_intact"].sel(readout=headline).mean(),
        finding=main,
        sham_mean=one["effect_sham"].mean(),
        n_sham=one.sizes["sham"],
        stimuli=table.stimuli.name,
        is_matched=float(one["n_outside"].mean()) <= MATCHED_SHARE * n_members,
    )
    check = say(
        "manipulation",
        one=one,
        shift_sham=one["shift_sham"].mean(),
        n_outside=float(one["n_outside"].mean()),
        n_members=n_members,
    )
    pictures = tuple(
        picture(
            plot_lesion(causal, perturbation=table.name, readout=name), say("lesion_caption", readout=name)
        )
        for name in readouts
    )
    title = f"Lesion of {table.lesion.roi if table.lesion else ''}: {table.name}"
    return Section(title, f"causal-{table.name}", (text, check), pictures=pictures, findings=tuple(findings))


def _stimulation(table: CausalPlan, causal: xr.Dataset, slopes: xr.Dataset, headline: str) -> Section:
    readouts = [str(name) for name in slopes["readout"].values]
    findings = tuple(_slope_finding(table.name, slopes, readout) for readout in readouts)
    text = say(
        "stimulation",
        table=table,
        finding=findings[readouts.index(headline)],
        readout=headline,
        doses=", ".join(f"{dose:g}" for dose in table.stimulation.dose) if table.stimulation else "",
        n_sham=causal.sizes["sham"],
        p_unit=slopes["p"].sel(act=table.name, readout=headline),
    )
    pictures = tuple(
        picture(plot_dose_response(causal, act=table.name, readout=name), say("dose_caption", readout=name))
        for name in readouts
    )
    title = f"Stimulation: {table.name}"
    return Section(title, f"causal-{table.name}", (text,), pictures=pictures, findings=findings)


def dissociation_section(study: Study, first: str, second: str) -> Section:
    """Whether one lesion changes one task more than another."""
    result = study.shelf.dataset(f"dissociation-{first}-{second}")
    z = result["z"].values
    finding = Finding(
        label=f"dissociation, {first} against {second}: difference of standardised effects",
        measure="Δ z",
        effect=float(result["interaction"]),
        lo=float(result["interaction_lo"]),
        hi=float(result["interaction_hi"]),
        p=float(result["p"]),
        p_floor=1 / (int(result["n_sham"]) + 1),
        n=int(result["n_units"].sum()),
        note=f"z = {number(float(z[0]))} and {number(float(z[1]))}, rank among shams",
    )
    text = say("dissociation", first=first, second=second, z=z, finding=finding)
    title = f"Dissociation: {first} against {second}"
    return Section(title, f"dissociation-{first}-{second}", (text,), findings=(finding,))


def _slope_finding(name: str, slopes: xr.Dataset, readout: str) -> Finding:
    one = slopes.sel(act=name, readout=readout)
    return Finding(
        label=f"stimulation, {name}: slope of {readout.replace('_', ' ')}",
        measure="Δ per unit of dose",
        effect=float(one["slope"]),
        lo=float(one["slope_lo"]),
        hi=float(one["slope_hi"]),
        p=float(one["p_sham"]),
        p_floor=1 / (slopes.sizes["sham"] + 1),
        n=count_units(slopes),
        note=f"rank among {slopes.sizes['sham']} random directions",
    )
