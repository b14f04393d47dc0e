"""Verbs on dictionaries: train them, encode a session."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import neurosae as ns
from neurosae.cli.console import progress, say_summary, watched_progress
from neurosae.cli.options import AsJson, Out, SessionPath
from neurosae.errors import DictionaryError

if TYPE_CHECKING:  # xarray takes longer to import than the help to print
    import xarray as xr

PLAN, TRAINING = "neurosae.protocol.training_plan", "neurosae.recording.dictionary_training"
SWEEP = "neurosae.recording.dictionary_sweep"
"""Modules that are loaded when a verb runs, as they load torch."""


def train(
    recipe: Annotated[Path, typer.Argument(help="TOML with [source], [training] and [[dictionary]].")],
    out: Out,
    corpus: Annotated[
        list[Path] | None, typer.Option("--corpus", help="Text to take in place of source.corpus.")
    ] = None,
    harvest: Annotated[
        Path | None, typer.Option("--harvest", help="Folder of the activations, by default OUT/harvest.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option("--sweep", metavar="KEY=VALUES", help="Vary a setting, such as k=16,32; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train dictionaries on a corpus, or sweep over settings; the same command goes on where it stopped."""
    grid = dict(_varied(text) for text in sweep or ())
    plan = importlib.import_module(PLAN).load_training_plan(recipe, corpus=tuple(corpus or ()))
    shared = {"harvested": harvest, "progress": watched_progress}
    if grid:
        found = importlib.import_module(SWEEP).sweep_plan(plan, grid, out, **shared)
        say_summary({name: _write_sweep(its, out / name) for name, its in found.items()}, as_json=as_json)
        return
    trained = importlib.import_module(TRAINING).train_plan(plan, out, **shared)
    say_summary({name: _quality(its.metadata) for name, its in trained.items()}, as_json=as_json)


def _varied(text: str) -> tuple[str, list[Any]]:
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise DictionaryError(f"--sweep {text!r} is no key and its values. Write it as k=16,32.")
    return key.strip(), [_plain(value.strip()) for value in values.split(",")]


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _write_sweep(result: "xr.Dataset", folder: Path) -> str:
    ns.save_netcdf(result, folder / "sweep.nc", overwrite=True)
    ns.to_table(result, dims=["run"]).to_csv(folder / "sweep.tsv", sep="\t", index=False)
    ns.plotting.plot_training(result).figure.savefig(folder / "curves.png", dpi=150)
    explained = result["explained_variance"].fillna(-1).values
    best = result["run"].values[explained.argmax()]
    return f"{result.sizes['run']} runs, most explained by {best}: {folder / 'sweep.tsv'}"


def _quality(metadata: Mapping[str, Any]) -> str:
    return (
        f"{metadata['l0']:.1f} features a token, {metadata['explained_variance']:.3f} of the variance "
        f"explained, {metadata['num_dead_features']} features never fire"
        if "l0" in metadata
        else "trained; too few tokens to measure it"
    )


def encode(
    session: SessionPath,
    dictionary: Annotated[list[Path], typer.Argument(help="Folders of dictionaries, one a layer.")],
    subject: Annotated[
        str | None, typer.Option(help="Subject of a dictionary whose files do not say.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Site of a dictionary whose files do not say.")] = None,
    layer: Annotated[int | None, typer.Option(help="Layer of a dictionary whose files do not say.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write which features of dictionaries are active in each token of a session."""
    opened = ns.open_session(session)
    loaded = [ns.load_dictionary(path, subject=subject, site=site, layer=layer) for path in dictionary]
    report = progress("encoding")
    codes = ns.encode(opened, loaded, progress=report)
    known = ns.open_session(session).dictionaries
    say_summary(
        {
            "session": session,
            "stimuli": codes.sizes["stimulus"],
            **{
                name: f"{its['l0']:.1f} features a token, {its['fvu']:.2f} of the variance unexplained"
                for name, its in known.items()
                if name in {dictionary.name for dictionary in loaded}
            },
        },
        as_json=as_json,
    )
