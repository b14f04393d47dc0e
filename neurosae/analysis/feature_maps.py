"""Do single features tell classes apart? Category structure of each feature's own pattern.

Which features a map names is a selection: what they do must be tested on other stimuli.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neurosae.analysis.category_design import CategoryDesign, category_design, check_design, design_attrs
from neurosae.analysis.dissimilarities import check_column
from neurosae.analysis.feature_inference import Block, by_pairs, by_sums, with_p
from neurosae.analysis.feature_patterns import PatternSource, pattern_source
from neurosae.analysis.profiles import Recorded, labels_of
from neurosae.arrays.feature_index import METRICS, WEIGHTS
from neurosae.arrays.permutation import Relabelings, max_statistic_p, relabel
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.units import unit_keys, with_seen

_HELD = 4_000_000
"""Values of class sums held at a time (16 MB of float32)."""

UNIVARIATE = (
    "one number a stimulus: CDI is the univariate contrast, se^2 (Welch t^2 - 1), with the permutation p of "
    "its square"
)
"""What the index of a scalar pattern is."""


def feature_rsa(
    recording: Recorded,
    by: str,
    *,
    pattern: str = "profile",
    index: str = "CDI",
    metric: str = "auto",
    window: str = "auto",
    weights: np.ndarray | None = None,
    unit: str = "auto",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """How much more alike stimuli that share ``by`` are than others, in each feature's own pattern.

    Parameters
    ----------
    recording : DataArray (stimulus, token, layer, feature), numpy or dask, or codes that stay sparse; read
        layer by layer. Or responses (stimulus, layer, feature), which have no profile; or responses over
        windows (stimulus, window, layer, feature), whose windows are the profile
    by : column of the stimuli that holds the classes
    pattern : what of a feature is compared.

        ==============  ===================================================================================
        profile         its course over tokens
        scalar          its mean over tokens, one number: the univariate contrast by another name
        support         the 50 units of largest weight in ``weights[feature]`` (an encoder's rows), each in SD
                        over the stimuli; ``recording`` holds units
        neighbourhood   the 32 features whose rows of ``weights`` (a decoder's) have the highest cosine with
                        that of the feature, itself included; ``recording`` holds codes
        ==============  ===================================================================================
    index : ``"CDI"``, ``"TDI"``, ``"COH"``, by sums; or ``"CMI"``, by ranks of each feature's RDM, some
        hundred times slower. See `neurosae.analysis.category.category_rsa`
    metric : ``"correlation"``, averages of 1 - r (not of Fisher's z), or ``"sqeuclidean"``, |x - y|^2 / P.
        ``"auto"``: correlation of profiles, sqeuclidean of all else
    window : of a profile ``"relative:10"`` (``"auto"``), ``"first:k"``, ``"last:k"``, ``"centered:k"``,
        ``"target:a:b"`` or ``"overlap"`` (what both texts of a pair have; slow); else ``"all"``
    weights : (feature, unit) for ``support`` and ``neighbourhood``, which take one layer
    unit : column whose rows are averaged within each class first, by default the widest of family, pair,
        item, stimulus
    n_permutations : number of relabelings; all distinct ones are enumerated if they are no more
    seed : root of the random relabelings, the same for all features and layers

    Returns
    -------
    Dataset (layer, feature)
        ``index`` with ``index_lo`` and ``index_hi``, its 95 % interval (jackknife over units); ``p``,
        one-sided (greater), uncorrected; ``p_adjusted``, family-wise over all valid features and layers
        (maximum of the indices in SD over relabelings); ``n_live``, rows with a pattern; ``valid``. A larger
        index is more class structure. Features without a pattern in 5 rows and half the rows of each class,
        or without any variation, are NaN and no part of the family.

    Raises
    ------
    DesignError
        If a column, pattern, metric or window is unknown or they do not go together, classes cannot be
        compared (see `neurosae.analysis.category.category_rsa`), or tokens in the window are not finite.

    Notes
    -----
    Rows that exchange and pairs that count are those of `neurosae.analysis.category.category_rsa`. Pairs of
    stimuli are not independent, so a t-test over them is no test: with items of different gain it rejects
    about 60 % of true null hypotheses. Stimuli that do not fill the window are left out and listed in the
    attribute ``excluded``; nothing is padded, as common zeros make all profiles alike, most of all those of
    equal length.

    Source
    ------
    Kriegeskorte, Mur & Bandettini 2008, Front Syst Neurosci 2:4; Westfall & Young 1993 (maximum).

    Examples
    --------
    >>> from neurosae.testing import planted_recording
    >>> result = feature_rsa(planted_recording(), "condition", pattern="scalar", n_permutations=199)
    >>> best = result["index"].stack(cell=["layer", "feature"]).idxmax().item()
    >>> best, float(result.p_adjusted.sel(layer=best[0], feature=best[1]))
    ((1, 4), 0.005)
    """
    check_column(labels_of(recording), by)
    source = pattern_source(recording, pattern, by=by, window=window, weights=weights, unit=unit)
    design = category_design(source.rows, by=by, unit=source.unit)
    check_design(design, by=by, index=index)
    metric = _metric(metric, pattern)
    drawn = relabel(design.codes, n_permutations, seed=seed, strata=design.strata)
    measure = by_pairs if index not in WEIGHTS or source.n_values is not None else by_sums
    at_once = _features_at_once(source, design, drawn)
    blocks = [
        with_p(measure(patterns, source, design, drawn, index, metric), exact=drawn.exact)
        for layer in range(source.n_layers)
        for patterns in source.blocks(layer, at_once)
    ]
    settings = {"by": by, "pattern": pattern, "index": index, "metric": metric, "window": source.window}
    result = _dataset(blocks, source, drawn, index, metric)
    result.attrs = {
        **settings,
        **design_attrs(design, index),
        "unit": source.unit,
        "alternative": "greater",
        "n_permutations": len(drawn),
        "exact": int(drawn.exact),
        "seed": seed,
        "family_size": int(result["valid"].sum()),
        "excluded": source.excluded,
        "note": UNIVARIATE if pattern == "scalar" else "",
        "site": str(recording.attrs.get("site", "")),
        "basis": str(recording.attrs.get("basis", UNITS_BASIS)),
        **with_step(labels_of(recording), "feature_rsa", **settings, n_permutations=len(drawn), seed=seed),
    }
    return with_seen(result, unit_keys(source.stimuli, unit))


def _metric(metric: str, pattern: str) -> str:
    if metric == "auto":
        return "correlation" if pattern == "profile" else "sqeuclidean"
    if metric not in METRICS:
        raise DesignError(f"no measure {metric!r} of features; choose one of {list(METRICS)}.")
    if pattern == "scalar" and metric == "correlation":
        raise DesignError("one number a stimulus has no correlation; take sqeuclidean, or a profile.")
    return metric


def _features_at_once(source: PatternSource, design: CategoryDesign, drawn: Relabelings) -> int:
    n_labelings = len(drawn) + len(design.codes) + 1
    affordable = _HELD // max(1, len(design.classes) * n_labelings * source.width)
    return int(np.clip(affordable, 1, 512))


def _dataset(
    blocks: Sequence[Block], source: PatternSource, drawn: Relabelings, index: str, metric: str
) -> xr.Dataset:
    shape = (source.n_layers, source.n_features)
    maps = {name: np.concatenate([block.maps[name] for block in blocks]) for name in blocks[0].maps}
    largest = np.max([block.largest for block in blocks], axis=0)
    maps["p_adjusted"] = max_statistic_p(maps.pop("z"), largest, exact=drawn.exact)
    scale = "a.u.^2" if metric == "sqeuclidean" and index != "CMI" else "1"
    titles = _TITLES | {"index": f"{index} of each feature"}
    data = {
        name: (
            (LAYER, FEATURE),
            maps[name].reshape(shape),
            {"long_name": title, "units": scale if name.startswith("index") else "1"},
        )
        for name, title in titles.items()
    }
    return xr.Dataset(data, coords=source.coords)


_TITLES = {
    "index": "",
    "index_lo": "lower bound of the 95 % interval of the index (jackknife over units)",
    "index_hi": "upper bound of the 95 % interval of the index (jackknife over units)",
    "p": "one-sided permutation p, uncorrected",
    "p_adjusted": "one-sided permutation p, family-wise over features and layers",
    "n_live": "rows with a pattern",
    "valid": "enough rows of each class have a pattern",
}
"""Variables of the result and what they are."""
