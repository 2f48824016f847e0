"""Memory that operators take only while they run, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from schedule.torch.costs import filled
from schedule.torch.kernels import Kernel


@dataclass(frozen=True, slots=True)
class Run:
    """An operator to be run once: its kernel, and tensors like those that it reads."""

    kernel: Kernel
    reads: Sequence[torch.Tensor]


def workspaces(runs: Sequence[Run], device: torch.device) -> list[int]:
    """Bytes that each operator holds at its peak beyond what it leaves.

    Parameters
    ----------
    runs
        Each is run once, on zeros, one after the other.
    device
        Of the tensors.

    Notes
    -----
    On the CPU PyTorch's profiler is asked; it says on standard error when it
    starts and stops. On a GPU the caching allocator's own counters are.
    """
    if device.type == "cuda":
        return [_on_gpu(run, device) for run in runs]
    return _on_cpu(runs)


def _on_gpu(run: Run, device: torch.device) -> int:
    made = [filled(tensor) for tensor in run.reads]
    with torch.no_grad():
        run.kernel(*made)  # what a library sets up once isn't the operator's
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        found = run.kernel(*made)
        torch.cuda.synchronize(device)
        peak, after = torch.cuda.max_memory_allocated(device), torch.cuda.memory_allocated(device)
    del found
    return max(0, peak - max(after, before))


def _on_cpu(runs: Sequence[Run]) -> list[int]:
    from torch.profiler import ProfilerActivity, profile, record_function

    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        for at, run in enumerate(runs):
            made = [filled(tensor) for tensor in run.reads]
            with record_function(f"operator {at}"):
                found = run.kernel(*made)
            del found
    events = seen.profiler.kineto_results.events()
    spans = {event.name(): (event.start_ns(), event.end_ns()) for event in events}
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    found_sizes = []
    for at in range(len(runs)):
        start, end = spans[f"operator {at}"]
        found_sizes.append(_excess([size for when, size in changes if start <= when <= end]))
    return found_sizes


def _excess(changes: Sequence[int]) -> int:
    """How far the running sum of changes rises above its end."""
    now = peak = 0
    for change in changes:
        now += change
        peak = max(peak, now)
    return peak - max(now, 0)
