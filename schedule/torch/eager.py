"""What eager PyTorch calls in parts of a model, found out on tensors without memory."""

from __future__ import annotations

import copy
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import SAC_IGNORED_OPS

from schedule.errors import CannotCapture, is_out_of_memory
from schedule.torch.dynamo import quietly
from schedule.torch.internals import fake_tensors
from schedule.torch.rerouting import AsWithMemory
from schedule.torch.snapshots import Given, tensors_held


@dataclass(slots=True, eq=False)
class Called:
    """A call of an operator.

    Attributes
    ----------
    operator
        `aten.addmm.default`.
    number
        How many calls of it there were before in the same call of the part.
    may_keep
        Whether its results can be handed out in a second run in its place: it
        changes nothing, draws nothing, and nobody changes them later.
    until
        How many calls there are in that call of the part before its results are
        gone: the code's variables let go of them, and nothing is saved. None: they
        outlive it.
    """

    operator: str
    number: int
    may_keep: bool
    until: int | None = None


@contextmanager
def without_memory() -> Iterator[AsWithMemory]:
    """Run what eager PyTorch runs, on tensors without memory.

    Raises
    ------
    CannotCapture
        Code in there fails on them.
    """
    with quietly(), fake_tensors(), AsWithMemory() as rerouting:
        try:
            yield rerouting
        except CannotCapture:
            raise
        except Exception as error:  # whatever the model's code raises
            if is_out_of_memory(error):
                raise
            raise CannotCapture(
                f"what eager PyTorch calls in the model can't be found out on tensors without"
                f" memory: {type(error).__name__}: {error}"
            ) from error


def calls_in(
    model: nn.Module,
    parts: Sequence[str],
    prepare: Callable[[nn.Module], Callable[[], Any]],
) -> tuple[dict[str, list[list[Called]]], set[str]]:
    """The operators that eager PyTorch calls in each call of some parts of a model.

    And the parts that are given what somebody changes in place later, they or others.

    Parameters
    ----------
    model
        Stays as it is: a copy without memory runs.
    parts
        Names.
    prepare
        Makes what runs the copy's forward pass.

    Raises
    ------
    CannotCapture
        The model can't be copied, or doesn't run, on tensors without memory.
    """
    with without_memory():
        (made,) = copied(model, memo={})
        recorder = _Recorder()
        for name in parts:
            part: Any = made.get_submodule(name)
            part.forward = recorder.noting(name, part.forward)
        step = prepare(made)
        with recorder:
            step()
        recorder.close()
    return dict(recorder.found), recorder.given_changed


def copied(*models: nn.Module | None, memo: dict[int, Any]) -> tuple[Any, ...]:
    """Copies whose tensors have no memory, noted by the ids of what they copy.

    Needs `without_memory`.
    """
    for tensor in (t for model in models if model is not None for t in tensors_held(model)):
        if id(tensor) not in memo:
            made: Any = like(tensor)
            if isinstance(tensor, nn.Parameter):
                made = nn.Parameter(made, requires_grad=tensor.requires_grad)
            memo[id(tensor)] = made
    return copy.deepcopy(models, memo)


def like(tensor: torch.Tensor) -> torch.Tensor:
    """One of the same shape, layout, type and device; without memory among `fake_tensors`."""
    return torch.empty_strided(
        tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device
    )


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes calls of operators, and whose results are changed later."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, list[list[Called]]] = defaultdict(list)
        self._open: list[list[Called]] = []
        self._counts: Counter[str] = Counter()  # in the call of a part that is at work
        self._results: dict[int, list[Called]] = {}  # by storage, those who wrote it or see it
        self._storages: dict[int, Any] = {}
        self.given_changed: set[str] = set()
        self._given: dict[int, tuple[Any, set[str]]] = {}  # by storage, to whom
        self._arguments: list[tuple[str, Given]] = []

    def noting(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A part's forward pass with what notes its calls."""

        def run(*args: Any, **kwargs: Any) -> Any:
            for storage in _storages((args, kwargs)):
                known, parts = self._given.get(id(storage), (None, set()))
                if known is None or known() is not storage:
                    parts = set()
                self._given[id(storage)] = weakref.ref(storage), parts | {name}
            given = Given(args, kwargs)
            with self._call_of(name):
                found = forward(*args, **kwargs)
            self._arguments.append((name, given))
            return found

        return run

    def close(self) -> None:
        """Note who was given lists, dicts or objects that were changed since."""
        self.given_changed.update(name for name, given in self._arguments if given.changed())
        self._arguments.clear()

    @contextmanager
    def _call_of(self, name: str) -> Iterator[None]:
        self.found[name].append([])
        self._open.append(self.found[name][-1])
        self._counts.clear()  # no part runs inside of another one
        try:
            yield
        finally:
            self._open.pop()

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        found = call(*args, **given)
        if call in SAC_IGNORED_OPS:
            return found
        changes = call._schema.is_mutable
        if changes:
            for item, value in zip(call._schema.arguments, args):
                if item.alias_info is not None and item.alias_info.is_write:
                    for storage in _storages(value):
                        for each in self._results.get(id(storage), ()):
                            each.may_keep = False
                        known, parts = self._given.get(id(storage), (None, set()))
                        if known is not None and known() is storage:
                            self.given_changed |= parts
        if self._open:
            name = str(call)
            may_keep = not changes and not _draws(call, args, given)
            called = Called(name, self._counts[name], may_keep)
            self._counts[name] += 1
            self._open[-1].append(called)
            for storage in _storages(found):
                self._note(storage, called)
        return found

    def _note(self, storage: Any, called: Called) -> None:
        """A call gives something on a storage; whose it is notes when that goes."""
        key, calls = id(storage), self._open[-1]
        if key not in self._results:

            def gone(_: object) -> None:
                del self._results[key], self._storages[key]
                if self._open and self._open[-1] is calls:
                    called.until = len(calls)

            self._results[key] = []
            self._storages[key] = weakref.ref(storage, gone)
        self._results[key].append(called)


def _storages(value: Any) -> list[Any]:
    return [t.untyped_storage() for t in tree_leaves(value) if isinstance(t, torch.Tensor)]


def _draws(call: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call draws random numbers; attention is tagged so whether it drops or not."""
    if torch.Tag.nondeterministic_seeded not in call.tags:
        return False
    for at, item in enumerate(call._schema.arguments):
        if item.name == "dropout_p":
            given = args[at] if at < len(args) else kwargs.get(item.name, item.default_value)
            return bool(given)
    return True


def matched(ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Which of one sequence of operators are which of another's, by their order."""
    found: dict[int, int] = {}
    for mine, its, size in SequenceMatcher(
        None, ours, theirs, autojunk=False
    ).get_matching_blocks():
        found.update((mine + at, its + at) for at in range(size))
    return found
