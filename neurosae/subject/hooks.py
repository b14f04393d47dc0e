"""How a forward pass is read and changed: hooks that are always removed, a pass that ends early."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from neurosae.errors import SubjectError
from neurosae.subject.sites import Place

Action = Callable[[Tensor], Tensor | None]
"""Sees the tensor at a place; what it returns, unless None, takes the tensor's place."""


@dataclass(frozen=True)
class Tap:
    """An action at a place. A pass may end when all taps that are needed have acted."""

    place: Place
    action: Action
    is_needed: bool = True


class EnoughError(Exception):
    """Raised inside a forward pass when nothing more is needed of it."""


def run_tapped(forward: Callable[[], object], taps: Sequence[Tap]) -> None:
    """Run a forward pass with taps, only as deep as they need it.

    Taps at one place act in the order given.

    Parameters
    ----------
    forward : runs the model
    taps : what to do on the way; with none that is needed nothing runs

    Raises
    ------
    SubjectError
        If the pass ended without reaching a tap, or a hook was left behind.
    """
    left = sum(tap.is_needed for tap in taps)
    if not left:
        return

    def count_down() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise EnoughError

    with _attached(taps, count_down), contextlib.suppress(EnoughError):
        forward()
    if left:
        raise SubjectError(
            f"the forward pass never reached {left} of the places asked for; this model is not supported."
        )


@contextlib.contextmanager
def _attached(taps: Sequence[Tap], count_down: Callable[[], None]) -> Iterator[None]:
    modules = {id(tap.place.module): tap.place.module for tap in taps}
    before = {key: _n_hooks(module) for key, module in modules.items()}
    handles: list[Any] = []
    try:
        handles += [_attach(tap, count_down) for tap in taps]
        yield
    finally:
        for handle in handles:
            handle.remove()
    if any(_n_hooks(module) != before[key] for key, module in modules.items()):
        raise SubjectError("a hook was left on the subject after a run; load the subject again.")


def _attach(tap: Tap, count_down: Callable[[], None]) -> Any:
    def on_input(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        new = tap.action(args[0] if args else kwargs["hidden_states"])
        if tap.is_needed:
            count_down()
        if new is None:
            return None
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    def on_output(_module: nn.Module, _args: object, output: Any) -> Any:
        is_tuple = isinstance(output, tuple)
        new = tap.action(output[0] if is_tuple else output)
        if tap.is_needed:
            count_down()
        return (new, *output[1:]) if is_tuple and new is not None else new

    if tap.place.side == "in":
        return tap.place.module.register_forward_pre_hook(on_input, with_kwargs=True)
    return tap.place.module.register_forward_hook(on_output)


def _n_hooks(module: nn.Module) -> int:
    return len(module._forward_hooks) + len(module._forward_pre_hooks)
