"""Ours beside PyTorch's memory budget on what Inductor runs: peak memory against FLOPs.

    python benchmarks/torch_compiled.py [--models gpt2,llama,…] [--values 1,0.5,0.2,0]
        [--batch 16] [--seconds 10] [--markdown FILE]
    python benchmarks/torch_compiled.py --measure [the same]
    python benchmarks/torch_compiled.py --compile gpt2=32.9MB,… [--against CHECKOUT]

For each model (see `training_steps.py`), in a process of its own, Inductor lowers and
schedules both passes of a training step on a CPU, and writes no kernels: as PyTorch's
own partitioner splits them at each value of `activation_memory_budget`, and as
`torch.compile(backend="schedule", options={"budget": …, "inductor": True})` does in as
many bytes as that took. Peaks are those of the allocations that Inductor decides
(`schedule.torch.rehearsal`), with parameters and batch; FLOPs are those of the
operators in both passes. Ours plans by FLOPs, as the other does.

With `--measure` each configuration is compiled and run, too, in a process of its own,
and the allocator's peak (the profiler's `[memory]` events) is shown beside the one that
was foretold, and the seconds that compiling took, planning included: minutes for each.

With `--compile` it is only shown what the first step takes, planning and compiling
included, under plain `torch.compile` and under ours in these bytes, here and on another
checkout: seconds, and seconds of the processor, each in a process of its own with
caches off and empty, on one thread.

Exit status 1 where ours takes more than the other's peak, or more FLOPs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
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


def foretold(name: str, batch: int, values: list[float], seconds: float) -> list[list[Any]]:
    """For each value: its peak and FLOPs, and ours in as many bytes; `None`s where none fits."""
    from torch._functorch import config as functorch
    from torch._functorch import partitioners
    from torch._functorch.compile_utils import fx_graph_cse
    from torch._inductor import config
    from torch._inductor.custom_graph_pass import CustomPartitionerFn

    from schedule.options import SolveOptions
    from schedule.torch import inductor, split
    from schedule.torch.lowered import copied
    from schedule.torch.options import Options
    from schedule.torch.rehearsal import rehearse

    torch.manual_seed(0)
    case = SMALL[name](batch)
    base = sum(tensor.nbytes for tensor in case.tensors)
    rows: list[list[Any]] = []

    class Comparing(CustomPartitionerFn):
        def __call__(self, gm: Any, inputs: Any, **given: Any) -> Any:
            n_results = given["num_fwd_outputs"]
            gm.graph = fx_graph_cse(gm.graph)

            def parted(chosen: Any) -> Any:
                if chosen is not None:
                    return inductor._parted(gm, n_results, chosen)
                divide = partitioners.min_cut_rematerialization_partition
                return divide(copied(gm), inputs, **given)

            for value in values:
                functorch.activation_memory_budget = value
                parts = parted(None)
                peak = base + rehearse(*parts, n_results, measures=True).peak
                functorch.activation_memory_budget = 1.0
                rows.append([value, peak, flops(*parts), *ours(gm, n_results, peak, parted)])
                print(name, *rows[-1], file=sys.stderr, flush=True)
            raise Enough

        def uuid(self) -> None:
            """No key."""

    def ours(gm: Any, n_results: int, budget: int, parted: Any) -> tuple[Any, ...]:
        solving = SolveOptions(time_limit=seconds)
        wanted = Options(budget=budget, costs="flops", solving=solving, show_progress=False)
        joint = inductor._joint_to_split(gm, n_results)
        seen: dict[Any, int] = {}

        def rehearsed(chosen: Any, most: int | None) -> Any:
            found = rehearse(*parted(chosen), n_results, measures=True, most=most)
            seen[chosen] = base + found.peak
            return found

        started = time.perf_counter()
        try:
            with warnings.catch_warnings(action="ignore"):  # what was missed is in the table
                chosen = split.split_of(joint, wanted, torch.device("cpu"), rehearsed)
        except DoesNotFit:
            return None, None, len(seen), time.perf_counter() - started
        spent = time.perf_counter() - started
        return seen[chosen], flops(*parted(chosen)), len(seen), spent

    try:
        with config.patch(custom_partitioner_fn=Comparing(), fx_graph_cache=False):
            torch.compile(case.module, fullgraph=True, dynamic=False)(*case.batch)
    except Enough:
        pass
    return rows


def measured(name: str, batch: int, value: float, budget: int | None) -> tuple[float, int]:
    """Seconds of a first step, and the allocator's peak of the next.

    With a budget in bytes it is ours, else plain `torch.compile` at a value of its knob.
    """
    from torch._functorch import config as functorch
    from torch._inductor import config
    from torch.profiler import ProfilerActivity, profile

    torch.manual_seed(0)
    case = SMALL[name](batch)
    functorch.activation_memory_budget = value
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
    return spent, peak + sum(tensor.nbytes for tensor in case.tensors)


def measurements(name: str, batch: int, row: list[Any]) -> list[list[str]]:
    """Lines: PyTorch's own at a value, and ours in as many bytes, compiled and run."""
    lines = []
    for label, budget, told in ((f"torch {row[0]:g}", None, row[1]), ("ours", row[1], row[3])):
        if told is not None:
            spent, peak = apart(measured, name, batch, row[0], budget)
            off = 100 * (told / peak - 1)
            lines.append([name, label, f"{peak / 1e6:.2f}", f"{off:+.2f}", f"{spent:.0f}"])
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
    least = min(row[2] for row in rows)
    table = []
    for value, peak, work, own_peak, own_work, plans, spent in rows:
        line = [name, f"{value:g}", f"{peak / 1e6:.2f}", f"{100 * work / least:.2f}"]
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
    parser.add_argument("--values", default="1,0.5,0.2,0")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each solve, at most")
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
    lines, real, lost = [], [], 0
    for name in given.models.split(","):
        rows = apart(foretold, name, given.batch, values, given.seconds)
        lines += table_of(name, rows)
        lost += sum(row[3] is None or row[3] > row[1] or row[4] > row[2] for row in rows)
        if given.measure:
            real += [line for row in rows for line in measurements(name, given.batch, row)]
    show("what Inductor runs", HEADINGS, lines, given.markdown, left=1)
    if real:
        headings = ["model", "", "allocator's peak, MB", "foretold, %", "compile, s"]
        show("what it took", headings, real, None, left=2)
    print(f"ours reaches {len(lines) - lost} of {len(lines)} peaks with no more FLOPs")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
