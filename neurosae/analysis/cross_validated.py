"""How far apart are conditions, taken out what templates or paraphrases add? RDMs across independent runs."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from neurosae.analysis.averaging import average_units
from neurosae.analysis.dissimilarities import STIMULUS_2, check_column, count_units, layer_values
from neurosae.arrays.crossnobis import crossnobis, poisson_cv, whitened
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_response_dims, stimulus_table
from neurosae.schema.units import unit_column

LARGEST_COVARIANCE = 2000
"""Features up to which a covariance matrix is estimated; beyond, features are taken as independent."""


def crossnobis_rdm(
    responses: xr.DataArray, by: str, *, runs: str = "template", noise: str = "auto"
) -> xr.DataArray:
    """How far apart the levels of ``by`` are in each layer, beyond what differs between runs.

    d_ij = mean over pairs of different runs m, m' of (x_i^m - x_j^m)' S^-1 (x_i^m' - x_j^m') / P: the
    cross-validated Mahalanobis distance. Where two levels do not differ its expectation is 0, so distances
    may be negative and are kept so.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    by : column whose levels are the rows of the RDM, such as item or condition
    runs : column of independent renderings, at least two, each with every level: template, paraphrase
    noise : S is the covariance of what runs add to each level, ``"shrinkage"`` (off-diagonal shrunk) or
        ``"diagonal"``; ``"none"`` leaves S out. ``"auto"``: shrinkage up to 2000 features, else diagonal

    Returns
    -------
    DataArray (layer, stimulus, stimulus_2) named ``dissimilarity``
        As that of `neurosae.analysis.rsa.rdm`, with the levels of ``by`` as stimuli in order of first
        appearance. With conditions as levels it is the linear discriminant contrast (LDC).

    Raises
    ------
    DesignError
        If a column is missing, there is one run, or a run lacks a level.

    Notes
    -----
    S is estimated from the same runs, and its inverse overstates distances by about a constant. Comparisons
    of RDMs do not notice, tests of a distance against 0 do: of three runs of 40 items that do not differ, in
    units of the noise of a run, distances are .09 on average with shrinkage and 30 features (200 features:
    .02), .015 with diagonal, and 0 with ``"none"``, which is the choice for such a test.

    Source
    ------
    Walther et al. 2016, NeuroImage 137:188; Nili et al. 2014, PLoS Comput Biol 10:e1003553.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> responses = planted_responses(n_items=4, n_templates=3, planted=[(1, f) for f in range(16)])
    >>> crossnobis_rdm(responses, "condition", noise="none").sel(stimulus="A", stimulus_2="B").values.round(1)
    array([0.2, 5.4, 0.4])
    """
    if noise == "auto":
        noise = "shrinkage" if responses.sizes.get(FEATURE, 0) <= LARGEST_COVARIANCE else "diagonal"
    return _rdm(responses, by, runs, lambda cells: crossnobis(whitened(cells, noise)), ("crossnobis", noise))


def poisson_cv_rdm(responses: xr.DataArray, by: str, *, runs: str = "template") -> xr.DataArray:
    """How far apart the levels of ``by`` are in each layer, as Poisson rates that repeat over runs.

    Mean over runs of the symmetrised Kullback-Leibler divergence between the rates of the other runs and
    those of the run, see `neurosae.arrays.crossnobis.poisson_cv`. Meant for rates of the features of a
    dictionary.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), >= 0
    by, runs : as in `crossnobis_rdm`

    Returns
    -------
    DataArray (layer, stimulus, stimulus_2) named ``dissimilarity``, may be negative

    Raises
    ------
    DesignError
        As `crossnobis_rdm`, and if a value is negative.

    Source
    ------
    Schuett et al. 2023, eLife 12:e82566.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> rates = np.exp(planted_responses(n_items=4, n_templates=3))
    >>> poisson_cv_rdm(rates, "condition").shape
    (3, 2, 2)
    """
    return _rdm(responses, by, runs, poisson_cv, ("poisson_cv", "none"))


def _rdm(
    responses: xr.DataArray,
    by: str,
    runs: str,
    measure: Callable[[np.ndarray], np.ndarray],
    method: tuple[str, str],
) -> xr.DataArray:
    check_response_dims(responses)
    for column in (by, runs):
        check_column(responses, column)
    rows = average_units(responses, unit=by, by=())
    cells = average_units(responses, unit=by, by=(runs,))
    order = _cell_order(cells, by, runs)
    matrices = np.stack([measure(layer_values(cells, layer)[order]) for layer in range(cells.sizes[LAYER])])
    matrices[:, np.arange(len(rows)), np.arange(len(rows))] = 0.0
    unit = unit_column(stimulus_table(rows))
    metric, noise = method
    settings = {"metric": metric, "scaling": noise, "by": by, "runs": runs}
    silent = np.zeros(matrices.shape[:2], dtype=bool)
    marks = {
        "silent": ((LAYER, STIMULUS), silent),
        "n_units": (LAYER, count_units(rows[unit].values, silent)),
    }
    coords = {label: c for label, c in rows.coords.items() if FEATURE not in c.dims}
    return xr.DataArray(
        matrices,
        dims=(LAYER, STIMULUS, STIMULUS_2),
        coords={**coords, **marks, STIMULUS_2: rows[STIMULUS].values},
        name="dissimilarity",
        attrs={
            "long_name": f"{metric} dissimilarity",
            "units": "a.u.^2" if (metric, noise) == ("crossnobis", "none") else "1",
            **settings,
            "unit": unit,
            "n_runs": len(order),
            "site": str(responses.attrs.get("site", "")),
            "basis": str(responses.attrs.get("basis", UNITS_BASIS)),
            **with_step(responses, metric, **settings),
        },
    )


def _cell_order(cells: xr.DataArray, by: str, runs: str) -> np.ndarray:
    """Row of each cell (run, level), levels in order of first appearance."""
    levels, names = cells[by].values, np.unique(cells[runs].values)
    firsts: Sequence[object] = list(dict.fromkeys(levels.tolist()))
    at = {
        (run, level): row
        for row, (run, level) in enumerate(zip(cells[runs].values.tolist(), levels.tolist(), strict=True))
    }
    missing = [(run, level) for run in names.tolist() for level in firsts if (run, level) not in at]
    if missing:
        run, level = missing[0]
        raise DesignError(
            f"{len(missing)} of {len(names) * len(firsts)} cells are empty (first: {by} {level!r} has no "
            f"{runs} {run!r}); every run needs every level. Leave out that level or that run."
        )
    return np.array([[at[run, level] for level in firsts] for run in names.tolist()])
