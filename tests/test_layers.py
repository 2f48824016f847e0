"""Imports point one way, in the whole package, and nowhere in a circle."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import networkx as nx

import schedule

ROOT = Path(schedule.__file__).parent
#: From the bottom up: a module imports from lower layers and from its own. A module belongs to
#: the longest name here that it begins with.
LAYERS = [
    ["clash"],
    ["errors"],
    ["values", "files", "formats", "log", "plugins", "display", "figures", "levels", "devices"],
    ["layout", "consistency"],
    ["graph", "builder"],
    ["training"],
    ["steps", "examples"],
    ["events", "timeline"],
    ["engines"],
    ["memory"],
    ["stays", "lowering", "lifetimes"],
    ["sizes", "bounds", "addresses", "fusion"],
    ["makespan", "links"],
    ["result", "verification"],
    ["options", "cancelling"],
    ["solvers.contract", "solvers.deadline"],
    ["solvers.kit"],
    ["solvers.program"],
    ["solvers.exhaustive"],
    ["solvers.eviction"],
    ["solvers.annealing"],
    ["solvers.classics"],
    ["solvers.greedy", "solvers.reorder"],
    ["solvers.exact"],
    ["solvers.ilp", "solvers.search"],
    ["solvers.portfolio"],
    ["solvers.offloading"],
    ["solvers.plugged"],
    ["solvers"],
    ["arena"],
    ["joint", "judging", "planner", "claims", "difference", "warming", "progress"],
    ["frontends", "executors", "promises"],
    ["budgets"],
    ["report"],
    ["torch", "jax"],
    ["cli", "__main__"],
]
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}


def modules():
    """Every module by its name in the package, without the first, which loads all others."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


MODULES = modules()


def height(name):
    """The layer of a module; None: it has none."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in HEIGHT:
            return HEIGHT[".".join(parts[:end])]
    return None


@cache
def imported(module):
    """Modules of the package that a module imports when it runs, inside functions, too."""
    path = MODULES[module]
    tree = ast.parse(path.read_text("utf-8"))
    unchecked = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if node in unchecked:
            continue
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide where an arrow points"
            if node.module == "schedule" or (node.module or "").startswith("schedule."):
                inside = node.module.removeprefix("schedule").removeprefix(".")
                for alias in node.names:
                    whole = f"{inside}.{alias.name}".removeprefix(".")
                    found.append(whole if whole in MODULES else inside)
        elif isinstance(node, ast.Import):
            found += [
                alias.name.removeprefix("schedule.")
                for alias in node.names
                if alias.name.startswith("schedule.")
            ]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = ast.unparse(node.args[0]).strip("'")
            found += [name.removeprefix("schedule.")] if name.startswith("schedule.") else []
    return sorted({each for each in found if each in MODULES and each != module})


def test_every_module_has_its_layer():
    """A new module says where it stands, and every layer has modules."""
    assert [name for name in MODULES if height(name) is None] == []
    assert set(HEIGHT) <= set(MODULES)


def test_no_import_points_up():
    """Lower layers don't know of higher ones, not even inside functions."""
    up = {
        f"{name} imports {other}"
        for name in MODULES
        for other in imported(name)
        if height(other) > height(name)
    }
    assert up == set()


def test_no_import_goes_in_a_circle():
    """Each file can be read after those that it imports; types alone don't count."""
    arrows = nx.DiGraph((name, other) for name in MODULES for other in imported(name))
    circles = [sorted(each) for each in nx.strongly_connected_components(arrows) if len(each) > 1]
    assert circles == []
