"""Verbs on whole studies: run, report, validate, schema, doctor."""

import json
from pathlib import Path
from typing import Annotated

import typer

import neurosae as ns
from neurosae.cli.console import note, progress, say, say_summary
from neurosae.cli.options import AsJson, Out, Overwrite, SubjectName


def run(
    protocol: Annotated[Path, typer.Argument(help="Protocol, a TOML file.")],
    out: Out,
    overwrite: Overwrite = False,
    subject: SubjectName = None,
    controls: Annotated[
        int | None, typer.Option(min=1, help="At most so many shams in each causal experiment.")
    ] = None,
    max_pairs: Annotated[
        int | None, typer.Option(min=1, help="At most so many pairs in each causal experiment.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a study from its protocol: record, analyse, lesion, and write report.html."""
    plan = ns.report.check_study(protocol, subject=subject, controls=controls, max_pairs=max_pairs)
    study = ns.report.run_study(plan, out, overwrite=overwrite, progress=progress)
    _say_findings([study.session.path], as_json=as_json)


def report(
    sessions: Annotated[list[Path], typer.Argument(help="Folders of finished studies.")],
    headlines: Annotated[bool, typer.Option("--headlines", help="Only print what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the report of finished studies anew, and print their headline findings."""
    if not headlines:
        for session in sessions:
            ns.report.write_report(ns.report.open_study(session))
    _say_findings(sessions, as_json=as_json)


def _say_findings(sessions: list[Path], *, as_json: bool) -> None:
    found = {session: [f for f in ns.report.load_findings(session) if f.headline] for session in sessions}
    if as_json:
        say(json.dumps({str(path): [f.sentence() for f in findings] for path, findings in found.items()}))
        return
    for path, findings in found.items():
        for finding in findings:
            say(finding.sentence())
        say(f"report: {path / 'report.html'}")


def validate(
    target: Annotated[Path, typer.Argument(help="A protocol, a stimulus set, or the folder of a session.")],
    subject: SubjectName = None,
    surprisal: Annotated[
        bool, typer.Option("--surprisal", help="Also run the subject for surprisal.")
    ] = False,
    portable: Annotated[
        bool, typer.Option("--portable", help="Also check that R, MATLAB and ncdump read a session's files.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a protocol or stimuli without running anything, or every byte of a session."""
    checked = ns.report.validate(target, subject=subject, surprisal=surprisal, portable=portable)
    if as_json:
        say_summary(checked.summary, as_json=True)
        return
    say(checked.text)


def schema() -> None:
    """Print the JSON Schema of protocols, for editors that complete and check TOML."""
    say(json.dumps(ns.report.json_schema(), indent=2))


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, which subjects are at hand, how to get others, and where the cache is."""
    say_summary(dict(ns.report.diagnose()), as_json=as_json)
    note("Subjects can also be local folders or names in the local Hugging Face cache.")
