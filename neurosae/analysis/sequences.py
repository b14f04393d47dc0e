"""How differently does a layer respond to texts, token by token? RDMs of sequences of unequal length."""

import warnings
from itertools import combinations

import numpy as np
import xarray as xr

from neurosae.analysis.dissimilarities import STIMULUS_2, check_silent_share, count_units, silent_rows
from neurosae.analysis.profiles import OVERLAP, Profiles, Recorded, labels_of, token_profiles
from neurosae.arrays.alignment import ALIGNMENTS, LENGTH_SENSITIVE, sequence_distance
from neurosae.arrays.distance import z_score
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS, UNITS_BASIS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import stimulus_table
from neurosae.schema.units import unit_column


def sequence_rdm(recording: Recorded, *, method: str = "cloud", unit: str = "auto") -> xr.DataArray:
    """How differently each layer responds to the tokens of each pair of texts.

    Units are scaled to SD over all tokens first, so that a few of huge variance do not decide; the features
    of a dictionary are not.

    Parameters
    ----------
    recording : DataArray (stimulus, token, layer, feature), or codes that stay sparse; read layer by layer
    method : an alignment of `neurosae.arrays.alignment.sequence_distance`: ``"cloud"``, ``"softalign"``,
        ``"dtw"``, ``"softdtw"`` or ``"overlap"``
    unit : column of the unit of inference, by default the widest of family, pair, item, stimulus; sequences
        are not averaged, and pairs of one unit will not count in a comparison

    Returns
    -------
    DataArray (layer, stimulus, stimulus_2) named ``dissimilarity``
        As that of `neurosae.analysis.rsa.rdm`, with ``n_tokens`` (stimulus). ``cloud`` may be negative.

    Raises
    ------
    DesignError
        If the method is unknown, fewer than two texts have five valid tokens, tokens are not finite, or more
        than 10 % of the texts of a layer have a token that is all zero (not of ``cloud``).

    Warns
    -----
    UserWarning
        If texts differ in length and the method depends on it: then regress on ``n_tokens`` too, see
        `neurosae.analysis.rdm_partials.rdm_regression`.

    Notes
    -----
    Takes about a millisecond for each pair of texts and layer: 100 texts in 30 layers take minutes.

    Source
    ------
    See `neurosae.arrays.alignment.sequence_distance`.

    Examples
    --------
    >>> from neurosae.testing import planted_recording
    >>> sequence_rdm(planted_recording(n_items=3)).sizes["stimulus"]
    5
    """
    if method not in ALIGNMENTS:
        raise DesignError(f"no alignment {method!r}; choose one of {list(ALIGNMENTS)}.")
    profiles = token_profiles(recording, OVERLAP)
    n_tokens = profiles.n_values
    if method in LENGTH_SENSITIVE and np.ptp(n_tokens) > 0:
        warnings.warn(
            f"texts have {n_tokens.min()} to {n_tokens.max()} tokens, and {method!r} depends on it. Regress "
            "on n_tokens too (rdm_regression), or take 'cloud'.",
            stacklevel=2,
        )
    labels = labels_of(recording)
    is_raw = labels.attrs.get("basis", UNITS_BASIS) == UNITS_BASIS
    n_layers = recording.sizes[LAYER]
    matrices = np.stack([_matrix(profiles, layer, method, is_raw=is_raw) for layer in range(n_layers)])
    for layer, matrix in enumerate(matrices):
        check_silent_share(matrix, labels[STIMULUS].values[profiles.kept], method, f"layer number {layer}")
    coords = {n: c.isel({STIMULUS: profiles.kept}) for n, c in labels.coords.items() if c.dims == (STIMULUS,)}
    if LAYER in labels.coords:
        coords[LAYER] = labels[LAYER]
    rows = xr.Dataset(coords=coords)
    column = unit_column(stimulus_table(rows), unit)
    silent = silent_rows(matrices)
    n_units = count_units(rows[column].values, silent)
    settings = {"metric": method, "scaling": "z-score" if is_raw else "none", "unit": column}
    return xr.DataArray(
        matrices,
        dims=(LAYER, STIMULUS, STIMULUS_2),
        coords={
            **rows.coords,
            STIMULUS_2: rows[STIMULUS].values,
            "n_tokens": (STIMULUS, n_tokens),
            "silent": ((LAYER, STIMULUS), silent),
            "n_units": (LAYER, n_units),
        },
        name="dissimilarity",
        attrs={
            "long_name": f"{method} dissimilarity of sequences",
            "units": "1",
            **settings,
            "excluded": profiles.excluded,
            "site": str(labels.attrs.get("site", "")),
            "basis": str(labels.attrs.get("basis", UNITS_BASIS)),
            **with_step(labels, "sequence_rdm", **settings),
        },
    )


def _matrix(profiles: Profiles, layer: int, method: str, *, is_raw: bool) -> np.ndarray:
    """RDM (n, n) of one layer; a text with an undefined distance is silent, its row and column NaN."""
    courses = profiles.layer(layer)
    texts = [course[:n] for course, n in zip(courses, profiles.n_values, strict=True)]
    if is_raw:
        texts = np.split(z_score(np.concatenate(texts)), np.cumsum(profiles.n_values)[:-1])
    matrix = np.zeros((len(texts), len(texts)))
    for i, j in combinations(range(len(texts)), 2):
        matrix[i, j] = matrix[j, i] = sequence_distance(texts[i], texts[j], method)
    silent = np.array([_has_silent_token(text) for text in texts]) & (method != "cloud")
    return np.where(silent[:, None] | silent[None, :], np.nan, matrix)


def _has_silent_token(text: np.ndarray) -> bool:
    return text.shape[1] > 1 and not text.any(axis=1).all()
