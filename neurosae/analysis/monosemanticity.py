"""Which features deserve to be called selective for one class: five criteria, each reported by itself.

A bare cut on the share of the preferred class flags most features that rarely fire. Here a feature must be
alive, selective on units that did not choose its class, more so than under permuted labels, able to tell its
class from the others, and driven by many items of it. A selective feature need not be one that the
model uses.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import ClassDesign, class_design, layer_rows, map_coords, map_variables, origin
from neurosae.analysis.held_out_preference import cross_selectivity
from neurosae.arrays.correction import adjust
from neurosae.arrays.sparseness import effective_number
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import with_step
from neurosae.schema.units import unit_keys, with_seen

SHARE, AUROC, COVERAGE, ALPHA = 0.6, 0.8, 0.5, 0.05
"""Least held-out share and AUROC, least effective share of the items of the class, largest adjusted p."""

CORRECTIONS = ("max_t", "fdr_bh")
"""Corrections that the criterion of significance knows."""

_FEWEST_FIRING, _FIRING_SHARE = 5, 0.02

_CAVEAT = "selectivity of a single feature does not show that the model uses it"

DESCRIPTIONS = {
    "monosemantic": ("whether all five criteria are met", "1"),
    "preferred": ("preferred class", "1"),
    "share": ("held-out share of the preferred class", "1"),
    "auroc": ("held-out AUROC of the preferred class against the rest", "1"),
    "coverage": ("effective number of items over items of the preferred class", "1"),
    "p_adjusted": ("p of the held-out share, one-sided, corrected", "1"),
    "n_active": ("units in which the feature responds", "1"),
    "is_alive": ("criterion: responds in at least 5 units and 2 % of them", "1"),
    "is_selective": (f"criterion: held-out share at least {SHARE}", "1"),
    "is_significant": (f"criterion: corrected p at most {ALPHA}", "1"),
    "is_discriminating": (f"criterion: held-out AUROC at least {AUROC}", "1"),
    "is_general": (f"criterion: coverage at least {COVERAGE}", "1"),
}
"""Long name and units of each map of `monosemantic_features`."""

CRITERIA = tuple(name for name in DESCRIPTIONS if name.startswith("is_"))


def monosemantic_features(
    responses: xr.DataArray,
    by: str,
    *,
    unit: str = "auto",
    correct: str = "max_t",
    n_splits: int = 50,
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """Which features respond to one class only, by five criteria that are also reported one by one.

    is_alive: responds (> 0) in at least 5 units and 2 % of them. is_selective: share m_c / Σ m of the
    preferred class c, chosen on one half of the units and measured on the other, at least 0.6.
    is_significant: p of that share, corrected, at most 0.05. is_discriminating: AUROC of the class against
    the rest, held out too, at least 0.8. is_general: effective number of items (Σ a)² / Σ a² within the class
    at least half its units, which rules out detectors of one word. Run it on an untrained model too: there
    selective features are a property of the stimuli.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite, class means not negative; may be lazy
    by : stimulus column that holds the classes; at least two units in each
    unit : column that defines the unit of inference; its rows of one class are averaged
    correct : ``"max_t"`` over all features that vary, or ``"fdr_bh"`` over those alive, which needs about 20
        permutations for each feature to find a single one
    n_splits, n_permutations, seed : as in `neurosae.analysis.held_out_preference.cross_selectivity`

    Returns
    -------
    Dataset (layer, feature)
        monosemantic (all criteria); preferred (label); share, auroc, coverage, p_adjusted, n_active, the
        numbers behind the criteria, NaN where a feature does not vary; is_alive, is_selective,
        is_significant, is_discriminating, is_general.

    Raises
    ------
    DesignError
        As `neurosae.analysis.held_out_preference.cross_selectivity`, or if ``correct`` is unknown.

    Source
    ------
    Morcos et al. 2018, ICLR; Leavitt & Morcos 2020, arXiv 2003.01262 (selectivity is no evidence of use).

    Examples
    --------
    >>> values = np.zeros((24, 1, 2))
    >>> values[:8, 0, 0], values[:1, 0, 1] = 1.0, 9.0
    >>> coords = {"stimulus": np.arange(24), "condition": ("stimulus", np.repeat(["a", "b", "c"], 8))}
    >>> responses = xr.DataArray(values, dims=("stimulus", "layer", "feature"), coords=coords)
    >>> found = monosemantic_features(responses, "condition", n_permutations=99)
    >>> found["monosemantic"].values, found["coverage"].values
    (array([[ True, False]]), array([[1.   , 0.125]]))
    """
    if correct not in CORRECTIONS:
        raise DesignError(f"correct {correct!r} is unknown; choose one of {list(CORRECTIONS)}.")
    held_out = cross_selectivity(
        responses,
        by,
        index="maxshare",
        unit=unit,
        n_splits=n_splits,
        n_permutations=n_permutations,
        seed=seed,
    )
    design = class_design(responses, by, unit)
    n_active, coverage = _items(responses, design, held_out["preferred"].values)
    is_alive = (n_active >= _enough(design)) & held_out["valid"].values
    maps = {
        "share": held_out["selectivity"].values,
        "auroc": held_out["auroc"].values,
        "preferred": held_out["preferred"].values,
        "coverage": coverage,
        "n_active": n_active,
        "p_adjusted": _adjusted(held_out, is_alive, correct),
    }
    maps |= _criteria(maps, is_alive)
    settings = {"by": by, "unit": design.column, "correct": correct, "n_splits": n_splits}
    settings |= {"n_permutations": int(held_out.attrs["n_permutations"]), "seed": seed}
    result = xr.Dataset(
        map_variables({name: maps[name] for name in DESCRIPTIONS}, DESCRIPTIONS),
        coords=map_coords(responses),
        attrs={
            **settings,
            "n_units": design.n_units,
            "n_classes": len(design.names),
            "family_size": int(is_alive.sum()) if correct == "fdr_bh" else int(held_out.attrs["family_size"]),
            "caveat": _CAVEAT,
            **origin(responses),
            **with_step(responses, "monosemantic_features", **settings),
        },
    )
    return with_seen(result, unit_keys(responses, unit))


def _enough(design: ClassDesign) -> int:
    return max(_FEWEST_FIRING, int(np.ceil(_FIRING_SHARE * len(design.labels))))


def _items(
    responses: xr.DataArray, design: ClassDesign, preferred: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Active rows of each feature, and the effective share of the rows of its preferred class."""
    n_active = np.zeros(preferred.shape, dtype=int)
    coverage = np.full((responses.sizes[LAYER], responses.sizes[FEATURE]), np.nan)
    for layer, values in enumerate(layer_rows(responses, design)):
        n_active[layer] = (values > 0).sum(axis=0)
        for k, name in enumerate(design.names):
            own = preferred[layer] == name
            inside = np.maximum(values[design.labels == k][:, own], 0)
            coverage[layer, own] = effective_number(inside) / len(inside)
    return n_active, coverage


def _adjusted(held_out: xr.Dataset, is_alive: np.ndarray, correct: str) -> np.ndarray:
    if correct == "max_t":
        return held_out["p_fwe"].values
    p = np.where(is_alive, held_out["p_unc"].values, np.nan)
    return adjust(p.ravel(), correct).reshape(p.shape)


def _criteria(maps: dict[str, np.ndarray], is_alive: np.ndarray) -> dict[str, np.ndarray]:
    """Each criterion and their conjunction; a number that is NaN meets none."""
    criteria = {
        "is_alive": is_alive,
        "is_selective": maps["share"] >= SHARE,
        "is_significant": maps["p_adjusted"] <= ALPHA,
        "is_discriminating": maps["auroc"] >= AUROC,
        "is_general": maps["coverage"] >= COVERAGE,
    }
    return criteria | {"monosemantic": np.logical_and.reduce(list(criteria.values()))}
