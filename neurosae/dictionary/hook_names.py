"""Which site and layer a TransformerLens hook name in a dictionary's metadata stands for."""

import re
from collections.abc import Mapping

from neurosae.errors import DictionaryError
from neurosae.schema.spelling import listed

SITES_BY_HOOK: Mapping[str, str] = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "attn.hook_z": "attn_z",
    "mlp.hook_post": "mlp_post",
}
"""The part of a hook name after 'blocks.L.', and our name of the site."""


def site_and_layer(hook_name: str) -> tuple[str, int]:
    """Site and layer of a hook name.

    Parameters
    ----------
    hook_name : as in 'blocks.15.hook_resid_post'; blocks count from 0

    Returns
    -------
    (site, layer)

    Raises
    ------
    DictionaryError
        If the name has no such form, or its site is not one that subjects record.

    Examples
    --------
    >>> site_and_layer("blocks.15.hook_resid_post"), site_and_layer("blocks.3.attn.hook_z")
    (('resid_post', 15), ('attn_z', 3))
    """
    match = re.fullmatch(r"blocks\.(\d{1,4})\.([a-z_.]+)", hook_name, flags=re.ASCII)
    if match is None or match[2] not in SITES_BY_HOOK:
        raise DictionaryError(
            f"hook name {hook_name!r} stands for no site that can be recorded. "
            f"It must read 'blocks.LAYER.' and one of {listed(SITES_BY_HOOK)}."
        )
    return SITES_BY_HOOK[match[2]], int(match[1])


def hook_name(site: str, layer: int) -> str:
    """Hook name of a site and layer, the inverse of `site_and_layer`.

    Parameters
    ----------
    site : one that subjects record
    layer : block, from 0

    Returns
    -------
    str

    Raises
    ------
    DictionaryError
        If there is no such site.

    Examples
    --------
    >>> hook_name("attn_z", 3)
    'blocks.3.attn.hook_z'
    """
    found = [hook for hook, its in SITES_BY_HOOK.items() if its == site]
    if not found:
        raise DictionaryError(f"unknown site {site!r}. Sites: {listed(SITES_BY_HOOK.values())}.")
    return f"blocks.{layer}.{found[0]}"
