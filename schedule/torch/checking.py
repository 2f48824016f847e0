"""A planned step beside the model's own: what differs, and by how much."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from schedule.errors import BadInput
from schedule.torch.arguments import Arguments
from schedule.torch.capturing import without_caches
from schedule.torch.internals import flattened, nested
from schedule.torch.kernels import extent
from schedule.values import shown

#: How far numbers may lie apart, as a share of the largest of them, by what they are computed in.
_TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 5e-2, torch.float32: 1e-3, torch.float64: 1e-7}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that isn't the same after both steps.

    Attributes
    ----------
    what
        Such as `"gradient of layers.0.weight"`.
    how
        In words, with a figure where there is one.
    in_capture
        Whether it is so without any recomputation, too: PyTorch's own capture
        differs from eager PyTorch there.
    """

    what: str
    how: str
    in_capture: bool = False

    def __str__(self) -> str:
        """In a line."""
        blame = " (PyTorch's own capture differs, too)" if self.in_capture else ""
        return f"{self.what}: {self.how}{blame}"


@dataclass(frozen=True)
class Report:
    """What a planned step did otherwise than the model's own.

    Attributes
    ----------
    differences
        Empty: all is equal, up to rounding.
    compared
        How many things were compared, by kind.
    """

    differences: tuple[Difference, ...]
    compared: dict[str, int] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether there is no difference."""
        return not self.differences

    def __str__(self) -> str:
        """All of it, a line each."""
        counts = ", ".join(f"{count} {kind}" for kind, count in self.compared.items())
        if self.same:
            return f"the planned step is the model's own: {counts} compared"
        found = "\n".join(f"  {difference}" for difference in self.differences)
        return f"the planned step differs from the model's own ({counts} compared):\n{found}"


def compared(
    model: nn.Module,
    planned: Sequence[Callable[..., Any]],
    given: Arguments,
    loss: Callable[..., Any] | None,
    seed: int,
) -> Report:
    """Compare one step of the model itself with one of each planned module.

    Parameters
    ----------
    model
        It is left as it was, also where a step raises.
    planned
        The planned module, and perhaps the same without recomputation, to tell
        what PyTorch's own capture does.
    given
        What they are run on; each run has a copy.
    loss
        As for `plan`.
    seed
        Of the random numbers.
    """

    def own(*args: Any, **kwargs: Any) -> Any:
        inner = len(args) - len(given.targets)
        found = model(*args[:inner], **kwargs)
        return without_caches(found) if loss is None else loss(found, *args[inner:])

    runs = [_Run.of(model, loss, run, given, seed) for run in (own, *planned)]
    eager, mine, *others = runs
    found = list(eager.differences(mine))
    for other in others:
        theirs = {difference.what for difference in eager.differences(other)}
        found = [Difference(d.what, d.how, d.what in theirs) for d in found]
    return Report(tuple(found), eager.counts())


@dataclass
class _Run:
    """What one step has left: values by what they are, kind by kind."""

    kinds: dict[str, dict[str, Any]]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        loss: Callable[..., Any] | None,
        run: Callable[..., Any],
        given: Arguments,
        seed: int,
    ) -> _Run:
        """Run forward and backward, note what there is, and set all back."""
        parts = [("", model), *([("loss.", loss)] if isinstance(loss, nn.Module) else [])]
        args, kwargs = _copied(((*given.args, *given.targets), given.kwargs))
        with _as_it_was(parts), _seeded(seed):
            before = _attributes(parts)
            output = run(*args, **kwargs)
            loose = {"output": _frozen(output)}
            torch.autograd.backward(_loss_of(output))
            leaves = [leaf for leaf in flattened(args, kwargs)[0] if isinstance(leaf, torch.Tensor)]
            state = [(p + n, t) for p, m in parts for n, t in m.named_parameters()]
            grads = {f"gradient of {name}": t.grad for name, t in state}
            grads |= {
                f"gradient of argument {at}": leaf.grad
                for at, leaf in enumerate(leaves)
                if leaf.is_leaf and leaf.requires_grad
            }
            return cls(
                {
                    "outputs": loose,
                    "gradients": _frozen(grads),
                    "parameters": _frozen({f"parameter {name}": t for name, t in state}),
                    "buffers": _frozen(
                        {f"buffer {p}{n}": t for p, m in parts for n, t in m.named_buffers()}
                    ),
                    "arguments": _frozen({f"argument {at}": t for at, t in enumerate(leaves)}),
                    "attributes": _frozen(_changed(before, _attributes(parts))),
                    "random states": _random_states(),
                }
            )

    def counts(self) -> dict[str, int]:
        """How many values there are of each kind."""
        found = {kind: len(values) for kind, values in self.kinds.items()}
        found["outputs"] = len(flattened((self.kinds["outputs"],), {})[0])
        return {kind: count for kind, count in found.items() if count}

    def differences(self, other: _Run) -> Iterator[Difference]:
        """In what another run differs from this one."""
        for kind, values in self.kinds.items():
            its = other.kinds[kind]
            for what in dict.fromkeys([*values, *its]):
                yield from _differences(what, values.get(what), its.get(what))


def _loss_of(output: Any) -> torch.Tensor:
    """What is differentiated: the first single number that can be."""
    for leaf in _leaves(output):
        if isinstance(leaf, torch.Tensor) and leaf.numel() == 1 and leaf.requires_grad:
            return leaf.sum()
    raise BadInput("the step returns no loss that could be differentiated; pass loss=")


def _leaves(value: Any) -> list[Any]:
    """All that an output has, objects with attributes opened."""
    found: list[Any] = []
    for leaf in flattened((value,), {})[0]:
        fields = _fields(leaf)
        found += [leaf] if fields is None else _leaves(fields)
    return found


def _fields(value: Any) -> dict[str, Any] | None:
    """The attributes of an object that is no value by itself."""
    if isinstance(value, (torch.Tensor, nn.Module, type)) or not hasattr(value, "__dict__"):
        return None
    return None if callable(value) else dict(vars(value))


def _frozen(value: Any) -> Any:
    """The same with tensors as they are now, and objects as their attributes."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: _frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_frozen(item) for item in value]
    fields = _fields(value)
    return value if fields is None else _frozen(fields)


def _copied(value: Any) -> Any:
    """A batch of its own: leaves of automatic differentiation with all they had."""
    leaves, nesting = flattened((value,), {})
    made: dict[int, Any] = {}
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor):
            own = _copy_in_place(leaf.detach())
            made[id(leaf)] = own.requires_grad_(leaf.requires_grad)
        else:
            made[id(leaf)] = copy.deepcopy(leaf)
    (found,), _ = nested([made[id(leaf)] for leaf in leaves], nesting)
    return found


def _copy_in_place(value: torch.Tensor) -> torch.Tensor:
    """A copy with the same strides, gaps too: a plan holds for these."""
    if value.layout is not torch.strided or not value.numel():
        return value.clone()
    flat = (extent(value) // value.element_size(),), (1,)
    made = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device=value.device)
    made.as_strided(*flat).copy_(value.as_strided(*flat, value.storage_offset()))
    return made


def _differences(what: str, wanted: Any, found: Any) -> Iterator[Difference]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*wanted, *found]):
            yield from _differences(f"{what}[{key!r}]", wanted.get(key), found.get(key))
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for at, (one, other) in enumerate(zip(wanted, found)):
            yield from _differences(f"{what}[{at}]", one, other)
    elif isinstance(wanted, torch.Tensor) and isinstance(found, torch.Tensor):
        how = _apart(wanted, found)
        if how:
            yield Difference(what, how)
    elif isinstance(wanted, torch.Tensor) or isinstance(found, torch.Tensor):
        yield Difference(what, f"{_kind(found)}, eager {_kind(wanted)}")
    elif type(wanted) is not type(found) or not _equal(wanted, found):
        yield Difference(what, f"{shown(found)}, eager {shown(wanted)}")


def _kind(value: Any) -> str:
    return "a tensor" if isinstance(value, torch.Tensor) else shown(value)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-6 * max(1.0, abs(one)) or one != one
    kind: Any = type(one)
    return bool(one == other) if kind.__eq__ is not object.__eq__ else True


def _apart(wanted: torch.Tensor, found: torch.Tensor) -> str:
    """How two tensors differ; empty: by rounding, or not at all."""
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return (
            f"{found.dtype} of shape {tuple(found.shape)}, eager {wanted.dtype} of shape"
            f" {tuple(wanted.shape)}"
        )
    if not wanted.numel() or torch.equal(wanted, found):
        return ""
    if not (wanted.dtype.is_floating_point or wanted.dtype.is_complex):
        return f"{int((wanted != found).sum())} of {wanted.numel()} elements differ"
    if not torch.equal(wanted.isnan(), found.isnan()):
        return "not the same elements are NaN"
    finest = torch.complex128 if wanted.dtype.is_complex else torch.float64
    wide, its = wanted.to(finest).nan_to_num(), found.to(finest).nan_to_num()
    largest = float((wide - its).abs().max())
    scale = float(wide.abs().max())
    kind = wanted.abs().dtype
    allowed = _TOLERANCE.get(kind, 1e-3) * scale + 1e-7
    if largest <= allowed:
        return ""
    return f"differs by up to {largest:.3g}, where eager has values up to {scale:.3g}"


def _attributes(parts: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Plain attributes of all modules: what `forward` may have assigned."""
    found = {}
    for prefix, whole in parts:
        for name, module in whole.named_modules():
            for key, value in vars(module).items():
                if not key.startswith("_") and not isinstance(value, nn.Module):
                    found[f"attribute {prefix}{name + '.' if name else ''}{key}"] = value
    return {what: _shallow(value) for what, value in found.items()}


def _shallow(value: Any) -> Any:
    """A copy of what holds values, so that it can be seen whether they change."""
    if isinstance(value, dict):
        return {key: _shallow(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shallow(item) for item in value]
    return value


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that aren't what they were."""
    missing = object()
    return {
        what: value
        for what, value in after.items()
        if not _is_same(before.get(what, missing), value)
    }


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return one is other or (
        type(one) is type(other) and isinstance(one, (int, float, str)) and one == other
    )


def _random_states() -> dict[str, Any]:
    found = {"random state": torch.get_rng_state()}
    if torch.cuda.is_available():
        states = torch.cuda.get_rng_state_all()
        found |= {f"random state of cuda:{at}": state for at, state in enumerate(states)}
    return found


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield


@contextmanager
def _as_it_was(parts: Sequence[tuple[str, Any]]) -> Iterator[None]:
    """Set modules back: their tensors' contents, gradients, attributes and what those hold."""
    modules = [module for _, whole in parts for module in whole.modules()]
    kept: dict[int, tuple[Any, Any]] = {}
    for module in modules:
        kept[id(module)] = module.__dict__, dict(module.__dict__)
        for value in module.__dict__.values():
            _keep(value, kept)
    tensors = [t for m in modules for d in (m._parameters, m._buffers) for t in d.values()]
    had = [
        (t, t.detach().clone(), t.grad) for t in dict.fromkeys(t for t in tensors if t is not None)
    ]
    for tensor, _, _ in had:
        tensor.grad = None
    try:
        yield
    finally:
        for holder, content in kept.values():
            holder.clear()
            holder.extend(content) if isinstance(holder, list) else holder.update(content)
        with torch.no_grad():
            for tensor, content, grad in had:
                if not torch.equal(tensor, content):
                    tensor.copy_(content)
                tensor.grad = grad


def _keep(value: Any, kept: dict[int, tuple[Any, Any]]) -> None:
    """Note what a list, a dictionary, a set or an object holds, and what those in it hold."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, tuple):
            todo += item
        elif _fields(item) is not None:
            item = vars(item)  # such as a configuration, in which a model may note something
        if isinstance(item, (list, dict, set)) and id(item) not in kept:
            kept[id(item)] = item, copy.copy(item)
            todo += item.values() if isinstance(item, dict) else item
