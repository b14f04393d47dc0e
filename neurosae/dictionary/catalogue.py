"""Dictionaries by name or by the path of their folder, without loading torch until one is opened."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from neurosae.dictionary.interface import Dictionary
from neurosae.dictionary.releases import find_release, shipped_folder, shipped_names
from neurosae.errors import DictionaryError
from neurosae.schema.spelling import nearest

TOY = "toy"
_TOY_SETTINGS = {"n_features": 32, "d_in": 32, "layer": 2, "shift": 2.0}


def open_dictionary(name: str, folder: Path | None = None) -> Dictionary:
    """The dictionary called ``name``, or the one in the folder of that path.

    Parameters
    ----------
    name : 'toy', which fits the subject of that name; the path of a folder in sae-lens format; a dictionary
        that is part of neurosae; or RELEASE/ID, see `neurosae.dictionary.load.load_dictionary`
    folder : where a relative path begins, by default the working directory

    Returns
    -------
    Dictionary

    Raises
    ------
    DictionaryError
        If there is no such folder or name, or the folder does not hold a dictionary that can be read.

    Examples
    --------
    >>> open_dictionary("toy").n_features
    32
    >>> open_dictionary("tyo")
    Traceback (most recent call last):
    neurosae.errors.DictionaryError: no dictionary 'tyo'; did you mean 'toy'? ...
    """
    check_dictionary(name, folder)
    path = dictionary_path(name, folder)
    if path is None and name in _KNOWN:
        return _KNOWN[name]()
    return cast(Dictionary, _function("neurosae.dictionary.load", "load_dictionary")(path or name))


def check_dictionary(name: str, folder: Path | None = None) -> None:
    """Refuse a name for which `open_dictionary` would find nothing, without loading anything.

    Raises
    ------
    DictionaryError
        With what was looked for.
    """
    if dictionary_path(name, folder) is None and name not in _KNOWN and find_release(name) is None:
        known = [*_KNOWN, *shipped_names()]
        raise DictionaryError(
            f"no dictionary {name!r}{nearest(name, known)} It is neither a known name ({', '.join(known)}) "
            f"nor RELEASE/ID of sae-lens, nor a folder below {folder or Path.cwd()}."
        )


@dataclass(frozen=True)
class DictionaryRecipe:
    """How another process opens the same dictionary: a few words that travel where weights would not.

    told : subject, site and layer, where the user had to tell them
    """

    folder: str
    name: str
    told: tuple[tuple[str, Any], ...]
    sha256: str


def dictionary_recipe(dictionary: Dictionary) -> DictionaryRecipe | None:
    """The recipe of a dictionary that was read from a folder; None for others, which are small."""
    folder = getattr(dictionary, "address", None)
    if folder is None:
        return None
    told = cast(Mapping[str, Any], dictionary.metadata.get("told", {}))
    sha256 = str(dictionary.describe()["weights_sha256"])
    return DictionaryRecipe(str(folder), dictionary.name, tuple(told.items()), sha256)


def make_dictionary(its: DictionaryRecipe) -> Dictionary:
    """The dictionary of a recipe.

    Raises
    ------
    DictionaryError
        If it is not on this machine, or another one is found in its folder.
    """
    load = _function("neurosae.dictionary.load", "load_dictionary")
    found = cast(Dictionary, load(its.folder, name=its.name, **dict(its.told)))
    if found.describe()["weights_sha256"] != its.sha256:
        raise DictionaryError(
            f"{its.folder} holds other weights on this machine than where the recording was started. Give "
            "all machines the same files."
        )
    return found


def dictionary_path(name: str, folder: Path | None = None) -> Path | None:
    """The folder that ``name`` is the path of, or that of a dictionary that is part of neurosae, or None."""
    path = (folder or Path()) / name
    return path.absolute() if path.exists() else shipped_folder(name)


def _toy() -> Dictionary:
    return cast(Dictionary, _function("neurosae.dictionary.toy", "ToyDictionary")(**_TOY_SETTINGS))


_KNOWN: Mapping[str, Callable[[], Dictionary]] = {TOY: _toy}
"""Known name → how the dictionary is opened; by name, because most would load torch."""


def _function(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
