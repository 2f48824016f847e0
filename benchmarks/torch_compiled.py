"""Ours beside PyTorch's memory budget on what Inductor runs: peak memory against FLOPs.

    python benchmarks/torch_compiled.py [--models gpt2,llama,…] [--values 1,0.9,…]
        [--solvers dp,greedy,ilp] [--share 1] [--batch 16] [--seconds 10] [--markdown FILE]
    python benchmarks/torch_compiled.py --measure [the same]
    python benchmarks/torch_compiled.py --compile gpt2=32.9MB,… [--against CHECKOUT]

For each model (see `training_steps.py`), in a process of its own, Inductor lowers and
schedules both passes of a training step on a CPU, and writes no kernels: as PyTorch's
own partitioner splits them at each value of `activation_memory_budget` with each of its
solvers, and as `torch.compile(backend="schedule", options={"budget": …, "inductor": True})`
does in as many bytes as that took, or in a share of them (`--share 0.9`). What is the same
split is rehearsed once, and left out are the knob's splits that another of its own beats
in peak and FLOPs. Below the knob's lowest peak ours is asked for less, by halves, to see
how low it comes. Peaks are those of the allocations that Inductor decides
(`schedule.torch.rehearsal`), with parameters and batch; FLOPs are those of the operators
in both passes. Ours plans by FLOPs, as the other does. What was rehearsed can be kept in
a folder (`--known`): it is looked up by the graphs of both passes, and has to be thrown
away where Inductor, or how it is asked, changes.

With `--measure` each configuration is compiled and run, too, in a process of its own,
and the allocator's peak (the profiler's `[memory]` events) is shown beside the one that
was foretold, the seconds that compiling took, planning included, and the least that a
step takes of the processor: minutes for each.

With `--compile` it is only shown what the first step takes, planning and compiling
included, under plain `torch.compile` and under ours in these bytes, here and on another
checkout: seconds, and seconds of the processor, each in a process of its own with
caches off and empty, on one thread.

Exit status 1 where ours takes more than the other's peak, or more FLOPs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from checkouts import checkouts, printed
from tables import show
from torch.utils.flop_counter import flop_registry
from torch_ways import apart
from training_steps import ATTENTION, SMALL

from schedule.errors import DoesNotFit

HEADINGS = ["model", "torch's value", "peak, MB", "FLOPs, %", "ours: peak, MB", "FLOPs, %"]
HEADINGS += ["plans", "plan, s"]
#: How many budgets are tried for the lowest peak of ours.
DESCENT = 4
#: How many steps are timed.
STEPS = 20

#: Prints seconds of a first step, and those of the processor; on whatever checkout it runs.
FIRST_STEP = """
import resource, sys, time, torch
sys.path.insert(0, sys.argv[1])
from training_steps import SMALL
torch.set_num_threads(1)
torch.manual_seed(0)
case, given = SMALL[sys.argv[2]](int(sys.argv[3])), {}
if sys.argv[4]:
    import schedule.torch
    from schedule.options import SolveOptions
    from schedule.planner import solver_for
    from schedule.warming import have_compiled
    have_compiled(solver_for("auto", ()), SolveOptions())  # once on a machine, and no step's
    options = {"inductor": True, "budget": sys.argv[4], "costs": "flops", "show_progress": False}
    given = {"backend": "schedule", "options": options}
run = torch.compile(case.module, fullgraph=True, dynamic=False, **given)
def spent():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
started, before = time.perf_counter(), spent()
run(*case.batch).backward()
print(time.perf_counter() - started, spent() - before)
"""


class Enough(BaseException):
    """Ends a compilation once all is known; nothing on the way takes it for a failure."""


def flops(*modules: Any) -> int:
    """Of the operators of some graphs, as PyTorch's own table counts them."""
    found = 0
    for node in (node for module in modules for node in module.graph.nodes):
        packet = getattr(node.target, "overloadpacket", None)
        count = flop_registry.get(ATTENTION.get(packet, packet))
        if node.op == "call_function" and count is not None:
            args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
            found += count(*args, **kwargs, out_val=node.meta["val"])
    return found


@dataclass(frozen=True)
class Divided:
    """Where PyTorch's knob stands, and what its split comes to: bytes at most, and FLOPs."""

    settings: tuple[tuple[float, str], ...]
    peak: int
    work: int

    @property
    def label(self) -> str:
        """By value: one solver, or several of the same split."""
        solvers: dict[str, list[float]] = {}
        for value, solver in self.settings:
            solvers.setdefault(solver, []).append(value)
        alike: dict[tuple[float, ...], list[str]] = {}
        for solver, values in solvers.items():
            alike.setdefault(tuple(values), []).append(solver)
        return "; ".join(
            " ".join([*(f"{value:g}" for value in values), *([] if 1 in values else names)])
            for values, names in alike.items()
        )


@dataclass
class Step:
    """A training step as Inductor has it, before it is split."""

    module: Any
    inputs: Any
    given: dict[str, Any]
    base: int
    seconds: float
    file: Path | None = None
    known: dict[str, list[int] | tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.exists():
            self.known = json.loads(self.file.read_text("utf-8"))

    def parted(self, chosen: Any) -> Any:
        """Both passes: by a split of ours, or as PyTorch's knob stands."""
        from torch._functorch.partitioners import min_cut_rematerialization_partition

        from schedule.torch.lowered import copied
        from schedule.torch.passes import parted

        if chosen is not None:
            return parted(self.module, self.given["num_fwd_outputs"], chosen)
        return min_cut_rematerialization_partition(copied(self.module), self.inputs, **self.given)

    def rehearsed(self, parts: Any, is_ours: bool, most: int | None = None) -> Any:
        """What Inductor makes of two passes; the same ones are lowered once."""
        from schedule.torch.rehearsal import Rehearsal, rehearse

        nodes = [(n.name, n.args, n.kwargs) for part in parts for n in part.graph.nodes]
        words = repr((is_ours, nodes))
        key = hashlib.sha256(words.encode()).hexdigest()
        if key not in self.known:
            n_results = self.given["num_fwd_outputs"]
            options: Any = {"measures": True, "most": most, "keeps_order": is_ours}
            found = rehearse(*parts, n_results, **options)
            if not found.kernels:  # it was only said that it takes more
                return found
            self.known[key] = found.forward, found.backward, found.kernels
            if self.file is not None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self.file.write_text(json.dumps(self.known), "utf-8")
        return Rehearsal(*self.known[key])

    def knob(self, values: list[float], solvers: list[str]) -> tuple[list[Divided], int]:
        """What PyTorch's memory budget comes to, and how many splits there are.

        Left out are those that another one beats in one of peak and FLOPs, and isn't
        beaten by in the other.
        """
        from torch._functorch import config

        from schedule.torch.rehearsal import bytes_between

        splits: dict[str, tuple[Any, list[tuple[float, str]]]] = {}
        for value in values:
            for solver in solvers:
                setting = {
                    "activation_memory_budget": value,
                    "activation_memory_budget_solver": solver,
                }
                with config.patch(setting):
                    parts = self.parted(None)
                words = repr([(n.name, n.args) for part in parts for n in part.graph.nodes])
                splits.setdefault(words, (parts, []))[1].append((value, solver))
        found: list[Divided] = []
        n_results = self.given["num_fwd_outputs"]
        ranked = [(flops(*parts), parts, tuple(at)) for parts, at in splits.values()]
        for work, parts, at in sorted(ranked, key=lambda each: each[0]):
            lowest = min((each.peak for each in found), default=None)
            if lowest is None or self.base + bytes_between(*parts, n_results) < lowest:
                found.append(Divided(at, self.base + self.rehearsed(parts, False).peak, work))
                print(found[-1].label, found[-1].peak, work, file=sys.stderr, flush=True)
        kept: list[Divided] = []
        for each in sorted(found, key=lambda each: (each.work, each.peak)):
            if not kept or each.peak < kept[-1].peak:
                kept.append(each)
        return kept, len(splits)

    def ours(self, budget: int) -> tuple[Any, ...]:
        """Peak, FLOPs, plans and seconds of ours in so many bytes; `None`s where none is known."""
        from schedule.options import SolveOptions
        from schedule.torch import split
        from schedule.torch.inductor import joint_to_split
        from schedule.torch.options import Options

        solving = SolveOptions(time_limit=self.seconds)
        wanted = Options(budget=budget, costs="flops", solving=solving, show_progress=False)
        joint = joint_to_split(self.module, self.given["num_fwd_outputs"])
        seen = []

        def rehearsed(chosen: Any, most: int | None) -> Any:
            seen.append(chosen)
            return self.rehearsed(self.parted(chosen), chosen is not None, most)

        started = time.perf_counter()
        try:
            with warnings.catch_warnings(action="ignore"):  # what was missed is in the table
                chosen = split.split_of(joint, wanted, torch.device("cpu"), rehearsed)
        except DoesNotFit:
            return None, None, len(seen), time.perf_counter() - started
        spent = time.perf_counter() - started
        parts = self.parted(chosen)
        peak = self.base + self.rehearsed(parts, chosen is not None).peak
        return peak, flops(*parts), len(seen), spent

    def least(self, above: int) -> int | None:
        """The lowest peak that ours was seen to reach below another, within a few percent."""
        found, low, high = None, 0.5, 1.0
        for _ in range(DESCENT):
            share = (low + high) / 2
            peak = self.ours(int(above * share))[0]
            found = min((each for each in (found, peak) if each is not None), default=None)
            if peak is None or peak > above * share:
                low = share
            else:
                high = min(share, peak / above)
        return found


def foretold(
    name: str,
    batch: int,
    values: list[float],
    solvers: list[str],
    share: float,
    seconds: float,
    known: Path | None,
) -> tuple[list[list[Any]], int, int | None]:
    """The knob's splits and ours in as many bytes, how many splits, and the lowest peak of ours.

    Of the knob's splits those are left out that another one of its beats. Ours has a share
    of their bytes.
    """
    from torch._functorch.compile_utils import fx_graph_cse
    from torch._inductor import config
    from torch._inductor.custom_graph_pass import CustomPartitionerFn

    torch.manual_seed(0)
    case = SMALL[name](batch)
    base = sum(tensor.nbytes for tensor in case.tensors)
    file = None if known is None else known / f"{name}-{batch}.json"
    rows: list[list[Any]] = []
    rest: list[Any] = []

    class Comparing(CustomPartitionerFn):
        def __call__(self, gm: Any, inputs: Any, **given: Any) -> Any:
            gm.graph = fx_graph_cse(gm.graph)
            step = Step(gm, inputs, given, base, seconds, file)
            found, n_splits = step.knob(values, solvers)
            for each in found:
                rows.append([each, *step.ours(int(share * each.peak))])
                print(name, *rows[-1], file=sys.stderr, flush=True)
            rest.extend([n_splits, step.least(min(each.peak for each in found))])
            print(name, *rest, file=sys.stderr, flush=True)
            raise Enough

        def uuid(self) -> None:
            """No key."""

    try:
        with config.patch(custom_partitioner_fn=Comparing(), fx_graph_cache=False):
            torch.compile(case.module, fullgraph=True, dynamic=False)(*case.batch)
    except Enough:
        pass
    return rows, *rest


def measured(
    name: str, batch: int, at: tuple[float, str], budget: int | None
) -> tuple[float, int, float]:
    """Seconds of a first step, the allocator's peak of the next, and what later ones take.

    The last is the fewest seconds of the processor among so many steps.

    With a budget in bytes it is ours, else plain `torch.compile` at a value of its knob,
    with one of its solvers.
    """
    from torch._functorch import config as functorch
    from torch._inductor import config
    from torch.profiler import ProfilerActivity, profile

    torch.manual_seed(0)
    case = SMALL[name](batch)
    functorch.activation_memory_budget, functorch.activation_memory_budget_solver = at
    options = {"inductor": True, "budget": budget, "costs": "flops", "show_progress": False}
    chosen: dict[str, Any] = {} if budget is None else {"backend": "schedule", "options": options}
    run = torch.compile(case.module, fullgraph=True, dynamic=False, **chosen)
    started = time.perf_counter()
    with config.patch(fx_graph_cache=False):
        run(*case.batch).backward()
    spent = time.perf_counter() - started
    case.module.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        run(*case.batch).backward()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    times = []
    for _ in range(STEPS):
        started = time.process_time()
        run(*case.batch).backward()
        times.append(time.process_time() - started)
        case.module.zero_grad(set_to_none=True)
    return spent, peak + sum(tensor.nbytes for tensor in case.tensors), min(times)


def measurements(name: str, batch: int, row: list[Any], share: float) -> list[list[str]]:
    """Lines: PyTorch's own at a value, and ours in as many bytes, compiled and run."""
    lines = []
    torch_s, ours_s = row[0], row[1]
    for label, budget, told in (
        (f"torch {torch_s.label}", None, torch_s.peak),
        ("ours", int(share * torch_s.peak), ours_s),
    ):
        if told is not None:
            at = torch_s.settings[0] if budget is None else (1.0, "dp")
            spent, peak, step = apart(measured, name, batch, at, budget)
            line = [f"{peak / 1e6:.2f}", f"{100 * (told / peak - 1):+.2f}", f"{spent:.0f}"]
            lines.append([name, label, *line, f"{1e3 * step:.1f}"])
    return lines


def compiling(wanted: str, batch: int, others: list[Path]) -> list[list[str]]:
    """Lines: of each model and budget, plain `torch.compile` and ours on some checkouts."""
    lines = []
    here = Path(__file__).resolve().parent
    for name, budget in (pair.split("=") for pair in wanted.split(",")):
        runs = [
            ("plain", others[0], ""),
            *((f"ours, {each.name}", each, budget) for each in others),
        ]
        plain: list[float] = []
        for label, checkout, given in runs:
            with tempfile.TemporaryDirectory() as cache:
                settings = {
                    "TORCHINDUCTOR_CACHE_DIR": cache,
                    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
                    "TORCHINDUCTOR_COMPILE_THREADS": "1",
                }
                code = f"import os; os.environ |= {settings!r}" + FIRST_STEP
                words = printed(checkout, code, str(here), name, str(batch), given)
            found = [float(word) for word in words[-2:]]
            plain = plain or found
            line = [f"{seconds:.0f}" for seconds in found]
            lines.append([name, given or "–", label, *line, f"{found[1] / plain[1]:.2f}"])
            print(*lines[-1], file=sys.stderr, flush=True)
    return lines


def table_of(name: str, rows: list[list[Any]]) -> list[list[str]]:
    """Lines: FLOPs in percent of the least that PyTorch's takes."""
    least = min(row[0].work for row in rows)
    table = []
    for each, own_peak, own_work, plans, spent in rows:
        line = [name, each.label, f"{each.peak / 1e6:.2f}", f"{100 * each.work / least:.2f}"]
        fits = own_peak is not None
        line += [f"{own_peak / 1e6:.2f}", f"{100 * own_work / least:.2f}"] if fits else ["–", "–"]
        table.append([*line, str(plans), f"{spent:.0f}"])
    return table


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compile", metavar="MODEL=BUDGET,…", help="what the first step takes")
    parser.add_argument("--against", type=Path, help="another checkout, for --compile")
    parser.add_argument("--models", default=",".join(SMALL))
    parser.add_argument("--values", default="1,0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2,0.1,0")
    parser.add_argument("--solvers", default="dp,greedy,ilp", help="of torch's knob")
    parser.add_argument("--share", type=float, default=1.0, help="of each peak, for ours")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each solve, at most")
    parser.add_argument("--known", type=Path, help="a folder of what was rehearsed before")
    parser.add_argument("--measure", action="store_true", help="compile and run, too")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    return parser.parse_args()


def main() -> int:
    """Print tables; 1 where ours loses."""
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    given = arguments()
    if given.compile:
        headings = ["model", "budget", "", "seconds", "of the processor", "times plain"]
        lines = compiling(given.compile, given.batch, checkouts(given))
        show("the first step", headings, lines, given.markdown, left=3)
        return 0
    values = [float(value) for value in given.values.split(",")]
    solvers = given.solvers.split(",")
    lines, lowest, real, lost = [], [], [], 0
    for name in given.models.split(","):
        options = values, solvers, given.share, given.seconds, given.known
        rows, n_splits, least = apart(foretold, name, given.batch, *options)
        lines += table_of(name, rows)
        lost += sum(
            peak is None or peak > given.share * each.peak or work > each.work
            for each, peak, work, *_ in rows
        )
        other = min(each.peak for each, *_ in rows)
        line = [f"{other / 1e6:.2f}", "–", "–"]
        if least is not None:
            line[1:] = [f"{least / 1e6:.2f}", f"{100 * (1 - least / other):.1f}"]
        lowest.append([name, str(n_splits), str(len(rows)), *line])
        if given.measure:
            each = [measurements(name, given.batch, row, given.share) for row in rows]
            real += [line for found in each for line in found]
    show("what Inductor runs", HEADINGS, lines, given.markdown, left=1)
    headings = ["model", "splits of torch's", "of these not beaten by others"]
    headings += ["lowest peak, MB", "ours, MB", "less, %"]
    show("how low it goes", headings, lowest)
    if real:
        headings = ["model", "", "allocator's peak, MB", "foretold, %", "compile, s", "step, ms"]
        show("what it took", headings, real, None, left=2)
    print(f"ours reaches {len(lines) - lost} of {len(lines)} peaks with no more FLOPs")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
