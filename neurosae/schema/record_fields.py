"""What a methods section has to say of a result, collected from what the result carries."""

from collections.abc import Mapping

from neurosae.schema.provenance import Labelled, provenance

FIELDS: Mapping[str, tuple[str, ...]] = {
    "design": ("protocol", "protocol_sha256"),
    "stimuli": ("stimuli", "stimuli_sha256", "excluded"),
    "model": ("subject", "weights_sha256", "tokenizer_sha256", "dtype", "device", "prepend_bos", "attention"),
    "recording": ("recording", "site", "basis", "window", "how"),
    "analysis": ("analysis", "test", "unit", "nuisance", "scheme", "n_permutations", "seed", "alternative"),
    "multiplicity": ("correct", "family", "family_size"),
    "inference": ("n_units", "circular"),
    "software": ("software",),
}
"""Fields of a methods record by heading (after COBIDAS: Nichols et al. 2017, Nat Neurosci 20:299)."""

_RENAMED = {
    "protocol": ("protocol", "name"),
    "protocol_sha256": ("protocol", "sha256"),
    "stimuli": ("stimuli", "name"),
    "stimuli_sha256": ("stimuli", "sha256"),
    "subject": ("subject", "name"),
    "recording": ("recording", "id"),
}
"""Fields that provenance holds under another name."""

NOT_CIRCULAR = "no"


def methods_record(result: Labelled) -> dict[str, dict[str, object]]:
    """The fields that a methods section reports, as far as a result carries them.

    Parameters
    ----------
    result : result of any analysis, or responses

    Returns
    -------
    dict
        Heading to field to value, ready for JSON: see `FIELDS`. Under ``"missing"``, the names of fields that
        the result does not carry, because they do not apply (no correction where nothing was corrected) or
        were not recorded (no model where data were simulated). Under ``"steps"``, what was computed, by
        number, each with all its settings.

    Examples
    --------
    >>> import xarray as xr
    >>> from neurosae.schema.provenance import with_step
    >>> attrs = {"test": "welch", "seed": 0, **with_step(xr.Dataset(), "contrast_map", correct="max_t")}
    >>> record = methods_record(xr.Dataset(attrs=attrs))
    >>> record["analysis"], record["multiplicity"]
    ({'analysis': 'contrast_map', 'test': 'welch', 'seed': 0}, {'correct': 'max_t'})
    """
    known = _known(result)
    record: dict[str, dict[str, object]] = {
        heading: {name: known[name] for name in names if name in known} for heading, names in FIELDS.items()
    }
    names = [name for group in FIELDS.values() for name in group]
    record["missing"] = {name: "not carried by the result" for name in names if name not in known}
    record["steps"] = {str(number): step for number, step in enumerate(_steps(provenance(result)))}
    return record


def _known(result: Labelled) -> dict[str, object]:
    """All that attributes and provenance say; the attributes of the result win over those of its steps."""
    origin = provenance(result)
    found: dict[str, object] = {}
    subject = origin.get("subject")
    found |= dict(subject) if isinstance(subject, Mapping) else {}
    steps = _steps(origin)
    for step in steps:
        found |= {name: value for name, value in step.items() if name != "step"}
    found |= {"analysis": steps[-1]["step"]} if steps else {}
    found |= {"software": origin["software"]} if "software" in origin else {}
    for name, (part, key) in _RENAMED.items():
        value = origin.get(part)
        found.pop(name, None)
        if isinstance(value, Mapping) and key in value:
            found[name] = value[key]
    attrs = {str(name): value for name, value in result.attrs.items() if name not in _RENAMED}
    return {"circular": NOT_CIRCULAR, **found, **attrs}


def _steps(origin: Mapping[str, object]) -> list[dict[str, object]]:
    steps = origin.get("steps")
    return [dict(step) for step in steps] if isinstance(steps, list) else []
