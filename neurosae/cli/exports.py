"""The verb that hands a session or a result to other programs."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeGuard, cast

import typer

import neurosae as ns
from neurosae.cli.console import say_summary
from neurosae.cli.options import AsJson, How, Out, Overwrite, Site
from neurosae.cli.sources import recorded
from neurosae.errors import StorageError

if TYPE_CHECKING:  # xarray takes longer to import than the help to print
    import xarray as xr

    from neurosae.recording.sparse import SparseRecording

    Exported: TypeAlias = xr.DataArray | xr.Dataset | SparseRecording

DENSE_BYTES = 2**31
"""Largest recording that --dense writes."""


class Target(StrEnum):
    """What a file is for."""

    NUMPY = "numpy"
    MATLAB = "matlab"
    R = "r"
    CSV = "csv"
    PARQUET = "parquet"
    SAFETENSORS = "safetensors"


def export(
    source: Annotated[Path, typer.Argument(help="Folder of a session, or a stored result (.nc).")],
    target: Annotated[Target, typer.Option("--for", help="Program or kind of file.")],
    out: Out,
    site: Site = None,
    dictionary: Annotated[
        list[str] | None, typer.Option(help="Export codes of this dictionary; again for more layers.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Tokens to pool: all, first:5, last:1, target… Codes stay unpooled.")
    ] = None,
    how: How = "mean",
    dense: Annotated[
        bool, typer.Option("--dense", help="Every token, zeros and NaN written out; up to 2 GB.")
    ] = False,
    layers: Annotated[str | None, typer.Option(help="Layers to keep, as in 0,6,12; by default all.")] = None,
    features: Annotated[str | None, typer.Option(help="Features to keep, as in 5,103.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write responses or codes of a session, or a result, for another program.

    --site, --window and --how choose the responses of a session; --dictionary its codes, which are pooled too
    where a --window is given. --dense writes tokens instead of responses.
    """
    labelled = _source(source, site, dictionary or [])
    for dim, written in (("layer", layers), ("feature", features)):
        labelled = labelled if written is None else _selected(labelled, dim, written)
    if source.is_dir():
        labelled = _formed(labelled, dense=dense, window=window, how=how)
    written_to = _writer(target)(labelled, out, overwrite=overwrite)
    size = {"dense_bytes": _n_bytes(labelled)} if dense else {}
    sizes = {str(dim): length for dim, length in labelled.sizes.items()}
    say_summary({"for": target.value, "sizes": sizes, **size, "written": written_to}, as_json=as_json)


def _source(source: Path, site: str | None, dictionaries: list[str]) -> "Exported":
    if not source.is_dir():
        return ns.load_netcdf(source)
    return recorded(source, site, dictionaries)


def _selected(labelled: "Exported", dim: str, written: str) -> "Exported":
    if not all(part.strip().isdigit() for part in written.split(",")):
        raise typer.BadParameter(f"{written!r}: write numbers separated by commas, as in 0,6,12.")
    if dim not in labelled.coords:
        raise StorageError(f"this result has no {dim}s; leave --{dim}s out.")
    wanted = [int(part) for part in written.split(",")]
    known = labelled[dim].values.tolist()
    missing = [label for label in wanted if label not in known]
    if missing:
        some = ", ".join(map(str, known[:20])) + (", …" if len(known) > 20 else "")
        raise StorageError(f"no {dim} {missing[0]}; {dim}s: {some}.")
    return labelled.sel(layer=wanted) if dim == "layer" else labelled.sel(feature=wanted)


def _formed(labelled: "Exported", *, dense: bool, window: str | None, how: str) -> "Exported":
    """What is written of a session: dense tokens, sparse codes, or responses."""
    if dense:
        return labelled.to_xarray(max_bytes=DENSE_BYTES) if _is_codes(labelled) else _guarded(labelled)
    if _is_codes(labelled) and window is None:
        return labelled
    return ns.pool_tokens(labelled, window=window or "all", how=how)


def _is_codes(labelled: "Exported") -> "TypeGuard[SparseRecording]":
    return hasattr(labelled, "sources")


def _n_bytes(labelled: "Exported") -> int:
    return 0 if _is_codes(labelled) else cast("xr.DataArray", labelled).nbytes


def _guarded(labelled: "Exported") -> "Exported":
    size = _n_bytes(labelled)
    if size > DENSE_BYTES:
        raise StorageError(
            f"the dense recording takes {size / 1e9:,.1f} GB and {DENSE_BYTES / 1e9:,.1f} GB are allowed. "
            "Choose --layers and --features, or leave --dense out."
        )
    return labelled


def _writer(target: Target) -> Callable[..., Path]:
    writers: dict[Target, Callable[..., Path]] = {
        Target.NUMPY: ns.export.to_numpy,
        Target.MATLAB: ns.export.to_matlab,
        Target.R: ns.export.to_r,
        Target.CSV: ns.export.to_csv,
        Target.PARQUET: ns.export.to_parquet,
        Target.SAFETENSORS: ns.export.to_safetensors,
    }
    return writers[target]
