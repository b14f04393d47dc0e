"""Which features show an effect in each of several contrasts, or in some number of them."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neurosae.arrays.correction import CORRECTIONS, NOT_FAMILY_WISE, adjust
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.units import SEEN, with_seen

FROM_MAPS = "maps"

_NEEDED = ("stat", "p_unc", "p_adjusted", "valid")


def conjoin(
    maps: Sequence[xr.Dataset], *, at_least: int | None = None, correct: str = FROM_MAPS
) -> xr.Dataset:
    """Ask of each feature whether its effect is there, in one direction, in all maps or in a number of them.

    The null is that fewer than u of the K effects exist, not that none does. p = (K - u + 1) p_(u), the
    u-th smallest of the p of effects in one direction; the better direction counts. For u = K it is the
    largest p. An effect in one map and none in another needs the contrast between them, not two maps.

    Parameters
    ----------
    maps : K results of `neurosae.analysis.contrast.contrast_map` over the same layers and features
    at_least : u, by default K
    correct : ``"maps"`` applies the same rule to the corrected p of the maps, which must be family-wise;
        ``"fdr_bh"``, ``"fdr_by"``, ``"holm"``, ``"bonferroni"`` correct the combined p; or ``"none"``

    Returns
    -------
    Dataset (layer, feature)
        ``p_unc``, ``p_adjusted`` (two-sided), ``stat`` (signed, the u-th largest in that direction),
        ``n_agree`` (maps whose effect has that direction), ``valid`` (tested in every map).

    Raises
    ------
    DesignError
        If there are fewer than 2 maps, they differ in layers, features, site or basis or lack p-values,
        ``at_least`` is not in 1 … K, the correction is unknown, or it is ``"maps"`` and theirs is not
        family-wise: features that few maps share can all be false discoveries of one of them.

    Source
    ------
    Nichols et al. 2005, NeuroImage 25:653; Benjamini & Heller 2008, Biometrics 64:1215.

    Examples
    --------
    >>> def cmap(stat, p):
    ...     values = {"stat": stat, "p_unc": p, "p_adjusted": p, "valid": [True] * 3}
    ...     return xr.Dataset({name: (("layer", "feature"), [row]) for name, row in values.items()})
    >>> both = [cmap([3.0, 3.0, 1.0], [0.01, 0.01, 0.3]), cmap([2.0, -2.0, 4.0], [0.04, 0.04, 0.001])]
    >>> conjoin(both)["p_unc"].values
    array([[0.04, 1.  , 0.3 ]])
    """
    u = len(maps) if at_least is None else at_least
    _check(maps, u, correct)
    stat, p, adjusted = (np.stack([each[name].values for each in maps]) for name in _NEEDED[:3])
    valid = np.logical_and.reduce([each["valid"].values for each in maps])
    combined, direction = _combined(p, stat, u)
    combined = np.where(valid, combined, np.nan)
    if correct == FROM_MAPS:
        corrected = np.where(valid, _combined(adjusted, stat, u)[0], np.nan)
    else:
        corrected = adjust(combined.ravel(), correct).reshape(combined.shape)
    agreeing = np.sort(np.maximum(stat * direction, 0), axis=0)[len(maps) - u] * direction
    found = {
        "p_unc": (combined, "p of the conjunction, two-sided, not corrected"),
        "p_adjusted": (corrected, "p of the conjunction, two-sided, corrected"),
        "stat": (np.where(valid, agreeing, np.nan), f"statistic that {u} of {len(maps)} maps reach"),
        "n_agree": (
            (np.sign(stat) == direction).sum(axis=0) * valid,
            "maps with an effect in that direction",
        ),
        "valid": (valid, "feature is tested in every map"),
    }
    variables = {
        name: ((LAYER, FEATURE), values, {"long_name": long_name, "units": "1"})
        for name, (values, long_name) in found.items()
    }
    contrasts = [str(each.attrs.get("contrast", "")) for each in maps]
    shared = {name: maps[0].attrs[name] for name in ("site", "basis", "unit") if name in maps[0].attrs}
    attrs = {"contrast": " & ".join(contrasts), "at_least": u, "correct": correct, **shared}
    attrs |= with_step(maps[0], "conjoin", contrasts=contrasts, at_least=u, correct=correct)
    coords = {name: maps[0].coords[name] for name in (LAYER, FEATURE) if name in maps[0].coords}
    seen = {key for each in maps if SEEN in each.coords for key in each[SEEN].values.tolist()}
    return with_seen(xr.Dataset(variables, coords=coords, attrs=attrs), seen)


def _combined(p: np.ndarray, stat: np.ndarray, u: int) -> tuple[np.ndarray, np.ndarray]:
    """P of at least u effects of one direction among K (map, layer, feature), and that direction, ±1."""
    one_way = {
        sign: np.minimum((len(p) - u + 1) * np.sort(np.where(stat * sign > 0, p, 1.0), axis=0)[u - 1], 1.0)
        for sign in (1, -1)
    }
    return np.minimum(one_way[1], one_way[-1]), np.where(one_way[-1] < one_way[1], -1, 1)


def _check(maps: Sequence[xr.Dataset], u: int, correct: str) -> None:
    if len(maps) < 2:
        raise DesignError(f"a conjunction joins two or more contrast maps, got {len(maps)}.")
    if not 1 <= u <= len(maps):
        raise DesignError(f"at_least is {u}; of {len(maps)} maps it can be 1 … {len(maps)}.")
    if correct not in (FROM_MAPS, *CORRECTIONS):
        raise DesignError(f"correction {correct!r} is unknown; choose one of {[FROM_MAPS, *CORRECTIONS]}.")
    loose = [each.attrs.get("correct") for each in maps if each.attrs.get("correct") in NOT_FAMILY_WISE]
    if correct == FROM_MAPS and loose:
        raise DesignError(
            f"correct='maps' keeps the family-wise error of the maps, and theirs is {loose[0]!r}. Make the "
            "maps with correct='max_t', or correct the conjunction itself with correct='fdr_bh'."
        )
    for number, each in enumerate(maps):
        if not set(_NEEDED) <= set(each):
            raise DesignError(f"map {number} is no contrast map: it holds {sorted(map(str, each))}.")
        if not _same_space(maps[0], each):
            raise DesignError(
                f"map {number} differs from map 0 in layers, features, site or basis; a conjunction is about "
                "the same features. Make the maps from the same responses."
            )
        if np.isnan(each["p_unc"].values[each["valid"].values]).any():
            raise DesignError(f"map {number} has no p-values, as its design allows too few relabelings.")


def _same_space(first: xr.Dataset, other: xr.Dataset) -> bool:
    if any(first.attrs.get(name) != other.attrs.get(name) for name in ("site", "basis")):
        return False
    if first["stat"].dims != other["stat"].dims or first["stat"].shape != other["stat"].shape:
        return False
    labels = [name for name in (LAYER, FEATURE) if name in first.coords and name in other.coords]
    return all(np.array_equal(first[name].values, other[name].values) for name in labels)
