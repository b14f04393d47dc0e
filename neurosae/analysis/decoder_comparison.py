"""Whether one decoder beats another, such as one that sees the surface of the text only.

The two are compared fold by fold. What beats a baseline may still rest on something the baseline lacks.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import origin
from neurosae.arrays.correction import adjust
from neurosae.arrays.fold_comparison import corrected_resampled_t, correlated_posterior
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER
from neurosae.schema.provenance import with_step

ROPE = 0.02
"""Differences of AUROC up to this are practically none, unless said otherwise."""

DESCRIPTIONS = {
    "difference": "mean difference of the AUROC over folds, first decoder minus second",
    "difference_lo": "lower bound of the 95 % interval of the difference (corrected resampled t)",
    "difference_hi": "upper bound of the 95 % interval of the difference (corrected resampled t)",
    "t": "corrected resampled t",
    "p": "two-sided p of the corrected resampled t, uncorrected",
    "p_adjusted": "two-sided p of the corrected resampled t, family-wise over layers (Holm)",
    "p_left": "posterior probability that the second decoder is better by more than the ROPE",
    "p_rope": "posterior probability of a difference within the ROPE",
    "p_right": "posterior probability that the first decoder is better by more than the ROPE",
    "n_folds": "number of folds compared",
}


def compare_decoders(first: xr.Dataset, second: xr.Dataset, *, rope: float = ROPE) -> xr.Dataset:
    """How much better the first decoder tells the classes apart than the second, layer by layer.

    d_j = AUROC of the first minus the second in test fold j, J = repeats x folds. Interval, t and p by the
    corrected resampled t; probabilities by the Bayesian correlated t with a region of practical equivalence.

    Parameters
    ----------
    first, second : results of `neurosae.decode` on the same stimuli, classes, groups and seed, thus the same
        folds. Both have the same layers, or one of the two has a single layer, with which every layer of the
        other is compared: a surface baseline, or ``first.sel(layer=[0])``
    rope : differences of AUROC within ±rope count as none

    Returns
    -------
    Dataset (layer)
        difference with difference_lo and difference_hi (95 %), p_left, p_rope, p_right, t, p, p_adjusted
        (Holm over layers), n_folds. Folds in which a class is missing have no AUROC and are left out.
        Attribute ``other_provenance``: where the second comes from.

    Raises
    ------
    DesignError
        If the decoders were not tested on the same units in the same folds, their layers differ, or fewer
        than two folds can be compared.

    Source
    ------
    Nadeau & Bengio 2003, Mach Learn 52:239; Corani & Benavoli 2015, Mach Learn 100:285.

    Examples
    --------
    >>> from neurosae.analysis.decoding import decode
    >>> from neurosae.testing import planted_responses
    >>> found = decode(planted_responses(effect=4.0), "condition", n_permutations=19)
    >>> gain = compare_decoders(found, found.sel(layer=[0]))
    >>> gain["difference"].values.round(1), gain["p_right"].values.round(2)
    (array([ 0. ,  0.3, -0.3]), array([0.  , 0.99, 0.01]))
    """
    _check_same_folds(first, second)
    if rope < 0:
        raise DesignError(f"rope is {rope:g}; give 0 or the largest difference that counts as none.")
    one, other = (found["fold_auroc"].values.reshape(found.sizes[LAYER], -1) for found in (first, second))
    differences = one - other
    usable = np.isfinite(differences).all(axis=0)
    if usable.sum() < 2:
        raise DesignError(f"{int(usable.sum())} folds have an AUROC in both decoders; at least 2 are needed.")
    ratio = float(first.attrs["test_ratio"])
    tested = corrected_resampled_t(differences[:, usable], ratio)
    posterior = correlated_posterior(differences[:, usable], ratio, rope=rope)
    found = {
        "difference": tested.mean,
        "difference_lo": tested.low,
        "difference_hi": tested.high,
        "t": tested.t,
        "p": tested.p,
        "p_adjusted": adjust(tested.p, "holm"),
        "p_left": posterior.left,
        "p_rope": posterior.rope,
        "p_right": posterior.right,
        "n_folds": np.full(len(differences), int(usable.sum())),
    }
    variables = {
        name: ((LAYER,), found[name], {"long_name": long_name, "units": "1"})
        for name, long_name in DESCRIPTIONS.items()
    }
    longer = first if first.sizes[LAYER] >= second.sizes[LAYER] else second
    coords = {LAYER: longer[LAYER]} if LAYER in longer.coords else {}
    settings = {"rope": rope, "first": _describe(first), "second": _describe(second)}
    return xr.Dataset(variables, coords=coords).assign_attrs(
        settings,
        by=str(first.attrs["by"]),
        groups=str(first.attrs["groups"]),
        test_ratio=ratio,
        df=int(tested.df),
        other_provenance=str(second.attrs.get("provenance", "")),
        **origin(first),
        **with_step(first, "compare_decoders", **settings),
    )


def _describe(found: xr.Dataset) -> str:
    """Basis, selection and confounds of a decoder in a few words."""
    parts = [str(found.attrs.get("basis", "units"))]
    if found.attrs.get("select"):
        parts.append(f"{found.attrs['select']} features by {found.attrs['selector']}")
    if found.attrs.get("nuisance"):
        parts.append(f"without {found.attrs['nuisance']}")
    return ", ".join(parts)


def _check_same_folds(first: xr.Dataset, second: xr.Dataset) -> None:
    missing = [str(name) for found in (first, second) for name in _NEEDED if name not in found.variables]
    if missing:
        raise DesignError(f"no {missing[0]!r} in a result; give two results of decode.")
    if set(first["unit"].values.tolist()) != set(second["unit"].values.tolist()):
        raise DesignError(
            f"the decoders were tested on different stimuli, {first.sizes['unit']} and "
            f"{second.sizes['unit']}; decode the same ones twice."
        )
    other = second.sel(unit=first["unit"].values)
    if not np.array_equal(first["true_class"].values, other["true_class"].values):
        raise DesignError("the decoders had different classes; give both the same column `by`.")
    if not np.array_equal(first["test_fold"].values, other["test_fold"].values):
        raise DesignError("the decoders had different folds; give both the same groups, seed and stimuli.")
    n_first, n_second = first.sizes[LAYER], second.sizes[LAYER]
    if n_first != n_second and 1 not in (n_first, n_second):
        raise DesignError(
            f"the decoders have {n_first} and {n_second} layers; give the same layers, or one layer as "
            "baseline."
        )
    labels = [found[LAYER].values.tolist() for found in (first, second) if LAYER in found.coords]
    if n_first == n_second > 1 and len(labels) == 2 and labels[0] != labels[1]:
        raise DesignError(f"the decoders have layers {labels[0]} and {labels[1]}; align them first.")


_NEEDED = ("fold_auroc", "test_fold", "true_class", "unit")
