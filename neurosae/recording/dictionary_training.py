"""Train dictionaries on what a subject does: from a session, a harvest, texts, or an iterator."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from neurosae.dictionary.interface import Dictionary
from neurosae.dictionary.produce import TrainingRows, produce
from neurosae.errors import DictionaryError
from neurosae.protocol.recipe import Recipe, load_recipe
from neurosae.protocol.training_plan import TrainingPlan
from neurosae.recording.corpus import read_corpus
from neurosae.recording.files import check_writable
from neurosae.recording.harvest import Harvest, harvest
from neurosae.recording.session import Session
from neurosae.recording.training_rows import of_arrays, of_harvest, of_session
from neurosae.subject.catalogue import load_subject
from neurosae.subject.interface import Subject

Source: TypeAlias = Session | Harvest | np.ndarray | Path | Iterable[Any]
"""A session, a harvest, an array, a text file, texts or text files, or an iterator of arrays."""

Bar: TypeAlias = Callable[..., object]
Progress: TypeAlias = Callable[[str], tuple[Bar, Bar]]
"""Name of a step → how its progress (done, total) and its state (numbers by name) are shown."""

HARVEST, COLLECTED, CONTEXT = "harvest", "collected", 128


def train_dictionary(
    source: Source,
    recipe: Recipe | Path | str,
    out: Path | str,
    *,
    site: str,
    layer: int,
    subject: Subject | str | None = None,
    progress: Progress | None = None,
) -> Dictionary:
    """Train a sparse dictionary of one site and layer, and write it to a folder that loads anywhere.

    Called again with the same arguments, it continues a training that was stopped, bit for bit, and opens one
    that was finished. Tokens of extreme norm (attention sinks) are left out of training; if there are any,
    features of their own carry them.

    Parameters
    ----------
    source : a session (its valid tokens); a harvest; texts, or paths of text files (.txt, .jsonl), which are
        run through the subject first; an array (row, d); or an iterable of such arrays
    recipe : how to train; a `Recipe`, or the path of a TOML file with a table [training]
    out : folder of the dictionary; its name is the dictionary's
    site, layer : of the activations
    subject : to run texts through, loaded or by name; for arrays, the name suffices
    progress : called as ``progress(step)`` for two functions: one is called with (done, total), the other
        with a mapping of step, loss, explained_variance, l0, dead and k

    Returns
    -------
    Dictionary
        Its metadata hold recipe, seed, hashes, L0, explained variance and silent features.

    Raises
    ------
    DictionaryError
        If the folder holds another dictionary, there are fewer rows than a batch, the subject is needed and
        not told, or the loss diverges: the last good checkpoint then stays.
    StimulusError
        If texts cannot be read, or hold no token.
    DesignError
        If arrays are not (row, d).

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> rows = np.random.default_rng(0).gamma(1, size=(400, 8)).astype(np.float32)
    >>> recipe = Recipe(width=16, k=2, n_tokens=640, batch=64, autocast=False)
    >>> with TemporaryDirectory() as place:
    ...     train_dictionary(rows, recipe, f"{place}/mine", site="mlp_out", layer=1, subject="toy").name
    'mine'
    """
    out = Path(out)
    check_writable(out)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    report = progress or silent
    rows = training_rows(
        source, out, site=site, layer=layer, subject=subject, n_tokens=recipe.n_tokens, progress=report
    )
    advance, watch = report(f"training {out.name}")
    return produce(rows, recipe, out, progress=advance, watch=watch, device=_device(subject))


def train_plan(
    plan: TrainingPlan,
    out: Path | str,
    *,
    harvested: Path | str | None = None,
    progress: Progress | None = None,
) -> dict[str, Dictionary]:
    """Train all dictionaries of a plan on one pass over its corpus, each into ``out/NAME``.

    Parameters
    ----------
    plan : see `neurosae.protocol.training_plan.load_training_plan`
    out : folder of the dictionaries
    harvested : folder of the activations, by default ``out/harvest``; a pass that was stopped is continued,
        and what a finished one kept is used again
    progress : as for `train_dictionary`

    Returns
    -------
    dict
        Name → Dictionary.

    Raises
    ------
    NeurosaeError
        As for `train_dictionary`.
    """
    out = Path(out)
    report = progress or silent
    kept, subject = harvest_of_plan(plan, Path(harvested or out / HARVEST), report)
    found: dict[str, Dictionary] = {}
    for its, recipe in zip(plan.dictionaries, plan.recipes, strict=True):
        rows = of_harvest(kept, its.site, its.layer, subject.describe())
        advance, watch = report(f"training {its.name}")
        found[its.name] = produce(
            rows, recipe, out / its.name, progress=advance, watch=watch, device=_device(subject)
        )
    return found


def harvest_of_plan(plan: TrainingPlan, folder: Path, progress: Progress) -> tuple[Harvest, Subject]:
    """Activations at all places of a plan, and the subject that was run."""
    source = plan.source
    texts = read_corpus(source.corpus)
    check_writable(folder)
    subject = load_subject(source.subject, dtype=source.dtype)
    kept = harvest(
        subject,
        texts,
        folder,
        plan.sites,
        n_tokens=source.n_tokens,
        context=source.context,
        seed=source.seed,
        progress=progress("harvesting")[0],
    )
    return kept, subject


def training_rows(
    source: Source,
    out: Path,
    *,
    site: str,
    layer: int,
    subject: Subject | str | None,
    n_tokens: int,
    progress: Progress,
) -> TrainingRows:
    """Rows of any source, see `train_dictionary`; what has to be collected first is written below ``out``."""
    described = {"name": subject} if isinstance(subject, str) else subject.describe() if subject else {}
    name = str(described.get("name", "")) or None
    if isinstance(source, Session):
        return of_session(source, site, layer, out / COLLECTED)
    if isinstance(source, Harvest):
        return of_harvest(source, site, layer, described)
    if subject is None or name is None:
        raise DictionaryError("nothing says which subject the dictionary is of. Tell it: subject=...")
    texts = _texts(source)
    if texts is None:
        return of_arrays(source, name, site, layer, out / COLLECTED)  # type: ignore[arg-type]
    model = load_subject(subject) if isinstance(subject, str) else subject
    context = min(CONTEXT, model.context_length)
    kept = harvest(
        model,
        texts,
        out / HARVEST,
        {site: [layer]},
        n_tokens=n_tokens,
        context=context,
        progress=progress("harvesting")[0],
    )
    return of_harvest(kept, site, layer)


def log_of(folder: Path) -> list[Mapping[str, float]]:
    """Lines of the log of a dictionary's training."""
    lines = (folder / "training" / "training.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _texts(source: Source) -> list[str] | None:
    """Documents, where the source is texts or text files; None where it is activations."""
    if isinstance(source, Path):
        return read_corpus([source])
    if not isinstance(source, Sequence) or not source or not isinstance(source[0], str | Path):
        return None
    if isinstance(source, str):
        return read_corpus([source])
    return [
        text for part in source for text in (read_corpus([part]) if isinstance(part, Path) else [str(part)])
    ]


def _device(subject: Subject | str | None) -> str:
    """Where the subject runs, the dictionary is trained."""
    described = {} if subject is None or isinstance(subject, str) else subject.describe()
    return str(described.get("device", "cpu"))


def silent(_step: str) -> tuple[Bar, Bar]:
    """Progress that nobody sees."""
    return _nothing, _nothing


def _nothing(*_: object) -> None:
    """Show no progress."""
