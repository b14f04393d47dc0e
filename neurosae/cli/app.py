"""The application: options that precede every verb, and the verbs."""

from collections.abc import Callable
from typing import Annotated

import typer

from neurosae.cli import dictionaries, experiments, exports, sessions, studies
from neurosae.cli.console import ending_well, set_verbosity

app = typer.Typer(
    name="neurosae",
    help="A neuroscience-style analysis toolkit for language models.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Say more; -vv shows tracebacks.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print results and errors only.")] = False,
) -> None:
    """A neuroscience-style analysis toolkit for language models."""
    set_verbosity(-1 if quiet else verbose)


VERBS: tuple[Callable[..., None], ...] = (
    *(studies.run, studies.report, studies.validate, studies.schema, studies.doctor),
    *(sessions.record, sessions.merge, sessions.consolidate),
    *(sessions.contrast, sessions.localize, sessions.rsa, sessions.select, sessions.decode),
    *(experiments.lesion, experiments.stimulate),
    *(dictionaries.train, dictionaries.encode),
    exports.export,
)
for verb in VERBS:
    app.command()(ending_well(verb))
