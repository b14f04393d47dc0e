"""What the surface of a text gives away, its length, spelling and words: the baseline of a decoder.

No model is asked. A condition that can be decoded from these features needs no model to be decoded.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.feature_extraction.text import CountVectorizer

from neurosae.analysis.decoding_rows import coded_column
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, NO_TARGET, RESPONSE_DIMS, STIMULUS, TOKEN
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import stimulus_table
from neurosae.schema.spelling import nearest

SURFACE_BASIS = "surface"
_MARKS = (".", ",", ";", ":", "!", "?", "'", '"', "-", "(")
PARTS = ("length", "bag", "spelling")


def surface_features(
    stimuli: xr.DataArray, *, parts: Sequence[str] = PARTS, covariates: Sequence[str] = ()
) -> xr.DataArray:
    """The text of stimuli as numbers, in the form of responses, to be decoded like those of a model.

    * ``length``: numbers of tokens (where known), words and characters, mean length of a word, share of
      capitals, number of punctuation marks, and where the target begins, how long and how long cut into
      tokens it is, as far as stimuli have targets.
    * ``bag``: how often each token of a recording, or each word of the texts of responses, occurs.
    * ``spelling``: how often runs of 2 to 4 letters occur within words: prefixes, suffixes.

    Parameters
    ----------
    stimuli : recording or responses with the coordinate ``text``; of a recording the tokens are used
    parts : which of the three
    covariates : further stimulus columns, numbers (word frequency, surprisal) or names of categories

    Returns
    -------
    DataArray (stimulus, layer, feature) with one layer, -1, and basis ``"surface"``
        Stimuli in the order given, with their columns. Names of the features as coordinate
        ``feature_name``.

    Raises
    ------
    DesignError
        If there are no texts, a column is missing, a part is unknown, or nothing is asked for.

    Notes
    -----
    Held-out AUROC far below .5 is what folds do to features that were matched over the classes: what a test
    fold has more of, its training folds have less of. It is no evidence, and no baseline either; compare
    with the parts that tell the classes apart best.

    Source
    ------
    Belinkov 2022, Comput Linguist 48:207 (baselines of decoders).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> surface_features(planted_responses(), parts=["length"])["feature_name"].values.tolist()
    ['n_tokens', 'n_words', 'n_chars', 'word_length', 'capitals', 'punctuation']
    """
    table = stimulus_table(stimuli)
    _check(table, parts, covariates)
    columns = [_PART_FUNCTIONS[part](stimuli, table) for part in parts]
    columns += [_covariate(table[name]) for name in covariates]
    features = pd.concat(columns, axis=1)
    settings = {"parts": ", ".join(parts), "covariates": ", ".join(covariates)}
    kept = {str(n): c for n, c in stimuli.coords.items() if c.dims == (STIMULUS,)}
    return xr.DataArray(
        features.to_numpy(dtype=float)[:, None],
        dims=RESPONSE_DIMS,
        coords={
            **kept,
            LAYER: [-1],
            FEATURE: np.arange(features.shape[1]),
            "feature_name": (FEATURE, features.columns.to_numpy(dtype=str)),
        },
        name="response",
        attrs={
            "long_name": "surface of the text",
            "units": "1",
            "site": "text",
            "basis": SURFACE_BASIS,
            **settings,
            **with_step(stimuli, "surface_features", **settings),
        },
    )


def _check(table: pd.DataFrame, parts: Sequence[str], covariates: Sequence[str]) -> None:
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise DesignError(f"no surface part {unknown[0]!r}; choose among {list(PARTS)}.")
    if parts and "text" not in table:
        raise DesignError("the stimuli have no column 'text'; keep it, or give covariates only (parts=[]).")
    missing = [name for name in covariates if name not in table]
    if missing:
        raise DesignError(
            f"no column {missing[0]!r} in the stimuli{nearest(missing[0], table.columns)} "
            f"Columns: {list(table.columns)}."
        )
    if not (parts or covariates):
        raise DesignError("nothing to describe the surface by; name parts or covariates.")


def _covariate(column: pd.Series) -> pd.DataFrame:
    values = coded_column(column)
    names = [
        str(column.name) if values.shape[1] == 1 else f"{column.name}_{k}" for k in range(values.shape[1])
    ]
    return pd.DataFrame(values, columns=names)


def _length(stimuli: xr.DataArray, table: pd.DataFrame) -> pd.DataFrame:
    texts = _texts(table)
    n_words, n_chars = (np.array([count(text) for text in texts]) for count in (_n_words, len))
    columns = {"n_tokens": _token_count(stimuli, table)} if _has_tokens(stimuli, table) else {}
    columns |= {
        "n_words": n_words,
        "n_chars": n_chars,
        "word_length": n_chars / np.maximum(n_words, 1),
        "capitals": np.array([sum(c.isupper() for c in text) for text in texts]) / np.maximum(n_chars, 1),
        "punctuation": np.array([sum(text.count(mark) for mark in _MARKS) for text in texts]),
    }
    if {"target_start", "target_end"} <= set(table):
        start, end = (
            pd.to_numeric(table[name], errors="coerce").to_numpy() for name in ("target_start", "target_end")
        )
        columns |= {"target_start": np.nan_to_num(start, nan=-1), "target_length": np.nan_to_num(end - start)}
    if "rel_target" in stimuli.coords and "valid" in stimuli.coords:
        columns["target_tokens"] = _target_tokens(stimuli)
    return pd.DataFrame(columns)


def _texts(table: pd.DataFrame) -> list[str]:
    return [str(text) for text in table["text"]]


def _n_words(text: str) -> int:
    return len(text.split())


def _has_tokens(stimuli: xr.DataArray, table: pd.DataFrame) -> bool:
    return "valid" in stimuli.coords or "n_tokens" in table


def _token_count(stimuli: xr.DataArray, table: pd.DataFrame) -> np.ndarray:
    if "valid" in stimuli.coords:
        return np.asarray(stimuli["valid"].values.sum(axis=1))
    return pd.to_numeric(table["n_tokens"]).to_numpy()


def _target_tokens(recording: xr.DataArray) -> np.ndarray:
    """Tokens from the start of the target word to its last piece, where `rel_target` is 0."""
    relative, words = recording["rel_target"].values, recording["word_index"].values
    is_last = (relative == 0) & (relative != NO_TARGET)
    word = np.where(is_last, words, np.iinfo(words.dtype).min).max(axis=1)
    return ((words == word[:, None]) & recording["valid"].values).sum(axis=1)


def _bag(stimuli: xr.DataArray, table: pd.DataFrame) -> pd.DataFrame:
    if TOKEN in stimuli.dims and "token_str" in stimuli.coords:
        valid = stimuli["valid"].values
        rows = [
            tokens[mask].tolist() for tokens, mask in zip(stimuli["token_str"].values, valid, strict=True)
        ]
        return _counts(CountVectorizer(analyzer=list), rows, "token")
    return _counts(CountVectorizer(analyzer=_words), _texts(table), "word")


def _words(text: str) -> list[str]:
    return text.lower().split()


def _spelling(stimuli: xr.DataArray, table: pd.DataFrame) -> pd.DataFrame:
    vectorizer = CountVectorizer(analyzer="char_wb", ngram_range=(2, 4))
    return _counts(vectorizer, _texts(table), "letters")


def _counts(vectorizer: CountVectorizer, rows: Sequence[object], kind: str) -> pd.DataFrame:
    counts = vectorizer.fit_transform(rows).toarray()
    return pd.DataFrame(counts, columns=[f"{kind} {name}" for name in vectorizer.get_feature_names_out()])


_PART_FUNCTIONS = {"length": _length, "bag": _bag, "spelling": _spelling}
