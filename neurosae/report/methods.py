"""The methods of a report, written from the protocol and from what the results carry."""

import pandas as pd
import xarray as xr

from neurosae.protocol.models import Protocol
from neurosae.protocol.tables import RsaPlan
from neurosae.recording.session import Session
from neurosae.recording.sparse import SparseRecording
from neurosae.report.context import Study
from neurosae.report.findings import number
from neurosae.report.prose import say
from neurosae.report.section import Section, Table
from neurosae.schema.record_fields import methods_record
from neurosae.schema.recordings import stimulus_table
from neurosae.schema.units import unit_column
from neurosae.stimulus.balance import balance_report

LARGE_D = 0.5
"""Standardised difference of a covariate beyond which the report warns (Cohen 1988: a medium effect)."""


def stimuli_section(study: Study) -> Section:
    """What was presented, how balanced it is, and what was left out."""
    responses = study.responses()
    stimuli = stimulus_table(responses)
    unit = unit_column(stimuli)
    counts = ", ".join(
        f"{count} {name}" for name, count in stimuli["condition"].value_counts(sort=False).items()
    )
    text = say(
        "methods_stimuli",
        stimuli=study.session.provenance["stimuli"],
        counts=counts,
        n_units=stimuli[unit].nunique(),
        unit=unit,
        excluded=responses.attrs.get("excluded", ""),
        sinks=study.session.counts["sinks"],
    )
    balance = balance_table(study.session)
    return Section("Stimuli", "stimuli", (text, *_cautions(balance)), (_table(balance),))


def _cautions(balance: pd.DataFrame) -> tuple[str, ...]:
    """A warning that names the covariates in which conditions differ by more than half an SD."""
    worst = balance.drop_duplicates("covariate").set_index("covariate")["largest_d"]
    apart = worst[worst.abs() > LARGE_D]
    named = ", ".join(f"{str(name).replace('_', ' ')} (d = {number(float(d))})" for name, d in apart.items())
    return (say("imbalance", covariates=named),) if named else ()


def balance_table(session: Session, *, by: str = "condition") -> pd.DataFrame:
    """The balance of the recorded stimuli over conditions, with length in tokens and surprisal."""
    recording = _tokens(session)
    real = (recording["token_id"] >= 0) & ~recording["is_special"].astype(bool)
    covariates = {"n_tokens": real.sum("token").values.astype(float)}
    if "surprisal" in recording.coords:
        covariates["surprisal"] = recording["surprisal"].where(real).mean("token").values
    return balance_report(session.stimuli, covariates, by=by)


def _tokens(session: Session) -> xr.DataArray | SparseRecording:
    """Labels of every token, from the activations, or from the codes where these alone are kept."""
    if session.sites:
        return session.recording(mask=False)
    first = next(iter(session.dictionaries.values()))
    return session.codes(str(first["site"]), str(first["name"]), mask=False)


def _table(balance: pd.DataFrame, *, by: str = "condition") -> Table:
    """The balance report as a table of the page: one row a covariate, one column a level."""
    levels = list(dict.fromkeys(balance[by]))
    rows = tuple(
        (str(name).replace("_", " "), *_cells(group, by, levels))
        for name, group in balance.groupby("covariate", sort=False)
    )
    caption = (
        "Mean ± SD over stimuli. Largest d is the largest standardised difference between two conditions "
        "(Cohen's d). Surprisal is the subject's own, in bits: it may be a result rather than a confound."
    )
    columns = ("covariate", *(str(level) for level in levels), "largest d", "between")
    return Table(columns, rows, tuple(range(1, len(columns) - 1)), caption)


def _cells(group: pd.DataFrame, by: str, levels: list[object]) -> tuple[str, ...]:
    means, spreads = (dict(zip(group[by], group[name], strict=True)) for name in ("mean", "sd"))
    shown = [f"{number(float(means[level]))} ± {number(float(spreads[level]))}" for level in levels]
    return (*shown, number(float(group["largest_d"].iloc[0])), str(group["pair"].iloc[0]))


def methods_section(study: Study) -> Section:
    """How subject, recording, analyses and inference were set."""
    protocol = study.protocol
    opening = say(
        "methods_subject",
        subject=study.session.provenance["subject"],
        recording=protocol.recording,
        window=protocol.responses.window,
        how=protocol.responses.how,
    )
    sha = study.session.provenance["protocol"]["sha256"]
    closing = say("inference", planned=protocol.planned, sha=sha, unit=unit_column(study.session.stimuli))
    record = say("record", record=methods_record(study.responses()))
    return Section("Methods", "methods", (opening, *_analyses(study, protocol), closing, record))


def _rsa(study: Study, table: RsaPlan) -> str:
    rdm, category = study.shelf.array(f"rdm-{table.name}"), study.shelf.dataset(f"category_rsa-{table.name}")
    return say("methods_rsa", table=table, rdm=rdm, category=category)


def _analyses(study: Study, protocol: Protocol) -> tuple[str, ...]:
    load = study.shelf.dataset
    return (
        *(say("methods_contrast", table=t, cmap=load(f"contrast_map-{t.name}")) for t in protocol.contrasts),
        *(_rsa(study, t) for t in protocol.rsa),
        *(
            say("methods_selectivity", table=t, index=load(f"selectivity-{t.name}"))
            for t in protocol.selectivity
        ),
        *(say("methods_decoding", table=t, decoding=load(f"decode-{t.name}")) for t in protocol.decoding),
        *(say("methods_causal", table=t, causal=load(f"causal-{t.name}")) for t in protocol.causal),
    )
