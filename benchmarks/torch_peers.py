"""Ours beside PyTorch's own ways to train in less memory, on the same steps.

    python benchmarks/torch_peers.py [--models gpt2,llama,t5,unet] [--batch 16] [--seconds 15]
        [--picture FILE] [--markdown FILE] [--results FILE]
    python benchmarks/torch_peers.py --published [--seconds 30] [--markdown FILE]

Compared are, each in a process of its own, for small models of `transformers` and a
U-Net (see `training_steps.py`):

- eager PyTorch;
- `torch.utils.checkpoint` around every block, and the same with a selective policy
  that keeps the results of matrix products, convolutions and attention;
- `torch._functorch.config.activation_memory_budget` at seven values with its three
  solvers (`ilp` needs scipy), under `torch.compile(backend="aot_eager")`: PyTorch's
  partitioner without Inductor's rewriting, so that the very operators of the eager
  step run;
- `schedule.torch.plan` at budgets from just below the unplanned peak to the least
  that works, among them every peak that one of the others reaches.

Peaks are bytes of live tensors, parameters and gradients among them, and FLOPs are
those of the operators that run, both counted by the same meter, which sees operators
only. Extra FLOPs are recomputed ones, in percent of the eager step's. Times are the
least of some steps on one thread; each process measures eager steps in turn with its
own, and what is compared is the ratio. On a busy machine it wavers all the same.

The others count FLOPs, so ours plans with `costs="flops"` where FLOPs are compared. Its
default, `costs="model"`, counts what moves through memory too: it takes other
schedules, with more FLOPs and less time. Both are shown.

Dropout is off: with it, PyTorch's memory budget gives wrong gradients (2.13). That
the gradients are the eager ones, up to rounding, is checked for every configuration.

Exit status 1 where one of these fails, for any model:
(a) at every peak that another reaches, ours reaches that peak or a lower one with no
    more FLOPs, up to 256 bytes: single numbers that some hold where the meter can't see;
(b) ours goes 20 % below the lowest peak that PyTorch's budget reaches (transformers);
(c) ours is within its budget, always, and never above the eager peak.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tables import show
from torch_ways import Measured, Way, apart, least, measure
from training_steps import PUBLISHED

import schedule

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "torch_peers.svg"
VALUES = (1.0, 0.75, 0.5, 0.25, 0.1, 0.05, 0.0)
SOLVERS = ("dp", "greedy", "ilp")
OURS = ("flops", "model")
#: Whose budget the verdict (b) is about.
TRANSFORMERS = ("gpt2", "llama", "t5")
#: Where ours is asked for more than the others reach: from their lowest peak to the least.
BELOW = (0.75, 0.5, 0.25, 0.0)
#: For finding the least budget that works.
LEAST_SECONDS = 30.0
#: The loss's gradient and its copy, which no plan can see.
SCALARS = 16
#: Bytes of single numbers that some of the others hold where the meter can't see them.
SLACK = 256


class Bench:
    """All measurements of one model; what a results file has isn't measured again."""

    def __init__(self, name: str, given: argparse.Namespace) -> None:
        self.name, self.given = name, given
        self.file: Path | None = given.results
        self.known: dict[str, Any] = {}
        if self.file is not None and self.file.exists():
            self.known = json.loads(self.file.read_text("utf-8"))

    def _kept(self, key: str, make: Callable[[], Any]) -> Any:
        key = f"{self.name} {self.given.batch} {key}"
        if key not in self.known:
            self.known[key] = make()
            if self.file is not None:
                self.file.write_text(json.dumps(self.known, indent=1), "utf-8")
            print(key, "done", file=sys.stderr, flush=True)
        return self.known[key]

    def measured(self, way: Way) -> Measured:
        given = self.given
        make = lambda: asdict(apart(measure, self.name, given.batch, way, given.seconds))  # noqa: E731
        found = dict(self._kept(way.key, make))
        return Measured(**{**found, "way": way})

    def peers(self) -> list[Measured]:
        """Eager and PyTorch's ways to save memory."""
        ways = [Way("eager"), Way("checkpoint"), Way("selective checkpoint")]
        ways += [Way("torch budget", solver, value) for solver in SOLVERS for value in VALUES]
        return [self.measured(way) for way in ways]

    def ours(self, peers: Iterable[Measured]) -> list[Measured]:
        """Ours at the peaks of the best of the peers, and at lower ones."""
        front = frontier(peers)
        lowest = min(peer.peak for peer in front)
        floor = self._kept(
            "least", lambda: apart(least, self.name, self.given.batch, LEAST_SECONDS)
        )
        budgets = {round(0.98 * front[0].base_peak), *(peer.peak - SCALARS for peer in front)}
        budgets |= {round(floor + share * (lowest - floor)) for share in BELOW}
        order = sorted(budgets, reverse=True)
        found = [self.measured(Way("ours", kind, budget)) for kind in OURS for budget in order]
        missed = [peer for peer in front if not any(reaches(item, peer, 0) for item in found)]
        close = [Way("ours", OURS[0], peer.peak - SCALARS + SLACK) for peer in missed]
        return found + [self.measured(way) for way in close]


def reaches(item: Measured, peer: Measured, slack: int) -> bool:
    """Whether ours takes no more memory, up to `slack`, and no more FLOPs."""
    return not item.failure and item.peak <= peer.peak + slack and item.flops <= peer.flops


def frontier(found: Iterable[Measured]) -> list[Measured]:
    """Those that no other beats in both peak and FLOPs, by falling peak."""
    best: list[Measured] = []
    for item in sorted(found, key=lambda item: (item.peak, item.flops)):
        if not best or item.flops < best[-1].flops:
            best.append(item)
    return best[::-1]


def verdicts(name: str, peers: list[Measured], ours: list[Measured]) -> list[tuple[bool, str]]:
    """Whether each claim holds, and in what figures."""
    fits = [item for item in ours if not item.failure]
    said = []
    lost = [str(peer.way) for peer in peers if not any(reaches(item, peer, SLACK) for item in fits)]
    text = f"(a) {len(peers) - len(lost)} of {len(peers)} peaks of others reached or undercut"
    text += " with no more FLOPs"
    said.append((not lost, text + (f", not {'; '.join(lost)}" if lost else "")))
    if name in TRANSFORMERS:
        theirs = min(peer.peak for peer in peers if peer.way.method == "torch budget")
        mine = min(item.peak for item in fits)
        text = f"(b) the lowest peak is {mine / 1e6:.2f} MB, {100 * (1 - mine / theirs):.1f} %"
        said.append((mine <= 0.8 * theirs, f"{text} below {theirs / 1e6:.2f} MB"))
    above = [str(o.way) for o in fits if o.peak > min(o.way.setting + SCALARS, o.base_peak)]
    text = f"(c) {len(fits) - len(above)} of {len(fits)} peaks within the budget"
    said.append((not above, text + (f", not {'; '.join(above)}" if above else "")))
    wrong = [str(item.way) for item in [*peers, *fits] if item.wrong]
    if wrong:
        said.append((False, f"gradients are wrong: {'; '.join(wrong)}"))
    return said


def rows(name: str, found: Iterable[Measured]) -> list[list[str]]:
    """Lines of the table."""
    table = []
    for item in found:
        label = [name, str(item.way)]
        if item.failure:
            table.append([*label, "doesn't fit", *[""] * 7])
            continue
        promised = "" if item.promised is None else f"{item.promised / 1e6:.3f}"
        solve = "" if item.solve_seconds is None else f"{item.solve_seconds:.1f}"
        table.append(
            [
                *label,
                f"{item.peak / 1e6:.3f}",
                promised,
                f"{100 * item.peak / item.base_peak:.1f}",
                f"{item.extra:+.2f}",
                f"{1000 * item.seconds:.0f}",
                f"{item.slower:.2f}",
                solve,
                "" if item.gap is None else f"{100 * item.gap:.2f}",
            ]
        )
    return table


def against(name: str, peers: list[Measured], ours: list[Measured]) -> list[list[str]]:
    """The best of the others by falling peak, and the least FLOPs of ours at no higher peak."""
    table = []
    for peer in frontier(peers):
        fits = [o for o in ours if not o.failure and o.peak <= peer.peak + SLACK]
        best = min(fits, key=lambda item: (item.flops, item.peak), default=None)
        table.append(
            [
                name,
                str(peer.way),
                f"{peer.peak / 1e6:.2f}",
                f"{peer.extra:+.2f}",
                "–" if best is None else f"{best.peak / 1e6:.2f}",
                "–" if best is None else f"{best.extra:+.2f}",
            ]
        )
    lowest = min((o for o in ours if not o.failure), key=lambda item: (item.peak, item.flops))
    ending = [f"{lowest.peak / 1e6:.2f}", f"{lowest.extra:+.2f}"]
    return [*table, [name, "(ours alone)", "", "", *ending]]


BEST = ["model", "the best of the others", "peak, MB", "extra FLOPs, %"]
BEST += ["ours: peak, MB", "extra FLOPs, %"]
HEADINGS = ["model", "", "peak, MB", "promised", "% of eager", "extra FLOPs, %", "ms", "× eager"]
HEADINGS += ["solve, s", "gap, %"]


#: By what is measured: peak in MB, FLOPs beyond those of eager in percent, time by eager's.
Panel = dict[str, list[tuple[float, float, float]]]


def panel(found: list[Measured]) -> Panel:
    """What each way to train takes, by rising peak."""
    lines: Panel = {label: [] for label in STYLES}
    for item in sorted(found, key=lambda item: item.peak):
        if not item.failure:
            lines[_label(item.way)].append((item.peak / 1e6, item.extra, item.slower))
    return lines


def draw(panels: dict[str, Panel], path: Path) -> None:
    """Peak against extra FLOPs on the left, against time on the right; one row a model."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "torch_peers"
    mpl.rcParams["svg.fonttype"] = "none"
    size = (7.6, 2.4 * len(panels) + 0.7)
    figure, axes = plt.subplots(len(panels), 2, figsize=size, squeeze=False, sharex="row")
    figure.set_layout_engine("constrained")
    for row, (name, lines) in zip(axes, panels.items()):
        for label, points in lines.items():
            peaks, extra, slower = zip(*points) if points else ((), (), ())
            row[0].plot(peaks, extra, label=label, **STYLES[label])
            row[1].plot(peaks, slower, label=label, **STYLES[label])
        row[0].set_title(f"{name}: extra FLOPs, %", fontsize=10, loc="left")
        row[1].set_title(f"{name}: time, × eager", fontsize=10, loc="left")
        row[0].set_ylim(-1, 40)  # the last few bytes cost more than can be shown
        row[1].set_ylim(0.8, 1.7)
        for axis in row:
            axis.grid(visible=True, alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("peak, MB")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _label(way: Way) -> str:
    if way.method == "ours":
        return "ours, planned by FLOPs" if way.kind == "flops" else "ours, planned by time"
    return f"torch budget, {way.kind}" if way.kind else way.method


_POINT = {"linestyle": "", "markersize": 6}
STYLES: dict[str, dict[str, Any]] = {
    "ours, planned by FLOPs": {"color": "C0", "marker": "o", "markersize": 4},
    "ours, planned by time": {"color": "C9", "marker": ".", "linestyle": "--"},
    "eager": {"color": "black", "marker": "s", **_POINT},
    "checkpoint": {"color": "C1", "marker": "^", **_POINT},
    "selective checkpoint": {"color": "C2", "marker": "v", **_POINT},
    "torch budget, dp": {"color": "C3", "marker": "x", **_POINT},
    "torch budget, greedy": {"color": "C5", "marker": "+", **_POINT},
    "torch budget, ilp": {"color": "C6", "marker": "1", **_POINT},
}


def published(name: str, seconds: float) -> list[list[str]]:
    """Capture a published model without its memory, and solve at two budgets."""
    from schedule.torch.frontend import capture_made

    started = time.perf_counter()
    graph = capture_made(PUBLISHED[name], fake=True)
    spent = time.perf_counter() - started
    table = []
    for share in ("80%", "50%"):
        plan = schedule.solve(graph, share, time_limit=seconds)
        table.append(
            [
                name,
                share,
                f"{schedule.parse_budget('100%', graph) / 2**30:.2f}",
                f"{len(graph):,}",
                f"{spent:.1f}",
                f"{plan.seconds:.1f}",
                *(
                    "" if value is None else f"{100 * value:.3f}"
                    for value in (plan.overhead, plan.bound_overhead, plan.gap)
                ),
                plan.status.value,
            ]
        )
    return table


def compare_published(given: argparse.Namespace) -> int:
    """Print planning times; 1 where a solve takes more than 30 seconds or nothing fits."""
    table = [row for name in PUBLISHED for row in apart(published, name, given.seconds)]
    headings = ["model", "budget", "peak, GiB", "nodes", "capture, s", "solve, s"]
    headings += ["overhead, %", "bound, %", "gap, %", "status"]
    show("planning the published sizes", headings, table, given.markdown, left=2)
    return int(any(float(row[5]) > 31 or row[6] == "" for row in table))


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="gpt2,llama,t5,unet")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, help="for each solve, at most")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--results", type=Path, metavar="FILE", help="measurements kept as JSON")
    parser.add_argument("--published", action="store_true", help="planning times instead")
    given = parser.parse_args()
    if given.seconds is None:
        given.seconds = 30.0 if given.published else 15.0
    return given


def main() -> int:
    """Print tables and verdicts, draw the picture; 1 where a verdict fails."""
    import torch._inductor.compile_fx
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    given = arguments()
    if given.published:
        return compare_published(given)
    everything, said, best = {}, [], []
    for name in given.models.split(","):
        bench = Bench(name, given)
        peers = bench.peers()
        ours = bench.ours(peers)
        everything[name] = [*peers, *ours]
        best += against(name, peers, ours)
        said += [(good, f"{name}: {text}") for good, text in verdicts(name, peers, ours)]
    lines = [row for name, found in everything.items() for row in rows(name, found)]
    show("one training step", HEADINGS, lines, None, left=2)
    show("no more FLOPs at the peaks of others", BEST, best, given.markdown, left=2)
    for good, text in said:
        print("holds" if good else "FAILS", text)
    draw({name: panel(found) for name, found in everything.items()}, given.picture)
    return int(not all(good for good, _ in said))


if __name__ == "__main__":
    sys.exit(main())
