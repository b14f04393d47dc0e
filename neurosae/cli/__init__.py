"""The command line: thin verbs over the Python functions.

Exit codes: 0 done, 2 wrong usage, 3 bad input, 130 interrupted. Errors go to stderr in a sentence; ``-vv``
shows where they came from.
"""

import sys
import traceback

from neurosae.cli.app import app
from neurosae.cli.console import settings
from neurosae.errors import NeurosaeError

__all__ = ["main"]

BAD_INPUT, INTERRUPTED = 3, 130


def main() -> None:
    """Run the command line and end with its exit code."""
    try:
        app()
    except NeurosaeError as error:
        _end(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        _end("interrupted; the same command goes on where it stopped.", INTERRUPTED)


def _end(message: str, code: int) -> None:
    if settings.verbosity >= 2:
        traceback.print_exc()
    sys.stderr.write(f"neurosae: {message}\n")
    raise SystemExit(code)
