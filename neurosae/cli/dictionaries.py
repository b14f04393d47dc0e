"""Verbs on dictionaries: encode a session."""

from pathlib import Path
from typing import Annotated

import typer

import neurosae as ns
from neurosae.cli.console import progress, say_summary
from neurosae.cli.options import AsJson, SessionPath


def encode(
    session: SessionPath,
    dictionary: Annotated[list[Path], typer.Argument(help="Folders of dictionaries, one a layer.")],
    subject: Annotated[
        str | None, typer.Option(help="Subject of a dictionary whose files do not say.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Site of a dictionary whose files do not say.")] = None,
    layer: Annotated[int | None, typer.Option(help="Layer of a dictionary whose files do not say.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write which features of dictionaries are active in each token of a session."""
    opened = ns.open_session(session)
    loaded = [ns.load_dictionary(path, subject=subject, site=site, layer=layer) for path in dictionary]
    report = progress("encoding")
    codes = ns.encode(opened, loaded, progress=report)
    known = ns.open_session(session).dictionaries
    say_summary(
        {
            "session": session,
            "stimuli": codes.sizes["stimulus"],
            **{
                name: f"{its['l0']:.1f} features a token, {its['fvu']:.2f} of the variance unexplained"
                for name, its in known.items()
                if name in {dictionary.name for dictionary in loaded}
            },
        },
        as_json=as_json,
    )
