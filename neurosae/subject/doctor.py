"""What is installed, which subjects are at hand, how to get the others, and where the cache is."""

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

from neurosae.subject.cache import cache_folder, folder_bytes
from neurosae.subject.catalogue import SubjectCard, list_subjects

PACKAGES = (
    "neurosae",
    "numpy",
    "scipy",
    "pandas",
    "xarray",
    "netCDF4",
    "dask",
    "statsmodels",
    "scikit-learn",
    "nilearn",
    "rsatoolbox",
    "matplotlib",
    "torch",
    "transformers",
    "tokenizers",
    "gguf",
    "transformer-lens",
    "sae-lens",
    "safetensors",
    "huggingface-hub",
    "pydantic",
    "typer",
)


def diagnose() -> dict[str, str]:
    """State of this installation, one line a matter; torch is not loaded to find out.

    Returns
    -------
    dict
        'python', 'package NAME', 'subject NAME', 'dictionaries', 'cluster', 'cache' and 'gpu', each with a
        sentence.

    Examples
    --------
    >>> rows = diagnose()
    >>> rows["subject toy"]
    'at hand: 4 layers of 32 units'
    """
    cache = cache_folder()
    return {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{f"package {name}": _version(name) for name in PACKAGES},
        **{f"subject {card.name}": _subject(card) for card in list_subjects()},
        "dictionaries": "none is shipped yet; load a local sae-lens folder with load_dictionary",
        "cluster": f"distributed {_version('distributed')}, for record --cluster",
        "cache": f"{cache} ({folder_bytes(cache) / 1e6:.0f} MB; set NEUROSAE_CACHE to move it)",
        "gpu": _gpu(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return f"missing. Get it with: pip install {package}"


def _subject(card: SubjectCard) -> str:
    if not card.available:
        return f"missing. {card.how_to_get}"
    return f"at hand: {card.n_layers} layers of {card.d_model} units"


def _gpu() -> str:
    if shutil.which("nvidia-smi") is None:
        return "no NVIDIA driver found; subjects run on the CPU"
    if "cpu" in _version("torch"):
        return f"NVIDIA driver found, but torch {_version('torch')} is built for the CPU"
    return "NVIDIA driver found; device='auto' uses it if torch can"
