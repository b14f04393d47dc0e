"""Does a dictionary belong to a recording? Equal width is no proof; refusals name both values."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from neurosae.dictionary.interface import Dictionary
from neurosae.errors import DictionaryError
from neurosae.schema.names import LAYER, UNITS_BASIS
from neurosae.schema.provenance import provenance
from neurosae.schema.recordings import check_recording

OTHER_NAMES: Mapping[str, str] = {
    "huggingfacetb/smollm2-135m-instruct": "smollm2-135m",
    "gpt2": "gpt2-small",
    "openai-community/gpt2": "gpt2-small",
    "google/gemma-2-2b": "gemma-2-2b",
    "google/gemma-2-9b": "gemma-2-9b",
    "meta-llama/llama-3.1-8b": "llama-3.1-8b",
}
"""Subjects of the catalogue under the names that dictionaries use, in lower case."""

FVU_LIMIT = 1.0
"""Unexplained variance at which the mean of the rows would rebuild them as well."""


def check_fits(dictionary: Dictionary, recording: xr.DataArray) -> None:
    """Refuse a dictionary of another site, layer, width, subject or BOS policy than the recording.

    Subject and BOS policy are compared where both sides state them.

    Parameters
    ----------
    dictionary : Dictionary
    recording : DataArray (stimulus, token, layer, feature) of raw activations

    Raises
    ------
    DictionaryError
        With what the dictionary was made for and what the recording holds.

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> recording = xr.DataArray(np.zeros((1, 1, 1, 4)), dims=("stimulus", "token", "layer", "feature"),
    ...     coords={"stimulus": ["a"], "layer": [0], "valid": (("stimulus", "token"), [[True]])},
    ...     attrs={"site": "mlp_out", "basis": "units"})
    >>> check_fits(ToyDictionary(2, 4), recording)
    Traceback (most recent call last):
    neurosae.errors.DictionaryError: toy-resid_post-l0 is a dictionary of site 'resid_post'; the recording ...
    """
    check_recording(recording)
    _check_same(dictionary, "basis", UNITS_BASIS, recording.attrs.get("basis", UNITS_BASIS))
    _check_same(dictionary, "site", dictionary.site, recording.attrs.get("site"))
    layers = [int(layer) for layer in np.atleast_1d(recording[LAYER].values)]
    subject = provenance(recording).get("subject")
    known = subject if isinstance(subject, Mapping) else {}
    check_belongs(dictionary, known, layers=layers, width=recording.shape[3])


def check_site(dictionary: Dictionary, sites: Sequence[str]) -> None:
    """Refuse a dictionary of a site of which a session holds no activations.

    Parameters
    ----------
    dictionary : Dictionary
    sites : recorded sites, [] where a session holds codes alone

    Raises
    ------
    DictionaryError
        With the dictionary's site and those recorded.

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> check_site(ToyDictionary(2, 4), ["mlp_out"])
    Traceback (most recent call last):
    neurosae.errors.DictionaryError: toy-resid_post-l0 is a dictionary of site 'resid_post'; the recording ...
    """
    if dictionary.site not in sites:
        _refuse(dictionary, "site", dictionary.site, list(sites) or "no activations, only codes")


def check_belongs(
    dictionary: Dictionary, subject: Mapping[str, object], *, layers: Sequence[int], width: int
) -> None:
    """Refuse a dictionary of another layer, width, subject or BOS policy, before anything is recorded.

    Parameters
    ----------
    dictionary : Dictionary
    subject : what the subject says of itself, see `neurosae.subject.interface.Subject.describe`; its name and
        BOS policy are compared where both sides state them
    layers : blocks that can be encoded
    width : number of features of the subject at the dictionary's site

    Raises
    ------
    DictionaryError
        With what the dictionary was made for and what was found.

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> check_belongs(ToyDictionary(2, 4), {"name": "gpt2"}, layers=[0], width=4)
    Traceback (most recent call last):
    neurosae.errors.DictionaryError: toy-resid_post-l0 is a dictionary of subject 'toy'; the recording ...
    """
    _check_same(dictionary, "width", dictionary.d_in, width)
    if dictionary.layer not in layers:
        _refuse(dictionary, "layer", dictionary.layer, list(layers))
    _check_subject(dictionary, subject)


def fraction_unexplained(dictionary: Dictionary, rows: np.ndarray) -> tuple[float, float]:
    """How badly a dictionary rebuilds rows, and how many features it uses for one.

    FVU = sum |x - x'|^2 / sum |x - mean x|^2; L0 = mean number of codes above 0 a row.

    Parameters
    ----------
    rows : (n, d_in) float, activations of ordinary tokens (no special tokens, no sinks), not all equal

    Returns
    -------
    (FVU, L0) : FVU 0 is perfect, 1 as good as the mean of the rows

    Raises
    ------
    DictionaryError
        If FVU is 1 or more, or cannot be told: the dictionary is of other activations than these.

    Examples
    --------
    >>> from neurosae.dictionary.toy import ToyDictionary
    >>> toy = ToyDictionary(2, 4)
    >>> rows = toy.bias + np.array([[1, 0], [2, 3]]) @ toy.decoder
    >>> fvu, l0 = fraction_unexplained(toy, rows)
    >>> round(fvu, 6), l0
    (0.0, 1.5)
    """
    codes = dictionary.encode(rows)
    exact = rows.astype(np.float64)
    total = float(((exact - exact.mean(axis=0)) ** 2).sum())
    residual = float(((exact - dictionary.decode(codes)) ** 2).sum())
    fvu = residual / total if total > 0 else float("inf")
    if not fvu < FVU_LIMIT:
        raise DictionaryError(
            f"{dictionary.name} leaves {fvu:.3g} of the variance unexplained; the mean alone leaves 1. "
            "It was made for other activations than these: check subject, site and layer."
        )
    return fvu, codes.nnz / len(rows)


def _check_subject(dictionary: Dictionary, subject: Mapping[str, object]) -> None:
    names = [str(subject[key]) for key in ("name", "model", "model_id", "source") if key in subject]
    if names and _plain(dictionary.subject) not in map(_plain, names):
        _refuse(dictionary, "subject", dictionary.subject, names[0])
    bos = dictionary.metadata.get("prepend_bos")
    if isinstance(bos, bool) and isinstance(subject.get("prepend_bos"), bool):
        _check_same(dictionary, "prepend_bos", bos, subject["prepend_bos"])


def _plain(name: str) -> str:
    return OTHER_NAMES.get(name.lower(), name.lower())


def _check_same(dictionary: Dictionary, what: str, needed: object, found: object) -> None:
    if needed != found:
        _refuse(dictionary, what, needed, found)


def _refuse(dictionary: Dictionary, what: str, needed: object, found: object) -> None:
    raise DictionaryError(
        f"{dictionary.name} is a dictionary of {what} {needed!r}; the recording holds {found!r}. "
        "Record what the dictionary was made for, or take another dictionary."
    )
