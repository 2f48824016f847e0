"""Other packages' solvers, readers and executors: found by name, never in the way."""

import json
import pickle
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import schedule
from schedule.budgets.comparison import compare
from schedule.cli import commands
from schedule.errors import BadGraph, BadOption, BadOutput, BadPlugin, NotApplicable
from schedule.executors import replay_synthetic
from schedule.executors.calls import backend_named
from schedule.solvers import listed_solvers, solver_named
from tests import ROOT
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

EXAMPLE = ROOT / "docs" / "examples" / "plugin"
OPS = "a 100 1\nb 100 10 a\nc 100 1 b\n\nc' 100 1 c b\nb' 100 10 c' a\n"


def run(*args):
    """Run a command in this process; its status, standard output and standard error."""
    found = CliRunner().invoke(commands, [str(arg) for arg in args], prog_name="schedule")
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout, found.stderr


def install(site, name, groups, version="1.0", **modules):
    """What an installer leaves in `site`: the modules, and what the distribution says."""
    about = site / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()))
    ]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for module, code in modules.items():
        (site / f"{module}.py").write_text(code)


def install_example(site):
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]
    install(site, project["name"], project["entry-points"], project["version"])
    shutil.copy(EXAMPLE / "schedule_example.py", site)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A directory whose packages are installed; what is imported from it is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(tmp_path)
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def example(site):
    install_example(site)
    Path("net.ops").write_text(OPS)
    return site


# The example of the documentation


def test_the_page_shows_the_examples_entry_points():
    """The page's TOML is part of the example's."""
    page = (EXAMPLE.parent.parent / "extending.md").read_text("utf-8")
    shown = page.partition("```toml\n")[2].partition("```")[0]
    assert shown in (EXAMPLE / "pyproject.toml").read_text("utf-8")


def test_the_example_works_in_a_shell(example, shell):
    """Read, solved, verified and replayed by what the package brings, in processes of their own."""
    env = shell | {"PYTHONPATH": f"{example}:{shell['PYTHONPATH']}"}

    def command(line):
        return subprocess.run(
            ["bash", "-c", line], env=env, capture_output=True, text=True, timeout=120, check=True
        ).stdout

    assert "schedule-example 1.0" in command("schedule solvers")
    command("schedule solve net.ops --budget 99% --solver cheap -o plan.json")
    found = json.loads(command("schedule replay net.ops plan.json --backend buffers --json"))
    assert found["equal"]
    assert found["exact"]
    assert found["backend"] == "buffers"
    assert json.loads(command("schedule verify net.ops plan.json --json"))["valid"]
    assert schedule.read_schedule("plan.json").solver == "cheap"


def test_the_example_can_be_installed(tmp_path):
    """Its own build gives the metadata that these tests write by hand."""
    pytest.importorskip("hatchling")
    site, source = tmp_path / "site", tmp_path / "source"
    shutil.copytree(EXAMPLE, source)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    offline = ["--no-index", "--disable-pip-version-check", "--target", str(site), str(source)]
    subprocess.run([*pip, *offline], check=True, timeout=120)
    install_example(tmp_path / "by_hand")
    found = [
        sorted((next(folder.glob("*.dist-info")) / "entry_points.txt").read_text().split())
        for folder in (site, tmp_path / "by_hand")
    ]
    assert found[0] == found[1]
    assert (site / "schedule_example.py").exists()


def test_the_examples_solver_is_as_verified_as_any(example):
    """By name as by object: same schedule; and it saves memory where there is a backward pass."""
    import schedule_example

    graph = schedule.example("transformer")
    plan = schedule.solve(graph, solver="cheap")
    assert plan.schedule == schedule.solve(graph, solver=schedule_example.Cheap()).schedule
    assert plan.solver == "cheap"
    keep = schedule.solve(graph, solver="store_all")
    assert plan.peak < 0.9 * keep.peak
    assert plan.compute > keep.compute
    with pytest.raises(NotApplicable, match=r"'cheap' doesn't handle .* it has no backward nodes"):
        schedule.solve(schedule.Graph([]), solver="cheap")


def test_the_examples_reader_is_found_by_ending_or_name(example):
    """The same graph; other endings are read as before."""
    graph = schedule.read("net.ops")
    assert [node.backward for node in graph.nodes] == [False, False, False, True, True]
    Path("net.txt").write_text(OPS)
    assert schedule.read("net.txt", reader="ops") == graph
    with pytest.raises(BadGraph, match=r"net\.txt: not JSON"):
        schedule.read("net.txt")
    schedule.write(graph, "net.ops2")
    assert schedule.read("net.ops2") == graph == schedule.read("net.ops2", reader="json")
    with pytest.raises(BadOutput, match=r"by its ending .* read by 'ops' of schedule-example 1"):
        schedule.write(graph, "net.ops")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a 1", r"^bad\.ops: line 1 isn't of the form"),
        ("a 1 1 b", r"^bad\.ops: node 'a' reads 'b'"),
        (None, r"^bad\.ops: No such file"),
    ],
)
def test_what_the_examples_reader_refuses_names_the_file(example, text, said):
    """A wrong file is bad input, whoever reads it."""
    if text is not None:
        Path("bad.ops").write_text(text)
    with pytest.raises(BadGraph, match=said):
        schedule.read("bad.ops")
    status, out, err = run("info", "bad.ops")
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_the_examples_executor_measures_the_promised_peak(example):
    """Without kernels and with: the same bits as the plain run, to the byte."""
    graph = schedule.example("transformer", layers=1)
    plan = schedule.solve(graph, "80%", "greedy")
    small = schedule.Graph(
        [shrunk(node) for node in graph.nodes],
        [replace(item, memory=-(-item.memory // 1000)) for item in graph.inputs],
        graph.outputs,
    )
    found = replay_synthetic(small, plan.steps, backend="buffers")
    assert found.planned.exact
    Path("doubling.py").write_text(
        "from array import array\n"
        "def double(graph):\n"
        "    return {'y': lambda x: array('d', [2 * v for v in x])}, {'x': array('d', [1, 2])}\n"
    )
    g = schedule.GraphBuilder()
    g.node("y", g.input("x", memory=16), memory=16)
    schedule.write(g.build(), "small.json")
    schedule.solve(g.build()).save("plan.json")
    args = ("small.json", "plan.json", "--backend", "buffers", "--kernels", "doubling:double")
    status, out, _ = run("replay", *args, "--json")
    assert (status, json.loads(out)["exact"]) == (0, True)


def shrunk(node):
    outputs = tuple(replace(out, memory=-(-out.memory // 1000)) for out in node.outputs)
    return replace(node, outputs=outputs, workspace=node.workspace // 1000)


def test_compare_shows_what_it_is_asked_to(example):
    """By default the built-in solvers only; with names those, plugins too."""
    graph = schedule.read("net.ops")
    listed = {entry.solver for entry in compare(graph, "99%", time_limit=5)}
    assert listed == set(schedule.SOLVERS)
    args = ("compare", "net.ops", "--budget", "99%", "--solver", "cheap", "--solver", "store_all")
    found = json.loads(run(*args, "--json")[1])
    assert {entry["solver"] for entry in found["solvers"]} == {"cheap", "store_all"}


def test_plugins_travel_to_other_processes(example):
    """A sweep may send a solver to another process."""
    found = solver_named("cheap")
    assert pickle.loads(pickle.dumps(found)) == found


# What a plugin can't change


SHADOW = """
from schedule.solvers.classics.store_all import StoreAll
raise AssertionError("imported")
"""


def test_built_in_names_stay_built_in(site):
    """A plugin called like a built-in solver, reader or backend isn't even imported."""
    entries = {
        "schedule.solvers": {"auto": "shadow:StoreAll", "ilp": "shadow:StoreAll"},
        "schedule.frontends": {"json": "shadow:read", "json.gz": "shadow:read"},
        "schedule.executors": {"numpy": "shadow:Backend"},
    }
    install(site, "shadow", entries, shadow=SHADOW)
    graph = schedule.example("chain", layers=3)
    assert schedule.solve(graph, "90%").status == "optimal"
    for name in ("graph.json", "graph.json.gz"):
        schedule.write(graph, name)
        assert schedule.read(name) == graph == schedule.read(name, reader="json")
    assert backend_named("numpy").kind == "numpy.ndarray"
    found = [one for one in listed_solvers() if one.name == "ilp"]
    assert [(one.origin, one.fault is None) for one in found] == [
        ("built in", True),
        ("shadow 1.0", False),
    ]
    assert "shadow" not in sys.modules
    status, out, _ = run("solvers")
    assert status == 0
    assert "solver 'ilp' of shadow 1.0 (entry point shadow:StoreAll): the name is built in" in out


def test_the_table_of_solvers_does_not_depend_on_what_is_installed(example):
    """Not `SOLVERS`, nor what `auto` is made of."""
    assert "cheap" not in schedule.SOLVERS
    assert [one.name for one in listed_solvers()] == [*schedule.SOLVERS, "cheap"]


def test_nothing_is_looked_up_for_what_is_built_in(shell, tmp_path):
    """A solve from file to file doesn't read the metadata of all that is installed."""
    code = f"""
import schedule, sys
import importlib.metadata
importlib.metadata.entry_points = None
path = {str(tmp_path / "g.json")!r}
schedule.write(schedule.example("chain", layers=3), path)
schedule.solve(schedule.read(path), None, "sqrt").save(path)
schedule.read_schedule(path)
"""
    subprocess.run([sys.executable, "-c", code], env=shell, check=True, timeout=120)


def test_two_packages_with_one_name_are_an_error_that_names_both(site):
    """Nobody can tell which is meant."""
    for name in ("one", "two"):
        install(site, name, {"schedule.solvers": {"same": f"{name}:Solver"}})
    with pytest.raises(BadPlugin, match=r"of one 1\.0 .* and .* of two 1\.0 .* the same name"):
        solver_named("same")
    assert all(one.fault for one in listed_solvers() if one.name == "same")


@pytest.mark.parametrize("damage", [b"[schedule.solvers]\nnonsense", b"\xff", b"x = 1\n"])
def test_damaged_metadata_is_passed_over(example, damage):
    """Of whatever package: all others are found."""
    install(example, "damaged", {})
    (example / "damaged-1.0.dist-info" / "entry_points.txt").write_bytes(damage)
    assert listed_solvers()[-1].origin == "schedule-example 1.0"
    assert run("info", "net.ops")[0] == 0


def test_a_distribution_that_is_there_twice_counts_once(example, tmp_path, monkeypatch):
    """The first on the path, as for imports."""
    install_example(tmp_path / "again")
    monkeypatch.syspath_prepend(tmp_path / "again")
    assert [one.name for one in listed_solvers()].count("cheap") == 1


def test_an_unknown_name_lists_what_there_is(example):
    """Built-in and other solvers, readers and backends."""
    with pytest.raises(BadOption, match=r"unknown solver 'chepa'; there are store_all.*cheap"):
        solver_named("chepa")
    with pytest.raises(BadOption, match="unknown reader 'op'; there are json, graphml, gml, ops"):
        schedule.read("net.ops", reader="op")
    with pytest.raises(
        BadOption, match="backend is 'buf'; there are 'numpy', 'torch' and 'buffers'"
    ):
        backend_named("buf")


# Plugins that don't work

SOLVER = """
import numpy as np
from schedule.solvers import Proof
from schedule.lowering import in_order

class Mine:
    name = "mine"
    summary = "a solver for tests"
    def supports(self, graph):
        return None
    def improve(self, problem, incumbent, deadline):
        incumbent.offer(in_order(problem.graph).codes)
        return Proof()
"""

BROKEN_SOLVERS = {
    "not there": (None, "it can't be loaded: ModuleNotFoundError"),
    "no such name": ("", "it can't be loaded: AttributeError"),
    "raises": ("1 / 0", "it can't be loaded: ZeroDivisionError"),
    "exits": ("raise SystemExit(3)", "it can't be loaded: SystemExit: 3"),
    "syntax": ("def", "it can't be loaded: SyntaxError"),
    "no solver": ("Mine = 5", "its 'name' is None; it has to be text"),
    "not made": (SOLVER + "    def __init__(self, x): pass", "making it raised TypeError"),
    "no summary": (SOLVER.replace("summary", "about"), "its 'summary' is None"),
    "no improve": (SOLVER.replace("improve", "improves"), "it has no method 'improve'"),
    "other name": (SOLVER.replace('"mine"', '"yours"'), "it calls itself 'yours'"),
}
BAD_SOLVERS = {
    "supports raises": (
        SOLVER.replace("return None", "return graph.nope"),
        "supports raised AttributeError",
    ),
    "supports says true": (
        SOLVER.replace("return None", "return True"),
        "supports returned True; it is None or a text",
    ),
    "improve raises": (
        SOLVER.replace("incumbent.offer", "raise KeyError('x')\n        incumbent.offer"),
        "improve raised KeyError",
    ),
    "improve raises later": (
        SOLVER.replace("return Proof", "raise KeyError('x')\n        Proof"),
        "improve raised KeyError",
    ),
    "no proof": (
        SOLVER.replace("return Proof()", "return"),
        "improve returned None, which is no Proof",
    ),
    "invalid": (
        SOLVER.replace(".codes)", ".codes[1:])"),
        "proposed an invalid schedule",
    ),
    "false bound": (
        SOLVER.replace("Proof()", "Proof(bound=1e9)"),
        "claims the bound 9+,",
    ),
    "no codes": (
        SOLVER.replace("in_order(problem.graph).codes", "'abc'"),
        "improve raised|invalid schedule",
    ),
}


def install_mine(site, code):
    modules = {} if code is None else {"mine": code}
    install(site, "my-solver", {"schedule.solvers": {"mine": "mine:Mine"}}, "2.5", **modules)


@pytest.mark.parametrize("case", BROKEN_SOLVERS)
def test_a_broken_solver_says_whose_it_is(site, case):
    """In the list and when used: one line with distribution and entry point; others work."""
    code, said = BROKEN_SOLVERS[case]
    install_mine(site, code)
    match = rf"^solver 'mine' of my-solver 2\.5 \(entry point mine:Mine\): {said}"
    with pytest.raises(BadPlugin, match=match) as caught:
        solver_named("mine")
    assert "\n" not in str(caught.value)
    status, out, err = run("solvers", "--json")
    assert (status, err) == (0, "")
    listed = {one["name"]: one for one in json.loads(out)["solvers"]}
    assert listed["mine"]["fault"] == str(caught.value)
    assert set(listed) == {*schedule.SOLVERS, "mine"}
    assert "can't be used" in run("solvers")[1]


@pytest.mark.parametrize("case", BAD_SOLVERS)
def test_a_solver_that_does_wrong_says_whose_it_is(site, case):
    """No traceback, no result, and no word of a bug in this package."""
    code, said = BAD_SOLVERS[case]
    install_mine(site, code)
    schedule.write(schedule.example("chain", layers=3), "chain.json")
    args = ("solve", "chain.json", "--budget", "100%", "--solver", "mine", "-o", "plan.json")
    status, out, err = run(*args)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert not Path("plan.json").exists()
    with pytest.raises(BadPlugin, match=rf"of my-solver 2\.5 \(entry point mine:Mine\): .*{said}"):
        schedule.solve(schedule.read("chain.json"), "100%", "mine")


def test_what_the_callers_callback_raises_is_nobodys_fault(example):
    """It isn't the package's, whose solver only said that it had found something."""

    def fail(progress):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        schedule.solve(schedule.example("transformer"), solver="cheap", progress=fail)


def test_a_solver_may_refuse_and_be_interrupted(site):
    """Its own bad input and Ctrl-C pass through."""
    for at, (raised, status, said) in enumerate(
        [
            ("KeyboardInterrupt", 130, "interrupted"),
            ("schedule.BadInput('no')", 2, "schedule: no\n"),
        ]
    ):
        code = f"import schedule\n{SOLVER}".replace(
            "incumbent.offer", f"raise {raised}\n        incumbent.offer"
        )
        name = f"mine{at}"
        install(
            site,
            name,
            {"schedule.solvers": {name: f"{name}:Mine"}},
            **{name: code.replace('"mine"', f'"{name}"')},
        )
        schedule.write(schedule.example("chain", layers=3), "chain.json")
        found = run("solve", "chain.json", "--budget", "100%", "--solver", name)
        assert found[0] == status
        assert said in found[2]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("read = 5", "5 can't be called"),
        ("def read(path): return 5", "gave 5, which is no Graph"),
        ("def read(path): return {}[path]", "raised KeyError"),
        ("def read(): pass", "raised TypeError"),
    ],
)
def test_a_broken_reader_says_whose_it_is(site, code, said):
    """Other files are read as ever."""
    install(site, "my-reader", {"schedule.frontends": {"xyz": "mine:read"}}, mine=code)
    Path("net.xyz").write_text("")
    with pytest.raises(BadPlugin, match=rf"^frontend 'xyz' of my-reader 1\.0 .*{said}"):
        schedule.read("net.xyz")
    status, out, err = run("info", "net.xyz")
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_the_longest_ending_wins(site):
    """`net.a.b` is read by `a.b`, not by `b`; capital letters don't matter."""
    code = (
        "from schedule import Graph\nab = lambda p: Graph([], name='ab')\nb = lambda p: Graph([])"
    )
    install(site, "r", {"schedule.frontends": {"a.b": "mine:ab", "b": "mine:b"}}, mine=code)
    assert [schedule.read(name).name for name in ("net.a.b", "NET.A.B", "a.b")] == [
        "ab",
        "ab",
        "graph",
    ]


BACKEND = """
from schedule.executors.numpy import NumpyBackend
class Mine(NumpyBackend):
    name = "mine"
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("Mine = 5", "it can't be called"),
        ("class Mine: pass", "making it raised TypeError"),
        (BACKEND.replace('"mine"', '"numpy"'), "it calls itself 'numpy'"),
        (BACKEND + "    storage = None", "it has no method 'storage'"),
        (BACKEND + "    fill = None", "it has no method 'fill', so it replays only from Python"),
    ],
)
def test_a_broken_executor_says_whose_it_is(site, code, said):
    """One line with distribution and entry point."""
    install(site, "my-backend", {"schedule.executors": {"mine": "mine:Mine"}}, mine=code)
    graph = schedule.example("chain", layers=3)
    with pytest.raises(BadPlugin, match=rf"^executor 'mine' of my-backend 1\.0 .*{said}"):
        replay_synthetic(graph, schedule.solve(graph), backend="mine")


def test_an_executor_without_memory_of_its_own_replays_kernels(site):
    """Only replays without kernels need arrays made."""
    install(
        site,
        "my-backend",
        {"schedule.executors": {"mine": "mine:Mine"}},
        mine=BACKEND + "    fill = None",
    )
    g = schedule.GraphBuilder()
    g.node("one", memory=8)
    code = {"one": lambda: __import__("numpy").ones(1)}
    found = schedule.replay(g.build(), schedule.solve(g.build()), code, {}, backend="mine")
    assert found["one"] == 1
