"""How good a dictionary is at held-out texts: sparsity, reconstruction, features, what the subject loses."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr

from neurosae.arrays.direction_match import nearest_cosines
from neurosae.arrays.reconstruction import ReconstructionSums, log_rate_histogram
from neurosae.dictionary.guards import check_belongs
from neurosae.dictionary.interface import Dictionary
from neurosae.recording.evaluation_rows import (
    SCOPES,
    EvaluationRows,
    evaluation_rows,
    evaluation_windows,
    tokens_sha256,
)
from neurosae.schema.names import FEATURE, SINK_RATIO
from neurosae.schema.provenance import provenance_attrs, with_step
from neurosae.subject.batching import run_all
from neurosae.subject.interface import Splice, Subject, Tokens

INTERVENTIONS = ("intact", "rebuilt", "rebuilt_everywhere", "zero_everywhere", "mean")
"""What is put in the place of the activations; at ordinary tokens where it does not say everywhere."""

DENSE = 0.1
"""Firing rate from which a feature is called dense."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
RATE_EDGES = np.linspace(-6, 0, 25)
"""Bins of firing rates: powers of ten, four bins each."""

_ROWS_AT_ONCE = 1024

_NAMES: Mapping[str, tuple[str, str]] = {
    "n_rows": ("tokens rebuilt", "1"),
    "l0": ("active features per token, mean", "1"),
    "mse": ("squared error per token, summed over units", "a.u."),
    "explained_variance": ("variance explained", "1"),
    "fvu": ("variance left unexplained", "1"),
    "cosine": ("cosine of activation and reconstruction", "1"),
    "bias": ("reconstruction bias, 1 for none", "1"),
    "length_ratio": ("length of reconstruction over activation", "1"),
    "l0_quantile": ("active features per ordinary token", "1"),
    "firing_rate": ("share of ordinary tokens at which a feature is active", "1"),
    "mean_code": ("mean code where a feature is active", "a.u."),
    "nearest_cosine": ("largest cosine with the decoder of another feature", "1"),
    "rate_count": ("features by log10 firing rate", "1"),
    "dead": ("share of features never active", "1"),
    "dense": ("share of features active at more than a tenth of tokens", "1"),
    "cross_entropy": ("cross-entropy of the next token", "nats"),
    "divergence": ("KL divergence from the intact predictions", "nats"),
    "delta_ce": ("cross-entropy added by rebuilding ordinary tokens", "nats"),
    "ce_recovered_zero": ("cross-entropy recovered, against zeros everywhere", "1"),
    "ce_recovered_mean": ("cross-entropy recovered, against the mean", "1"),
    "ce_recovered_everywhere": ("cross-entropy recovered, rebuilt everywhere, against zeros", "1"),
}


def evaluate_dictionary(
    dictionary: Dictionary,
    subject: Subject,
    texts: Sequence[str],
    *,
    n_tokens: int = 10_000,
    context: int = 128,
    sink_ratio: float = SINK_RATIO,
    batch_tokens: int = 2048,
) -> xr.Dataset:
    """How sparse and faithful a dictionary is, what its features are like, and what the subject loses by it.

    Texts are cut into windows. Reconstruction is measured at ordinary tokens, with sinks, and everywhere
    (see `neurosae.arrays.reconstruction` for the formulas). Then the activations are replaced in the running
    subject: by their reconstruction x' at ordinary tokens (special tokens and sinks pass through), by x'
    everywhere, by zeros everywhere and by the mean at ordinary tokens. With CE the mean cross-entropy,

    CE recovered = (CE ablated - CE rebuilt) / (CE ablated - CE intact).

    Parameters
    ----------
    dictionary : Dictionary of this subject
    subject : the model
    texts : documents the dictionary was not trained on, taken in order until there are enough tokens
    n_tokens : tokens to judge, special ones not counted; 30,000 or more for dead features and variance
    context : tokens of a window, BOS counted, at least 2
    sink_ratio : a token is a sink if its norm at the site exceeds this multiple of the median
    batch_tokens : most tokens in one forward pass

    Returns
    -------
    Dataset
        over ``scope``: n_rows, l0, mse, explained_variance, fvu, cosine, bias, length_ratio; over
        ``feature``: firing_rate, mean_code, nearest_cosine; ``rate_count`` (log_rate); ``l0_quantile``
        (quantile); over ``intervention``: cross_entropy and divergence, in nats; and dead, dense, delta_ce,
        ce_recovered_zero, ce_recovered_mean, ce_recovered_everywhere. A share of a difference that is 0 is
        NaN.

    Raises
    ------
    DesignError
        If the texts hold fewer than two ordinary tokens, or ``context`` is below 2.
    DictionaryError
        If the dictionary is of another subject, layer or width.

    Source
    ------
    Karvonen et al. 2025 (SAEBench); Rajamanoharan et al. 2024 (reconstruction bias); Sun et al. 2024 (sinks).

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> from neurosae.subject.toy import ToySubject
    >>> whole = ToyDictionary(32, 32, threshold=0, shift=100, layer=1)
    >>> found = evaluate_dictionary(whole, ToySubject(), ["the keys are here", "the key is here"])
    >>> found["explained_variance"].values.round(4).tolist(), bool(abs(found["delta_ce"]) < 1e-4)
    ([1.0, 1.0, 1.0], True)
    """
    width = subject.n_features(dictionary.site)
    check_belongs(dictionary, subject.describe(), layers=range(subject.n_layers), width=width)
    windows = evaluation_windows(subject, texts, n_tokens=n_tokens, context=context)
    site, layer = dictionary.site, dictionary.layer
    rows = evaluation_rows(subject, windows, site, layer, sink_ratio=sink_ratio, batch_tokens=batch_tokens)
    losses = _losses(dictionary, subject, windows, rows, batch_tokens)
    settings = {
        "n_tokens": n_tokens,
        "context": context,
        "sink_ratio": sink_ratio,
        "tokens_sha256": tokens_sha256(windows),
    }
    origin = xr.Dataset(attrs=provenance_attrs({"subject": subject.describe()}))
    step = with_step(origin, "evaluate_dictionary", dictionary=dictionary.describe(), **settings)
    return _dataset(
        {**row_measures(dictionary, rows), **losses},
        {"dictionary": dictionary.name, "site": site, "layer": layer, **settings, **step},
    )


def row_measures(dictionary: Dictionary, rows: EvaluationRows) -> dict[str, tuple[tuple[str, ...], object]]:
    """Measures that need no further pass of the subject: name → (dims, values)."""
    scopes = rows.scopes()
    sums = {scope: ReconstructionSums(rows.values.shape[1]) for scope in SCOPES}
    active = np.zeros(len(rows.values), dtype=np.int64)
    count, total = np.zeros(dictionary.n_features, np.int64), np.zeros(dictionary.n_features)
    for start, stop in itertools.pairwise([*range(0, len(active), _ROWS_AT_ONCE), len(active)]):
        part = slice(start, stop)
        codes = dictionary.encode(rows.values[part])
        rebuilt = dictionary.decode(codes)
        active[part] = np.diff(codes.indptr)
        is_ordinary = scopes["ordinary"][part]
        count += np.bincount(codes[is_ordinary].indices, minlength=dictionary.n_features)
        total += np.asarray(codes[is_ordinary].sum(axis=0)).ravel()
        for scope, chosen in scopes.items():
            sums[scope].add(rows.values[part][chosen[part]], rebuilt[chosen[part]])
    by_scope = {scope: sums[scope].measures() for scope in SCOPES}
    return {
        "n_rows": (("scope",), [int(scopes[scope].sum()) for scope in SCOPES]),
        "l0": (("scope",), [float(active[scopes[scope]].mean()) for scope in SCOPES]),
        **{name: (("scope",), [by_scope[scope][name] for scope in SCOPES]) for name in by_scope["ordinary"]},
        "l0_quantile": (("quantile",), np.quantile(active[scopes["ordinary"]], QUANTILES)),
        **_feature_measures(dictionary, count, total, int(scopes["ordinary"].sum())),
    }


def _feature_measures(
    dictionary: Dictionary, count: np.ndarray, total: np.ndarray, n_rows: int
) -> dict[str, tuple[tuple[str, ...], object]]:
    rate = count / n_rows
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return {
        "firing_rate": ((FEATURE,), rate),
        "mean_code": ((FEATURE,), mean),
        "nearest_cosine": ((FEATURE,), nearest_cosines(dictionary.decoder)),
        "rate_count": (("log_rate",), log_rate_histogram(rate, RATE_EDGES)),
        "dead": ((), float((count == 0).mean())),
        "dense": ((), float((rate > DENSE).mean())),
    }


def _losses(
    dictionary: Dictionary,
    subject: Subject,
    windows: Sequence[Tokens],
    rows: EvaluationRows,
    batch_tokens: int,
) -> dict[str, tuple[tuple[str, ...], object]]:
    mean = rows.ordinary.mean(axis=0, dtype=np.float64).astype(np.float32)
    place = (dictionary.site, dictionary.layer)
    rebuild = rebuilding(dictionary)
    splices = {
        "intact": [],
        "rebuilt": [Splice(*place, rebuild, max_norm=rows.max_norm)],
        "rebuilt_everywhere": [Splice(*place, rebuild, everywhere=True)],
        "zero_everywhere": [Splice(*place, np.zeros_like, everywhere=True)],
        "mean": [Splice(*place, lambda values: np.tile(mean, (len(values), 1)), max_norm=rows.max_norm)],
    }
    found = np.array([_nats(subject, windows, splices[name], batch_tokens) for name in INTERVENTIONS])
    entropy = dict(zip(INTERVENTIONS, found[:, 0].tolist(), strict=True))
    return {
        "cross_entropy": (("intervention",), found[:, 0]),
        "divergence": (("intervention",), found[:, 1]),
        "delta_ce": ((), entropy["rebuilt"] - entropy["intact"]),
        "ce_recovered_zero": ((), _recovered(entropy, "rebuilt", "zero_everywhere")),
        "ce_recovered_mean": ((), _recovered(entropy, "rebuilt", "mean")),
        "ce_recovered_everywhere": ((), _recovered(entropy, "rebuilt_everywhere", "zero_everywhere")),
    }


def rebuilding(dictionary: Dictionary) -> Callable[[np.ndarray], np.ndarray]:
    """The function that takes rows to their reconstruction."""
    return lambda rows: dictionary.decode(dictionary.encode(rows))


def _nats(
    subject: Subject, windows: Sequence[Tokens], edits: Sequence[Splice], batch_tokens: int
) -> tuple[float, float]:
    """Mean cross-entropy of tokens that are predicted and not special, and mean divergence from intact."""
    sums, n_predicted = np.zeros(2), 0
    passes = run_all(
        subject,
        windows,
        batch_tokens=batch_tokens,
        surprisal=True,
        divergence=bool(edits),
        edits=edits,
    )
    for numbers, readings in passes:
        is_special = np.concatenate([windows[number].is_special for number in numbers])
        bits = np.asarray(readings.surprisal)
        other = np.zeros_like(bits) if readings.divergence is None else readings.divergence
        is_judged = np.isfinite(bits) & ~is_special.astype(bool)
        sums += bits[is_judged].sum(), other[is_judged].sum()
        n_predicted += int(is_judged.sum())
    entropy, divergence = sums * np.log(2) / (n_predicted or np.nan)
    return float(entropy), float(divergence)


def _recovered(entropy: Mapping[str, float], rebuilt: str, ablated: str) -> float:
    lost = entropy[ablated] - entropy["intact"]
    return (entropy[ablated] - entropy[rebuilt]) / lost if lost else float("nan")


def _dataset(
    measures: Mapping[str, tuple[tuple[str, ...], object]], attrs: Mapping[str, object]
) -> xr.Dataset:
    variables = {
        name: (dims, values, dict(zip(("long_name", "units"), _NAMES[name], strict=True)))
        for name, (dims, values) in measures.items()
    }
    coords = {
        "scope": list(SCOPES),
        "intervention": list(INTERVENTIONS),
        "quantile": list(QUANTILES),
        "log_rate": (RATE_EDGES[1:] + RATE_EDGES[:-1]) / 2,
        FEATURE: np.arange(len(np.asarray(measures["firing_rate"][1]))),
    }
    return xr.Dataset(variables, coords=coords, attrs=dict(attrs))
