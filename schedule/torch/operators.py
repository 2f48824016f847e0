"""What is known of operators: which a schedule can run, which may run twice, what they keep."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import fx

from schedule.errors import CannotCapture

aten = torch.ops.aten

#: Losses that reduce inside the memory of all their elements, and a sum of columns that is made
#: in theirs. The result keeps it, though fake tensors don't say so. Others are noticed at the
#: first run.
_LOOSE = {
    aten.col2im.default,
    aten.mse_loss.default,
    aten.smooth_l1_loss.default,
    aten.binary_cross_entropy.default,
    aten.soft_margin_loss.default,
}
#: Their names.
LOOSE = frozenset(map(str, _LOOSE))
#: Checks of what holds by capture already, and marks without an effect.
_IDLE = {
    torch.ops.aten._assert_tensor_metadata.default,
    torch.ops.aten._assert_scalar.default,
    torch.ops.aten._assert_async.msg,
}


#: What runs other code, by what it finds in tensors.
_CHOOSING = {"cond", "while_loop", "map_impl", "scan", "associative_scan"}
#: Where PyTorch's own operators are.
_OWN = ("aten", "prims")


def is_idle(node: fx.Node) -> bool:
    """Whether a node computes nothing."""
    return node.target in _IDLE


def check(node: fx.Node) -> None:
    """Refuse what a schedule can't run.

    Raises
    ------
    CannotCapture
        Names the operation, and why.
    """
    target: Any = node.target
    if isinstance(target, torch._ops.HigherOrderOperator) and str(target) in _CHOOSING:
        why = "runs code of which content decides; compute all, and choose (torch.where)"
    elif not isinstance(target, torch._ops.OpOverload):
        inner = [str(arg) for arg in node.args if isinstance(arg, torch._ops.OpOverload)]
        inner += [str(v) for v in node.kwargs.values() if isinstance(v, torch._ops.OpOverload)]
        named = f" ({', '.join(inner)})" if inner else ""
        why = (
            f"is no operator that runs by itself{named}; an operator that changes its arguments"
            f" has to return new tensors instead"
        )
    elif target._schema.is_mutable:
        why = (
            "changes what it reads, where nobody could follow (in a torch.autograd.Function's"
            " backward pass, say); let it make a new tensor"
        )
    elif target is aten._local_scalar_dense.default:
        why = (
            "reads a number out of a tensor (.item(), float(…), a loop or slice by it; keep it a"
            " tensor, or do it outside of forward)"
        )
    elif has_symbols(node):
        why = (
            "has a size that depends on data (as x[mask] has: use torch.where, or the mask as a"
            " factor)"
        )
    elif any(tensor.layout != torch.strided for tensor in tensors_in(node.meta.get("val"))):
        why = (
            "gives a sparse tensor, whose memory depends on data"
            " (nn.Embedding(…, sparse=True) makes such gradients: plan it with sparse=False)"
        )
    else:
        return
    raise CannotCapture(f"operation {node.name!r} ({target}) {why}, so no schedule can run it")


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors of what an operator gives: one, or several results."""
    found = value if isinstance(value, (tuple, list)) else [value]
    return [item for item in found if isinstance(item, torch.Tensor)]


def has_symbols(node: fx.Node) -> bool:
    """Whether what a node gives has sizes that aren't numbers, as where they depend on data."""
    values = node.meta.get("val")
    found = values if isinstance(values, (tuple, list)) else [values]
    if any(isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)) for value in found):
        return True
    sizes = [size for tensor in tensors_in(node.meta.get("val")) for size in tensor.shape]
    return any(isinstance(size, torch.SymInt) for size in sizes)


def may_run_again(node: fx.Node, pure: Collection[str] = ()) -> bool:
    """Whether a second run of a node gives what the first one gave.

    PyTorch marks those of its own operators that draw random numbers. Of others
    nobody knows, unless they are said to be `pure`, as `namespace::name`.
    """
    target: Any = node.target
    is_own = target.namespace in _OWN
    return not is_random(node) if is_own else target._schema.name in pure


def is_known(node: fx.Node, pure: Collection[str] = ()) -> bool:
    """Whether an operator is PyTorch's own, or said to do nothing but compute."""
    target: Any = node.target
    return target.namespace in _OWN or target._schema.name in pure


def is_random(node: fx.Node) -> bool:
    """Whether a run draws random numbers, so that a second one gives something else."""
    target: Any = node.target
    if torch.Tag.nondeterministic_seeded not in target.tags:
        return False
    if argument(node, "philox_seed") is not None:
        return False  # attention's backward pass is given what its forward pass drew
    # Attention bears the tag whether it drops anything or not.
    dropped = argument(node, "dropout_p")
    return dropped is None or dropped > 0


#: Operators whose kernels, on a CPU and on a GPU, draw from the default generator of the device
#: that their result is on, and from nothing else. cuDNN's recurrent layers keep a state of theirs.
_DRAWING = {
    *(aten.native_dropout, aten.bernoulli, aten.rand, aten.rand_like, aten.randn, aten.randn_like),
    *(aten.randint, aten.randint_like, aten.uniform, aten.normal, aten.normal_functional),
    *(aten.exponential, aten.rrelu_with_noise_functional),
    *(aten._scaled_dot_product_efficient_attention, aten._scaled_dot_product_flash_attention),
    aten._scaled_dot_product_cudnn_attention,
}


def draws_by_default(node: fx.Node) -> bool:
    """Whether all that a node draws comes from its device's default generator."""
    target: Any = node.target
    return target.overloadpacket in _DRAWING and argument(node, "generator") is None


def is_dropout(node: fx.Node) -> bool:
    """Whether it is a dropout that drops, and returns its mask."""
    return bool(node.target == aten.native_dropout.default) and argument(node, "train") is not False


def is_loose(node: fx.Node) -> bool:
    """Whether its result keeps more memory than it has elements."""
    if node.target not in _LOOSE:
        return False
    return node.target is aten.col2im.default or node.meta["val"].dim() == 0


def is_batch_norm(node: fx.Node) -> bool:
    """Whether it normalises by its batch, so that what it reads of the past doesn't matter.

    Its new running statistics do depend on the old ones: they must go nowhere
    but into the buffers, which take them once, and to batch norm and its
    backward pass, which don't look at them in training.
    """
    # One of these has no argument for it: it is for training alone.
    if node.target not in _STATISTICS or argument(node, "training") is False:
        return False
    new = [user for user in node.users if user.args[1] in _STATISTICS[node.target]]
    return all(_looks_away(reader, user) for user in new for reader in user.users)


def _looks_away(reader: fx.Node, statistic: fx.Node) -> bool:
    """Whether a node is given running statistics, and its results don't depend on them."""
    elsewhere = [arg for at, arg in enumerate(reader.args) if at not in (3, 4)]
    if reader.op == "output":
        return True
    if statistic in elsewhere or statistic in reader.kwargs.values():
        return False
    if reader.target is aten.native_batch_norm_backward.default:
        return argument(reader, "train") is True
    if reader.target is aten.batch_norm_backward.default:
        return argument(reader, "update") is True
    return is_batch_norm(reader)


#: Where batch norm gives its new running statistics.
_STATISTICS = {
    aten._native_batch_norm_legit_functional.default: (3, 4),
    aten._batch_norm_with_update_functional.default: (4, 5),
}


#: Views that one zero spread over a shape allows as well as a tensor full of them.
_SPREADING = {
    aten.view.default,
    aten._unsafe_view.default,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.permute.default,
    aten.transpose.int,
    aten.t.default,
    aten.expand.default,
    aten.slice.Tensor,
    aten.select.int,
    aten.detach.default,
}


def is_read_pointwise(node: fx.Node) -> bool:
    """Whether all that reads a tensor, through views or not, goes element by element."""
    todo = [node]
    while todo:
        for user in todo.pop().users:
            target: Any = user.target
            if target in _SPREADING:
                todo.append(user)
            elif user.op != "call_function" or torch.Tag.pointwise not in getattr(
                target, "tags", ()
            ):
                return False
    return True


def argument(node: fx.Node, name: str) -> Any:
    """An argument by its name in the operator's schema, or its default; None: it has none."""
    target: Any = node.target
    for at, item in enumerate(target._schema.arguments):
        if item.name == name:
            if name in node.kwargs:
                return node.kwargs[name]
            return node.args[at] if at < len(node.args) else item.default_value
    return None
