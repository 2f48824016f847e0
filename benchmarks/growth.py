"""How peak and compute of the classic strategies grow on training chains.

    python benchmarks/growth.py [PICTURE]

Prints the replayed figures and the fitted exponents of n, and draws
docs/images/growth.svg (or PICTURE). Exit status 1 where an exponent is more
than 0.1 from the theory's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

import schedule

LAYERS = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096]
#: The quadratic strategy has 8 million runs at 4,096 layers.
MOST = {"recompute_all": 1024}
#: Exponents of peak and compute.
THEORY = {"store_all": (1.0, 1.0), "recompute_all": (0.0, 2.0), "sqrt": (0.5, 1.0)}
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "growth.svg"

Figures = dict[str, tuple[list[int], list[int], list[int]]]


def measure() -> Figures:
    """Layers, peaks and computes of every strategy, each plan replayed."""
    found = {}
    for name in THEORY:
        sizes = [n for n in LAYERS if n <= MOST.get(name, max(LAYERS))]
        plans = [schedule.solve(schedule.example("chain", layers=n), solver=name) for n in sizes]
        found[name] = (sizes, [plan.peak for plan in plans], [plan.compute for plan in plans])
    return found


def exponent(sizes: list[int], figures: list[int]) -> float:
    """Slope on log-log paper over the larger half, where lower orders matter less."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(figures[half:]), 1)[0])


def table(found: Figures) -> tuple[Table, bool]:
    """Figures at the ends, exponents, and whether all are those of the theory."""
    text = Table("strategy", "layers", "peak", "compute", "peak ~ n^", "compute ~ n^")
    right = True
    for name, (sizes, peaks, computes) in found.items():
        fitted = exponent(sizes, peaks), exponent(sizes, computes)
        right &= all(abs(a - b) <= 0.1 for a, b in zip(fitted, THEORY[name]))
        cells = [f"{f:.2f} (theory {t:g})" for f, t in zip(fitted, THEORY[name])]
        ends = [f"{figures[0]} … {figures[-1]}" for figures in (sizes, peaks, computes)]
        text.add_row(name, *ends, *cells)
    return text, right


def draw(found: Figures, path: Path) -> None:
    """Peak and compute over layers, on log-log paper."""
    mpl.rcParams["svg.hashsalt"] = "growth"
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for axis, at, label in zip(axes, (1, 2), ("peak (tensors)", "compute (runs)")):
        for name, figures in found.items():
            axis.loglog(figures[0], figures[at], marker="o", markersize=3, label=name)
        axis.set_xlabel("layers of the training chain")
        axis.set_title(label, fontsize=10)
        axis.grid(visible=True, which="major", alpha=0.3)
    axes[0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", nargs="?", type=Path, default=PICTURE)
    picture = parser.parse_args().picture
    found = measure()
    text, right = table(found)
    Console(width=110).print(text)
    draw(found, picture)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
