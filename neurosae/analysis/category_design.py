"""Classes of the rows of an RDM: whether they can be compared, and how their labels may be exchanged."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.analysis.exchangeability import ENUMERATED, FEW_UNITS, check_relabelings, unit_strata
from neurosae.arrays.category_index import DIRECTED, INDICES, pair_counts
from neurosae.arrays.pairs import unit_pairs
from neurosae.arrays.permutation import Relabelings, orders, relabel
from neurosae.arrays.rdm_comparison import rho_a_of_auroc
from neurosae.errors import DesignError
from neurosae.schema.names import STIMULUS


@dataclass(frozen=True)
class CategoryDesign:
    """Class codes (n,) of the rows, the classes they count into, the rows' units, and strata of units."""

    codes: np.ndarray
    classes: np.ndarray
    units: np.ndarray
    strata: np.ndarray | None


def category_design(rows: xr.DataArray, *, by: str, unit: str) -> CategoryDesign:
    """The classes ``by`` of rows and their units of inference.

    Raises
    ------
    DesignError
        If a row has no class, or some units hold one class and others several.
    """
    labels = rows[by].values
    missing = pd.isna(labels) | (labels.astype(str) == "")
    if missing.any():
        names = rows[STIMULUS].values[missing]
        raise DesignError(
            f"{len(names)} stimuli have no {by!r} (first: {str(names[0])!r}); select those that have."
        )
    classes, codes = np.unique(labels, return_inverse=True)
    return CategoryDesign(codes, classes, rows[unit].values, unit_strata(rows[unit].values))


def check_design(design: CategoryDesign, *, by: str, index: str) -> None:
    """Refuse classes that ``index`` cannot compare, or that too few relabelings could test.

    Raises
    ------
    DesignError
        If the index is unknown, there is one class, a class has one unit, TDI or COH meet other than two
        classes, or fewer than 8 units give fewer than 20 distinct relabelings.
    """
    if index not in INDICES:
        raise DesignError(f"no category index {index!r}; choose one of {list(INDICES)}.")
    names, counts = list(map(str, design.classes)), np.bincount(design.codes)
    if len(names) < 2:
        raise DesignError(f"{by!r} has one class ({names}); an index needs at least two.")
    if index in DIRECTED and len(names) != 2:
        raise DesignError(
            f"{index} compares a target with the rest, but {by!r} has {len(names)} classes: {names}. Make a "
            "column of two values, the target's first in sorted order, or use CDI or CMI."
        )
    if counts.min() < 2:
        small = [name for name, count in zip(names, counts, strict=True) if count < 2]
        raise DesignError(f"classes {small} of {by!r} have fewer than 2 units, so no distance within them.")
    n_units = len(np.unique(design.units))
    if n_units < FEW_UNITS:
        everything = relabel(design.codes, ENUMERATED, seed=0, strata=design.strata)
        unchanged = _same_partition(everything.labels, design, ordered=index in DIRECTED)
        check_relabelings(n_units, everything, unchanged)


def _same_partition(labels: np.ndarray, design: CategoryDesign, *, ordered: bool) -> np.ndarray:
    """Labelings (P, n) that give every index its observed value, up to the names of the classes."""
    codes = design.codes
    if ordered:
        return (labels == codes).all(axis=1)
    rows, columns = unit_pairs(len(codes), design.units)
    together = labels[:, rows] == labels[:, columns]
    return (together == (codes[rows] == codes[columns])).all(axis=1)


def relabelings(design: CategoryDesign, silent: np.ndarray, n_permutations: int, *, seed: int) -> Relabelings:
    """Labels of the rows; with silent rows orders of the rows, which can be restricted layer by layer."""
    if silent.any():
        return orders(len(design.codes), n_permutations, seed=seed, strata=design.strata)
    return relabel(design.codes, n_permutations, seed=seed, strata=design.strata)


def design_attrs(design: CategoryDesign, index: str) -> dict[str, str | float]:
    """Classes, scheme, target and maximum, as attributes of a result."""
    attrs: dict[str, str | float] = {
        "classes": ", ".join(map(str, design.classes)),
        "scheme": "between" if design.strata is None else "within strata",
    }
    if index in DIRECTED:
        attrs["target"] = str(design.classes[0])
    if index == "CMI":
        attrs["maximum"] = float(rho_a_of_auroc(1.0, *pair_counts(design.codes, design.units)))
    return attrs
