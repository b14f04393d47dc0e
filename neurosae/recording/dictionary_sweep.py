"""Dictionaries over a grid of settings, on the same activations: which setting gives which quality."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neurosae.dictionary.interface import Dictionary
from neurosae.dictionary.produce import TrainingRows, produce
from neurosae.errors import DictionaryError
from neurosae.protocol.recipe import Recipe, load_recipe, read_recipe
from neurosae.protocol.training_plan import TrainingPlan
from neurosae.recording.dictionary_training import (
    HARVEST,
    Progress,
    Source,
    harvest_of_plan,
    log_of,
    silent,
    training_rows,
)
from neurosae.recording.training_rows import of_harvest
from neurosae.schema.provenance import provenance_attrs
from neurosae.schema.spelling import nearest
from neurosae.subject.interface import Subject

MOST_RUNS = 200

_FINAL: Mapping[str, str] = {
    "explained_variance": "variance explained in tokens kept out of training",
    "l0": "features active in a token",
    "num_dead_features": "features that never fire",
}
_CURVES: Mapping[str, str] = {
    "loss": "loss",
    "explained_variance": "variance explained",
    "l0": "features active in a token",
    "dead": "share of features that have stopped firing",
}


def sweep_dictionaries(
    source: Source,
    recipe: Recipe | Path | str,
    grid: Mapping[str, Sequence[Any]],
    out: Path | str,
    *,
    site: str,
    layer: int,
    subject: Subject | str | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Train a dictionary for every combination of settings, on the same activations.

    Parameters
    ----------
    source, site, layer, subject, progress : as for `train_dictionary`
    recipe : what all runs share
    grid : key of the recipe → values, such as ``{"k": [16, 32], "learning_rate": [1e-3, 2e-3]}``
    out : folder; each run gets a folder in it, and a sweep that was stopped is continued

    Returns
    -------
    Dataset (run, step)
        ``explained_variance``, ``l0`` and ``num_dead_features`` (run) of the finished dictionaries, in tokens
        that were not trained on; ``loss_curve``, ``explained_variance_curve``, ``l0_curve``, ``dead_curve``
        (run, step), NaN after the end of shorter runs; each key of the grid is a coordinate over run.

    Raises
    ------
    DictionaryError
        If a key is none of a recipe's, there is nothing to vary, or as for `train_dictionary`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> rows = np.random.default_rng(0).gamma(1, size=(400, 8)).astype(np.float32)
    >>> recipe = Recipe(width=16, n_tokens=640, k=2, batch=64, autocast=False)
    >>> with TemporaryDirectory() as place:
    ...     found = sweep_dictionaries(
    ...         rows, recipe, {"k": [1, 4]}, place, site="mlp_out", layer=1, subject="toy")
    >>> found["k"].values.tolist(), found.sizes["run"]
    ([1.0, 4.0], 2)
    """
    out, report = Path(out), progress or silent
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    combined = combinations(recipe, grid)
    most = max(its.n_tokens for its in combined.values())
    rows = training_rows(source, out, site=site, layer=layer, subject=subject, n_tokens=most, progress=report)
    return sweep_rows(rows, combined, grid, out, report)


def sweep_rows(
    rows: TrainingRows,
    combined: Mapping[str, Recipe],
    grid: Mapping[str, Sequence[Any]],
    out: Path,
    progress: Progress,
) -> xr.Dataset:
    """The runs of a sweep on rows that are at hand, see `sweep_dictionaries`."""
    trained: dict[str, Dictionary] = {}
    for name, its in combined.items():
        advance, watch = progress(name)
        trained[name] = produce(rows, its, out / name, progress=advance, watch=watch)
    return _table(trained, combined, grid, out)


def sweep_plan(
    plan: TrainingPlan,
    grid: Mapping[str, Sequence[Any]],
    out: Path | str,
    *,
    harvested: Path | str | None = None,
    progress: Progress | None = None,
) -> dict[str, xr.Dataset]:
    """Sweep over settings for each dictionary of a plan, on one pass over its corpus.

    Parameters
    ----------
    plan, harvested, progress : as for `neurosae.recording.dictionary_training.train_plan`
    grid : as for `sweep_dictionaries`
    out : each dictionary's runs are in ``out/NAME``

    Returns
    -------
    dict
        Name → Dataset, see `sweep_dictionaries`.
    """
    out, report = Path(out), progress or silent
    combined = [combinations(recipe, grid) for recipe in plan.recipes]
    kept, subject = harvest_of_plan(plan, Path(harvested or out / HARVEST), report)
    found = {}
    for its, recipes in zip(plan.dictionaries, combined, strict=True):
        rows = of_harvest(kept, its.site, its.layer, subject.describe())
        found[its.name] = sweep_rows(rows, recipes, grid, out / its.name, report)
    return found


def combinations(recipe: Recipe, grid: Mapping[str, Sequence[Any]]) -> dict[str, Recipe]:
    """Name of a run → recipe, for all combinations of values, the last key changing fastest.

    Raises
    ------
    DictionaryError
        If a key or a value is none of a recipe's, a key has no values, or there are more than 200 runs.

    Examples
    --------
    >>> list(combinations(Recipe(width=64, n_tokens=2048), {"k": [4, 8], "seed": [0, 1]}))
    ['k=4,seed=0', 'k=4,seed=1', 'k=8,seed=0', 'k=8,seed=1']
    """
    for key, values in grid.items():
        if key not in Recipe.model_fields:
            raise DictionaryError(f"a recipe has no key {key!r}{nearest(key, Recipe.model_fields)}")
        if len(set(values)) < max(1, len(values)):
            raise DictionaryError(f"{key} is to vary over {list(values)}: different values are needed.")
    n_runs = int(np.prod([len(values) for values in grid.values()]))
    if not grid or n_runs > MOST_RUNS:
        raise DictionaryError(f"the sweep has {n_runs} runs of {len(grid)} keys; 1 to {MOST_RUNS} are done.")
    fixed = recipe.model_dump()
    found = {}
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        name = ",".join(f"{key}={value}" for key, value in chosen.items())
        found[name] = read_recipe({**fixed, **chosen}, name)
    return found


def _table(
    trained: Mapping[str, Dictionary],
    combined: Mapping[str, Recipe],
    grid: Mapping[str, Sequence[Any]],
    out: Path,
) -> xr.Dataset:
    logs = {name: {int(line["step"]): line for line in log_of(out / name)} for name in trained}
    steps = sorted({step for log in logs.values() for step in log})
    described: dict[str, Any] = {
        name: ("run", [its.metadata.get(name, np.nan) for its in trained.values()], _attrs(label))
        for name, label in _FINAL.items()
    }
    for name, label in _CURVES.items():
        values = [[log.get(step, {}).get(name, np.nan) for step in steps] for log in logs.values()]
        described[f"{name}_curve"] = (("run", "step"), np.array(values, dtype=float), _attrs(label))
    coords = {key: ("run", [getattr(its, key) for its in combined.values()]) for key in grid}
    origin = {"sweep": {key: list(values) for key, values in grid.items()}}
    return xr.Dataset(
        described,
        coords={"run": list(trained), "step": ("step", steps, _attrs("step of training")), **coords},
        attrs=provenance_attrs(origin),
    )


def _attrs(label: str) -> dict[str, str]:
    return {"long_name": label, "units": "1"}
