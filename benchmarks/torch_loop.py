"""What running a planned step operator by operator costs the host, beside eager PyTorch.

    python benchmarks/torch_loop.py [--models gpt2,llama,t5] [--steps 30]

Steps of the models of `gpu_steps.py` in sizes so small that nearly all of their time is
the host's, on one thread of a CPU: what a planned step, in which nothing is recomputed,
takes more than the eager step, by operator that runs. Least times of some steps.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from gpu_steps import STEPS
from tables import show

import schedule.torch


def least(module: Any, run: Any, batch: Any, steps: int) -> float:
    """Microseconds of one step."""
    found = float("inf")
    for _ in range(steps):
        started = time.perf_counter()
        run(*batch).backward()
        found = min(found, time.perf_counter() - started)
        module.zero_grad(set_to_none=True)
    return 1e6 * found


def row(name: str, steps: int) -> list[str]:
    """One model."""
    case = STEPS[name].make(True, 1)
    batch = tuple(t[:, :4] for t in case.batch) if case.batch[0].dim() == 2 else case.batch
    planned: Any = schedule.torch.plan(case.module, batch, solver="store_all")
    times = [least(case.module, run, batch, steps) for run in (case.module, planned)]
    plan = planned.planned_step._plan
    runs = len(plan.forward) + len(plan.backward)
    more = (times[1] - times[0]) / runs
    return [name, str(runs), *(f"{spent:.0f}" for spent in times), f"{more:.2f}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="gpt2,llama,t5")
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)
    headings = ["model", "operators", "eager, µs", "planned, µs", "more an operator, µs"]
    table = [row(name, given.steps) for name in given.models.split(",")]
    show("the host's part of a step", headings, table)


if __name__ == "__main__":
    main()
