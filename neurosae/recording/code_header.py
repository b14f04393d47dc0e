"""What a session says of the codes it holds."""

from collections.abc import Mapping
from typing import Any

from neurosae.dictionary.interface import Dictionary
from neurosae.recording.code_recordings import code_folder
from neurosae.recording.fit import Fit
from neurosae.recording.header import file_attrs

IDENTITY = ("name", "subject", "site", "layer", "n_features", "d_in", "weights_sha256")
"""What makes two dictionaries the same."""


def described(dictionary: Dictionary, fit: Fit) -> dict[str, Any]:
    """Entry of a dictionary in ``session.json``: where its codes are, what it is, how it fits these stimuli.

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> described(ToyDictionary(2, 4), Fit(0.1, 1.5))["folder"]
    'resid_post+toy-resid_post-l0'
    """
    return {
        "folder": code_folder(dictionary.site, dictionary.name),
        **dictionary.describe(),
        "fvu": fit.fvu,
        "l0": fit.l0,
    }


def code_file_attrs(header: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, str]:
    """Global attributes of every file of a store of codes."""
    attrs = file_attrs(header, str(entry["site"]))
    return {
        **attrs,
        "title": f"{attrs['title']}, in {entry['name']}",
        "source": f"{attrs['source']}, encoded by {entry['name']}",
        "processing_level": "codes",
        "basis": str(entry["name"]),
        "dictionary_sha256": str(entry.get("weights_sha256", "not stated")),
    }
