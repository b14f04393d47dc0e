"""How many bits a feature tells about the class of a stimulus, and how sparsely it responds."""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import (
    check_class_counts,
    class_design,
    map_coords,
    map_variables,
    origin,
)
from neurosae.analysis.selectivity import varying_chunks
from neurosae.arrays.class_averages import class_matrices
from neurosae.arrays.correction import adjust
from neurosae.arrays.information import miller_madow_bias, plugin_information, response_bins
from neurosae.arrays.permutation import p_value, relabel
from neurosae.arrays.sparseness import sparseness
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, check_responses
from neurosae.schema.units import unit_keys, with_seen

INFORMATION = {
    "information": ("mutual information with the class, bias removed", "bits"),
    "null_mean": ("mean of that under permuted labels", "bits"),
    "p_unc": ("p, one-sided, uncorrected", "1"),
    "q_fdr": ("q, false discovery rate over valid features", "1"),
    "valid": ("whether the response varies over units", "1"),
}


def mutual_information(
    responses: xr.DataArray,
    by: str,
    *,
    n_bins: int = 3,
    unit: str = "auto",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """How many bits each feature tells about the class of a unit.

    Responses fall into silence and ``n_bins`` equally filled bins of the rest (of all values where some are
    negative). I = Σ p(b, k) log2(p(b, k) / (p(b) p(k))) - (K - 1)(B - 1) / (2 n ln 2), the bias that noise
    gives, B the bins in use; too much is removed where a feature tells nearly all there is. p is one-sided:
    labels are permuted over units (within units that hold several classes).

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite; may be lazy
    by : stimulus column that holds the classes; at least two units in each
    n_bins : bins besides silence
    unit : column that defines the unit of inference; its rows of one class are averaged
    n_permutations : number of relabelings, all of them if there are fewer
    seed : root of the random numbers

    Returns
    -------
    Dataset (layer, feature)
        information, which can fall below 0 in noise; null_mean, its floor under permuted labels; p_unc (not
        corrected), q_fdr (Benjamini-Hochberg), valid; NaN where a feature does not vary. Attribute
        ``class_entropy``: the bits there are to tell.

    Raises
    ------
    DesignError
        If a column is unknown, a label is empty, a class has fewer than two units, ``n_bins`` is below 1, or
        responses are not finite.

    Source
    ------
    Miller 1955, in Information Theory in Psychology, p. 95; Panzeri & Treves 1996, Network 7:87.

    Examples
    --------
    >>> values = np.tile([[1.0, 0.0]], (8, 1))
    >>> values[4:, 0], values[::2, 1] = 0.0, 1.0
    >>> responses = xr.DataArray(
    ...     values[:, None], dims=("stimulus", "layer", "feature"),
    ...     coords={"stimulus": list("abcdefgh"), "condition": ("stimulus", ["hot"] * 4 + ["cold"] * 4)})
    >>> found = mutual_information(responses, "condition")
    >>> found["information"].values.round(2), found["p_unc"].values.round(2)
    (array([[ 0.91, -0.09]]), array([[0.03, 1.  ]]))
    """
    if n_bins < 1:
        raise DesignError(f"n_bins is {n_bins}; at least one bin besides silence is needed.")
    design = class_design(responses, by, unit)
    check_class_counts(design, by)
    relabelings = relabel(design.labels, n_permutations, seed=seed, strata=design.strata)
    shape = (responses.sizes[LAYER], responses.sizes[FEATURE])
    maps = {name: np.full(shape, np.nan) for name in ("information", "null_mean", "p_unc")}
    n_classes = len(design.names)
    observed, null = (class_matrices(drawn, n_classes) for drawn in (design.labels[None], relabelings.labels))
    for place, values in varying_chunks(responses, design, len(relabelings) * n_classes):
        bins = response_bins(values, n_bins)
        bias = miller_madow_bias(bins, n_classes)
        found, drawn = plugin_information(bins, observed)[0], plugin_information(bins, null)
        maps["information"][place] = found - bias
        maps["null_mean"][place] = drawn.mean(axis=0) - bias
        maps["p_unc"][place] = p_value(found, drawn, exact=relabelings.exact, alternative="greater")
    maps["q_fdr"] = adjust(maps["p_unc"].ravel(), "fdr_bh").reshape(shape)
    maps["valid"] = np.isfinite(maps["information"])
    settings = {"by": by, "n_bins": n_bins, "unit": design.column}
    settings |= {"n_permutations": len(relabelings), "scheme": relabelings.scheme, "seed": seed}
    share = design.counts / design.counts.sum()
    result = xr.Dataset(
        map_variables(maps, INFORMATION),
        coords=map_coords(responses),
        attrs={
            **settings,
            "class_entropy": float(-(share * np.log2(share)).sum()),
            "alternative": "greater",
            "n_units": design.n_units,
            "n_classes": n_classes,
            "family_size": int(maps["valid"].sum()),
            **origin(responses),
            **with_step(responses, "mutual_information", **settings),
        },
    )
    return with_seen(result, unit_keys(responses, unit))


def response_sparseness(responses: xr.DataArray) -> xr.Dataset:
    """How few stimuli drive each feature (lifetime), and how few features each stimulus drives (population).

    S = (1 - (mean r)² / mean(r²)) / (1 - 1/n): 0 if all respond alike, 1 if one has the whole response, 0.5
    for exponential responses.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite, not negative; may be lazy

    Returns
    -------
    Dataset
        lifetime (layer, feature), over stimuli; population (stimulus, layer), over features; NaN where all is
        silent.

    Raises
    ------
    DesignError
        If a response is negative or not finite, or there are fewer than two stimuli or features.

    Source
    ------
    Rolls & Tovee 1995, J Neurophysiol 73:713; Vinje & Gallant 2000, Science 287:1273.

    Examples
    --------
    >>> values = np.array([[[1.0, 0.0]], [[1.0, 3.0]]])
    >>> responses = xr.DataArray(values, dims=("stimulus", "layer", "feature"))
    >>> found = response_sparseness(responses)
    >>> found["lifetime"].values, found["population"].values.ravel()
    (array([[0., 1.]]), array([1. , 0.4]))
    """
    check_response_dims(responses)
    lifetime = np.empty((responses.sizes[LAYER], responses.sizes[FEATURE]))
    population = np.empty((responses.sizes[STIMULUS], responses.sizes[LAYER]))
    for layer in range(len(lifetime)):
        one = responses.isel({LAYER: [layer]}).compute()
        check_responses(one)
        values = one.values[:, 0].astype(float)
        lifetime[layer] = sparseness(values)
        population[:, layer] = sparseness(values.T)
    described = {
        "lifetime": ("sparseness over stimuli", "1"),
        "population": ("sparseness over features", "1"),
    }
    columns = {str(name): coord for name, coord in responses.coords.items() if coord.dims == (STIMULUS,)}
    return xr.Dataset(
        map_variables({"lifetime": lifetime}, described)
        | map_variables({"population": population}, described, (STIMULUS, LAYER)),
        coords=map_coords(responses) | columns,
        attrs={**origin(responses), **with_step(responses, "response_sparseness")},
    )
