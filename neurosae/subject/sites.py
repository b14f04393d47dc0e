"""Where in a Hugging Face model each site is: the TransformerBridge knows, the plain modules are hooked.

The bridge maps the parts of some hundred architectures to common names. It also replaces the modules of the
model it is booted on, which slows the forward pass by a quarter. So it is booted on a copy that shares the
weights, asked for the paths, and the same paths are hooked in the untouched model.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from neurosae.errors import SubjectError
from neurosae.schema.names import SITES
from neurosae.schema.spelling import nearest

_ALIASES = {
    "resid_pre": ("", "hook_resid_pre", "in"),
    "resid_mid": ("", "hook_resid_mid", "in"),
    "resid_post": ("", "hook_resid_post", "out"),
    "attn_out": ("", "hook_attn_out", "out"),
    "attn_z": ("attn", "hook_z", "in"),
    "mlp_out": ("", "hook_mlp_out", "out"),
    "mlp_post": ("mlp", "hook_post", "in"),
}
"""Site → the bridge component that owns its hook name, the hook name, and the side it must be on."""


@dataclass(frozen=True)
class Place:
    """One side of one module: its first tensor going in, or coming out."""

    module: nn.Module
    side: str


def find_place(bridge: Any, model: nn.Module, site: str, layer: int) -> Place:
    """The module and side in ``model`` at which ``site`` of ``layer`` can be read.

    Parameters
    ----------
    bridge : TransformerBridge booted on a copy of ``model``
    model : the plain Hugging Face model
    site : name of a site
    layer : number of a block, from 0

    Raises
    ------
    SubjectError
        If the site is unknown, or this architecture has none of the kind.
    """
    if site not in SITES:
        raise SubjectError(f"unknown site {site!r}{nearest(site, SITES)} Sites: {', '.join(SITES)}.")
    holder, alias, side = _ALIASES[site]
    block = bridge.blocks[layer]
    owner = getattr(block, holder, None) if holder else block
    path = None if owner is None else _module_path(owner, alias, side)
    if owner is None or path is None:
        raise SubjectError(
            f"{type(model).__name__} has no site {site!r} in layer {layer}: {_why_absent(site)} "
            f"Sites it has there: {', '.join(sites_of(bridge, layer))}."
        )
    names = [block.name, *([owner.name] if owner is not block else []), *path]
    return Place(model.get_submodule(".".join(names)), side)


def sites_of(bridge: Any, layer: int) -> list[str]:
    """The sites that exist in one layer."""
    block = bridge.blocks[layer]
    owners = {site: getattr(block, _ALIASES[site][0], None) if _ALIASES[site][0] else block for site in SITES}
    return [
        site
        for site, owner in owners.items()
        if owner is not None and _module_path(owner, *_ALIASES[site][1:]) is not None
    ]


def input_width(module: nn.Module) -> int:
    """Number of input features of a linear module, also of GPT-2's transposed kind."""
    transposed: Any = module.weight
    return int(getattr(module, "in_features", transposed.shape[0]))


def _module_path(owner: Any, alias: str, side: str) -> list[str] | None:
    """Names of modules from ``owner`` down to the one whose ``side`` the bridge calls ``alias``."""
    target = owner.hook_aliases.get(alias)
    for path in [target] if isinstance(target, str) else target or []:
        *parts, hook = path.split(".")
        component, names = owner, []
        for part in parts:
            component = getattr(component, part, None)
            if component is None:
                break
            names += [component.name] if component.name else []
        if component is not None and hook == f"hook_{side}":
            return names
    return None


def _why_absent(site: str) -> str:
    reasons = {
        "resid_mid": "attention and MLP read the same residual stream, so nothing lies between them.",
        "mlp_post": "its MLP has no single output projection.",
    }
    return reasons.get(site, "no single module reads or writes it.")
