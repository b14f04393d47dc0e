"""Whether the probabilities of a decoder mean what they say: of 100 stimuli given .8, 80 are of the class.

Calibration is not discrimination: a decoder that always says the base rate is perfectly calibrated.
"""

import numpy as np
import xarray as xr
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosae.analysis.classes import origin
from neurosae.analysis.decoding_design import DecodingDesign, decoding_design, group_columns
from neurosae.analysis.decoding_rows import layer_rows
from neurosae.arrays.calibration import N_BINS, Calibration, measure_calibration
from neurosae.arrays.ridge_decoder import SHRINKAGE
from neurosae.errors import DesignError
from neurosae.schema.names import LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses

CALIBRATIONS = {
    "sigmoid": "logistic function of the score",
    "isotonic": "any increasing function of the score",
}
_ENOUGH_FOR_ISOTONIC = 1000
_INNER_FOLDS = 3

SCALARS = {
    "ece": "expected calibration error",
    "brier": "Brier score of the class against the rest",
    "reliability": "part of the Brier score by miscalibration",
    "resolution": "part of the Brier score that telling stimuli apart removes",
    "uncertainty": "Brier score of the base rate",
    "log_loss": "log loss of the class against the rest",
}
CURVES = {
    "forecast": "mean probability in the bin",
    "observed": "share of the class in the bin",
    "n_rows": "number of stimuli in the bin",
}


def decoder_calibration(
    responses: xr.DataArray,
    by: str,
    *,
    groups: str | tuple[str, str] = "item",
    method: str = "auto",
    seed: int = 0,
) -> xr.Dataset:
    """How well the probabilities that a decoder gives to the classes of unseen stimuli match what is true.

    Ridge classifier on z-scored features; its scores become probabilities by a function learned from inner
    folds (3, groups whole) of the training rows. Tested on the 5 folds of the first repeat of
    `neurosae.analysis.decoding.decode`. For each class against the rest, in 10 bins of equally many stimuli:
    ECE = sum n_b/n |observed_b - forecast_b|; Brier = reliability - resolution + uncertainty, but for the
    variance of forecasts within bins.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature), finite
    by : stimulus column that holds the classes
    groups : as in `neurosae.analysis.decoding.decode`
    method : ``"sigmoid"``, ``"isotonic"``, or ``"auto"``: isotonic from 1000 stimuli on
    seed : root of the random numbers

    Returns
    -------
    Dataset
        (layer, class): ece, brier, reliability, resolution, uncertainty (1), log_loss (nats). (layer, class,
        bin): forecast, observed, n_rows; NaN and 0 in bins that equal forecasts left empty. (layer, unit,
        class): probability. No p: AUROC and its test are those of ``decode``.

    Raises
    ------
    DesignError
        If the method is unknown, or the design cannot be decoded.

    Source
    ------
    Platt 1999, Adv Large Margin Classifiers, 61 (sigmoid); Murphy 1973, J Appl Meteorol 12:595 (Brier);
    Naeini, Cooper & Hauskrecht 2015, AAAI (ECE).

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> found = decoder_calibration(planted_responses(effect=6.0), "condition")
    >>> found["brier"].sel({"class": "A"}).values.round(2)
    array([0.26, 0.08, 0.25])
    """
    check_responses(responses)
    if method not in ("auto", *CALIBRATIONS):
        raise DesignError(f"no calibration {method!r}; choose 'auto' or one of {list(CALIBRATIONS)}.")
    column, crossed = group_columns(responses, groups)
    design = decoding_design(responses, by, column, seed, crossed=crossed, n_repeats=1)
    if method == "auto":
        method = "isotonic" if len(design.labels) >= _ENOUGH_FOR_ISOTONIC else "sigmoid"
    n_layers = responses.sizes[LAYER]
    probability = [
        _probabilities(layer_rows(responses, row), design, method, seed) for row in range(n_layers)
    ]
    found = [
        [measure_calibration(one[:, k], design.labels == k) for k in range(len(design.names))]
        for one in probability
    ]
    settings = {
        "by": by,
        "groups": column if crossed is None else f"{column} x {crossed}",
        "method": method,
        "seed": seed,
    }
    return xr.Dataset(
        _variables(found) | {"probability": ((LAYER, "unit", "class"), np.stack(probability), _P)},
        coords={
            **({LAYER: responses[LAYER]} if LAYER in responses.coords else {}),
            "class": design.names,
            "bin": np.arange(N_BINS),
            "unit": responses[STIMULUS].values.astype(str),
            "true_class": ("unit", design.names[design.labels]),
        },
    ).assign_attrs(
        settings,
        estimator=f"ridge classifier, probabilities by {CALIBRATIONS[method]}",
        n_units=int(design.group.max() + 1),
        **origin(responses),
        **with_step(responses, "decoder_calibration", **settings),
    )


_P = {"long_name": "probability of the class, held out", "units": "1"}


def _probabilities(values: np.ndarray, design: DecodingDesign, method: str, seed: int) -> np.ndarray:
    """Probability of each class for each held-out row, (n, K)."""
    probability = np.empty((len(values), len(design.names)))
    for train, test in design.splits(0):
        if not test.any():
            continue
        labels = design.labels[train]
        inner = StratifiedGroupKFold(_INNER_FOLDS, shuffle=True, random_state=seed)
        splits = list(inner.split(values[train], labels, design.group[train]))
        ridge = RidgeClassifier(alpha=SHRINKAGE * values.shape[1], class_weight="balanced")
        model = CalibratedClassifierCV(
            make_pipeline(StandardScaler(), ridge), method=method, cv=splits, ensemble=False
        )
        model.fit(np.asarray(values[train], dtype=float), labels)
        probability[test] = model.predict_proba(np.asarray(values[test], dtype=float))
    return probability


def _variables(
    found: list[list[Calibration]],
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
    variables: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]] = {}
    for name, text in SCALARS.items():
        values = np.array([[getattr(one, name) for one in layer] for layer in found])
        unit = "nats" if name == "log_loss" else "1"
        variables[name] = ((LAYER, "class"), values, {"long_name": text, "units": unit})
    for name, text in CURVES.items():
        empty = 0 if name == "n_rows" else np.nan
        values = np.array([[_padded(getattr(one, name), empty) for one in layer] for layer in found])
        variables[name] = ((LAYER, "class", "bin"), values, {"long_name": text, "units": "1"})
    return variables


def _padded(values: np.ndarray, empty: float) -> np.ndarray:
    return np.concatenate([values, np.full(N_BINS - len(values), empty)])
