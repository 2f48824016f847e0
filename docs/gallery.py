"""Draw the pictures of docs/gallery.md.

    python docs/gallery.py

writes docs/images/gallery-*: pictures of the example `unet` planned at 70 % of
its peak, of its curve, and of the pages that `schedule report` writes, as a
headless Chromium shows them. Takes a minute; needs the extra `test`, Chromium
with chromedriver, and Graphviz.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # for tests/report/browser.py

import schedule  # noqa: E402
from schedule import sweep  # noqa: E402
from schedule.lowering import in_order  # noqa: E402
from schedule.report.curves import curve_picture  # noqa: E402
from schedule.report.dot import dot_text  # noqa: E402
from schedule.report.gantt import gantt_picture  # noqa: E402
from schedule.report.page import write_page, write_sweep_page  # noqa: E402
from schedule.report.pictures import memory_picture, save_picture  # noqa: E402
from tests.report import browser  # noqa: E402

IMAGES = ROOT / "docs" / "images"
#: Of a picture of a page: pixels across and down, and how many colours are kept.
SIZE, COLOURS = (1240, 1120), 200


def pictures(trace: schedule.Trace, budget: int | None, curve: schedule.Sweep) -> None:
    traces = {"as it is": in_order(trace.graph), "planned": trace}
    save_picture(memory_picture(traces, budget), IMAGES / "gallery-memory.svg")
    save_picture(gantt_picture(trace, budget, most=24), IMAGES / "gallery-gantt.svg")
    save_picture(curve_picture(curve), IMAGES / "gallery-curve.svg")


def graph_picture() -> None:
    graph = schedule.example("chain", layers=4)
    plan = schedule.solve(graph, "80%")
    text = dot_text(schedule.verify(graph, plan.schedule)).replace("{", "{\n  rankdir=LR;", 1)
    drawn = subprocess.run(["dot", "-Tsvg"], input=text.encode(), capture_output=True, check=True)
    (IMAGES / "gallery-graph.svg").write_bytes(drawn.stdout)


def photograph(driver, page: Path, name: str, *, dark: bool = False, script: str = "") -> None:
    """A page after `script`, with few colours: a picture of letters and lines needs no more."""
    width, height = SIZE
    shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)
    browser.visit(driver, page, dark=dark)
    driver.execute_script(script)
    browser.settle(driver)
    shot = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    few = shot.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(IMAGES / f"gallery-{name}.png", optimize=True)


def pages(trace: schedule.Trace, plan: schedule.Result, curve: schedule.Sweep) -> None:
    with tempfile.TemporaryDirectory() as folder, browser.opened() as driver:
        page, swept = Path(folder) / "page.html", Path(folder) / "sweep.html"
        write_page(trace, page, plan)
        write_sweep_page(trace.graph, curve, swept)
        recomputed = "page.choose({tensor: page.model.names.indexOf('down1a.relu')}); page.go(90)"
        photograph(driver, page, "page-light")
        photograph(driver, page, "page-dark", dark=True, script=recomputed)
        photograph(driver, swept, "sweep")


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    graph = schedule.example("unet")
    plan = schedule.solve(graph, "70%")
    trace = schedule.verify(graph, plan.schedule, plan.budget)
    curve = sweep(graph, start="40%", points=13)
    pictures(trace, plan.budget, curve)
    graph_picture()
    pages(trace, plan, curve)
    for path in sorted(IMAGES.glob("gallery-*")):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
