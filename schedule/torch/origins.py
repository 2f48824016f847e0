"""Where in a model's code the nodes of its captured step come from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import fx

#: How PyTorch writes a part of the model: by attributes, keys of containers, numbers.
_MODEL = "L['model']"
_KEY = re.compile(r"\[(?:'([^']*)'|(\d+))\]")


@dataclass(frozen=True, slots=True)
class Origin:
    """What PyTorch noted of an operation while it was traced.

    Attributes
    ----------
    calls
        The calls of the model's parts that it runs in, outermost first: the part's
        name, as the code reaches it, and the number of the call.
    operator
        `aten.addmm.default`.
    derivative
        The number of PyTorch's node of automatic differentiation that the operation
        makes, or belongs to; None: unknown. An operation of the forward pass that
        isn't differentiated has the number of one before it.
    """

    calls: tuple[tuple[str, int], ...]
    operator: str
    derivative: int | None


def origin_of(node: fx.Node) -> Origin:
    """Of a node of a joint graph."""
    calls = []
    for key, (path, _) in (node.meta.get("nn_module_stack") or {}).items():
        if path.startswith(_MODEL):
            call = str(key).partition("@")[2]
            name = _KEY.sub(lambda found: f".{found[1] or found[2]}", path.removeprefix(_MODEL))
            name = name.replace("._modules.", ".").removeprefix(".")
            calls.append((name, int(call) if call.isdigit() else 0))
    return Origin(tuple(calls), str(node.target), node.meta.get("seq_nr"))
