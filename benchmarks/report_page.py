"""Measure how fast the HTML page of a long schedule answers, in a headless Chromium.

    python -m benchmarks.report_page [steps]

makes a schedule of about `steps` steps (20,000), writes its page, opens it, and
prints the page's size, the time until it is drawn, and for each thing one can
do the median and the longest of 30 times: from the key or the event until its
picture is laid out. Needs Chromium and the extra `test`.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import schedule
from schedule.report.page import page
from tests.report import browser

#: What is done, and the script that does it; `k` counts up.
ACTS = {
    "a step on (→)": "page.go(page.state.step + 1)",
    "another step (click)": "page.go((k * 7919) % page.model.steps)",
    "hover": "hover(page, timeline, (k * 7919) % page.model.steps)",
    "zoom": "page.chart.zoom(k % 2 ? 0.5 : 2, (k * 7919) % page.model.steps); page.later()",
    "search": "search.value = 'layer' + k; search.dispatchEvent(new Event('input'))",
    "choose a node": "page.choose({node: (k * 7919) % page.model.graph.nodes.length}, true)",
    "240 rows": "page.state.rows = 240; page.go((k * 7919) % page.model.steps)",
}
#: Milliseconds from an act to the end of the next frame's work, with layout done.
MEASURE = """
const act = new Function("k", "timeline", "search", arguments[0]), done = arguments[1];
const times = [], timeline = byId("timeline"), search = byId("search");
function once(k) {
  if (k === 30) return done(times);
  requestAnimationFrame(() => {
    const start = performance.now();
    act(k, timeline, search);
    requestAnimationFrame(() => {
      document.body.getBoundingClientRect();
      const channel = new MessageChannel();
      channel.port1.onmessage = () => { times.push(performance.now() - start); once(k + 1); };
      channel.port2.postMessage(0);
    });
  });
}
once(0);
"""


def long_plan(steps: int) -> tuple[schedule.Graph, schedule.Result]:
    """A transformer's training step that is planned in about so many steps."""
    layers = max(1, round(steps / 111))
    graph = schedule.example("transformer", layers=layers)
    return graph, schedule.solve(graph, solver="sqrt")


def main() -> None:
    graph, plan = long_plan(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
    began = time.perf_counter()
    text = page(schedule.verify(graph, plan.schedule), plan)
    print(f"{len(graph.nodes)} nodes, {len(plan.steps)} steps")
    print(f"page: {len(text.encode()) / 1000:.0f} kB, made in {time.perf_counter() - began:.2f} s")
    with tempfile.TemporaryDirectory() as folder, browser.opened() as driver:
        path = Path(folder) / "page.html"
        path.write_text(text, "utf-8")
        began = time.perf_counter()
        browser.visit(driver, path)
        print(f"opened and drawn in {time.perf_counter() - began:.2f} s\n")
        for name, act in ACTS.items():
            times = driver.execute_async_script(MEASURE, act)
            print(
                f"{name:22} median {statistics.median(times):5.1f} ms, longest {max(times):5.1f} ms"
            )


if __name__ == "__main__":
    main()
