"""Do two dictionaries have the same features? Recovery of planted ones, stability over seeds and halves."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from neurosae.arrays.direction_match import nearest_cosines
from neurosae.dictionary.interface import Dictionary
from neurosae.errors import DesignError
from neurosae.schema.provenance import with_step

THRESHOLDS = (0.7, 0.9)
"""Cosines from which two features are called the same."""


def planted_recovery(planted: np.ndarray, found: np.ndarray, *, threshold: float = 0.9) -> xr.Dataset:
    """How many planted directions a dictionary has found, and how many of its features are planted ones.

    mmcs = mean over planted directions of the largest cosine with a feature; recall = share of planted
    directions with a cosine of at least ``threshold``; precision = the same share of features.

    Parameters
    ----------
    planted : (n, d) float, directions that the data were made of
    found : (m, d) float, a decoder; leave out features that are never active
    threshold : cosine from which a direction counts as found, 0 to 1

    Returns
    -------
    Dataset
        ``mmcs``, ``recall``, ``precision``; ``cosine`` (planted), the largest of each planted direction.

    Raises
    ------
    DesignError
        If widths differ, either is empty, or the threshold is out of range.

    Source
    ------
    Sharkey et al. 2022 (mean max cosine similarity).

    Examples
    --------
    >>> found = planted_recovery(np.eye(3), np.eye(3)[:2])
    >>> float(found["recall"].round(3)), float(found["precision"])
    (0.667, 1.0)
    """
    _check(planted, found, threshold)
    cosine, backwards = nearest_cosines(planted, found), nearest_cosines(found, planted)
    return xr.Dataset(
        {
            "mmcs": ((), _mean(cosine), _named("mean of the largest cosines")),
            "recall": ((), _share(cosine, threshold), _named("share of planted directions found")),
            "precision": ((), _share(backwards, threshold), _named("share of features that are planted")),
            "cosine": ("planted", cosine, _named("largest cosine with a feature")),
        },
        attrs={
            "threshold": threshold,
            **with_step(xr.Dataset(), "planted_recovery", threshold=threshold),
        },
    )


def dictionary_agreement(
    dictionaries: Sequence[Dictionary],
    *,
    alive: Mapping[str, np.ndarray] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    seed: int = 0,
) -> xr.Dataset:
    """Share of the features of each dictionary that has a partner in each other one.

    For dictionaries of several seeds this is their stability, for those of two halves of a corpus the
    split-half stability. Several features may have the same partner.

    Parameters
    ----------
    dictionaries : at least two of one subject, site and layer, with names of their own
    alive : name → (feature,) bool, features to compare, such as ``firing_rate > 0`` of an evaluation
    thresholds : cosines of decoders from which features are partners
    seed : of the random directions that give chance

    Returns
    -------
    Dataset
        Over (dictionary, other): ``mmcs``, mean of the largest cosines, and ``matched`` (threshold), the
        share with a partner; ``chance_mmcs`` and ``chance_matched``, the same with as many random directions
        in the place of the other. The diagonal is NaN.

    Raises
    ------
    DesignError
        If there are fewer than two, names repeat, or they belong to different places.

    Examples
    --------
    >>> from neurosae.dictionary.random_weights import RandomDictionary
    >>> pair = [RandomDictionary(50, 64, seed=seed) for seed in (0, 1)]
    >>> dictionary_agreement(pair)["matched"].sel(threshold=0.7).values.tolist()
    [[nan, 0.0], [0.0, nan]]
    """
    names = [dictionary.name for dictionary in dictionaries]
    _check_comparable(dictionaries, names)
    kept = [
        dictionary.decoder if alive is None else dictionary.decoder[np.asarray(alive[dictionary.name])]
        for dictionary in dictionaries
    ]
    shape = (len(names), len(names))
    mmcs, chance = np.full(shape, np.nan), np.full(shape, np.nan)
    matched, by_chance = (
        np.full((*shape, len(thresholds)), np.nan),
        np.full((*shape, len(thresholds)), np.nan),
    )
    for i, j in zip(*np.nonzero(~np.eye(len(names), dtype=bool)), strict=True):
        random = np.random.default_rng([seed, i, j]).standard_normal(kept[j].shape)
        cosine, random_cosine = nearest_cosines(kept[i], kept[j]), nearest_cosines(kept[i], random)
        mmcs[i, j], chance[i, j] = _mean(cosine), _mean(random_cosine)
        matched[i, j] = [_share(cosine, threshold) for threshold in thresholds]
        by_chance[i, j] = [_share(random_cosine, threshold) for threshold in thresholds]
    pairs = ("dictionary", "other")
    settings = {"dictionaries": names, "thresholds": list(thresholds), "seed": seed}
    return xr.Dataset(
        {
            "mmcs": (pairs, mmcs, _named("mean of the largest cosines")),
            "matched": ((*pairs, "threshold"), matched, _named("share of features with a partner")),
            "chance_mmcs": (pairs, chance, _named("mean of the largest cosines, random directions")),
            "chance_matched": ((*pairs, "threshold"), by_chance, _named("share by chance")),
            "n_features": ("dictionary", [len(rows) for rows in kept], _named("features compared")),
        },
        coords={"dictionary": names, "other": names, "threshold": list(thresholds)},
        attrs={"seed": seed, **with_step(xr.Dataset(), "dictionary_agreement", **settings)},
    )


def _check(planted: np.ndarray, found: np.ndarray, threshold: float) -> None:
    if np.ndim(planted) != 2 or np.ndim(found) != 2 or not len(planted) or not len(found):
        raise DesignError(
            f"planted directions {np.shape(planted)} and features {np.shape(found)} are given; needed: at "
            "least one row of each."
        )
    if not 0 <= threshold <= 1:
        raise DesignError(f"threshold is {threshold}; a cosine from 0 to 1 is needed, such as 0.9.")


def _check_comparable(dictionaries: Sequence[Dictionary], names: Sequence[str]) -> None:
    if len(names) < 2 or len(set(names)) < len(names):
        raise DesignError(
            f"dictionaries {list(names)} are given; needed: two or more, each with its own name."
        )
    places = sorted({(each.subject, each.site, each.layer) for each in dictionaries})
    if len(places) > 1:
        raise DesignError(
            f"dictionaries of {places} are given; features of one subject, site and layer can be compared."
        )


def _named(name: str) -> dict[str, str]:
    return {"long_name": name, "units": "1"}


def _mean(cosines: np.ndarray) -> float:
    known = cosines[np.isfinite(cosines)]
    return float(known.mean()) if len(known) else float("nan")


def _share(cosines: np.ndarray, threshold: float) -> float:
    known = cosines[np.isfinite(cosines)]
    return float((known >= threshold).mean()) if len(known) else float("nan")
