"""How a feature's response depends on a parameter of the stimuli: a preferred level, a threshold, or neither.

A curve always fits better than a constant on its own data. Models are compared on held-out units, and a
preferred level is reported only where the bell predicts them better than every other model, the constant
included.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import ClassDesign, class_design, map_coords, map_variables, origin
from neurosae.analysis.selectivity import varying_chunks
from neurosae.arrays.correction import adjust
from neurosae.arrays.permutation import Relabelings, orders, p_value
from neurosae.arrays.tuning_models import FWHM, MODELS, SHAPES, Fit, fit_curve, grid_of, held_out_r2
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.units import unit_keys, with_seen

N_FOLDS = 5
_FEWEST_LEVELS, _FEWEST_UNITS = 4, 10
_FINE = (97, 33)
"""Centres and widths of the grid of the reported curves; the grid of the comparison is coarser."""

_BY_MODEL = ("r2", "offset", "amplitude", "centre", "width")
_BY_FEATURE = ("model_best", "preferred_level", "fwhm", "midpoint", "gain", "p_unc", "q_fdr", "valid")
_BY_LEVEL = ("mean", "se")


def parametric_tuning(
    responses: xr.DataArray, by: str, *, unit: str = "auto", n_permutations: int = 199, seed: int = 0
) -> xr.Dataset:
    """How each feature's response depends on a number that describes the stimuli: length, valence, position.

    Models: const; linear; gaussian = offset + amplitude exp(-(x - centre)² / (2 width²)), amplitude above 0;
    logistic = offset + amplitude / (1 + exp(-(x - centre) / width)). They are compared by R² = 1 - SSE / SST
    of held-out units, five folds that keep units whole. p is one-sided: levels and folds are permuted over
    units (within units that hold several levels) and the gain of the best model over the constant is computed
    anew.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; may be lazy
    by : stimulus column of numbers with at least four levels; take logarithms first where ratios matter
    unit : column that defines the unit of inference; its rows of one level are averaged; at least ten units
    n_permutations : number of relabelings
    seed : root of the random numbers

    Returns
    -------
    Dataset
        (model, layer, feature): r2, held out; offset, amplitude, centre and width of the curves fitted to all
        units. (layer, feature): model_best, the model of the largest r2; preferred_level and fwhm, the centre
        and full width at half maximum where the gaussian is best, else NaN; midpoint, the centre where the
        logistic is best, else NaN; gain, the largest r2 less that of the constant; p_unc (not corrected),
        q_fdr (Benjamini-Hochberg over valid features), valid. (level, layer, feature): mean and se over
        units; n (level). NaN and ``""`` where a feature does not vary.

    Raises
    ------
    DesignError
        If the column is unknown or holds no numbers, has fewer than four levels or ten units, or responses
        are not finite.

    Source
    ------
    Butts & Goldman 2006, PLoS Biol 4:e92 (tuning curves); Swindale 1998, Biol Cybern 78:45 (fits).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> length = np.tile(np.arange(1, 9), 6)
    >>> values = 0.1 * rng.normal(size=(48, 2))
    >>> values[:, 0] += np.exp(-((length - 5) ** 2) / 4)
    >>> responses = xr.DataArray(values[:, None], dims=("stimulus", "layer", "feature"),
    ...                          coords={"stimulus": np.arange(48), "length": ("stimulus", length)})
    >>> found = parametric_tuning(responses, "length", n_permutations=19)
    >>> found["model_best"].values.ravel(), found["preferred_level"].values.ravel().round(1)
    (array(['gaussian', 'const'], dtype='<U8'), array([4.9, nan]))
    """
    design, levels = _level_design(responses, by, unit)
    of_folds, of_orders = (int(state) for state in np.random.SeedSequence(seed).generate_state(2))
    folds = _folds(design, of_folds)
    moves = orders(len(design.labels), n_permutations, seed=of_orders, strata=design.strata)
    maps = _maps(responses, design, levels, folds, moves)
    settings = {"by": by, "unit": design.column, "n_folds": N_FOLDS}
    settings |= {"n_permutations": len(moves), "scheme": moves.scheme, "seed": seed}
    described = _described(by, str(responses.attrs.get("units", "a.u.")))
    result = xr.Dataset(
        map_variables({name: maps[name] for name in _BY_MODEL}, described, ("model", LAYER, FEATURE))
        | map_variables({name: maps[name] for name in _BY_FEATURE}, described)
        | map_variables({name: maps[name] for name in _BY_LEVEL}, described, ("level", LAYER, FEATURE))
        | map_variables({"n": design.counts}, described, ("level",)),
        coords=map_coords(responses) | {"model": np.array(MODELS), "level": levels},
        attrs={
            **settings,
            "alternative": "greater",
            "n_units": design.n_units,
            "family_size": int(maps["valid"].sum()),
            **origin(responses),
            **with_step(responses, "parametric_tuning", **settings),
        },
    )
    return with_seen(result, unit_keys(responses, unit))


def _level_design(responses: xr.DataArray, by: str, unit: str) -> tuple[ClassDesign, np.ndarray]:
    """Rows with the number of their level, levels ascending."""
    design = class_design(responses, by, unit)
    try:
        values = design.names.astype(float)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        raise DesignError(
            f"column {by!r} does not hold numbers only; tuning to classes is measured by tuning."
        )
    levels, number = np.unique(values, return_inverse=True)
    if len(levels) < _FEWEST_LEVELS or design.n_units < _FEWEST_UNITS:
        raise DesignError(
            f"column {by!r} has {len(levels)} levels over {design.n_units} units; curves need at least "
            f"{_FEWEST_LEVELS} levels and {_FEWEST_UNITS} units. With fewer levels compare them by contrasts."
        )
    return ClassDesign(
        levels.astype(str), number[design.labels], design.rows, design.units, design.column
    ), levels


def _folds(design: ClassDesign, seed: int) -> np.ndarray:
    """Fold of each row: units whole, levels spread evenly."""
    names, unit = np.unique(design.units, return_inverse=True)
    first_level = np.full(len(names), len(design.names))
    np.minimum.at(first_level, unit, design.labels)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    ordered = shuffled[np.argsort(first_level[shuffled], kind="stable")]
    fold = np.empty(len(names), dtype=int)
    fold[ordered] = np.arange(len(names)) % N_FOLDS
    return fold[unit]


def _maps(
    responses: xr.DataArray, design: ClassDesign, levels: np.ndarray, folds: np.ndarray, moves: Relabelings
) -> dict[str, np.ndarray]:
    shape = (responses.sizes[LAYER], responses.sizes[FEATURE])
    maps = {name: np.full((len(MODELS), *shape), np.nan) for name in _BY_MODEL}
    maps |= {name: np.full((len(levels), *shape), np.nan) for name in _BY_LEVEL}
    maps |= {
        name: np.full(shape, np.nan) for name in ("preferred_level", "fwhm", "midpoint", "gain", "p_unc")
    }
    maps["model_best"] = np.full(shape, "", dtype="<U8")
    grids = {name: grid_of(name, levels) for name in SHAPES}
    n_candidates = sum(len(grid.centre) for grid in grids.values())
    for (layer, features), values in varying_chunks(responses, design, n_candidates):
        r2 = held_out_r2(values, design.labels, folds, grids)
        null = np.stack([_gain(held_out_r2(values, design.labels[o], folds[o], grids)) for o in moves.labels])
        mean, se, fits = _fitted(values, design, levels)
        best = np.array(MODELS)[r2.argmax(axis=0)]
        found = {"r2": r2, "mean": mean, "se": se} | fits | {"model_best": best, "gain": _gain(r2)}
        found["p_unc"] = p_value(_gain(r2), null, exact=moves.exact, alternative="greater")
        found |= _reported(best, fits)
        for name, value in found.items():
            maps[name][..., layer, features] = value
    q = adjust(maps["p_unc"].ravel(), "fdr_bh").reshape(shape)
    return maps | {"q_fdr": q, "valid": np.isfinite(maps["gain"])}


def _gain(r2: np.ndarray) -> np.ndarray:
    return r2[1:].max(axis=0) - r2[0]


def _fitted(
    values: np.ndarray, design: ClassDesign, levels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Mean and standard error at each level, and the parameters of every model, (M, F) each."""
    groups = [values[design.labels == k] for k in range(len(levels))]
    mean = np.stack([group.mean(axis=0) for group in groups])
    se = np.stack(
        [
            group.std(axis=0, ddof=1) / np.sqrt(len(group))
            if len(group) > 1
            else np.full(values.shape[1], np.nan)
            for group in groups
        ]
    )
    absent = np.full(values.shape[1], np.nan)
    fits = [Fit(values.mean(axis=0), absent, absent, absent)]
    for name in SHAPES:
        grid = grid_of(name, levels, *_FINE)
        fits.append(fit_curve(name, grid, mean * design.counts[:, None], design.counts.astype(float)))
    return mean, se, {field: np.stack([getattr(fit, field) for fit in fits]) for field in Fit._fields}


def _reported(best: np.ndarray, fits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What only makes sense for the best model: a preferred level of a bell, a midpoint of a step."""
    bell, step = MODELS.index("gaussian"), MODELS.index("logistic")
    is_bell, is_step = best == "gaussian", best == "logistic"
    return {
        "preferred_level": np.where(is_bell, fits["centre"][bell], np.nan),
        "fwhm": np.where(is_bell, FWHM * fits["width"][bell], np.nan),
        "midpoint": np.where(is_step, fits["centre"][step], np.nan),
    }


def _described(by: str, units: str) -> dict[str, tuple[str, str]]:
    return {
        "r2": ("held-out variance explained", "1"),
        "offset": ("offset of the curve", units),
        "amplitude": ("amplitude of the curve", units),
        "centre": (f"centre of the curve, in {by}", "1"),
        "width": (f"width of the curve, in {by}", "1"),
        "model_best": ("model of the largest held-out variance explained", "1"),
        "preferred_level": (f"preferred {by}", "1"),
        "fwhm": (f"full width at half maximum, in {by}", "1"),
        "midpoint": (f"{by} at half of the step", "1"),
        "gain": ("held-out variance explained beyond the constant", "1"),
        "p_unc": ("p, one-sided, uncorrected", "1"),
        "q_fdr": ("q, false discovery rate over valid features", "1"),
        "valid": ("whether the response varies over units", "1"),
        "mean": ("mean response", units),
        "se": ("standard error over units", units),
        "n": ("rows at the level", "1"),
    }
