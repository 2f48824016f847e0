"""Imports point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import schedule

ROOT = Path(schedule.__file__).parent
#: From the bottom up; a module may import from lower layers and from its own.
LAYERS = [
    ["errors"],
    ["values", "files", "formats", "plugins"],
    ["graph", "builder"],
    ["layout", "training"],
    ["steps", "examples"],
    ["memory"],
    ["lowering"],
    ["budget", "bounds"],
    ["result"],
    ["solvers"],
    ["planner", "claims"],
    ["limits"],
    ["frontends", "executors", "report"],
    ["sweeps"],
    ["torch"],
    ["cli", "__main__"],
]
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}


def imported(path):
    """Modules of the package that a file imports at run time, the first part of each."""
    tree = ast.parse(path.read_text("utf-8"))
    unchecked = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in unchecked:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("schedule."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide where an arrow points"
            if node.module == "schedule":
                yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("schedule."):
                    yield alias.name.split(".")[1]


def files():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts != ("__init__",):  # it loads every public name from where it lives
            yield path, parts[0]


def test_every_module_has_its_layer():
    """A new module says where it stands."""
    assert {own for _, own in files()} == set(HEIGHT)


def test_no_import_points_up():
    """Lower layers don't know of higher ones, not even inside functions."""
    up = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, own in files()
        for name in imported(path)
        if name != own and name in HEIGHT and HEIGHT[name] > HEIGHT[own]
    ]
    allowed = {
        "graph.py imports layout",  # a graph makes its arrays when they are first asked for
        "graph.py imports report",  # and is drawn when a notebook asks for that
        "result.py imports report",
    }
    assert set(up) <= allowed, up


def test_solvers_do_not_import_their_table():
    """A solver is one file: it knows the contract and lower layers, not the list it is in."""
    for path in (ROOT / "solvers").rglob("*.py"):
        for line in path.read_text("utf-8").splitlines():
            assert not line.startswith("from schedule.solvers import"), path
