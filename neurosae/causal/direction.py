"""Directions to stimulate along: a difference of conditions, or a feature of a dictionary."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import xarray as xr

from neurosae.causal.reference import check_layers, reference_statistics
from neurosae.errors import DesignError
from neurosae.protocol.contrast import parse_contrast
from neurosae.schema.names import FEATURE, LAYER, SINK_RATIO, UNITS_BASIS
from neurosae.schema.recordings import check_responses, stimulus_table
from neurosae.schema.units import unit_keys
from neurosae.subject.interface import Edit


class FeatureDictionary(Protocol):
    """What a stimulation needs to know of a dictionary.

    decoder (feature, d_model); reference_max (feature,): a high value of each code on a reference corpus,
    such as its 99.9th percentile
    """

    name: str
    site: str
    layer: int
    decoder: np.ndarray
    reference_max: np.ndarray


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction at one site and layer, and what dose 1 means along it.

    Parameters
    ----------
    site, layer : where it lives
    vector : (feature,) float64 of unit norm
    reference : L2 norm of dose 1, a.u.
    dose_unit : dose 1 in words
    max_norm : tokens with a larger norm (sinks) are left alone
    seen : keys of the units it was computed from, see `neurosae.schema.units.unit_keys`

    Examples
    --------
    >>> Direction("resid_post", 2, np.array([0.0, 1.0]), reference=4.0, dose_unit="norm").dose_unit
    'norm'
    """

    site: str
    layer: int
    vector: np.ndarray
    reference: float
    dose_unit: str
    max_norm: float = float("inf")
    seen: tuple[str, ...] = ()

    @classmethod
    def from_contrast(
        cls,
        responses: xr.DataArray,
        contrast: str,
        *,
        layer: int,
        reference: xr.DataArray | None = None,
    ) -> "Direction":
        """The direction in which the conditions of a contrast differ: v = Σ w(cell) mean(cell), to unit norm.

        Dose 1 is the median norm at that layer: of the valid tokens of ``reference``, or without one of the
        responses, which is smaller where pooling averaged tokens.

        Parameters
        ----------
        responses : DataArray (stimulus, layer, feature), a.u.
        contrast : such as ``"A > B"``, over the columns of the stimulus table
        layer : where the direction is taken and applied
        reference : recording (stimulus, token, layer, feature) at the same site

        Raises
        ------
        DesignError
            If the layer is missing, the basis is not units, the reference does not fit, or the conditions do
            not differ at all.
        ContrastError
            If the contrast cannot be read.

        Source
        ------
        Turner et al. 2023, arXiv:2308.10248; Panickssery et al. 2024, ACL 2024 (mean differences).

        Examples
        --------
        >>> from neurosae.testing import planted_responses
        >>> direction = Direction.from_contrast(planted_responses(), "A > B", layer=1)
        >>> int(np.argmax(direction.vector)), round(float(np.linalg.norm(direction.vector)), 6)
        (4, 1.0)
        """
        check_responses(responses)
        check_layers([layer], responses, "the responses")
        if responses.attrs.get("basis", UNITS_BASIS) != UNITS_BASIS:
            raise DesignError(
                f"the responses are in the basis {responses.attrs['basis']!r}, a direction is one of units; "
                "for a feature of a dictionary use Direction.from_feature."
            )
        values = responses.sel({LAYER: layer}).values.astype(np.float64)
        difference = _difference(values, contrast, stimulus_table(responses))
        scale = _scale(values, responses.attrs.get("site"), layer, reference)
        unit = f"median norm at {responses.attrs.get('site')} of layer {layer}"
        return cls(
            site=str(responses.attrs.get("site")),
            layer=layer,
            vector=difference,
            reference=scale,
            dose_unit=unit,
            max_norm=SINK_RATIO * scale,
            seen=tuple(sorted(unit_keys(responses))),
        )

    @classmethod
    def from_feature(cls, dictionary: FeatureDictionary, feature: int) -> "Direction":
        """The decoder row of a dictionary's feature; dose 1 adds what its reference maximum would decode to.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> dictionary = SimpleNamespace(
        ...     name="d", site="resid_post", layer=2, decoder=np.eye(3) * 2, reference_max=np.full(3, 5.0)
        ... )
        >>> direction = Direction.from_feature(dictionary, 1)
        >>> direction.vector.tolist(), direction.reference
        ([0.0, 1.0, 0.0], 10.0)
        """
        n_features = len(dictionary.decoder)
        if not 0 <= feature < n_features:
            raise DesignError(f"{dictionary.name} has features 0 to {n_features - 1}, not {feature}.")
        row = np.asarray(dictionary.decoder[feature], dtype=np.float64)
        maximum = float(dictionary.reference_max[feature])
        if maximum <= 0 or not row.any():
            raise DesignError(f"feature {feature} of {dictionary.name} is dead; choose one that responds.")
        norm = float(np.linalg.norm(row))
        unit = f"reference maximum of feature {feature} of {dictionary.name}"
        return cls(dictionary.site, dictionary.layer, row / norm, maximum * norm, unit)


def _difference(values: np.ndarray, text: str, table: pd.DataFrame) -> np.ndarray:
    contrast = parse_contrast(text, table)
    cells = contrast.cells(table)
    means = np.stack([values[cells == cell].mean(axis=0) for cell in range(len(contrast.vector))])
    difference = contrast.vector @ means
    norm = np.linalg.norm(difference)
    if norm == 0:
        raise DesignError(f"contrast {text!r}: the conditions do not differ at all, there is no direction.")
    return difference / norm


def _scale(values: np.ndarray, site: object, layer: int, reference: xr.DataArray | None) -> float:
    if reference is None:
        return float(np.median(np.linalg.norm(values, axis=1)))
    if reference.attrs.get("site") != site or reference.sizes[FEATURE] != values.shape[1]:
        raise DesignError(
            f"the reference recording has {reference.sizes[FEATURE]} features at "
            f"{reference.attrs.get('site')!r}, the responses {values.shape[1]} at {site!r}; record that site."
        )
    return float(reference_statistics(reference, [layer])["median_norm"][0])


def direction_edits(direction: Direction, dose: float) -> list[Edit]:
    """Edits that add ``dose`` times the direction's reference along it."""
    return [
        Edit(
            direction.site,
            direction.layer,
            gain=np.ones(1),
            offset=np.array([dose * direction.reference]),
            encoder=direction.vector[:, None],
            decoder=direction.vector[None, :],
            max_norm=direction.max_norm,
        )
    ]
