"""What a schedule of kernels has each pass do under Inductor, within a budget in bytes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from schedule.bounds import memory_floor
from schedule.errors import BudgetMissed, DoesNotFit
from schedule.fusion import Fusion
from schedule.log import LOG
from schedule.planner import solver_for
from schedule.result import Result
from schedule.sizes import format_memory, parse_budget, parse_memory, share_of
from schedule.steps import codes_of
from schedule.torch.capturing import DECLARED
from schedule.torch.costs import Meter
from schedule.torch.fusing import fusion_of, kept_at, shared_in
from schedule.torch.inductor import Rehearse
from schedule.torch.joint import Joint, name_of
from schedule.torch.options import Options
from schedule.torch.passes import Split
from schedule.torch.program import BOUNDARY, Program
from schedule.torch.rules import Rules
from schedule.torch.translation import program_of
from schedule.torch.watching import Planning
from schedule.warming import have_compiled

#: How many plans are tried at most, how many where none of them fits, and how much of the
#: budget may be left unused before another is tried.
ROUNDS, PATIENCE, SLACK = 3, 5, 0.05
#: Proofs beyond this share of the compute are lost on what Inductor changes again.
GAP = 0.01


def split_of(
    joint: Joint, wanted: Options, device: torch.device, rehearse: Rehearse
) -> Split | None:
    """Plan a joint graph as kernels, and correct the plan by what Inductor makes of it.

    Each plan is lowered and scheduled by Inductor, without generating code; where
    that takes more than the budget, the next plan is given less, where it leaves
    much, more. The best that fits is taken. A share of the peak is of the graph
    of kernels in its own order, as it is without recomputation. A time limit is
    for all plans together; what this package compiles on a machine's first use is
    waited for before.

    Returns
    -------
    Split or None
        None: Inductor's own, as in plain `torch.compile`, where there is no budget
        or all of the peak, or where no plan takes less and fits.

    Raises
    ------
    CannotCapture
        An operation can't be planned.
    DoesNotFit
        No schedule is known for the budget.

    Warns
    -----
    BudgetMissed
        Where what was reached is above the budget; says by how much.
    """
    residents = {DECLARED: parse_memory(wanted.resident, "resident")}
    share = share_of(wanted.budget)
    if wanted.budget is None or (share is not None and share >= 1):
        return None
    meter = Meter(wanted.unmeasured().costs, device, "none")
    program = program_of(joint, meter, residents, "compiled", pure=wanted.pure_names, redraws=False)
    fusion = fusion_of(program, joint, meter)
    with Planning("a compiled graph", wanted) as planning:
        gap, limit = max(wanted.solving.gap, GAP), wanted.solving.time_limit
        solving = replace(wanted.solving, gap=gap, time_limit=limit / PATIENCE)
        options = planning.solving(fusion.graph, replace(wanted, solving=solving))
        shared = shared_in(fusion, joint, Rules(device))
        have_compiled(solver_for(wanted.solver, ()), options.solving)  # which no plan's time is for
        plans = _Plans(program, joint, fusion, shared, options, device, rehearse)
        budget = parse_budget(wanted.budget, fusion.graph)
        try:
            tried = list(plans.tries(budget))
        except DoesNotFit:  # Inductor writes over what it has read, which no plan does
            if plans.rehearsed(None, budget) <= budget:
                return None
            raise
    fitting = [each for each in tried if each.peak <= budget]
    if fitting:
        best = min(fitting, key=lambda each: (each.compute, each.peak))
    else:
        best = min(tried, key=lambda each: each.peak)
        own = _Tried(None, plans.rehearsed(None, best.peak), 0)
        best = min(best, own, key=lambda each: each.peak)
    if best.peak > budget:
        warnings.warn(
            f"under Inductor the step takes {format_memory(best.peak)}, which is above the budget"
            f" of {format_memory(budget)}: the best of {len(tried)} plans; give a larger budget,"
            f" or leave the option 'inductor' out, which keeps to it",
            BudgetMissed,
            stacklevel=2,
        )
    LOG.info(
        "compiled: under Inductor %s of a budget of %s, after %d plans",
        format_memory(best.peak),
        format_memory(budget),
        len(tried),
    )
    return best.split


@dataclass(frozen=True, slots=True)
class _Tried:
    """A plan, and what Inductor makes of it: bytes in all, and compute."""

    split: Split | None
    peak: int
    compute: float


@dataclass(frozen=True)
class _Plans:
    """Plans of one step, each corrected by what came of the last one."""

    program: Program
    joint: Joint
    fusion: Fusion
    shared: frozenset[str]
    options: Options
    device: torch.device
    rehearse: Rehearse

    def rehearsed(self, split: Split | None, most: int | None = None) -> int:
        """Bytes that a step takes under Inductor, what is there all along in them.

        Above `most` it may be less than that, and is above it all the same.
        """
        resident = sum(item.memory for item in self.fusion.graph.inputs)
        return resident + self.rehearse(split, None if most is None else most - resident).peak

    def tries(self, budget: int) -> Iterator[_Tried]:
        """One plan after another, until one uses the budget, or no other is to be expected.

        Inductor may take more for a plan than for one that has more room: where none has
        fitted, some more are tried.
        """
        graph = self.fusion.graph
        floor = memory_floor(graph).memory
        given, seen = budget, set[int]()
        peaks: dict[Split, int] = {}
        for at in range(PATIENCE):
            if at >= ROUNDS and min(peaks.values()) <= budget:
                return
            try:
                result = replace(self.options, budget=given).solved(graph, self.device)
            except DoesNotFit:
                if not at:
                    raise
                given = (given + min(seen)) // 2  # between what is too little and what was solved
                continue
            split = self._split(result)
            if split not in peaks:  # the same plan may be the answer to another budget
                peaks[split] = self.rehearsed(split)
                yield _Tried(split, peaks[split], result.compute or 0)
            peak = peaks[split]
            LOG.debug("compiled: planned for %d, under Inductor %d bytes", given, peak)
            seen.add(given)
            is_done = budget * (1 - SLACK) <= peak or not result.overhead
            if peak <= budget and (is_done or len(seen) > 1):
                return
            if peak > budget:  # from what the plan takes: with a little less it would be the same
                given = max((result.peak or given) + budget - peak - budget // 200, floor)
            else:
                given = max(given + budget - peak, floor)
            if given in seen:
                return

    def _split(self, result: Result) -> Split:
        """What a schedule of kernels has each pass keep and run."""
        codes = codes_of(self.fusion.graph, result)
        kept = kept_at(self.fusion.graph, codes, BOUNDARY)
        nodes = self.program.graph.nodes
        order = [nodes[run].name for run in self.fusion.runs(codes).tolist()]
        turn = order.index(BOUNDARY)
        once = {node.name for node in nodes if not node.recomputable}
        made = [node for node in self.joint.graph.nodes if node.op == "call_function"]
        return Split(
            saved=frozenset(node.name for node in made if name_of(node) in kept),
            once=frozenset(node.name for node in made if node.name in once),
            forward=tuple(order[:turn]),
            backward=tuple(order[turn + 1 :]),
            shared=self.shared,
        )
