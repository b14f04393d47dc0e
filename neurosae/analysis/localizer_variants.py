"""Localizers as they were published, by name: window, transform, rule and size of the selection."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from neurosae.analysis.contrast import contrast_map
from neurosae.analysis.localizer import cross_localize, localize
from neurosae.analysis.selection import RULES
from neurosae.errors import DesignError
from neurosae.recording.pooling import pool_tokens
from neurosae.recording.sparse import SparseRecording
from neurosae.schema.names import TOKEN
from neurosae.schema.provenance import with_step
from neurosae.schema.spelling import nearest

_AS_POOLED = ""


@dataclass(frozen=True)
class LocalizerVariant:
    """One way to localize.

    text : in words, with its source
    rule : of `neurosae.analysis.selection.RULES`
    fraction : share selected
    rectify : True takes the size of each response, |y|, before the test
    window, how : tokens and pooling; empty leaves those of the responses
    """

    text: str
    rule: str = "signed"
    fraction: float = 0.01
    rectify: bool = False
    window: str = _AS_POOLED
    how: str = _AS_POOLED


LOCALIZER_VARIANTS = {
    "signed": LocalizerVariant("top 1 % of all layers by signed t"),
    "absolute": LocalizerVariant("top 1 % of all layers by |t|, both directions", rule="absolute"),
    "per_layer": LocalizerVariant("top 1 % of each layer by signed t", rule="per_layer"),
    "alkhamissi_2025": LocalizerVariant(
        "top 1 % of all layers by t of |activation| at the last token (AlKhamissi et al. 2025, NAACL)",
        rectify=True,
        window="last:1",
    ),
    "fedorenko_2010": LocalizerVariant(
        "top 10 % of each layer, a layer in the place of a parcel (Fedorenko et al. 2010, J Neurophysiol)",
        rule="per_layer",
        fraction=0.1,
    ),
    "truncated": LocalizerVariant(
        "top 1 % of all layers by signed t over the first 5 tokens, as many in all stimuli", window="first:5"
    ),
}
"""Variants by name; each can choose an ROI, and be measured in units that did not choose it."""


def localizer_variant(name: str) -> LocalizerVariant:
    """The variant called ``name``.

    Raises
    ------
    DesignError
        If it is not one of `LOCALIZER_VARIANTS`.
    """
    if name not in LOCALIZER_VARIANTS:
        known = list(LOCALIZER_VARIANTS)
        raise DesignError(f"no localizer variant {name!r}{nearest(name, known)} Variants: {known}.")
    return LOCALIZER_VARIANTS[name]


def localize_as(
    source: xr.DataArray | SparseRecording,
    contrast: str,
    variant: str = "signed",
    *,
    test: str = "welch",
    unit: str = "auto",
    seed: int = 0,
) -> xr.Dataset:
    """The ROI that a published kind of localizer chooses.

    Parameters
    ----------
    source : recording, pooled as the variant says (mean over all tokens unless it says otherwise), or
        responses (stimulus, layer, feature), for variants that leave pooling open or were pooled that way
    contrast : such as ``"sentence > nonword"``
    variant : one of `LOCALIZER_VARIANTS`
    test, unit : as in `neurosae.analysis.contrast.contrast_map`
    seed : root of the random numbers

    Returns
    -------
    Dataset (layer, feature), as from `neurosae.analysis.localizer.localize`, with attribute ``variant``

    Raises
    ------
    DesignError
        If the variant is unknown, or the responses are of another window or pooling.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> roi = localize_as(planted_responses(), "A > B", "absolute")
    >>> roi["member"].values.nonzero(), roi.attrs["rule"]
    ((array([1]), array([4])), 'fraction = 0.01, absolute')
    """
    chosen = localizer_variant(variant)
    responses = variant_responses(source, variant)
    cmap = contrast_map(responses, contrast, test=test, unit=unit, n_permutations=_NO_P, seed=seed)
    rule = RULES[chosen.rule]
    roi = localize(cmap, fraction=chosen.fraction, absolute=rule.absolute, per_layer=rule.per_layer)
    return roi.assign_attrs(variant=variant)


_NO_P = 19
"""Relabelings of a map of which only the statistics are used."""


def cross_localize_as(
    source: xr.DataArray | SparseRecording,
    contrast: str,
    variant: str = "signed",
    *,
    folds: int = 2,
    test: str = "auto",
    unit: str = "auto",
    seed: int = 0,
) -> xr.Dataset:
    """Measure a published kind of localizer in units that did not choose its features.

    Parameters
    ----------
    source, contrast, variant, unit, seed : as in `localize_as`
    folds, test : as in `neurosae.analysis.localizer.cross_localize`; 2 folds are split halves

    Returns
    -------
    Dataset, as from `neurosae.analysis.localizer.cross_localize`, with attribute ``variant``

    Raises
    ------
    DesignError
        As `localize_as`, and where folds leave too few units.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> found = cross_localize_as(planted_responses(), "A > B", "fedorenko_2010")
    >>> found["n_selected"].values.tolist()
    [[2, 2, 2], [2, 2, 2]]
    """
    chosen = localizer_variant(variant)
    responses = variant_responses(source, variant)
    found = cross_localize(
        responses,
        contrast,
        fraction=chosen.fraction,
        rule=chosen.rule,
        folds=folds,
        test=test,
        unit=unit,
        seed=seed,
    )
    return found.assign_attrs(variant=variant)


def variant_responses(source: xr.DataArray | SparseRecording, variant: str) -> xr.DataArray:
    """Responses pooled and transformed as a variant needs them.

    Raises
    ------
    DesignError
        If the variant is unknown, or responses are of another window or pooling.

    Examples
    --------
    >>> from neurosae.testing import planted_recording
    >>> variant_responses(planted_recording(n_items=3), "alkhamissi_2025").attrs["window"]
    'last:1'
    """
    chosen = localizer_variant(variant)
    if TOKEN in source.dims:
        pooled = pool_tokens(source, chosen.window or "all", chosen.how or "mean")
    elif isinstance(source, xr.DataArray):
        pooled = source
        _check_pooling(pooled, variant, chosen)
    if not chosen.rectify:
        return pooled
    sizes = pooled.copy(data=np.abs(pooled.data))
    return sizes.assign_attrs(with_step(pooled, "rectify", how="absolute"))


def _check_pooling(responses: xr.DataArray, variant: str, chosen: LocalizerVariant) -> None:
    for name in ("window", "how"):
        wanted, found = getattr(chosen, name), responses.attrs.get(name)
        if wanted and wanted != found:
            raise DesignError(
                f"localizer {variant!r} needs {name} {wanted!r}, the responses have {found!r}. Give the "
                f"recording, or pool it with {name}={wanted!r}."
            )
