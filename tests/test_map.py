"""The map of the house in CONTRIBUTING.md is drawn from the imports.

python -m tests.test_map        # prints it anew
"""

from __future__ import annotations

import re
import sys

import networkx as nx

from tests import ROOT
from tests.test_layers import HEIGHT, LAYERS, MODULES, height, imported

#: What is one box of the map, beside shelves of solvers, which are a box each.
BOXES = {
    "ground": [
        "clash",
        "errors",
        "values",
        "files",
        "formats",
        "log",
        "plugins",
        "display",
        "figures",
        "levels",
        "devices",
    ],
    "graph": ["layout", "consistency", "graph", "builder", "training", "steps", "examples"],
    "memory": [
        *("events", "timeline", "engines", "memory", "stays", "lowering", "lifetimes"),
        *("sizes", "bounds", "addresses", "fusion"),
        *("result", "verification", "options", "cancelling"),
    ],
    "makespan": ["makespan", "links"],
    "solvers.contract": ["solvers.contract", "solvers.deadline"],
    "planner": ["planner", "judging", "joint", "claims", "difference", "warming", "progress"],
}
_BOX_OF = {name: box for box, names in BOXES.items() for name in names}


def box_of(name):
    """The box of a module."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        layer = ".".join(parts[:end])
        if layer in HEIGHT:
            return _BOX_OF.get(layer, layer)
    raise AssertionError(f"{name} has no layer")


def arrows():
    """Arrows between boxes, without those that others imply."""
    found = nx.DiGraph()
    for name in MODULES:
        found.add_node(box_of(name))
        for other in imported(name):
            if box_of(name) != box_of(other):
                found.add_edge(box_of(name), box_of(other))
    return nx.transitive_reduction(found)


def drawn():
    """The map as a Mermaid flowchart: who imports stands above what it imports."""
    lines = ["```mermaid", "flowchart TD"]
    reduced = arrows()
    boxes = sorted(reduced, key=lambda box: (-level(box), box))
    for box in boxes:
        names = BOXES.get(box, [])
        title = f"<b>{box}</b><br/>{', '.join(names)}" if names else f"<b>{box}</b>"
        lines.append(f'    {named(box)}["{title}"]')
    for box in boxes:
        below = sorted(reduced[box], key=lambda box: (-level(box), box))
        lines += [f"    {named(box)} --> {named(other)}" for other in below]
    return "\n".join([*lines, "```"])


def named(box):
    """A name that is no word of Mermaid's, as `graph` is: nothing is drawn where one is used."""
    return f"box_{box.replace('.', '_')}"


def level(box):
    """The highest layer of what is in a box."""
    return max(HEIGHT[name] for name in BOXES.get(box, [box]))


def test_every_box_is_of_layers():
    """A layer that goes, or is renamed, goes from the map."""
    assert set(_BOX_OF) <= set(HEIGHT)
    assert len(_BOX_OF) == sum(map(len, BOXES.values()))


def test_the_map_is_up_to_date():
    """What CONTRIBUTING.md shows is what the imports say today."""
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (shown,) = re.findall(r"```mermaid\n.*?```", page, re.S)
    assert shown == drawn(), "python -m tests.test_map prints the map anew"


def test_every_module_is_on_it():
    """Each box has modules, and each module a box."""
    assert {box_of(name) for name in MODULES} == set(arrows())
    assert all(height(name) is not None for name in MODULES)
    assert len(LAYERS) > len(BOXES)


if __name__ == "__main__":
    sys.stdout.write(drawn() + "\n")
