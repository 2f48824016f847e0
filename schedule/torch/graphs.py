"""Both halves of a planned step as CUDA graphs: recorded once, replayed without the host's loop.

A schedule is static, so that what it launches is the same at each step. What a
recording reads and writes lies at the same addresses each time. So that nobody's
tensors change under their hands, arguments are copied in, and results and gradients
are copied out, in each step.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, Protocol, TypeVar

import torch

from schedule.errors import BackwardRefused, BadOption
from schedule.torch.blocks import take
from schedule.torch.draws import Draws, OnCuda, Recorded
from schedule.torch.plans import Plan
from schedule.torch.running import Session, Watch

T = TypeVar("T")


class Recorder(Protocol):
    """What records and replays work on a device."""

    def begin(self, plan: Plan, noted: Draws | None) -> Draws | None:
        """Both passes of a step are going to be recorded: how they repeat random draws.

        `noted` are those of a step by operators; None: none is repeated.
        """

    def record(self, run: Callable[[], T], half: int = 0) -> tuple[T, Callable[[], None]]:
        """What `run` returns, and what does the same again, in the same memory.

        Nothing has been computed before the first replay. `half` is the pass: 0
        forward, 1 backward.
        """


class CudaRecorder:
    """CUDA graphs in one pool of memory: they are replayed in the order of their recording."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = torch.cuda.graph_pool_handle()
        self._draws: Recorded | None = None
        self._size = 0

    def begin(self, plan: Plan, noted: Draws | None) -> Draws | None:
        """States of their own for what is repeated."""
        self._size = plan.made + plan.kept
        if noted is not None:
            assert isinstance(noted, OnCuda)
            self._draws = Recorded(self._device, plan.repeated, noted.positions)
        return self._draws

    def record(self, run: Callable[[], T], half: int = 0) -> tuple[T, Callable[[], None]]:
        """Record on a stream beside the current one."""
        gc.collect()
        draws = self._draws
        states = [] if draws is None else draws.states(half)
        try:
            found, replay = self._recorded(run, self._pool, states, 0 if half else self._size)
        except BaseException:
            # What failed leaves the random generator recording; what doesn't ends that.
            self._recorded(lambda: torch.rand(1, device=self._device), None)
            raise
        if draws is None:
            return found, replay

        def drawing() -> None:
            draws.begin(half)
            replay()
            draws.end(half)

        return found, drawing

    def _recorded(
        self, run: Callable[[], T], pool: Any, states: Sequence[Any] = (), size: int = 0
    ) -> tuple[T, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        for state in states:
            graph.register_generator_state(state)
        torch._C._cuda_clearCublasWorkspaces()  # one of the recording's own is in its pool
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"),
        ):
            take(size, self._device)
            found = run()
        torch._C._cuda_clearCublasWorkspaces()
        return found, graph.replay


def recorders_of(device: torch.device) -> Callable[[], Recorder]:
    """What makes recorders for a device.

    Raises
    ------
    BadOption
        It isn't a GPU.
    """
    if device.type != "cuda":
        raise BadOption(f"cuda_graphs=True needs a model on a GPU; this one is on {device}")
    return partial(CudaRecorder, device)


@dataclass
class _Recording:
    """A step as it was recorded: what it reads and writes, and where.

    Attributes
    ----------
    places
        The address of each input; None: it is no tensor.
    copies
        Inputs, by place, that are copied into these tensors.
    tangents
        Where the results' gradients go; None: none is read.
    results, gradients
        What a replay leaves; gradients by the inputs' places.
    forward, backward
        Replay.
    ticket
        Of the step that has run forward and may run backward yet; 0: there is none.
    """

    places: list[int | None]
    copies: dict[int, torch.Tensor]
    tangents: list[torch.Tensor | None]
    results: list[torch.Tensor]
    gradients: list[torch.Tensor | None]
    forward: Callable[[], None]
    backward: Callable[[], None]
    ticket: int = 0
    _last: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> int:
        """Claim it for one step: its ticket; 0 where another has it."""
        with self._lock:
            if self.ticket:
                return 0
            self._last += 1
            self.ticket = self._last
            return self.ticket

    def release(self, ticket: int) -> None:
        """What that step needed isn't needed any more."""
        with self._lock:
            if self.ticket == ticket:
                self.ticket = 0

    def moved(self, given: Sequence[Any]) -> list[int]:
        """The inputs, by place, that are elsewhere now and aren't copied."""
        return [
            at
            for at, (item, place) in enumerate(zip(given, self.places))
            if at not in self.copies and _place(item) != place
        ]


class Graphs:
    """The recording of one plan, made at its second step, as the first one finds things out.

    Parameters
    ----------
    make
        Makes a recorder.

    Attributes
    ----------
    reason
        Why steps run operator by operator; empty: they are replayed, or will be.
    noted
        What the first step, which ran by operators, noted of the random numbers that
        it repeats; None: it repeats none.
    """

    #: So often inputs may turn out to be elsewhere than they were.
    _AT_MOST = 4

    def __init__(self, make: Callable[[], Recorder]) -> None:
        self.reason = ""
        self.noted: Draws | None = None
        self._make, self._recorder = make, make()
        self._recording: _Recording | None = None
        self._copied: set[int] = set()
        self._n_recorded = 0

    def session(self, plan: Plan, given: Sequence[Any]) -> Session | Replay:
        """A step after the first: replayed, or run where that can't be."""
        incoming = [item for item in plan.tangents if item is not None]
        if any(prod(item.size) > 1 and not item.is_spread for item in incoming):
            self.reason = "a result that isn't a single number may be given a gradient"
        if self.reason:
            return Session(plan, given, is_first=False)
        recording = self._recording
        ticket = 0 if recording is None else recording.take()
        if recording is not None and not ticket:
            # Another step hasn't run backward yet: what it needs is where a replay would write.
            return Session(plan, given, is_first=False)
        if recording is not None and recording.moved(given):
            self._let_go(recording.moved(given), plan)
            recording = None
        if recording is None and not self.reason:
            recording = self._recorded(plan, given)
            ticket = 0 if recording is None else recording.take()
        if recording is None:
            return Session(plan, given, is_first=False)
        return Replay(plan, given, recording, ticket)

    def _let_go(self, moved: Sequence[int], plan: Plan) -> None:
        """Drop the recording; what was elsewhere this time is copied next time."""
        self._recording = None
        self._recorder = self._make()
        self._copied.update(at for at in moved if at not in plan.changed)
        if self._n_recorded >= self._AT_MOST:
            self.reason = "what the step reads is elsewhere in memory at each step"

    def _recorded(self, plan: Plan, given: Sequence[Any]) -> _Recording | None:
        """Record both halves; None where that fails, which is the last time then."""
        self._n_recorded += 1
        try:
            copies = {at: _copied(given[at]) for at in self._copied}
            static = [copies.get(at, item) for at, item in enumerate(given)]
            tangents = [
                None
                if incoming is None or prod(incoming.size) > 1
                else torch.zeros(incoming.size, dtype=incoming.dtype, device=incoming.device)
                for incoming in plan.tangents
            ]
            draws = self._recorder.begin(plan, self.noted)
            session = Session(plan, static, is_first=False, draws=draws)
            results, forward = self._recorder.record(session.forward)
            gradients, backward = self._recorder.record(lambda: session.backward([*tangents]), 1)
        except RuntimeError as error:
            self.reason = str(error).partition("\n")[0] or type(error).__name__
            self._recorder = self._make()
            return None
        places = [_place(item) for item in given]
        self._recording = _Recording(
            places, copies, tangents, results, gradients, forward, backward
        )
        return self._recording


def _copied(given: torch.Tensor) -> torch.Tensor:
    size, stride = given.size(), given.stride()
    return torch.empty_strided(size, stride, dtype=given.dtype, device=given.device).copy_(given)


def _place(item: Any) -> int | None:
    return item.data_ptr() if isinstance(item, torch.Tensor) else None


class Replay:
    """One pass through a recording; the same to its caller as a `Session`."""

    loose: frozenset[Any] = frozenset()
    draws: None = None

    def __init__(
        self, plan: Plan, given: Sequence[Any], recording: _Recording, ticket: int
    ) -> None:
        self._plan, self._given = plan, given
        self._recording, self._ticket = recording, ticket
        self._watch = Watch(plan, given)

    def __del__(self) -> None:
        self._recording.release(self._ticket)

    def forward(self) -> list[torch.Tensor]:
        """Replay to the boundary."""
        recording = self._recording
        try:
            for at, copy in recording.copies.items():
                copy.copy_(self._given[at])
            recording.forward()
            for at in self._plan.changed:
                torch.autograd.graph.increment_version(self._given[at])
            self._watch.begin(())  # results go out as copies: whoever changes them changes those
            return [result.clone() for result in recording.results]
        except BaseException:
            recording.release(self._ticket)
            raise

    def backward(self, tangents: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
        """Replay from the boundary; the gradients by the inputs' places.

        Raises
        ------
        BackwardRefused
            As in a `Session`, or with a gradient that wasn't recorded.
        """
        try:
            self._watch.check()
            self._take(tangents)
            self._recording.backward()
            found: list[torch.Tensor | None] = [None] * len(self._given)
            for at in self._plan.given_gradients(tangents):
                gradient = self._recording.gradients[at]
                found[at] = None if gradient is None else gradient.clone()
            self._given = ()  # who holds a loss doesn't hold its batch
            return found
        finally:
            self._recording.release(self._ticket)

    def _take(self, tangents: Sequence[torch.Tensor | None]) -> None:
        """Put the results' gradients where the recording reads them."""
        for at, (static, tangent) in enumerate(zip(self._recording.tangents, tangents)):
            if static is not None:
                static.zero_() if tangent is None else static.copy_(tangent)
            elif tangent is not None and self._plan.tangents[at] is not None:
                raise BackwardRefused(
                    f"a gradient of shape {tuple(tangent.shape)} comes in for result {at} of the"
                    f" step, which was recorded for gradients of single numbers; plan with"
                    f" cuda_graphs=False, or differentiate the loss alone"
                )
