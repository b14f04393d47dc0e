"""One response per stimulus, such as an ROI's, with items and templates as random effects."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import t as t_distribution
from statsmodels.regression.mixed_linear_model import MixedLM

from neurosae.analysis.contrast import contrast_map
from neurosae.arrays.random_factors import min_f_prime
from neurosae.errors import DesignError
from neurosae.protocol.contrast import Contrast, parse_contrast
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import stimulus_table

RESIDUAL = "residual"

_BOUNDARY = 1e-4
"""Share of the residual variance below which a variance component counts as 0."""

_FAILURES = ("failed", "not positive definite", "did not converge", "singular")

_OPTIMIZERS = ["lbfgs", "bfgs", "powell"]


@dataclass(frozen=True)
class _Fit:
    """What an estimate gave: effect, standard error, degrees of freedom, and variances by component."""

    effect: float
    se: float
    df: float
    variances: dict[str, float]
    problem: str = ""


def mixed_model(
    roi_response: xr.DataArray, contrast: str, *, items: str = "item", templates: str | None = "template"
) -> xr.Dataset:
    """Estimate a contrast of one response per stimulus with items and templates as random effects.

    y = cell mean + item + item slope · c + template + template slope · c + error, c the code of the cell in
    the contrast. Slopes are there where a factor's units hold several cells. Estimated by restricted maximum
    likelihood; if that does not converge, minF' is reported instead and ``method`` and ``note`` say so.

    Parameters
    ----------
    roi_response : DataArray (stimulus), such as from `neurosae.analysis.localizer.roi_responses`
    contrast : such as ``"A > B"``
    items, templates : columns that name the random factors; ``templates=None`` for items alone

    Returns
    -------
    Dataset
        ``effect`` with ``se``, ``effect_lo``, ``effect_hi`` (95 %), in units of the response; ``stat`` (t),
        ``df``, ``p`` (two-sided, from the t distribution, not corrected); ``es``, effect over the root of the
        summed variances; ``variance`` (component), NaN if minF' was used. Attributes ``method`` (``"REML"``
        or ``"minF'"``), ``converged``, ``boundary`` (components estimated as 0), ``note``.

    Raises
    ------
    DesignError
        If the response has other dims or is not finite, a column is missing, a factor has fewer units than
        the contrast has cells plus 2, or REML fails where minF' cannot be computed.

    Notes
    -----
    The t has the degrees of freedom of the random factor with the fewest units, which is cautious. A variance
    estimated as 0 is on the boundary of what is possible: the data cannot tell it from none.

    Source
    ------
    Baayen, Davidson & Bates 2008, J Mem Lang 59:390; Barr et al. 2013, J Mem Lang 68:255 (random slopes);
    Westfall, Kenny & Judd 2014, J Exp Psychol Gen 143:2020 (es).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> table = pd.MultiIndex.from_product([["a", "b"], range(12), range(8)]).to_frame(index=False)
    >>> item, template = table[1].to_numpy(), table[2].to_numpy()
    >>> y = (table[0] == "a") + rng.normal(size=12)[item] + rng.normal(size=8)[template]
    >>> response = xr.DataArray(
    ...     y + rng.normal(size=192), dims="stimulus",
    ...     coords={"stimulus": np.arange(192), "condition": ("stimulus", table[0].to_numpy(dtype=str)),
    ...             "item": ("stimulus", item), "template": ("stimulus", template)},
    ... )
    >>> found = mixed_model(response, "a > b")
    >>> found.attrs["method"], bool(abs(found["effect"] - 1) < 0.4)
    ('REML', True)
    """
    table, parsed = _checked(roi_response, contrast)
    cell = parsed.cells(table)
    used = np.flatnonzero(cell >= 0)
    names = [items] if templates is None else [items, templates]
    data = _data(table.iloc[used], cell[used], parsed.vector, np.asarray(roi_response.values)[used], names)
    df = min(_degrees(data, k, name, len(parsed.vector)) for k, name in enumerate(names))
    fit = _reml(data, parsed.vector, names, df)
    if fit.problem:
        fit = _fallback(roi_response.isel({STIMULUS: used}), contrast, names, fit.problem)
    attrs = _attrs(fit, contrast, names)
    attrs |= with_step(roi_response, "mixed_model", contrast=contrast, items=items, templates=str(templates))
    return _labelled(fit, str(roi_response.attrs.get("units", "a.u."))).assign_attrs(attrs)


def _checked(roi_response: xr.DataArray, contrast: str) -> tuple[pd.DataFrame, Contrast]:
    if tuple(roi_response.dims) != (STIMULUS,):
        raise DesignError(
            f"a mixed model takes one value a stimulus, dims ('stimulus',), got {roi_response.dims}; use "
            "roi_responses, or min_f_map for whole maps."
        )
    if not np.isfinite(roi_response.values).all():
        raise DesignError("the response holds NaN or infinite values; leave these stimuli out.")
    table = stimulus_table(roi_response)
    return table, parse_contrast(contrast, table)


def _data(
    table: pd.DataFrame, cell: np.ndarray, weights: np.ndarray, y: np.ndarray, names: list[str]
) -> pd.DataFrame:
    """Columns y, cell, code, and factor_0, factor_1: random factors under names that a formula can hold."""
    for name in names:
        if name not in table:
            raise DesignError(f"no column {name!r} in the stimuli; columns: {list(table.columns)}.")
    code = weights / (weights @ weights)
    factors = {_column(k): table[name].astype(str).to_numpy() for k, name in enumerate(names)}
    return pd.DataFrame({"y": y.astype(float), "cell": cell, "code": code[cell], **factors})


def _column(number: int) -> str:
    return f"factor_{number}"


def _has_slope(data: pd.DataFrame, number: int) -> bool:
    """Whether units of a random factor hold several cells, so that the effect may differ between them."""
    return bool((data.groupby(_column(number))["cell"].nunique() > 1).any())


def _degrees(data: pd.DataFrame, number: int, name: str, n_cells: int) -> int:
    n_units = data[_column(number)].nunique()
    df = n_units - (1 if _has_slope(data, number) else n_cells)
    if df < 2:
        raise DesignError(
            f"{n_units} units of {name!r} are too few for a random effect over {n_cells} cells; add units, "
            "or leave the factor out."
        )
    return int(df)


def _reml(data: pd.DataFrame, weights: np.ndarray, names: list[str], df: int) -> _Fit:
    components = {}
    for k, name in enumerate(names):
        components[name] = f"0 + C({_column(k)})"
        if _has_slope(data, k):
            components[f"{name} slope"] = f"0 + C({_column(k)}):code"
    model = MixedLM.from_formula(
        "y ~ 0 + C(cell)", groups=np.ones(len(data)), re_formula="0", vc_formula=components, data=data
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = model.fit(reml=True, method=_OPTIMIZERS)
        except (np.linalg.LinAlgError, ValueError) as error:
            return _Fit(np.nan, np.nan, df, {}, problem=f"REML failed: {error}")
    covariance = np.asarray(result.cov_params())[: len(weights), : len(weights)]
    value, variance = float(weights @ result.fe_params), float(weights @ covariance @ weights)
    se = variance**0.5 if variance > 0 else np.nan
    problems = [str(each.message) for each in caught if any(word in str(each.message) for word in _FAILURES)]
    if not result.converged or not np.isfinite(se):
        return _Fit(value, se, df, {}, problem="; ".join(problems) or "REML did not converge")
    variances = dict(zip(model.exog_vc.names, result.vcomp.tolist(), strict=True))
    ordered = {name: float(variances[name]) for name in components}
    return _Fit(value, se, df, ordered | {RESIDUAL: float(result.scale)})


def _fallback(roi_response: xr.DataArray, contrast: str, names: list[str], problem: str) -> _Fit:
    """The effect with the standard error that minF' implies; with items alone, that of their t."""
    responses = roi_response.expand_dims({LAYER: [0], FEATURE: [0]}, axis=(1, 2))
    maps = [
        contrast_map(responses, contrast, test="pooled", unit=name, correct="none", n_permutations=99)
        for name in names
    ]
    effect = float(maps[0]["effect"].item())
    f = [float(each["stat"].item()) ** 2 for each in maps]
    df = [float(each["df"].item()) for each in maps]
    if not np.isfinite(f).all():
        raise DesignError(f"the mixed model failed ({problem}), and the response has no variance for minF'.")
    if len(names) == 1:
        return _Fit(effect, abs(effect) / f[0] ** 0.5, df[0], {}, problem)
    stat, error_df = min_f_prime(f[0], df[0], f[1], df[1])
    se = abs(effect) / float(stat) ** 0.5 if stat > 0 else np.nan
    return _Fit(effect, se, float(error_df), {}, problem)


def _attrs(fit: _Fit, contrast: str, names: list[str]) -> dict[str, str | int]:
    floor = _BOUNDARY * fit.variances.get(RESIDUAL, 0.0)
    boundary = [name for name, variance in fit.variances.items() if variance <= floor and name != RESIDUAL]
    instead = "minF'" if len(names) == 2 else "F over items"
    notes = [f"{instead} instead of the mixed model: {fit.problem}"] if fit.problem else []
    notes += [f"estimated as 0, on the boundary: {', '.join(boundary)}"] if boundary else []
    return {
        "contrast": contrast,
        "random": ";".join(names),
        "method": instead if fit.problem else "REML",
        "converged": int(not fit.problem),
        "boundary": ";".join(boundary),
        "note": ". ".join(notes),
    }


def _labelled(fit: _Fit, units: str) -> xr.Dataset:
    half = fit.se * float(t_distribution.isf(0.025, fit.df))
    stat = fit.effect / fit.se
    total = sum(fit.variances.values()) if fit.variances else np.nan
    scalars = {
        "effect": (fit.effect, "effect", units),
        "se": (fit.se, "standard error of the effect", units),
        "effect_lo": (fit.effect - half, "effect, lower 95 % bound", units),
        "effect_hi": (fit.effect + half, "effect, upper 95 % bound", units),
        "stat": (stat, "t", "1"),
        "df": (fit.df, "degrees of freedom", "1"),
        "p": (2 * float(t_distribution.sf(abs(stat), fit.df)), "p, two-sided, t distribution", "1"),
        "es": (fit.effect / total**0.5, "effect over the root of the summed variances", "SD"),
    }
    variables: dict[str, tuple] = {
        name: ((), value, {"long_name": long_name, "units": unit})
        for name, (value, long_name, unit) in scalars.items()
    }
    names = list(fit.variances) or [RESIDUAL]
    variance = [fit.variances.get(name, np.nan) for name in names]
    text = {"long_name": "variance component", "units": f"({units})^2"}
    return xr.Dataset(variables | {"variance": ("component", variance, text)}, coords={"component": names})
