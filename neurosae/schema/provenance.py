"""Where a recording or result comes from: one JSON attribute, extended by one step at a time."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

import xarray as xr

Labelled: TypeAlias = xr.DataArray | xr.Dataset
JsonDict: TypeAlias = dict[str, object]

_PACKAGES = ("neurosae", "numpy", "scipy", "xarray", "scikit-learn", "statsmodels")
"""Packages that numbers of an analysis depend on."""


def provenance(labelled: Labelled) -> JsonDict:
    """What is known of the origin of a recording or result.

    Returns
    -------
    dict
        Keys, where known: ``subject``, ``stimuli``, ``protocol``, ``recording``, ``steps``, the list of
        what was computed since, oldest first, and ``software``, the versions that computed the last step.
        Empty if nothing is known.

    Examples
    --------
    >>> import xarray as xr
    >>> provenance(xr.DataArray([1.0]))
    {}
    """
    return dict(json.loads(labelled.attrs.get("provenance", "{}")))


def provenance_attrs(origin: Mapping[str, object]) -> dict[str, str]:
    """Attributes that hold ``origin`` as one sorted JSON string, readable from every NetCDF reader."""
    return {"provenance": json.dumps(origin, sort_keys=True, default=str)}


def with_step(source: Labelled, step: str, **settings: object) -> dict[str, str]:
    """Attributes of a result computed from ``source``: its provenance plus one step and the software.

    Examples
    --------
    >>> import xarray as xr
    >>> done = with_step(xr.DataArray([1.0]), "rdm", metric="cosine")
    >>> provenance(xr.DataArray(0.5, attrs=done))["steps"]
    [{'metric': 'cosine', 'step': 'rdm'}]
    """
    origin = provenance(source)
    earlier = origin.get("steps")
    origin["steps"] = [*(earlier if isinstance(earlier, list) else []), {"step": step, **settings}]
    origin["software"] = dict(software())
    return provenance_attrs(origin)


@cache
def software() -> Mapping[str, str]:
    """Versions of neurosae and of the packages below it that are installed.

    Examples
    --------
    >>> "numpy" in software()
    True
    """
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def stimulus_set(labelled: Labelled) -> str:
    """Name of the stimulus set behind ``labelled``, or an empty string if it was not recorded."""
    stimuli = provenance(labelled).get("stimuli", {})
    return str(stimuli.get("name", "")) if isinstance(stimuli, dict) else ""
