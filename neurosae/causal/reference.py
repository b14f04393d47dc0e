"""What a perturbation takes from a reference recording: usual values, usual norms, and whether it fits."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, TOKEN, UNITS_BASIS
from neurosae.schema.recordings import check_recording


def reference_statistics(recording: xr.DataArray, layers: Sequence[int]) -> xr.Dataset:
    """What is usual in a recording: the mean of each unit and the median norm, over valid tokens.

    Parameters
    ----------
    recording : DataArray (stimulus, token, layer, feature), a.u.
    layers : which layers; read one at a time

    Returns
    -------
    Dataset
        mean (layer, feature) float64, median_norm (layer) float64, both a.u.

    Raises
    ------
    DesignError
        If the recording lacks a layer or holds no valid token.

    Examples
    --------
    >>> from neurosae.testing import planted_recording
    >>> usual = reference_statistics(planted_recording(), [1])
    >>> round(float(usual["mean"].sel(layer=1, feature=4)), 1)
    1.2
    """
    check_recording(recording)
    check_layers(layers, recording, "the reference recording")
    valid = recording["valid"].transpose(STIMULUS, TOKEN).values
    if not valid.any():
        raise DesignError("the reference recording holds no valid token; record texts with ordinary tokens.")
    means, norms = [], []
    for layer in layers:
        rows = recording.sel({LAYER: layer}).values[valid].astype(np.float64)
        means.append(rows.mean(axis=0))
        norms.append(np.median(np.linalg.norm(rows, axis=1)))
    return xr.Dataset(
        {
            "mean": ((LAYER, FEATURE), np.array(means), {"long_name": "mean activation", "units": "a.u."}),
            "median_norm": (LAYER, np.array(norms), {"long_name": "median norm", "units": "a.u."}),
        },
        coords={LAYER: list(layers), FEATURE: recording[FEATURE].values},
        attrs={"site": recording.attrs.get("site", "")},
    )


def check_layers(layers: Sequence[int], labelled: xr.DataArray, what: str) -> None:
    """Raise `DesignError` unless ``labelled`` has all ``layers``."""
    missing = sorted(set(layers) - set(labelled[LAYER].values.tolist()))
    if missing:
        raise DesignError(f"no layers {missing} in {what}; there are {labelled[LAYER].values.tolist()}.")


def check_reference(roi: xr.Dataset, reference: xr.DataArray) -> None:
    """Raise `DesignError` unless ``reference`` is a recording of the ROI's site that holds its units."""
    check_recording(reference)
    given = {"site": reference.attrs.get("site"), "basis": reference.attrs.get("basis", UNITS_BASIS)}
    wanted = {"site": roi.attrs.get("site"), "basis": UNITS_BASIS}
    if given != wanted:
        raise DesignError(f"the reference recording is of {given}, the ROI of {wanted}; record that site.")
    check_layers(member_layers(roi["member"]), reference, "the reference recording")
    missing = set(member_features(roi["member"])) - set(reference[FEATURE].values.tolist())
    if missing:
        raise DesignError(f"the reference recording lacks features {sorted(missing)[:5]} of the ROI.")


def member_layers(member: xr.DataArray) -> list[int]:
    """Layers that hold a member."""
    return [int(layer) for layer in member[LAYER].values[member.any(FEATURE).values]]


def member_features(member: xr.DataArray) -> list[int]:
    """Features that are a member in some layer."""
    return [int(feature) for feature in member[FEATURE].values[member.any(LAYER).values]]
