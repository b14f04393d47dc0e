"""The verb that hands a session or a result to other programs."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import neurosae as ns
from neurosae.cli.console import say_summary
from neurosae.cli.options import AsJson, How, Out, Overwrite, Site, Window
from neurosae.errors import StorageError

if TYPE_CHECKING:  # xarray takes longer to import than the help to print
    import xarray as xr


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
    window: Window = "all",
    how: How = "mean",
    layers: Annotated[str | None, typer.Option(help="Layers to keep, as in 0,6,12; by default all.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write the responses of a session, or a result, for another program.

    --site, --window and --how choose the responses of a session.
    """
    labelled = _source(source, site, window, how)
    chosen = labelled if layers is None else _of_layers(labelled, layers)
    written = _writer(target)(chosen, out, overwrite=overwrite)
    sizes = {str(dim): size for dim, size in chosen.sizes.items()}
    say_summary({"for": target.value, "sizes": sizes, "written": written}, as_json=as_json)


def _source(source: Path, site: str | None, window: str, how: str) -> "xr.DataArray | xr.Dataset":
    if not source.is_dir():
        return ns.load_netcdf(source)
    session = ns.open_session(source)
    return ns.pool_tokens(session[site or session.sites[0]], window=window, how=how)


def _of_layers(labelled: "xr.DataArray | xr.Dataset", written: str) -> "xr.DataArray | xr.Dataset":
    if not all(part.strip().isdigit() for part in written.split(",")):
        raise typer.BadParameter(f"{written!r}: write numbers separated by commas, as in 0,6,12.")
    if "layer" not in labelled.coords:
        raise StorageError("this result has no layers; leave --layers out.")
    wanted = [int(part) for part in written.split(",")]
    known = labelled["layer"].values.tolist()
    missing = [layer for layer in wanted if layer not in known]
    if missing:
        raise StorageError(f"no layer {missing[0]}; layers: {', '.join(map(str, known))}.")
    return labelled.sel(layer=wanted)


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
