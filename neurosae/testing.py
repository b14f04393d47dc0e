"""Small data with a known answer, for tests, doctests and for trying an analysis out.

Planted data hold an effect at named units and nothing elsewhere; noise data hold none at all. All of it is
seeded, needs no model and takes milliseconds. Minimal pairs fit `neurosae.subject.toy.ToySubject`.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.errors import DesignError
from neurosae.schema.names import TOKEN
from neurosae.schema.recordings import recording_array
from neurosae.subject.toy_weights import FACTS, NOUNS, PLACES

_WORDS = ("the", "river", "carries", "small", "boats", "past", "quiet", "houses", "and", "green", "hills")
_BOS = "<bos>"
_REGULAR_NOUNS = tuple(noun for noun in NOUNS if noun != "child")
_WORDS_PER_TEXT = (4, 8)
_TEMPLATE_SD = 0.5


def planted_recording(
    n_items: int = 20,
    n_templates: int = 1,
    n_layers: int = 3,
    n_features: int = 16,
    planted: Sequence[tuple[int, int]] = ((1, 4),),
    effect: float = 2.0,
    seed: int = 0,
) -> xr.DataArray:
    """A recording of conditions A and B in which A exceeds B by ``effect`` at the planted units only.

    x(token) = effect·[condition A and unit planted] + item + template + noise; item and noise have SD 1,
    template (a pattern shared by all stimuli of a template, none if there is one template only) has SD 0.5.

    Parameters
    ----------
    n_items : items in each condition, nested in it: ``A00``, ``A01``, … and ``B00``, …
    n_templates : stimuli of each item; a stimulus is one item in one template
    n_layers, n_features : size of the subject
    planted : (layer, feature) of each planted unit
    effect : A minus B at planted units, in SD of the item effects
    seed : also names the stimulus set, ``planted-<seed>``: data of two seeds are independent

    Returns
    -------
    DataArray (stimulus, token, layer, feature) float32, a.u.
        Stimuli have 4 to 7 words after one special token (BOS), which is invalid and NaN, as is padding.

    Examples
    --------
    >>> recording = planted_recording(n_items=2)
    >>> dict(recording.sizes)
    {'stimulus': 4, 'token': 8, 'layer': 3, 'feature': 16}
    >>> recording["stimulus"].values.tolist()
    ['A00_0', 'A01_0', 'B00_0', 'B01_0']
    """
    rng = np.random.default_rng(seed)
    stimuli, words = _stimuli(n_items, n_templates, rng)
    tokens = _tokens(words)
    template = _codes(stimuli["template"])
    item = _codes(stimuli["item"])
    shape = (n_layers, n_features)
    values = rng.standard_normal((*tokens["valid"].shape, *shape))
    values += rng.standard_normal((item.max() + 1, *shape))[item][:, None]
    if n_templates > 1:
        values += _TEMPLATE_SD * rng.standard_normal((n_templates, *shape))[template][:, None]
    is_a = (stimuli["condition"] == "A").to_numpy()
    for layer, feature in planted:
        values[is_a, :, layer, feature] += effect
    values[~tokens["valid"]] = np.nan
    name = f"planted-{seed}" if planted else f"noise-{seed}"
    return recording_array(
        values.astype(np.float32),
        stimuli=stimuli,
        tokens=tokens,
        layers=range(n_layers),
        site="resid_post",
        origin={"subject": {"name": "none"}, "stimuli": {"name": name}},
    )


def noise_recording(
    n_items: int = 20,
    n_templates: int = 1,
    n_layers: int = 3,
    n_features: int = 16,
    seed: int = 0,
) -> xr.DataArray:
    """A recording like `planted_recording` in which conditions A and B do not differ anywhere.

    Examples
    --------
    >>> noise_recording(n_items=2, n_features=4).sizes["feature"]
    4
    """
    return planted_recording(n_items, n_templates, n_layers, n_features, (), 0.0, seed)


def planted_responses(
    n_items: int = 20,
    n_templates: int = 1,
    n_layers: int = 3,
    n_features: int = 16,
    planted: Sequence[tuple[int, int]] = ((1, 4),),
    effect: float = 2.0,
    seed: int = 0,
) -> xr.DataArray:
    """The recording of `planted_recording`, averaged over the valid tokens of each stimulus.

    Returns
    -------
    DataArray (stimulus, layer, feature) float32, a.u., named ``response``

    Examples
    --------
    >>> responses = planted_responses()
    >>> means = responses.sel(layer=1, feature=4).groupby("condition").mean()
    >>> round(float(means[0] - means[1]), 1)
    2.0
    """
    return _pooled(planted_recording(n_items, n_templates, n_layers, n_features, planted, effect, seed))


def noise_responses(
    n_items: int = 20,
    n_templates: int = 1,
    n_layers: int = 3,
    n_features: int = 16,
    seed: int = 0,
) -> xr.DataArray:
    """Responses like `planted_responses` in which conditions A and B do not differ anywhere.

    Examples
    --------
    >>> noise_responses(n_items=3).dims
    ('stimulus', 'layer', 'feature')
    """
    return _pooled(noise_recording(n_items, n_templates, n_layers, n_features, seed))


def _stimuli(
    n_items: int, n_templates: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, list[list[str]]]:
    rows, words = [], []
    for condition in ("A", "B"):
        for item in range(n_items):
            for template in range(n_templates):
                label = f"{condition}{item:02d}"
                words.append([str(w) for w in rng.choice(_WORDS, rng.integers(*_WORDS_PER_TEXT))])
                rows.append((f"{label}_{template}", " ".join(words[-1]), condition, label, f"t{template}"))
    return pd.DataFrame(rows, columns=["stimulus", "text", "condition", "item", "template"]), words


def _tokens(words: list[list[str]]) -> dict[str, np.ndarray]:
    """Token fields of texts read as one special token and then one token a word, padded on the right."""
    shape = (len(words), 1 + max(len(text) for text in words))
    fields = {
        "valid": np.zeros(shape, dtype=bool),
        "token_str": np.full(shape, "", dtype="U12"),
        "char_start": np.zeros(shape, dtype=np.int64),
        "char_end": np.zeros(shape, dtype=np.int64),
        "word_index": np.full(shape, -1, dtype=np.int64),
        "is_special": np.zeros(shape, dtype=bool),
    }
    fields["token_str"][:, 0] = _BOS
    fields["is_special"][:, 0] = True
    for row, text in enumerate(words):
        ends = np.cumsum([len(word) + 1 for word in text]) - 1
        span = slice(1, 1 + len(text))
        fields["valid"][row, span] = True
        fields["token_str"][row, span] = text
        fields["char_end"][row, span] = ends
        fields["char_start"][row, span] = ends - [len(word) for word in text]
        fields["word_index"][row, span] = np.arange(len(text))
    return fields


def _codes(column: pd.Series) -> np.ndarray:
    return pd.factorize(column)[0]


def _pooled(recording: xr.DataArray) -> xr.DataArray:
    pooled = recording.mean(TOKEN, skipna=True, dtype=np.float64, keep_attrs=True)
    pooled = pooled.astype(np.float32).rename("response")
    attrs = recording.attrs | {"long_name": "response at resid_post", "window": "all", "how": "mean"}
    return pooled.assign_coords(n_tokens=recording["valid"].sum(TOKEN)).assign_attrs(attrs)


def planted_pairs(n_pairs: int = 20, *, task: str = "number", seed: int = 0) -> pd.DataFrame:
    """Minimal pairs that `neurosae.subject.toy.ToySubject` solves by a planted mechanism.

    ``"number"``: 'the keys are here' against 'the keys is here', singular and plural nouns by turns.
    ``"fact"``: 'the capital of peru is lima' against another capital; it uses other units.

    Parameters
    ----------
    n_pairs : at most 152 of number and 132 of fact
    task : ``"number"`` or ``"fact"``
    seed : also names the set, ``<task>-<seed>``

    Returns
    -------
    DataFrame
        Two rows a pair: stimulus, text, condition (good, bad), pair; ``attrs["name"]``.

    Examples
    --------
    >>> planted_pairs(1, task="fact")["text"].tolist()
    ['the capital of ... is ...', 'the capital of ... is ...']
    """
    if task not in _TASKS:
        raise DesignError(f"unknown task {task!r}; choose one of {', '.join(_TASKS)}.")
    rows = []
    for number, texts in enumerate(_TASKS[task](n_pairs, np.random.default_rng(seed))):
        for condition, text in zip(("good", "bad"), texts, strict=True):
            rows.append((f"{task}{number:03d}_{condition}", text, condition, f"{task}{number:03d}"))
    table = pd.DataFrame(rows, columns=["stimulus", "text", "condition", "pair"])
    table.attrs["name"] = f"{task}-{seed}"
    return table


def _number_pairs(n_pairs: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    combinations = rng.permutation(list(itertools.product(_REGULAR_NOUNS, PLACES))).tolist()
    pairs = []
    for number, (noun, place) in enumerate(combinations[:n_pairs]):
        subject, verbs = (f"{noun}s", ("are", "is")) if number % 2 else (noun, ("is", "are"))
        pairs.append((f"the {subject} {verbs[0]} {place}", f"the {subject} {verbs[1]} {place}"))
    return pairs


def _fact_pairs(n_pairs: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    combinations = rng.permutation(list(itertools.permutations(FACTS, 2))).tolist()
    stem = "the capital of {} is {}"
    return [
        (stem.format(country, FACTS[country]), stem.format(country, FACTS[other]))
        for country, other in combinations[:n_pairs]
    ]


_TASKS = {"number": _number_pairs, "fact": _fact_pairs}
