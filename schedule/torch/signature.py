"""What a planned step holds for: the shapes of a batch, and the model's state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from schedule.torch.arguments import Arguments
from schedule.torch.internals import flattened, nested
from schedule.values import shown

#: The kinds of device whose autocast is looked at.
_CAST = ("cpu", "cuda")


@dataclass(frozen=True)
class Signature:
    """One kind of step.

    Attributes
    ----------
    form
        How many arguments and targets there are, and their names, in words.
    nesting
        How the arguments are nested.
    leaves
        The flattened arguments: of tensors all but the content.
    modes
        Which parts of the model are in training mode.
    state
        Types and devices of the parameters by name, and which need gradients.
    casting
        Whether autocast is on, and to what.
    """

    form: str
    nesting: Any
    leaves: tuple[Any, ...]
    modes: tuple[bool, ...]
    state: dict[str, Any]
    casting: tuple[Any, ...]

    def difference(self, other: Signature) -> str:
        """The first thing in which another step differs, in words; empty: there is none."""
        if self.form != other.form:
            return f"it is given {other.form}; planned was {self.form}"
        if self.nesting != other.nesting:
            return "its arguments are nested in another way, or have other parts"
        for at, (mine, its) in enumerate(zip(self.leaves, other.leaves)):
            if mine != its:
                return f"{self._name(at)} is {_words(its)}; planned was {_words(mine)}"
        if len(self.modes) != len(other.modes):
            return "the model has more parts than it had, or fewer"
        if self.modes != other.modes:
            return "other parts of the model are in training mode"
        if self.state.keys() != other.state.keys():
            names = sorted(self.state.keys() ^ other.state.keys())
            return f"parameter {names[0]!r} is new, gone, or one with another now"
        if self.state != other.state:
            return "the parameters have another type or device, or others need gradients"
        return "autocast is set otherwise" if self.casting != other.casting else ""

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of this kind, targets last; tensors have any content."""
        args, kwargs = nested([_of_leaf(leaf) for leaf in self.leaves], self.nesting)
        return args, kwargs

    @contextmanager
    def cast(self) -> Iterator[None]:
        """Under the autocast that there was."""
        with ExitStack() as stack:
            for kind, (enabled, dtype) in zip(_CAST, self.casting):
                if enabled:
                    stack.enter_context(torch.autocast(kind, dtype))
            yield

    def _name(self, at: int) -> str:
        """What a flattened argument is called: by its number, or the name it is given by."""
        _, named = nested(list(range(len(self.leaves))), self.nesting)
        for name, part in named.items():
            if at in flattened([part], {})[0]:
                return f"argument {name!r}"
        return f"argument {at}"


def signature_of(model: nn.Module, given: Arguments) -> Signature:
    """The kind of step that these arguments and the model's present state make."""
    return Signature(
        given.in_words(),
        given.nesting,
        tuple(map(_leaf, given.leaves)),
        tuple(part.training for part in model.modules()),
        {name: (p.requires_grad, p.dtype, p.device) for name, p in model.named_parameters()},
        tuple((torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in _CAST),
    )


def _leaf(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        size, stride = tuple(value.size()), tuple(value.stride())
        return size, stride, value.dtype, str(value.device), value.requires_grad
    return type(value), value  # 1, 1.0 and True are three


def _of_leaf(leaf: Any) -> Any:
    if len(leaf) == 2:
        return leaf[1]
    size, stride, dtype, device, needs = leaf
    made = torch.empty_strided(size, stride, dtype=dtype, device=device)
    return made.requires_grad_(needs)


def _words(leaf: Any) -> str:
    if len(leaf) == 2:
        return shown(leaf[1])
    size, stride, dtype, device, needs = leaf
    grad = ", with a gradient" if needs else ""
    return f"{dtype} of shape {size}, strides {stride}, on {device}{grad}"


def in_words(text: str) -> str:
    """What PyTorch says of a scope, with the names that a reader of the model's code knows."""
    text = re.sub(r"\.__dict__\['(\w+)'\]", r".\1", text)
    text = re.sub(r"\._(?:modules|parameters|buffers)\['([^']+)'\]", r".\1", text)
    text = re.sub(r"L\['(?:args|targets|kwargs)'\]\[([^\]]+)\]", r"argument \1", text)
    text = re.sub(r"L\['(\w+)'\]", r"\1", text)
    for pattern, words in _PATTERNS:
        found = re.fullmatch(pattern, text)
        if found is not None:
            return found.expand(words)
    return text


#: Guards as PyTorch writes them, and what their failing means.
_PATTERNS = (
    (r"not ([\w.]+)\._(?:forward|backward)\w*_hooks.*", r"the hooks of \1 have changed"),
    (r"not ___dict_contains\('(\w+)', ([\w.]+)\.__dict__\)", r"\2 has a \1 of its own now"),
    (r"___check_type_id\(([^,]+), .*", r"\1 is of another type"),
    (r"___check_obj_id\(([^,]+), .*", r"\1 is another object"),
    (r"GLOBAL_STATE changed: (.*?) ?", r"a setting of PyTorch's own has changed (\1)"),
    (r"___check_torch_function_mode_stack\(\)", r"another default device or mode is set"),
    (
        r"tensor '(.+?)'? dispatch key set mismatch.*",
        r"\1 is an inference tensor, a subclass, or in a transform; or a mode watches operators",
    ),
    (
        r"expected type of '(.+?)' to be a tensor type, ' but found <class '(.+)'>",
        (
            r"\1 has been replaced by a \2, as functional_call and FullyShardedDataParallel do"
            r" (fully_shard doesn't)"
        ),
    ),
    (
        r"tensor '(.+?)'? (\w+) mismatch(?: at index (\d+))?\. expected (.+?), actual ([^.]+)\..*",
        r"the \2 of \1 is another (\5 in place of \4)",
    ),
    (r"Duplicate tensor found.*", r"two of its tensors have become one"),
    (r"([^=]+) == (.+)", r"\1 is no longer \2"),
    (r"([^=]+) is None", r"\1 is no longer None"),
)
