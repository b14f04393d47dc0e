"""The command line: thin verbs over the Python functions.

Exit codes: 0 done, 2 wrong usage, 3 bad input, 130 interrupted. Errors go to stderr in a sentence; ``-vv``
shows where they came from.
"""

from neurosae.cli.app import app as main

__all__ = ["main"]
