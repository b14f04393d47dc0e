"""What the verbs print: results on stdout, progress and notes on stderr, nothing that a script must parse."""

import functools
import json
import logging
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tqdm import tqdm

from neurosae.errors import NeurosaeError

BAD_INPUT, PARTIAL, INTERRUPTED = 3, 4, 130


@dataclass
class Settings:
    """How much the command line says; set once from the options that precede the verb."""

    verbosity: int = 0


settings = Settings()


def set_verbosity(verbosity: int) -> None:
    """Say less (-1), the usual (0) or more (1, 2) on stderr."""
    settings.verbosity = verbosity
    logging.basicConfig(level=logging.INFO if verbosity > 0 else logging.WARNING, format="%(message)s")
    warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    """Warnings in one line, as a note, without the source line that raised them."""
    note(f"note: {message}")


def say(text: str) -> None:
    """Print a result."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """Print something a reader may want to know, unless asked to be quiet."""
    if settings.verbosity >= 0:
        sys.stderr.write(f"{text}\n")


def say_summary(summary: Mapping[str, object], *, as_json: bool) -> None:
    """Print the summary of a result as lines, or as one JSON object for scripts."""
    if as_json:
        say(json.dumps(summary, default=str))
        return
    for key, value in summary.items():
        say(f"{key.replace('_', ' ')}: {value}")


def ending_well(verb: Callable[..., None]) -> Callable[..., None]:
    """``verb``, but what neurosae raises on purpose ends it with a sentence and an exit code."""

    @functools.wraps(verb)
    def run(*arguments: object, **options: object) -> None:
        # a cluster that stops a job sends SIGTERM: it ends as Ctrl-C does
        former = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            verb(*arguments, **options)
        except NeurosaeError as error:
            _end(str(error), BAD_INPUT)
        except KeyboardInterrupt:
            _end("interrupted; the same command goes on where it stopped.", INTERRUPTED)
        finally:
            signal.signal(signal.SIGTERM, former)

    return run


def _end(message: str, code: int) -> None:
    if settings.verbosity >= 2:
        traceback.print_exc()
    sys.stderr.write(f"neurosae: {message}\n")
    raise SystemExit(code)


def progress(step: str) -> Callable[[int, int], None]:
    """A progress bar for one step: shown on a terminal, after two seconds, and only if there is one."""
    return watched_progress(step)[0]


def watched_progress(
    step: str,
) -> tuple[Callable[[int, int], None], Callable[[Mapping[str, float]], None]]:
    """A progress bar as of `progress`, and a function that shows numbers by name beside it."""
    bar = tqdm(desc=step, delay=2, disable=True if settings.verbosity < 0 else None, leave=False, unit="")
    if settings.verbosity > 0:
        note(step)

    def advance(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    def show(numbers: Mapping[str, float]) -> None:
        bar.set_postfix({name: f"{value:.3g}" for name, value in numbers.items() if name != "step"})

    return advance, show
