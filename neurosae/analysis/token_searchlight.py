"""Where in the layers and when in the text does a model hold? RSA in every layer and token window."""

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import group_means
from neurosae.analysis.dissimilarities import check_silent_share, count_units, resolve_metric, silent_rows
from neurosae.analysis.exchangeability import row_orders
from neurosae.analysis.feature_patterns import PatternSource, pattern_source
from neurosae.analysis.profiles import OVERLAP, Recorded, labels_of
from neurosae.analysis.rdm_models import aligned_model
from neurosae.arrays.distance import dissimilarity, z_score
from neurosae.arrays.mantel import mantel
from neurosae.arrays.permutation import max_statistic_p, p_value
from neurosae.arrays.rdm_comparison import check_method
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS, UNITS_BASIS, WINDOW
from neurosae.schema.provenance import with_step
from neurosae.schema.units import unit_keys, with_seen


def searchlight_rsa(
    recording: Recorded,
    model: xr.DataArray,
    *,
    window: str = "relative:10",
    width: int = 1,
    metric: str = "auto",
    method: str = "rho-a",
    unit: str = "auto",
    n_permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """How well each layer follows the model at each place in the text.

    A cell is a layer and ``width`` neighbouring values of the course over tokens, averaged. p is one-sided
    (greater), from permutations of the stimuli that are the same in all cells.

    Parameters
    ----------
    recording : DataArray (stimulus, token, layer, feature), codes that stay sparse, or responses over windows
        (stimulus, window, layer, feature); read layer by layer
    model : DataArray (stimulus, stimulus_2) of the same rows, see `neurosae.analysis.rdm_models.model_rdm`
    window : places, as for the profiles of `neurosae.analysis.feature_maps.feature_rsa`: ``"relative:q"``,
        ``"target:a:b"``, ``"first:k"`` and so on
    width : neighbouring values that a cell averages
    metric, method, unit : as in `neurosae.analysis.rsa.rdm` and `neurosae.analysis.rsa.compare_rdms`
    n_permutations, seed : as in `neurosae.analysis.rsa.compare_rdms`

    Returns
    -------
    Dataset (layer, window)
        ``similarity``; ``auroc`` of a binary model; ``p``, uncorrected; ``p_adjusted``, family-wise over all
        cells (largest similarity); ``n_units``. Coordinate ``window``: the first value of each cell, from 0.

    Raises
    ------
    DesignError
        If the window gives no course, the width exceeds it, the model does not fit the stimuli, or more than
        10 % of the patterns of a cell are silent.

    Source
    ------
    Kriegeskorte, Goebel & Bandettini 2006, PNAS 103:3863 (searchlight); Nichols & Holmes 2002 (maximum).

    Examples
    --------
    >>> from neurosae.analysis.rdm_models import model_rdm
    >>> from neurosae.testing import planted_recording, planted_responses
    >>> planted = [(1, 3), (1, 4), (1, 5)]
    >>> model = model_rdm(planted_responses(planted=planted), "condition")
    >>> result = searchlight_rsa(planted_recording(planted=planted), model, window="relative:3")
    >>> (result.p_adjusted <= 0.05).values.any(axis=1)
    array([False,  True, False])
    """
    check_method(method)
    if window == OVERLAP:
        raise DesignError("courses of unequal length have no common places; take a window as 'relative:10'.")
    source = pattern_source(recording, "profile", by="condition", window=window, weights=None, unit=unit)
    if not 1 <= width <= source.width:
        raise DesignError(f"width {width}: a cell averages 1 to {source.width} values of the course.")
    units, labels = source.rows[source.unit].values, source.rows[STIMULUS].values
    target = aligned_model(model, labels, units)
    levels = source.rows["condition"].values if "condition" in source.rows.coords else labels
    drawn = row_orders(units, levels, target, n_permutations, seed=seed)
    matrices = _cells(source, width, metric)
    shape = (source.n_layers, source.width - width + 1)
    observed, auroc, null = mantel(matrices, target, drawn.labels, method, units=units)
    p = p_value(observed, null, exact=drawn.exact, alternative="greater")
    adjusted = max_statistic_p(observed, np.fmax.reduce(null, axis=1), exact=drawn.exact)
    variables = {
        "similarity": (observed, f"{method} with {model.attrs.get('long_name', 'the model')}"),
        "auroc": (auroc, "P(between-category distance > within-category distance)"),
        "p": (p, "one-sided permutation p, uncorrected"),
        "p_adjusted": (adjusted, "one-sided permutation p, family-wise over layers and windows"),
        "n_units": (count_units(units, silent_rows(matrices)), "number of units"),
    }
    data = {
        name: ((LAYER, WINDOW), values.reshape(shape), {"long_name": title, "units": "1"})
        for name, (values, title) in variables.items()
    }
    name, scaling = resolve_metric(metric, source.stimuli)
    settings = {"window": source.window, "width": width, "metric": name, "scaling": scaling, "method": method}
    settings |= {"unit": source.unit, "n_permutations": len(drawn), "seed": seed}
    result = xr.Dataset(data, coords={LAYER: source.coords[LAYER], WINDOW: np.arange(shape[1])})
    result.attrs = {
        **settings,
        "alternative": "greater",
        "scheme": drawn.scheme,
        "exact": int(drawn.exact),
        "excluded": source.excluded,
        "site": str(recording.attrs.get("site", "")),
        "basis": str(recording.attrs.get("basis", UNITS_BASIS)),
        **with_step(labels_of(recording), "searchlight_rsa", **settings),
    }
    return with_seen(result, unit_keys(source.stimuli, unit))


def _cells(source: PatternSource, width: int, metric: str) -> np.ndarray:
    """RDMs (layer times window, n, n)."""
    name, scaling = resolve_metric(metric, source.stimuli)
    prepare = z_score if scaling == "z-score" else np.asarray
    matrices = []
    for layer in range(source.n_layers):
        courses = source.read(layer)
        if len(source.rows) < len(source.codes):
            courses = group_means(courses, source.codes)
        for start in range(source.width - width + 1):
            patterns = prepare(courses[:, start : start + width].mean(axis=1))
            where = f"layer {source.coords[LAYER][layer]}, window {start}"
            matrices.append(dissimilarity(patterns, name))
            check_silent_share(matrices[-1], source.rows[STIMULUS].values, name, where)
    return np.stack(matrices)
