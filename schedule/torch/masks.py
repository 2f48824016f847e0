"""Attention masks that say no more than "causal" or "all", given back to attention as that.

Some models leave a causal mask to attention's own flag when they run, but write it
out as a tensor while they are traced, because there they can't look at values. With
a tensor attention takes a slower kernel that knows of no shortcut, and memory for it.
"""

from __future__ import annotations

import copy
import math
import operator
from typing import Any

import torch
from torch import fx

_ATTENTION = torch._C._nn.scaled_dot_product_attention
#: Its arguments by place.
_PLACES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
#: Larger masks aren't looked at: elements.
_MOST = 2**28


def without_known_masks(module: fx.GraphModule) -> fx.GraphModule:
    """The traced graph with flags in place of masks that don't depend on what it is given.

    Parameters
    ----------
    module
        Of torch's functions, as Dynamo traces it; it is left as it is.

    Returns
    -------
    GraphModule
        Itself where there is no such mask. What made the mask is left in it,
        unread.
    """
    if not any(node.target is _ATTENTION for node in module.graph.nodes):
        return module
    made = fx.GraphModule(module, copy.deepcopy(module.graph))
    made.meta = dict(module.meta)
    seen = _Masks()
    changed = False
    for node in made.graph.nodes:
        if node.target is _ATTENTION:
            changed |= _simplified(node, seen)
    if not changed:
        return module
    made.recompile()
    return made


def _simplified(node: fx.Node, masks: _Masks) -> bool:
    """Replace the mask of one attention by a flag, where it says no more than that."""
    given: dict[str, Any] = dict(zip(_PLACES, node.args)) | node.kwargs
    mask = given.get("attn_mask")
    if not isinstance(mask, fx.Node) or given.get("is_causal"):
        return False
    query, key = given["query"].meta["example_value"], given["key"].meta["example_value"]
    length = query.shape[-2]
    kind = masks.kind(mask)
    if kind == "causal" and not length == key.shape[-2] == masks.length(mask):
        return False
    if not kind:
        return False
    node.args = ()
    node.kwargs = given | {"attn_mask": None, "is_causal": kind == "causal"}
    return True


class _Masks:
    """What the masks of one graph say, each computed once."""

    def __init__(self) -> None:
        self._kinds: dict[fx.Node, str] = {}

    def length(self, mask: fx.Node) -> int:
        """How many keys it is for."""
        return int(mask.meta["example_value"].shape[-1])

    def kind(self, mask: fx.Node) -> str:
        """`causal`, `all`, or nothing: it says something else, or what only a step can tell."""
        if mask not in self._kinds:
            value = mask.meta.get("example_value")
            known = isinstance(value, torch.Tensor) and value.numel() <= _MOST
            nodes = _constant(mask) if known else None
            self._kinds[mask] = "" if nodes is None else _kind(_computed(nodes))
        return self._kinds[mask]


def _constant(end: fx.Node) -> list[fx.Node] | None:
    """What a node is made of, in order, where that is none of the step's inputs."""
    needed, todo = set(), [end]
    while todo:
        node = todo.pop()
        if node in needed:
            continue
        if node.op not in ("call_function", "call_method") or _draws(node):
            return None
        needed.add(node)
        todo += node.all_input_nodes
    changed = {user for node in needed for user in node.users if _writes(user)}
    if changed:  # in place: whoever reads it afterwards reads something else
        return None
    return [node for node in end.graph.nodes if node in needed]


def _draws(node: fx.Node) -> bool:
    """Whether it may be random: among functions of torch, those that are named so."""
    name = str(getattr(node.target, "__name__", node.target))
    return any(word in name for word in ("rand", "normal", "bernoulli", "dropout", "multinomial"))


#: What of the module `operator` changes its first argument.
_IN_PLACE = {
    operator.setitem,
    *(getattr(operator, f"i{name}") for name in ("add", "sub", "mul", "truediv", "floordiv")),
    *(getattr(operator, f"i{name}") for name in ("mod", "pow", "matmul", "and", "or", "xor")),
    *(operator.ilshift, operator.irshift, operator.iconcat, operator.delitem),
}


def _writes(node: fx.Node) -> bool:
    """Whether it changes what it is given."""
    target: Any = node.target
    if getattr(target, "__module__", "") == "_operator":
        return target in _IN_PLACE
    name = str(getattr(target, "__name__", target))
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def _computed(nodes: list[fx.Node]) -> Any:
    """The value of the last of them, computed on the CPU."""
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    cpu = torch.device("cpu")
    found: dict[fx.Node, Any] = {}

    def here(value: Any) -> Any:
        return cpu if isinstance(value, torch.device) else value

    with unset_fake_temporarily(), torch.no_grad():
        for node in nodes:
            args, kwargs = fx.node.map_aggregate((node.args, node.kwargs), here)
            args, kwargs = fx.map_arg((args, kwargs), found.__getitem__)
            if node.op == "call_method":
                found[node] = getattr(args[0], str(node.target))(*args[1:], **kwargs)
            else:
                target: Any = node.target
                found[node] = target(*args, **kwargs)
    return found[nodes[-1]]


def _kind(mask: Any) -> str:
    if not isinstance(mask, torch.Tensor) or mask.dim() < 2:
        return ""
    if mask.dtype != torch.bool:
        hidden = mask <= (torch.finfo(mask.dtype).min if mask.is_floating_point() else -math.inf)
        if not (hidden | (mask == 0)).all():
            return ""
        mask = ~hidden
    if mask.all():
        return "all"
    rows, columns = mask.shape[-2:]
    if rows == columns and (mask == torch.ones(rows, columns, dtype=torch.bool).tril()).all():
        return "causal"
    return ""
