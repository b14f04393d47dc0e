"""Which features are active for the same stimuli, more than their base rates explain.

Counted over units of inference, not tokens: neighbouring tokens share context, and a pair would seem to go
together because it goes with the same few texts. Two features that are often active meet often by chance,
therefore the measures are relative to that.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import xarray as xr

from neurosae.analysis.averaging import group_means, unit_rows
from neurosae.analysis.classes import check_label, map_variables, origin
from neurosae.arrays.pair_counts import (
    ASSOCIATIONS,
    Pairs,
    adjusted_kinds,
    coactive_pairs,
    conditional,
    expected,
    family_size,
    fisher_p,
    lift,
    odds_ratio,
    phi,
    strongest_pairs,
    traded,
)
from neurosae.arrays.permutation import max_statistic_p, p_value
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, check_responses, stimulus_table
from neurosae.schema.spelling import nearest
from neurosae.schema.units import unit_column

NULLS = ("fisher", "fixed_totals")

DESCRIPTIONS = {
    "n_first": ("units in which the first feature is active", "1"),
    "n_second": ("units in which the second feature is active", "1"),
    "n_both": ("units in which both are active", "1"),
    "expected": ("units in which both would be active under the null", "1"),
    "phi": ("correlation of activity, phi", "1"),
    "lift": ("joint activity over that of independent features", "1"),
    "odds_ratio": ("odds ratio, 0.5 added to each cell", "1"),
    "conditional": ("share of the first feature's units in which the second is active", "1"),
    "conditional_2": ("share of the second feature's units in which the first is active", "1"),
    "p_unc": ("p, one-sided, uncorrected", "1"),
    "p_adjusted": ("p, one-sided, corrected over all pairs of the family", "1"),
}
"""Long name and units of each variable of `coactivation`."""

_FEATURES = 2048


def coactivation(
    responses: xr.DataArray,
    *,
    layer: int,
    feature: int | None = None,
    measure: str = "phi",
    n: int = 100,
    null: str = "fisher",
    unit: str = "auto",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """The pairs of features that are active in the same units more than their base rates explain.

    With a and b units of each feature, x of both and N in all: phi = (N x - a b) / √(a b (N - a)(N - b));
    lift = N x / (a b); odds_ratio with 0.5 added to each cell; conditional = x / a. The family is every pair
    with at least one unit expected, a b / N >= 1.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite, not negative; may be lazy. A feature is active
        in a unit whose mean response is above 0
    layer : label of the layer
    feature : label of a feature whose partners are wanted; by default all pairs
    measure : one of `neurosae.arrays.pair_counts.ASSOCIATIONS`, by which pairs are ranked
    n : number of pairs, fewer if there are fewer
    null : ``"fisher"``: features independent over exchangeable units, exact p, Benjamini-Hochberg over the
        family. ``"fixed_totals"``: units differ in how many features they drive; activity is shuffled so that
        every unit and every feature keeps its total, p corrected by the maximum of the measure over the
        family
    unit : column that defines the unit of inference; its rows are averaged
    n_permutations : shuffles under ``"fixed_totals"``
    seed : root of the random numbers

    Returns
    -------
    Dataset (pair), strongest first
        coordinates feature and feature_2; n_first, n_second, n_both, expected (under the null), phi, lift,
        odds_ratio, conditional P(second | first), conditional_2 P(first | second); p_unc (not corrected) and
        p_adjusted, one-sided. Attributes ``family_size``, ``n_units``.

    Raises
    ------
    DesignError
        If the layer or feature is not there, the measure or null is unknown, responses are negative or not
        finite, ``n`` is below 1, or no pair is in the family.

    Source
    ------
    Fisher 1922, J R Stat Soc 85:87; Strona et al. 2014, Nat Commun 5:4114 (shuffling with fixed totals);
    Gotelli 2000, Ecology 81:2606 (why totals matter).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = (rng.random((40, 1, 30)) < 0.3).astype(float)
    >>> values[:, 0, 7] = values[:, 0, 3]
    >>> responses = xr.DataArray(values, dims=("stimulus", "layer", "feature"),
    ...                          coords={"stimulus": np.arange(40), "layer": [6], "feature": np.arange(30)})
    >>> best = coactivation(responses, layer=6, n=1)
    >>> best["feature"].item(), best["feature_2"].item(), best["phi"].item(), best["p_adjusted"].item() < 1e-3
    (3, 7, 1.0, True)
    """
    _check_choices(responses, measure, null, n)
    check_label(responses, LAYER, layer)
    if feature is not None:
        check_label(responses, FEATURE, feature)
    labels = responses[FEATURE].values
    place = None if feature is None else int(np.flatnonzero(labels == feature)[0])
    active = _activity(responses.sel({LAYER: [layer]}), unit)
    pairs, kinds = strongest_pairs(active, measure, n, place)
    _check_family(pairs)
    family = family_size(pairs.count, pairs.n, place)
    maps = _measures(pairs)
    if null == "fisher":
        maps |= _fisher(pairs, kinds, family)
    else:
        maps |= _fixed_totals(active, pairs, (measure, place), n_permutations, seed)
    settings: dict[str, str | int] = {"layer": int(layer), "measure": measure, "null": null}
    settings |= {"unit": unit_column(stimulus_table(responses), unit), "n": len(pairs.both)}
    settings |= {} if feature is None else {"of_feature": int(feature)}
    settings |= {} if null == "fisher" else {"n_permutations": n_permutations, "seed": seed}
    return xr.Dataset(
        map_variables({name: maps[name] for name in DESCRIPTIONS}, DESCRIPTIONS, ("pair",)),
        coords={FEATURE: ("pair", labels[pairs.first]), "feature_2": ("pair", labels[pairs.second])},
        attrs={
            **settings,
            "n_units": pairs.n,
            "family_size": family,
            "alternative": "greater",
            **origin(responses),
            **with_step(responses, "coactivation", **settings),
        },
    )


def _check_choices(responses: xr.DataArray, measure: str, null: str, n: int) -> None:
    check_response_dims(responses)
    choices: tuple[tuple[str, str, Sequence[str]], ...] = (
        ("measure", measure, list(ASSOCIATIONS)),
        ("null", null, NULLS),
    )
    for what, given, known in choices:
        if given not in known:
            raise DesignError(
                f"{what} {given!r} is unknown{nearest(given, known)} Choose one of {list(known)}."
            )
    if n < 1:
        raise DesignError(f"n is {n}; ask for at least one pair.")


def _check_family(pairs: Pairs) -> None:
    if not len(pairs.both):
        raise DesignError(
            f"no pair of features is expected in at least one of {pairs.n} units and active together in one. "
            "Add stimuli, or pool over more tokens."
        )


def _activity(responses: xr.DataArray, unit: str) -> sp.csc_array:
    """Which features are active in which units, (n, F), read some features at a time."""
    rows = unit_rows(stimulus_table(responses), unit=unit, by=())[0]
    blocks = []
    for start in range(0, responses.sizes[FEATURE], _FEATURES):
        part = responses.isel({FEATURE: slice(start, start + _FEATURES)}).compute()
        check_responses(part)
        if (part.values < 0).any():
            raise DesignError(
                "co-activation is of features that are either silent or active, and responses are negative. "
                "Take the codes of a dictionary, or responses.clip(min=0)."
            )
        blocks.append(sp.csc_array(group_means(part.values[:, 0], rows) > 0))
    return sp.csc_array(sp.hstack(blocks, format="csc"))


def _measures(pairs: Pairs) -> dict[str, np.ndarray]:
    turned = replace(pairs, first=pairs.second, second=pairs.first)
    return {
        "n_first": pairs.count[pairs.first],
        "n_second": pairs.count[pairs.second],
        "n_both": pairs.both,
        "phi": phi(pairs),
        "lift": lift(pairs),
        "odds_ratio": odds_ratio(pairs),
        "conditional": conditional(pairs),
        "conditional_2": conditional(turned),
    }


def _fisher(pairs: Pairs, kinds: np.ndarray, family: int) -> dict[str, np.ndarray]:
    """Exact p of each pair, and q over the family: pairs of equal counts are one kind with one p."""
    low, high, both, number = kinds
    p = fisher_p(low, high, both, pairs.n)
    q = adjusted_kinds(p, number, family)
    base = pairs.n + 1
    a, b = pairs.count[pairs.first], pairs.count[pairs.second]
    key = (low * base + high) * base + both
    place = np.searchsorted(key, (np.minimum(a, b) * base + np.maximum(a, b)) * base + pairs.both)
    return {"expected": expected(pairs), "p_unc": p[place], "p_adjusted": q[place]}


def _fixed_totals(
    active: sp.csc_array, pairs: Pairs, chosen: tuple[str, int | None], n_permutations: int, seed: int
) -> dict[str, np.ndarray]:
    """P of each pair when units and features keep their totals, and its correction over the family."""
    measure, feature = chosen
    rng = np.random.default_rng(seed)
    drawn = active.toarray()
    both = np.empty((n_permutations, len(pairs.both)), dtype=np.int64)
    null_max = np.full(n_permutations, -np.inf)
    for row in range(n_permutations):
        drawn = traded(drawn, rng)
        both[row] = (drawn[:, pairs.first] & drawn[:, pairs.second]).sum(axis=0)
        for block in coactive_pairs(sp.csc_array(drawn), feature):
            null_max[row] = max(null_max[row], ASSOCIATIONS[measure](block).max(initial=-np.inf))
    observed = ASSOCIATIONS[measure](pairs)
    return {
        "expected": (pairs.both + both.sum(axis=0)) / (n_permutations + 1),
        # With totals fixed every measure grows with the number of shared units.
        "p_unc": p_value(pairs.both, both, exact=False, alternative="greater"),
        "p_adjusted": max_statistic_p(observed, null_max, exact=False),
    }
