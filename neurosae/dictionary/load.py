"""Load a dictionary from a folder, or by the name of a release; offline, and nothing that can run code."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from sae_lens import SAE

from neurosae.dictionary.formats import read_format
from neurosae.dictionary.hook_names import site_and_layer
from neurosae.dictionary.interface import Dictionary
from neurosae.dictionary.releases import Found, find_release, shipped_folder
from neurosae.errors import DictionaryError
from neurosae.schema.names import SITES
from neurosae.schema.spelling import listed

ARCHITECTURES = ("standard", "topk", "jumprelu", "gated")
"""Architectures that are read; BatchTopK and Matryoshka dictionaries are saved as jumprelu."""

SCALED, SCALER = "expected_average_only_in", "activation_scaler.json"
"""Normalisation by one number for all tokens, and the file in which sae-lens keeps it."""

_BATCH_BYTES = 64 * 2**20


def load_dictionary(
    path: str | Path,
    *,
    subject: str | None = None,
    site: str | None = None,
    layer: int | None = None,
    name: str | None = None,
    scale: float | None = None,
) -> Dictionary:
    """A dictionary from a folder with cfg.json and sae_weights.safetensors, or by its name.

    Nothing is fetched: releases are looked for in the folder that the environment variable
    ``NEUROSAE_DICTIONARIES`` names, then in the cache of Hugging Face.

    Parameters
    ----------
    path : the folder, in the format of sae-lens or with params.npz of Gemma Scope; the name of a dictionary
        that is part of neurosae, 'smollm2-135m/l15-btk'; or RELEASE/ID as sae-lens lists it, such as
        'gpt2-small-res-jb/blocks.6.hook_resid_pre'
    subject, site, layer : where the dictionary belongs; only for one whose metadata does not say, and
        recorded as told by the user
    name : how it is called, by default the name of the folder
    scale : what activations are to be multiplied by before they are encoded; only for a dictionary of
        normalised activations whose files do not say, and folded into its weights

    Returns
    -------
    Dictionary

    Raises
    ------
    DictionaryError
        If files are missing, damaged, pickled or do not fit each other; weights are not finite; it is a
        transcoder; the architecture or the normalisation is not one that is read; or where it belongs is
        not known, or contradicts the metadata.

    Examples
    --------
    >>> load_dictionary("no/such/folder")
    Traceback (most recent call last):
    neurosae.errors.DictionaryError: no dictionary at no/such/folder. ...
    """
    found = _found(path)
    read = read_format(found)
    _check_kind(read.config, found.folder)
    listed_subject = {} if found.subject is None else {"model_name": found.subject}
    metadata = {**listed_subject, **_metadata(read.config), **_published(found)}
    given = {"subject": subject, "site": site, "layer": layer}
    known, told = _placed(metadata, given, found.folder)
    sae = read.autoencoder()
    factor, told_factor = _scale(read.config, found, scale)
    if factor is not None:
        sae.fold_activation_norm_scaling_factor(factor)
    metadata |= {"architecture": read.config["architecture"], "told": {**told, **told_factor}}
    called = name or (str(path).replace("/", "-") if found.release else found.folder.resolve().name)
    opened = SaeDictionary(sae, read.weights, called, known, metadata)
    opened.address = str(path) if found.release else str(found.folder.absolute())
    return opened


class SaeDictionary:
    """A sparse autoencoder of sae-lens behind the interface of a dictionary."""

    def __init__(
        self,
        sae: SAE,
        weights: Path,
        name: str,
        known: Mapping[str, object],
        metadata: Mapping[str, object],
    ) -> None:
        self._sae = sae
        self._sae.turn_off_forward_pass_hook_z_reshaping()
        self._sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        self.name, self.folder = name, weights.parent.absolute()
        self.address = str(self.folder)
        self.subject, self.site = str(known["subject"]), str(known["site"])
        self.layer = int(str(known["layer"]))
        self.d_in, self.n_features = self._sae.cfg.d_in, self._sae.cfg.d_sae
        self.decoder: np.ndarray = _decoder(self._sae)
        self.bias: np.ndarray = self._sae.b_dec.numpy()
        self.metadata: Mapping[str, object] = metadata

    def encode(self, rows: np.ndarray) -> sp.csr_array:
        """Codes (n, feature) float32 of activations (n, d_in); never dense beyond one batch of rows."""
        if rows.ndim != 2 or rows.shape[1] != self.d_in:
            raise DictionaryError(
                f"rows of shape {rows.shape} are given; {self.name} encodes rows of width {self.d_in}."
            )
        if len(rows) == 0:
            return sp.csr_array((0, self.n_features), dtype=np.float32)
        return sp.csr_array(sp.vstack([self._batch(part) for part in self._parts(rows)], format="csr"))

    def decode(self, codes: sp.csr_array) -> np.ndarray:
        """Activations (n, d_in) float32 rebuilt from codes."""
        return np.asarray(codes @ self.decoder + self.bias, dtype=np.float32)

    def describe(self) -> dict[str, object]:
        """Identity for provenance."""
        return {
            "name": self.name,
            "subject": self.subject,
            "site": self.site,
            "layer": self.layer,
            "n_features": self.n_features,
            "d_in": self.d_in,
            "weights_sha256": self._sha256,
            "architecture": self.metadata["architecture"],
            "told": self.metadata["told"],
        }

    def _parts(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        at_once = max(1, _BATCH_BYTES // (4 * self.n_features))
        bounds = [*range(0, len(rows), at_once), len(rows)]
        return (rows[start:stop] for start, stop in itertools.pairwise(bounds))

    def _batch(self, rows: np.ndarray) -> sp.csr_array:
        with torch.inference_mode():
            return _sparse(self._sae.encode(torch.tensor(rows, dtype=torch.float32)).numpy())


def _sparse(codes: np.ndarray) -> sp.csr_array:
    """The codes above or below 0; their bits are searched, which is six times as fast as their values."""
    flat = np.ascontiguousarray(codes).ravel()
    places = np.flatnonzero(flat.view(np.uint32))
    row, column = np.divmod(places, codes.shape[1])
    pointers = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(codes)))])
    found = sp.csr_array(
        (flat[places], column.astype(np.int32), pointers.astype(np.int32)), shape=codes.shape
    )
    found.eliminate_zeros()  # -0.0 has a bit
    return found


def _decoder(sae: SAE) -> np.ndarray:
    """What a code of 1 writes; some dictionaries scale their codes by the length of the decoder's rows."""
    weights = sae.W_dec.detach()
    if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        weights = weights / weights.norm(dim=1, keepdim=True)
    return np.asarray(weights.numpy())


def _metadata(config: Mapping[str, object]) -> dict[str, object]:
    metadata = config.get("metadata")
    return dict(metadata) if isinstance(metadata, Mapping) else {}


def _check_kind(config: Mapping[str, object], folder: Path) -> None:
    architecture = config.get("architecture")
    if "transcoder" in str(architecture):
        raise DictionaryError(
            f"{folder} holds the architecture {architecture!r}: it reads one site and writes another. "
            "Dictionaries are needed that rebuild the site they encode."
        )
    if architecture not in ARCHITECTURES:
        raise DictionaryError(
            f"{folder} holds the architecture {architecture!r}. Those that are read: {listed(ARCHITECTURES)}."
        )
    normalisation = config.get("normalize_activations", "none")
    if normalisation not in ("none", None, SCALED):
        raise DictionaryError(
            f"{folder} expects activations normalised by {normalisation!r}, each token by its own length, so "
            "that its features say nothing of raw ones. Take a dictionary of raw activations."
        )


def _scale(
    config: Mapping[str, object], found: Found, told: float | None
) -> tuple[float | None, dict[str, object]]:
    """What activations are multiplied by before they are encoded, and the same if the user had to tell it."""
    if config.get("normalize_activations") != SCALED:
        if told is not None:
            raise DictionaryError(f"{found.folder} is of raw activations. Leave scale out.")
        return None, {}
    path = found.folder / SCALER
    stored = json.loads(path.read_text(encoding="utf-8")).get("scaling_factor") if path.is_file() else None
    known = stored if found.scale is None else found.scale
    if known is None and told is None:
        raise DictionaryError(
            f"{found.folder} is of activations scaled to a common length, and its files do not say by what. "
            "Tell it: scale=..., sqrt(d_in) divided by the mean norm of the activations it was trained on."
        )
    if known is not None and told is not None and told != known:
        raise DictionaryError(f"{found.folder} has scale {known!r}, not {told!r}. Leave scale out.")
    factor = float(str(told if known is None else known))
    if not (factor > 0 and factor < float("inf")):
        raise DictionaryError(f"scale {factor} is no positive number.")
    return factor, {"scale": factor} if known is None else {}


def _found(path: str | Path) -> Found:
    """Where the files are; a path comes before a name of the same spelling."""
    folder = Path(path)
    if folder.exists():
        return Found(folder)
    shipped = shipped_folder(str(path))
    return Found(shipped) if shipped is not None else find_release(str(path)) or Found(folder)


def _published(found: Found) -> dict[str, object]:
    """What a release says of a dictionary, kept apart from what the dictionary's own files say."""
    return {f"published_{key}": value for key, value in found.published.items()}


def _placed(
    metadata: Mapping[str, object], given: Mapping[str, object], folder: Path
) -> tuple[dict[str, object], dict[str, object]]:
    """Subject, site and layer from the metadata, and those among them that the user had to tell."""
    known: dict[str, object] = {}
    if isinstance(metadata.get("model_name"), str):
        known["subject"] = metadata["model_name"]
    if isinstance(metadata.get("hook_name"), str):
        known["site"], known["layer"] = site_and_layer(str(metadata["hook_name"]))
    told = {key: value for key, value in given.items() if value is not None and key not in known}
    for key, value in given.items():
        if value is None and key not in known:
            raise DictionaryError(f"the metadata of {folder} does not name its {key}. Tell it: {key}=...")
        if value is not None and known.get(key, value) != value:
            raise DictionaryError(
                f"{folder} belongs to {key} {known[key]!r}, not {value!r}. Leave {key} out."
            )
    if told.get("site", SITES[0]) not in SITES:
        raise DictionaryError(f"unknown site {told['site']!r}. Sites: {listed(SITES)}.")
    return {**known, **told}, told
