"""In which space an ROI lies, and whether several lie in the same one."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER
from neurosae.schema.provenance import provenance


def members_of(roi: xr.Dataset) -> np.ndarray:
    """Members of an ROI, (L, F) bool."""
    return np.asarray(roi["member"].transpose(LAYER, FEATURE).values, dtype=bool)


def has_map(roi: xr.Dataset) -> bool:
    """Whether an ROI carries the statistic of each feature, as those of `localize` do."""
    return "stat" in roi and set(roi["stat"].dims) == {LAYER, FEATURE}


def check_rois(rois: Sequence[xr.Dataset]) -> None:
    """Raise `DesignError` unless there are two or more ROIs (layer, feature), all of one space."""
    if len(rois) < 2:
        raise DesignError(f"two or more ROIs are needed, got {len(rois)}.")
    for number, roi in enumerate(rois):
        if "member" not in roi or set(roi["member"].dims) != {LAYER, FEATURE}:
            raise DesignError(f"ROI {number} has no 'member' (layer, feature); localize, or take one fold.")
        difference = space_difference(rois[0], roi)
        if difference:
            raise DesignError(
                f"ROI {number} differs from ROI 0 in {difference}: features of different spaces are "
                "different features. Take ROIs of one subject, site, basis, layers and features."
            )


def space_difference(first: xr.Dataset, other: xr.Dataset | xr.DataArray) -> str:
    """What keeps two ROIs from lying in one space, or an empty string."""
    for name in ("site", "basis"):
        if name in first.attrs and name in other.attrs and first.attrs[name] != other.attrs[name]:
            return f"{name} ({first.attrs[name]!r} and {other.attrs[name]!r})"
    subjects = [_weights(roi) for roi in (first, other)]
    if all(subjects) and subjects[0] != subjects[1]:
        return "subject"
    for dim in (LAYER, FEATURE):
        is_labelled = dim in first.coords and dim in other.coords
        if first.sizes[dim] != other.sizes[dim] or (
            is_labelled and not np.array_equal(first[dim].values, other[dim].values)
        ):
            return f"{dim}s"
    return ""


def _weights(roi: xr.Dataset | xr.DataArray) -> str:
    subject = provenance(roi).get("subject")
    return str(subject.get("weights_sha256") or subject.get("name", "")) if isinstance(subject, dict) else ""
