"""How long a graph file of 100,000 nodes takes to load, and how much memory.

    python benchmarks/loading.py [NODES]

Goal: under 3 s and 500 MB. A fresh process loads the file, so its peak resident
memory is that of the load; what Python and the imports take is subtracted. Linux only.
"""

import random
import subprocess
import sys
import tempfile
from pathlib import Path

import schedule
from schedule.graph import Graph, Input, Node, Tensor

LOAD = """
import re, sys, time
import schedule, schedule.frontends.files
from pathlib import Path
status = Path("/proc/self/status")  # getrusage would count the parent's peak before the exec
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) / 1024
before, started = peak(), time.perf_counter()
graph = schedule.read(sys.argv[1])
loaded = time.perf_counter() - started
after = peak()
started = time.perf_counter()
graph.layout
arrays = time.perf_counter() - started
started = time.perf_counter()
graph.digest
digest = time.perf_counter() - started
print(f"{len(graph)} nodes: read {loaded:.2f} s, +{after - before:.0f} MiB;"
      f" layout {arrays:.2f} s, digest {digest:.2f} s, +{peak() - before:.0f} MiB in all")
"""


def layered(count: int) -> Graph:
    """A graph of `count` nodes with about three reads each, some views and several outputs."""
    rng = random.Random(0)
    tensors, nodes = ["x"], []
    for at in range(count):
        name = f"model.layers.{at // 20}.block.{at % 20}.op"
        reads = tuple(rng.choices(tensors[-50:], k=3))
        outputs = (Tensor(name, 4096 + at),)
        if at % 10 == 3:
            outputs += (Tensor(f"{name}.mask", 512),)
        elif at % 10 == 7:
            outputs = (Tensor(name, 0, view_of=reads[0]),)
        nodes.append(Node(name, reads, outputs, 100 + at / 7, backward=at >= count // 2))
        tensors += [out.name for out in outputs]
    return Graph(nodes, [Input("x", 4096)], name=f"layered-{count}")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        for name in ("graph.json", "graph.json.gz"):
            path = Path(folder) / name
            schedule.write(layered(count), path)
            print(f"{name}, {path.stat().st_size / 2**20:.1f} MiB: ", end="", flush=True)
            subprocess.run([sys.executable, "-c", LOAD, str(path)], check=True)


if __name__ == "__main__":
    main()
