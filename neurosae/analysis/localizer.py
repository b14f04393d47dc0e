"""Which features form a region of interest, and how that region responds where it was not selected."""

import numpy as np
import xarray as xr

from neurosae.analysis.contrast_design import Design, contrast_design
from neurosae.analysis.contrast_inference import choose_test, scheme_of
from neurosae.analysis.held_out import (
    assign_folds,
    averaged_layers,
    fit_fold,
    fold_weights,
    held_out_effect,
    roi_response,
    split_half,
)
from neurosae.analysis.held_out_null import held_out_p, relabelings_within
from neurosae.analysis.selection import n_of_fraction, selection_rule, top_members
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, stimulus_table
from neurosae.schema.units import SEEN, check_unseen, unit_keys, with_seen

N_PERMUTATIONS = 999
N_SPLITS = 20


def localize(
    cmap: xr.Dataset,
    *,
    fraction: float | None = None,
    n: int | None = None,
    q: float | None = None,
    absolute: bool = False,
    per_layer: bool = False,
) -> xr.Dataset:
    """Choose the features that a contrast map singles out.

    Parameters
    ----------
    cmap : Dataset (layer, feature), result of `neurosae.analysis.contrast.contrast_map`
    fraction : this share of the valid features, those with the largest statistic over all layers
    n : this many features
    q : all features with a corrected p of at most ``q`` and a positive statistic
    absolute : go by the size of the statistic, whatever its sign
    per_layer : take ``fraction`` or ``n`` from each layer that has valid features

    Returns
    -------
    Dataset (layer, feature)
        ``member`` bool and ``stat``. Attributes ``rule`` and ``n_selected``. ``fraction`` and ``n`` take
        exactly that many, ties in the order of layer and feature. Keeps the units the map has seen, so that a
        test on the same units can be refused.

    Raises
    ------
    DesignError
        Unless exactly one of ``fraction``, ``n``, ``q`` is given and can be met.

    Examples
    --------
    >>> stat = (("layer", "feature"), np.array([[1.0, 3.0, -4.0]]))
    >>> cmap = xr.Dataset({"stat": stat, "valid": (("layer", "feature"), np.ones((1, 3), dtype=bool))})
    >>> localize(cmap, n=1)["member"].values
    array([[False,  True, False]])
    >>> localize(cmap, n=1, absolute=True)["member"].values
    array([[False, False,  True]])
    """
    if not {"stat", "valid"} <= set(cmap):
        raise DesignError(f"localize needs a contrast map, not a result with {sorted(map(str, cmap))}.")
    rules = {"fraction": fraction, "n": n, "q": q}
    given = {name: value for name, value in rules.items() if value is not None}
    if len(given) != 1:
        raise DesignError(f"give exactly one of fraction, n and q; got {sorted(given) or 'none'}.")
    score = np.where(cmap["valid"].values, cmap["stat"].values, np.nan)
    score = np.abs(score) if absolute else score
    member = _below(cmap, score, q) if q is not None else _top(score, fraction, n, per_layer)
    [(name, value)] = given.items()
    kept = {
        key: cmap.attrs[key] for key in ("contrast", "test", "unit", "site", "basis") if key in cmap.attrs
    }
    rule = f"{name} = {value}, {'absolute' if absolute else 'positive'}"
    attrs = {**kept, "rule": f"{rule}, per layer" if per_layer else rule}
    attrs["n_selected"] = int(member.sum())
    attrs |= with_step(cmap, "localize", **{name: value}, absolute=absolute, per_layer=per_layer)
    dims = (LAYER, FEATURE)
    roi = xr.Dataset(
        {
            "member": (dims, member, {"long_name": "member of the ROI", "units": "1"}),
            "stat": (dims, cmap["stat"].values, cmap["stat"].attrs),
        },
        coords={name: cmap.coords[name] for name in (LAYER, FEATURE, SEEN) if name in cmap.coords},
        attrs=attrs,
    )
    return roi


def _top(score: np.ndarray, fraction: float | None, n: int | None, per_layer: bool) -> np.ndarray:
    if not per_layer or not np.isfinite(score).any():
        return top_members(score, _wanted(score, fraction, n))
    rows = [
        top_members(row, _wanted(row, fraction, n)) if np.isfinite(row).any() else np.zeros(len(row), bool)
        for row in score
    ]
    return np.stack(rows)


def _wanted(score: np.ndarray, fraction: float | None, n: int | None) -> int:
    n_valid = int(np.isfinite(score).sum())
    if fraction is not None:
        return n_of_fraction(fraction, n_valid)
    if n is None or not 1 <= n <= n_valid:
        raise DesignError(f"n is {n}; the map has {n_valid} valid features, so n must lie in 1 … {n_valid}.")
    return n


def _below(cmap: xr.Dataset, score: np.ndarray, q: float) -> np.ndarray:
    p = cmap["p_adjusted"].values
    if not 0 < q < 1:
        raise DesignError(f"q is {q}; it must lie between 0 and 1.")
    if np.isnan(p).all():
        raise DesignError("the contrast map has no p-values (too few relabelings); use fraction or n.")
    return (np.nan_to_num(p, nan=1.0) <= q) & (np.nan_to_num(score) > 0)


def roi_responses(responses: xr.DataArray, roi: xr.Dataset, *, circular: bool = False) -> xr.DataArray:
    """Mean response of an ROI's members to each stimulus.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature) that holds the ROI's layers and features
    roi : result of `localize`
    circular : True to accept stimuli that chose the ROI; the result is then stamped CIRCULAR

    Returns
    -------
    DataArray (stimulus), in units of the response

    Raises
    ------
    DesignError
        If the stimuli or their units chose the ROI (Kriegeskorte et al. 2009, Nat Neurosci 12:535), the ROI
        is empty, of another site or basis, or has features that ``responses`` lacks.

    Examples
    --------
    >>> responses = xr.DataArray(
    ...     np.arange(6.0).reshape(2, 1, 3), dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": ["a", "b"], "layer": [4], "feature": [0, 1, 2]},
    ... )
    >>> roi = xr.Dataset({"member": (("layer", "feature"), [[True, False, True]])}, coords={"layer": [4]})
    >>> roi_responses(responses, roi).values
    array([1., 4.])
    """
    check_response_dims(responses)
    unit = str(roi.attrs.get("unit", "auto"))
    unit = unit if unit in responses.coords else "auto"
    check_unseen(roi, responses, circular=circular, unit=unit)
    _check_same_space(responses, roi)
    total = np.zeros(responses.sizes[STIMULUS])
    for layer in roi[LAYER].values[roi["member"].any(FEATURE).values]:
        chosen = roi["member"].sel({LAYER: layer}).values
        total += responses.sel({LAYER: layer}).values[:, chosen].sum(axis=1, dtype=np.float64)
    is_circular = circular and SEEN in roi.coords and _overlaps(roi, responses, unit)
    attrs = {"long_name": "mean response of the ROI", "units": str(responses.attrs.get("units", "a.u."))}
    attrs |= {"circular": "CIRCULAR: these stimuli chose the ROI"} if is_circular else {}
    attrs |= with_step(responses, "roi_responses", circular=circular)
    coords = {name: coord for name, coord in responses.coords.items() if coord.dims == (STIMULUS,)}
    return xr.DataArray(
        total / int(roi["member"].sum()), dims=STIMULUS, coords=coords, name="roi_response", attrs=attrs
    )


def _overlaps(roi: xr.Dataset, responses: xr.DataArray, unit: str) -> bool:
    return not set(roi[SEEN].values.tolist()).isdisjoint(unit_keys(responses, unit))


def _check_same_space(responses: xr.DataArray, roi: xr.Dataset) -> None:
    if set(roi["member"].dims) != {LAYER, FEATURE}:
        raise DesignError(
            f"an ROI has dims (layer, feature), got {roi['member'].dims}; take one fold, or localize."
        )
    if not roi["member"].any():
        raise DesignError("the ROI has no member; localize with a larger fraction, n or q.")
    for name in ("site", "basis"):
        here, there = responses.attrs.get(name), roi.attrs.get(name)
        if here is not None and there is not None and here != there:
            raise DesignError(f"the ROI is of {name} {there!r} and the responses of {name} {here!r}.")
    if roi.sizes[FEATURE] != responses.sizes[FEATURE] or not np.isin(roi[LAYER], responses[LAYER]).all():
        raise DesignError(
            f"the ROI has layers {roi[LAYER].values.tolist()} x {roi.sizes[FEATURE]} features, the responses "
            f"{responses[LAYER].values.tolist()} x {responses.sizes[FEATURE]}; record the ROI's layers."
        )


def cross_localize(
    responses: xr.DataArray,
    contrast: str,
    *,
    fraction: float = 0.01,
    rule: str = "signed",
    folds: int = 2,
    test: str = "auto",
    unit: str = "auto",
    seed: int = 0,
) -> xr.Dataset:
    """Measure an ROI where it was not selected: choose features on some units, test them on the others.

    In each fold the training units choose the top ``fraction`` of valid features. The ROI's response of a
    held-out unit is the mean of (y - training mean) / training SD over the members; where features are chosen
    by the size of their effect, those with a negative one in training count with the opposite sign. p counts
    how often the whole procedure, selection included, gives as large a |t| after labels were exchanged within
    folds (or, in paired designs, signs of units flipped).

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    contrast : such as ``"A > B"``
    fraction : share of valid features in the ROI
    rule : ``"signed"``, the largest statistics over all layers; ``"absolute"``, the largest in size;
        ``"per_layer"`` and ``"absolute_per_layer"``, this share of each layer
    folds : number of parts of the units; the widest units (families) stay whole
    test, unit : as in `neurosae.analysis.contrast.contrast_map`
    seed : root of the random numbers

    Returns
    -------
    Dataset
        ``member`` (fold, layer, feature), ``n_selected`` (fold, layer); ``response`` (unit) in SD with
        ``condition`` and ``fold_of`` (unit); scalars ``effect`` (SD), ``es`` (Hedges g, in paired
        designs of the differences) with 95 % interval ``es_lo``, ``es_hi`` from the noncentral t, ``stat``
        (Welch or paired t), ``p``, ``n_units``; and, over 20 random halves, ``split_half_r`` of the maps,
        ``split_half_r_sb`` (Spearman-Brown, 2r/(1+r)), ``dice`` of the top features, ``dice_chance``. In
        paired designs ``unit`` holds one row a unit and cell.

    Raises
    ------
    ContrastError
        If the contrast cannot be read.
    DesignError
        If training folds or halves leave a cell with fewer than 3 units, or an option is out of range.

    Source
    ------
    Fedorenko et al. 2010, J Neurophysiol 104:1177; Kriegeskorte et al. 2009, Nat Neurosci 12:535; Steiger &
    Fouladi 1997 (noncentral t).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> held_out = cross_localize(planted_responses(), "A > B", fraction=0.05)
    >>> round(float(held_out["effect"]), 1), float(held_out["p"]), int(held_out["n_units"])
    (1.0, 0.001, 40)
    """
    basis, chooser = str(responses.attrs.get("basis", UNITS_BASIS)), selection_rule(rule)
    design = contrast_design(stimulus_table(responses), contrast, unit=unit)
    layers = averaged_layers(responses, design)
    fold_of = assign_folds(design, folds, seed=seed)
    fitted = [fit_fold(layers, design, fold_of != fold, test, basis) for fold in range(folds)]
    weights = [fold_weights(layers, fold, chooser, fraction) for fold in fitted]
    response = np.empty(len(fold_of))
    for fold, weight in zip(fitted, weights, strict=True):
        response[~fold.train] = roi_response(layers, fold, weight)
    draws = relabelings_within(design, fold_of, N_PERMUTATIONS, seed=seed)
    seeds = np.random.SeedSequence(seed).generate_state(N_SPLITS)
    scalars = {
        **held_out_effect(response, design),
        "p": held_out_p(layers, design, fitted, weights, chooser, draws),
        **split_half(layers, design, test=test, basis=basis, rule=chooser, fraction=fraction, seeds=seeds),
    }
    chosen = choose_test(design, test, basis)
    attrs = {
        "contrast": contrast,
        "test": chosen.name,
        "unit": design.unit,
        "scheme": f"{scheme_of(chosen)}, within folds, selection repeated",
        "n_permutations": len(draws),
        "fraction": fraction,
        "rule": rule,
        "seed": seed,
        "site": str(responses.attrs.get("site", "")),
        "basis": basis,
    }
    attrs |= with_step(
        responses, "cross_localize", contrast=contrast, fraction=fraction, rule=rule, folds=folds, seed=seed
    )
    members = np.stack(weights) != 0
    result = _labelled(responses, design, members, response, fold_of, scalars).assign_attrs(attrs)
    seen = responses.isel({LAYER: slice(0, 1), STIMULUS: design.used})
    return with_seen(result, unit_keys(seen, design.unit))


_SCALARS = {
    "effect": ("effect on the held-out ROI response", "SD"),
    "stat": ("t of the held-out effect", "1"),
    "es": ("Hedges g of the held-out effect", "SD"),
    "es_lo": ("Hedges g, lower 95 % bound", "SD"),
    "es_hi": ("Hedges g, upper 95 % bound", "SD"),
    "p": ("p, two-sided, selection repeated for each relabeling", "1"),
    "n_units": ("units of inference", "1"),
    "split_half_r": ("correlation of the maps of random halves", "1"),
    "split_half_r_sb": ("split-half correlation, Spearman-Brown corrected", "1"),
    "dice": ("Dice overlap of the top features of random halves", "1"),
    "dice_chance": ("Dice overlap expected by chance", "1"),
}


def _labelled(
    responses: xr.DataArray,
    design: Design,
    members: np.ndarray,
    response: np.ndarray,
    fold_of: np.ndarray,
    scalars: dict[str, float],
) -> xr.Dataset:
    names = np.array(design.cell_names)[design.cells]
    variables: dict[str, tuple] = {
        "member": (("fold", LAYER, FEATURE), members, {"long_name": "member of the ROI", "units": "1"}),
        "n_selected": (
            ("fold", LAYER),
            members.sum(axis=2),
            {"long_name": "features in the ROI", "units": "1"},
        ),
        "response": ("unit", response, {"long_name": "held-out ROI response", "units": "SD"}),
        "condition": ("unit", names, {"long_name": "condition", "units": "1"}),
        "fold_of": ("unit", fold_of, {"long_name": "fold that held the unit out", "units": "1"}),
    }
    for name, value in scalars.items():
        long_name, units = _SCALARS[name]
        variables[name] = ((), value, {"long_name": long_name, "units": units})
    coords = {name: responses.coords[name] for name in (LAYER, FEATURE) if name in responses.coords}
    return xr.Dataset(variables, coords={**coords, "unit": design.labels, "fold": np.arange(len(members))})
