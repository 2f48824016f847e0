"""What attributes and Python's own containers held, for code that runs a second time."""

from __future__ import annotations

import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch import nn

#: Those whose content can be put back; classes made from them may do more than hold.
_DICTS: set[type] = {dict, OrderedDict, defaultdict, Counter}
_HELD: set[type] = _DICTS | {list, set, deque}
#: Of these an equal value is the same one.
_PLAIN: set[type] = {bool, int, float, str, bytes}


class Snapshot:
    """What names stand for, and what containers among that hold.

    Parameters
    ----------
    names
        Dicts, as `attributes_of` a part has them.
    """

    def __init__(self, *names: dict[str, Any]) -> None:
        found = (held for _, held in _containers(names, objects=False))
        self._held = [(it, it.copy()) for it in found if type(it) in _HELD]

    def restore(self) -> None:
        """Have them be, and hold, what they were and held."""
        for container, held in self._held:
            if _is_same(container, held):
                continue
            if type(container) in _DICTS:
                _fill(container, held)
            else:
                container.clear()
                getattr(container, "update" if isinstance(held, set) else "extend")(held)


def attributes_of(part: nn.Module) -> list[dict[str, Any]]:
    """Those of a part's modules; parameters, buffers and hooks are in containers among them."""
    return [vars(module) for module in part.modules()]


def _fill(names: dict[Any, Any], held: dict[Any, Any]) -> None:
    for key in [key for key in names if key not in held]:
        del names[key]
    if list(names) != list(held):  # the order counts, too
        names.clear()
    for key in held:  # a Counter's update would add
        names[key] = held[key]


class Given:
    """What the containers and objects hold that are among some arguments.

    No tensor lives longer for it.
    """

    def __init__(self, *arguments: object) -> None:
        found = _containers(arguments, objects=True)
        self._held = [(owner, it, _references(it)) for owner, it in found]

    def changed(self) -> str | None:
        """The class of one that holds something else now; None: none does."""
        for owner, container, held in self._held:
            if not _is_same(_references(container), held):
                return type(owner).__name__
        return None


def tensors_held(model: nn.Module) -> Iterator[torch.Tensor]:
    """The tensors of a model's modules, and of the containers and objects that these hold."""
    return tensors_among(attributes_of(model))


def tensors_among(value: Any) -> Iterator[torch.Tensor]:
    """A value's tensors, itself or in containers and objects; some of them twice."""
    for _, held in _containers([[value]], objects=True):
        yield from (item for item in _items(held) if isinstance(item, torch.Tensor))


def _references(container: Any) -> Any:
    # Whoever asks for a tensor's weak reference is given the same one while it is held.
    found = [weakref.ref(x) if isinstance(x, torch.Tensor) else x for x in _items(container)]
    return set(found) if isinstance(container, set) else found


def _items(container: Any) -> list[Any]:
    if isinstance(container, dict):
        return [x for pair in container.items() for x in pair]
    return list(container)


def _is_same(now: Any, held: Any) -> bool:
    """Whether two hold the same objects, in the same order."""
    if isinstance(now, set):
        return set(map(id, now)) == set(map(id, held))
    ones, others = _items(now), _items(held)
    return len(ones) == len(others) and all(
        a is b or (type(a) in _PLAIN and type(a) is type(b) and a == b)
        for a, b in zip(ones, others)
    )


def _containers(roots: Iterable[Any], *, objects: bool) -> Iterator[tuple[Any, Any]]:
    """What can be changed among some values, and in what these hold: each once, with its owner.

    Of an object these are its attributes, if asked for; those of modules, functions and
    classes are their own affair.
    """
    waiting, seen = list(roots), set[int]()
    while waiting:
        owner = container = waiting.pop()
        if not isinstance(owner, (dict, list, set, deque, tuple)):
            container = _attributes(owner) if objects else None
        if container is None or id(container) in seen:
            continue
        seen.add(id(container))
        if not isinstance(container, tuple):
            yield owner, container
        waiting += _items(container)


def _attributes(value: Any) -> dict[str, Any] | None:
    if isinstance(value, (nn.Module, torch.Tensor, type, ModuleType)) or callable(value):
        return None
    found: Any = getattr(value, "__dict__", None)
    return found if isinstance(found, dict) else None
