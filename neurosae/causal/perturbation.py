"""What is done to the model: lesions of units and stimulations along directions, as affine edits.

Values that an edit needs (means, scales of doses, norms of sinks) come from a reference recording, never from
the texts under test.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr

from neurosae.causal.direction import Direction, direction_edits
from neurosae.causal.reference import check_reference, member_layers, reference_statistics
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, SINK_RATIO, UNITS_BASIS
from neurosae.subject.interface import Edit

_NO_MEANS = "a mean lesion needs a reference recording for its values: Lesion(roi, reference=recording)."

LesionValues: TypeAlias = Callable[[xr.Dataset | None, int, np.ndarray], np.ndarray]


def _mean_values(usual: xr.Dataset | None, layer: int, features: np.ndarray) -> np.ndarray:
    if usual is None:
        raise DesignError(_NO_MEANS)
    return usual["mean"].sel({LAYER: layer, FEATURE: features}).values


def _zero_values(usual: xr.Dataset | None, layer: int, features: np.ndarray) -> np.ndarray:
    return np.zeros(len(features))


LESIONS: dict[str, LesionValues] = {"mean": _mean_values, "zero": _zero_values}
"""What a lesioned unit is set to."""


@dataclass(frozen=True, eq=False)
class Lesion:
    """Units held at a constant: their mean in a reference recording, or zero.

    Parameters
    ----------
    roi : Dataset with ``member`` (layer, feature) bool and attribute ``site``, as from ``localize``
    how : ``"mean"`` (a raw unit has no natural zero) or ``"zero"``
    reference : recording (stimulus, token, layer, feature) at the same site. Needed for means, for the norm
        beyond which a token counts as a sink and is left alone, and by ``run_causal`` to match shams

    Raises
    ------
    DesignError
        If the ROI is empty or not over units, ``how`` is unknown, a mean lesion has no reference, or the
        reference is of another site or lacks units.

    Examples
    --------
    >>> import xarray as xr
    >>> from neurosae.testing import planted_recording
    >>> recording = planted_recording()
    >>> member = xr.zeros_like(recording[0, 0], dtype=bool).drop_attrs().reset_coords(drop=True)
    >>> member.loc[1, 4] = True
    >>> roi = xr.Dataset({"member": member}, attrs={"site": "resid_post", "basis": "units"})
    >>> [edit] = Lesion(roi, reference=recording).edits()
    >>> edit.layer, edit.features.tolist(), edit.gain.tolist(), edit.offset.round(1).tolist()
    (1, [4], [0.0], [1.2])
    """

    roi: xr.Dataset
    how: str = "mean"
    reference: xr.DataArray | None = None

    def __post_init__(self) -> None:
        if self.how not in LESIONS:
            raise DesignError(f"unknown lesion {self.how!r}; choose one of {', '.join(LESIONS)}.")
        if "member" not in self.roi:
            raise DesignError(f"a lesion needs an ROI, not a result with {sorted(map(str, self.roi))}.")
        if not bool(self.roi["member"].any()):
            raise DesignError("the ROI has no member, nothing can be lesioned; localize more units.")
        basis = self.roi.attrs.get("basis", UNITS_BASIS)
        if basis != UNITS_BASIS:
            raise DesignError(f"the ROI holds features of {basis!r}; a lesion acts on units.")
        if self.how == "mean" and self.reference is None:
            raise DesignError(_NO_MEANS)
        if self.reference is not None:
            check_reference(self.roi, self.reference)

    def statistics(self) -> xr.Dataset | None:
        """Means and norms of the reference at the ROI's layers, or None without a reference."""
        if self.reference is None:
            return None
        return reference_statistics(self.reference, member_layers(self.roi["member"]))

    def edits(self) -> list[Edit]:
        """One edit a layer."""
        return lesion_edits(self.roi["member"], self.roi.attrs["site"], self.how, self.statistics())


def lesion_edits(member: xr.DataArray, site: str, how: str, usual: xr.Dataset | None) -> list[Edit]:
    """Edits that hold the members of each layer at a constant.

    Parameters
    ----------
    member : (layer, feature) bool
    site : site of the members
    how : see `LESIONS`
    usual : what `reference_statistics` gives for these layers; without it no token counts as a sink
    """
    edits = []
    for layer in member_layers(member):
        features = member[FEATURE].values[member.sel({LAYER: layer}).values]
        offset = LESIONS[how](usual, layer, features)
        max_norm = np.inf if usual is None else SINK_RATIO * float(usual["median_norm"].sel({LAYER: layer}))
        edits.append(Edit(site, layer, np.zeros(len(features)), offset, features=features, max_norm=max_norm))
    return edits


@dataclass(frozen=True, eq=False)
class Stimulation:
    """A direction added to every ordinary token, at each of several doses: x + dose · reference · vector.

    Parameters
    ----------
    direction : where, and what dose 1 is
    dose : doses, 0 among them, negative ones allowed

    Raises
    ------
    DesignError
        If dose 0 is missing, or a dose is repeated or not finite.

    Examples
    --------
    >>> direction = Direction("resid_post", 2, np.array([0.0, 1.0]), reference=4.0, dose_unit="norm")
    >>> [edit] = Stimulation(direction, [0, 0.5]).edits(0.5)
    >>> edit.offset.tolist(), edit.decoder.tolist()
    ([2.0], [[0.0, 1.0]])
    """

    direction: Direction
    dose: Sequence[float]

    def __post_init__(self) -> None:
        doses = np.atleast_1d(np.asarray(self.dose, dtype=np.float64))
        if not np.isfinite(doses).all() or len(np.unique(doses)) < len(doses):
            raise DesignError(f"doses {list(doses)} must be finite and differ from each other.")
        if not (doses == 0).any():
            raise DesignError(f"doses {list(doses)} lack 0, the dose the others are compared with; add it.")

    @property
    def doses(self) -> tuple[float, ...]:
        """Doses as floats, in the order given."""
        return tuple(float(dose) for dose in self.dose)

    def edits(self, dose: float) -> list[Edit]:
        """The edit of one dose; dose 0 leaves the model as it is."""
        return direction_edits(self.direction, dose)
