"""The rows of the pipeline comparison: spaces that fit together, concepts with a target and a contrast."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from neurosae.analysis.classes import class_labels
from neurosae.analysis.decoding_design import DecodingDesign, decoding_design, group_column
from neurosae.analysis.decoding_rows import is_scaled
from neurosae.analysis.pipeline_cells import CODES, RANDOM, RAW, SIZE, Space, has_enough
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS, WINDOW, WINDOWED_DIMS
from neurosae.schema.recordings import check_responses


class Concept(NamedTuple):
    """Stimuli of one concept: their numbers, folds, labels (0 target, 1 rest) and responses in each space."""

    name: str
    target: str
    rows: np.ndarray
    design: DecodingDesign
    labels: np.ndarray
    spaces: dict[str, Space]


def check_spaces(spaces: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """One window of the units, whose coordinates describe the stimuli of all spaces.

    Raises
    ------
    DesignError
        If a space is missing or unknown, has other stimuli or several layers, or is not finite.
    """
    missing, unknown = {RAW, CODES} - set(spaces), set(spaces) - {RAW, CODES, RANDOM}
    if missing or unknown:
        raise DesignError(
            f"spaces {sorted(spaces)}: give {RAW!r} (units) and {CODES!r} (codes of a dictionary), and "
            f"{RANDOM!r} (codes of a dictionary of random weights) if there are any."
        )
    stimuli = spaces[RAW][STIMULUS].values
    for name, responses in spaces.items():
        if tuple(responses.dims) == WINDOWED_DIMS:
            for window in range(responses.sizes[WINDOW]):
                check_responses(responses.isel({WINDOW: window}))
        else:
            check_responses(responses)
        if responses.sizes[LAYER] != 1:
            raise DesignError(
                f"space {name!r} has {responses.sizes[LAYER]} layers; fix one in advance, as in "
                ".sel(layer=[15])."
            )
        if not np.array_equal(responses[STIMULUS].values, stimuli):
            raise DesignError(f"space {name!r} has other stimuli, or another order, than {RAW!r}.")
    return spaces[RAW].isel({WINDOW: 0}) if WINDOW in spaces[RAW].dims else spaces[RAW]


def concepts_of(
    spaces: Mapping[str, xr.DataArray],
    reference: xr.DataArray,
    columns: tuple[str, str],
    target: str,
    *,
    n_repeats: int,
    seed: int,
) -> list[Concept]:
    """The concepts in sorted order, each with its folds; ``columns`` name classes and concepts.

    Raises
    ------
    DesignError
        If a concept has not two classes, the target among them, cannot be split, or few features are alive.
    """
    by, concept = columns
    group = group_column(reference, "item")
    names, level = class_labels(reference, concept)
    found = []
    for number, name in enumerate(names.tolist()):
        rows = np.flatnonzero(level == number)
        own = reference.isel({STIMULUS: rows})
        classes = class_labels(own, by)[0].tolist()
        if len(classes) != 2 or target not in classes:
            raise DesignError(
                f"concept {name!r} has classes {classes} in {by!r}; each concept needs two, {target!r} and "
                "its contrast."
            )
        design = decoding_design(own, by, group, seed, n_repeats=n_repeats)
        labels = (design.names[design.labels] != target).astype(int)
        ready = {key: Space(_values(space, rows), is_scaled(space)) for key, space in spaces.items()}
        poor = [key for key, space in ready.items() if not has_enough(space.values)]
        if poor:
            raise DesignError(
                f"concept {name!r} has fewer than {SIZE} features alive in {poor[0]!r}; use another layer or "
                "dictionary."
            )
        found.append(Concept(name, target, rows, design, labels, ready))
    return found


def _values(responses: xr.DataArray, rows: np.ndarray) -> np.ndarray:
    """Responses of some stimuli as (n, W, F), one window where they have none."""
    own = responses.isel({LAYER: 0, STIMULUS: rows})
    if WINDOW not in own.dims:
        own = own.expand_dims({WINDOW: 1})
    return np.asarray(own.transpose(STIMULUS, WINDOW, FEATURE).values, dtype=float)
