"""Costs and workspaces of a graph's nodes as they are measured, in place of the model's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx

from schedule.graph import Input, Node
from schedule.torch import operators
from schedule.torch.blocks import Blocks
from schedule.torch.costs import Meter, likeness
from schedule.torch.gauges import gauge_of
from schedule.torch.joint import Joint
from schedule.torch.kept import Kept, key_of
from schedule.torch.kernels import Kernel
from schedule.torch.program import KEPT
from schedule.torch.trials import Found, Inputs, Trial, tried


@dataclass
class _Known:
    """What is known of a device: by kind of operator, and what libraries keep."""

    found: dict[str, Found] = field(default_factory=dict)
    kept: int = 0

    def learn(self, found: Mapping[str, Found], kept: int) -> None:
        """What is known already stays as it is."""
        self.found = {**found, **self.found}
        self.kept = max(self.kept, kept)


#: In this process, by device, what was measured, and settings: so that the same step gives the
#: same graph when it is captured again.
_KNOWN: dict[Any, _Known] = {}


def _settings() -> tuple[Any, ...]:
    """Settings of PyTorch's by which a library takes another algorithm."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return (
        *(cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        *(matmul.allow_tf32, torch.are_deterministic_algorithms_enabled()),
    )


class Measuring:
    """The operators of one graph that are to be measured.

    Parameters
    ----------
    joint
        The captured step.
    pure
        Operators outside ATen that do nothing but compute.
    """

    def __init__(self, joint: Joint, pure: Collection[str]) -> None:
        self._joint, self._pure = joint, pure
        self._trials: dict[str, tuple[str, Trial]] = {}
        self._own: set[str] = set()  # of operators that are PyTorch's, by whose version they go
        self._unmeasured: list[str] = []

    def add(
        self,
        node: fx.Node,
        name: str,
        kernel: Kernel,
        reads: Sequence[fx.Node | torch.Tensor],
        fakes: Sequence[torch.Tensor],
        backward: bool,
    ) -> None:
        """A node of the graph, called `name`; what may do more than compute is left out."""
        if node in self._joint.effects or not operators.is_known(node, self._pure):
            self._unmeasured.append(name)
            return
        trial = Trial(kernel, tuple(reads), backward)
        key = key_of((likeness(node, fakes), name == node.name, backward))
        self._trials[name] = key, trial
        if operators.is_known(node):
            self._own.add(key)

    def fill_in(
        self, nodes: list[Node], inputs: list[Input], meter: Meter, given: Sequence[Any]
    ) -> tuple[str, ...]:
        """Write what is found into the nodes, and what libraries keep to the inputs.

        Returns
        -------
        tuple[str, ...]
            The nodes for which nothing was found.
        """
        if not (meter.measures_costs or meter.measures_workspace):
            return ()
        wanted = meter.measures_costs, meter.measures_workspace
        settings = wanted, _settings()
        known_here = _KNOWN.setdefault((str(meter.device), settings), _Known())
        kept = Kept(meter.device, settings)
        if any(k not in known_here.found for k, _ in self._trials.values()):
            known_here.learn(*kept.read())
        trials = {k: t for k, t in self._trials.values() if k not in known_here.found}
        if trials:
            gauge = gauge_of(meter.device, times=wanted[0], memory=wanted[1])
            made = Inputs(self._joint.sources, self._joint.constants, given)
            findings = tried(list(trials.values()), made, gauge)
            new = {k: one for k, one in zip(trials, findings.by_trial) if one}
            known_here.learn(new, findings.kept)
            own = {k: one for k, one in new.items() if k in self._own}
            kept.write(own, known_here.kept)
        if meter.measures_workspace and known_here.kept:
            inputs.append(Input(KEPT, known_here.kept))
        found, blocks, unmeasured = known_here.found, Blocks(meter.device), list(self._unmeasured)
        for at, node in enumerate(nodes):
            known = found.get(self._trials[node.name][0]) if node.name in self._trials else None
            if known is not None:
                space = max(blocks.made(known.workspace), node.workspace)
                compute = known.nanoseconds or node.compute
                nodes[at] = replace(node, workspace=space, compute=compute)
            elif node.name in self._trials:
                unmeasured.append(node.name)
        return tuple(unmeasured)
