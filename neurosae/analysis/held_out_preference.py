"""Selectivity of features on units that did not choose their preferred class.

The best of several classes looks selective in noise: class selectivity of absolute normal values over four
classes of ten is 0.15. Choosing on one half and measuring on the other brings it to zero.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import (
    ClassDesign,
    check_class_counts,
    class_design,
    map_coords,
    map_variables,
    origin,
)
from neurosae.analysis.selectivity import check_sign, varying_chunks
from neurosae.arrays.correction import adjust
from neurosae.arrays.held_out_selectivity import (
    HELD_OUT_INDICES,
    held_out_auroc,
    held_out_index,
    split_halves,
    votes,
)
from neurosae.arrays.permutation import Relabelings, max_statistic_p, orders, p_value
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.spelling import nearest
from neurosae.schema.units import unit_keys, with_seen

DESCRIPTIONS = {
    "selectivity": ("held-out selectivity", "1"),
    "preferred": ("class that most halves prefer", "1"),
    "agreement": ("share of halves that prefer this class", "1"),
    "auroc": ("held-out AUROC of the preferred class against the rest", "1"),
    "p_unc": ("p, one-sided, uncorrected", "1"),
    "p_fwe": ("p, one-sided, corrected by the maximum over valid features", "1"),
    "q_fdr": ("q, false discovery rate over valid features", "1"),
    "null_mean": ("mean held-out selectivity under permuted labels", "1"),
    "valid": ("whether the response varies over units", "1"),
}
"""Long name and units of each map of `cross_selectivity`; those of the index replace the first."""


def cross_selectivity(
    responses: xr.DataArray,
    by: str,
    *,
    index: str = "morcos",
    unit: str = "auto",
    n_splits: int = 50,
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """How selective each feature is on units that did not choose its preferred class.

    Units are split into halves, evenly for each class. One half chooses the class c of the largest mean; the
    other gives the index, with means m: morcos = (m_c - m_rest) / (|m_c| + |m_rest|), maxshare = m_c / Σ|m|,
    normalised_maxshare = (K maxshare - 1) / (K - 1), difference = m_c - m_rest in SD over units (for signed
    responses); m_rest is the mean of the other class means. Mean over both directions and all splits. A half
    that is silent, or has no largest class, counts as the floor. p is one-sided: labels and halves are
    permuted over units (within units that hold several classes) and the whole procedure is repeated.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; may be lazy
    by : stimulus column that holds the classes; at least two units in each
    index : one of `neurosae.arrays.held_out_selectivity.HELD_OUT_INDICES`
    unit : column that defines the unit of inference; its rows of one class are averaged
    n_splits : number of random half splits
    n_permutations : number of relabelings
    seed : root of the random numbers

    Returns
    -------
    Dataset (layer, feature)
        selectivity, near its attribute ``floor`` without selectivity; preferred (label) and agreement, the
        share of halves that prefer it; auroc, held out too; p_unc (not corrected); p_fwe, by the maximum over
        all valid features of all layers of (index - mean) / SD under permutation, so that rare features,
        whose index varies widely, do not rule the maximum; q_fdr (Benjamini-Hochberg), null_mean, valid. NaN
        and ``""`` where a feature does not vary over units.

    Raises
    ------
    DesignError
        If a column or index is unknown, a label is empty, a class has fewer than two units, responses are not
        finite, or class means are negative under a ratio of means.

    Source
    ------
    Morcos et al. 2018, ICLR; Kriegeskorte et al. 2009, Nat Neurosci 12:535 (independent selection).

    Examples
    --------
    >>> values = np.array([[4.0, 1.0], [5.0, 2.0], [6.0, 1.0], [0.0, 2.0], [1.0, 1.0], [0.0, 2.0]])
    >>> responses = xr.DataArray(
    ...     values[:, None], dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": list("abcdef"), "condition": ("stimulus", ["hot"] * 3 + ["cold"] * 3)})
    >>> found = cross_selectivity(responses, "condition", n_splits=10, n_permutations=99)
    >>> found["selectivity"].values.round(2), found["preferred"].values
    (array([[ 0.88, -0.02]]), array([['hot', 'cold']], dtype='<U4'))
    """
    _check_index(index)
    design = class_design(responses, by, unit)
    check_class_counts(design, by)
    if HELD_OUT_INDICES[index].is_ratio:
        check_sign(responses, design, index, "index='difference'")
    # Split and permutation differ in what they draw, therefore each has its own seed.
    of_splits, of_orders = (int(state) for state in np.random.SeedSequence(seed).generate_state(2))
    halves = split_halves(design.labels, design.units, n_splits, seed=of_splits)
    moves = orders(len(design.labels), n_permutations, seed=of_orders, strata=design.strata)
    maps = _maps(responses, design, halves, moves, index)
    settings = {"by": by, "index": index, "unit": design.column, "n_splits": n_splits}
    settings |= {"n_permutations": len(moves), "scheme": moves.scheme, "seed": seed}
    kind = HELD_OUT_INDICES[index]
    named = {
        "selectivity": (kind.long_name, kind.units),
        "null_mean": (DESCRIPTIONS["null_mean"][0], kind.units),
    }
    described = DESCRIPTIONS | named
    result = xr.Dataset(
        map_variables({name: maps[name] for name in described}, described),
        coords=map_coords(responses),
        attrs={
            **settings,
            "floor": kind.floor(len(design.names)),
            "alternative": "greater",
            "n_units": design.n_units,
            "n_classes": len(design.names),
            "family_size": int(maps["valid"].sum()),
            **origin(responses),
            **with_step(responses, "cross_selectivity", **settings),
        },
    )
    return with_seen(result, unit_keys(responses, unit))


def _check_index(index: str) -> None:
    if index not in HELD_OUT_INDICES:
        raise DesignError(
            f"index {index!r} has no held-out form{nearest(index, HELD_OUT_INDICES)} "
            f"Choose one of {list(HELD_OUT_INDICES)}."
        )


def _maps(
    responses: xr.DataArray, design: ClassDesign, halves: np.ndarray, moves: Relabelings, index: str
) -> dict[str, np.ndarray]:
    shape = (responses.sizes[LAYER], responses.sizes[FEATURE])
    names = ("selectivity", "agreement", "auroc", "p_unc", "null_mean")
    maps = {name: np.full(shape, np.nan) for name in names}
    maps["preferred"] = np.full(shape, "", dtype=design.names.dtype)
    score, null_max = np.full(shape, np.nan), np.full(len(moves), -np.inf)
    identity = np.arange(len(design.labels))[None]
    for place, values in varying_chunks(responses, design, len(moves)):
        scaled = values if HELD_OUT_INDICES[index].is_ratio else values / values.std(axis=0, ddof=1)
        found = held_out_index(scaled, design.labels, halves, index, orders=identity)[0]
        null = held_out_index(scaled, design.labels, halves, index, orders=moves.labels)
        chosen = votes(values, design.labels, halves)
        maps["selectivity"][place] = found
        maps["preferred"][place] = design.names[chosen.argmax(axis=0)]
        maps["agreement"][place] = chosen.max(axis=0)
        maps["auroc"][place] = held_out_auroc(values, design.labels, halves)
        maps["p_unc"][place] = p_value(found, null, exact=moves.exact, alternative="greater")
        maps["null_mean"][place] = null.mean(axis=0)
        score[place], drawn = _standardised(found, null, exact=moves.exact)
        null_max = np.maximum(null_max, drawn.max(axis=1))
    family_wise = max_statistic_p(score.ravel(), null_max, exact=moves.exact)
    return maps | {
        "p_fwe": family_wise.reshape(shape),
        "q_fdr": adjust(maps["p_unc"].ravel(), "fdr_bh").reshape(shape),
        "valid": np.isfinite(maps["selectivity"]),
    }


def _standardised(found: np.ndarray, null: np.ndarray, *, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """Observed (F,) and null (P, F) index in SD of all relabelings, the observed one included."""
    everything = null if exact else np.concatenate([found[None], null])
    mean, sd = everything.mean(axis=0), everything.std(axis=0)
    sd = np.where(sd > 0, sd, np.inf)
    return (found - mean) / sd, (null - mean) / sd
