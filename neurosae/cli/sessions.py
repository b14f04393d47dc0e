"""Verbs on sessions: record one, then ask it one question at a time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import neurosae as ns
from neurosae.cli.console import PARTIAL, progress, say_summary
from neurosae.cli.options import (
    AsJson,
    By,
    Dictionaries,
    How,
    Out,
    Overwrite,
    Permutations,
    Seed,
    SessionPath,
    Site,
    SubjectName,
    Window,
)
from neurosae.cli.sources import recorded

if TYPE_CHECKING:  # xarray takes longer to import than the help to print
    import xarray as xr

    from neurosae.recording.session import Session


def record(
    protocol: Annotated[Path, typer.Argument(help="Protocol, a TOML file.")],
    out: Out,
    overwrite: Overwrite = False,
    subject: SubjectName = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Record only the I-th of N shares; see merge.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Record on a dask cluster: its address, or local:N processes."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Record the subject's activations, and codes of dictionaries, in all stimuli of a protocol."""
    plan = ns.report.check_study(protocol, subject=subject)
    session = ns.report.record_study(
        plan, out, overwrite=overwrite, progress=progress, shard=shard, cluster=cluster
    )
    if session is None:
        say_summary({"share": shard, "session": out, "next": f"neurosae merge {out}"}, as_json=as_json)
    else:
        _say_session(session, as_json=as_json)


def merge(session: SessionPath, as_json: AsJson = False) -> None:
    """Finish a session whose shares were recorded by several processes."""
    _say_session(ns.merge(session), as_json=as_json)


def _say_session(session: "Session", *, as_json: bool) -> None:
    """Summary of a session; if stimuli could not be run, the exit code says that it is partial."""
    summary = {"session": session.path, "stimuli": len(session.stimuli), "sites": ", ".join(session.sites)}
    summary |= {"dictionaries": ", ".join(session.dictionaries)} if session.dictionaries else {}
    missing = ns.report.not_run(session)
    summary |= {"not_run": ", ".join(missing)} if missing else {}
    say_summary(summary, as_json=as_json)
    if missing:
        raise typer.Exit(PARTIAL)


def consolidate(session: SessionPath, as_json: AsJson = False) -> None:
    """Turn a session into few compressed, portable files: one a site and layer."""
    opened = ns.consolidate(session)
    files = sorted(path for path in opened.path.rglob("*.nc"))
    size = sum(path.stat().st_size for path in files) / 1e6
    say_summary({"session": session, "files": len(files), "megabytes": f"{size:.1f}"}, as_json=as_json)


def contrast(
    session: SessionPath,
    expression: Annotated[str, typer.Argument(metavar="CONTRAST", help="For example 'sentence > nonword'.")],
    out: Out,
    site: Site = None,
    dictionary: Dictionaries = None,
    window: Window = "all",
    how: How = "mean",
    test: Annotated[str, typer.Option(help="auto, welch, pooled or rank.")] = "auto",
    unit: Annotated[str, typer.Option(help="Column that defines the unit of inference.")] = "auto",
    correct: Annotated[
        str,
        typer.Option(
            help="max_t, step_down, min_p, cluster, tfce, bonferroni, holm, fdr_bh, fdr_by, hierarchical "
            "or none."
        ),
    ] = "fdr_bh",
    permutations: Permutations = 999,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Compare two sides of a contrast in every layer and feature."""
    ns.report.check_output(out, overwrite=overwrite)
    responses = _responses(session, site, dictionary, window, how)
    result = ns.contrast_map(
        responses, expression, test=test, unit=unit, correct=correct, n_permutations=permutations, seed=seed
    )
    passed = int((result["p_adjusted"] <= 0.05).sum())
    _store(result, out, overwrite, {"features_that_pass": passed, **_numbers(result)}, as_json=as_json)


def localize(
    contrast_map: Annotated[Path, typer.Argument(help="A stored contrast map.")],
    out: Out,
    fraction: Annotated[float | None, typer.Option(min=0, max=1, help="Share of features to take.")] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Number of features to take.")] = None,
    q: Annotated[float | None, typer.Option(min=0, max=1, help="Largest corrected p to take.")] = None,
    absolute: Annotated[bool, typer.Option(help="Take both directions of the contrast.")] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Choose an ROI from a contrast map."""
    ns.report.check_output(out, overwrite=overwrite)
    roi = ns.localize(ns.load_netcdf(contrast_map), fraction=fraction, n=n, q=q, absolute=absolute)
    _store(roi, out, overwrite, {"features_chosen": int(roi["member"].sum())}, as_json=as_json)


def rsa(
    session: SessionPath,
    out: Out,
    by: By = "condition",
    index: Annotated[str, typer.Option(help="CDI, CMI, TDI or COH.")] = "CDI",
    site: Site = None,
    dictionary: Dictionaries = None,
    window: Window = "all",
    how: How = "mean",
    permutations: Permutations = 999,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure category structure in every layer."""
    ns.report.check_output(out, overwrite=overwrite)
    responses = _responses(session, site, dictionary, window, how)
    result = ns.category_rsa(responses, by, index=index, n_permutations=permutations, seed=seed)
    passed = int((result["p_adjusted"] <= 0.05).sum())
    _store(result, out, overwrite, {"layers_that_pass": passed, **_numbers(result)}, as_json=as_json)


def select(
    session: SessionPath,
    out: Out,
    by: By = "condition",
    index: Annotated[str, typer.Option(help="auroc, dprime, eta2, maxshare or morcos.")] = "auroc",
    rectify: Annotated[bool, typer.Option(help="Set negative responses to 0 first.")] = False,
    site: Site = None,
    dictionary: Dictionaries = None,
    window: Window = "all",
    how: How = "mean",
    permutations: Permutations = 999,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure how selective every feature is for one class."""
    ns.report.check_output(out, overwrite=overwrite)
    responses = _responses(session, site, dictionary, window, how)
    result = ns.selectivity_index(
        responses, by, index=index, rectify=rectify, n_permutations=permutations, seed=seed
    )
    passed = int((result["q_fdr"] <= 0.05).sum())
    _store(result, out, overwrite, {"features_that_pass": passed, **_numbers(result)}, as_json=as_json)


def decode(
    session: SessionPath,
    out: Out,
    by: By = "condition",
    groups: Annotated[str, typer.Option(help="Column whose members are never split over folds.")] = "item",
    features: Annotated[
        int | None, typer.Option(min=1, help="Choose so many features inside each fold.")
    ] = None,
    site: Site = None,
    dictionary: Dictionaries = None,
    window: Window = "all",
    how: How = "mean",
    permutations: Permutations = 200,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Decode classes from held-out items in every layer."""
    ns.report.check_output(out, overwrite=overwrite)
    responses = _responses(session, site, dictionary, window, how)
    result = ns.decode(responses, by, groups=groups, select=features, n_permutations=permutations, seed=seed)
    passed = int((result["p_adjusted"] <= 0.05).sum())
    best = float(result["auroc"].max())
    _store(
        result, out, overwrite, {"layers_that_pass": passed, "largest_auroc": f"{best:.3f}"}, as_json=as_json
    )


def _responses(
    session: Path, site: str | None, dictionaries: list[str] | None, window: str, how: str
) -> "xr.DataArray":
    return ns.pool_tokens(recorded(session, site, dictionaries or []), window=window, how=how)


def _numbers(result: "xr.Dataset") -> dict[str, object]:
    """Attributes that a summary line shows, and the number of units, whichever way it is kept."""
    n_units = {"n_units": int(result["n_units"].max())} if "n_units" in result else {}
    return n_units | {
        key: result.attrs[key]
        for key in ("contrast", "test", "index", "n_units", "seed")
        if key in result.attrs
    }


def _store(
    result: "xr.Dataset", out: Path, overwrite: bool, summary: dict[str, object], *, as_json: bool
) -> None:
    ns.save_netcdf(result, out, overwrite=overwrite)
    say_summary({**summary, "file": out}, as_json=as_json)
