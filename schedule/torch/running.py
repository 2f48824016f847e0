"""A training step run by a schedule: forward to the boundary, then on when gradients are given."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from schedule.errors import BackwardRefused
from schedule.torch import kernels
from schedule.torch.blocks import make_room
from schedule.torch.channels import channels_of
from schedule.torch.draws import Draws
from schedule.torch.kernels import Kernel
from schedule.torch.moves import Copies
from schedule.torch.plans import Plan, Step


class Session:
    """One pass through a plan: what is live between forward and backward pass.

    Parameters
    ----------
    plan
        What is run.
    given
        What the step is given, place by place.
    is_first
        Whether it is the plan's first run, in which results are measured.
    draws
        How random states are noted and given back; None: by operators.
    is_part
        Whether other parts of the same model run before its backward pass: where one changes
        what this reads then, it keeps a copy. What parts hold beside is promised by none.

    Attributes
    ----------
    loose
        Kernels that left more memory than is promised.
    draws
        How random states are noted and given back; None: none has to be.
    """

    def __init__(
        self,
        plan: Plan,
        given: Sequence[torch.Tensor],
        *,
        is_first: bool,
        draws: Draws | None = None,
        is_part: bool = False,
    ) -> None:
        self._plan, self._is_first, self._is_part = plan, is_first, is_part
        self.loose: set[Kernel] = set()
        self.draws = draws or plan.draws()
        copies = Copies(channels_of(plan.device)) if plan.copies else None
        self._values: list[Any] = [*[None] * plan.size, self.draws, copies]
        for t, at in plan.inputs.items():
            self._values[t] = given[at].detach()
        for t, constant in plan.constants.items():
            self._values[t] = constant
        self._n_given = len(given)
        self._watch = Watch(plan, given)

    def forward(self) -> list[torch.Tensor]:
        """Run to the boundary; what the step changes in place changes there."""
        plan, values = self._plan, self._values
        if self._is_first:
            make_room(plan.made, plan.device)
        self._run(plan.forward)
        if self.draws is not None:
            self.draws.turn()
        keep_from_change([values[into] for into, _ in plan.mutations])
        for into, new in plan.mutations:
            values[into].copy_(values[new])
        # Others of the same memory: what goes out will refer to this session.
        found = [values[t].detach() for t in plan.results]
        # Now, as changes may have counted for others on the same storage.
        self._watch.begin([found[at] for at in plan.late_results])
        for t in plan.at_turn:
            values[t] = None
        if self._is_part:
            _waiting.add(self)
        return found

    def keep(self, storage: torch.UntypedStorage) -> None:
        """Go on with a copy of what the backward pass reads there."""
        if not self._watch.lets_go(storage):
            return
        copied: Any = storage.clone()  # type: ignore[no-untyped-call]
        for t, value in enumerate(self._values):
            if isinstance(value, torch.Tensor) and _lies_on(value, storage):
                place = value.storage_offset(), value.size(), value.stride()
                self._values[t] = value.new_empty(0).set_(copied, *place)

    def backward(self, tangents: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
        """Run on from the boundary; the gradients by the inputs' places.

        Parameters
        ----------
        tangents
            The gradients of the results; None: nobody gave one, which counts as
            zero, and what depends on no other is None. They are taken out of the
            list, to be gone when the plan has them go.

        Raises
        ------
        BackwardRefused
            A second time, after something was changed that it reads, or with a
            gradient for which no memory is kept.
        """
        self._watch.check()
        _waiting.discard(self)
        plan, values = self._plan, self._values
        wanted = plan.given_gradients(tangents)
        for at, incoming in enumerate(plan.tangents):
            tangent, tangents[at] = tangents[at], None
            if incoming is None:
                continue
            if plan.is_sparing and incoming.is_spread and not incoming.takes_no_memory(tangent):
                raise BackwardRefused(
                    f"a gradient of shape {incoming.size} comes in for result {at} of the step, for"
                    f" which the plan has no room within its budget; plan with gradients='all', or"
                    f" differentiate the loss alone"
                )
            values[incoming.to] = incoming.taken(tangent)
        tangent = None
        self._run(plan.backward)
        found: list[torch.Tensor | None] = [None] * self._n_given
        for at in wanted:
            found[at] = values[plan.gradients[at][0]]
        values.clear()
        return found

    def _run(self, steps: Sequence[Step]) -> None:
        if not self._is_first:
            _run(steps, self._values)
            return
        for step in steps:
            _run([step._replace(frees=())], self._values)
            for _, t in step.writes:
                value, size = self._values[t], self._plan.sizes[t]
                # A copy takes memory, too, for a moment: for a few bytes more it's no gain.
                # What nobody asked for may be None where a fake tensor stood for it.
                if (
                    size
                    and isinstance(value, torch.Tensor)
                    and value.untyped_storage().nbytes() > 2 * size
                ):
                    self._values[t] = kernels.tight(value)
                    self.loose.add(step.kernel)
                del value
            for t in step.frees:
                self._values[t] = None


#: Parts of models between their forward and backward pass.
_waiting: weakref.WeakSet[Session] = weakref.WeakSet()


def keep_from_change(tensors: Sequence[torch.Tensor]) -> None:
    """Have parts whose backward pass reads the memory of these keep copies: it is to change."""
    for session in list(_waiting) if tensors else ():
        for tensor in tensors:
            session.keep(tensor.untyped_storage())


def _lies_on(tensor: torch.Tensor, storage: torch.UntypedStorage) -> bool:
    return bool(tensor.untyped_storage()._cdata == storage._cdata)


class Watch:
    """Notices what must not happen between the passes of a step, and a second backward pass.

    Parameters
    ----------
    plan
        What is run.
    given
        What the step is given, place by place.
    """

    def __init__(self, plan: Plan, given: Sequence[torch.Tensor]) -> None:
        self._plan, self._given = plan, given
        self._read: list[tuple[torch.Tensor, int, list[bytes], str]] = []
        self._done = False

    def begin(self, results: Sequence[torch.Tensor]) -> None:
        """The forward pass has ended; the backward pass reads the memory of these results."""
        # Others of the same memory: `p.data = …` leaves the step what it has read.
        read = [(self._given[at].detach(), name) for at, name in self._plan.late.items()]
        read += [(result.detach(), "a result") for result in results]
        self._read = [(tensor, tensor._version, _sample(tensor), name) for tensor, name in read]

    def lets_go(self, storage: torch.UntypedStorage) -> bool:
        """Whether what lies there was watched; from now on it isn't."""
        watched = [each for each in self._read if not _lies_on(each[0], storage)]
        is_watched = len(watched) < len(self._read)
        self._read = watched
        return is_watched

    def check(self) -> None:
        """The backward pass begins.

        Raises
        ------
        BackwardRefused
            It has begun before, or something was changed that it reads.
        """
        if self._done:
            raise BackwardRefused(
                "a planned step runs backward once: what it held is gone (retain_graph is ignored);"
                " differentiate the sum of its losses, or call the planned module again"
            )
        self._done = True
        read, self._read, self._given = self._read, [], ()
        for tensor, version, sample, name in read:
            if tensor._version != version or _sample(tensor) != sample:
                raise BackwardRefused(
                    f"{name!r} was changed between the forward and the backward pass, which"
                    f" recomputes from it; change it after the backward pass, or change a copy"
                )


#: Bytes of a tensor that are looked at together: at its beginning, middle and end.
_PIECE = 64


def _sample(tensor: torch.Tensor) -> list[bytes]:
    """Some of a tensor's bytes: what changes all of it by `.data` counts no version.

    Of main memory alone: on a device, to look would be to wait for it. None where its storage
    was let go, as FSDP does with parameters.
    """
    size = tensor.nbytes if tensor.is_contiguous() else kernels.extent(tensor)
    offset = tensor.storage_offset() * tensor.element_size()
    if not (tensor.is_cpu and size) or offset + size > tensor.untyped_storage().nbytes():
        return []
    start, room = tensor.data_ptr(), size - _PIECE
    if room <= 2 * _PIECE:
        return [ctypes.string_at(start, size)]
    return [ctypes.string_at(start + at, _PIECE) for at in (0, room // 2, room)]


def _run(steps: Sequence[Step], values: list[Any]) -> None:
    for kernel, reads, writes, frees in steps:
        found = kernel(*[values[t] for t in reads])
        for place, t in writes:
            values[t] = found if place < 0 else found[place]
        found = None
        for t in frees:
            values[t] = None
