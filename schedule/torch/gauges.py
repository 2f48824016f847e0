"""What one run of an operator takes on a device: its time, and memory beyond its result."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from statistics import median
from typing import Any

import torch

from schedule.torch.trials import Found, Gauge


def gauge_of(device: torch.device, *, times: bool, memory: bool) -> Gauge:
    """How a device is measured; only what is asked for."""
    if device.type == "cuda":
        return OnCuda(device, times=times, memory=memory)
    return OnCpu(times=times, memory=memory)


class OnCpu:
    """The processor's clock, and the allocations of the caller's thread."""

    _REPEATS = 5

    def __init__(self, *, times: bool, memory: bool) -> None:
        self._times, self._memory = times, memory
        self._found: list[Found] = []

    def begin(self) -> int:
        """What libraries keep isn't counted there."""
        return 0

    def end(self) -> int:
        """The same."""
        return 0

    def run(self, is_backward: bool, work: Callable[[], None]) -> None:  # noqa: ARG002 - as on a GPU
        """Both passes run on the caller's thread."""
        work()

    def take(self, run: Callable[[], Any]) -> None:
        """The least of some runs' times, as others only add to it; one run for its memory."""
        spent = 0
        if self._times:
            spent = max(1, min(_nanoseconds(run) for _ in range(self._REPEATS)))
        self._found.append(Found(spent, _excess(allocations(run)) if self._memory else 0))

    def found(self) -> list[Found]:
        """What was noted, in order."""
        return self._found


def allocations(run: Callable[[], Any]) -> list[int]:
    """Bytes that a run allocates, and with a minus those that it frees, in order.

    By PyTorch's older profiler: the other one takes seconds to begin, and says so on
    standard error.
    """
    own: Any = torch.autograd
    wanted = own.ProfilerConfig(
        own.ProfilerState.CPU, False, True, False, False, False,
        torch._C._profiler._ExperimentalConfig(),
    )  # fmt: skip
    own._enable_profiler_legacy(wanted)
    try:
        held = run()
    finally:
        events = own._disable_profiler_legacy()
    del held
    found = [event for thread in events for event in thread if event.kind() == "memory_alloc"]
    return [event.cpu_memory_usage() for event in found]


def _nanoseconds(run: Callable[[], Any]) -> int:
    started = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - started


def _excess(changes: Sequence[int]) -> int:
    """How far the running sum of changes rises above its end."""
    now = peak = 0
    for change in changes:
        now += change
        peak = max(peak, now)
    return peak - max(now, 0)


class OnCuda:
    """The device's clock between events, and the caching allocator's counters.

    Its peak is reset for each operator.
    """

    #: Bursts of runs; the median counts.
    _BURSTS = 5
    #: How long a burst takes, in nanoseconds, and of how many runs it is at most.
    _BURST, _MOST = 1e6, 20
    #: For how long the device waits before a burst, so that the host is ahead: cycles a run.
    _AHEAD = 40_000

    def __init__(self, device: torch.device, *, times: bool, memory: bool) -> None:
        self._device, self._times, self._memory = device, times, memory
        self._found: list[Found] = []

    def begin(self) -> int:
        """What libraries keep is let go of; they take it again."""
        gc.collect()
        torch.cuda.synchronize(self._device)
        torch._C._cuda_clearCublasWorkspaces()
        return torch.cuda.memory_allocated(self._device)

    def end(self) -> int:
        """Bytes in use."""
        return torch.cuda.memory_allocated(self._device)

    def run(self, is_backward: bool, work: Callable[[], None]) -> None:
        """The backward pass runs on a thread of PyTorch's, with handles of its own."""
        with torch.cuda.device(self._device) if self._device.index is not None else nullcontext():
            if not is_backward:
                work()
                return
            with torch.enable_grad():
                one = torch.zeros((), device=self._device, requires_grad=True)
                apply: Any = _Backward.apply
                apply(one, work).backward()

    def take(self, run: Callable[[], Any]) -> None:
        """One run for its memory, and some bursts for its time."""
        space = self._workspace(run) if self._memory else 0
        self._found.append(Found(self._time(run) if self._times else 0, space))

    def _workspace(self, run: Callable[[], Any]) -> int:
        # The allocator counts when it is asked, not when the device gets there.
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        held = run()
        peak = torch.cuda.max_memory_allocated(self._device)
        after = torch.cuda.memory_allocated(self._device)
        del held
        return max(0, peak - max(after, before))

    def _time(self, run: Callable[[], Any]) -> int:
        once = self._burst(run, 1)
        n = max(1, min(self._MOST, round(self._BURST / once)))
        return max(1, round(median(self._burst(run, n) for _ in range(self._BURSTS))))

    def _burst(self, run: Callable[[], Any], n: int) -> float:
        """Nanoseconds of one of `n` runs in a row."""
        cuda: Any = torch.cuda
        start, end = (cuda.Event(enable_timing=True) for _ in range(2))
        cuda._sleep(self._AHEAD * (n + 1))
        start.record()
        for _ in range(n):
            run()
        end.record()
        end.synchronize()
        return 1e6 * float(start.elapsed_time(end)) / n

    def found(self) -> list[Found]:
        """What was noted, in order."""
        return self._found


class _Backward(torch.autograd.Function):
    """Something to be done in the backward pass."""

    @staticmethod
    def forward(ctx: Any, one: torch.Tensor, work: Callable[[], None]) -> torch.Tensor:
        ctx.work = work
        return one.clone()

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[None, None]:
        ctx.work()
        return None, None
