"""Where a recording or result comes from: one JSON attribute, extended by one step at a time."""

import json
from collections.abc import Mapping
from typing import TypeAlias

import xarray as xr

Labelled: TypeAlias = xr.DataArray | xr.Dataset
JsonDict: TypeAlias = dict[str, object]


def provenance(labelled: Labelled) -> JsonDict:
    """What is known of the origin of a recording or result.

    Returns
    -------
    dict
        Keys, where known: ``subject``, ``stimuli``, ``protocol``, ``recording``, and ``steps``, the
        list of what was computed since, oldest first. Empty if nothing is known.

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
    """Attributes of a result computed from ``source``: its provenance plus one step.

    Examples
    --------
    >>> import xarray as xr
    >>> with_step(xr.DataArray([1.0]), "rdm", metric="cosine")
    {'provenance': '{"steps": [{"metric": "cosine", "step": "rdm"}]}'}
    """
    origin = provenance(source)
    earlier = origin.get("steps")
    origin["steps"] = [*(earlier if isinstance(earlier, list) else []), {"step": step, **settings}]
    return provenance_attrs(origin)


def stimulus_set(labelled: Labelled) -> str:
    """Name of the stimulus set behind ``labelled``, or an empty string if it was not recorded."""
    stimuli = provenance(labelled).get("stimuli", {})
    return str(stimuli.get("name", "")) if isinstance(stimuli, dict) else ""
