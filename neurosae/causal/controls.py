"""What a perturbation is compared with: shams of the same size that are about something else.

A lesion gets random sets of units from the same layers that respond as strongly and as variably; a
stimulation gets random directions of the same norm.
"""

from dataclasses import replace

import numpy as np
import xarray as xr

from neurosae.arrays.matching import CALIPER, Neighbours, draw_match, magnitude_measures, neighbours
from neurosae.causal.direction import Direction
from neurosae.causal.reference import check_layers, member_layers
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, RESPONSE_DIMS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses

_SELECTIVE = 0.05
"""Share of each layer, the largest |stat| of the ROI's own contrast, that no sham may take from."""

_FEWEST_NEIGHBOURS = 20
"""Smallest number of units to draw a match from. Shams from fewer resemble each other more than the target
resembles them, which makes p too small: with 5, a null lesion had p <= .05 in 13 of 100 cases, not 5."""

_TRIES_PER_SHAM = 10


def matched_roi(roi: xr.Dataset, responses: xr.DataArray, n: int = 99, seed: int = 0) -> xr.Dataset:
    """Random regions that a lesion of ``roi`` is to be compared with.

    Each sham has as many units in each layer as the ROI, none of them a member and, if the ROI has ``stat``,
    none among the 5 % of its layer with the largest |stat|. Units are matched one by one, without replacement
    within a sham, on log mean |response| and log SD over stimuli: drawn at random among those within 0.25 SD
    on both, or, where these are fewer than 20 or too few for n different shams, among that many nearest.

    Parameters
    ----------
    roi : Dataset with ``member`` (layer, feature) bool, as from ``localize``
    responses : DataArray (stimulus, layer, feature), a.u., at the ROI's site; conditions play no part
    n : shams wanted
    seed : of the draws

    Returns
    -------
    Dataset
        member (sham, layer, feature) bool; n_outside (sham) int, units matched beyond 0.25 SD. Shams differ
        from each other, so that a small ROI in a small layer may have fewer than n.

    Raises
    ------
    DesignError
        If the ROI is empty, the responses are of another site or lack its units, a member never varies, or a
        layer has too few other units.

    Notes
    -----
    A rank among shams is a fair p-value where the layer is large beside the ROI. With 4 units in a layer of
    100, p <= .05 in about 10 % of random ROIs; in a layer of 400, in 5 %.

    Source
    ------
    Rosenbaum & Rubin 1985, Am Stat 39:33 (caliper matching).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> responses = planted_responses(n_features=64)
    >>> member = xr.zeros_like(responses[0], dtype=bool).drop_attrs().reset_coords(drop=True)
    >>> member.loc[1, :4] = True
    >>> shams = matched_roi(xr.Dataset({"member": member}), responses, n=9)
    >>> shams["member"].sum("feature").values[0].tolist(), shams.sizes["sham"]
    ([0, 5, 0], 9)
    """
    member = roi["member"].transpose(LAYER, FEATURE).astype(bool)
    check_responses(responses)
    _check_roi(roi, responses, n)
    layers = member_layers(member)
    pools = [_pool(roi, responses, layer, n) for layer in layers]
    sets, n_outside = _distinct_draws(pools, n, seed)
    shams = np.zeros((len(sets), *member.shape), dtype=bool)
    rows = [member.get_index(LAYER).get_loc(layer) for layer in layers]
    for sham, chosen in enumerate(sets):
        for row, units in zip(rows, chosen, strict=True):
            shams[sham, row, units] = True
    attrs = {"n_requested": n, "n_shams": len(sets), "caliper": CALIPER, "seed": seed}
    origin = {name: roi.attrs[name] for name in ("site", "basis") if name in roi.attrs}
    return xr.Dataset(
        {
            "member": (("sham", LAYER, FEATURE), shams, {"long_name": "member of the sham", "units": "1"}),
            "n_outside": ("sham", n_outside, {"long_name": "units beyond the caliper", "units": "1"}),
        },
        coords={"sham": np.arange(len(sets)), LAYER: member[LAYER].values, FEATURE: member[FEATURE].values},
        attrs=origin | attrs | with_step(responses, "matched_roi", n=n, seed=seed),
    )


def _check_roi(roi: xr.Dataset, responses: xr.DataArray, n: int) -> None:
    if n < 1:
        raise DesignError(f"{n} shams were asked for; a perturbation needs at least one beside it.")
    if not bool(roi["member"].any()):
        raise DesignError("the ROI has no member, so that nothing can be matched; localize more units.")
    sites = roi.attrs.get("site"), responses.attrs.get("site")
    if None not in sites and sites[0] != sites[1]:
        raise DesignError(f"the ROI is at {sites[0]!r}, the responses at {sites[1]!r}; match at one site.")
    check_layers(member_layers(roi["member"]), responses, "the responses to match on")
    if not np.array_equal(roi[FEATURE].values, responses[FEATURE].values):
        raise DesignError(
            f"the ROI has {roi.sizes[FEATURE]} features, the responses have {responses.sizes[FEATURE]} or "
            "others; match on responses of the same features."
        )


def _pool(roi: xr.Dataset, responses: xr.DataArray, layer: int, n: int) -> Neighbours:
    member = roi["member"].sel({LAYER: layer}).values.astype(bool)
    targets = np.flatnonzero(member)
    allowed = ~member
    if "stat" in roi:
        allowed &= ~_most_selective(roi["stat"].sel({LAYER: layer}).values)
    values = responses.transpose(*RESPONSE_DIMS).sel({LAYER: layer}).values
    # k targets that draw from q candidates each make about q·k sets that differ in one unit, and more beyond
    at_least = max(_FEWEST_NEIGHBOURS, -(-n // len(targets)))
    return neighbours(targets, magnitude_measures(values), allowed, at_least=at_least)


def _most_selective(stat: np.ndarray) -> np.ndarray:
    size = np.abs(np.where(np.isfinite(stat), stat, 0.0))
    n_excluded = int(np.ceil(_SELECTIVE * np.isfinite(stat).sum()))
    chosen = np.zeros(len(size), dtype=bool)
    chosen[np.argsort(-size, kind="stable")[:n_excluded]] = True
    return chosen


def _distinct_draws(
    pools: list[Neighbours], n: int, seed: int
) -> tuple[list[tuple[np.ndarray, ...]], np.ndarray]:
    """Up to n draws that differ as sets: equal shams would count one comparison twice."""
    rng = np.random.default_rng(seed)
    sets: dict[tuple[tuple[int, ...], ...], tuple[np.ndarray, ...]] = {}
    n_outside: list[int] = []
    for _ in range(_TRIES_PER_SHAM * n):
        drawn = [draw_match(pool, rng) for pool in pools]
        key = tuple(tuple(sorted(units.tolist())) for units, _ in drawn)
        if key not in sets:
            sets[key] = tuple(units for units, _ in drawn)
            n_outside.append(sum(outside for _, outside in drawn))
        if len(sets) == n:
            break
    return list(sets.values()), np.array(n_outside, dtype=np.int64)


def random_directions(direction: Direction, n: int, *, seed: int) -> list[Direction]:
    """Directions drawn evenly from the sphere, at the site of ``direction`` and with its doses.

    Examples
    --------
    >>> direction = Direction("resid_post", 0, np.array([1.0, 0.0]), reference=2.0, dose_unit="norm")
    >>> [float(np.linalg.norm(other.vector).round(9)) for other in random_directions(direction, 2, seed=0)]
    [1.0, 1.0]
    """
    drawn = np.random.default_rng(seed).standard_normal((n, len(direction.vector)))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return [replace(direction, vector=vector, seen=()) for vector in drawn]
