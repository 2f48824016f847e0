"""A plan as others execute it: parts of a model under `torch.utils.checkpoint`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Literal

import torch
from torch import nn

from schedule.errors import BadInput, WrongGraph
from schedule.files import AnyPath, write_json
from schedule.sizes import format_memory, format_share
from schedule.torch.standin import Planned
from schedule.torch.wrapping import Applied, Policy, Table, Wrapped, contexts_of, resolved, wrap
from schedule.values import listed, shown

FORMAT = "checkpointing/1"
#: What a plan is exported to: selective activation checkpointing, or a list of modules.
Kind = Literal["selective", "modules"]
#: Parts of names that wrappers of models bring.
_WRAPPERS = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}


@dataclass(frozen=True)
class Module:
    """A module that is wrapped.

    Attributes
    ----------
    kind
        The name of its class.
    changed
        Names, from the module on, of the buffers that it changes in place.
    training
        Whether the step was planned with it in training mode: in evaluation mode it
        is wrapped only if it wasn't.
    eager, compiled
        What is kept of what it computes, in eager PyTorch and under
        `torch.compile`, whose capture calls other operators; empty: nothing.
    """

    kind: str
    changed: tuple[str, ...] = ()
    training: bool = True
    eager: Table | None = None
    compiled: Table | None = None


@dataclass(frozen=True)
class Checkpointing:
    """Which modules are run again in the backward pass, what is kept in them, and what that takes.

    `schedule.torch.export` makes it, `schedule.torch.read_checkpointing` reads its file.

    Attributes
    ----------
    to
        `"selective"` or `"modules"`.
    modules
        The modules that are wrapped, by name.
    groups
        The labels that were chosen, where modules were given in groups.
    budget
        Bytes.
    peak, compute
        Of the step that eager PyTorch runs, simulated on the captured graph: bytes,
        and the unit of its costs.
    plain_compute
        Compute of the step with nothing recomputed.
    plan_peak, plan_compute
        Of the exact schedule.
    is_best
        Whether no other choice of what could be chosen fits with less compute.
    model
        The name of the model's class.
    names
        A digest of the names of all its modules and buffers.
    """

    to: Kind
    modules: Mapping[str, Module]
    groups: tuple[str, ...]
    budget: int
    peak: int
    compute: int | float
    plain_compute: int | float
    plan_peak: int
    plan_compute: int | float
    is_best: bool
    model: str
    names: str

    @property
    def overhead(self) -> float:
        """`compute` relative to the step with nothing recomputed, minus 1."""
        return self.compute / self.plain_compute - 1 if self.plain_compute else 0.0

    @property
    def loss(self) -> float:
        """What it computes more than the exact schedule, relative to the plain step.

        0.02 are two percentage points.
        """
        return (self.compute - self.plan_compute) / self.plain_compute if self.plain_compute else 0

    def __str__(self) -> str:
        """One line: what is wrapped, peak of budget, overhead, and the plan's."""
        what = "selective checkpointing" if self.to == "selective" else "checkpointing"
        count = f"{len(self.modules)} module{'s' * (len(self.modules) != 1)}"
        best = ", the best choice" if self.is_best else ""
        return (
            f"{what} of {count}{best}: peak {format_memory(self.peak)} of"
            f" {format_memory(self.budget)}, {format_share(self.overhead)} compute; the exact"
            f" schedule: {format_memory(self.plan_peak)}, "
            f"{format_share(self.overhead - self.loss)}"
        )

    def apply(self, model: nn.Module) -> Applied:
        """Wrap the modules of a model, on which training then goes on as before.

        Their `forward` is replaced, on these objects alone; names, parameters,
        `state_dict` and classes stay.

        Parameters
        ----------
        model
            The one that was planned, or another of the same make: before it is
            compiled, sharded or wrapped by others.

        Returns
        -------
        Applied
            Its `remove` undoes all; as a context it does so at the end.

        Raises
        ------
        WrongGraph
            The model has other modules.
        BadInput
            Something is wrapped already, or no module.

        Notes
        -----
        All is checked before anything is changed.
        """
        parts = self._parts(model)
        for name, part in parts.items():
            if isinstance(part.__dict__.get("forward"), Wrapped):
                raise BadInput(f"module {name!r} is wrapped already; remove that first")
            if getattr(part, "gradient_checkpointing", False):
                raise BadInput(
                    f"module {name!r} has gradient checkpointing of its own turned on: it would run"
                    f" a third time; model.gradient_checkpointing_disable() first"
                )
        policies = {name: self._policy(name) for name in parts}

        def make(name: str, part: nn.Module) -> Wrapped:
            module = self.modules[name]
            return Wrapped(name, part, policies[name], module.changed, in_training=module.training)

        return wrap(parts, make)

    def enable(self, model: Any) -> None:
        """Turn on gradient checkpointing in chosen layers of a model of transformers.

        As `model.gradient_checkpointing_enable()` does, in these layers alone;
        `gradient_checkpointing_disable()` undoes it. What is kept inside of layers
        is not done so: `apply` does.

        Raises
        ------
        WrongGraph
            The model has other modules.
        BadInput
            It is no model of transformers, or a module is no layer that can do it.
        """
        if self.to != "modules":
            raise BadInput("transformers' own checkpointing keeps nothing in a layer; use apply")
        parts = self._parts(model)
        # Newer versions of transformers warn of the older name.
        turn_on = getattr(model, "activation_checkpointing_enable", None)
        turn_on = turn_on or getattr(model, "gradient_checkpointing_enable", None)
        if turn_on is None:
            raise BadInput(f"{type(model).__name__} is no model of transformers; use apply")
        layers = [part for part in model.modules() if _is_layer(part)]
        chosen = set(map(id, parts.values()))
        for name, part in parts.items():
            if not _is_layer(part):
                raise BadInput(
                    f"module {name!r} is no layer that transformers can checkpoint; use apply, or"
                    f" export with among= naming layers"
                )
            if not self.modules[name].training:
                raise BadInput(
                    f"module {name!r} was planned in evaluation mode, in which transformers'"
                    f" own checkpointing does nothing; use apply"
                )
        turn_on({"use_reentrant": False})
        for layer in layers:
            layer.gradient_checkpointing = id(layer) in chosen

    def context_fn(self, name: str) -> Callable[[], tuple[Any, Any]]:
        """What `checkpoint` and `checkpoint_wrapper` take, for loops that wrap by themselves.

        Parameters
        ----------
        name
            Of one of `modules`.

        Raises
        ------
        BadInput
            It is none, or nothing is kept in modules. When the module runs in eager PyTorch:
            it changes buffers, which only `apply` puts back.
        """
        if name not in self.modules:
            raise BadInput(f"{shown(name)} is none of the modules: {listed(list(self.modules))}")
        policy = self._policy(name)
        if policy is None:
            raise BadInput("a list of modules has no policies: checkpoint them without context_fn")
        return partial(contexts_of, policy, self.modules[name].changed)

    def _policy(self, name: str) -> Policy | None:
        module = self.modules[name]
        if module.eager is None or module.compiled is None:
            return None
        return Policy(name, resolved(module.eager), resolved(module.compiled))

    def _parts(self, model: Any) -> dict[str, nn.Module]:
        """The modules to wrap, in a model that is as the planned one."""
        if not isinstance(model, nn.Module):
            raise BadInput(f"model is {shown(model)}; it has to be a torch.nn.Module")
        if isinstance(model, Planned):
            raise BadInput(
                "the planned module runs by its exact schedule; give the model it was made from"
            )
        known = {_plain(name): part for name, part in model.named_modules()}
        for name, module in self.modules.items():
            if name not in known:
                raise WrongGraph(
                    f"{self._made_for()}, which has a module {name!r}; this"
                    f" {type(model).__name__} has none"
                )
            kinds = [kind.__name__ for kind in type(known[name]).__mro__]
            if module.kind not in kinds:
                raise WrongGraph(
                    f"{self._made_for()}, whose module {name!r} is a {module.kind}; here it is a"
                    f" {kinds[0]}"
                )
        if digest_of(model) != self.names:
            raise WrongGraph(
                f"{self._made_for()}, and this {type(model).__name__} has other modules"
                f" ({len(known)} in all) or buffers; plan and export it"
            )
        for name, module in self.modules.items():
            theirs = {_plain(buffer) for buffer, _ in known[name].named_buffers()}
            for buffer in module.changed:
                if buffer not in theirs:
                    raise WrongGraph(
                        f"{self._made_for()}, whose module {name!r} has a buffer {buffer!r}; here"
                        " it has none"
                    )
        return {name: known[name] for name in self.modules}

    def _made_for(self) -> str:
        return f"the checkpointing was made for another {self.model}"

    def save(self, path: AnyPath) -> None:
        """Write it to a JSON file, gzipped where the name ends in `.gz`; whole, or not at all.

        Raises
        ------
        BadOutput
            The file can't be written.
        """
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The file's content (docs/torch-export.md)."""
        modules = {}
        for name, module in self.modules.items():
            found: dict[str, Any] = {
                "class": module.kind,
                "changed": list(module.changed),
                "training": module.training,
            }
            modules[name] = found
            for key, table in (("eager", module.eager), ("compiled", module.compiled)):
                if table is not None:
                    found[key] = {
                        operator: {"calls": calls, "keep": list(keep)}
                        for operator, (calls, keep) in table.items()
                    }
        return {
            "format": FORMAT,
            "to": self.to,
            "model": {"class": self.model, "names": self.names},
            "torch": torch.__version__,
            "budget": self.budget,
            "peak": self.peak,
            "compute": self.compute,
            "plain_compute": self.plain_compute,
            "plan": {"peak": self.plan_peak, "compute": self.plan_compute},
            "best": self.is_best,
            "groups": list(self.groups),
            "modules": modules,
        }


def _is_layer(part: Any) -> bool:
    """Whether transformers can checkpoint it by itself."""
    return any(kind.__name__ == "GradientCheckpointingLayer" for kind in type(part).__mro__)


def digest_of(model: nn.Module) -> str:
    """Of the names of a model's modules and buffers, without those that wrappers bring.

    Buffers tell apart what changes something when it runs, as batch norm does.
    """
    named = [*model.named_modules(), *model.named_buffers()]
    names = sorted({_plain(name) for name, _ in named})
    return sha256("\n".join(names).encode()).hexdigest()


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)
