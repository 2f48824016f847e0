"""PyTorch's ways to train in less memory, and ours, measured each in a process of its own."""

from __future__ import annotations

import copy
import functools
import gc
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch._functorch import config as functorch
from torch.utils import checkpoint
from training_steps import SMALL, Case, Meter

import schedule
import schedule.torch
from schedule.errors import DoesNotFit

#: How often a step is timed; the least time counts.
REPEATS = 7
#: What the selective policy keeps.
KEPT = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.baddbmm.default,
    torch.ops.aten.convolution.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
}

Run = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Way:
    """A configuration: `setting` is a budget, as a share or in bytes."""

    method: str
    kind: str = ""
    setting: float = 1.0

    @property
    def key(self) -> str:
        """How results are filed."""
        return f"{self.method} {self.kind} {self.setting}"

    def __str__(self) -> str:
        if self.method == "torch budget":
            return f"torch budget {self.setting:g}, {self.kind}"
        if self.method == "ours":
            return f"ours ({self.kind}), {self.setting / 1e6:.2f} MB"
        return self.method


@dataclass(frozen=True)
class Measured:
    """One configuration of one model: what was measured, and of ours what was promised.

    `base` fields are the eager step's. A `failure` is the reason why there is nothing.
    """

    way: Way
    peak: int = 0
    flops: int = 0
    seconds: float = 0.0
    base_peak: int = 0
    base_flops: int = 0
    base_seconds: float = 1.0
    promised: int | None = None
    solve_seconds: float | None = None
    gap: float | None = None
    wrong: bool = False
    failure: str = ""

    @property
    def extra(self) -> float:
        """Recomputed FLOPs, in percent of the eager step's."""
        return 100 * (self.flops / self.base_flops - 1)

    @property
    def slower(self) -> float:
        """Time, as a multiple of the eager step's in the same process."""
        return self.seconds / self.base_seconds


def run_checkpointed(case: Case, way: Way) -> tuple[Run, dict[str, Any]]:
    """Every block checkpointed, by a copy of the module with the same parameters."""
    module = _twin(case.module)
    options: dict[str, Any] = {"use_reentrant": False}
    if way.method == "selective checkpoint":
        make = checkpoint.create_selective_checkpoint_contexts
        options["context_fn"] = functools.partial(make, _policy)
    for block in case.blocks(module):
        block.forward = functools.partial(checkpoint.checkpoint, block.forward, **options)
    return module, {}


def run_torch_budget(case: Case, way: Way) -> tuple[Run, dict[str, Any]]:
    functorch.activation_memory_budget = way.setting
    functorch.activation_memory_budget_solver = way.kind
    return torch.compile(case.module, backend="aot_eager", fullgraph=True, dynamic=False), {}


def run_ours(case: Case, way: Way, seconds: float) -> tuple[Run, dict[str, Any]]:
    module = schedule.torch.plan(
        case.module, case.batch, int(way.setting), costs=way.kind, time_limit=seconds
    )
    plan = module.planned_step.result
    return module, {"promised": plan.peak, "solve_seconds": plan.seconds, "gap": plan.gap}


def _twin(module: torch.nn.Module) -> torch.nn.Module:
    """A copy of the module on the same parameters and buffers."""
    shared = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})


def _policy(_: Any, call: Any, *__: Any, **___: Any) -> checkpoint.CheckpointPolicy:
    keep = call in KEPT
    policies = checkpoint.CheckpointPolicy
    return policies.MUST_SAVE if keep else policies.PREFER_RECOMPUTE


def measure(name: str, batch: int, way: Way, seconds: float) -> Measured:
    """Measure one configuration; in a process of its own."""
    case = _case(name, batch)
    try:
        if way.method == "ours":
            run, promise = run_ours(case, way, seconds)
        else:
            run, promise = WAYS[way.method](case, way)
    except DoesNotFit as error:
        return Measured(way, failure=str(error))
    expected = _gradients(case, case.module)
    wrong = not _close(_gradients(case, run), expected)
    del expected
    base_peak, base_flops = _metered(case, case.module)
    peak, flops = _metered(case, run)
    base, own = float("inf"), float("inf")
    for _ in range(REPEATS):
        base = min(base, _timed(case, case.module))
        own = min(own, _timed(case, run))
    return Measured(way, peak, flops, own, base_peak, base_flops, base, wrong=wrong, **promise)


WAYS = {
    "eager": lambda case, _: (case.module, {}),
    "checkpoint": run_checkpointed,
    "selective checkpoint": run_checkpointed,
    "torch budget": run_torch_budget,
}


def least(name: str, batch: int, seconds: float) -> int:
    """The least budget of a step for which a schedule is known."""
    case = _case(name, batch)
    graph = schedule.torch.capture(case.module, case.batch, costs="flops")
    return schedule.minimum_budget(graph, time_limit=seconds).known


def _case(name: str, batch: int) -> Case:
    torch.manual_seed(0)
    return SMALL[name](batch)


def _gradients(case: Case, run: Run) -> list[torch.Tensor]:
    run(*case.batch).backward()
    found = [parameter.grad.clone() for parameter in case.module.parameters()]
    case.module.zero_grad(set_to_none=True)
    return found


def _close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    """Whether gradients are the same but for rounding, relative to the largest of a tensor."""
    return all(
        (mine - its).abs().max() <= 1e-3 * its.abs().max() + 1e-7
        for mine, its in zip(found, expected, strict=True)
    )


def _metered(case: Case, run: Run) -> tuple[int, int]:
    gc.collect()
    with Meter(case.tensors) as meter:
        run(*case.batch).backward()
    case.module.zero_grad(set_to_none=True)
    return meter.peak, meter.flops


def _timed(case: Case, run: Run) -> float:
    started = time.perf_counter()
    run(*case.batch).backward()
    spent = time.perf_counter() - started
    case.module.zero_grad(set_to_none=True)
    return spent


def apart(call: Callable[..., Any], *args: Any) -> Any:
    """Call in a process of its own: a fork, that has loaded all and compiled nothing."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        sender.send(call(*args))

    process = context.Process(target=work)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise SystemExit(f"{call.__name__}{args} ended without an answer") from None
    finally:
        process.join()
