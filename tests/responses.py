"""Small sets of responses that several test files share."""

import numpy as np
import xarray as xr

N_PER_CLASS = 10
NAMES = ["art", "number", "place", "tool"]


def labelled(values, *, basis="units", **columns):
    """Responses (stimulus, layer, feature) of stimuli s0, s1, … with these columns."""
    values = np.asarray(values, dtype=float)
    values = values[:, None, :] if values.ndim == 2 else values
    coords = {name: ("stimulus", np.asarray(column)) for name, column in columns.items()}
    coords |= {"stimulus": [f"s{i}" for i in range(len(values))], "layer": np.arange(values.shape[1])}
    attrs = {"basis": basis, "site": "resid_post"}
    return xr.DataArray(values, dims=("stimulus", "layer", "feature"), coords=coords, attrs=attrs)


def two_classes(n_a=8, n_b=8, n_layers=1, n_features=10, effect=0.0, seed=0, **more):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_a + n_b, n_layers, n_features))
    values[:n_a] += effect
    return labelled(values, condition=np.repeat(["a", "b"], [n_a, n_b]), **more)


def families(n=10, n_layers=1, n_features=6, effect=0.0, seed=0):
    """Families that hold both classes and share a strong pattern of their own."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2 * n, n_layers, n_features)) + np.repeat(
        3 * rng.normal(size=(n, n_layers, n_features)), 2, axis=0
    )
    values[::2] += effect
    return labelled(values, condition=np.tile(["a", "b"], n), family=np.repeat(np.arange(n).astype(str), 2))


def responses_of(values, conditions, **columns):
    values = np.asarray(values, dtype=float)
    values = values[:, None, :] if values.ndim == 2 else values
    n, n_layers, n_features = values.shape
    stimuli = [f"s{i:03d}" for i in range(n)]
    columns = {"text": [f"text {name}" for name in stimuli], "condition": conditions, **columns}
    return xr.DataArray(
        values,
        dims=("stimulus", "layer", "feature"),
        coords={
            "stimulus": stimuli,
            "layer": np.arange(n_layers),
            "feature": np.arange(n_features),
            **{name: ("stimulus", np.asarray(column)) for name, column in columns.items()},
        },
        name="response",
        attrs={"units": "a.u.", "site": "resid_post", "basis": "units"},
    )


def planted(n_features=30, seed=0):
    """Feature 0 fires for 'place' only, feature 1 twice as much for 'tool', 2 is silent, 3 constant."""
    rng = np.random.default_rng(seed)
    conditions = np.repeat(NAMES, N_PER_CLASS)
    values = rng.gamma(4.0, 0.25, size=(len(conditions), 2, n_features))
    values[:, 0, 0] = rng.gamma(4.0, 0.25, len(conditions)) * (conditions == "place")
    values[:, 0, 1] *= 1 + 2 * (conditions == "tool")
    values[:, 0, 2] = 0.0
    values[:, 0, 3] = 3.0
    return responses_of(values, conditions)


def noise(n_layers, n_features, seed):
    rng = np.random.default_rng(seed)
    return responses_of(rng.exponential(size=(40, n_layers, n_features)), np.repeat(NAMES, N_PER_CLASS))
