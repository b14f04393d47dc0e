"""Activations in a file of torch, for old caches: read on explicit demand, and never as a pickle."""

import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch

from neurosae.errors import StorageError

LARGEST_BYTES = 2**35


def read_pt(path: Path | str) -> np.ndarray:
    """The one tensor in a ``.pt`` file, as float32; give this function to `load_activations` as ``read``.

    Parameters
    ----------
    path : file that holds a tensor, or a dict or list with one

    Returns
    -------
    array float32

    Raises
    ------
    StorageError
        If the file holds anything that could run code, no or several tensors, or unpacks to more than it is.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(torch.ones(2, 3), Path(folder) / "old.pt")
    ...     read_pt(Path(folder) / "old.pt").shape
    (2, 3)
    """
    path = Path(path)
    _check_size(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the age of a pickle that is refused anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise StorageError(
            f"{path} is damaged, or holds more than tensors, and is refused "
            f"({str(error).splitlines()[0][:80]}). Save the activations as .npy or .safetensors."
        ) from None
    found = list(content.values()) if isinstance(content, dict) else content
    tensors = [its for its in (found if isinstance(found, list) else [found]) if torch.is_tensor(its)]
    if len(tensors) != 1:
        raise StorageError(f"{path} holds {len(tensors)} tensors; one is read. Save that one alone.")
    return np.asarray(tensors[0].detach().to(torch.float32).numpy())


def _check_size(path: Path) -> None:
    """Refuse an archive that unpacks to far more than it is: torch itself never compresses."""
    if not path.is_file():
        raise StorageError(f"{path}: there is no such file.")
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(its.file_size for its in archive.infolist())
    if unpacked > min(LARGEST_BYTES, 2 * path.stat().st_size + 2**20):
        raise StorageError(
            f"{path} unpacks to {unpacked / 1e6:,.1f} MB from {path.stat().st_size / 1e6:,.3f} MB, which "
            "torch does not write, and is refused."
        )
