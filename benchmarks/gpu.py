"""Training steps of published sizes on a GPU: what is promised, predicted, and measured.

    python benchmarks/gpu.py [--models gpt2,llama] [--parts time,peer,costs,limit]
        [--seconds 8] [--results FILE] [--markdown FILE]
    python benchmarks/gpu.py --device cpu --tiny

Every model (see `gpu_steps.py`) has a process of its own, which captures and plans
while others measure: the device is one process's at a time. A line is written to the
results as soon as it is measured, so that what ends one process loses no other's.

- `time`: eager PyTorch; the captured step at 100 %, and planned at 80, 60, 50 and 40 %
  of its peak: run operator by operator, and replayed as CUDA graphs; the peak by the
  allocator against the promise, and the time against the schedule's overhead by its
  costs, measured or the model's.
- `peer`: `torch.utils.checkpoint` around every block, and ours at its peak, and at 90 %
  of that.
- `costs`: operators measured a second time: do totals and ranking agree?
- `limit`: a hundred steps under `set_per_process_memory_fraction` of the promise at 60 %
  and some percent more, till they run, by operators and as CUDA graphs.

Times are medians of some steps between events, gradients set to None before each.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from gpu_steps import STEPS
from gpu_tables import report
from torch_ways import Way, run_checkpointed

import schedule
import schedule.torch
from schedule.errors import DoesNotFit, ScheduleError
from schedule.steps import codes_of
from schedule.torch import capturing, internals, keeper, measuring
from schedule.torch.graphs import recorders_of
from schedule.torch.step import PlannedStep

SHARES = ("80%", "60%", "50%", "40%")
PARTS = ("time", "peer", "costs", "limit")
#: Steps before (the second one records, where that is wanted), and steps that are timed.
WARM, TIMED = 3, 5
#: Under a limit.
STEPS_UNDER_LIMIT = 100
Run = Callable[..., torch.Tensor]


class Cuda:
    """Events, and the allocator's counters."""

    def wait(self) -> None:
        torch.cuda.synchronize()

    def clear(self) -> None:
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()

    def reset(self) -> None:
        torch.cuda.reset_peak_memory_stats()

    def peaks(self) -> dict[str, int]:
        stats = torch.cuda.memory_stats()
        kinds = ("allocated", "requested", "reserved")
        return {kind: stats[f"{kind}_bytes.all.peak"] for kind in kinds}

    def timed(self, work: Callable[[], None]) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    @contextlib.contextmanager
    def limited(self, size: int) -> Iterator[None]:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(size / total)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)


class Cpu:
    """The clock; memory isn't measured."""

    def wait(self) -> None:
        """Nothing is ahead."""

    def clear(self) -> None:
        gc.collect()

    def reset(self) -> None:
        """No counters."""

    def peaks(self) -> dict[str, int]:
        return dict.fromkeys(("allocated", "requested", "reserved"), 0)

    def timed(self, work: Callable[[], None]) -> float:
        started = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - started)

    @contextlib.contextmanager
    def limited(self, _: int) -> Iterator[None]:
        yield


class Bench:
    """The lines of one model."""

    def __init__(self, name: str, given: argparse.Namespace) -> None:
        self.name, self.given = name, given
        self.parts = given.parts.split(",")
        self.on_gpu = given.device == "cuda"
        self.device: Any = Cuda() if self.on_gpu else Cpu()
        self.case = STEPS[name].case(torch.device(given.device), given.tiny)
        self.module = self.case.module
        config = getattr(getattr(self.module, "model", None), "config", None)
        if hasattr(config, "problem_type"):  # or its first step would note it, and be another one
            config.problem_type = "single_label_classification"
        self.started = time.perf_counter()

    def save(self, line: str, **figures: Any) -> None:
        spent = round(time.perf_counter() - self.started, 1)
        row = {"model": self.name, "line": line, **figures, "at": spent}
        with open(self.given.lines, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """The device is this process's."""
        with open(self.given.lock, "w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                self.device.clear()

    @contextlib.contextmanager
    def trying(self, line: str) -> Iterator[None]:
        """A line that fails is a line that says so."""
        try:
            yield
        except (RuntimeError, ScheduleError) as error:
            self.save(line, failure=f"{type(error).__name__}: {error}"[:300])

    def run(self) -> None:
        """What needs no solver first, as that may be being compiled."""
        options: Any = {"costs": "model", "workspace": "none"}
        self.model = schedule.torch.capture(self.module, self.case.batch, **options)  # traces it
        planned = self.planned()
        if "time" in self.parts:
            self.measure("eager", self.module)
            self.measure_plan(planned, "100%", self.whole)
        peak = self.checkpointed() if "peer" in self.parts else None
        if "costs" in self.parts:
            with self.trying("costs"), self.alone():
                self.costs()
        while not Path(self.given.warm).exists():
            time.sleep(0.2)
        shares = [share for share in self.given.shares.split(",") if share]
        wanted: dict[str, Any] = dict(zip(shares, shares))
        if peak:
            wanted |= {"at that peak": peak, "at 90 % of it": peak * 9 // 10}
        limited = None
        for line, budget in wanted.items():
            with self.trying(line):
                result = self.solve(budget)
                if "time" in self.parts:
                    self.measure_plan(planned, line, result)
                if line == "60%":
                    limited = result
        if "limit" in self.parts and limited is not None:
            for graphs in (False, True)[: 1 + self.on_gpu]:
                self.limit(planned, limited, graphs)

    def planned(self) -> Any:
        """The planned module, by the public way; its plan is replaced for each line."""
        captured: list[Any] = []
        capture = keeper.capture_step

        def noted(*args: Any) -> Any:
            captured[:] = capture(*args)
            return captured

        keeper.capture_step = noted
        with self.alone():
            started = time.perf_counter()
            made = schedule.torch.plan(self.module, self.case.batch, solver="store_all")
            spent = time.perf_counter() - started
        self.captured = captured[1]
        step = made.planned_step
        self.whole = step.result
        figures = {"nodes": len(step.graph), "unmeasured": len(step.unmeasured)}
        self.save("capture", seconds=spent, **figures)
        return made

    def solve(self, budget: int | str) -> Any:
        """A schedule; DoesNotFit where none is known."""
        graph = self.captured.graph
        found = schedule.solve(
            graph, schedule.parse_budget(budget, graph), time_limit=self.given.seconds
        )
        if found.shortfall is not None:
            raise DoesNotFit(found.shortfall.reason[:120])
        return found

    def step(self, run: Run) -> None:
        self.module.zero_grad(set_to_none=True)
        run(*self.case.batch).backward()

    def measure(
        self, line: str, run: Run, made: PlannedStep | None = None, **figures: Any
    ) -> dict[str, Any]:
        """Some steps' times, and the peak of one of them."""
        with self.trying(line), self.alone():
            self.device.clear()
            for _ in range(WARM):
                self.step(run)
            self.device.wait()
            self.device.reset()
            self.step(run)
            figures |= self.device.peaks()
            hosts: list[float] = []

            def work() -> None:
                started = time.perf_counter()
                self.step(run)
                hosts.append(1000 * (time.perf_counter() - started))

            times = [self.device.timed(work) for _ in range(TIMED)]
            self.module.zero_grad(set_to_none=True)
            figures |= {"ms": median(times), "spread": max(times) - min(times)}
            figures |= {"host": median(hosts), "fallback": made.fallback if made else ""}
            self.save(line, **figures)
        return figures

    def use(self, planned: Any, result: Any, graphs: bool) -> PlannedStep:
        """Have the planned module run by this schedule."""
        make = recorders_of(torch.device("cuda")) if graphs else None
        kinds = planned._keeper._kinds
        made = PlannedStep(replace(self.captured, recorder=make), result)
        kinds[:] = [keeper._Kind(kinds[0].signature, kinds[0].traced, made)]
        planned._keeper._last = None  # or it would hold what the last one has recorded
        return made

    def measure_plan(self, planned: Any, line: str, result: Any) -> None:
        """By operators and as CUDA graphs."""
        told = {"promise": result.peak, "predicted": result.overhead, "steps": len(result.steps)}
        told |= {"gap": result.gap, "by_model": _overhead(self.model, self.captured.graph, result)}
        self.use(planned, result, False)
        self.measure(line, planned, **told)
        if self.on_gpu:
            made = self.use(planned, result, True)
            self.measure(f"{line} graphs", planned, made, **told)
            self.use(planned, result, False)  # its memory goes

    def checkpointed(self) -> int | None:
        """Block checkpointing; its peak."""
        run, _ = run_checkpointed(self.case, Way("checkpoint"))
        found = self.measure("checkpoint", run)
        return found.get("allocated") or (None if self.on_gpu else round(0.6 * self.whole.peak))

    def costs(self) -> None:
        """Whether a second measurement agrees with the first, and with the model."""
        measuring._KNOWN.clear()
        started = time.perf_counter()
        options: Any = {"costs": "measure", "workspace": "measure"}
        graph = schedule.torch.capture(self.module, self.case.batch, **options)
        spent = time.perf_counter() - started
        graphs = self.captured.graph, graph, self.model
        first, again, model = (np.array([n.compute for n in each.nodes]) for each in graphs)
        ranking = {"ranking": _spearman(first, again), "with_model": _spearman(first, model)}
        sums = {"ms": first.sum() / 1e6, "again": again.sum() / 1e6}
        self.save("costs", **sums, **ranking, seconds=spent)

    def limit(self, planned: Any, result: Any, graphs: bool) -> None:
        """Steps in a process that may use the promise and some percent more.

        The last of all lines: after memory has run out a process's convolutions may be
        slower, and take less of it.
        """
        copies = capturing.copies_of(self.captured.joint, self.case.batch) if graphs else 0
        for more in (3, 6, 10):
            line = f"limit +{more} %{' graphs' if graphs else ''}"
            size = round((1 + more / 100) * (result.peak + copies))
            self.use(planned, result, graphs)
            with self.trying(line), self.alone():
                self.module.zero_grad(set_to_none=True)
                self.device.clear()
                self.device.reset()
                with self.device.limited(size):
                    for _ in range(STEPS_UNDER_LIMIT):
                        self.step(planned)
                    self.device.wait()
                fallback = planned.planned_step.fallback
                figures = {"limit": size, "steps": STEPS_UNDER_LIMIT, "fallback": fallback}
                self.save(line, **figures, **self.device.peaks())
                break
        self.module.zero_grad(set_to_none=True)


def _overhead(costs: Any, graph: Any, result: Any) -> float:
    """Of a graph's schedule by the costs of another of the same nodes."""
    codes = codes_of(graph, result.steps)
    compute = costs.layout.compute
    return float(compute[codes[codes >= 0]].sum() / costs.compute - 1)


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of ranks, without views."""
    use = (one > 0) & (other > 0)
    ranks = [np.argsort(np.argsort(part[use])) for part in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def _traced_once() -> None:
    """Have the same step traced once in a process, whatever it is planned with."""
    traces: dict[Any, Any] = {}
    joints: dict[int, Any] = {}
    trace, joint = capturing.trace, internals.Traced.joint

    def traced(function: Any, scope: Any, counters: Any = ()) -> Any:
        key = id(scope["model"])
        if key not in traces:
            traces[key] = trace(function, scope, counters)
        return traces[key]

    capturing.trace = traced
    internals.Traced.joint = lambda self: (
        joints[id(self)] if id(self) in joints else joints.setdefault(id(self), joint(self))
    )


def one(name: str, given: argparse.Namespace) -> None:
    """All lines of a model."""
    import transformers

    transformers.logging.set_verbosity_error()
    schedule.torch.keep_measurements(False)  # each run measures by itself
    _traced_once()
    Bench(name, given).run()


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(STEPS))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--shares", default=",".join(SHARES))
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="sizes that a CPU can try")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each solve, at most")
    parser.add_argument("--limit", type=float, default=450.0, help="seconds for all of it")
    parser.add_argument("--results", type=Path, metavar="FILE", help="all figures as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--lines", help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp()) if given.lines is None else Path(given.lines).parent
    given.lines = given.lines or str(folder / "lines.jsonl")
    given.lock, given.warm = str(folder / "lock"), str(folder / "warm")
    on_gpu = given.device == "cuda"
    given.name = torch.cuda.get_device_name() if on_gpu else "the CPU"
    return given


def main() -> int:
    """Measure all models side by side, and print the tables."""
    given = arguments()
    if given.one:
        one(given.one, given)
        return 0
    Path(given.lines).touch()
    command = [sys.executable, __file__, *sys.argv[1:], "--lines", given.lines, "--one"]
    started = time.perf_counter()
    processes = {name: subprocess.Popen([*command, name]) for name in given.models.split(",")}
    schedule.warm()  # meanwhile
    Path(given.warm).touch()
    status = 0
    for name, process in processes.items():
        left = max(1.0, given.limit - (time.perf_counter() - started))
        try:
            process.wait(left)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.wait():
            print(f"{name} ended with {process.returncode}", file=sys.stderr)
            status = 1
    print(f"{time.perf_counter() - started:.0f} s in all", file=sys.stderr)
    lines = [json.loads(text) for text in Path(given.lines).read_text("utf-8").splitlines()]
    lines.sort(key=lambda row: list(STEPS).index(row["model"]))
    if given.results:
        given.results.write_text(json.dumps(lines, indent=1), "utf-8")
    report(lines, given.name, given.markdown)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
