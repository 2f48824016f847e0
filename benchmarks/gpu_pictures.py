"""Draw time against peak memory from what `gpu.py` measured.

    python benchmarks/gpu.py --results figures.json
    python benchmarks/gpu_pictures.py figures.json [PICTURE] [--models gpt2,llama,bert,t5]

writes docs/images/gpu-time.svg (or PICTURE): eager PyTorch, `torch.utils.checkpoint`
around every block, and planned steps by operators and as CUDA graphs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schedule.report.pictures import save_picture

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "gpu-time.svg"
NAMES = {
    "gpt2": "GPT-2, float32",
    "llama": "Llama, bfloat16",
    "bert": "BERT, bfloat16",
    "t5": "T5, float32",
    "vit": "ViT, bfloat16",
    "resnet50": "ResNet-50, float32",
    "unet": "U-Net, float32",
    "convnext": "ConvNeXt, float32",
}


def draw(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """One model: a line through its planned steps, a mark for each of the others."""
    known = {row["line"]: row for row in rows if "ms" in row}
    planned = [line for line in known if "promise" in known[line] and not line.endswith("graphs")]
    planned.sort(key=lambda line: known[line]["promise"])
    peaks = [known[line]["promise"] / 1e9 for line in planned]
    for label, ending, style in (("by operators", "", "C0.-"), ("CUDA graphs", " graphs", "C2.-")):
        at = [place for place, line in enumerate(planned) if line + ending in known]
        times = [known[planned[place] + ending]["ms"] for place in at]
        axes.plot([peaks[place] for place in at], times, style, label=f"planned, {label}")
    for line, mark, label in (
        ("eager", "k*", "eager"),
        ("checkpoint", "C3D", "checkpoint, blocks"),
    ):
        if line in known:
            axes.plot(known[line]["allocated"] / 1e9, known[line]["ms"], mark, label=label)
    axes.set_title(NAMES[rows[0]["model"]], fontsize="medium")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path)
    parser.add_argument("picture", nargs="?", type=Path, default=PICTURE)
    parser.add_argument("--models", default="gpt2,llama,bert,t5")
    given = parser.parse_args()
    rows = json.loads(given.figures.read_text("utf-8"))
    models = given.models.split(",")
    figure = Figure(figsize=(7.2, 1.4 + 2.0 * -(-len(models) // 2)), layout="constrained")
    panels = figure.subplots(-(-len(models) // 2), 2, squeeze=False).ravel()
    for axes, model in zip(panels, models):
        draw(axes, [row for row in rows if row["model"] == model])
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    figure.supxlabel("peak of a training step, GB", fontsize="medium")
    figure.supylabel("time, ms", fontsize="medium")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize="small")
    save_picture(figure, given.picture)


if __name__ == "__main__":
    main()
