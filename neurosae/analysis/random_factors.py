"""Effects that hold over items and over templates at once, when both are samples of what might have been."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.family import FAMILY
from neurosae.arrays.correction import CORRECTIONS, adjust
from neurosae.arrays.random_factors import f_tail, min_f_prime
from neurosae.errors import DesignError
from neurosae.protocol.contrast import parse_contrast
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, stimulus_table
from neurosae.schema.units import SEEN

FEWEST_TEMPLATES = 8
"""Templates that a test over templates needs: with fewer, p cannot fall far below .05."""


def min_f_map(
    responses: xr.DataArray,
    contrast: str,
    *,
    items: str = "item",
    templates: str = "template",
    correct: str = "fdr_bh",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """Test a contrast over items (F1), over templates (F2), and over both at once (minF').

    F1 = t² of item means (templates averaged), F2 = t² of template means (items averaged), minF' = F1 F2 /
    (F1 + F2), each paired where its units hold all cells, else with pooled variance.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    contrast : such as ``"A > B"``
    items, templates : columns that name the two random factors; every item is in every template
    correct : how ``p_adjusted`` corrects ``p_both`` over all features: ``"fdr_bh"``, ``"fdr_by"``,
        ``"holm"``, ``"bonferroni"`` or ``"none"``
    n_permutations, seed : as in `neurosae.analysis.contrast.contrast_map`

    Returns
    -------
    Dataset (layer, feature)
        ``effect``, in units of the response; ``f1``, ``df1``, ``f2``, ``df2`` (error degrees of freedom);
        ``stat`` (minF') and ``df``; ``p_items`` and ``p_templates`` by permutation of each factor's units;
        ``p_both``, the larger of the two; ``p_adjusted``; ``p_min_f`` from the F distribution, which takes
        errors as normal; ``valid``.

    Raises
    ------
    DesignError
        If items and templates are not fully crossed, there are fewer than 8 templates, or a factor has no
        exchangeable units (see `contrast_map`).

    Notes
    -----
    ``p_both`` asks for an effect over each factor alone and is a little more liberal than a joint test;
    minF' is a lower bound of the joint F and a little conservative. For a single summary per stimulus, such
    as an ROI, `neurosae.analysis.mixed_effects.mixed_model` fits both factors together.

    Source
    ------
    Clark 1973, J Verbal Learn Verbal Behav 12:335; Raaijmakers et al. 1999, J Mem Lang 41:416.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> table = pd.MultiIndex.from_product([["a", "b"], range(10), range(8)]).to_frame(index=False)
    >>> item, template = (table[k].astype(str).to_numpy() for k in (1, 2))
    >>> responses = xr.DataArray(
    ...     rng.normal(size=(160, 1, 1)) + (table[0] == "a").to_numpy()[:, None, None],
    ...     dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": np.arange(160), "condition": ("stimulus", table[0].to_numpy(dtype=str)),
    ...             "item": ("stimulus", item), "template": ("stimulus", template)},
    ... )
    >>> found = min_f_map(responses, "a > b")
    >>> bool(found["stat"].item() < found["f1"].item()), float(found["p_templates"].item())
    (True, 0.0078125)
    """
    check_response_dims(responses)
    if correct not in CORRECTIONS:
        raise DesignError(f"correction {correct!r} is unknown here; choose one of {list(CORRECTIONS)}.")
    check_crossed(stimulus_table(responses), contrast, items=items, templates=templates)
    by_items, by_templates = (
        contrast_map(
            responses,
            contrast,
            test="pooled",
            unit=unit,
            correct="none",
            n_permutations=n_permutations,
            seed=seed,
        )
        for unit in (items, templates)
    )
    f1, f2 = np.square(by_items["stat"].values), np.square(by_templates["stat"].values)
    df1, df2 = by_items["df"].values, by_templates["df"].values
    stat, df = min_f_prime(f1, df1, f2, df2)
    p_both = np.maximum(by_items["p_unc"].values, by_templates["p_unc"].values)
    found = {
        "f1": (f1, "F over items"),
        "df1": (df1, "error degrees of freedom over items"),
        "f2": (f2, "F over templates"),
        "df2": (df2, "error degrees of freedom over templates"),
        "stat": (stat, "minF'"),
        "df": (df, "error degrees of freedom of minF'"),
        "p_items": (by_items["p_unc"].values, "p over items, two-sided, not corrected"),
        "p_templates": (by_templates["p_unc"].values, "p over templates, two-sided, not corrected"),
        "p_both": (p_both, "larger p of items and templates, not corrected"),
        "p_adjusted": (adjust(p_both.ravel(), correct).reshape(p_both.shape), "larger p, corrected"),
        "p_min_f": (f_tail(stat, 1, df), "p of minF' from the F distribution, not corrected"),
        "valid": (by_items["valid"].values & by_templates["valid"].values, "feature is tested"),
    }
    variables = {
        name: ((LAYER, FEATURE), values, {"long_name": long_name, "units": "1"})
        for name, (values, long_name) in found.items()
    }
    attrs = {name: by_items.attrs[name] for name in ("contrast", "n_permutations", "seed", "site", "basis")}
    attrs |= {"items": items, "templates": templates, "correct": correct, "test": "minF'", "unit": items}
    attrs |= {"n_items": by_items.attrs["n_units"], "n_templates": by_templates.attrs["n_units"]}
    attrs |= {"family": FAMILY, "family_size": int(found["valid"][0].sum())}
    notes = [each.attrs["note"] for each in (by_items, by_templates) if "note" in each.attrs]
    attrs |= {"note": notes[0]} if notes else {}
    step = {"contrast": contrast, "items": items, "templates": templates, "correct": correct}
    attrs |= with_step(responses, "min_f_map", **step, n_permutations=n_permutations, seed=seed)
    coords = {name: by_items.coords[name] for name in (LAYER, FEATURE, SEEN) if name in by_items.coords}
    return xr.Dataset({"effect": by_items["effect"], **variables}, coords=coords, attrs=attrs)


def check_crossed(table: pd.DataFrame, contrast: str, *, items: str, templates: str) -> None:
    """Refuse items and templates that are not fully crossed, or too few templates.

    Raises
    ------
    DesignError
    """
    counts = crossing(table, contrast, items=items, templates=templates)
    if counts.shape[1] < FEWEST_TEMPLATES:
        raise DesignError(
            f"{counts.shape[1]} templates ({templates}); a test over templates needs at least "
            f"{FEWEST_TEMPLATES}. Add templates, or test over items alone with contrast_map(unit={items!r})."
        )
    if counts.min() != counts.max():
        n_empty = int((counts == 0).sum())
        raise DesignError(
            f"items and templates are not fully crossed: {n_empty} of {counts.size} combinations of item, "
            f"condition and template are empty and others hold up to {counts.max()} stimuli. Complete the "
            "table, or fit a mixed_model to an ROI response."
        )


def crossing(table: pd.DataFrame, contrast: str, *, items: str, templates: str) -> np.ndarray:
    """Number of stimuli of each item and cell (rows) in each template (columns).

    Raises
    ------
    DesignError
        If a column is missing.
    """
    _check_columns(table, (items, templates))
    cell = parse_contrast(contrast, table).cells(table)
    used = table[cell >= 0]
    rows = [used[items].astype(str).to_numpy(), cell[cell >= 0]]
    return pd.crosstab(rows, used[templates].astype(str).to_numpy()).to_numpy()


def _check_columns(table: pd.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        if name not in table:
            raise DesignError(f"no column {name!r} in the stimuli; columns: {list(table.columns)}.")
