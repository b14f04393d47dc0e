"""Several dictionaries judged on the same tokens, beside what needs no training."""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from neurosae.dictionary.interface import Dictionary
from neurosae.dictionary.pca import pca_dictionary
from neurosae.dictionary.random_weights import random_dictionary
from neurosae.errors import DesignError
from neurosae.recording.evaluation import evaluate_dictionary
from neurosae.recording.evaluation_rows import evaluation_rows, evaluation_windows
from neurosae.schema.names import FEATURE, SINK_RATIO
from neurosae.schema.provenance import with_step
from neurosae.subject.interface import Subject

DICTIONARY = "dictionary"


def compare_dictionaries(
    dictionaries: Sequence[Dictionary],
    subject: Subject,
    texts: Sequence[str],
    *,
    baseline_texts: Sequence[str] = (),
    n_tokens: int = 10_000,
    context: int = 128,
    sink_ratio: float = SINK_RATIO,
    seed: int = 0,
) -> xr.Dataset:
    """A table of dictionaries, judged on the same tokens, with principal components and random directions.

    Parameters
    ----------
    dictionaries : of one subject, with names of their own; at any sites and layers
    subject : the model
    texts : documents that none of them was trained on
    baseline_texts : other documents, from which principal components and the mean of random directions are
        taken; without them the table has no baselines
    n_tokens, context, sink_ratio : see `neurosae.recording.evaluation.evaluate_dictionary`
    seed : of the random directions

    Returns
    -------
    Dataset
        Everything that `evaluate_dictionary` measures except single features, over ``dictionary``; with
        ``kind`` ('dictionary', 'pca' or 'random'), ``like`` (the dictionary that set how many are active),
        ``site``, ``layer`` and ``n_features``.

    Raises
    ------
    DesignError
        If names repeat, or a text serves both for baselines and for judging.
    DictionaryError
        If a dictionary is of another subject.

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> from neurosae.subject.toy import ToySubject
    >>> found = compare_dictionaries([ToyDictionary(32, 32, layer=1)], ToySubject(), ["the keys are here"],
    ...     baseline_texts=["the key is here", "the cat sees the dogs"])
    >>> found["kind"].values.tolist()
    ['dictionary', 'pca', 'random']
    """
    names = [dictionary.name for dictionary in dictionaries]
    _check(names, texts, baseline_texts)
    judged = [("dictionary", dictionary.name, dictionary) for dictionary in dictionaries]
    if baseline_texts:
        for dictionary in dictionaries:
            judged += _baselines(dictionary, subject, baseline_texts, (n_tokens, context, sink_ratio), seed)
    results = [
        evaluate_dictionary(
            dictionary, subject, texts, n_tokens=n_tokens, context=context, sink_ratio=sink_ratio
        ).drop_dims(FEATURE)
        for _, _, dictionary in judged
    ]
    settings = {"n_tokens": n_tokens, "context": context, "sink_ratio": sink_ratio, "seed": seed}
    table = xr.concat(results, DICTIONARY, combine_attrs="drop").assign_coords(_labels(judged))
    steps = with_step(results[0], "compare_dictionaries", dictionaries=names, **settings)
    return table.assign_attrs({**settings, **steps})


def _check(names: Sequence[str], texts: Sequence[str], baseline_texts: Sequence[str]) -> None:
    if not names or len(set(names)) < len(names):
        raise DesignError(
            f"dictionaries {list(names)} are given; needed: at least one, each with its own name."
        )
    shared = set(texts) & set(baseline_texts)
    if shared:
        raise DesignError(
            f"{len(shared)} texts serve both for baselines and for judging, such as {min(shared)[:40]!r}. "
            "Split them: principal components would be judged on what they were taken from."
        )


def _baselines(
    like: Dictionary,
    subject: Subject,
    texts: Sequence[str],
    settings: tuple[int, int, float],
    seed: int,
) -> Iterator[tuple[str, str, Dictionary]]:
    n_tokens, context, sink_ratio = settings
    windows = evaluation_windows(subject, texts, n_tokens=n_tokens, context=context)
    rows = evaluation_rows(subject, windows, like.site, like.layer, sink_ratio=sink_ratio).ordinary
    yield "pca", like.name, pca_dictionary(like, rows)
    yield "random", like.name, random_dictionary(like, rows, seed=seed)


def _labels(judged: Sequence[tuple[str, str, Dictionary]]) -> dict[str, tuple[str, np.ndarray]]:
    columns = {
        DICTIONARY: [
            each.name if kind == "dictionary" else f"{kind} of {like}" for kind, like, each in judged
        ],
        "kind": [kind for kind, _, _ in judged],
        "like": [like for _, like, _ in judged],
        "site": [each.site for _, _, each in judged],
        "layer": [each.layer for _, _, each in judged],
        "n_features": [each.n_features for _, _, each in judged],
    }
    return {name: (DICTIONARY, np.array(values)) for name, values in columns.items()}
