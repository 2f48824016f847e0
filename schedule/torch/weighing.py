"""What eager PyTorch holds at most in a step, found out by one on tensors without memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from schedule.torch.eager import copied, without_memory
from schedule.torch.internals import run_backward
from schedule.torch.operators import LOOSE
from schedule.torch.snapshots import Snapshot, tensors_among
from schedule.torch.trials import is_real

Loss = Callable[..., Any] | None


def highest(
    model: nn.Module,
    loss: Loss,
    prepare: Callable[[nn.Module, Loss], Callable[[], Any]],
    wrap: Callable[[nn.Module], AbstractContextManager[Any]],
) -> tuple[int, bool]:
    """Bytes that a step makes, at the moment at which most of them are held.

    And whether all that it differentiates is in the copies.

    Parameters
    ----------
    model, loss
        They stay as they are: copies without memory run.
    prepare
        Makes what runs the forward pass of such copies.
    wrap
        Has parts of the copy run again, while its context lasts.

    Raises
    ------
    CannotCapture
        They can't be copied, or don't run, on tensors without memory.

    Notes
    -----
    Lists, dicts and sets that a loss finds around it hold afterwards what they held before.
    """
    with without_memory() as rerouting:
        part = loss if isinstance(loss, nn.Module) else None
        made, lost = copied(model, part, memo=rerouting.copies)
        step = prepare(made, lost if isinstance(loss, nn.Module) else loss)
        before = Snapshot(*_around(loss))
        try:
            with wrap(made), _Live() as live:
                found = step()  # held, as its caller may
                is_whole = _differentiate([t for t in tensors_among(found) if _is_loss(t)])
                del found
        finally:
            before.restore()
        return live.peak, is_whole


def _around(loss: Loss) -> Iterator[dict[str, Any]]:
    """What a function finds around it, by name, and the attributes of whom it belongs to."""
    function, owner = getattr(loss, "__func__", loss), getattr(loss, "__self__", loss)
    if isinstance(function, FunctionType):
        cells = zip(function.__code__.co_freevars, function.__closure__ or ())
        yield {name: cell.cell_contents for name, cell in cells}
        known = function.__globals__
        yield {name: known[name] for name in function.__code__.co_names if name in known}
    if not isinstance(owner, (FunctionType, ModuleType, nn.Module)) and hasattr(owner, "__dict__"):
        yield vars(owner)


def _is_loss(value: torch.Tensor) -> bool:
    return value.requires_grad and value.numel() == 1 and value.is_floating_point()


def _differentiate(losses: Sequence[torch.Tensor]) -> bool:
    """Have what the losses depend on get its gradients, if it has no memory; is that all?

    What a loss refers to beside (parameters of its own in a closure) is the caller's.
    """
    waiting: list[Any] = [loss.grad_fn for loss in losses]
    seen, leaves = set[Any](), []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaves += [node.variable] if hasattr(node, "variable") else []
        waiting += [following for following, _ in node.next_functions]
    seen.clear()
    found = [leaf for leaf in leaves if not is_real(leaf)]
    if found:
        run_backward(losses, found)
    return len(found) == len(leaves)


class _Live(TorchDispatchMode):
    """Bytes of the storages that operators have made and that are still there.

    What an operator is given that none has made was there before.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen: dict[int, Any] = {}
        self._now = self.peak = 0

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        for tensor in given:
            self._note(tensor.untyped_storage(), 0)
        found = call(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                loose = max(map(_nbytes, given)) if str(call) in LOOSE else 0
                self._note(storage, max(storage.nbytes(), loose))
        return found

    def _note(self, storage: Any, size: int) -> None:
        key = id(storage)
        if key in self._seen:
            return

        def gone(_: object) -> None:
            del self._seen[key]
            self._now -= size

        self._seen[key] = weakref.ref(storage, gone)
        self._now += size
        self.peak = max(self.peak, self._now)


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes()
