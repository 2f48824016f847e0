"""Draw what a training step's budget covers, from a planned step.

    python benchmarks/training_pictures.py [PICTURE]

writes docs/images/training-budget.svg (or PICTURE): the step of docs/torch.md,
planned at 70 %, every schedule replayed on the memory model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

import schedule
import schedule.torch
from schedule.memory import Trace
from schedule.report.pictures import save_picture

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "training-budget.svg"
PARTS = ["parameters, buffers, batch", "made by the forward pass", "made by the backward pass"]


class Network(nn.Module):
    def __init__(self, width: int = 64, blocks: int = 8) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.GELU(),
                nn.Linear(4 * width, width),
                nn.Dropout(0.1),
            )
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def parts(trace: Trace) -> np.ndarray:
    """Shape (3, runs): memory during each run by what it belongs to, workspace left out."""
    layout = trace.graph.layout
    kind = dict.fromkeys(layout.tensor_names[: layout.n_inputs], 0)
    for node in trace.graph.nodes:
        kind |= {out.name: 2 if node.backward else 1 for out in node.outputs}
    runs = np.flatnonzero(trace.codes >= 0).tolist()
    found = np.zeros((3, len(runs)))
    for at, step in enumerate(runs):
        for share in trace.shares(step):
            if share.name in kind:
                found[kind[share.name], at] += share.memory
    return found


def main() -> None:
    """Plan, draw, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", nargs="?", type=Path, default=PICTURE)
    picture = parser.parse_args().picture
    torch.manual_seed(0)
    x, y = torch.randn(512, 64), torch.randint(0, 10, (512,))
    loss = nn.functional.cross_entropy
    planned = schedule.torch.plan(Network(), x, "70%", loss=loss, targets=[y], time_limit=20)
    result, graph = planned.planned_step.result, planned.planned_step.graph
    trace = schedule.verify(graph, result.schedule, result.budget)
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    layers = parts(trace) / 2**20
    axes.stackplot(
        range(layers.shape[1]), layers, labels=PARTS, step="mid", colors=["0.75", "C0", "C1"]
    )
    axes.axhline(result.budget / 2**20, color="0.2", linewidth=1, linestyle="--")
    axes.annotate("budget", (0, result.budget / 2**20), (4, 3), textcoords="offset points")
    boundary = [graph.layout.node_names[v] for v in trace.codes[trace.codes >= 0]].index("boundary")
    axes.axvline(boundary, color="0.2", linewidth=0.8, linestyle=":")
    axes.annotate(
        "the backward pass begins", (boundary, 0), (4, 4), textcoords="offset points", size=8
    )
    axes.set_xlabel("what runs, in order")
    axes.set_ylabel("memory, MiB")
    axes.margins(x=0)
    # Above, where nothing is drawn.
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    save_picture(figure, picture)
    print(result)


if __name__ == "__main__":
    main()
