"""The cells of the pipeline comparison: a space of features x a selector, in one fold at a time.

All cells of a fold have the same training and test rows. Space, selection and decoder are learned from the
training rows alone.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from neurosae.analysis.decoding_design import DecodingDesign
from neurosae.analysis.decoding_rows import fold_seed
from neurosae.analysis.sparse_logistic import direction_scores, ranked_features, small_decoder
from neurosae.arrays.classification_scores import balanced_accuracy, macro_auroc
from neurosae.arrays.feature_scores import is_alive
from neurosae.arrays.ridge_decoder import fold_scores

SIZE = 8
"""Features of each cell."""

RAW, CODES, RANDOM = "raw", "codes", "random"
"""Spaces that are given: units, codes of a dictionary, codes of a dictionary of random weights."""

AXES, THINNED = "raw_axes", "codes_thinned"
"""Spaces that are derived: principal axes of the units; as many codes, at random, as there are units."""

SEED_SELECTORS = ("max", "CMI", "CDI")
SELECTORS = (*SEED_SELECTORS, "TDI", "COH", "welch", "meandiff", "maxpos", "variance", "random")
SELECTORS_OF = {RAW: SELECTORS, CODES: SELECTORS}
"""Selectors of a space; the others have those that the hypotheses are about."""

N_DRAWS = 2
"""Draws of a fold where a cell draws features at random; scores are means over them."""

REFERENCES = ("all", "direction")
METRICS = {
    "auroc": "held-out AUROC",
    "balanced_accuracy": "held-out balanced accuracy",
    "log_loss": "held-out log loss",
    "brier": "held-out Brier score",
}


class Space(NamedTuple):
    """Responses of the rows, (n, W, F), and whether features are z-scored before they are scored."""

    values: np.ndarray
    is_scaled: bool


class CellScores(NamedTuple):
    """One cell in one fold: metrics (4,), log loss of each test row, features selected (8,), -1 for none."""

    metrics: np.ndarray
    loss: np.ndarray
    selected: np.ndarray


def space_names(given: Mapping[str, object]) -> tuple[str, ...]:
    """All spaces of a comparison, given and derived, in order."""
    return (RAW, CODES, AXES, THINNED, *((RANDOM,) if RANDOM in given else ()))


def space_rows(
    spaces: Mapping[str, Space], name: str, train: np.ndarray, test: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Training and test rows (n, W, F) in a space, the number of each feature, and whether to scale them."""
    source = spaces[{AXES: RAW, THINNED: CODES}.get(name, name)]
    known, unseen = source.values[train], source.values[test]
    features = np.arange(known.shape[2])
    if name == AXES:
        return (*_principal_axes(known, unseen), features, False)
    if name == THINNED:
        alive = np.flatnonzero(is_alive(known.mean(axis=1)))
        n_kept = min(len(alive), spaces[RAW].values.shape[2])
        kept = np.sort(np.random.default_rng(seed).choice(alive, n_kept, replace=False))
        return known[:, :, kept], unseen[:, :, kept], kept, source.is_scaled
    return known, unseen, features, source.is_scaled


def _principal_axes(known: np.ndarray, unseen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows rotated to the principal axes of the z-scored training means, (n, W, axes)."""
    pooled = known.mean(axis=1)
    mean, sd = pooled.mean(axis=0), pooled.std(axis=0)
    scale = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 0)
    axes = np.linalg.svd((pooled - mean) * scale, full_matrices=False)[2].T
    return ((known - mean) * scale) @ axes, ((unseen - mean) * scale) @ axes


def fold_cells(
    spaces: Mapping[str, Space],
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    *,
    seed: int,
    only: tuple[str, ...] | None = None,
) -> dict[tuple[str, str], CellScores]:
    """All cells of one fold: labels (n,) 0 in the target class and 1 in the rest."""
    found = {}
    for name in only or space_names(spaces):
        for selector in SELECTORS_OF.get(name, SEED_SELECTORS):
            n_draws = N_DRAWS if name == THINNED or selector == "random" else 1
            draws = [
                _cell(spaces, name, selector, labels, train, test, seed + draw) for draw in range(n_draws)
            ]
            found[name, selector] = CellScores(
                np.mean([draw.metrics for draw in draws], axis=0),
                np.mean([draw.loss for draw in draws], axis=0),
                draws[0].selected,
            )
    return found


def _cell(
    spaces: Mapping[str, Space],
    name: str,
    selector: str,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> CellScores:
    known, unseen, features, scaled = space_rows(spaces, name, train, test, seed)
    order = ranked_features(known, labels[train], 2, selector, is_scaled=scaled, seed=seed)
    failed = CellScores(
        np.full(len(METRICS), np.nan), np.full(int(test.sum()), np.nan), np.full(SIZE, -1, dtype=int)
    )
    if len(order) < SIZE:
        return failed
    chosen = order[:SIZE]
    decoder = small_decoder(known.mean(axis=1), unseen.mean(axis=1), labels[train], chosen)
    if decoder is None:
        return failed
    metrics, loss = fold_metrics(decoder.score, decoder.probability, labels[test])
    return CellScores(metrics, loss, features[chosen])


def fold_metrics(
    score: np.ndarray, probability: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC, balanced accuracy, log loss and Brier score of two classes, and the log loss of each row."""
    true = probability[np.arange(len(labels)), labels]
    loss = -np.log(np.clip(true, np.finfo(float).eps, 1))
    both = len(np.unique(labels)) == 2
    area = macro_auroc(score[:, None], labels[None], 2)[0]
    accuracy = balanced_accuracy(score[:, None], labels[None], 2)[0] if both else np.nan
    return np.array([area, accuracy, loss.mean(), np.mean((1 - true) ** 2)]), loss


def reference_aurocs(
    spaces: Mapping[str, Space], name: str, labels: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int
) -> np.ndarray:
    """AUROC of all features of a space by ridge, and of the difference of class means, (2,)."""
    known, unseen, _, _ = space_rows(spaces, name, train, test, seed)
    rows = known.mean(axis=1), unseen.mean(axis=1)
    everything = fold_scores(*rows, labels[None, train], 2)
    direction = direction_scores(*rows, labels[train], 2)[:, None]
    return np.array([macro_auroc(score, labels[None, test], 2)[0] for score in (everything, direction)])


def permuted_aurocs(
    spaces: Mapping[str, Space],
    design: DecodingDesign,
    labels: np.ndarray,
    relabeled: np.ndarray,
    seed: int,
) -> dict[tuple[str, str], np.ndarray]:
    """Mean AUROC over the folds of the first repeat, of each cell of the given spaces, row 0 as observed."""
    tested = np.concatenate([labels[None], relabeled])
    only = tuple(name for name in (RAW, CODES, RANDOM) if name in spaces)
    areas: dict[tuple[str, str], list[list[float]]] = {}
    for row in tested:
        folds = [
            fold_cells(spaces, row, train, test, seed=fold_seed(seed, 0, cell), only=only)
            for cell, (train, test) in enumerate(design.splits(0))
        ]
        for key in folds[0]:
            areas.setdefault(key, []).append([fold[key].metrics[0] for fold in folds])
    return {key: np.nanmean(values, axis=1) for key, values in areas.items()}


def has_enough(values: np.ndarray) -> bool:
    """Whether at least 8 features are alive over all rows, (n, W, F)."""
    return int(is_alive(values.mean(axis=1)).sum()) >= SIZE
