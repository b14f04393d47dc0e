"""How many items a decoder needs: how often smaller parts of a pilot would have sufficed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.analysis.decoding import decode
from neurosae.analysis.decoding_design import N_FOLDS, group_column
from neurosae.analysis.multiverse_curve import exchanged_labels
from neurosae.analysis.multiverse_questions import with_labels
from neurosae.analysis.power_simulation import Simulation, power_curves
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, stimulus_table

N_PERMUTATIONS = 39

_NAMES = {"power": "parts of the pilot that are decoded", "alpha_kept": "parts decoded with exchanged labels"}


def power_decoder(
    pilot: xr.DataArray,
    by: str,
    *,
    n_units: Sequence[int] = (),
    groups: str = "item",
    n_simulations: int = 50,
    alpha: float = 0.05,
    seed: int = 0,
) -> xr.Dataset:
    """How often a decoder at half depth would exceed chance with fewer groups than the pilot has.

    Groups are drawn without replacement and decoded as `neurosae.analysis.decoding.decode` does, with 39
    permutations. Numbers beyond the pilot are refused: with groups drawn twice training and test rows would
    be the same, and the distance of the pilot's class means is mostly noise where features outnumber items.

    Parameters
    ----------
    pilot : DataArray (stimulus, layer, feature), finite
    by : stimulus column that holds the classes
    n_units : groups of each class, at least 5 and at most the pilot's; by default 4 numbers up to these
    groups : column whose stimuli stay together
    n_simulations : parts drawn for each number
    alpha : level, one-sided
    seed : root of the random numbers

    Returns
    -------
    Dataset (n_units)
        ``power`` and ``alpha_kept`` (labels exchanged) with ``_lo`` and ``_hi`` (95 % interval, given the
        number of parts); ``auroc``, its mean. Scalar ``n_needed``, as of
        `neurosae.analysis.power.power_contrast`. The largest parts overlap, so that their power is uncertain
        beyond its interval.

    Raises
    ------
    DesignError
        If a number is out of range, groups hold several classes, or the pilot cannot be decoded.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> pilot = planted_responses(n_items=20, effect=8.0)
    >>> power_decoder(pilot, "condition", n_units=[8], n_simulations=10)["power"].values
    array([0.7])
    """
    check_response_dims(pilot)
    column = group_column(pilot, groups)
    classes = _groups_of_classes(pilot, by, column)
    sizes = _sizes(classes, n_units)
    wanted = Simulation(tuple(sizes), alpha, n_simulations, seed)
    if not 1 / (N_PERMUTATIONS + 1) <= alpha < 1:
        raise DesignError(f"alpha is {alpha}; with {N_PERMUTATIONS} permutations it must lie in [.025, 1).")
    middle = pilot.isel({LAYER: [(pilot.sizes[LAYER] - 1) // 2]}).compute()
    children = np.random.SeedSequence(seed).spawn(len(sizes))
    found = [
        _parts(middle, by, column, classes, n, wanted, np.random.default_rng(child))
        for n, child in zip(sizes, children, strict=True)
    ]
    p, null, auroc = (np.array([each[index] for each in found]) for index in range(3))
    counts = {"power": (p <= alpha).sum(axis=1), "alpha_kept": (null <= alpha).sum(axis=1)}
    curves = power_curves(counts, _NAMES, wanted, f"groups ({column}) per class")
    curves["auroc"] = ("n_units", auroc.mean(axis=1), {"long_name": "mean held-out AUROC", "units": "1"})
    settings = {"by": by, "groups": column, "alpha": alpha, "n_simulations": n_simulations, "seed": seed}
    settings["n_permutations"] = N_PERMUTATIONS
    return curves.assign_attrs(settings, **with_step(pilot, "power_decoder", **settings))


def _groups_of_classes(pilot: xr.DataArray, by: str, column: str) -> dict[str, np.ndarray]:
    table = stimulus_table(pilot)
    if by not in table:
        raise DesignError(f"no column {by!r} in the stimuli; columns: {list(table.columns)}.")
    if table.groupby(column)[by].nunique().max() > 1:
        raise DesignError(
            f"groups ({column}) hold several classes of {by!r}; parts of a pilot are drawn class by class."
        )
    return {str(name): part[column].unique() for name, part in table.groupby(by)}


def _sizes(classes: dict[str, np.ndarray], wanted: Sequence[int]) -> list[int]:
    largest = min(len(names) for names in classes.values())
    sizes = sorted(set(wanted or np.linspace(N_FOLDS, largest, 4).round().astype(int).tolist()))
    if sizes[0] < N_FOLDS or sizes[-1] > largest:
        raise DesignError(
            f"n_units is {list(wanted)}; the pilot allows {N_FOLDS} to {largest} groups a class."
        )
    return sizes


def _parts(
    pilot: xr.DataArray,
    by: str,
    column: str,
    classes: dict[str, np.ndarray],
    n: int,
    wanted: Simulation,
    rng: np.random.Generator,
) -> tuple[list[float], list[float], list[float]]:
    """P of parts of the pilot, p of the same parts with exchanged labels, and AUROCs."""
    p: list[float] = []
    null: list[float] = []
    auroc: list[float] = []
    for _ in range(wanted.n_simulations):
        drawn = np.concatenate([rng.permutation(names)[:n] for names in classes.values()])
        part = pilot.isel(stimulus=np.isin(pilot[column].values, drawn))
        seed = int(rng.integers(2**32))
        [labels] = _exchanged(part, by, seed)
        for data, kept in ((part, p), (with_labels(part, labels), null)):
            found = decode(data, by, groups=column, n_permutations=N_PERMUTATIONS, seed=seed)
            kept.append(found["p"].item())
            if data is part:
                auroc.append(found["auroc"].item())
    return p, null, auroc


def _exchanged(part: xr.DataArray, by: str, seed: int) -> list[pd.DataFrame]:
    return exchanged_labels(stimulus_table(part), [by], 1, seed=seed)[:1]
