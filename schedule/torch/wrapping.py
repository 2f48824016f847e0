"""Parts of a model run under `torch.utils.checkpoint`, without a change to the model's code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NoReturn

import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from schedule.errors import BackwardRefused, BadInput, OtherStep
from schedule.torch.snapshots import Given, Snapshot, attributes_of
from schedule.values import listed

#: By operator: how often it is called in one call of a part, and which results are kept.
Table = Mapping[str, tuple[int, tuple[int, ...]]]
#: The same with operators in the place of their names.
Kept = Mapping[Any, tuple[int, frozenset[int]]]
#: Buffers, each with what it is to contain.
Contents = Sequence[tuple[torch.Tensor, torch.Tensor]]
#: Parameters and buffers by name, each with its version.
Versions = Sequence[tuple[str, torch.Tensor, int]]


@dataclass(frozen=True)
class Policy:
    """What selective checkpointing keeps in one call of a part, by the n-th call of an operator.

    Attributes
    ----------
    part
        Its name, for messages.
    eager, compiled
        By operator, in eager PyTorch and under `torch.compile`, whose capture calls others.
    """

    part: str
    eager: Kept
    compiled: Kept

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by the operators' names: they themselves can't be."""
        return _policy, (self.part, _named(self.eager), _named(self.compiled))

    def contexts(self, seen: Counter[Any] | None = None) -> tuple[Any, Any]:
        """The two contexts of one call of the part; `seen` counts what is called.

        Without `seen` those are compiled.
        """
        kept = self.compiled if seen is None else self.eager
        counts: tuple[Counter[Any], Counter[Any]] = (Counter() if seen is None else seen, Counter())

        def policy(context: Any, operator: Any, *_: Any, **__: Any) -> CheckpointPolicy:
            known = kept.get(operator)
            if known is None:
                return CheckpointPolicy.PREFER_RECOMPUTE
            called = counts[context.is_recompute]
            number = called[operator]
            called[operator] += 1
            if number >= known[0]:
                raise OtherStep(self._says(operator, "more than", known[0]))
            keeps = number in known[1]
            return CheckpointPolicy.MUST_SAVE if keeps else CheckpointPolicy.PREFER_RECOMPUTE

        create: Any = create_selective_checkpoint_contexts
        first, second = create(policy)
        return first, second

    def check(self, seen: Counter[Any]) -> None:
        """Refuse a call of the part that called an operator less often than the policy says.

        Raises
        ------
        OtherStep
            It did.
        """
        for operator, (calls, _) in self.eager.items():
            if seen[operator] < calls:
                raise OtherStep(self._says(operator, f"{seen[operator]} and not", calls))

    def _says(self, operator: Any, found: str, calls: int) -> str:
        return (
            f"module {self.part!r} calls {operator} {found} {calls} times, for which its policy was"
            f" made: it runs other code now (another mode, precision or attention), or other code"
            f" than on tensors without memory; plan and export it as it is, or export 'modules'"
        )


def resolved(table: Table) -> Kept:
    """With operators in the place of their names."""
    return {_operator(name): (calls, frozenset(keep)) for name, (calls, keep) in table.items()}


def _operator(name: str) -> Any:
    try:
        found: Any = reduce(getattr, name.split("."), torch.ops)
    except AttributeError:
        found = None
    if not isinstance(found, torch._ops.OpOverload):
        raise BadInput(f"this PyTorch ({torch.__version__}) has no operator {name!r}")
    return found


def _named(kept: Kept) -> Table:
    return {str(operator): (calls, tuple(keep)) for operator, (calls, keep) in kept.items()}


def _policy(part: str, eager: Table, compiled: Table) -> Policy:
    return Policy(part, resolved(eager), resolved(compiled))


def contexts_of(policy: Policy, changed: Sequence[str] = ()) -> tuple[Any, Any]:
    """The same as a function, for `torch.compile` and for loops that wrap by themselves.

    Raises
    ------
    BadInput
        In eager PyTorch the part changes buffers: it would change them twice.
    """
    if torch.compiler.is_compiling():
        return policy.contexts()
    if changed:
        raise BadInput(
            f"module {policy.part!r} changes buffers ({listed(changed)}), and would do so again in"
            " its second run, of which a context_fn knows nothing: wrap it by apply, or compile it"
        )
    return policy.contexts(Counter())


class Wrapped:
    """`forward` of a part that is run again in the backward pass.

    Without gradients it is the part's own, and in evaluation mode, unless the step was
    planned in it. In eager PyTorch the buffers that it changes, its attributes, and what
    lists, dicts and sets among them hold, are in the second run what they were in the
    first, and afterwards what they were before; compiled, the second run doesn't change
    them. Lists, dicts and objects that it is given have to stay as they are.
    """

    def __init__(
        self,
        name: str,
        part: nn.Module,
        policy: Policy | None,
        changed: Sequence[str],
        *,
        in_training: bool = True,
    ) -> None:
        self.own, self._in_training = part.forward, in_training
        self.part, self._policy, self._changed = part, policy, tuple(changed)
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One call of the part."""
        if not torch.is_grad_enabled() or (self._in_training and not self.part.training):
            return self.own(*args, **kwargs)
        for value in (*args, *kwargs.values()):
            if hasattr(value, "get_seq_length") and hasattr(value, "update"):
                raise OtherStep(
                    "a module that is run again is given a cache of keys and values, to which it"
                    " would add twice; train with use_cache=False"
                )
        policy = self._policy
        run = partial(checkpoint, self.own, use_reentrant=False)
        if torch.compiler.is_compiling():
            if policy is None:
                return run(*args, **kwargs)
            return run(*args, context_fn=partial(contexts_of, policy), **kwargs)
        seen: Counter[Any] = Counter()
        before = [(buffer, buffer.detach().clone()) for buffer in map(self._named, self._changed)]
        given = Given(args, kwargs)
        contexts = partial(
            self._contexts, seen, before, Snapshot(*attributes_of(self.part)), given, self._read()
        )
        found = run(*args, context_fn=contexts, **kwargs)
        if kind := given.changed():
            raise OtherStep(
                f"module {self._name!r} changes a {kind} that it is given: run again, it would read"
                " another content, and change it again; give it a copy, or export with among="
                " listing modules without it"
            )
        if policy is not None:
            policy.check(seen)
        return found

    def _named(self, name: str) -> torch.Tensor:
        prefix, _, last = name.rpartition(".")
        found: torch.Tensor = getattr(self.part.get_submodule(prefix), last)
        return found

    def _read(self) -> Versions:
        """The state that the part doesn't change, and that nobody else is to change either."""
        state = {**dict(self.part.named_parameters()), **dict(self.part.named_buffers())}
        return [(n, t, t._version) for n, t in state.items() if n not in self._changed]

    def _contexts(
        self,
        seen: Counter[Any],
        before: Contents,
        snapshot: Snapshot,
        given: Given,
        read: Versions,
    ) -> tuple[Any, Any]:
        first: Any = ExitStack()
        second: Any = ExitStack()
        if self._policy is not None:
            first, second = self._policy.contexts(seen)
        return first, _AsBefore(self._name, self.part, before, snapshot, given, read, second)


class _AsBefore:
    """A context in which buffers and attributes are what they were; then they are what they are.

    What was `given`, and what is `read`, mustn't have changed when it is entered.
    """

    def __init__(
        self,
        name: str,
        part: nn.Module,
        before: Contents,
        snapshot: Snapshot,
        given: Given,
        read: Versions,
        inner: Any,
    ) -> None:
        self._name, self._part, self._inner = name, part, inner
        self._before, self._snapshot, self._given, self._read = before, snapshot, given, read
        self._now: Contents = ()
        self._snapshot_now: Snapshot | None = None

    def __enter__(self) -> None:
        for name, tensor, version in self._read:
            if tensor._version != version:
                self._refuse(f"{name!r} of")
        if kind := self._given.changed():
            self._refuse(f"a {kind} that was given to")
        self._now = [(buffer, buffer.detach().clone()) for buffer, _ in self._before]
        self._snapshot_now = Snapshot(*attributes_of(self._part))
        _fill(self._before)
        self._snapshot.restore()
        self._inner.__enter__()

    def _refuse(self, what: str) -> NoReturn:
        raise BackwardRefused(
            f"{what} module {self._name!r}, which is run again, was changed between the forward"
            " and the backward pass; change it after the backward pass, or change a copy"
        )

    def __exit__(self, *error: Any) -> None:
        try:
            self._inner.__exit__(*error)
        finally:
            assert self._snapshot_now is not None
            self._snapshot_now.restore()
            _fill(self._now)
            self._now, self._snapshot_now = (), None


#: Within it changes of a tensor aren't counted.
_unversioned: Any = torch.autograd._unsafe_preserve_version_counter  # type: ignore[attr-defined]


def _fill(contents: Contents) -> None:
    """Give buffers other content; nobody that saved them needs to know."""
    for buffer, value in contents:
        with torch.no_grad(), _unversioned(buffer):
            buffer.copy_(value)


class Applied:
    """Parts of a model that are wrapped, until `remove`; as a context, until it ends."""

    def __init__(self, wrapped: Mapping[str, Wrapped]) -> None:
        self._wrapped = dict(wrapped)

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the parts that are wrapped."""
        return tuple(self._wrapped)

    def remove(self) -> None:
        """Have all parts run as they did before.

        Raises
        ------
        BadInput
            Somebody else has replaced the forward pass of one since; nothing is changed.
        """
        for name, wrapped in self._wrapped.items():
            if wrapped.part.__dict__.get("forward") is not wrapped:
                raise BadInput(
                    f"the forward pass of module {name!r} was replaced after it was wrapped; undo"
                    f" that first"
                )
        for wrapped in self._wrapped.values():
            unwrap(wrapped)
        self._wrapped.clear()

    def __enter__(self) -> Applied:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def unwrap(wrapped: Wrapped) -> None:
    """Have a part run as it did before."""
    own = wrapped.own
    is_method = getattr(own, "__func__", None) is type(wrapped.part).forward
    if is_method:
        del wrapped.part.forward
    else:
        wrapped.part.forward = own  # one that it had been given


def wrap(parts: Mapping[str, nn.Module], make: Callable[[str, nn.Module], Wrapped]) -> Applied:
    """Wrap parts, all of them or none."""
    wrapped = {name: make(name, part) for name, part in parts.items()}
    for each in wrapped.values():
        each.part.forward = each
    return Applied(wrapped)
