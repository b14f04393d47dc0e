"""Load a dictionary from a folder in sae-lens format; offline, safetensors only."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from sae_lens import SAE

from neurosae.dictionary.hook_names import site_and_layer
from neurosae.dictionary.interface import Dictionary
from neurosae.dictionary.weights import WEIGHTS, check_weights, read_config
from neurosae.errors import DictionaryError
from neurosae.schema.names import SITES
from neurosae.schema.spelling import listed

ARCHITECTURES = ("standard", "topk", "jumprelu", "gated")
"""Architectures that are read; BatchTopK and Matryoshka dictionaries are saved as jumprelu."""

_BATCH_BYTES = 64 * 2**20


def load_dictionary(
    path: str | Path,
    *,
    subject: str | None = None,
    site: str | None = None,
    layer: int | None = None,
    name: str | None = None,
) -> Dictionary:
    """A dictionary from a folder with cfg.json and sae_weights.safetensors.

    Parameters
    ----------
    path : the folder
    subject, site, layer : where the dictionary belongs; only for one whose metadata does not say, and
        recorded as told by the user
    name : how it is called, by default the name of the folder

    Returns
    -------
    Dictionary

    Raises
    ------
    DictionaryError
        If files are missing, damaged, pickled or do not fit each other; weights are not finite; the
        architecture or the normalisation is not one that is read; or where it belongs is not known, or
        contradicts the metadata.

    Examples
    --------
    >>> load_dictionary("no/such/folder")
    Traceback (most recent call last):
    neurosae.errors.DictionaryError: no dictionary at no/such/folder. ...
    """
    folder = Path(path)
    config = read_config(folder)
    _check_kind(config, folder)
    known, told = _placed(_metadata(config), {"subject": subject, "site": site, "layer": layer}, folder)
    check_weights(folder, int(str(config["d_in"])), int(str(config["d_sae"])))
    return SaeDictionary(folder, name or folder.resolve().name, config, known, told)


class SaeDictionary:
    """A sparse autoencoder of sae-lens behind the interface of a dictionary."""

    def __init__(
        self,
        folder: Path,
        name: str,
        config: Mapping[str, object],
        known: Mapping[str, object],
        told: Mapping[str, object],
    ) -> None:
        self._sae = SAE.load_from_disk(folder, device="cpu", dtype="float32").eval().requires_grad_(False)
        self._sae.turn_off_forward_pass_hook_z_reshaping()
        self._sha256 = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        self.name, self.folder = name, folder.absolute()
        self.subject, self.site = str(known["subject"]), str(known["site"])
        self.layer = int(str(known["layer"]))
        self.d_in, self.n_features = self._sae.cfg.d_in, self._sae.cfg.d_sae
        self.decoder: np.ndarray = _decoder(self._sae)
        self.bias: np.ndarray = self._sae.b_dec.numpy()
        self.metadata: Mapping[str, object] = {
            **_metadata(config),
            "architecture": config["architecture"],
            "told": dict(told),
        }

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
    if architecture not in ARCHITECTURES:
        raise DictionaryError(
            f"{folder} holds the architecture {architecture!r}. Those that are read: {listed(ARCHITECTURES)}."
        )
    normalisation = config.get("normalize_activations", "none")
    if normalisation not in ("none", None):
        raise DictionaryError(
            f"{folder} expects activations normalised by {normalisation!r}; recordings hold raw ones. "
            "Fold the scale into the weights and save it with normalize_activations 'none'."
        )


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
